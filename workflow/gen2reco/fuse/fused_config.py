"""What of a fused model's config is used: its networks, the detector that it was trained for, and its domain."""

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from gen2reco.config.block import Block
from gen2reco.config.detector import Detector
from gen2reco.fuse.object_numbers import N_CODES
from gen2reco.run.model_folder import Bounds, ModelConfig

INPUTS = ("particles", "energy", "hardest", "density")
"""Scores of an event's particles at the face: how many, their energy, that of the hardest, and the largest energy of a
particle's neighbourhood (within the second of RINGS), GeV; each is bounded by the largest of the training."""


class Sizes(Block):
    """Sizes of the networks."""

    encoder: int = Field(default=64, ge=1, le=4096)
    """Width of the networks that look at a particle and its neighbours."""
    width: int = Field(default=48, ge=1, le=4096)
    """Width of the flow's network for objects."""
    pooled: int = Field(default=32, ge=1, le=4096)
    """Width of what the objects of a particle share in it."""
    depth: int = Field(default=2, ge=1, le=64)
    """Its layers."""


class DomainConfig(ModelConfig):
    """Bounds of an event's scores."""

    largest: dict[Literal["particles", "energy", "hardest", "density"], float] = Field(
        min_length=len(INPUTS), max_length=len(INPUTS)
    )
    """Of INPUTS."""
    edges: list[float] = Field(min_length=2, max_length=1000)
    """Bins of an event's energy, GeV."""
    response: list[Bounds]
    """Smallest and largest ratio, in each bin, of the objects' energy to that of the particles."""

    @model_validator(mode="after")
    def _bins(self) -> Self:
        if len(self.edges) != len(self.response) + 1 or sorted(self.edges) != self.edges:
            raise ValueError("expected rising `edges`, one more than `response` has ranges")
        return self


class FusedConfig(ModelConfig):
    """The config of a fused model."""

    sizes: Sizes
    configurations: list[Annotated[list[Annotated[int, Field(ge=0, lt=N_CODES)]], Field(max_length=64)]] = Field(
        min_length=1, max_length=4096
    )
    """Objects that a particle may have, by their codes; that of none is among them."""
    detector: Detector
    domain: DomainConfig
