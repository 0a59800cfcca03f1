"""Propagation: every stable particle carried along its helix through vacuum to the front face of the calorimeter.

Reference and learned simulators both start from the state at the face, position and direction: a bent or displaced
particle does not point at the origin.
"""

from dataclasses import dataclass, fields
from typing import NamedTuple

import awkward as ak
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from numpy.typing import NDArray

from gen2reco.config.detector import Detector
from gen2reco.errors import InputError
from gen2reco.events import records
from gen2reco.events.lists import columns, event_of, offsets
from gen2reco.events.truth import STANDARD, Properties, simulated
from gen2reco.units import C_LIGHT

BENDING = 1e-6 * C_LIGHT
"""Curvature 1/mm of a unit charge of 1 GeV transverse momentum in 1 T."""
ON_FACE = 1e-3
"""mm: particles that start so near to the face, by rounding behind it, start on it."""
HEAVY = 0.01
"""Excess of energy over that of a particle's mass and momentum, as a share and in GeV, that event files may have."""


@dataclass(frozen=True)
class AtFace:
    """Particles at the front face, flat over the events of a chunk: all arrays (n,), sorted by event and particle."""

    event: NDArray[np.int64]
    """Index of the event within the chunk, from 0."""
    particle: NDArray[np.int64]
    """Index in the event's `particles`."""
    pdg: NDArray[np.int64]
    charge: NDArray[np.int8]
    energy: NDArray[np.float64]
    """Total energy, GeV."""
    position: NDArray[np.float64]
    """(n, 3) mm; |z| is the front face."""
    momentum: NDArray[np.float64]
    """(n, 3) GeV, as bent by the field."""
    time: NDArray[np.float64]
    """Time since the event's origin, ns."""

    def __len__(self) -> int:
        return len(self.event)

    def __getitem__(self, chosen: NDArray | slice) -> "AtFace":
        """A selection by mask, indices or slice."""
        return AtFace(*(getattr(self, field.name)[chosen] for field in fields(self)))

    def mirrored(self) -> "AtFace":
        """All particles in the endcap at z > 0: those of the other are reflected in z."""
        position, momentum = self.position.copy(), self.momentum.copy()
        momentum[:, 2] *= np.sign(position[:, 2])
        position[:, 2] = np.abs(position[:, 2])
        return AtFace(self.event, self.particle, self.pdg, self.charge, self.energy, position, momentum, self.time)


class Flight(NamedTuple):
    """Particles carried to the plane of the front face; all of them, arrays (n,) or (n, 3)."""

    forward: NDArray[np.bool_]
    """Whether each moves towards the face from in front of it; all else means nothing where it does not."""
    turn: NDArray[np.float64]
    """Angle by which the field has turned it, rad; 2 pi and more are loops."""
    position: NDArray[np.float64]
    """(n, 3) mm."""
    momentum: NDArray[np.float64]
    """(n, 3) GeV, as bent by the field."""
    path: NDArray[np.float64]
    """Length along z over pz, mm/GeV: times the energy over c it is the time of flight, times pT the way across."""


def enter(events: pa.Table, detector: Detector, properties: Properties = STANDARD) -> AtFace:
    """The particles of a chunk of a particles record at the front face, also those that no simulation takes (see
    `truth.simulated`). Raises InputError naming a particle whose energy and momentum are not those of its code."""
    _check_masses(events, properties)
    return propagate(records.awkward(events.select(["particles"])).particles, detector, properties)


def _check_masses(events: pa.Table, properties: Properties) -> None:
    column = events["particles"].combine_chunks()
    flat = column.flatten()
    pdg = flat.field("pdg").to_numpy()
    px, py, pz, energy = (flat.field(name).to_numpy().astype(float) for name in ("px", "py", "pz", "energy"))
    momentum = np.hypot(np.hypot(px, py), pz)
    wrong = energy - np.hypot(momentum, properties.mass(pdg)) > HEAVY * energy + HEAVY
    wrong &= simulated(pdg, energy)
    if wrong.any():
        at = int(np.argmax(wrong))
        event = events["event"][int(pc.list_parent_indices(column)[at].as_py())].as_py()
        name, mass = properties.name(int(pdg[at])), properties.mass([pdg[at]])[0]
        raise InputError(
            f"event {event}: a particle of code {pdg[at]} ({name}) has energy {energy[at]:.4g} GeV and momentum "
            f"{momentum[at]:.4g} GeV, expected a mass of {mass:.4g} GeV; remake or drop the event"
        )


@np.errstate(over="ignore", invalid="ignore", divide="ignore")  # of particles at rest or far away: they do not arrive
def propagate(particles: ak.Array, detector: Detector, properties: Properties = STANDARD) -> AtFace:
    """Carry the particles of a chunk (events * var * record of the particles record) to the front face.

    Helices in the solenoid's uniform field if charged, else straight lines; times of flight include the vertex time.
    Left out are particles that leave no signal, such as neutrinos, and those that miss the annulus, turn more than once
    around, start behind the face, or reach the barrel calorimeter first (radius and half length of the solenoid block).
    """
    event = event_of(particles)
    index = np.arange(len(event)) - offsets(particles)[event]
    flat = columns(particles, ("pdg", "px", "py", "pz", "vx", "vy", "vz", "energy", "time"))
    pdg = flat["pdg"].astype(np.int64)
    p = np.stack([flat[name].astype(np.float64) for name in ("px", "py", "pz")], axis=1)
    vertex = np.stack([flat[name].astype(np.float64) for name in ("vx", "vy", "vz")], axis=1)
    energy = np.maximum(flat["energy"].astype(np.float64), np.hypot(np.hypot(p[:, 0], p[:, 1]), p[:, 2]))
    q = properties.charge(pdg)

    flight = fly(q, p, vertex, detector, ~properties.unseen(pdg))
    time = flat["time"].astype(np.float64) + flight.path * energy / C_LIGHT

    face, position, momentum, turn = detector.front_face, flight.position, flight.momentum, flight.turn
    r = np.hypot(position[:, 0], position[:, 1])
    reaches = (r >= face / np.sinh(detector.eta_max)) & (r <= face / np.sinh(detector.eta_min))
    reaches &= flight.forward & (np.abs(turn) < 2 * np.pi) & np.isfinite(time)
    some = np.flatnonzero(reaches)
    vertex[:, 2] = np.clip(vertex[:, 2], -face, face)
    reaches[some] = ~_stopped_in_barrel(vertex[some], p[some], q[some], momentum[some, 2], detector)
    return AtFace(event, index, pdg, q, energy, position, momentum, time)[reaches]


