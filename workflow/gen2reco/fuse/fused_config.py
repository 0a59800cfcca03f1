"""The part of a fused model's config that is used: networks, features, the detector that it was trained for, domain.

What a config does not state is as in the models released before configs stated it.
"""

from typing import Annotated, Literal, Self

from pydantic import Field, PositiveFloat, model_validator

from gen2reco.config.block import Block
from gen2reco.config.detector import Detector
from gen2reco.events.schemas import IDENTITIES
from gen2reco.run.model_folder import Bounds, ModelConfig

N_CODES = 2 * len(IDENTITIES)
"""An object's code: its identity, and len(IDENTITIES) more if it has the particle's track."""
Score = Literal["particles", "energy", "hardest", "density"]
INPUTS: tuple[Score, ...] = ("particles", "energy", "hardest", "density")
"""Scores of an event's particles at the face: how many, their energy, that of the hardest, and the largest energy of a
particle's neighbourhood (within the second ring), GeV; each is bounded by the largest of the training."""
SPECIES = {
    **{"photon": "", "electron": "", "muon": "", "pion": "", "kaon": "pion", "proton": "pion", "antiproton": "proton"},
    **{"neutron": "neutral", "antineutron": "neutron", "neutral": ""},
}
"""Kinds of particles, and the broader kind that stands for one which a model does not name. Charged baryons count as
(anti)protons, neutral ones as (anti)neutrons, other neutral hadrons as `neutral`."""
Scale = tuple[float, PositiveFloat]
"""Centre and width of a number: (x - centre) / width is about standard."""


class FusedSizes(Block):
    """Sizes of the networks."""

    encoder: int = Field(default=64, ge=1, le=4096)
    """Width of the networks that encode a particle and its neighbours."""
    width: int = Field(default=48, ge=1, le=4096)
    """Width of the flow's network for objects."""
    pooled: int = Field(default=32, ge=1, le=4096)
    """Width of the state that the objects of a particle share in it."""
    depth: int = Field(default=2, ge=1, le=64)
    """Its layers."""


class FeatureConfig(ModelConfig):
    """How particles at the face become features of about standard numbers; lengths in mm."""

    species: list[str] = [
        *("photon", "electron", "muon", "pion", "kaon"),
        *("proton", "antiproton", "neutron", "antineutron", "neutral"),
    ]
    """Kinds of particles that the networks distinguish, in the order of their inputs."""
    front_face: PositiveFloat = 3200.0
    """|z| of the face: slopes are compared with that of the line from the origin."""
    log_energy: Scale = (1.0, 1.5)
    """Logarithm of the incident energy in GeV."""
    radius: Scale = (700.0, 350.0)
    """Distance to the beam at the face."""
    slope: PositiveFloat = 0.05
    """Width of the slope's deviation from the line from the origin, outward and across."""
    rings: list[PositiveFloat] = Field(default=[20.0, 40.0, 80.0, 160.0, 320.0], min_length=2, max_length=100)
    """Rising radii of the rings about a particle, whose energies are features."""
    offset: PositiveFloat = 20.0
    """Offsets of neighbours enter as arcsinh(offset / this)."""
    depth: PositiveFloat = 300.0
    """Distance behind the face at which offsets enter once more: bent particles do not point at the origin."""
    object_offset: PositiveFloat = 5.0
    """Offsets of objects from their particles are drawn as arcsinh(offset / this)."""

    @model_validator(mode="after")
    def _rings_rise(self) -> Self:
        if sorted(set(self.rings)) != self.rings:
            raise ValueError("expected rising `rings`")
        return self

    @classmethod
    def of(cls, detector: Detector) -> "FeatureConfig":
        """The features of a new training: radii in proportion to the distance of the face."""
        usual = cls()
        stretch = detector.front_face / usual.front_face
        radius = tuple(r * stretch for r in usual.radius)
        return cls(species=list(SPECIES), front_face=detector.front_face, radius=radius)

    @property
    def size(self) -> int:
        """Features of a particle."""
        return len(self.species) + 10 + 2 * len(self.rings)

    def place_of(self, species: str) -> int:
        """Place in `species` of a kind of particle, or of the narrowest broader kind that is named; -1: none."""
        while species and species not in self.species:
            species = SPECIES[species]
        return self.species.index(species) if species else -1


class DomainConfig(ModelConfig):
    """Bounds of an event's scores."""

    largest: dict[Score, float] = Field(min_length=len(INPUTS), max_length=len(INPUTS))
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

    sizes: FusedSizes
    features: FeatureConfig = FeatureConfig()
    configurations: list[Annotated[list[Annotated[int, Field(ge=0, lt=N_CODES)]], Field(max_length=64)]] = Field(
        min_length=1, max_length=4096
    )
    """Objects that a particle may have, by their codes; that of none is among them."""
    detector: Detector
    domain: DomainConfig
