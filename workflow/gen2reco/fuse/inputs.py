"""The features of the fused model: particles at the front face, their tracks, and their neighbours.

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
from gen2reco.fuse.fused_config import SPECIES, FeatureConfig

VERSION = "fused-inputs/1"
_PLACE = {name: place for place, name in enumerate(SPECIES)}
N_NEIGHBOURS = 8
"""Neighbours of a particle whose features are used."""
N_PAIR = 13
"""Features of a neighbour."""


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
    """Place in SPECIES."""
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

    def is_a(self, *species: str) -> NDArray[np.bool_]:
        """Whether each particle is one of these kinds of SPECIES: (n,)."""
        return np.isin(self.species, [_PLACE[name] for name in species])


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
    """Place in SPECIES of each code."""
    size, q = np.abs(pdg), charge(pdg)
    charged, baryon = q != 0, size >= 1000
    kinds = {
        "photon": size == 22,
        "electron": size == 11,
        "muon": size == 13,
        "proton": charged & baryon & (pdg > 0),
        "antiproton": charged & baryon,
        "kaon": charged & (size // 100 % 10 == 3),
        "pion": charged,
        "neutron": baryon & (pdg > 0),
        "antineutron": baryon,
    }
    return np.select(list(kinds.values()), [_PLACE[name] for name in kinds], _PLACE["neutral"])


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
    momentum, eta, phi = (np.append(column, 0.0)[place] for column in (momentum, eta, phi))
    return momentum, eta, phi


def place_of(event: NDArray, particle: NDArray, of_event: NDArray, of_particle: NDArray) -> NDArray[np.int64]:
    """Index of particles, each given by its event and its place in it, among others (event, particle); -1: missing."""
    keys, wanted = ((e << 32) + p for e, p in ((event, particle), (of_event, of_particle)))
    order = np.argsort(keys)
    place = np.append(order, -1)[np.searchsorted(keys, wanted, sorter=order)]
    return np.where(np.append(keys, -1)[place] == wanted, place, -1)


@dataclass(frozen=True)
class Features:
    """Features of each particle and of its neighbours, float32. own: (n, n_own); pair: (n, N_NEIGHBOURS, N_PAIR), zeros
    where there is no neighbour; neighbours: (n, N_NEIGHBOURS) their indices, -1 for none; around: (n,) energy of the
    other particles within the second ring, GeV."""

    own: NDArray[np.float32]
    pair: NDArray[np.float32]
    neighbours: NDArray[np.int32]
    around: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.own)


def features_of(e: Entering, config: FeatureConfig) -> Features:
    """Features of the particles and of their neighbours."""
    n_rings = len(config.rings)
    neighbours, rings = np.empty((len(e), N_NEIGHBOURS), np.int32), np.empty((len(e), n_rings, 2))
    em = e.is_a("photon", "electron")
    kernels = jit.load("gen2reco.fuse.kernels.neighbours")
    kernels.neighbours(e.first, e.position, e.energy, em, np.array(config.rings), neighbours, rings)
    radius = np.hypot(*e.position.T)
    around = rings[:, :2, 0].sum(1)
    log_energy, tracked = np.log(e.energy), e.momentum > 0
    ratio = np.clip(np.log(np.where(tracked, e.momentum, 1.0) / e.energy), -2, 2) * tracked
    along, across = in_frame(e.outward, e.slope)
    size, place = _standard(log_energy, config.log_energy), _standard(radius, config.radius)
    columns = [
        *_one_hot(e.species, config),
        size,
        size**2 - 1,
        place,
        place**2 - 1,
        e.charge,
        tracked,
        10 * ratio,
        np.clip((along - radius / config.front_face) / config.slope, -6, 6),
        np.clip(across / config.slope, -6, 6),
        *np.log1p(rings).reshape(len(e), 2 * n_rings).T,
        np.log(e.energy / (e.energy + around)),
    ]
    own = np.stack(columns, 1, dtype=np.float32, casting="unsafe")
    return Features(own, _pairs(e, neighbours, log_energy, config), neighbours, around)


def _standard(values: NDArray, scale: tuple[float, float]) -> NDArray[np.float64]:
    centre, width = scale
    return (values - centre) / width


def _one_hot(species: NDArray, config: FeatureConfig) -> NDArray[np.bool_]:
    """Which of the model's species each particle is taken as: (n_species, n)."""
    place = np.array([config.place_of(name) for name in SPECIES])[species]
    return np.arange(len(config.species))[:, None] == place


def _pairs(e: Entering, neighbours: NDArray, log_energy: NDArray, config: FeatureConfig) -> NDArray[np.float32]:
    """Features of each neighbour of each particle: (n, N_NEIGHBOURS, N_PAIR), zeros where there is none."""
    kind = np.select([e.is_a("photon", "electron"), e.is_a("muon"), e.charge != 0], [0, 1, 2], 3)
    pair = np.zeros((len(e), N_NEIGHBOURS, N_PAIR), np.float32)
    kernels = jit.load("gen2reco.fuse.kernels.neighbours")
    state = np.column_stack([e.position, e.slope, log_energy, kind, e.momentum > 0])
    kernels.pairs(np.ascontiguousarray(state), e.outward, neighbours, config.depth, config.offset, pair)
    return pair
