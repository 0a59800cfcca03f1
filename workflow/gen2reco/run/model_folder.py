"""Model folders: `weights.safetensors`, `config.json` and `card.md`, addressed by the digest of the first two.

The config's `pins` name what the model was trained behind (features, geometry, clustering ...) by digest: data made
otherwise is refused. A model of several parts holds one such folder each. Wherever a folder is expected, the digest of
a model in the cache will do. Nothing here imports torch, and no pickle is ever read. Model folders come from anywhere:
their files are bounded in size, links out of the folder are not followed, weights are finite, and what of the config is
used is validated by a `ModelConfig` of its kind.
"""

import hashlib
import json
import re
import shutil
import uuid
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn, TypeVar

from pydantic import AfterValidator, ConfigDict

from gen2reco.caches import cache_folder
from gen2reco.config.block import Block, parse_block
from gen2reco.config.block import digest as digest_of
from gen2reco.config.detector import Detector
from gen2reco.errors import InfrastructureError, InputError, first_line
from gen2reco.files import file_digest, read_text, regular_file, whole, write_text

if TYPE_CHECKING:
    import numpy as np

WEIGHTS, CONFIG, CARD, EVALUATION = "weights.safetensors", "config.json", "card.md", "evaluation.json"
PARTS = ("objects", "jets")
"""Folders of a model in parts, each trained behind those before it."""
SUFFIXES = {".safetensors", ".json", ".md", ".onnx", ".yaml", ".txt"}
"""Files of a model: nothing that could carry code."""
MAX_CONFIG, MAX_FILE = 4 << 20, 1 << 30
"""Largest `config.json`, and largest file of a model, bytes."""


class ModelConfig(Block):
    """What is used of a model's `config.json`; other keys (how it was trained, its metrics) are for people."""

    model_config = ConfigDict(extra="ignore")


ConfigT = TypeVar("ConfigT", bound=ModelConfig)


def _rising(bounds: tuple[float, float]) -> tuple[float, float]:
    if bounds[0] > bounds[1]:
        raise ValueError("expected [low, high]")
    return bounds


Bounds = Annotated[tuple[float, float], AfterValidator(_rising)]
"""Lower and upper end of a range."""


class _Header(ModelConfig):
    """What the config of any kind of model holds."""

    kind: str
    pins: dict[str, str] = {}


@dataclass(frozen=True)
class Model:
    """An opened model folder: its digest is checked, its weights are read on demand."""

    folder: Path
    digest: str
    kind: str
    """What the model is for, such as `calibration`."""
    config: dict[str, Any]
    """Network sizes, valid range of the inputs, and whatever else the model needs in addition to its weights."""
    pins: dict[str, str]
    """Name of what the model was trained behind → digest or version."""

    def parsed(self, schema: type[ConfigT]) -> ConfigT:
        """The config as the block of its kind. Raises InputError naming the file and what is wrong in it."""
        return parse_block(self.config, schema, source=str(self.folder / CONFIG))

    def weights(self) -> dict[str, "np.ndarray"]:
        """The arrays by name. Raises InputError for a damaged file, and for weights that are NaN or infinite."""
        return _read_weights(self.folder)

    def require(self, source: str, **found: str | None) -> None:
        """Compare the pins with what was found in the data (None: unknown, let pass).

        Raises InputError naming both digests at the first that differs.
        """
        for name, value in found.items():
            pinned = self.pins.get(name)
            if value is not None and pinned is not None and value != pinned:
                raise InputError(
                    f"{source}: {name} is {value}, but the {self.kind} model {self.folder} was trained behind {name} "
                    f"{pinned}; train it again behind this {name}, or give another model"
                )

    def require_detector(self, detector: "Detector") -> None:
        """Raises OtherDetector where the model was trained for another geometry than the detector's."""
        pinned = self.pins.get("geometry")
        if pinned in (None, detector.geometry_digest):
            return
        from gen2reco.detector.known import compared, known_detector

        stated = self.config.get("detector")
        trained = Detector.model_validate(stated) if stated else known_detector(pinned)
        at, has = (
            compared(trained, detector) if trained else (f"geometry {pinned}", f"geometry {detector.geometry_digest}")
        )
        raise OtherDetector(
            f"the {self.kind} model {self.folder} was trained at {at}; detector `{detector.name}` has {has}"
        )


