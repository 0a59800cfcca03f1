"""Training data of the cells: the candidates that the sampler would have had, their features and outcomes."""

import numpy as np
from numba import float32, float64, int64, uint8

from gen2reco.jit import compiled
from gen2reco.simulate.showers.kernels.energies import hottest_first, what_is_left
from gen2reco.simulate.showers.kernels.maths import inner
from gen2reco.simulate.showers.kernels.window import (
    N_FEATURES,
    add_moments,
    add_neighbours,
    at_of,
    empty_window,
    hit_features,
    place_of,
    prepare,
    remaining_radius,
    take,
)

_f4, _f8, _i8 = float32[::1], float64[::1], int64[::1]
_f4s, _f8s, _i8s, _axes = float32[:, ::1], float64[:, ::1], int64[:, ::1], float64[:, :, ::1]
_SIGNATURE = int64(
    _i8, _i8s, _axes, _f8s, _f8s, float64, _f8, _f8, _i8, _i8, _f4, _i8s, _i8, _f4s, uint8[::1], _f4, _f4s
)


@inner
def shower_so_far(layer, axes, size, ix, iy, mips, edge, spread, moments):
    """The remaining radius of what comes after a layer, by cells and by energy: see `remaining_radius`."""
    moments[:], total = 0, 0.0
    for before in range(layer):
        add_moments(axes[before], size, ix, iy, mips, edge[before], edge[before + 1], moments)
    for h in range(edge[0], edge[-1]):
        total += mips[h]
    cells = remaining_radius(edge[-1] - edge[0], spread[1], moments[0], moments[1])
    return cells, remaining_radius(total, spread[0], moments[2], moments[3])


@inner
def not_candidates(number, place, ix, iy, start, stop, role):
    """How many of the hits [start, stop) are no candidates, and the role of each: 4, or 5 for those."""
    n = 0
    for h in range(start, stop):
        at = at_of(place, ix[h], iy[h], 1)
        outside = at < 0 or number[at] < 0
        role[h] = 4 + outside
        n += outside
    return n


@inner
def mark(hit, place, ix, iy):
    """Mark the cells of the window that are hit in this layer."""
    hit[:] = 0
    for h in range(len(ix)):
        at = at_of(place, ix[h], iy[h], 1)
        if at >= 0:
            hit[at] = 1


@inner
def write(window, n, hit, role, features_out, role_out, at):
    """Write the candidates that are not taken, those hit as `role` + 1, the others as `role`; returns the index of the
    next entry."""
    for k in range(n):
        c = window.cell[k]
        if not window.taken[c]:
            for i in range(N_FEATURES):
                features_out[at, i] = window.features[k, i]
            role_out[at] = role + hit[c]
            at += 1
    return at


@compiled([_SIGNATURE], fastmath=True)
def candidates(
    seeds, shower_edges, axes, slopes, spread, size, r_min, r_max, ix, iy, mips, rows, row_first, features_out,
    role_out, energy_out, halo_out,
):  # fmt: skip
    """For each row (shower, layer) its candidates, their features and outcomes.

    role_out: candidates of the first half that are not hit (0) or hit (1); of the second half, whose features hold a
    random first half of the hits, not hit (2) or hit (3); and every hit once more, with all hits among its neighbours,
    what the layer has left for it and those after it, hottest first (N_LEFT more features), and with its energy (4, or
    5 if it was no candidate of its half). halo_out (n_rows, 2): hits of either half that
    were no candidates. `row_first` (n_rows + 1,) receives where each row begins. Returns the number of rows done.
    """
    window, at = empty_window(), 0
    hit, moments = np.zeros(len(window.taken), np.uint8), np.zeros(4)
    for row in range(rows.shape[0]):
        shower, layer = rows[row, 0], rows[row, 1]
        edge, axis = shower_edges[shower], axes[shower]
        np.random.seed(seeds[row])
        radius_cells, radius_energy = shower_so_far(layer, axis, size, ix, iy, mips, edge, spread[shower], moments)
        place = place_of(axis[layer], slopes[shower], size, r_min[layer], r_max[layer], radius_cells, radius_energy)
        n = prepare(window, place, layer, axis, ix, iy, mips, edge)
        row_first[row] = at
        order = edge[layer] + np.random.permutation(edge[layer + 1] - edge[layer])
        x, y, total = ix[order], iy[order], len(order)
        half, roles = (total + 1) // 2, np.empty(total, np.uint8)
        keys, ranked = np.empty(total, np.float32), np.empty(total, np.int64)
        if at + 2 * n + 10 * total + 20 > len(role_out):
            return row
        mark(hit, place, x, y)
        at = write(window, n, hit, 0, features_out, role_out, at)
        halo_out[row, 0] = not_candidates(window.number, place, x, y, 0, half, roles)
        take(window.taken, window.neighbours, place, x, y, 0, half)
        n = add_neighbours(window, place, x, y, 0, half, n)
        at = write(window, n, hit, 2, features_out, role_out, at)
        halo_out[row, 1] = not_candidates(window.number, place, x, y, half, total, roles)
        take(window.taken, window.neighbours, place, x, y, half, total)
        hit_features(window, place, x, y, 0, total, features_out[at:])
        hottest_first(features_out[at:], total, keys, ranked)
        left = np.float32(0)
        for h in range(total):
            role_out[at + h], energy_out[at + h] = roles[h], np.log(mips[order[h]])
            left += mips[order[h]]
        mean = left / np.float32(total)
        for q in range(total):
            h = ranked[q]
            richness, rest = what_is_left(left, np.float32(total - q), mean)
            features_out[at + h, N_FEATURES], features_out[at + h, N_FEATURES + 1] = richness, rest
            left -= mips[order[h]]
        at += total
    row_first[rows.shape[0]] = at
    return rows.shape[0]
