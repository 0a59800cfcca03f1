"""The iterations: each runs CLUE3D on the layer clusters that are left, and claims those of tracksters it accepts."""

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gen2reco.cluster.layers import LayerClusters
from gen2reco.cluster.tracksters import measure
from gen2reco.config.clustering import Clustering, Iteration
from gen2reco.detector.geometry import Geometry


@dataclass(frozen=True)
class Tracks:
    """The tracks of a run of events, flat, at the front face: all arrays (n_tracks,)."""

    event: NDArray[np.int64]
    px: NDArray[np.float64]
    py: NDArray[np.float64]
    pz: NDArray[np.float64]
    x: NDArray[np.float64]
    y: NDArray[np.float64]
    z: NDArray[np.float64]

    def __len__(self) -> int:
        return len(self.event)

    def at(self, track: NDArray, z: NDArray) -> tuple[NDArray, NDArray]:
        """(x, y) of straight lines along tracks at z; there is no field behind the face."""
        along = (z - self.z[track]) / self.pz[track]
        return self.x[track] + along * self.px[track], self.y[track] + along * self.py[track]


@dataclass(frozen=True)
class Fragments:
    """Tracksters before linking, numbered event after event over the run of events."""

    label: NDArray[np.int64]
    """(n_clusters,) fragment of each layer cluster, -1 if none claimed it."""
    iteration: NDArray[np.int64]
    """(n_fragments,) index of the iteration that found it."""

    @property
    def n(self) -> int:
        return len(self.iteration)


def iterate(clusters: LayerClusters, tracks: Tracks, geometry: Geometry, config: Clustering) -> Fragments:
    """Run all iterations in order."""
    label, found = np.full(len(clusters), -1, np.int64), list[int]()
    for iteration in config.iterations:
        free = np.flatnonzero((label < 0) & _takes_part(clusters, iteration))
        rest = clusters.take(free)
        local, n = along_tracks(rest, tracks, iteration) if iteration.seeding == "tracks" else clue3d(rest, iteration)
        local, n = _accept(rest, local, n, geometry, iteration)
        label[free] = np.where(local >= 0, local + sum(found), -1)
        found.append(n)
    return _by_event(Fragments(label, np.repeat(np.arange(len(found)), found)), clusters.event)


def _by_event(fragments: Fragments, event: NDArray[np.int64]) -> Fragments:
    """The fragments renumbered event after event, in the order of iterations within one."""
    claimed = fragments.label >= 0
    fragment_event = np.zeros(fragments.n, np.int64)
    fragment_event[fragments.label[claimed]] = event[claimed]
    order = np.argsort(fragment_event, kind="stable")
    number = np.empty(fragments.n, np.int64)
    number[order] = np.arange(fragments.n)
    label = fragments.label.copy()
    label[claimed] = number[label[claimed]]
    return Fragments(label, fragments.iteration[order])


def clue3d(clusters: LayerClusters, iteration: Iteration) -> tuple[NDArray[np.int64], int]:
    """CLUE3D in each endcap: per layer cluster the number of its trackster (-1 for none), and how many there are."""
    from gen2reco.cluster.compiled_kernels import load

    n = len(clusters)
    group = clusters.event * 2 + (clusters.z > 0)
    order = np.argsort(group, kind="stable")
    starts = np.unique(group[order], return_index=True)[1]
    offsets = np.append(starts, n).astype(np.int64)
    z = np.abs(clusters.z[order])
    density, higher = np.empty(n, np.float32), np.empty(n, np.int32)
    label, counts = np.empty(n, np.int32), np.empty(len(starts), np.int32)
    f = np.float32
    load("clue3d").cluster_endcaps(
        (clusters.x[order] / z).astype(f), (clusters.y[order] / z).astype(f), z.astype(f),
        clusters.layer[order].astype(np.int32), clusters.energy[order].astype(f), offsets,
        f(iteration.density_radius), iteration.sibling_layers, f(iteration.kernel), f(iteration.min_density),
        f(iteration.min_self_density), f(iteration.seed_distance), iteration.seed_layers,
        f(iteration.outlier_factor), density, higher, label, counts,
    )  # fmt: skip
    before = np.repeat(np.cumsum(counts) - counts, np.diff(offsets))
    labels = np.empty(n, np.int64)
    labels[order] = np.where(label >= 0, label + before, -1)
    return labels, int(counts.sum())


def along_tracks(clusters: LayerClusters, tracks: Tracks, iteration: Iteration) -> tuple[NDArray[np.int64], int]:
    """Layer clusters near extrapolated tracks, each with the nearest track: labels are the tracks' numbers."""
    best, label = np.full(len(clusters), iteration.track_distance), np.full(len(clusters), -1, np.int64)
    for cluster, track in pairs(clusters.event, tracks.event):
        z = clusters.z[cluster]
        x, y = tracks.at(track, z)
        distance = np.hypot(clusters.x[cluster] - x, clusters.y[cluster] - y)
        nearer = (distance < best[cluster]) & (z * tracks.z[track] > 0)
        best[cluster[nearer]], label[cluster[nearer]] = distance[nearer], track[nearer]
    return label, len(tracks)


def pairs(event: NDArray, other: NDArray) -> Iterator[tuple[NDArray, NDArray]]:
    """Yield index arrays (i, j) of pairs in one event: first each with its event's first other, then the second ..."""
    if not len(other):
        return
    events, first, count = np.unique(other, return_index=True, return_counts=True)
    at = np.searchsorted(events, event)
    at = np.where(at < len(events), at, 0)
    number = np.where(events[at] == event, count[at], 0)
    for k in range(int(count.max())):
        i = np.flatnonzero(number > k)
        yield i, first[at[i]] + k


def _takes_part(clusters: LayerClusters, iteration: Iteration) -> NDArray[np.bool_]:
    part = np.ones(len(clusters), bool)
    if iteration.last_layer is not None:
        part &= clusters.layer <= iteration.last_layer
    if iteration.max_cluster_size is not None:
        part &= clusters.size <= iteration.max_cluster_size
    return part


def _accept(
    clusters: LayerClusters, label: NDArray, n: int, geometry: Geometry, iteration: Iteration
) -> tuple[NDArray[np.int64], int]:
    """Give up tracksters that the iteration's cuts refuse; those that stay are numbered anew."""
    size = np.bincount(label[label >= 0], minlength=n)
    kept = size >= iteration.min_layer_clusters
    label, n = _renumber(label, kept)
    if n == 0:
        return label, n
    shape = measure(clusters, label, n, geometry, axes=False)
    kept = shape["energy"] >= iteration.min_energy
    kept &= shape["energy_em"] >= iteration.min_em_fraction * shape["energy"]
    if iteration.max_width is not None:
        kept &= shape["sigma_r"] <= iteration.max_width
    return _renumber(label, kept)


def _renumber(label: NDArray, kept: NDArray[np.bool_]) -> tuple[NDArray[np.int64], int]:
    """Labels with those not kept set to -1 and the others numbered from 0 in order."""
    number = np.append(np.where(kept, np.cumsum(kept) - 1, -1), -1)
    return number[label], int(kept.sum())
