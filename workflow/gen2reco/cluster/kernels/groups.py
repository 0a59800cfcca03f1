"""CLUE on many independent groups of points; compiled for plain coordinates in `plain` and `plain3`, cyclic ones in
`cyclic`."""

import numpy as np
from numba import njit, types
from numba.extending import overload

from gen2reco.cluster.kernels.tiles import crowding, reach_of, square_limit, tile_density, tile_higher, tile_points
from gen2reco.cluster.kernels.tree import STACK, build_boxes, build_highest, morton_order, tree_density, tree_higher

CROWDED = 2000.0  # mean candidates a point beyond which the tree is quicker than tiles
WIDE = 4.0  # radii of the search for a higher point, in density radii, beyond which the tree is quicker


def take(values, index):
    """values[index], None where there are no values; decided when compiling, never at run time."""
    return None if values is None else values[index]


@overload(take)
def _take(values, index):
    if isinstance(values, types.NoneType):
        return lambda values, index: None
    return lambda values, index: values[index]


@njit
def resolve_labels(higher, rho, order, min_density, seed, label):
    """Labels from nearest highers (sorted positions): seeds numbered by original index. Returns how many."""
    n = len(higher)
    root = np.full(n, -2, np.int32)
    chain = np.empty(n, np.int32)
    for i in range(n):
        depth, k = 0, i
        while root[k] == -2 and higher[k] >= 0:
            chain[depth] = k
            depth += 1
            k = higher[k]
        if root[k] == -2:
            root[k] = k if rho[k] >= min_density else -1
        for d in range(depth):
            root[chain[d]] = root[k]
    position = chain  # reused: sorted position of each original index
    for i in range(n):
        position[order[i]] = i
    count = 0
    for i in range(n):
        p = position[i]
        seed[i] = root[p] == p
        if seed[i]:
            label[i] = count
            count += 1
    for i in range(n):
        p = root[position[i]]
        label[i] = -1 if p < 0 else label[order[p]]
    return count


@njit
def cluster_group(x, y, z, w, dc, min_density, outlier, seeding, period, method, density, higher, seed, label):
    """One group; method 0 chooses, 1 forces tiles, 2 the tree. Returns the number of clusters."""
    n = len(x)
    order, starts, geometry = tile_points(x, y, z, dc, period)
    farthest = max(outlier, seeding)
    tree = method == 2 or (
        method == 0 and n > 256 and (farthest > WIDE * dc or crowding(starts, geometry, z is not None) > CROWDED)
    )
    if tree:
        order = morton_order(x, y, z)
    xs, ys, zs, ws = x[order], y[order], take(z, order), w[order]
    rho = np.empty(n, np.float32)
    nearest = np.empty(n, np.int32)
    limit, near, far = square_limit(dc), square_limit(seeding), square_limit(outlier)
    if tree:
        stack = np.empty(STACK, np.int64)
        boxes, weights = build_boxes(xs, ys, zs, ws)
        for i in range(n):
            others = tree_density(i, xs, ys, zs, ws, boxes, weights, limit, period, stack) - ws[i]
            rho[i] = np.float32(ws[i] + 0.5 * others)
        highest = build_highest(rho, order, len(boxes))
        for i in range(n):
            bound = near if rho[i] >= min_density else far
            nearest[i], _ = tree_higher(i, xs, ys, zs, rho, order, boxes, highest, bound, period, stack)
    else:
        reach, reach_near, reach_far = reach_of(dc), reach_of(seeding), reach_of(outlier)
        for i in range(n):
            others = tile_density(i, xs, ys, zs, ws, starts, geometry, reach, limit, period) - ws[i]
            rho[i] = np.float32(ws[i] + 0.5 * others)
        for i in range(n):
            dense = rho[i] >= min_density
            bound, margin = (near, reach_near) if dense else (far, reach_far)
            nearest[i] = tile_higher(i, xs, ys, zs, rho, order, starts, geometry, margin, bound, period)
    for i in range(n):
        density[order[i]] = rho[i]
        higher[order[i]] = order[nearest[i]] if nearest[i] >= 0 else -1
    return resolve_labels(nearest, rho, order, min_density, seed, label)


@njit
def cluster_groups(
    x, y, z, w, offsets, dc, min_density, outlier, seeding, period, method, density, higher, seed, label, counts
):
    """CLUE in each group offsets[g]..offsets[g + 1]; `higher` and `label` count from zero in each group."""
    for g in range(len(offsets) - 1):
        a, b = offsets[g], offsets[g + 1]
        counts[g] = 0
        if b > a:
            counts[g] = cluster_group(
                x[a:b], y[a:b], take(z, slice(a, b)), w[a:b], dc, min_density[g], outlier, seeding, period, method,
                density[a:b], higher[a:b], seed[a:b], label[a:b],
            )  # fmt: skip


def signatures(period, depths):
    """Compiled forms of `cluster_groups` for plain or cyclic coordinates; depths: types of z, none for two axes."""
    f4, i4, i8 = types.float32, types.int32, types.int64
    return [
        types.void(
            f4[::1], f4[::1], z, f4[::1], i8[::1], f4, f4[::1], f4, f4, period, i8,
            f4[::1], i4[::1], types.boolean[::1], i4[::1], i4[::1],
        )
        for z in depths
    ]  # fmt: skip