class OtherDetector(InputError):
    """A model was trained for another detector than the one it shall be used for; `reason` says what differs."""

    def __init__(self, reason: str):
        super().__init__(f"{reason}; train one for it, or take another backend")
        self.reason = reason


def save_model(
    folder: Path | str, kind: str, config: dict, pins: dict[str, str], weights: Mapping[str, "np.ndarray"], card: str
) -> Model:
    """Write a model folder, each file atomically. Raises InputError for weights that are NaN or infinite, and
    InfrastructureError when the folder or disk refuses."""
    from safetensors.numpy import save

    folder = Path(folder)
    _check_finite(folder / WEIGHTS, weights)
    with whole(folder / WEIGHTS) as temporary:
        folder.mkdir(parents=True, exist_ok=True)
        temporary.write_bytes(save({name: weights[name] for name in sorted(weights)}))
    text = json.dumps({"kind": kind, "pins": pins, **config}, indent=1, sort_keys=True) + "\n"
    write_text(folder / CONFIG, text)
    digest = _digest(folder)
    write_text(folder / CARD, f"{card.strip()}\n\nDigest: `{digest}`\n")
    return open_model(folder, kind)


def open_model(folder: Path | str, kind: str, digest: str | None = None) -> Model:
    """Open a model folder of the stated kind, and of the stated digest if one is given.

    Raises InputError if it is missing, damaged, of another kind, or not the model that the digest names.
    """
    folder = located(folder)
    try:
        config, found = _read_config(folder), _digest(folder)
    except FileNotFoundError as error:
        missing = Path(error.filename).name
        raise InputError(f"{folder}: no model here ({missing} is missing); give the folder of a {kind} model") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{folder}: damaged model: {error}; fetch it anew") from None
    held = config.get("kind") if isinstance(config, dict) else type(config).__name__
    if held != kind:
        raise InputError(f"{folder}: a model of kind `{held}`, expected `{kind}`; give the folder of a {kind} model")
    if digest is not None and digest != found:
        raise InputError(
            f"{folder}: the model's digest is {found}, expected {digest}; fetch the model that was planned"
        )
    header = parse_block(config, _Header, source=str(folder / CONFIG))
    rest = {key: value for key, value in config.items() if key not in ("kind", "pins")}
    return Model(folder, found, kind, rest, header.pins)


def _read_weights(folder: Path) -> dict[str, "np.ndarray"]:
    from safetensors import SafetensorError
    from safetensors.numpy import load_file

    path = _own_file(folder, WEIGHTS)
    try:
        found = load_file(path)
    except (SafetensorError, OSError, ValueError, TypeError, KeyError) as error:
        raise InputError(f"{path}: damaged weights: {first_line(error)}; fetch the model anew") from None
    _check_finite(path, found)
    return found


def check_model(folder: Path) -> None:
    """Raises InputError where a model folder, or a part of it, is damaged or incomplete."""
    model_digest(folder)
    for part in [folder] if (folder / CONFIG).is_file() else _parts(folder):
        header = parse_block(_read_config(part), _Header, source=str(part / CONFIG))
        open_model(part, header.kind).weights()


def _check_finite(path: Path, weights: Mapping[str, "np.ndarray"]) -> None:
    import numpy as np

    for name, values in weights.items():
        if values.dtype.kind == "f" and not np.isfinite(values).all():
            raise InputError(f"{path}: `{name}` holds NaN or infinity; fetch or train the model anew")


def _read_config(folder: Path) -> Any:
    """The content of `config.json`. Raises InputError for what is no JSON, FileNotFoundError."""
    path = _own_file(folder, CONFIG, MAX_CONFIG)
    try:
        return json.loads(read_text(path, MAX_CONFIG), parse_constant=_no_number)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: damaged model: no valid JSON: {first_line(error)}; fetch it anew") from None


def _no_number(word: str) -> NoReturn:
    raise ValueError(f"{word} is no number")


