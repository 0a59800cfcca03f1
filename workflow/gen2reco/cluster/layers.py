"""Layer clusters: CLUE on every layer of every endcap of a run of events, in one call."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gen2reco.cluster.clusters import Clusters
from gen2reco.cluster.numba_points import clue_groups
from gen2reco.config.clustering import LayerClustering
from gen2reco.detector.geometry import Geometry
from gen2reco.events.schemas import NO_TIME

RunClue = Callable[..., tuple[Clusters, NDArray[np.int32]]]
"""CLUE on groups of points, called as `numba_points.clue_groups`."""


@dataclass(frozen=True)
class Hits:
    """The hits of a run of events, flat: all arrays (n_hits,)."""

    event: NDArray[np.int64]
    """Index of the event in the run."""
    layer: NDArray[np.int64]
    x: NDArray[np.float32]
    y: NDArray[np.float32]
    z: NDArray[np.float32]
    energy: NDArray[np.float32]
    """GeV at the electromagnetic scale."""
    time: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.event)

    def take(self, index: NDArray) -> "Hits":
        """Those of an index array or mask."""
        return Hits(**{name: getattr(self, name)[index] for name in self.__dataclass_fields__})


@dataclass(frozen=True)
class LayerClusters:
    """The layer clusters of a run of events, flat and ordered by event, side and layer: all arrays (n_clusters,)."""

    event: NDArray[np.int64]
    layer: NDArray[np.int64]
    x: NDArray[np.float64]
    """Log-weighted position, mm."""
    y: NDArray[np.float64]
    z: NDArray[np.float64]
    energy: NDArray[np.float64]
    time: NDArray[np.float64]
    """Energy-weighted mean of the hits that have a time, ns; -1 if none has."""
    size: NDArray[np.int64]
    """Number of hits."""

    def __len__(self) -> int:
        return len(self.event)

    def take(self, index: NDArray) -> "LayerClusters":
        """Those of an index array or mask."""
        return LayerClusters(**{name: getattr(self, name)[index] for name in self.__dataclass_fields__})


def cluster_layers(
    hits: Hits, geometry: Geometry, config: LayerClustering, run_clue: RunClue = clue_groups
) -> tuple[LayerClusters, NDArray[np.int64]]:
    """Layer clusters of all events, and per hit the number of its layer cluster in the run, -1 for outliers.

    A seed's density is at least `min_density` standard deviations of its layer's noise. `run_clue` does CLUE on
    groups of points: `numba_points.clue_groups`, or its torch twin.
    """
    key = (hits.event * 2 + (hits.z > 0)) * (geometry.n_layers + 1) + hits.layer
    order = np.argsort(key, kind="stable")
    groups, starts = np.unique(key[order], return_index=True)
    noise = geometry.detector.digitisation.noise * geometry.gev_per_mip
    min_density = config.min_density * noise[groups % (geometry.n_layers + 1) - 1]
    points = np.column_stack([hits.x[order], hits.y[order]]).astype(np.float32)
    energy = hits.energy[order].astype(np.float32)
    radius = config.density_radius
    found, counts = run_clue(
        points, energy, np.append(starts, len(key)), radius, min_density, radius * config.outlier_factor, radius
    )
    before = np.cumsum(counts) - counts
    sizes = np.diff(np.append(starts, len(key)))
    label = np.full(len(key), -1, np.int64)
    label[order] = np.where(found.labels >= 0, found.labels + np.repeat(before, sizes), -1)
    return _measure(hits, label, int(counts.sum()), config), label


def _measure(hits: Hits, label: NDArray, n: int, config: LayerClustering) -> LayerClusters:
    """Energy, log-weighted position and time of each layer cluster."""
    member = np.flatnonzero(label >= 0)
    member = member[np.argsort(label[member], kind="stable")]
    of, energy = label[member], hits.energy[member].astype(np.float64)
    x, y, z = (getattr(hits, axis)[member].astype(np.float64) for axis in "xyz")
    total = np.bincount(of, energy, n)
    top = _largest(of, energy, n)
    near = np.hypot(x - x[top][of], y - y[top][of]) <= config.position_radius
    with np.errstate(divide="ignore"):
        weight = np.maximum(config.log_weight + np.log(energy / total[of]), 0.0) * near
    weight = np.where(np.bincount(of, weight, n)[of] > 0, weight, energy)
    norm = np.bincount(of, weight, n)
    timed = energy * (hits.time[member] != NO_TIME)
    norm_time = np.bincount(of, timed, n)
    time = np.bincount(of, timed * hits.time[member], n) / np.where(norm_time > 0, norm_time, 1.0)
    return LayerClusters(
        event=hits.event[member][top],
        layer=hits.layer[member][top],
        x=np.bincount(of, weight * x, n) / norm,
        y=np.bincount(of, weight * y, n) / norm,
        z=z[top],
        energy=total.astype(np.float64),
        time=np.where(norm_time > 0, time, NO_TIME),
        size=np.bincount(of, minlength=n),
    )


def _largest(of: NDArray, values: NDArray, n: int) -> NDArray[np.int64]:
    """Position of the largest value of each group 0..n-1."""
    order = np.argsort(values, kind="stable")
    top = np.zeros(n, np.int64)
    top[of[order]] = order  # the last assignment stays
    return top
