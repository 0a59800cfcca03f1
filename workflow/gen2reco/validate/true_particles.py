"""True particles as the calorimeter meets them: kind, energy, position and direction at the front face."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gen2reco.config.detector import Detector
from gen2reco.detector.propagate import fly
from gen2reco.events.schemas import IDENTITIES
from gen2reco.events.truth import STANDARD, Properties
from gen2reco.validate.flat_lists import FlatList

KIND_LABELS = {name: name.replace("_", " ") + "s" for name in IDENTITIES}
_NAMES = ("photon", "electron", "muon", "charged_hadron", "neutral_hadron")
PHOTON, ELECTRON, MUON, CHARGED, NEUTRAL = (IDENTITIES.index(name) for name in _NAMES)


class FaceState(NamedTuple):
    """State of each particle (n,) at |z| of the front face; mm and radians; `reached` says whether it gets there.

    Slopes are dx/dz and dy/dz; all is zero of particles that do not get there.
    """

    reached: NDArray
    x: NDArray
    y: NDArray
    z: NDArray
    slope_x: NDArray
    slope_y: NDArray
    eta: NDArray
    phi: NDArray


def kind_of(pdg: NDArray, properties: Properties = STANDARD) -> NDArray[np.int64]:
    """Index into IDENTITIES of each PDG code; -1 for neutrinos and all else that is not visible."""
    code = np.abs(pdg)
    kind = np.where(properties.charge(pdg) != 0, CHARGED, NEUTRAL)
    for index, own in ((PHOTON, 22), (ELECTRON, 11), (MUON, 13)):
        kind[code == own] = index
    kind[~properties.visible(pdg)] = -1
    return kind


def true_energy(particles: FlatList, properties: Properties = STANDARD) -> NDArray[np.float64]:
    """True energy of each particle, GeV, as the calorimeter can measure it."""
    return properties.incident_energy(particles["pdg"], particles["energy"])


def vertex_direction(particles: FlatList) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Pseudorapidity and azimuth of each particle's momentum at its vertex, (n,)."""
    px, py, pz = particles.vectors("px", "py", "pz").T
    return np.arcsinh(pz / np.maximum(np.hypot(px, py), 1e-9)), np.arctan2(py, px)


def at_face(particles: FlatList, detector: Detector, properties: Properties = STANDARD) -> FaceState:
    """State of each particle where its path (a helix in the solenoid if charged) meets the plane of the front face.

    Those that move away, start behind it, or turn by more than a full circle do not reach it; whether they meet the
    annulus of the endcap is not checked.
    """
    momentum, vertex = (particles.vectors(*names) for names in (("px", "py", "pz"), ("vx", "vy", "vz")))
    with np.errstate(over="ignore", invalid="ignore", divide="ignore"):
        flight = fly(properties.charge(particles["pdg"]), momentum, vertex, detector)
        reached = flight.forward & (np.abs(flight.turn) < 2 * np.pi)
        (x, y, z), (px, py, pz) = flight.position.T, flight.momentum.T
        slope_x, slope_y = px / pz, py / pz
        eta, phi = np.arcsinh(z / np.maximum(np.hypot(x, y), 1e-9)), np.arctan2(y, x)
    return FaceState(reached, *(np.where(reached, value, 0.0) for value in (x, y, z, slope_x, slope_y, eta, phi)))


def delta_phi(a: NDArray, b: NDArray) -> NDArray:
    """a - b in (-pi, pi]."""
    return np.pi - np.mod(np.pi - (a - b), 2 * np.pi)


def nearest_neighbour(face: FaceState, row: NDArray, among: NDArray) -> NDArray[np.float64]:
    """Distance at the face of each particle to the nearest other one of its event and side in the mask `among`, mm.

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
