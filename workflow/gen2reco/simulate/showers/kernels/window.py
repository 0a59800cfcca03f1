"""The cells about a shower's axis in one layer: energies of earlier layers, candidates for hits, and their features.
Layers count from 0 here, lengths are mm; windows are flat, cell (i, j) at i * SIDE + j.

A window of cells about the shower's axis holds the energies of earlier layers, projected along the axis: `near` from
the layer before, `far` from the two before that. Candidates are the cells close to the axis and the neighbours of
projected hits. No length here is one of a geometry: the core is a few Moliere radii in any, the window counts cells.
"""

from typing import NamedTuple

import numpy as np
from numba import njit
from numpy.typing import NDArray

from gen2reco.simulate.showers.kernels.maths import inner, ln

SIDE = 41
"""Cells along a side of the window."""
HALF = SIDE // 2
CORE = 30.0
"""mm; all cells this close to the axis are candidates, as far as the window reaches."""
N_FEATURES = 11
"""Features of a cell: its place, the energies of earlier layers and, last, the hits among its neighbours."""
NONE, LISTED, OUTSIDE = -1, -2, -3
"""Cells without a number: no candidate, listed but not yet numbered, outside the detector."""
_0, _1 = np.float32(0), np.float32(1)


class Window(NamedTuple):
    """State of the cells about the axis; arrays (SIDE * SIDE,) unless said."""

    near: NDArray[np.float32]
    far: NDArray[np.float32]
    about_near: NDArray[np.float32]
    """Sum of `near` over the cell and its eight neighbours."""
    about_far: NDArray[np.float32]
    number: NDArray[np.int32]
    """Which candidate a cell is; negative: none."""
    taken: NDArray[np.uint8]
    """Whether a cell is hit already."""
    neighbours: NDArray[np.uint8]
    """Hits among the eight neighbours of a cell."""
    cell: NDArray[np.int32]
    """Candidates."""
    features: NDArray[np.float32]
    """Features of the candidates: (n, N_FEATURES)."""


class Place(NamedTuple):
    """A layer of a shower. x0, y0: indices of the window's first cell; x, y: the axis; along: unit vector of its slope;
    radius_cells, radius_energy: see `remaining_radius`."""

    x0: int
    y0: int
    x: float
    y: float
    size: float
    r_min: float
    r_max: float
    along_x: float
    along_y: float
    radius_cells: float
    radius_energy: float


@njit
def empty_window():
    """A window for `prepare` to fill."""
    n = SIDE * SIDE
    left = np.zeros((4, n), np.float32)
    return Window(
        left[0], left[1], left[2], left[3], np.zeros(n, np.int32), np.zeros(n, np.uint8), np.zeros(n, np.uint8),
        np.zeros(n, np.int32), np.zeros((n, N_FEATURES), np.float32),
    )  # fmt: skip


@inner
def place_of(axis, slope, size, r_min, r_max, radius_cells, radius_energy):
    """The layer that the axis crosses at `axis` (2,)."""
    steep = np.sqrt(slope[0] * slope[0] + slope[1] * slope[1]) + 1e-9
    x0, y0 = int(np.floor(axis[0] / size)) - HALF, int(np.floor(axis[1] / size)) - HALF
    return Place(
        x0, y0, axis[0], axis[1], size, r_min, r_max, slope[0] / steep, slope[1] / steep, radius_cells, radius_energy
    )


@inner
def remaining_radius(total, spread, done, moment):
    """Logarithm of the mean distance to the axis that the rest of a shower must have for the whole to come to `spread`
    (mm), in units of `spread`: `done` of `total` cells, or MIP, are drawn, with the summed distance `moment`."""
    left = max(spread * total - moment, 0.05 * spread) / max(total - done, 1e-3 * total + 1e-9)
    return np.log(min(max(left / spread, 0.2), 5.0))


@inner
def at_of(place, ix, iy, margin):
    """Index of a cell in the window; -1: not in it, or within `margin` cells of its edge."""
    i, j = ix - place.x0, iy - place.y0
    if i < margin or j < margin or i >= SIDE - margin or j >= SIDE - margin:
        return -1
    return i * SIDE + j


