"""Linking: fragments of one shower become one trackster, and layer clusters left over join the nearest one."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from gen2reco.cluster.iterations import Fragments, Tracks, pairs
from gen2reco.cluster.layers import LayerClusters
from gen2reco.cluster.tracksters import measure
from gen2reco.config.clustering import Linking
from gen2reco.detector.geometry import Geometry


def link(
    clusters: LayerClusters, fragments: Fragments, tracks: Tracks, geometry: Geometry, config: Linking
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(trackster of each layer cluster, trackster of each fragment), -1 for none, numbered by event, falling energy.

    Twice, every group of fragments joins the nearest more energetic one of its endcap within reach: first what lies on
    one line, then what belongs to one shower by `_reach`. Unclaimed layer clusters are attached at the end, and
    tracksters below `min_energy` without a track are dropped.
    """
    root = np.arange(fragments.n)
    for reach in (_close, _reach):
        label, number = _as_groups(fragments.label, root)
        shape = measure(clusters, label, int(number.max(initial=-1)) + 1, geometry)
        shape["tracked"] = _tracked(shape, tracks, config)
        leader = _leaders(shape, reach, config)
        members = np.unique(number, return_index=True)[1]
        root = root[members][_roots(leader)][number]
    label, number = _as_groups(fragments.label, root)
    n = int(number.max(initial=-1)) + 1
    label = _attach(clusters, label, measure(clusters, label, n, geometry, axes=False), config)
    shape = measure(clusters, label, n, geometry, axes=False)
    kept = (shape["energy"] >= config.min_energy) | _tracked(shape, tracks, config)
    order = np.lexsort((-shape["energy"], shape["event"]))
    final = np.full(n + 1, -1)
    final[order[kept[order]]] = np.arange(kept.sum())
    return final[label], final[number]


def _as_groups(label: NDArray, root: NDArray) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(group of each layer cluster, group of each fragment), groups of one root numbered from 0."""
    number = np.unique(root, return_inverse=True)[1]
    return np.append(number, -1)[label], number


def _roots(leader: NDArray) -> NDArray[np.int64]:
    """The end of each chain of leaders."""
    root = np.where(leader >= 0, leader, np.arange(len(leader)))
    while (root[root] != root).any():
        root = root[root]
    return root


def _leaders(shape: dict[str, NDArray], reach: Callable, config: Linking) -> NDArray[np.int64]:
    """For each fragment the nearest more energetic one within reach, -1 if none."""
    from gen2reco.cluster.compiled_kernels import load

    n = len(shape["event"])
    group = shape["event"] * 2 + (shape["z"] > 0)
    order = np.lexsort((-shape["energy"], group))
    first = np.unique(group[order], return_index=True)[1]
    rank = np.empty(n, np.int64)
    rank[order] = np.arange(n)
    axis_z = np.where(shape["axis_z"] == 0, 1e-9, shape["axis_z"])
    columns = (shape["x"], shape["y"], shape["z"], shape["axis_x"], shape["axis_y"], axis_z)
    near = load("near").followers(np.append(first, n), *(values[order] for values in columns), _farthest(config))
    follower, candidate = order[near[0]], order[near[1]]
    score = _distance(shape, follower, candidate) / np.maximum(reach(shape, follower, candidate, config), 1e-9)
    return _nearest(n, follower, candidate, score, rank[candidate], np.ones(n))


def _nearest(
    n: int, follower: NDArray, candidate: NDArray, score: NDArray, rank: NDArray, limit: NDArray
) -> NDArray[np.int64]:
    """For each of n followers the candidate of the least score below its limit, of equal ones that of the least rank;
    -1 for none."""
    below = score < limit[follower]
    follower, candidate, score, rank = follower[below], candidate[below], score[below], rank[below]
    order = np.lexsort((rank, score, follower))[::-1]
    leader = np.full(n, -1)
    leader[follower[order]] = candidate[order]  # the last assignment, of the least score, stays
    return leader


def _farthest(config: Linking) -> float:
    """Farther than any fragment may be from its leader, mm."""
    names = ("photon", "close", "em", "had", "halo", "late")
    return max(config.em_reach, *(getattr(config, f"{name}_distance") for name in names))


def _distance(shape: dict[str, NDArray], follower: NDArray, leader: NDArray) -> NDArray[np.float64]:
    """Transverse distance of the follower's barycentre from the leader: along its axis or the line from the origin."""
    z = shape["z"][follower]
    x, y = shape["x"][follower], shape["y"][follower]
    scale = z / shape["z"][leader]
    pointing = np.hypot(x - scale * shape["x"][leader], y - scale * shape["y"][leader])
    slope = (z - shape["z"][leader]) / np.where(shape["axis_z"] == 0, 1e-9, shape["axis_z"])[leader]
    ax, ay = (shape[a][leader] + slope * shape[f"axis_{a}"][leader] for a in "xy")
    return np.minimum(pointing, np.hypot(x - ax, y - ay))


