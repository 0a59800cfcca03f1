"""Showers as points: what each particle deposits, seen from where it enters the calorimeter.

All particles are mirrored into the endcap at z > 0. A point is the centre of a cell: x and y from the entry, z from the
front face, mm; its energy is that of the cell at the electromagnetic scale, GeV; its time is later than light along a
straight line from the entry, ns.
"""

from collections.abc import Sequence
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gen2reco.config.detector import Detector
from gen2reco.detector.geometry import Geometry, decode
from gen2reco.detector.propagate import AtFace, light_time, propagate
from gen2reco.errors import InputError
from gen2reco.events import records
from gen2reco.events.lists import columns, event_of, members, starts
from gen2reco.events.truth import STANDARD, Properties, incident_energy

_MOST_PARTICLES = 1 << 31
STEEPEST = 1e-3
"""Least share of a direction that goes along the beam, and least length of one that is taken for a unit vector."""


@dataclass(frozen=True)
class Showers:
    """n showers and their m points, those of shower i from `first[i]` on."""

    pdg: NDArray[np.int64]
    """(n,)"""
    energy: NDArray[np.float64]
    """(n,) incident energy, GeV."""
    direction: NDArray[np.float64]
    """(n, 3) unit vectors at the entry, z > 0."""
    first: NDArray[np.int64]
    """(n + 1,)"""
    points: NDArray[np.float32]
    """(m, 5): x, y, z, energy, time."""

    def __len__(self) -> int:
        return len(self.pdg)

    @property
    def owner(self) -> NDArray[np.int64]:
        """The shower of each point: (m,)."""
        return np.repeat(np.arange(len(self)), np.diff(self.first))

    @property
    def slope(self) -> NDArray[np.float64]:
        """(n, 2) x and y of the axis for each mm in z."""
        return self.direction[:, :2] / self.direction[:, 2:]

    def about_axis(self) -> NDArray[np.float64]:
        """(m, 2) mm off the axis, in the plane of the layer: along the way the axis leans, and across it."""
        owner, slope = self.owner, self.slope
        off = self.points[:, :2].astype(np.float64) - slope[owner] * self.points[:, 2:3]
        return rotated(off, -azimuth(slope)[owner])

    def take(self, chosen: NDArray) -> "Showers":
        """The chosen showers, by index."""
        at, counts = members(self.first, chosen)
        return Showers(self.pdg[chosen], self.energy[chosen], self.direction[chosen], starts(counts), self.points[at])


def joined(parts: Sequence[Showers]) -> Showers:
    """All parts, one at least, one after the other."""
    first = starts(np.concatenate([np.diff(part.first) for part in parts]))
    whole = {field.name: np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(Showers)}
    return Showers(**{**whole, "first": first})


def check_incidence(energy: NDArray, direction: NDArray, path: Path) -> None:
    """Raises InputError for incident energies (n,), GeV, not above 0, and directions (n, 3) not into z > 0."""
    if len(energy) and energy.min() <= 0:
        raise InputError(f"{path}: an incident energy of {energy.min():.4g} GeV, expected more than 0")
    if (direction[:, 2] <= 0).any():
        raise InputError(f"{path}: a direction away from the calorimeter; expected z > 0")
    size = np.abs(direction).max(1, initial=0.0)
    if ((size < STEEPEST) | (size > 1 / STEEPEST)).any():
        raise InputError(f"{path}: a direction of no sensible length; expected vectors of length 1")
    if (direction[:, 2] < STEEPEST * size).any():
        raise InputError(f"{path}: a direction along the face of the calorimeter; expected one into it")


def azimuth(slope: NDArray) -> NDArray[np.float64]:
    """The angle in which slopes (n, 2) lean: (n,), 0 along the beam."""
    return np.arctan2(slope[:, 1], slope[:, 0])


def rotated(points: NDArray, angle: NDArray) -> NDArray[np.float64]:
    """Points (n, 2) turned about the origin by angles (n,)."""
    c, s = np.cos(angle), np.sin(angle)
    return np.stack([c * points[:, 0] - s * points[:, 1], s * points[:, 0] + c * points[:, 1]], axis=1)


def of_hits(events: pa.Table, detector: Detector, source: str, properties: Properties = STANDARD) -> Showers:
    """The shower of each particle of hits events that leaves a deposit. Raises InputError where there are none kept."""
    if "deposits" not in events.schema.names:
        raise InputError(f"{source}: no `deposits` column; simulate with `keep_deposits: true`")
    data = records.awkward(events.select(["particles", "deposits"]))
    at_face = propagate(data.particles, detector, properties)
    deposits = columns(data.deposits, ("cell", "particle", "energy", "time"))
    key = event_of(data.deposits) * _MOST_PARTICLES + deposits["particle"]
    known = at_face.event * _MOST_PARTICLES + at_face.particle
    owner = np.searchsorted(known, key)
    if len(key) and (len(known) == 0 or (known[np.minimum(owner, len(known) - 1)] != key).any()):
        raise InputError(f"{source}: deposits of particles that do not reach the calorimeter; remake the file")
    order = np.argsort(owner, kind="stable")
    left, owner = np.unique(owner[order], return_inverse=True)
    cell, energy, time = (deposits[name][order] for name in ("cell", "energy", "time"))
    return _seen_from_entry(at_face[left], owner, cell, energy, time, Geometry(detector))


def _seen_from_entry(
    at_face: AtFace, owner: NDArray, cell: NDArray, energy: NDArray, time: NDArray, geometry: Geometry
) -> Showers:
    mirrored = at_face.mirrored()
    layer = decode(cell).layer
    x, y, _ = geometry.position(cell)
    at, z, face = np.stack([x, y], axis=1), geometry.z[layer - 1], geometry.detector.front_face
    entry = mirrored.position[owner, :2]
    delay = time - light_time(at, z, entry, at_face.time[owner], face)
    momentum = mirrored.momentum
    return Showers(
        at_face.pdg,
        incident_energy(at_face.pdg, at_face.energy),
        momentum / np.linalg.norm(momentum, axis=1, keepdims=True),
        starts(np.bincount(owner, minlength=len(at_face))),
        np.column_stack([at - entry, z - face, energy, delay]).astype(np.float32),
    )