@inner
def list_neighbours(number, cell, n, at):
    """List the cell and its eight neighbours; returns the length of the list."""
    for row in range(at - SIDE, at + SIDE + 1, SIDE):
        for c in range(row - 1, row + 2):
            if number[c] == NONE:
                number[c] = LISTED
                cell[n] = c
                n += 1
    return n


@inner
def list_core(number, cell, place):
    """List the cells close to the axis; returns the length of the list."""
    n, reach = 0, min(int(CORE / place.size) + 1, HALF - 1)
    for i in range(HALF - reach, HALF + reach + 1):
        for j in range(HALF - reach, HALF + reach + 1):
            dx, dy = (i + place.x0 + 0.5) * place.size - place.x, (j + place.y0 + 0.5) * place.size - place.y
            if dx * dx + dy * dy < CORE * CORE:
                number[i * SIDE + j] = LISTED
                cell[n] = i * SIDE + j
                n += 1
    return n


@inner
def project(left, about, number, cell, n, fx0, fy0, ix, iy, mips, start, stop, weight):
    """Add the energies of hits [start, stop) of an earlier layer, displaced by (fx0, fy0) cells, to the window, and
    list their neighbours; returns the length of the list."""
    for h in range(start, stop):
        fx, fy = ix[h] + fx0, iy[h] + fy0
        a, b = int(np.floor(fx)), int(np.floor(fy))
        if a < 2 or b < 2 or a >= SIDE - 4 or b >= SIDE - 4:
            continue
        wx, wy = np.float32(fx - a), np.float32(fy - b)
        e, at = weight * mips[h], a * SIDE + b
        left[at] += e * (_1 - wx) * (_1 - wy)
        left[at + 1] += e * (_1 - wx) * wy
        left[at + SIDE] += e * wx * (_1 - wy)
        left[at + SIDE + 1] += e * wx * wy
        for i in range(4):
            row = e * (_1 - wx if i == 0 else (wx if i == 3 else _1))
            c = at + (i - 1) * SIDE
            about[c - 1] += row * (_1 - wy)
            about[c] += row
            about[c + 1] += row
            about[c + 2] += row * wy
        n = list_neighbours(number, cell, n, int(fx + 0.5) * SIDE + int(fy + 0.5))
    return n


@inner
def logged(x):
    """ln(1 + x) of what is not negative, else 0."""
    return ln(_1 + x) if x > _0 else _0


@inner
def describe(window, place, first, n):
    """Number the candidates listed from `first` on and write their features. Cells outside the detector are left out,
    the list closes up; returns its length."""
    size, m = np.float32(place.size), first
    x_first = np.float32((place.x0 + 0.5) * place.size - place.x)
    y_first = np.float32((place.y0 + 0.5) * place.size - place.y)
    along_x, along_y = np.float32(place.along_x), np.float32(place.along_y)
    axis_x, axis_y = np.float32(place.x), np.float32(place.y)
    least, most = np.float32(place.r_min * place.r_min), np.float32(place.r_max * place.r_max)
    radius_cells, radius_energy = np.float32(place.radius_cells), np.float32(place.radius_energy)
    near, far, about_near, about_far = window.near, window.far, window.about_near, window.about_far
    number, cell, features = window.number, window.cell, window.features
    for k in range(first, n):
        c = cell[k]
        i = c // SIDE
        dx, dy = x_first + np.float32(i) * size, y_first + np.float32(c - i * SIDE) * size
        x, y = dx + axis_x, dy + axis_y
        r2 = x * x + y * y
        if r2 < least or r2 > most:
            number[c] = OUTSIDE
            continue
        r = np.sqrt(dx * dx + dy * dy)
        features[m, 0] = ln(_1 + r * np.float32(0.1))
        features[m, 1] = min(r, np.float32(100)) * np.float32(0.02)
        features[m, 2] = logged(near[c])
        features[m, 3] = logged(about_near[c] - near[c])
        features[m, 4] = logged(far[c])
        features[m, 5] = logged(about_far[c] - far[c])
        features[m, 6] = (dx * along_x + dy * along_y) / (r + np.float32(10))
        features[m, 7] = min(max(abs(dx), abs(dy)) / size, np.float32(3))
        features[m, 8] = radius_cells
        features[m, 9] = radius_energy
        features[m, 10] = _0
        cell[m] = c
        number[c] = m
        m += 1
    return m


