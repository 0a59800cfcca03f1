"""Which files of a model folder are registered: those of known names, regular and no links; nothing else leaves it."""

import logging
from pathlib import Path

from gen2reco.errors import InputError
from gen2reco.run.model_folder import CARD, CONFIG, EVALUATION, PARTS, SUFFIXES, WEIGHTS
from gen2reco.track.regular import NotTaken, check

NAMES = (WEIGHTS, CONFIG, CARD, EVALUATION)
PLACES = {*NAMES, *(f"{part}/{name}" for part in PARTS for name in NAMES)}
LARGEST = 2**32


def files_of(folder: Path, model: str) -> dict[str, Path]:
    """The files of a model by their names in its folder; all others but hidden ones are named in a warning.

    Raises InputError for a folder that is none, a link, and kinds of files that could carry code.
    """
    if not folder.is_dir():
        raise InputError(f"{folder}: no such folder; give the folder of a model")
    found, left = {}, []
    for place in (folder, *(folder / part for part in PARTS)):
        if place.is_symlink() and place != folder:
            raise InputError(f"{place}: is a link; put the folder itself in its place")
        for path in sorted(place.iterdir()) if place.is_dir() else ():
            name = path.relative_to(folder).as_posix()
            if name in PLACES:
                found[name] = _taken(path, folder)
            elif not path.name.startswith(".") and not path.is_dir():
                left.append(name)
                _check_kind(name, model)
    if left:
        logging.getLogger(__name__).warning("%s: not registered: %s", folder, ", ".join(left)[:300])
    return found


def _taken(path: Path, folder: Path) -> Path:
    try:
        check(path, folder, LARGEST)
    except NotTaken as error:
        raise InputError(f"{path}: {error}; put the file itself in its place") from None
    return path


def _check_kind(name: str, model: str) -> None:
    if Path(name).suffix not in SUFFIXES:
        raise InputError(f"model {model}: {name} is refused: only {', '.join(NAMES)} are registered; remove it")
