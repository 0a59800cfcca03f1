"""From tracksters, loose layer clusters and tracks to object candidates.

A candidate is a trackster with the smaller ones around it, or a track alone where there is none; it also takes the
layer clusters near its axis that no trackster used. All calibrations share it, so that they differ by energies alone.
"""

from collections.abc import Iterable
from dataclasses import dataclass
from types import ModuleType

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from gen2reco import jit
from gen2reco.events.lists import columns, event_of, offsets, place_in_event

TRACKSTER_RADIUS = 60.0
"""A larger trackster takes the smaller ones within it; mm on the plane of the calorimeter's face."""
LOOSE_RADIUS = 60.0
"""Layer clusters that no trackster used join the candidate whose axis is nearest, at most so far off; mm across z."""
TRACK_RADIUS = 60.0
"""Largest distance of the barycentre of a leading trackster from the straight line of its track, mm across z."""
CORE_RADIUS = 30.0
"""A track without such a trackster belongs to the candidate with most energy this near to its line, mm across z."""
_REACH = 3.0
"""Pairs are searched on the plane of the face within this many radii, then measured where they are."""
APART = 1.0e5
"""mm; keeps the endcaps of different events out of each other's reach."""


@dataclass(frozen=True)
class Candidates:
    """Flat arrays over a run of events: n candidates, by event, those with tracksters first in falling energy."""

    counts: NDArray[np.int64]
    """Candidates of each event: (n_events,)."""
    trackster: NDArray[np.int32]
    """Leading trackster, its place in the event, -1 for a track alone: (n,)."""
    track: NDArray[np.int32]
    """Matched track, its place in the event, -1 for none: (n,)."""
    of_trackster: NDArray[np.int64]
    """Candidate (flat) of each trackster: (n_tracksters,)."""
    of_cluster: NDArray[np.int64]
    """Candidate (flat) of each layer cluster, -1 for none: (n_layer_clusters,)."""

    def __len__(self) -> int:
        return len(self.trackster)

    @property
    def event(self) -> NDArray[np.int64]:
        """Event of each candidate, from 0: (n,)."""
        return np.repeat(np.arange(len(self.counts)), self.counts)


@dataclass(frozen=True)
class Places:
    """Positions (n, 3), mm, and directions (n, 3): of a track its momentum, of a trackster from the origin."""

    endcap: NDArray[np.int64]
    """2 event + (z > 0): (n,)."""
    position: NDArray[np.float64]
    direction: NDArray[np.float64]

    def __getitem__(self, chosen: NDArray) -> "Places":
        return Places(self.endcap[chosen], self.position[chosen], self.direction[chosen])

    def on_face(self, face: float) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
        """(n,) each: x, with the endcap added as a distance, and y, projected onto the face from the origin."""
        scale = face / np.maximum(np.abs(self.position[:, 2]), 1.0)
        return self.endcap * APART + self.position[:, 0] * scale, self.position[:, 1] * scale

    def by_key(self, face: float) -> tuple[NDArray, NDArray, NDArray, NDArray]:
        """Rising keys (n,), y (n,), lines (n, 6) and places in this order (n,), as the kernels take axes."""
        key, v = self.on_face(face)
        order = np.argsort(key, kind="stable")
        return key[order], v[order], np.hstack([self.position, self.direction])[order], order


