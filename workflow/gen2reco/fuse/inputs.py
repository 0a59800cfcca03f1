"""What the fused model is told: the particles at the front face, their tracks, and what is near each of them.

Each endcap of each event is a set. Offsets are in the frame of the particle, outward from the beam and across, mm on
the plane of the face, so that nothing depends on the azimuth.
"""

from dataclasses import dataclass
from functools import cached_property

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from gen2reco import jit
from gen2reco.detector.propagate import AtFace
from gen2reco.detector.tracks import tracks_at_origin
from gen2reco.events.lists import event_of
from gen2reco.events.truth import charge, incident_energy

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

    @cached_property
    def outward(self) -> NDArray[np.float64]:
        """Unit vectors from the beam to the particles: (n, 2)."""
        return self.position / np.maximum(np.hypot(*self.position.T), 1e-9)[:, None]


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


def in_frame(outward: NDArray, vectors: NDArray) -> tuple[NDArray, NDArray]:
    """Components of vectors (n, 2) along unit vectors `outward` (n, 2), and across them: (n,) each."""
    (c, s), (x, y) = outward.T, vectors.T
    return c * x + s * y, c * y - s * x


def _tracks_of(found: AtFace, tracks: ak.Array) -> tuple[NDArray, NDArray, NDArray]:
    """Momentum (0: none), eta and phi at the beam line of each particle's track: (n,) each."""
    origin = tracks_at_origin(ak.values_astype(tracks, np.float64))
    pt, eta, phi = (ak.to_numpy(ak.flatten(origin[name])) for name in ("pt", "eta", "phi"))
    momentum = np.hypot(pt, ak.to_numpy(ak.flatten(tracks.pz)).astype(np.float64))
    place = place_of(event_of(tracks), ak.to_numpy(ak.flatten(tracks.particle)), found.event, found.particle)
    return tuple(np.append(column, 0.0)[place] for column in (momentum, eta, phi))


def place_of(event: NDArray, particle: NDArray, of_event: NDArray, of_particle: NDArray) -> NDArray[np.int64]:
    """Where particles, each told by its event and its place in it, are among others (event, particle); -1: nowhere."""
    keys, wanted = ((e << 32) + p for e, p in ((event, particle), (of_event, of_particle)))
    order = np.argsort(keys)
    place = np.append(order, -1)[np.searchsorted(keys, wanted, sorter=order)]
    return np.where(np.append(keys, -1)[place] == wanted, place, -1)


@dataclass(frozen=True)
class Told:
    """What the networks are told of each particle. own: (n, N_OWN) and pair: (n, N_NEAR, N_PAIR) float32, zeros where
    there is no neighbour; near: (n, N_NEAR) who they are, -1 for none; around: (n,) energy of the other particles
    within the second of RINGS, GeV."""

    own: NDArray[np.float32]
    pair: NDArray[np.float32]
    near: NDArray[np.int32]
    around: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.own)


def told(e: Entering) -> Told:
    """Features of the particles and of their neighbours."""
    near, rings = np.empty((len(e), N_NEAR), np.int32), np.empty((len(e), len(RINGS), 2))
    em = e.species < 2
    kernels = jit.load("gen2reco.fuse.kernels.neighbours")
    kernels.neighbours(e.first, e.position, e.energy, em, np.array(RINGS), near, rings)
    radius = np.hypot(*e.position.T)
    around = rings[:, :2, 0].sum(1)
    log_energy, tracked = np.log(e.energy), e.momentum > 0
    ratio = np.clip(np.log(np.where(tracked, e.momentum, 1.0) / e.energy), -2, 2) * tracked
    along, across = in_frame(e.outward, e.slope)
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
        *np.log1p(rings).reshape(len(e), 2 * len(RINGS)).T,
        np.log(e.energy / (e.energy + around)),
    ]
    own = np.stack(own, 1, dtype=np.float32, casting="unsafe")
    return Told(own, _pairs(e, near, log_energy), near, around)


def _pairs(e: Entering, near: NDArray, log_energy: NDArray) -> NDArray[np.float32]:
    """Features of each neighbour of each particle: (n, N_NEAR, N_PAIR), zeros where there is none."""
    kind = np.select([e.species < 2, e.species == 2, e.charge != 0], [0, 1, 2], 3)
    pair = np.zeros((len(e), N_NEAR, N_PAIR), np.float32)
    kernels = jit.load("gen2reco.fuse.kernels.neighbours")
    state = np.column_stack([e.position, e.slope, log_energy, kind, e.momentum > 0])
    kernels.pairs(np.ascontiguousarray(state), e.outward, near, DEPTH, SCALE, pair)
    return pair
