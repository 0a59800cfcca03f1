"""The detector, stated once: volumes, cell grid, digitisation, solenoid and tracks all follow from this block."""

from typing import Annotated, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from gen2reco.config.block import Block, Name, digest

Fraction = Annotated[float, Field(ge=0.0, le=1.0)]


class Material(Block):
    """A material: what Geant4 builds, and the lengths and losses from which depths and weights are computed."""

    geant4: str | None = None
    """Name in Geant4's NIST database (G4_Pb); none for a mixture given by `density` and `composition`."""
    density: PositiveFloat | None = None
    """Density of a mixture, g/cm3."""
    composition: dict[str, PositiveFloat] = {}
    """Mass fractions of a mixture by element symbol; they add up to 1."""
    radiation_length: PositiveFloat
    """Radiation length, mm."""
    interaction_length: PositiveFloat
    """Nuclear interaction length, mm."""
    mip_loss: PositiveFloat
    """Mean energy loss of a minimum-ionising particle, MeV/mm."""

    @model_validator(mode="after")
    def _one_recipe(self) -> Self:
        mixture = self.density is not None and bool(self.composition)
        if (self.geant4 is None) != mixture:
            raise ValueError("expected either `geant4`, or `density` with `composition`")
        if mixture and abs(sum(self.composition.values()) - 1.0) > 1e-6:
            raise ValueError(f"mass fractions add up to {sum(self.composition.values()):g}, expected 1")
        return self


class Slab(Block):
    """A plate of one material across the endcap."""

    material: Name
    """Key of `materials`."""
    thickness: PositiveFloat
    """Thickness along the beam, mm."""


class Section(Block):
    """Consecutive layers of one kind."""

    name: Name
    """Name of the section."""
    electromagnetic: bool
    """Whether the section belongs to the electromagnetic calorimeter."""
    layers: PositiveInt
    """Number of silicon planes."""
    absorbers: list[Annotated[list[Slab], Field(min_length=1)]] = Field(min_length=1)
    """Absorber in front of each plane, from the front; the list is cycled through the layers."""


class Module(Block):
    """What follows every absorber: gap, silicon, readout."""

    front: list[Slab] = []
    """Slabs between absorber and silicon."""
    silicon: Slab
    """The sensitive slab."""
    back: list[Slab] = []
    """Slabs behind the silicon."""


class Digitisation(Block):
    """From noise-free deposits to hits; energies in MIP, the most probable loss of a muon in the silicon."""

    mip_energy: PositiveFloat
    """One MIP: most probable energy loss of a minimum-ionising particle in the silicon, MeV."""
    em_scale: PositiveFloat
    """Factor on the layers' dE/dx weights that gives photons a mean response of one."""
    noise: float = Field(ge=0.0)
    """Standard deviation of a cell's noise, MIP."""
    threshold: PositiveFloat
    """Cells below it are not read out, MIP."""
    saturation: PositiveFloat
    """Largest deposit that a cell measures, MIP."""
    time_threshold: PositiveFloat
    """Deposits below it have no time (-1), MIP."""
    time_constant: float = Field(ge=0.0)
    """Constant term of the time resolution, ns."""
    time_stochastic: float = Field(ge=0.0)
    """Time resolution times the deposit, ns MIP; added in quadrature to the constant term."""
    time_window: PositiveFloat
    """Deposits later than this after a light-like signal from the origin are lost, ns."""


class Solenoid(Block):
    """The uniform field that bends particles on their way to the front face."""

    field: float = Field(ge=0.0)
    """Magnetic field along +z, T."""
    radius: PositiveFloat
    """Inner radius of the barrel calorimeter: particles that reach it first never come to the face, mm."""
    half_length: PositiveFloat
    """Half length of that barrel, mm."""


class Tracker(Block):
    """Parametric tracks of charged particles that reach the front face."""

    eta_min: PositiveFloat
    """Smallest |eta| of the momentum at the production vertex."""
    eta_max: PositiveFloat
    """Largest |eta|."""
    pt_min: PositiveFloat
    """Smallest transverse momentum, GeV."""
    efficiency: Fraction
    """Probability that a particle in acceptance has a track."""
    sigma_constant: float = Field(ge=0.0)
    """Constant term of sigma(pT)/pT."""
    sigma_linear: float = Field(ge=0.0)
    """Term of sigma(pT)/pT that grows with pT, 1/GeV; added in quadrature."""


class Detector(Block):
    """A pair of sampling-calorimeter endcaps behind a solenoid and a parametric tracker."""

    name: Name
    """Name of the detector."""
    front_face: PositiveFloat
    """|z| of the front of the first absorber, mm."""
    eta_min: PositiveFloat
    """Outer edge: cells exist where |eta| of their centre is at least this."""
    eta_max: PositiveFloat
    """Inner edge."""
    cell_size: PositiveFloat
    """Side of the square cells, mm."""
    materials: dict[Name, Material]
    """Materials by name."""
    sections: list[Section] = Field(min_length=1)
    """Sections from the front."""
    module: Module
    """Gap, silicon and readout of every layer."""
    digitisation: Digitisation
    """Readout of the cells."""
    solenoid: Solenoid
    """Magnetic field in front of the endcaps; none is assumed inside them."""
    tracker: Tracker
    """Tracks."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.eta_min >= self.eta_max or self.tracker.eta_min >= self.tracker.eta_max:
            raise ValueError("expected eta_min < eta_max")
        used = [self.module.silicon, *self.module.front, *self.module.back]
        used += [slab for section in self.sections for absorber in section.absorbers for slab in absorber]
        for slab in used:
            if slab.material not in self.materials:
                raise ValueError(f"unknown material `{slab.material}`; known: {', '.join(sorted(self.materials))}")
        if self.n_layers > 255:
            raise ValueError(f"{self.n_layers} layers; cell ids hold at most 255")
        return self

    @property
    def n_layers(self) -> int:
        """Number of silicon planes in one endcap."""
        return sum(section.layers for section in self.sections)

    @property
    def n_em_layers(self) -> int:
        """Number of silicon planes of the electromagnetic sections of one endcap."""
        return sum(section.layers for section in self.sections if section.electromagnetic)

    @property
    def geometry_digest(self) -> str:
        """Digest of what the simulated showers depend on: all but digitisation noise, tracks and solenoid."""
        plain = self.model_dump(mode="json", exclude={"digitisation", "solenoid", "tracker"})
        fixed = {"mip_energy", "em_scale", "time_window"}
        return digest(plain | self.digitisation.model_dump(mode="json", include=fixed))

    @property
    def volumes_digest(self) -> str:
        """Digest of the geometry but for the size of the cells."""
        return self.model_copy(update={"cell_size": 1.0}).geometry_digest
