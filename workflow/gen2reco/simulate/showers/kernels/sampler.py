"""Cells of a shower, drawn layer by layer among the candidates of `window`; the few hits elsewhere (the halo) are drawn
by distance alone.

A layer is drawn in two halves, either a random half of its hits: features of the second hold the hits of the first,
and the neighbours of these are candidates too. How many hits are of the halo follows from its rate, the candidates'
odds and the number of all; a number of hits is drawn from their odds by Pareto sampling (Rosen, J. Stat. Plan.
Inference 62 (1997) 135).
"""

from typing import NamedTuple

import numpy as np
from numba import float32, float64, int64, njit, types
from numpy.typing import NDArray

from gen2reco.jit import compiled
from gen2reco.simulate.showers.kernels.energies import MIXTURE, N_LEFT, draw_energies
from gen2reco.simulate.showers.kernels.maths import (
    HEAD,
    add_logistic,
    exponential,
    head,
    inner,
    largest,
    ln,
    log_factorial,
    normal,
    shuffle_first,
    some_of,
    uniform,
)
from gen2reco.simulate.showers.kernels.window import (
    CORE,
    N_FEATURES,
    NONE,
    SIDE,
    add_moments,
    add_neighbours,
    at_of,
    distance,
    empty_window,
    place_of,
    prepare,
    remaining_radius,
    take,
)

__all__ = ["CORE", "MIPS_EDGES", "MIXTURE", "N_FEATURES", "N_LEFT", "RADIUS_EDGES", "draw"]
RADIUS_EDGES, MIPS_EDGES = (15.0, 50.0), (3.0, 15.0, 60.0, 250.0)
"""Edges of the distances to the axis (mm) and of the energies of cells whose delays are distributed alike."""
_NEVER, _ONE, _MOST, _FAR = np.float32(-1e4), np.float32(1), np.float32(80), np.float32(1e30)


class Room(NamedTuple):
    """Arrays to work in: (2, most, width); (most, 1); (most, 3 MIXTURE); (most, N_FEATURES); (most,); (most,)."""

    hidden: NDArray[np.float32]
    logit: NDArray[np.float32]
    mixture: NDArray[np.float32]
    features: NDArray[np.float32]
    keys: NDArray[np.float32]
    order: NDArray[np.int64]


@njit
def room_for(most, width):
    """Room for a layer's candidates and for its hits."""
    shapes = np.empty((2, most, width), np.float32), np.empty((most, 1), np.float32)
    features = np.zeros((most, N_FEATURES), np.float32)
    mixture, keys = np.empty((most, 3 * MIXTURE), np.float32), np.empty(most, np.float32)
    return Room(shapes[0], shapes[1], mixture, features, keys, np.empty(most, np.int64))


@inner
def quantile(table, row, state):
    """A number distributed by its quantiles table[row], which are dense in the tails; see `cells`."""
    n = table.shape[1]
    u = np.float32(np.arccos(1 - 2 * uniform(state)) / np.pi * (n - 1))
    q = min(int(u), n - 2)
    return table[row, q] + (u - q) * (table[row, q + 1] - table[row, q])


@inner
def how_far(size, state):
    """The distance of a hit of the halo in units of the shower's mean one, from two Gaussians of its logarithm: size
    (5,), the chance of the first, means, widths."""
    which = int(uniform(state) >= size[0])
    return np.exp(size[1 + which] + size[3 + which] * normal(state))


@inner
def draw_halo(number, place, size, spread, ix, iy, start, at, state):
    """Put a cell of the halo, no candidate and not taken yet, at `at`; returns whether one was found."""
    for _ in range(20):
        r, phi = spread * how_far(size, state), 2 * np.pi * uniform(state)
        i = int(np.floor((place.x + r * np.cos(phi)) / place.size))
        j = int(np.floor((place.y + r * np.sin(phi)) / place.size))
        x, y = (i + 0.5) * place.size, (j + 0.5) * place.size
        fine = place.r_min * place.r_min <= x * x + y * y <= place.r_max * place.r_max
        c = at_of(place, i, j, 0)
        fine = fine and (c < 0 or number[c] == NONE)
        for h in range(start, at):
            fine = fine and (ix[h] != i or iy[h] != j)
        if fine:
            ix[at], iy[at] = i, j
            return True
    return False


@inner
def halo_of(keys, n, count, rate, state):
    """How many of `count` hits are of the halo: a Poisson number of `rate`, given that candidates, by the logarithms of
    their odds keys[:n], make the rest, whose number is about normal."""
    mean, variance, free = np.float32(0), np.float32(0.05), np.int32(0)
    for k in range(n):
        p = _ONE / (_ONE + exponential(min(max(-keys[k], -_MOST), _MOST)))
        mean += p
        variance += p * (_ONE - p)
        free += np.int32(keys[k] > _NEVER)
    log_rate, best, found = np.log(max(rate, np.float32(1e-6))), -_FAR, count
    for halo in range(max(count - free, 0), count + 1):
        off = count - halo - mean
        score = halo * log_rate - log_factorial(halo) - np.float32(0.5) * off * off / variance
        score -= ln(-ln(uniform(state)))  # the largest with Gumbel's noise is one drawn by weight
        if score > best:
            best, found = score, halo
    return found


