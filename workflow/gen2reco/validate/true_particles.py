"""True particles as the calorimeter meets them: kind, energy, position and direction at the front face."""

from typing import NamedTuple

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from gen2reco.config.detector import Detector
from gen2reco.events.truth import STANDARD, Properties

KINDS = ("photon", "electron", "muon", "charged_hadron", "neutral_hadron")
PDG_OF_KIND = {"photon": 22, "electron": 11, "muon": 13, "charged_hadron": 211, "neutral_hadron": 130}
KIND_LABELS = {
    "photon": "photons",
    "electron": "electrons",
    "muon": "muons",
    "charged_hadron": "charged hadrons",
    "neutral_hadron": "neutral hadrons",
}
_TESLA = 0.299792458e-3
"""GeV per T and mm."""
ON_FACE = 1e-3
"""mm: particles that start so near behind the face start on it."""


class Flat(NamedTuple):
    """A list column laid flat: the fields (n,), the row of each entry (n,), and entries per row (rows,)."""

    fields: dict[str, NDArray]
    row: NDArray
    counts: NDArray

    def __getitem__(self, name: str) -> NDArray:
        return self.fields[name]

    @property
    def starts(self) -> NDArray:
        """Index of the first entry of each row."""
        return np.cumsum(self.counts) - self.counts


def flat(column: ak.Array) -> Flat:
    """Lay a column of lists of structs flat."""
    counts = ak.to_numpy(ak.num(column)).astype(np.int64)
    entries = ak.flatten(column)
    fields = {name: ak.to_numpy(entries[name]) for name in entries.fields}
    return Flat(fields, np.repeat(np.arange(len(counts)), counts), counts)


class AtFace(NamedTuple):
    """State of each particle (n,) at |z| of the front face; mm and radians; `reached` says whether it gets there."""

    reached: NDArray
    x: NDArray
    y: NDArray
    z: NDArray
    slope_x: NDArray
    slope_y: NDArray
    eta: NDArray
    phi: NDArray


def kind_of(pdg: NDArray, properties: Properties = STANDARD) -> NDArray[np.int64]:
    """Index into KINDS of each PDG code; -1 for neutrinos and all else that is not visible."""
    code = np.abs(pdg)
    kind = np.where(properties.charge(pdg) != 0, 3, 4)
    for index, own in ((0, 22), (1, 11), (2, 13)):
        kind[code == own] = index
    kind[~properties.visible(pdg)] = -1
    return kind


def true_energy(particles: Flat, properties: Properties = STANDARD) -> NDArray[np.float64]:
    """True energy of each particle, GeV, as the calorimeter can see it."""
    return properties.incident_energy(particles["pdg"], particles["energy"])


def at_face(particles: Flat, detector: Detector | None, properties: Properties = STANDARD) -> AtFace:
    """Helix in the solenoid (a straight line if neutral) from the production vertex to the front face.

    Without a detector: 3.8 T and 3200 mm. Those that loop or move away are not `reached`; the annulus is not asked.
    """
    field, face = (detector.solenoid.field, detector.front_face) if detector else (3.8, 3200.0)
    px, py, pz = (particles[name].astype(np.float64) for name in ("px", "py", "pz"))
    vx, vy, vz = (particles[name].astype(np.float64) for name in ("vx", "vy", "vz"))
    with np.errstate(divide="ignore", invalid="ignore"):
        along = np.sign(pz) * face - vz
        turn = _TESLA * properties.charge(particles["pdg"]) * field * along / pz
        reached = (pz != 0) & (along * np.sign(pz) > -ON_FACE) & (np.abs(turn) < np.pi)
        pt, phi = np.hypot(px, py), np.arctan2(py, px)
        chord = pt / pz * along * np.sinc(turn / (2 * np.pi))
        x, y = vx + chord * np.cos(phi - turn / 2), vy + chord * np.sin(phi - turn / 2)
        z = np.sign(pz) * face
        slope = pt / pz
        eta = np.arcsinh(z / np.maximum(np.hypot(x, y), 1e-9))
    state = (x, y, z, slope * np.cos(phi - turn), slope * np.sin(phi - turn), eta, np.arctan2(y, x))
    return AtFace(reached, *(np.where(reached, value, 0.0) for value in state))


def delta_phi(a: NDArray, b: NDArray) -> NDArray:
    """a - b in (-pi, pi]."""
    return np.pi - np.mod(np.pi - (a - b), 2 * np.pi)


def nearest_neighbour(face: AtFace, row: NDArray, among: NDArray) -> NDArray[np.float64]:
    """Distance at the face of each particle to the nearest other one `among` the given of its event and side, mm.

    Infinite where there is none within two metres.
    """
    from scipy.spatial import cKDTree

    apart = 1e5 * (2.0 * row + (face.z > 0))
    points = np.stack([face.x, face.y, apart], axis=1)
    if not among.any():
        return np.full(len(row), np.inf)
    tree = cKDTree(points[among])
    distance, index = tree.query(points, k=2, distance_upper_bound=2000.0)
    itself = np.full(len(row), -1)
    itself[among] = np.arange(among.sum())
    return np.where(index[:, 0] == itself, distance[:, 1], distance[:, 0])
