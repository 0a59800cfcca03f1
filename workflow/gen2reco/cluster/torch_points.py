"""CLUE in torch, for a GPU: all groups of points in one batch, the same definition as the compiled CPU code.

Points are hashed into tiles of one search radius; candidate pairs come from the 3^d tiles around each, in blocks of
bounded memory. Densities are summed in float64 and rounded once, so labels equal the CPU's up to float ties.
"""

from collections.abc import Iterator

import numpy as np
import torch
from numpy.typing import NDArray

from gen2reco.cluster import numba_points
from gen2reco.cluster.clusters import Clusters

BLOCK = 1 << 22
"""Candidate pairs in memory at a time: about 200 MB."""
CROWDED = 1 << 35
"""Candidate pairs beyond which the CPU's tree is quicker than any device."""


def clue_groups(
    points: NDArray[np.float32],
    weights: NDArray[np.float32],
    offsets: NDArray[np.int64],
    density_radius: float,
    min_density: NDArray,
    outlier_distance: float,
    seeding_distance: float,
    periods: NDArray[np.float32] | None = None,
    device: str = "cuda",
) -> tuple[Clusters, NDArray[np.int32]]:
    """As `numba_points.clue_groups`, computed on a torch device; returns NumPy arrays."""
    n, sizes = len(points), np.diff(offsets)
    place = torch.device(device)
    x = torch.from_numpy(np.ascontiguousarray(points)).to(place)
    w = torch.from_numpy(np.ascontiguousarray(weights)).to(place)
    group = torch.from_numpy(np.repeat(np.arange(len(sizes)), sizes)).to(place)
    farthest = max(density_radius, seeding_distance, outlier_distance)
    if n and _crowd(x, group, farthest, periods) > CROWDED:
        given = (points, weights, offsets, density_radius, min_density, outlier_distance, seeding_distance, periods)
        return numba_points.clue_groups(*given)
    threshold = torch.from_numpy(np.asarray(min_density, np.float32)).to(place)[group]
    period = None if periods is None else torch.from_numpy(np.asarray(periods, np.float32)).to(place)
    radius, seeding, outlier = (
        torch.tensor(v, dtype=torch.float32, device=place) for v in (density_radius, seeding_distance, outlier_distance)
    )
    around = torch.zeros(n, dtype=torch.float64, device=place)
    for i, j, distance in _pairs(x, group, float(density_radius), period):
        near = distance <= radius
        around.index_add_(0, i[near], w[j[near]].double())
    density = (w.double() + 0.5 * around).float()
    dense = density >= threshold
    rank = _ranks(density)
    higher = _nearest_higher(x, group, period, rank, dense, seeding, outlier)
    seed = dense & (higher < 0)
    label, counts = _labels(higher, seed, group, len(sizes))
    first = torch.from_numpy(np.repeat(offsets[:-1], sizes)).to(place)
    local = torch.where(higher >= 0, higher - first, higher)
    found = (label.int(), seed, density, local.int())
    return Clusters(*(values.cpu().numpy() for values in found)), counts.int().cpu().numpy()


def _nearest_higher(
    x: torch.Tensor,
    group: torch.Tensor,
    period: torch.Tensor | None,
    rank: torch.Tensor,
    dense: torch.Tensor,
    seeding: torch.Tensor,
    outlier: torch.Tensor,
) -> torch.Tensor:
    """(n,) the nearest point above each within reach, the highest among equally near ones; -1 if none."""
    n = len(x)
    reach = torch.where(dense, seeding, outlier)
    least = torch.full((n,), torch.inf, device=x.device)
    top = torch.full((n,), -1, dtype=torch.int64, device=x.device)
    for i, j, distance in _pairs(x, group, max(float(seeding), float(outlier)), period):
        above = (rank[j] > rank[i]) & (distance <= reach[i])
        i, j, distance = i[above], j[above], distance[above]
        before = least.clone()
        least.scatter_reduce_(0, i, distance, "amin")
        top[least < before] = -1
        nearest = distance == least[i]
        top.scatter_reduce_(0, i[nearest], rank[j[nearest]], "amax")
    by_rank = torch.empty_like(rank)
    by_rank[rank] = torch.arange(n, device=x.device)
    return torch.where(top >= 0, by_rank[top.clamp(min=0)], -1) if n else top


def _ranks(density: torch.Tensor) -> torch.Tensor:
    """Place of each point in the order of (density, index)."""
    order = torch.sort(density, stable=True).indices
    rank = torch.empty_like(order)
    rank[order] = torch.arange(len(order), device=density.device)
    return rank


def _labels(
    higher: torch.Tensor, seed: torch.Tensor, group: torch.Tensor, n_groups: int
) -> tuple[torch.Tensor, torch.Tensor]:
    """Labels from zero in each group by pointer jumping, and the number of clusters per group."""
    root = torch.where(higher >= 0, higher, torch.arange(len(higher), device=higher.device))
    while True:
        farther = root[root]
        if torch.equal(farther, root):
            break
        root = farther
    counts = torch.bincount(group[seed], minlength=n_groups)
    before = torch.cumsum(counts, 0) - counts
    number = torch.cumsum(seed.long(), 0) - 1 - before[group]
    return torch.where(seed[root], number[root], -1), counts


