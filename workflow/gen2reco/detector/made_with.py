"""The detector that a record file was made with, as its provenance states it."""

from collections.abc import Mapping
from pathlib import Path

from gen2reco.config.block import load_block
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
