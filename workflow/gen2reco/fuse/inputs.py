"""What the fused model is told: the particles at the front face, their tracks, and what is near each of them.

Each endcap of each event is a set. Offsets are in the frame of the particle, outward from the beam and across, mm on
the plane of the face, so that nothing depends on the azimuth.
"""

from dataclasses import dataclass

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from gen2reco.campaign import jit
from gen2reco.events.truth import charge, incident_energy
from gen2reco.simulate.propagate import AtFace

VERSION = "fused-inputs/1"
SPECIES = ("photon", "electron", "muon", "pion", "kaon", "proton", "antiproton", "neutron", "antineutron", "neutral")
"""Charged baryons count as (anti)protons, neutral ones as (anti)neutrons, other neutral hadrons as K0L."""
N_NEAR = 8
RINGS = (20.0, 40.0, 80.0, 160.0, 320.0)
"""mm; the energies of other particles between them are told."""
SCALE = 20.0
"""mm; offsets are told as arcsinh(offset / SCALE)."""
DEPTH = 300.0
"""mm behind the face, where offsets are told once more: bent particles do not point at the origin."""
N_OWN = len(SPECIES) + 9 + 2 * len(RINGS) + 1
N_PAIR = 13


@dataclass(frozen=True)
class Entering:
    """Particles at the face, all in the endcap at z > 0, those of a set together; arrays (n,) unless said."""

    event: NDArray[np.int64]
    """Index of the event within the chunk."""
    side: NDArray[np.int64]
    """Sign of z."""
    particle: NDArray[np.int64]
    """Place in the event's `particles`."""
    species: NDArray[np.int64]
    """Index in SPECIES."""
    charge: NDArray[np.int64]
    energy: NDArray[np.float64]
    """Incident energy, GeV."""
    position: NDArray[np.float64]
    """(n, 2) mm."""
    slope: NDArray[np.float64]
    """(n, 2) px/pz, py/pz."""
    momentum: NDArray[np.float64]
    """Momentum of the track, GeV; 0 for none."""
    track_eta: NDArray[np.float64]
    track_phi: NDArray[np.float64]
    """Direction of the track at the beam line."""
    first: NDArray[np.int64]
    """Where each set starts, and the end: (n_sets + 1,)."""

    def __len__(self) -> int:
        return len(self.event)


def entering(at_face: AtFace, tracks: ak.Array) -> Entering:
    """Particles at the face of a chunk, with their tracks (events, var) as in the hits record."""
    side = np.sign(at_face.position[:, 2]).astype(np.int64)
    order = np.lexsort((at_face.particle, side, at_face.event))
    found, side = at_face[order].mirrored(), side[order]
    track = _tracks_of(found, tracks)
    sets = 2 * found.event + (side > 0)
    return Entering(
        found.event,
        side,
        found.particle,
        species_of(found.pdg),
        found.charge.astype(np.int64),
        np.maximum(incident_energy(found.pdg, found.energy), 1e-3),
        np.ascontiguousarray(found.position[:, :2]),
        found.momentum[:, :2] / found.momentum[:, 2:],
        *track,
        np.concatenate([[0], np.flatnonzero(np.diff(sets)) + 1, [len(sets)]]) if len(sets) else np.zeros(1, np.int64),
    )


