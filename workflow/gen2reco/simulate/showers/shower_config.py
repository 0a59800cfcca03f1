"""The part of a shower model's config that is used: families and species, scales, range, and quality by evaluations.

What a config does not state is as in the models released before configs stated it.
"""

from typing import Literal, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from gen2reco.config.block import Block
from gen2reco.config.detector import Detector
from gen2reco.run.model_folder import Bounds, ModelConfig

Family = Literal["electromagnetic", "hadron", "muon"]
Scale = tuple[float, PositiveFloat]
"""Centre and width of a number: (x - centre) / width is about standard."""


Layers = Literal["flow", "meanflow", "diffusion", "gan", "vae", "spline", "copula", "depth"]
"""Ways to draw a shower's layers: all together, or (`depth`) one after the other."""


class NetworkSizes(Block):
    """Sizes of the networks of a family."""

    width: int = Field(default=192, ge=1, le=4096)
    """Width of the flow's residual network."""
    depth: int = Field(default=3, ge=1, le=64)
    """Its residual blocks."""


class ShowerSizes(NetworkSizes):
    """Sizes of the networks of a family, and what they are."""

    layers: Layers = "flow"
    """How the layers are drawn."""
    energies: Literal["cells", "shares"] = "cells"
    """What is drawn of a layer's energy: that of a cell, or its share of what the layers before have left."""
    halo: Literal["odds"]
    """How many cells are far from the axis: given the odds of the others. Models that do not say so are of an older
    kind, and refused."""


class ContextScales(ModelConfig):
    """How the numbers of a particle at the front face become a context of about standard ones."""

    front_face: PositiveFloat = 3200.0
    """|z| of the face, mm: slopes are compared with that of the line from the origin."""
    log_energy: Scale = (2.3, 1.7)
    """Logarithm of the incident energy in GeV."""
    radius: Scale = (850.0, 400.0)
    """Distance to the beam at the face, mm."""
    steepness: Scale = (0.3, 0.2)
    """Transverse over longitudinal momentum."""
    deviation: PositiveFloat = 0.2
    """Width of the slope's deviation from the line from the origin, outward and across."""

    @classmethod
    def of(cls, detector: Detector) -> "ContextScales":
        """The scales of a new training: radii in proportion to the distance of the face."""
        usual = cls()
        stretch = detector.front_face / usual.front_face
        return cls(front_face=detector.front_face, radius=tuple(r * stretch for r in usual.radius))


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

    families: dict[Family, ShowerSizes] = Field(min_length=1)
    species: dict[Family, list[int]] = {
        "electromagnetic": [22, 11, -11],
        "hadron": [211, -211, 321, -321, 130, 2112, -2112, 2212, -2212],
        "muon": [13, -13],
    }
    """PDG codes of each family, in the order of the network's inputs."""
    layers: PositiveInt = 47
    """Layers of an endcap."""
    scales: ContextScales = ContextScales()
    range: ShowerRange
    quality: list[Quality] = []

    @model_validator(mode="after")
    def _species_of_families(self) -> Self:
        if missing := [family for family in self.families if not self.species.get(family)]:
            raise ValueError(f"`species` of the family `{missing[0]}` are missing")
        codes = [code for family in self.families for code in self.species[family]]
        if twice := [code for code in codes if codes.count(code) > 1]:
            raise ValueError(f"`species` hold {twice[0]} twice")
        return self