def _pairs(
    x: torch.Tensor, group: torch.Tensor, reach: float, period: torch.Tensor | None
) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """Yield (i, j, distance) of candidate pairs, i != j, of one group in neighbouring tiles, each ordered pair once."""
    if not len(x):
        return
    tile, count = _tiles(x, group, reach, period)
    order, starts, first, number = _sorted_tiles(tile, count, group)
    for shift in _shifts(count, period):
        other = tile + shift
        if period is not None:
            wraps = torch.isfinite(period)
            other = torch.where(wraps, other % count, other)
        inside = ((other >= 0) & (other < count)).all(dim=1)
        key = _keys(other, count, group)
        at = torch.searchsorted(starts, key).clamp(max=len(starts) - 1)
        found = inside & (starts[at] == key)
        i = torch.nonzero(found).squeeze(1)
        yield from _blocks(x, i, first[at[i]], number[at[i]], order, period)


def _crowd(x: torch.Tensor, group: torch.Tensor, reach: float, periods: NDArray[np.float32] | None) -> float:
    """Approximate number of candidate pairs."""
    period = None if periods is None else torch.from_numpy(np.asarray(periods, np.float32)).to(x.device)
    tile, count = _tiles(x, group, float(reach), period)
    number = _sorted_tiles(tile, count, group)[3].double()
    return float((number**2).sum()) * 3.0 ** x.shape[1]


def _tiles(
    x: torch.Tensor, group: torch.Tensor, reach: float, period: torch.Tensor | None
) -> tuple[torch.Tensor, torch.Tensor]:
    """Tile indices (n, d) and number of tiles per axis (d,); tiles are a little wider than the reach."""
    wide = x.double()
    low, high = wide.min(dim=0).values, wide.max(dim=0).values
    if period is not None:
        cyclic = torch.isfinite(period)
        half = torch.where(cyclic, period, torch.ones_like(period)).double() / 2
        low, high = torch.where(cyclic, -half, low), torch.where(cyclic, half, high)
    extent = (high - low).clamp(min=1e-30)
    most = min(2**20, int((2.0**62 / (1 + int(group.max()))) ** (1 / x.shape[1])))  # keys fit 63 bits
    count = torch.floor(extent / max(reach * (1 + 1e-5), 1e-22)).clamp(min=1, max=most).long()
    tile = torch.floor((wide - low) / extent * count).long()
    return torch.minimum(tile.clamp(min=0), count - 1), count


def _shifts(count: torch.Tensor, period: torch.Tensor | None) -> list[torch.Tensor]:
    """Offsets of neighbouring tiles, without those that wrapping would make twice."""
    axes = []
    for axis, number in enumerate(count.tolist()):
        cyclic = period is not None and bool(torch.isfinite(period[axis]))
        axes.append([0] if number == 1 else [0, 1] if cyclic and number == 2 else [-1, 0, 1])
    return list(torch.cartesian_prod(*(torch.tensor(a, device=count.device) for a in axes)))


def _keys(tile: torch.Tensor, count: torch.Tensor, group: torch.Tensor) -> torch.Tensor:
    key = group
    for axis in range(tile.shape[1]):
        key = key * count[axis] + tile[:, axis].clamp(min=0).minimum(count[axis] - 1)
    return key


def _sorted_tiles(
    tile: torch.Tensor, count: torch.Tensor, group: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Points in tile order, and per occupied tile its key, its first place and its number of points."""
    key, order = torch.sort(_keys(tile, count, group), stable=True)
    starts, number = torch.unique_consecutive(key, return_counts=True)
    return order, starts, torch.cumsum(number, 0) - number, number


def _blocks(
    x: torch.Tensor,
    i: torch.Tensor,
    first: torch.Tensor,
    number: torch.Tensor,
    order: torch.Tensor,
    period: torch.Tensor | None,
) -> Iterator[tuple[torch.Tensor, torch.Tensor, torch.Tensor]]:
    """Expand points and tile spans to pairs with distances, at most about BLOCK at a time."""
    ends = torch.cumsum(number, 0)
    start = 0
    while start < len(i):
        base = int(ends[start - 1]) if start else 0
        stop = max(start + 1, int(torch.searchsorted(ends, base + BLOCK, right=True)))
        size = number[start:stop]
        left = torch.repeat_interleave(i[start:stop], size)
        within = torch.arange(len(left), device=x.device) - torch.repeat_interleave(torch.cumsum(size, 0) - size, size)
        right = order[torch.repeat_interleave(first[start:stop], size) + within]
        other = left != right
        left, right = left[other], right[other]
        yield left, right, _distance(x, left, right, period)
        start = stop


def _distance(x: torch.Tensor, i: torch.Tensor, j: torch.Tensor, period: torch.Tensor | None) -> torch.Tensor:
    apart = (x[i] - x[j]).abs()
    if period is not None:
        apart = torch.minimum(apart, period - apart)
    square = apart[:, 0] * apart[:, 0]
    for axis in range(1, x.shape[1]):
        square = square + apart[:, axis] * apart[:, axis]
    return square.sqrt()