def light_time(at: NDArray, z: NDArray, entry: NDArray, time: NDArray, face: float) -> NDArray[np.float64]:
    """Time of points reached at the speed of light, straight from where their particles enter at `time`, minus |r|/c:
    (n,) ns. at, entry: (n, 2) mm; z: (n,) mm, of the points; face: of the entries."""
    path = np.sqrt(((at - entry) ** 2).sum(1) + (z - face) ** 2)
    return time + (path - np.sqrt((at**2).sum(1) + z**2)) / C_LIGHT


def fly(
    charge: NDArray, momentum: NDArray, vertex: NDArray, detector: Detector, taken: NDArray | bool = True
) -> Flight:
    """Carry particles to the plane of the front face that they move towards: a helix in the solenoid's uniform field
    if charged, else a straight line, whatever is in the way.

    charge: (n,) in units of e; momentum: (n, 3) GeV; vertex: (n, 3) mm; taken: which particles, the others stay where
    they are meaningless (`forward` is false).
    """
    face = detector.front_face
    forward = taken & (momentum[:, 2] != 0.0) & (np.abs(vertex[:, 2]) <= face + ON_FACE)
    pz = np.where(forward, momentum[:, 2], 1.0)
    dz = np.sign(pz) * face - np.clip(vertex[:, 2], -face, face)
    turn = _turn(charge, pz, dz, detector)
    position = np.column_stack([_along(vertex, momentum, turn, dz / pz), np.sign(pz) * face])
    bent = np.column_stack([_rotated(momentum[:, 0], momentum[:, 1], turn), pz])
    return Flight(forward, turn, position, bent, dz / pz)


def _turn(q: NDArray, pz: NDArray, dz: NDArray, detector: Detector) -> NDArray:
    """Angle by which the field along +z turns a particle over dz, rad: negative charges turn to larger phi."""
    return -q * BENDING * detector.solenoid.field * dz / pz


def _rotated(x: NDArray, y: NDArray, angle: NDArray) -> NDArray:
    c, s = np.cos(angle), np.sin(angle)
    return np.stack([c * x - s * y, s * x + c * y], axis=-1)


def _along(vertex: NDArray, p: NDArray, turn: NDArray, t: NDArray) -> NDArray:
    """(n, 2) transverse position where the momentum has turned; t = dz / pz, mm/GeV.

    The chord of the arc has the length pT t sinc(turn / 2) and half the turn: exact also for straight lines.
    """
    chord = t * np.sinc(turn / (2 * np.pi))
    return vertex[:, :2] + chord[:, None] * _rotated(p[:, 0], p[:, 1], turn / 2)


def _stopped_in_barrel(vertex: NDArray, p: NDArray, q: NDArray, pz: NDArray, detector: Detector) -> NDArray[np.bool_]:
    """Whether the path leaves the barrel's inner radius before it leaves the barrel's length."""
    solenoid = detector.solenoid
    dz = np.sign(pz) * solenoid.half_length - vertex[:, 2]
    inside = dz * np.sign(pz) > 0
    dz = np.where(inside, dz, 0.0)
    turn = _turn(q, pz, dz, detector)
    r_start = np.hypot(vertex[:, 0], vertex[:, 1])
    end = _along(vertex, p, turn, dz / pz)
    r_max = np.maximum(r_start, np.hypot(end[:, 0], end[:, 1]))
    farthest, reached = _apex(vertex, p, q, turn, detector)
    r_max = np.where(reached, np.maximum(r_max, farthest), r_max)
    return inside & (r_max > solenoid.radius)


def _apex(vertex: NDArray, p: NDArray, q: NDArray, turn: NDArray, detector: Detector) -> tuple[NDArray, NDArray]:
    """Largest distance from the beam on each particle's circle, mm, and whether its arc of `turn` reaches it."""
    bending = -q * BENDING * detector.solenoid.field
    bends = bending != 0
    omega = np.where(bends, bending, 1.0)
    radius = np.hypot(p[:, 0], p[:, 1]) / np.abs(omega)
    centre = vertex[:, :2] + np.stack([-p[:, 1], p[:, 0]], axis=1) / omega[:, None]
    r_centre = np.hypot(centre[:, 0], centre[:, 1])
    now = vertex[:, :2] - centre
    phase = np.arctan2(centre[:, 1], centre[:, 0]) - np.arctan2(now[:, 1], now[:, 0])
    to_apex = np.mod(phase * np.sign(turn), 2 * np.pi)
    return r_centre + radius, bends & (to_apex <= np.abs(turn))
