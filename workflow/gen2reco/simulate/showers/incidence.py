"""The particle that a learned shower starts from, in the endcap at z > 0, and the context that its network takes."""

from dataclasses import dataclass, fields

import numpy as np
from numpy.typing import NDArray

from gen2reco.detector.propagate import AtFace
from gen2reco.events.truth import incident_energy
from gen2reco.simulate.showers.shower_config import ContextScales

FAMILIES: dict[str, tuple[int, ...]] = {
    "electromagnetic": (22, 11, -11),
    "hadron": (211, -211, 321, -321, 130, 2112, -2112, 2212, -2212),
    "muon": (13, -13),
}
"""The species that a new training takes, by family: one model a family, the species a part of its context."""
N_PLACE = 7
"""Numbers of a context before the species."""


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


@dataclass(frozen=True)
class Conditioning:
    """How the networks of one family are conditioned: its species, in the order of the inputs, and the scales."""

    species: tuple[int, ...]
    scales: ContextScales

    def __len__(self) -> int:
        """Numbers of a context."""
        return N_PLACE + len(self.species)

    def context(self, inc: Incidence) -> NDArray[np.float32]:
        """Energy, place and direction, about standard, and the species one-hot: (n, n_context)."""
        scales = self.scales
        log_energy = _standard(np.log(inc.energy), scales.log_energy)
        radius = np.hypot(*inc.position.T)
        outward = inc.position / np.maximum(radius, 1e-9)[:, None]
        along = (inc.slope * outward).sum(1)
        across = np.abs(inc.slope[:, 0] * outward[:, 1] - inc.slope[:, 1] * outward[:, 0])
        place, steep = _standard(radius, scales.radius), _standard(inc.steepness, scales.steepness)
        deviation = (along - radius / scales.front_face) / scales.deviation
        columns = [log_energy, log_energy**2 - 1, place, place**2 - 1, steep, deviation, across / scales.deviation]
        species = inc.pdg[:, None] == np.array(self.species)
        return np.concatenate([np.stack(columns, 1), species], 1).astype(np.float32)


def _standard(values: NDArray, scale: tuple[float, float]) -> NDArray[np.float64]:
    centre, width = scale
    return (values - centre) / width


def incidence(at_face: AtFace) -> Incidence:
    """Particles at the face of either endcap, mirrored into the one at z > 0."""
    mirrored = at_face.mirrored()
    slope = mirrored.momentum[:, :2] / mirrored.momentum[:, 2:]
    energy = incident_energy(at_face.pdg, at_face.energy)
    return Incidence(at_face.pdg, energy, mirrored.position[:, :2], slope, at_face.time)
