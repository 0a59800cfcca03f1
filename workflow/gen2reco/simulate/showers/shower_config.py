"""What of a shower model's config is used: its families, its range, and its quality against evaluations."""

from typing import Literal

from pydantic import Field

from gen2reco.config.block import Block
from gen2reco.run.model_folder import Bounds, ModelConfig


class Sizes(Block):
    """Sizes of the networks of a family."""

    width: int = Field(default=192, ge=1, le=4096)
    """Width of the flow's residual network."""
    depth: int = Field(default=3, ge=1, le=64)
    """Its residual blocks."""


class ShowerRange(ModelConfig):
    """Where a model is valid."""

    energy: Bounds
    """Incident energies, GeV."""
    steepness: Bounds
    """Transverse over longitudinal momentum."""


class Quality(ModelConfig):
    """How good a network is at some number of evaluations, on held-out showers."""

    network: Literal["student", "teacher"]
    evaluations: int = Field(ge=1, le=100)
    auc: float
    """Of a classifier between them and showers of Geant4."""


class ShowersConfig(ModelConfig):
    """The config of a shower model."""

    families: dict[Literal["electromagnetic", "hadron", "muon"], Sizes] = Field(min_length=1)
    range: ShowerRange
    quality: list[Quality] = []
