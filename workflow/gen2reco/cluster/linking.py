"""Linking: fragments of one shower become one trackster, and layer clusters left over join the nearest one."""

import numpy as np
from numpy.typing import NDArray

from gen2reco.campaign.clustering import Linking
from gen2reco.cluster.iterations import Fragments, Tracks, pairs
from gen2reco.cluster.layers import LayerClusters
from gen2reco.cluster.tracksters import measure
from gen2reco.events.geometry import Geometry


def link(
    clusters: LayerClusters, fragments: Fragments, tracks: Tracks, geometry: Geometry, config: Linking
) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """(trackster of each layer cluster, trackster of each fragment), -1 for none, numbered by event and energy.

    Every fragment joins the nearest more energetic fragment of its endcap within reach: superclustering where both are
    electromagnetic, else by the distance from the leader's axis. Then unclaimed layer clusters are attached, and
    tracksters below `min_energy` that no track points at are dropped.
    """
    shape = measure(clusters, fragments.label, fragments.n, geometry)
    leader = _leaders(shape, config)
    order = np.lexsort((-shape["energy"], shape["event"]))
    root = np.arange(fragments.n)
    for k in order:  # leaders come before their followers
        root[k] = root[leader[k]] if leader[k] >= 0 else k
    label = np.append(root, -1)[fragments.label]
    label = _attach(clusters, label, shape, config)
    energy = np.bincount(label[label >= 0], clusters.energy[label >= 0], fragments.n)
    kept = (energy >= config.min_energy) | _track_points(shape, tracks, config)
    kept &= root == np.arange(fragments.n)
    by_event = np.lexsort((-energy, shape["event"]))
    number = np.full(fragments.n + 1, -1)
    number[by_event[kept[by_event]]] = np.arange(kept.sum())
    return number[label], number[root]


def _leaders(shape: dict[str, NDArray], config: Linking) -> NDArray[np.int64]:
    """For each fragment the nearest more energetic one within reach, -1 if none."""
    n = len(shape["event"])
    group = shape["event"] * 2 + (shape["z"] > 0)
    order = np.lexsort((-shape["energy"], group))
    first = np.unique(group[order], return_index=True)[1]
    rank = np.arange(n) - np.repeat(first, np.diff(np.append(first, n)))
    best, leader = np.full(n, 1.0), np.full(n, -1)
    for k in range(int(rank.max(initial=-1))):
        follower = order[np.flatnonzero(rank > k)]
        candidate = order[np.flatnonzero(rank > k) - rank[rank > k] + k]
        score = _distance(shape, follower, candidate) / np.maximum(_reach(shape, follower, candidate, config), 1e-9)
        nearer = score < best[follower]
        best[follower[nearer]], leader[follower[nearer]] = score[nearer], candidate[nearer]
    return leader


def _distance(shape: dict[str, NDArray], follower: NDArray, leader: NDArray) -> NDArray[np.float64]:
    """Transverse distance of the follower's barycentre from the leader: along its axis or the line from the origin."""
    z = shape["z"][follower]
    x, y = shape["x"][follower], shape["y"][follower]
    scale = z / shape["z"][leader]
    pointing = np.hypot(x - scale * shape["x"][leader], y - scale * shape["y"][leader])
    slope = (z - shape["z"][leader]) / np.where(shape["axis_z"] == 0, 1e-9, shape["axis_z"])[leader]
    ax, ay = (shape[a][leader] + slope * shape[f"axis_{a}"][leader] for a in "xy")
    return np.minimum(pointing, np.hypot(x - ax, y - ay))


def _reach(shape: dict[str, NDArray], follower: NDArray, leader: NDArray, config: Linking) -> NDArray[np.float64]:
    em = shape["energy_em"] > 0.95 * shape["energy"]
    reach = np.where(em[follower] & em[leader], config.em_distance, config.had_distance)
    light = shape["energy"][follower] < config.light_fraction * shape["energy"][leader]
    return np.where(light, np.maximum(reach, config.light_distance), reach)


def _attach(clusters: LayerClusters, label: NDArray, shape: dict[str, NDArray], config: Linking) -> NDArray[np.int64]:
    """Unclaimed layer clusters join the fragment whose line from the origin passes nearest, and so its trackster."""
    free = np.flatnonzero(label < 0)
    best, chosen = np.full(len(free), config.attach_distance), np.full(len(free), -1)
    roots = np.unique(label[label >= 0])
    roots = roots[np.argsort(shape["event"][roots], kind="stable")]
    for i, j in pairs(clusters.event[free], shape["event"][roots]):
        one, trackster = free[i], roots[j]
        scale = clusters.z[one] / shape["z"][trackster]
        distance = np.hypot(
            clusters.x[one] - scale * shape["x"][trackster], clusters.y[one] - scale * shape["y"][trackster]
        )
        nearer = (distance < best[i]) & (scale > 0)
        best[i[nearer]], chosen[i[nearer]] = distance[nearer], trackster[nearer]
    attached = label.copy()
    attached[free] = chosen
    return attached


def _track_points(shape: dict[str, NDArray], tracks: Tracks, config: Linking) -> NDArray[np.bool_]:
    """Whether a track points at each fragment."""
    near = np.zeros(len(shape["event"]), bool)
    for i, j in pairs(shape["event"], tracks.event):
        x, y = tracks.at(j, shape["z"][i])
        near[i] |= (np.hypot(shape["x"][i] - x, shape["y"][i] - y) < config.em_distance) & (
            shape["z"][i] * tracks.z[j] > 0
        )
    return near