@inner
def draw_half(window, place, n, half, count, bias, weights, rate, size, spread, ix, iy, start, at, room, state):
    """Draw one half of a layer's `count` hits, those from `start` on being taken; returns the index of the next hit.
    rate: of the halo's hits in this half; size: see `how_far`."""
    k, cell, order, keys = (count + 1 - half) // 2, window.cell, room.order, room.keys
    left = k if half else count
    head(window.features[:n], bias, weights, room.hidden, room.logit[:n])
    free = 0
    for c in range(n):
        gone = window.taken[cell[c]]
        keys[c] = _NEVER if gone else room.logit[c, 0]
        free += 1 - gone
    far = halo_of(keys, n, left, rate * np.float32(left) / np.float32(k), state)
    halo = some_of(far, left, k, state)
    add_logistic(keys, n, state)
    wanted = largest(keys, n, max(min(left - far, free), 0), order)
    chosen = min(k - halo, wanted)
    if half == 0:
        shuffle_first(order, wanted, chosen, state)
    for q in range(chosen):
        c = cell[order[q]]
        ix[at], iy[at] = c // SIDE + place.x0, c % SIDE + place.y0
        at += 1
    for _ in range(halo):
        at += draw_halo(window.number, place, size, spread, ix, iy, start, at, state)
    return at


@inner
def draw_delays(place, ix, iy, mips, start, stop, section, tables, delay, state):
    """Delays of a layer's hits [start, stop): tables (sections * distances * energies, n) of quantiles."""
    for h in range(start, stop):
        r, far, strong = distance(place, ix[h], iy[h]), 0, 0
        for edge in RADIUS_EDGES:
            far += r >= edge
        for edge in MIPS_EDGES:
            strong += mips[h] >= edge
        row = (section * (len(RADIUS_EDGES) + 1) + far) * (len(MIPS_EDGES) + 1) + strong
        delay[h] = quantile(tables, row, state)


_f4, _f8, _i8 = float32[::1], float64[::1], int64[::1]
_f4s, _f8s, _i8s, _axes = float32[:, ::1], float64[:, ::1], int64[:, ::1], float64[:, :, ::1]
_DRAW = int64(
    _i8, _axes, _f8s, float64, _f8, _f8, _i8s, _f8s, types.UniTuple(_f4s, 3), _i8s, _f4s, _f4s, _f8s,
    _i8, _f4s, types.UniTuple(HEAD, 3), _i8s, _i8, _i8, _f4, _f4,
)  # fmt: skip


@compiled([_DRAW], fastmath=True)
def draw(
    seeds, axes, slopes, size, r_min, r_max, counts, targets, contexts, row_of, halo_rate, halo_size,
    spread, section, delays, heads, edges, ix, iy, mips, delay,
):  # fmt: skip
    """Draw the cells of showers. counts, targets: (n, n_layers) cells and MIPs; contexts: (n_rows, width) biases of the
    first hidden layers of either half and of the energies, row_of (n, n_layers); halo_rate (n_rows, 2); halo_size
    (n_rows, 5): see `how_far`; spread (n, 2) mean distances to the axis by energy and by cells; delays: see
    `draw_delays`; heads: weights of either half and of the energies; edges (n, n_layers + 1) receives where each
    layer's cells begin in ix, iy, mips, delay. Each shower has its own seed. Returns the number of cells."""
    window, at = empty_window(), 0
    room = room_for(max(SIDE * SIDE, counts.max()), contexts[0].shape[1])
    moments, state = np.zeros(4), np.zeros(1, np.uint64)
    for shower in range(counts.shape[0]):
        state[0] = seeds[shower]
        edge, n_cells, energy = edges[shower], counts[shower].sum(), targets[shower].sum()
        moments[:] = 0
        for layer in range(counts.shape[1]):
            edge[layer] = start = at
            count, row = counts[shower, layer], row_of[shower, layer]
            if count == 0:
                continue
            radius_cells = remaining_radius(n_cells, spread[shower, 1], moments[0], moments[1])
            radius_energy = remaining_radius(energy, spread[shower, 0], moments[2], moments[3])
            place = place_of(
                axes[shower, layer], slopes[shower], size, r_min[layer], r_max[layer], radius_cells, radius_energy
            )
            n = prepare(window, place, layer, axes[shower], ix, iy, mips, edge)
            for half in range(min(count, 2)):
                if half == 1:
                    n = add_neighbours(window, place, ix, iy, start, at, n)
                first = at
                at = draw_half(
                    window, place, n, half, count, contexts[half][row], heads[half], halo_rate[row, half],
                    halo_size[row], spread[shower, 1], ix, iy, start, at, room, state,
                )  # fmt: skip
                take(window.taken, window.neighbours, place, ix, iy, first, at)
            bias, target = contexts[2][row], targets[shower, layer]
            draw_energies(window, place, bias, heads[2], ix, iy, mips, start, at, target, room, state)
            draw_delays(place, ix, iy, mips, start, at, section[layer], delays, delay, state)
            add_moments(axes[shower, layer], size, ix, iy, mips, start, at, moments)
        edge[counts.shape[1]] = at
    return at
