"""Model folders: `weights.safetensors`, `config.json` and `card.md`, addressed by the digest of the first two.

The config's `pins` name what the model was trained behind (features, geometry, clustering ...) by digest: data made
otherwise is refused. Nothing here imports torch, and no pickle is ever read.
"""

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gen2reco.campaign.sidecar import file_digest, write_text
from gen2reco.errors import InfrastructureError, InputError

if TYPE_CHECKING:
    import numpy as np

WEIGHTS, CONFIG, CARD = "weights.safetensors", "config.json", "card.md"


@dataclass(frozen=True)
class Model:
    """An opened model folder: its digest is checked, its weights are read when asked for."""

    folder: Path
    digest: str
    kind: str
    """What the model is for, such as `calibration`."""
    config: dict[str, Any]
    """Network sizes, valid range of the inputs, and whatever else the model needs beside its weights."""
    pins: dict[str, str]
    """Name of what the model was trained behind → digest or version."""

    def weights(self) -> dict[str, "np.ndarray"]:
        """The arrays by name. Raises InputError for a damaged file."""
        from safetensors import SafetensorError
        from safetensors.numpy import load_file

        try:
            return load_file(self.folder / WEIGHTS)
        except (SafetensorError, OSError) as error:
            raise InputError(f"{self.folder / WEIGHTS}: damaged weights: {error}; fetch the model anew") from None

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


def save_model(
    folder: Path | str, kind: str, config: dict, pins: dict[str, str], weights: Mapping[str, "np.ndarray"], card: str
) -> Model:
    """Write a model folder, each file atomically. Raises InfrastructureError when the folder or disk refuses."""
    from safetensors.numpy import save

    folder = Path(folder)
    try:
        folder.mkdir(parents=True, exist_ok=True)
        temporary = folder / f".{WEIGHTS}.tmp"
        temporary.write_bytes(save({name: weights[name] for name in sorted(weights)}))
        temporary.replace(folder / WEIGHTS)
    except OSError as error:
        raise InfrastructureError(f"{folder}: cannot be written: {error.strerror or error}") from None
    text = json.dumps({"kind": kind, "pins": pins, **config}, indent=1, sort_keys=True) + "\n"
    write_text(folder / CONFIG, text)
    digest = _digest(folder)
    write_text(folder / CARD, f"{card.strip()}\n\nDigest: `{digest}`\n")
    return open_model(folder, kind)


def open_model(folder: Path | str, kind: str, digest: str | None = None) -> Model:
    """Open a model folder of the stated kind, and of the stated digest if one is given.

    Raises InputError if it is missing, damaged, of another kind, or not the model that the digest names.
    """
    folder = Path(folder)
    try:
        config = json.loads((folder / CONFIG).read_text(encoding="utf-8"))
        found = _digest(folder)
    except FileNotFoundError as error:
        missing = Path(error.filename).name
        raise InputError(f"{folder}: no model here ({missing} is missing); give the folder of a {kind} model") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{folder}: damaged model: {error}; fetch it anew") from None
    if not isinstance(config, dict) or config.get("kind") != kind:
        held = config.get("kind") if isinstance(config, dict) else type(config).__name__
        raise InputError(f"{folder}: a model of kind `{held}`, expected `{kind}`; give the folder of a {kind} model")
    if digest is not None and digest != found:
        raise InputError(
            f"{folder}: the model's digest is {found}, expected {digest}; fetch the model that was planned"
        )
    pins = config.pop("pins", {})
    config.pop("kind")
    return Model(folder, found, kind, config, pins)


def _digest(folder: Path) -> str:
    parts = [file_digest(folder / name) for name in (WEIGHTS, CONFIG)]
    return hashlib.sha256("".join(parts).encode()).hexdigest()