def _close(shape: dict[str, NDArray], follower: NDArray, leader: NDArray, config: Linking) -> NDArray[np.float64]:
    return np.where(_photon(shape, follower, leader, config), config.photon_distance, config.close_distance)


def _reach(shape: dict[str, NDArray], follower: NDArray, leader: NDArray, config: Linking) -> NDArray[np.float64]:
    """How far a follower may be: farther if it starts late in the calorimeter, or is a halo."""
    em = _electromagnetic(shape, config)
    alone = ~shape["tracked"][follower]
    late = alone & (shape["first_layer"][follower] > config.late_layer)
    share = shape["energy"][follower] / shape["energy"][leader]
    reach = np.where(em[follower], config.em_distance, config.had_distance)
    for applies, farther in (
        (alone & (share < config.halo_fraction), config.halo_distance),
        (late, np.where(em[leader], config.em_reach, config.late_distance)),
    ):
        reach = np.where(applies, np.maximum(reach, farther), reach)
    return np.where(_photon(shape, follower, leader, config), config.photon_distance, reach)


def _photon(shape: dict[str, NDArray], follower: NDArray, leader: NDArray, config: Linking) -> NDArray[np.bool_]:
    """Whether the follower looks like a photon that entered by itself."""
    alone = _electromagnetic(shape, config) & (shape["first_layer"] <= config.photon_layer) & ~shape["tracked"]
    return alone[follower] & (shape["energy"][follower] >= config.photon_fraction * shape["energy"][leader])


def _electromagnetic(shape: dict[str, NDArray], config: Linking) -> NDArray[np.bool_]:
    """Whether each group of fragments looks like an electromagnetic shower: shallow and narrow."""
    return (shape["energy_em"] >= config.em_fraction * shape["energy"]) & (shape["sigma_r"] <= config.em_width)


def _attach(clusters: LayerClusters, label: NDArray, shape: dict[str, NDArray], config: Linking) -> NDArray[np.int64]:
    """Unclaimed layer clusters join the fragment whose line from the origin passes nearest, and so its trackster."""
    from gen2reco.cluster.compiled_kernels import load

    free = np.flatnonzero(label < 0)
    reach = np.where(_electromagnetic(shape, config), config.em_reach, config.attach_distance)
    roots = np.unique(label[label >= 0])
    roots = roots[np.argsort(shape["event"][roots], kind="stable")]
    begin, end = (np.searchsorted(shape["event"][roots], clusters.event[free], side) for side in ("left", "right"))
    points = (values[free].astype(float) for values in (clusters.x, clusters.y, clusters.z))
    lines = (shape[name][roots] for name in "xyz")
    i, j = load("near").attachable(begin, end, *points, *lines, reach[roots].astype(float))
    one, trackster = free[i], roots[j]
    scale = clusters.z[one] / shape["z"][trackster]
    distance = np.hypot(
        clusters.x[one] - scale * shape["x"][trackster], clusters.y[one] - scale * shape["y"][trackster]
    )
    distance[~(distance < reach[trackster])] = np.inf
    chosen = _nearest(len(free), i, trackster, distance, j, np.full(len(free), np.inf))
    attached = label.copy()
    attached[free] = chosen
    return attached


def _tracked(shape: dict[str, NDArray], tracks: Tracks, config: Linking) -> NDArray[np.bool_]:
    """Whether a track points at each group of fragments."""
    tracked = np.zeros(len(shape["event"]), bool)
    for i, j in pairs(shape["event"], tracks.event):
        x, y = tracks.at(j, shape["z"][i])
        near = np.hypot(shape["x"][i] - x, shape["y"][i] - y) < config.track_distance
        tracked[i] |= near & (shape["z"][i] * tracks.z[j] > 0)
    return tracked
