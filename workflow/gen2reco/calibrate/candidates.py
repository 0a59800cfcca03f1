"""From tracksters, loose layer clusters and tracks to object candidates.

A candidate is a trackster with the smaller ones around it, or a track alone where there is none; it also takes the
layer clusters near its axis that no trackster used. All calibrations share it, so that they differ by energies alone.
"""

from dataclasses import dataclass
from typing import NamedTuple

import awkward as ak
import numpy as np
from numpy.typing import NDArray

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
_APART = 1.0e5
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


class Points(NamedTuple):
    """Positions (n, 3), mm, and with them the endcap of the event they are in: 2 event + (z > 0)."""

    endcap: NDArray[np.int64]
    position: NDArray[np.float64]

    def __getitem__(self, chosen: NDArray) -> "Points":
        return Points(self.endcap[chosen], self.position[chosen])

    def projected(self, face: float) -> NDArray[np.float64]:
        """(n, 3): the endcap as a coordinate, then x and y on the plane of the face as seen from the origin."""
        scale = face / np.maximum(np.abs(self.position[:, 2:]), 1.0)
        return np.hstack([self.endcap[:, None] * _APART, self.position[:, :2] * scale])


def build(events: ak.Array, face: float) -> Candidates:
    """Candidates of `clusters` events (tracksters, layer_clusters, cluster_trackster, tracks); |z| of the face, mm."""
    tracksters, tracks = _points(events.tracksters), _points(events.tracks)
    lines = _momenta(events.tracks)
    energy = ak.to_numpy(ak.flatten(events.tracksters.energy))
    leader = _absorb(tracksters.projected(face), energy)
    seeds = np.flatnonzero(leader == np.arange(len(leader)))
    seeds = seeds[np.lexsort((-energy[seeds], tracksters.endcap[seeds] // 2))]
    owner = np.full(len(energy), -1, np.int64)
    owner[seeds] = np.arange(len(seeds))
    owner = owner[leader]
    seed_track, alone = _match(tracksters[seeds], tracks, lines, face)
    alone = _adopt(events, owner, seed_track, alone, tracks, lines, face)

    event = np.concatenate([tracksters.endcap[seeds], tracks.endcap[alone]]) // 2
    order = np.argsort(event, kind="stable")
    trackster = np.concatenate([seeds, np.full(len(alone), -1)])[order]
    track = np.concatenate([seed_track, alone])[order]
    of_trackster = np.argsort(order)[owner]

    tracked, both = track >= 0, np.where(track >= 0, track, len(lines) + trackster)
    axes = Points(*(np.concatenate(pair)[both] for pair in zip(tracks, tracksters)))
    directions = np.where(tracked[:, None], np.concatenate([lines, tracksters.position])[both], axes.position)
    return Candidates(
        np.bincount(event, minlength=len(events)),
        _local(trackster, events.tracksters, event[order]),
        _local(track, events.tracks, event[order]),
        of_trackster,
        _of_clusters(events, of_trackster, axes, directions, face),
    )


def flat_index(place: NDArray, lists: ak.Array, event: NDArray) -> NDArray[np.int64]:
    """Places in their events' lists as places in the flattened lists; negative ones stay -1."""
    counts = ak.to_numpy(ak.num(lists)).astype(np.int64)
    return np.where(place >= 0, place + (np.cumsum(counts) - counts)[event], -1)


def event_of(lists: ak.Array) -> NDArray[np.int64]:
    """Event, from 0, of each entry of the flattened lists."""
    counts = ak.to_numpy(ak.num(lists))
    return np.repeat(np.arange(len(counts)), counts)


def _local(flat: NDArray, lists: ak.Array, event: NDArray) -> NDArray[np.int32]:
    counts = ak.to_numpy(ak.num(lists)).astype(np.int64)
    return np.where(flat >= 0, flat - (np.cumsum(counts) - counts)[event], -1).astype(np.int32)


def _points(lists: ak.Array) -> Points:
    flat = ak.flatten(lists)
    position = np.stack([ak.to_numpy(flat[name]).astype(np.float64) for name in ("x", "y", "z")], axis=1)
    return Points(2 * event_of(lists) + (position[:, 2] > 0), position)


def _momenta(tracks: ak.Array) -> NDArray[np.float64]:
    flat = ak.flatten(tracks)
    return np.stack([ak.to_numpy(flat[name]).astype(np.float64) for name in ("px", "py", "pz")], axis=1)


def _absorb(projected: NDArray, energy: NDArray) -> NDArray[np.int64]:
    """Leader of each trackster: in falling energy, each that is still free leads the free ones in its radius."""
    from scipy.spatial import cKDTree

    n = len(projected)
    leader = np.full(n, -1, np.int64)
    if not n:
        return leader
    by_energy = np.argsort(-energy, kind="stable")
    rank = np.argsort(by_energy)
    pairs = rank[cKDTree(projected).query_pairs(TRACKSTER_RADIUS, output_type="ndarray")]
    high, low = pairs.min(axis=1), pairs.max(axis=1)
    while (leader < 0).any():
        seed = leader < 0
        seed[low] = False
        leader[seed] = np.flatnonzero(seed)
        taken = seed[high]
        best = np.full(n, n, np.int64)
        np.minimum.at(best, low[taken], high[taken])
        leader[best < n] = best[best < n]
        free = (leader[high] < 0) & (leader[low] < 0)
        high, low = high[free], low[free]
    return by_energy[leader[rank]]


def _match(seeds: Points, tracks: Points, lines: NDArray, face: float) -> tuple[NDArray, NDArray]:
    """Track of each seed (-1 for none), and the tracks that have no seed near.

    Each track asks for the nearest seed; of those that ask for the same one, that of most momentum gets it.
    """
    seed, track, distance = _pairs(seeds, tracks, lines, TRACK_RADIUS, face)
    order = np.lexsort((seed, distance, track))
    first = order[np.unique(track[order], return_index=True)[1]]
    seed, track = seed[first], track[first]
    rising = np.argsort(np.linalg.norm(lines[track], axis=1), kind="stable")
    found = np.full(len(seeds.endcap), -1, np.int64)
    found[seed[rising]] = track[rising]
    return found, np.setdiff1d(np.arange(len(lines)), track)


def _adopt(
    events: ak.Array,
    owner: NDArray,
    seed_track: NDArray,
    alone: NDArray,
    tracks: Points,
    lines: NDArray,
    face: float,
) -> NDArray[np.int64]:
    """Give tracks that have energy of some seed along their line to it, if it has none yet; returns those without.

    Their showers were merged into that candidate: on their own they would count twice.
    """
    used, trackster = _used(events)
    clusters, energy = _points(events.layer_clusters)[used], ak.to_numpy(ak.flatten(events.layer_clusters.energy))[used]
    point, axis, _ = _pairs(clusters, tracks[alone], lines[alone], CORE_RADIUS, face)
    n = max(len(seed_track), 1)
    pair, inverse = np.unique(axis * n + owner[trackster[point]], return_inverse=True)
    shared = np.bincount(inverse, energy[point], len(pair))
    order = np.lexsort((pair, -shared, pair // n))
    best = pair[order[np.unique(pair[order] // n, return_index=True)[1]]]
    track, seed = alone[best // n], best % n
    rising = np.argsort(np.linalg.norm(lines[track], axis=1), kind="stable")
    rising = rising[seed_track[seed[rising]] < 0]
    seed_track[seed[rising]] = track[rising]
    return np.setdiff1d(alone, track)


def _used(events: ak.Array) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Layer clusters (flat) that are in tracksters, and the trackster (flat) of each."""
    trackster = ak.to_numpy(ak.flatten(events.cluster_trackster)).astype(np.int64)
    flat = flat_index(trackster, events.tracksters, event_of(events.cluster_trackster))
    used = np.flatnonzero(flat >= 0)
    return used, flat[used]


def _of_clusters(
    events: ak.Array, of_trackster: NDArray, axes: Points, directions: NDArray, face: float
) -> NDArray[np.int64]:
    """Candidate of each layer cluster: its trackster's, or else the nearest one within `LOOSE_RADIUS`."""
    used, trackster = _used(events)
    found = np.full(int(ak.sum(ak.num(events.layer_clusters))), -1, np.int64)
    found[used] = of_trackster[trackster]
    loose = np.setdiff1d(np.arange(len(found)), used, assume_unique=True)
    point, axis, distance = _pairs(_points(events.layer_clusters)[loose], axes, directions, LOOSE_RADIUS, face)
    order = np.lexsort((axis, distance, point))
    first = order[np.unique(point[order], return_index=True)[1]]
    found[loose[point[first]]] = axis[first]
    return found


def _pairs(
    points: Points, axes: Points, directions: NDArray, radius: float, face: float
) -> tuple[NDArray, NDArray, NDArray]:
    """All (point, axis, distance) with the point at most `radius` off the straight line of the axis, mm across z."""
    from scipy.spatial import cKDTree

    if not len(points.endcap) or not len(axes.endcap):
        return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0)
    trees = [cKDTree(some.projected(face)) for some in (points, axes)]
    near = trees[0].sparse_distance_matrix(trees[1], _REACH * radius, output_type="coo_matrix")
    point, axis = near.row.astype(np.int64), near.col.astype(np.int64)
    start, direction = axes.position[axis], directions[axis]
    step = (points.position[point, 2] - start[:, 2]) / direction[:, 2]
    offset = points.position[point, :2] - start[:, :2] - step[:, None] * direction[:, :2]
    distance = np.hypot(offset[:, 0], offset[:, 1])
    inside = distance <= radius
    return point[inside], axis[inside], distance[inside]
