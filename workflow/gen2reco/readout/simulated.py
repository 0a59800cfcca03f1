"""How the hits that are read out again were simulated, from the facts by stage in their file's metadata."""

from pydantic import BaseModel, Field, StrictInt, StrictStr

from gen2reco.config.block import parse_block
from gen2reco.config.detector import Detector
from gen2reco.errors import InputError


class Simulated(BaseModel):
    """What the simulate stage says of itself."""

    seed: StrictInt = Field(ge=0)
    sample: StrictStr
    shard: StrictInt = Field(ge=0)
    chunk_events: StrictInt = Field(ge=1)
    detector: Detector | None = None


def simulated(story: dict, source: str = "metadata of the input") -> Simulated | None:
    """The facts of the simulation; None for a file that does not tell them. Raises InputError where they are
    damaged."""
    made = story.get("simulate")
    return None if made is None else parse_block(made, Simulated, source)


def check_geometry(made: Simulated | None, detector: Detector, source: str = "the hits") -> None:
    """Raises InputError where showers were made in another geometry than that of the detector."""
    if made is None or made.detector is None or made.detector.geometry_digest == detector.geometry_digest:
        return
    raise InputError(
        f"{source}: simulated in detector `{made.detector.name}` of geometry {made.detector.geometry_digest[:12]}, but "
        f"`{detector.name}` has {detector.geometry_digest[:12]}; a readout can change digitisation, dead cells and "
        "tracks, never the showers: simulate them in this detector"
    )