def build(events: ak.Array, face: float) -> Candidates:
    """Candidates of `clusters` events (tracksters, layer_clusters, cluster_trackster, tracks); |z| of the face, mm."""
    tracksters, tracks = _places(events.tracksters, "xyz"), _places(events.tracks, ("px", "py", "pz"))
    energy = columns(events.tracksters, ("energy",))["energy"]
    leader = _absorb(tracksters, energy, face)
    seeds = np.flatnonzero(leader == np.arange(len(leader)))
    seeds = seeds[np.lexsort((-energy[seeds], tracksters.endcap[seeds] // 2))]
    owner = np.full(len(energy), -1, np.int64)
    owner[seeds] = np.arange(len(seeds))
    owner = owner[leader]
    of_cluster = _owners(events, owner)
    seed_track, alone = _match(tracksters[seeds], tracks, face)
    alone = _adopt(events, of_cluster, seed_track, alone, tracks, face)

    event = np.concatenate([tracksters.endcap[seeds], tracks.endcap[alone]]) // 2
    order = np.argsort(event, kind="stable")
    trackster = np.concatenate([seeds, np.full(len(alone), -1)])[order]
    track = np.concatenate([seed_track, alone])[order]
    place = np.argsort(order)
    of_trackster, of_cluster = place[owner], np.append(place, -1)[of_cluster]
    both = np.where(track >= 0, track, len(tracks.endcap) + trackster)
    axes = Places(*(np.concatenate([getattr(p, k) for p in (tracks, tracksters)]) for k in Places.__annotations__))
    _loose(events, of_cluster, axes[both], face)
    return Candidates(
        np.bincount(event, minlength=len(events)),
        place_in_event(trackster, events.tracksters, event[order]).astype(np.int32),
        place_in_event(track, events.tracks, event[order]).astype(np.int32),
        of_trackster,
        of_cluster,
    )


def _kernels() -> ModuleType:
    return jit.load("gen2reco.calibrate.kernels.candidate_neighbours")


def _places(lists: ak.Array, direction: Iterable[str]) -> Places:
    found = columns(lists, ("x", "y", "z", *direction))
    position, direction = (
        np.stack([found[k] for k in names], axis=1, dtype=np.float64) for names in ("xyz", direction)
    )
    return Places(2 * event_of(lists) + (position[:, 2] > 0), position, direction)


def _absorb(tracksters: Places, energy: NDArray, face: float) -> NDArray[np.int64]:
    """Leader of each trackster: in falling energy, each that is still free leads the free ones in its radius."""
    key, v = tracksters.on_face(face)
    leader = np.full(len(key), -1, np.int64)
    orders = (np.argsort(of, kind="stable") for of in (key, -energy))
    _kernels().absorb(key, v, *orders, TRACKSTER_RADIUS, leader)
    return leader


def _owners(events: ak.Array, of_trackster: NDArray) -> NDArray[np.int64]:
    """What each trackster is in, for each layer cluster; -1 for those in none."""
    trackster = columns(events, ("cluster_trackster",))["cluster_trackster"]
    found = np.empty(len(trackster), np.int64)
    _kernels().owners(offsets(events.layer_clusters), offsets(events.tracksters), trackster, of_trackster, found)
    return found


def _match(seeds: Places, tracks: Places, face: float) -> tuple[NDArray, NDArray]:
    """Track of each seed (-1 for none), and the tracks that have no seed near.

    Each track takes the nearest seed; of several that take the same one, that of most momentum keeps it.
    """
    lines, near = np.hstack([tracks.position, tracks.direction]), np.empty(len(tracks.endcap), np.int64)
    reach = _REACH * TRACK_RADIUS
    _kernels().nearest_point(*tracks.on_face(face), lines, *seeds.by_key(face), reach, TRACK_RADIUS, near)
    track = np.flatnonzero(near >= 0)
    rising = track[_rising(tracks, track)]
    found = np.full(len(seeds.endcap), -1, np.int64)
    found[near[rising]] = rising
    return found, np.flatnonzero(near < 0)


def _adopt(
    events: ak.Array, of_cluster: NDArray, seed_track: NDArray, alone: NDArray, tracks: Places, face: float
) -> NDArray[np.int64]:
    """Give tracks that have energy of some seed along their line to it, if it has none yet; returns those without.

    Their showers were merged into that candidate: on their own they would count twice.
    """
    pair, energy = _along(events, of_cluster, tracks[alone], face)
    pair, inverse = np.unique(pair, return_inverse=True)
    shared, axis = np.bincount(inverse, energy, len(pair)), pair >> 32
    order = np.lexsort((pair, -shared, axis))
    best = order[np.unique(axis[order], return_index=True)[1]]
    track, seed = alone[axis[best]], pair[best] & 0xFFFFFFFF
    rising = _rising(tracks, track)
    rising = rising[seed_track[seed[rising]] < 0]
    seed_track[seed[rising]] = track[rising]
    return np.setdiff1d(alone, track)


def _along(events: ak.Array, of_cluster: NDArray, axes: Places, face: float) -> tuple[NDArray, NDArray]:
    """(axis * 2**32 + owner, energy) of each owned layer cluster within `CORE_RADIUS` of an axis."""
    at, size = columns(events.layer_clusters, ("x", "y", "z", "energy")), max(len(of_cluster) // 4, 1024)
    key, v, lines, order = axes.by_key(face)
    while True:
        pair, energy = np.empty(size, np.int64), np.empty(size)
        size = _kernels().along(
            offsets(events.layer_clusters),
            *at.values(),
            of_cluster,
            float(face),
            APART,
            key,
            v,
            lines,
            _REACH * CORE_RADIUS,
            CORE_RADIUS,
            pair,
            energy,
        )
        if size <= len(pair):
            pair, energy = pair[:size], energy[:size]
            return (order[pair >> 32] << 32) + (pair & 0xFFFFFFFF), energy


def _rising(tracks: Places, chosen: NDArray) -> NDArray[np.int64]:
    """Order of rising momentum."""
    return np.argsort(np.linalg.norm(tracks.direction[chosen], axis=1), kind="stable")


def _loose(events: ak.Array, of_cluster: NDArray, axes: Places, face: float) -> None:
    """Give layer clusters without an owner to the nearest axis within `LOOSE_RADIUS`."""
    at = columns(events.layer_clusters, ("x", "y", "z"))
    _kernels().nearest_axis(
        offsets(events.layer_clusters),
        *at.values(),
        of_cluster,
        float(face),
        APART,
        *axes.by_key(face),
        _REACH * LOOSE_RADIUS,
        LOOSE_RADIUS,
    )
