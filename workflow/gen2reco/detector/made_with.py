"""The detector that a record file was made with, as its provenance states it."""

from collections.abc import Mapping
from pathlib import Path

from gen2reco.config.block import load_block, parse_block
from gen2reco.config.detector import Detector
from gen2reco.errors import InputError
from gen2reco.events import records


def stated_detector(story: Mapping[str, Mapping]) -> Detector | None:
    """The detector of the last stage that states one, from the facts by stage of a file; None if none does."""
    for facts in reversed(list(story.values())):
        if facts.get("detector"):
            return Detector.model_validate(facts["detector"])
    return None


def detector_of(path: Path | str, given: Path | None = None) -> Detector:
    """The detector file that is given, else the detector that a record file was made with.

    Raises InputError where there is neither.
    """
    if given is not None:
        return load_block(given, Detector)
    if found := stated_detector(records.Source(path).story):
        return found
    raise InputError(f"{path}: does not say which detector it was made with; give --detector")


def simulated_in(story: Mapping[str, Mapping], source: str) -> Detector | None:
    """The detector that showers were simulated in, from the facts by stage of a file; None if it is not stated. Raises
    InputError naming the source where it is damaged."""
    stated = (story.get("simulate") or {}).get("detector")
    return parse_block(stated, Detector, source) if stated else None


def check_geometry(made: Detector | None, detector: Detector, source: str = "the hits") -> None:
    """Raises InputError where showers were made in another geometry than that of the detector; None: not stated."""
    if made is None or made.geometry_digest == detector.geometry_digest:
        return
    raise InputError(
        f"{source}: simulated in detector `{made.name}` of geometry {made.geometry_digest[:12]}, but "
        f"`{detector.name}` has {detector.geometry_digest[:12]}; later stages can change digitisation, dead cells and "
        "tracks, never the showers: simulate them in this detector"
    )