def species_of(pdg: NDArray) -> NDArray[np.int64]:
    """Index in SPECIES of each code."""
    size, q = np.abs(pdg), charge(pdg)
    known = [size == 22, size == 11, size == 13, (q != 0) & (size >= 1000), (q != 0) & (size // 100 % 10 == 3), q != 0]
    baryons = (q == 0) & (size >= 1000)
    return np.select([*known, baryons & (pdg > 0), baryons], [0, 1, 2, np.where(pdg > 0, 5, 6), 4, 3, 7, 8], 9)


def _tracks_of(found: AtFace, tracks: ak.Array) -> tuple[NDArray, NDArray, NDArray]:
    """Momentum (0: none), eta and phi at the beam line of each particle's track: (n,) each."""
    counts = ak.to_numpy(ak.num(tracks))
    flat = ak.flatten(tracks)
    x, y, px, py, pz = (ak.to_numpy(flat[name]).astype(np.float64) for name in ("x", "y", "px", "py", "pz"))
    pt, phi = np.hypot(px, py), 2 * np.arctan2(y, x) - np.arctan2(py, px)
    columns = (np.hypot(pt, pz), np.arcsinh(pz / np.maximum(pt, 1e-9)), np.mod(phi + np.pi, 2 * np.pi) - np.pi)
    key = (np.repeat(np.arange(len(counts)), counts) << 32) + ak.to_numpy(flat.particle)
    order = np.argsort(key)
    wanted = (found.event << 32) + found.particle
    place = np.searchsorted(key, wanted, sorter=order)
    at = np.append(order, -1)[place]
    at = np.where(np.append(key, -1)[at] == wanted, at, -1)
    return tuple(np.append(column, 0.0)[at] for column in columns)


@dataclass(frozen=True)
class Told:
    """What the networks are told of each particle. own: (n, N_OWN) and pair: (n, N_NEAR, N_PAIR) float32, zeros where
    there is no neighbour; near: (n, N_NEAR) who they are, -1 for none."""

    own: NDArray[np.float32]
    pair: NDArray[np.float32]
    near: NDArray[np.int32]

    def __len__(self) -> int:
        return len(self.own)


def told(e: Entering) -> Told:
    """Features of the particles and of their neighbours."""
    near, rings = np.empty((len(e), N_NEAR), np.int32), np.empty((len(e), len(RINGS), 2))
    em = e.species < 2
    kernels = jit.load("gen2reco.fuse.kernels.neighbours")
    kernels.neighbours(e.first, e.position, e.energy, em, np.array(RINGS), near, rings)
    radius = np.hypot(*e.position.T)
    outward = e.position / np.maximum(radius, 1e-9)[:, None]
    frame = np.stack([outward, np.stack([-outward[:, 1], outward[:, 0]], 1)], 1)
    log_energy, tracked = np.log(e.energy), e.momentum > 0
    ratio = np.clip(np.log(np.where(tracked, e.momentum, 1.0) / e.energy), -2, 2) * tracked
    along, across = np.einsum("nij,nj->in", frame, e.slope)
    own = [
        *(e.species == i for i in range(len(SPECIES))),
        (log_energy - 1) / 1.5,
        ((log_energy - 1) / 1.5) ** 2 - 1,
        (radius - 700) / 350,
        ((radius - 700) / 350) ** 2 - 1,
        e.charge,
        tracked,
        10 * ratio,
        np.clip((along - radius / 3200) / 0.05, -6, 6),
        np.clip(across / 0.05, -6, 6),
        *np.log1p(rings).reshape(len(e), -1).T,
        np.log(e.energy / (e.energy + rings[:, :2, 0].sum(1))),
    ]
    own = np.stack(own, 1, dtype=np.float32, casting="unsafe")
    return Told(own, _pairs(e, near, frame, log_energy), near)


def _pairs(e: Entering, near: NDArray, frame: NDArray, log_energy: NDArray) -> NDArray[np.float32]:
    """Features of each neighbour of each particle: (n, N_NEAR, N_PAIR), zeros where there is none."""
    kind = np.select([e.species < 2, e.species == 2, e.charge != 0], [0, 1, 2], 3)
    pair = np.zeros((len(e), N_NEAR, N_PAIR), np.float32)
    kernels = jit.load("gen2reco.fuse.kernels.neighbours")
    state = np.column_stack([e.position, e.slope, log_energy, kind, e.momentum > 0])
    kernels.pairs(np.ascontiguousarray(state), np.ascontiguousarray(frame[:, 0]), near, DEPTH, SCALE, pair)
    return pair
