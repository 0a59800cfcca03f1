"""The models that ship with the package, by name; each is the first champion of its kind."""

from pathlib import Path

from gen2reco.config.block import load_json
from gen2reco.errors import InputError
from gen2reco.files import MAX_TEXT
from gen2reco.run.model_folder import CONFIG, PARTS

PACKAGE = Path(__file__).parents[1]
"""The package, whose rooms hold the shipped models in their folders `release`."""

Kinds = dict[str, str]
"""Folder of each part in a model's folder (empty for a model in one part), and the kind of the part."""


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