def _own_file(folder: Path, name: str, most: int = MAX_FILE) -> Path:
    """A regular file of at most `most` bytes that lies in the folder itself. Raises InputError, FileNotFoundError."""
    path = folder / name
    size = path.stat().st_size
    if not path.resolve().is_relative_to(folder.resolve()):
        raise InputError(f"{path}: is a link out of the model's folder; put the file itself there")
    if size > most:
        raise InputError(f"{path}: {size >> 20} MiB, expected at most {most >> 20}; fetch the model anew")
    return regular_file(path)


def located(name: Path | str) -> Path:
    """The folder of a model: as it is, or in the cache if a digest is given. Raises InputError if it is not there."""
    folder = Path(name)
    if not re.fullmatch(r"[0-9a-f]{64}", str(name)) or folder.is_dir():
        return folder
    cached = kept_models() / str(name)
    if not cached.is_dir():
        raise InputError(
            f"model {name}: is not in {kept_models()}; plan the campaign again, or let GEN2RECO_CACHE name a folder "
            "that the driver and its jobs share"
        )
    if (found := model_digest(cached)) != str(name):
        raise InputError(f"{cached}: the model's digest is {found}, expected {name}; delete the folder and plan again")
    return cached


def model_digest(folder: Path) -> str:
    """The digest of a model folder, or of all its parts. Raises InputError if it holds no model."""
    places = _places(folder)
    if not places:
        raise InputError(f"{folder}: no model here ({CONFIG} is missing); give the folder of a model")
    try:
        return combined(_digest(part) for part in places)
    except OSError as error:
        raise InputError(f"{error.filename}: cannot be read: {error.strerror}; fetch the model anew") from None


def _places(folder: Path) -> list[Path]:
    """The folder of a model, or those of its parts."""
    return [folder] if (folder / CONFIG).is_file() else _parts(folder)


def combined(digests: Iterable[str]) -> str:
    """The digest of a model of several parts, of one that part's own."""
    first, *others = digests
    return digest_of([first, *others]) if others else first


def model_files(folder: Path) -> dict[str, Path]:
    """The files of a model and its parts by their names in the folder; hidden ones and checkpoints are left out.
    Raises InputError for a link out of the folder."""
    found = sorted(path for place in (folder, *_parts(folder)) for path in place.iterdir() if path.is_file())
    names = [path.relative_to(folder).as_posix() for path in found if not path.name.startswith(".")]
    return {name: _own_file(folder, name) for name in names}


def _parts(folder: Path) -> list[Path]:
    """The folders of a model's parts. Raises InputError for a link out of the folder."""
    found = [folder / part for part in PARTS if (folder / part).is_dir()]
    for part in found:
        if not part.resolve().is_relative_to(folder.resolve()):
            raise InputError(f"{part}: is a link out of the model's folder; put the folder itself there")
    return found


def keep_model(folder: Path) -> str:
    """Copy a model into the cache, where its digest names it; returns the digest. Raises InputError for weights that
    are none, and for links out of the folder."""
    digest = model_digest(folder)
    for part in _places(folder):
        _read_weights(part)
    target = kept_models() / digest
    if not target.is_dir():
        draft = target.with_name(f".{digest}.{uuid.uuid4().hex}")
        try:
            for name, path in model_files(folder).items():
                if path.suffix in SUFFIXES:
                    (draft / name).parent.mkdir(parents=True, exist_ok=True)
                    shutil.copyfile(path, draft / name)
            if not target.is_dir():
                draft.rename(target)
        except OSError as error:
            if not target.is_dir():  # else another process was faster
                raise InfrastructureError(f"{target}: cannot be written: {error.strerror or error}") from None
        finally:
            shutil.rmtree(draft, ignore_errors=True)
    located(digest)
    return digest


def kept_models() -> Path:
    """The cache's folder of models, each under its digest."""
    return cache_folder() / "models"


def _digest(folder: Path) -> str:
    parts = [file_digest(_own_file(folder, name)) for name in (WEIGHTS, CONFIG)]
    return hashlib.sha256("".join(parts).encode()).hexdigest()
