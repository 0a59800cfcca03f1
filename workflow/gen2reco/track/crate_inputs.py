"""What of a campaign goes into a crate so that it can run elsewhere: its configuration, event files and models, and the
references between them by their places in the crate."""

import hashlib
import logging
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

import gen2reco
from gen2reco.campaign.campaign import named_files
from gen2reco.config.block import parse_yaml, strings
from gen2reco.errors import InputError
from gen2reco.run.model_folder import SUFFIXES, located, model_files
from gen2reco.track.regular import NotTaken, read

LARGEST = 2**24
"""Bytes of a file of the configuration."""
LARGEST_EVENTS = 2**28
"""Bytes of an event file, and of a file of a model."""
TEXT = {".json", ".html", ".md", ".txt", ".csv", ".svg", ".yaml", ".yml", ".cmnd", ".xml"}
_LEFT = logging.getLogger(__name__)


@dataclass
class Inputs:
    """Files by their places in the crate."""

    campaign: str = ""
    """The place of the campaign file; empty where it is not taken."""
    files: dict[str, bytes] = field(default_factory=dict)
    """Place → content."""
    models: dict[str, Path] = field(default_factory=dict)
    """Place → the file of a model that the campaign uses and does not make."""


def checkout() -> Path | None:
    """The folder of the workflow."""
    return next((p for p in (Path(gen2reco.__file__).parents[2], Path.cwd()) if (p / "Snakefile").is_file()), None)


def left(what: str) -> None:
    """Tell what is not in the crate."""
    _LEFT.warning("not taken into the crate: %s", what)


def inputs_of(lock: dict) -> Inputs:
    """The campaign file, the files that its fields of paths name, the event files of its processes, and the models that
    it names, as far as they lie in its folder or the checkout and are still what the plan was made from; others are
    named in a warning. References between them hold in the crate."""
    found, places = Inputs(), {}
    campaign = Path(os.path.normpath(lock["campaign_file"])).absolute()
    for name, known, most in _wanted(lock):
        path = Path(os.path.normpath(name))
        try:
            inside, content = _taken(path, campaign.parent, known, most)
        except NotTaken as error:
            left(f"{name}: {error}")
            continue
        places[path.absolute()], found.files[inside] = inside, content
    found.campaign = places.get(campaign, "")
    folders = _models(lock, found)
    for path, inside in places.items():
        if path.suffix in (".yaml", ".yml"):
            names = folders if inside == found.campaign else {}
            found.files[inside] = _rewritten(found.files[inside], path, inside, places, names)
    return found


def _wanted(lock: dict) -> Iterator[tuple[str, str, int]]:
    """(name, sha256, most bytes) of each file that belongs to the campaign."""
    try:
        named = {os.path.normpath(file) for file in named_files(Path(lock["campaign_file"]))}
    except InputError as error:
        named = {os.path.normpath(lock["campaign_file"])}
        left(str(error))
    events = {os.path.normpath(name): known for name, known in _event_files(lock)}
    planned = {os.path.normpath(name) for name in lock["files"]}
    for name, known in lock["files"].items():
        if os.path.normpath(name) in named:
            yield name, known, LARGEST_EVENTS if os.path.normpath(name) in events else LARGEST
        else:
            left(f"{name}: is not named by a field that holds a path")
    for name, known in events.items():
        if name not in planned:
            yield name, known, LARGEST_EVENTS


def _event_files(lock: dict) -> Iterator[tuple[str, str]]:
    """(file, sha256) of the events that processes of the campaign read, and of the showers that a stage reads."""
    for sample in lock["samples"].values():
        for entry in sample["stages"].values():
            options = entry.get("options") or {}
            for named in (options, options.get("process")):
                if isinstance(named, dict) and named.get("file") and named.get("sha256"):
                    yield str(named["file"]), str(named["sha256"])


def _taken(path: Path, folder: Path, known: str, most: int) -> tuple[str, bytes]:
    """Where a file goes in the crate, and its content. Raises NotTaken."""
    roots = [(root.absolute(), place) for root, place in ((checkout(), ""), (folder, "campaign")) if root]
    root, place = next((found for found in roots if path.absolute().is_relative_to(found[0])), (None, ""))
    if root is None:
        raise NotTaken("lies outside the campaign's folder and the checkout")
    inside = path.absolute().relative_to(root)
    if (most == LARGEST and path.suffix not in TEXT) or any(part.startswith(".") for part in inside.parts):
        raise NotTaken("is hidden, or no configuration by its name")
    content = read(path, root, most)
    if hashlib.sha256(content).hexdigest() != known:
        raise NotTaken("has changed since it was planned")
    return (Path(place) / inside).as_posix(), content


def _models(lock: dict, found: Inputs) -> dict[str, str]:
    """Take the models that stages name by a folder, a digest or the registry; returns name → folder in the crate."""
    folders = {}
    for sample in lock["samples"].values():
        for entry in sample["stages"].values():
            if not (name := entry.get("named")) or name in folders:
                continue
            digest = str(entry["options"]["model"])
            try:
                files = model_files(located(digest))
            except (InputError, OSError) as error:
                left(f"model `{name}`: {error}")
                continue
            folders[name] = f"models_used/{digest[:12]}"
            taken = {inside: path for inside, path in files.items() if path.suffix in SUFFIXES}
            found.models |= {f"{folders[name]}/{inside}": path for inside, path in taken.items()}
    return folders


def _rewritten(content: bytes, path: Path, inside: str, places: dict[Path, str], names: dict[str, str]) -> bytes:
    """The text of a YAML file with its references to files and models as they are from its place in the crate."""
    text, here = content.decode("utf-8", "replace"), Path(inside).parent
    for value in dict.fromkeys(strings(parse_yaml(text, str(path)))):
        target = names.get(value) or places.get(Path(os.path.normpath(path.parent.absolute() / value)))
        if target is None or os.path.normpath(here / value) == target:
            continue
        reference = Path(os.path.relpath(target, here)).as_posix()
        reference = reference if "/" in reference else f"./{reference}"
        text = re.sub(rf"(?<![\w./@:-]){re.escape(value)}(?![\w./@:-])", reference.replace("\\", r"\\"), text)
    return text.encode()
