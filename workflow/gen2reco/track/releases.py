"""The models that ship with the package, by name: each is the first champion of its kind, and is replaced by a made and
judged model of that kind."""

import shutil
import uuid
from dataclasses import dataclass
from pathlib import Path

from gen2reco.campaign.model_receipts import checked_place, read_judged, read_trained
from gen2reco.config.block import load_json
from gen2reco.errors import InfrastructureError, InputError
from gen2reco.files import MAX_TEXT
from gen2reco.run.evaluations import evaluation
from gen2reco.run.model_folder import CARD, CONFIG, EVALUATION, PARTS, WEIGHTS, check_model, model_digest
from gen2reco.track.modelfiles import files_of

PACKAGE = Path(__file__).parents[1]
"""The package, whose rooms hold the shipped models in their folders `release`."""

Kinds = dict[str, str]
"""Folder of each part in a model's folder (empty for a model in one part), and the kind of the part."""


@dataclass(frozen=True)
class Released:
    """A shipped model that was replaced: its folder, and the digests before and after."""

    folder: Path
    before: str
    after: str


def release(name: str, source: Path) -> Released:
    """Replace the shipped model `name` by a model's folder, or by the model of a campaign in
    results/<campaign>/models/<model>.

    The files are copied whole or not at all; the card of a campaign's model then names the plan that made it. Raises
    InputError for an unknown name, and a model that is damaged, unfinished, not judged or of another kind.
    """
    _put_back()
    shipped = shipped_models()
    if name not in shipped:
        raise InputError(f"there is no shipped model `{name[:80]}`; known: {', '.join(shipped)}")
    folder, planned = _made(source)
    _check_kinds(folder, kinds_of(folder), kinds_of(shipped[name]))
    check_model(folder)
    files = files_of(folder, name)
    if not (folder / EVALUATION).is_file() or not evaluation(folder)["metrics"]:
        raise InputError(f"{folder}: is not judged ({EVALUATION} is missing or holds no metric); judge the model first")
    before, after = model_digest(shipped[name]), model_digest(folder)
    _replace(shipped[name], files, after, planned)
    return Released(shipped[name], before, after)


def shipped_models() -> dict[str, Path]:
    """Name → folder of each shipped model: `calibration`, `fused`, `showers`, and those that a room has several of by
    the names of their folders."""
    found = {}
    for release in sorted(PACKAGE.glob("*/release")):
        if kinds := kinds_of(release):
            found[next(iter(kinds.values()))] = release
        else:
            found |= {place.name: place for place in sorted(release.iterdir()) if kinds_of(place)}
    return found


def kinds_of(folder: Path) -> Kinds:
    """The kinds of a model and its parts, of a generator with its domain; empty where there is no model. Raises
    InputError for a damaged `config.json`."""
    places = {part: folder / part / CONFIG for part in ("", *PARTS)}
    return {part: _kind(path) for part, path in places.items() if path.is_file()}


def _kind(path: Path) -> str:
    config = load_json(path, MAX_TEXT)
    if not isinstance(config.get("kind"), str):
        raise InputError(f"{path}: damaged model: `kind` is missing; fetch it anew")
    domain = config.get("domain")
    return f"{config['kind']} of {domain}" if isinstance(domain, str) else config["kind"]


def _put_back() -> None:
    """Put back a shipped model that a killed release had moved away, and remove what else it left."""
    for word in ("old", "new"):
        for left in [*PACKAGE.glob(f"*/.*.{word}.*"), *PACKAGE.glob(f"*/release/.*.{word}.*")]:
            target = left.with_name(left.name[1:].partition(f".{word}.")[0])
            if word == "old" and not target.exists():
                left.rename(target)
            else:
                shutil.rmtree(left, ignore_errors=True)


def _made(source: Path) -> tuple[Path, str]:
    """The model's folder and, where it has the receipts of a campaign, a line for the card on how it was planned.
    Raises InputError for a campaign's model that is not the one of its receipts."""
    source = source.resolve()
    home = source if (source / "model").is_dir() else source.parent
    if home.parent.name != "models" or source not in (home, home / "model"):
        return source, ""
    if not (trained := read_trained(home.parents[1], home.name)):
        return source, ""
    folder, judged = checked_place(home.parents[1], trained), read_judged(home.parents[1], home.name)
    if judged is None or judged.note or judged.model_digest != trained.model_digest:
        raise InputError(f"{folder}: is not judged ({judged.note if judged else 'no receipt'}); run the campaign")
    campaign, device = home.parents[1].name, str((trained.model_extra or {}).get("device", "an unknown device"))
    cost = f"trained on {device} in {trained.cpu_seconds / 3600:.2g} CPU hours, {trained.wall_seconds / 3600:.2g} hours"
    return (
        folder,
        f"Planned (digest `{trained.planned}`): model `{trained.model}` of the campaign `{campaign}`; {cost}.\n",
    )


def _check_kinds(folder: Path, found: Kinds, expected: Kinds) -> None:
    """Raises InputError for a folder without a model of the expected parts and kinds, or without one of their files."""
    if not found:
        raise InputError(f"{folder}: no model here ({CONFIG} is missing); give the folder of a model")
    if found != expected:
        texts = [
            ", ".join(f"{kind} in `{part}`" if part else kind for part, kind in k.items()) for k in (found, expected)
        ]
        raise InputError(f"{folder}: a model of kind {texts[0]}, expected {texts[1]}; give the folder of such a model")
    for part in expected:
        for file in (WEIGHTS, CARD):
            if not (folder / part / file).is_file():
                raise InputError(f"{folder / part / file}: is missing; give the folder of a whole model")


def _replace(target: Path, files: dict[str, Path], digest: str, planned: str) -> None:
    """Put copies of a model's files, by their names in its folder, in place of a shipped model. Raises
    InfrastructureError where the disk refuses, and leaves the shipped model as it was."""
    draft, old = (target.with_name(f".{target.name}.{word}.{uuid.uuid4().hex[:8]}") for word in ("new", "old"))
    try:
        for name, path in files.items():
            (draft / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, draft / name)
            if planned and Path(name).name == CARD:
                card = (draft / name).read_text(encoding="utf-8")
                (draft / name).write_text(f"{card.rstrip()}\n\n{planned}", encoding="utf-8")
        if model_digest(draft) != digest:
            raise InfrastructureError(f"{target}: the copy differs from the model; release it again")
        target.rename(old)
        draft.rename(target)
    except OSError as error:
        raise InfrastructureError(f"{target}: cannot be written: {error.strerror or error}") from None
    finally:
        if not target.exists():
            old.rename(target)
        for folder in (draft, old):
            shutil.rmtree(folder, ignore_errors=True)