@inner
def prepare(window, place, layer, axes, ix, iy, mips, edge):
    """Fill the window of a layer from the hits of earlier ones: axes (n_layers, 2), edge (n_layers + 1,) where each
    layer's hits begin. Returns the number of candidates."""
    window.number[:] = NONE
    window.taken[:] = 0
    window.neighbours[:] = 0
    window.near[:], window.far[:], window.about_near[:], window.about_far[:] = _0, _0, _0, _0
    n = list_core(window.number, window.cell, place)
    for back in range(1, min(layer, 3) + 1):
        before, weight = layer - back, np.float32(0.6 if back == 3 else 1.0)
        left, about = (window.near, window.about_near) if back == 1 else (window.far, window.about_far)
        fx0 = (place.x - axes[before, 0]) / place.size - place.x0
        fy0 = (place.y - axes[before, 1]) / place.size - place.y0
        start, stop = edge[before], edge[before + 1]
        n = project(left, about, window.number, window.cell, n, fx0, fy0, ix, iy, mips, start, stop, weight)
    return describe(window, place, 0, n)


@inner
def take(taken, neighbours, place, ix, iy, start, stop):
    """Mark the hits [start, stop) of this layer as taken, and count them for their neighbours."""
    for h in range(start, stop):
        at = at_of(place, ix[h], iy[h], 1)
        if at >= 0:
            taken[at] = 1
            neighbours[at] -= 1
            for row in range(at - SIDE, at + SIDE + 1, SIDE):
                for c in range(row - 1, row + 2):
                    neighbours[c] += 1


@inner
def add_neighbours(window, place, ix, iy, start, stop, n):
    """Make candidates of the neighbours of the hits [start, stop) of this layer, and write how many hits each candidate
    has among its own neighbours; returns the number of candidates."""
    m, number, cell = n, window.number, window.cell
    neighbours, features = window.neighbours, window.features
    for h in range(start, stop):
        at = at_of(place, ix[h], iy[h], 2)
        if at >= 0:
            m = list_neighbours(number, cell, m, at)
    m = describe(window, place, n, m)
    for k in range(m):
        features[k, 10] = np.float32(0.125) * neighbours[cell[k]]
    return m


@inner
def hit_features(window, place, ix, iy, start, stop, x):
    """Features of the hits [start, stop) of this layer, by which their energies are drawn: x (n, N_FEATURES)."""
    number, features, neighbours = window.number, window.features, window.neighbours
    for h in range(start, stop):
        k, at = h - start, at_of(place, ix[h], iy[h], 1)
        candidate = number[at] if at >= 0 else NONE
        for i in range(10):
            x[k, i] = features[candidate, i] if candidate >= 0 else _0
        if candidate < 0:
            r = np.float32(distance(place, ix[h], iy[h]))
            x[k, 0], x[k, 1] = ln(_1 + r * np.float32(0.1)), min(r, np.float32(100)) * np.float32(0.02)
            x[k, 7], x[k, 8], x[k, 9] = np.float32(3), place.radius_cells, place.radius_energy
        x[k, 10] = np.float32(0.125) * neighbours[at] if at >= 0 else _0


@inner
def distance(place, ix, iy):
    """Distance of a cell's centre to the axis, mm."""
    dx, dy = (ix + 0.5) * place.size - place.x, (iy + 0.5) * place.size - place.y
    return np.sqrt(dx * dx + dy * dy)


@inner
def add_moments(axis, size, ix, iy, mips, start, stop, moments):
    """Add number, sum of distances, energy, energy times distance of hits [start, stop) of a layer to moments (4,)."""
    for h in range(start, stop):
        dx, dy = (ix[h] + 0.5) * size - axis[0], (iy[h] + 0.5) * size - axis[1]
        r = np.sqrt(dx * dx + dy * dy)
        moments[0] += 1
        moments[1] += r
        moments[2] += mips[h]
        moments[3] += mips[h] * r
