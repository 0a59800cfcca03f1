"""What a learned shower is told of its particle, all in the endcap at z > 0."""

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from gen2reco.detector.propagate import AtFace
from gen2reco.events.truth import incident_energy

FAMILIES: dict[str, tuple[int, ...]] = {
    "electromagnetic": (22, 11, -11),
    "hadron": (211, -211, 321, -321, 130, 2112, -2112, 2212, -2212),
    "muon": (13, -13),
}
"""The species of each family: one model a family, the species a condition of it."""
N_CONTEXT = 7
"""Numbers of `context` before the species."""


@dataclass(frozen=True)
class Incidence:
    """Particles at the front face: arrays (n,) or (n, 2)."""

    pdg: NDArray[np.int64]
    energy: NDArray[np.float64]
    """Incident energy, GeV."""
    position: NDArray[np.float64]
    """(n, 2) mm."""
    slope: NDArray[np.float64]
    """(n, 2) px/pz and py/pz, along the path in the endcap."""
    time: NDArray[np.float64]
    """ns."""

    def __len__(self) -> int:
        return len(self.pdg)

    def __getitem__(self, chosen: NDArray | slice) -> "Incidence":
        """A selection by mask, indices or slice."""
        return Incidence(*(getattr(self, field.name)[chosen] for field in fields(self)))

    @property
    def steepness(self) -> NDArray[np.float64]:
        """Transverse over longitudinal momentum."""
        return np.hypot(*self.slope.T)

    def context(self, family: str) -> NDArray[np.float32]:
        """Energy, place and direction, about standard, and the species, one of the family's: (n, n_context)."""
        log_energy = (np.log(self.energy) - 2.3) / 1.7
        radius = np.hypot(*self.position.T)
        outward = self.position / np.maximum(radius, 1e-9)[:, None]
        along = (self.slope * outward).sum(1)
        across = np.abs(self.slope[:, 0] * outward[:, 1] - self.slope[:, 1] * outward[:, 0])
        place = (radius - 850.0) / 400.0
        steep = (self.steepness - 0.25) / 0.1
        miss = along - radius / 3200.0
        columns = [log_energy, log_energy**2 - 1, place, place**2 - 1, steep, miss / 0.1, across / 0.1]
        species = self.pdg[:, None] == np.array(FAMILIES[family])
        return np.concatenate([np.stack(columns, 1), species], 1).astype(np.float32)


def incidence(at_face: AtFace) -> Incidence:
    """Particles at the face of either endcap, mirrored into the one at z > 0."""
    mirrored = at_face.mirrored()
    slope = mirrored.momentum[:, :2] / mirrored.momentum[:, 2:]
    energy = incident_energy(at_face.pdg, at_face.energy)
    return Incidence(at_face.pdg, energy, mirrored.position[:, :2], slope, at_face.time)


def family_of(pdg: NDArray) -> NDArray[np.int64]:
    """Which of FAMILIES each species belongs to, by number; -1: none."""
    found = np.full(len(pdg), -1)
    for number, species in enumerate(FAMILIES.values()):
        found[np.isin(pdg, species)] = number
    return found
