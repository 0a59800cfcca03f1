"""How the hits that are read out again were simulated, from the facts by stage in their file's metadata."""

from pydantic import BaseModel, Field, StrictInt, StrictStr

from gen2reco.config.block import parse_block
from gen2reco.config.detector import Detector


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
