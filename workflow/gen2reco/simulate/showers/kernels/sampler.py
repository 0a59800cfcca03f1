"""Cells of a shower, layer by layer: what a cell is told, and the draw. Layers count from 0 here, lengths are mm.

A window of cells about the shower's axis holds what the layers before left there, carried along the axis: `near` from
the last layer, `far` from the two before. Candidates are the cells close to the axis and those beside earlier hits;
the few hits elsewhere (the halo) are drawn by distance alone. A layer is drawn in two halves, either a random half of
its hits: candidates of the second are told which neighbours the first took, and cells beside its halo are candidates
too. A number of hits is drawn from their odds by Pareto sampling (Rosen, J. Stat. Plan. Inference 62 (1997) 135).
"""

import numpy as np
from numba import float32, float64, int64, njit, uint8

from gen2reco.campaign.jit import compiled

SIDE = 41
"""Cells along a side of the window."""
HALF = SIDE // 2
CORE = 30.0
"""mm; all cells this close to the axis are candidates."""
N_SEEN = 10
"""What a cell is told of its place and of earlier layers; the number of hit neighbours comes behind."""
MIXTURE = 4
"""Gaussians of the logarithm of a cell's energy."""
SOFT = 3.0
"""MIP; the energy above which cells absorb most of what is missing to the layer's energy."""


@njit(fastmath=True)
def splat(window, mark, listed, n_listed, x0, y0, shift_x, shift_y, size, ix, iy, mips, start, stop, weight):
    """Add hits [start, stop) of an earlier layer, shifted along the axis, to the window; marks cells around them."""
    for h in range(start, stop):
        fx = ix[h] + shift_x / size - x0
        fy = iy[h] + shift_y / size - y0
        a, b = int(np.floor(fx)), int(np.floor(fy))
        if a < 2 or b < 2 or a >= SIDE - 4 or b >= SIDE - 4:
            continue
        wx, wy = fx - a, fy - b
        e = weight * mips[h]
        window[a, b] += e * (1 - wx) * (1 - wy)
        window[a + 1, b] += e * wx * (1 - wy)
        window[a, b + 1] += e * (1 - wx) * wy
        window[a + 1, b + 1] += e * wx * wy
        n_listed = around(mark, listed, n_listed, int(fx + 0.5), int(fy + 0.5))
    return n_listed


@njit(fastmath=True)
def around(mark, listed, n_listed, i, j):
    """Mark and list the cell and its eight neighbours."""
    for a in range(i - 1, i + 2):
        for b in range(j - 1, j + 2):
            if mark[a, b] == 0:
                mark[a, b] = 1
                listed[n_listed] = a * SIDE + b
                n_listed += 1
    return n_listed


@njit(fastmath=True)
def owed(total, spread, done, moment):
    """Logarithm of the mean distance to the axis that what is left of a shower must have to come to `spread` (mm), in
    units of it: `done` of `total` have given `moment`."""
    left = max(spread * total - moment, 0.05 * spread) / max(total - done, 1e-3 * total + 1e-9)
    return np.log(min(max(left / spread, 0.2), 5.0))


@njit(fastmath=True)
def tell(axis, direction, size, r_min, r_max, windows, mark, listed, start, n_listed, x0, y0, due, seen):
    """What the candidates listed from `start` on are told: seen (n, N_SEEN). Cells that do not exist are left out, the
    list closes up; returns its length."""
    near, far = windows[0], windows[1]
    n = start
    for k in range(start, n_listed):
        i, j = listed[k] // SIDE, listed[k] % SIDE
        x, y = (i + x0 + 0.5) * size, (j + y0 + 0.5) * size
        r2 = x * x + y * y
        if r2 < r_min * r_min or r2 > r_max * r_max:
            mark[i, j] = 2
            continue
        ring_near, ring_far = -near[i, j], -far[i, j]
        for a in range(i - 1, i + 2):
            for b in range(j - 1, j + 2):
                ring_near += near[a, b]
                ring_far += far[a, b]
        dx, dy = x - axis[0], y - axis[1]
        r = np.sqrt(dx * dx + dy * dy)
        seen[n, 0] = np.log1p(r / 10)
        seen[n, 1] = min(r, 100.0) / 50
        seen[n, 2] = np.log1p(near[i, j]) if near[i, j] > 0 else 0.0
        seen[n, 3] = np.log1p(ring_near) if ring_near > 0 else 0.0
        seen[n, 4] = np.log1p(far[i, j]) if far[i, j] > 0 else 0.0
        seen[n, 5] = np.log1p(ring_far) if ring_far > 0 else 0.0
        seen[n, 6] = (dx * direction[0] + dy * direction[1]) / (r + 10)
        seen[n, 7] = min(max(abs(dx), abs(dy)), 3 * size) / size
        seen[n, 8] = due[0]
        seen[n, 9] = due[1]
        listed[n] = listed[k]
        n += 1
    return n


@njit(fastmath=True)
def prepare_layer(layer, axis, size, r_min, r_max, direction, windows, mark, listed, due, seen, ix, iy, mips, edge):
    """Windows and candidates of a layer, from the hits of earlier ones: edge (n_layers + 1,) tells where each layer's
    hits begin. Returns the number of candidates and the window's origin."""
    x0 = int(np.floor(axis[layer, 0] / size)) - HALF
    y0 = int(np.floor(axis[layer, 1] / size)) - HALF
    windows[:] = 0
    mark[:] = 0
    n = 0
    reach = int(CORE / size) + 1
    for i in range(HALF - reach, HALF + reach + 1):
        for j in range(HALF - reach, HALF + reach + 1):
            dx = (i + x0 + 0.5) * size - axis[layer, 0]
            dy = (j + y0 + 0.5) * size - axis[layer, 1]
            if dx * dx + dy * dy < CORE * CORE:
                mark[i, j] = 1
                listed[n] = i * SIDE + j
                n += 1
    for back in range(1, 4):
        before = layer - back
        if before < 0:
            break
        sx, sy = axis[layer, 0] - axis[before, 0], axis[layer, 1] - axis[before, 1]
        which = 0 if back == 1 else 1
        weight = 0.6 if back == 3 else 1.0
        n = splat(
            windows[which], mark, listed, n, x0, y0, sx, sy, size, ix, iy, mips, edge[before], edge[before + 1], weight
        )
    n = tell(axis[layer], direction, size, r_min[layer], r_max[layer], windows, mark, listed, 0, n, x0, y0, due, seen)
    return n, x0, y0


@njit(fastmath=True)
def beside_first(axis, direction, size, r_min, r_max, windows, mark, listed, n, x0, y0, due, seen, ix, iy, start, stop):
    """Make candidates of the cells around the hits [start, stop) of a layer; returns the number of candidates."""
    m = n
    for h in range(start, stop):
        i, j = ix[h] - x0, iy[h] - y0
        if i >= 2 and j >= 2 and i < SIDE - 2 and j < SIDE - 2:
            m = around(mark, listed, m, i, j)
    return tell(axis, direction, size, r_min, r_max, windows, mark, listed, n, m, x0, y0, due, seen)


@njit(fastmath=True)
def neighbours(taken, i, j):
    """Hits among the eight cells around one."""
    n = 0
    for a in range(i - 1, i + 2):
        for b in range(j - 1, j + 2):
            n += taken[a, b]
    return n - taken[i, j]


@njit(fastmath=True)
def add_moments(axis, size, ix, iy, mips, start, stop, moments):
    """Add number, sum of distances, energy, energy times distance of hits [start, stop) of a layer to moments (4,)."""
    for h in range(start, stop):
        dx, dy = (ix[h] + 0.5) * size - axis[0], (iy[h] + 0.5) * size - axis[1]
        r = np.sqrt(dx * dx + dy * dy)
        moments[0] += 1
        moments[1] += r
        moments[2] += mips[h]
        moments[3] += mips[h] * r


@njit(fastmath=True)
def direction_of(slope):
    """Unit vector along a slope."""
    steep = np.sqrt(slope[0] * slope[0] + slope[1] * slope[1]) + 1e-9
    return slope[0] / steep, slope[1] / steep


_f4, _f8, _i8 = float32[::1], float64[::1], int64[::1]
_f4s, _f8s, _i8s, _axes = float32[:, ::1], float64[:, ::1], int64[:, ::1], float64[:, :, ::1]
_HEAD = (_f4s, _f4s, _f4, _f4s, _f4)
_LOOK = int64(
    _i8, _i8s, _axes, _f8s, _f8s, float64, _f8, _f8, _i8, _i8, _f4, _i8s, _i8, _f4s, uint8[::1], _f4, _f4, _f4s
)  # fmt: skip
_DRAW = int64(
    _i8, _axes, _f8s, float64, _f8, _f8, _i8s, _f8s, _f4s, _f4s, _f4s, _i8s, _f4s, _f4s, _f8s, _i8,
    *_HEAD, *_HEAD, *_HEAD, _i8s, _i8, _i8, _f4,
)  # fmt: skip


@compiled([_LOOK], fastmath=True)
def look(
    seeds, shower_edges, axes, slopes, spread, size, r_min, r_max, ix, iy, mips, rows, row_first, seen_out, role_out,
    energy_out, beside_out, halo_out,
):  # fmt: skip
    """Training data: for each row (shower, layer) its cells and what becomes of them.

    role_out: candidates of the first half that are not hit (0) or hit (1); of the second half, told what a random
    first half took, not hit (2) or hit (3); and every hit once more (4), told all its neighbours, with its energy.
    halo_out (n_rows, 2): hits of either half that are no candidates. `row_first` (n_rows + 1,) receives where each
    row begins. Returns the number of rows done.
    """
    windows = np.zeros((2, SIDE, SIDE), np.float32)
    mark = np.zeros((SIDE, SIDE), np.uint8)
    hit = np.zeros((SIDE, SIDE), np.uint8)
    taken = np.zeros((SIDE, SIDE), np.uint8)
    listed = np.zeros(2 * SIDE * SIDE, np.int64)
    seen = np.zeros((2 * SIDE * SIDE, N_SEEN), np.float32)
    direction, due, moments = np.zeros(2), np.zeros(2), np.zeros(4)
    at = 0
    for row in range(rows.shape[0]):
        shower, layer = rows[row, 0], rows[row, 1]
        edge, axis = shower_edges[shower], axes[shower]
        np.random.seed(seeds[row])
        direction[0], direction[1] = direction_of(slopes[shower])
        moments[:] = 0
        total = 0.0
        for before in range(layer):
            add_moments(axis[before], size, ix, iy, mips, edge[before], edge[before + 1], moments)
        for h in range(edge[0], edge[-1]):
            total += mips[h]
        due[0] = owed(edge[-1] - edge[0], spread[shower, 1], moments[0], moments[1])
        due[1] = owed(total, spread[shower, 0], moments[2], moments[3])
        n, x0, y0 = prepare_layer(
            layer, axis, size, r_min, r_max, direction, windows, mark, listed, due, seen, ix, iy, mips, edge
        )
        row_first[row] = at
        start, stop = edge[layer], edge[layer + 1]
        if at + 2 * n + 10 * (stop - start) + 20 > len(role_out):
            return row
        hit[:] = 0
        for h in range(start, stop):
            i, j = ix[h] - x0, iy[h] - y0
            if i >= 1 and j >= 1 and i < SIDE - 1 and j < SIDE - 1:
                hit[i, j] = 1
        for k in range(n):
            i, j = listed[k] // SIDE, listed[k] % SIDE
            seen_out[at], role_out[at], beside_out[at] = seen[k], hit[i, j], 0
            at += 1
        order = start + np.random.permutation(stop - start)
        first = order[: (stop - start + 1) // 2]
        taken[:] = 0
        m = n
        for h in first:
            i, j = ix[h] - x0, iy[h] - y0
            inside = i >= 1 and j >= 1 and i < SIDE - 1 and j < SIDE - 1
            if inside:
                taken[i, j] = 1
            if not (inside and mark[i, j] == 1):
                halo_out[row, 0] += 1
        for h in first:
            i, j = ix[h] - x0, iy[h] - y0
            if i >= 2 and j >= 2 and i < SIDE - 2 and j < SIDE - 2:
                m = around(mark, listed, m, i, j)
        m = tell(
            axis[layer], direction, size, r_min[layer], r_max[layer], windows, mark, listed, n, m, x0, y0, due, seen
        )
        for k in range(m):
            i, j = listed[k] // SIDE, listed[k] % SIDE
            if not taken[i, j]:
                seen_out[at], role_out[at], beside_out[at] = seen[k], 2 + hit[i, j], neighbours(taken, i, j)
                at += 1
        for h in order[(stop - start + 1) // 2 :]:
            i, j = ix[h] - x0, iy[h] - y0
            if not (i >= 1 and j >= 1 and i < SIDE - 1 and j < SIDE - 1 and mark[i, j] == 1):
                halo_out[row, 1] += 1
        for k in range(m):
            i, j = listed[k] // SIDE, listed[k] % SIDE
            taken[i, j] = 0
            mark[i, j] = 3
        for h in range(start, stop):
            i, j = ix[h] - x0, iy[h] - y0
            inside = i >= 1 and j >= 1 and i < SIDE - 1 and j < SIDE - 1
            seen_out[at] = 0
            found = False
            if inside and mark[i, j] == 3:
                for k in range(m):
                    if listed[k] == i * SIDE + j:
                        seen_out[at] = seen[k]
                        found = True
                        break
            if not found:
                dx, dy = (ix[h] + 0.5) * size - axis[layer, 0], (iy[h] + 0.5) * size - axis[layer, 1]
                r = np.sqrt(dx * dx + dy * dy)
                seen_out[at, 0], seen_out[at, 1], seen_out[at, 7] = np.log1p(r / 10), min(r, 100.0) / 50, 3.0
                seen_out[at, 8], seen_out[at, 9] = due
            role_out[at], energy_out[at] = 4, np.log(mips[h])
            beside_out[at] = neighbours(hit, i, j) if inside else 0
            at += 1
    row_first[rows.shape[0]] = at
    return rows.shape[0]


@njit(fastmath=True)
def largest(keys, n, k):
    """Indices of the k largest of keys[:n]."""
    if k <= 0:
        return np.empty(0, np.int64)
    if k >= n:
        return np.arange(n)
    limit = np.partition(keys[:n], n - k)[n - k]
    chosen = np.empty(k, np.int64)
    m = 0
    for i in range(n):
        if keys[i] > limit and m < k:
            chosen[m] = i
            m += 1
    for i in range(n):
        if keys[i] == limit and m < k:
            chosen[m] = i
            m += 1
    return chosen[:m]


@njit(fastmath=True)
def share(mips, start, stop, target):
    """Bring the energies of a layer to their sum; cells of many MIPs absorb more than those of one."""
    total, soft = 0.0, 0.0
    for h in range(start, stop):
        total += mips[h]
        soft += mips[h] * mips[h] / (mips[h] + SOFT)
    if total <= 0:
        return
    a = (target - total) / max(soft, 1e-9)
    for h in range(start, stop):
        if -0.7 < a < 3.0:
            mips[h] *= 1 + a * mips[h] / (mips[h] + SOFT)
        else:
            mips[h] *= target / total


@njit(fastmath=True)
def head(x, bias, first, second, second_bias, last, last_bias):
    """Two hidden layers: x (n, n_in) to (n, n_out); the bias of the first is told from outside."""
    h = np.dot(x, first)
    for i in range(h.shape[0]):
        for j in range(h.shape[1]):
            h[i, j] = max(h[i, j] + bias[j], np.float32(0))
    g = np.dot(h, second)
    for i in range(g.shape[0]):
        for j in range(g.shape[1]):
            g[i, j] = max(g[i, j] + second_bias[j], np.float32(0))
    out = np.dot(g, last)
    for i in range(out.shape[0]):
        for j in range(out.shape[1]):
            out[i, j] += last_bias[j]
    return out


@njit(fastmath=True)
def _energy(mix):
    """Draw from a mixture of Gaussians of the logarithm: logits, means, logarithms of the widths."""
    top = mix[0]
    for m in range(1, MIXTURE):
        top = max(top, mix[m])
    total = 0.0
    for m in range(MIXTURE):
        total += np.exp(mix[m] - top)
    u = np.random.random() * total
    which = MIXTURE - 1
    for m in range(MIXTURE - 1):
        u -= np.exp(mix[m] - top)
        if u < 0:
            which = m
            break
    width = np.exp(min(max(mix[2 * MIXTURE + which], -4.0), 1.5))
    return np.exp(mix[MIXTURE + which] + width * np.random.normal())


@njit(fastmath=True)
def halo_cell(axis, size, r_min, r_max, radii, spread, x0, y0, mark, ix, iy, start, stop):
    """A cell of the halo that is no candidate and not taken yet; (0, 0, -1) if none was found."""
    n = radii.shape[0]
    for _ in range(20):
        u = np.arccos(1 - 2 * np.random.random()) / np.pi * (n - 1)
        q = min(int(u), n - 2)
        r = spread * (radii[q] + (u - q) * (radii[q + 1] - radii[q]))
        phi = 2 * np.pi * np.random.random()
        i = int(np.floor((axis[0] + r * np.cos(phi)) / size))
        j = int(np.floor((axis[1] + r * np.sin(phi)) / size))
        x, y = (i + 0.5) * size, (j + 0.5) * size
        if x * x + y * y < r_min * r_min or x * x + y * y > r_max * r_max:
            continue
        a, b = i - x0, j - y0
        if a >= 0 and b >= 0 and a < SIDE and b < SIDE and mark[a, b]:
            continue
        twice = False
        for h in range(start, stop):
            twice = twice or (ix[h] == i and iy[h] == j)
        if not twice:
            return i, j, np.sqrt((x - axis[0]) ** 2 + (y - axis[1]) ** 2)
    return 0, 0, -1.0


@compiled([_DRAW], fastmath=True)
def draw(
    seeds, axes, slopes, size, r_min, r_max, counts, targets, first_context, second_context, energy_context, row_of,
    halo_rate, halo_radius, spread, section, a1, a2, a2_bias, a3, a3_bias, b1, b2, b2_bias, b3, b3_bias, e1, e2,
    e2_bias, e3, e3_bias, edges, ix, iy, mips,
):  # fmt: skip
    """Draw the cells of showers. counts, targets: (n, n_layers) cells and MIPs; contexts: (n_rows, width) biases of the
    first hidden layers of either half and of the energies, row_of (n, n_layers); halo_rate (n_rows, 2),
    spread (n, 2) mean distances to the axis by energy and by cells,
    halo_radius in units of the latter; edges
    (n, n_layers + 1) receives where each layer's cells begin in ix, iy, mips. Each shower has its own seed. Returns the
    number of cells."""
    windows = np.zeros((2, SIDE, SIDE), np.float32)
    mark = np.zeros((SIDE, SIDE), np.uint8)
    taken = np.zeros((SIDE, SIDE), np.uint8)
    listed = np.zeros(2 * SIDE * SIDE, np.int64)
    seen = np.zeros((2 * SIDE * SIDE, N_SEEN), np.float32)
    told = np.zeros((2 * SIDE * SIDE, N_SEEN + 1), np.float32)
    left = np.zeros(2 * SIDE * SIDE, np.int64)
    keys = np.zeros(2 * SIDE * SIDE, np.float64)
    direction, due, moments = np.zeros(2), np.zeros(2), np.zeros(4)
    n_layers = counts.shape[1]
    source = np.zeros(max(counts.max(), 1) + 1, np.int64)
    at = 0
    for shower in range(counts.shape[0]):
        np.random.seed(seeds[shower])
        axis, edge = axes[shower], edges[shower]
        direction[0], direction[1] = direction_of(slopes[shower])
        n_cells, energy = counts[shower].sum(), targets[shower].sum()
        moments[:] = 0
        for layer in range(n_layers):
            edge[layer] = at
            if counts[shower, layer] == 0:
                continue
            row, start = row_of[shower, layer], at
            due[0] = owed(n_cells, spread[shower, 1], moments[0], moments[1])
            due[1] = owed(energy, spread[shower, 0], moments[2], moments[3])
            n, x0, y0 = prepare_layer(
                layer, axis, size, r_min, r_max, direction, windows, mark, listed, due, seen, ix, iy, mips, edge
            )
            taken[:] = 0
            for half in range(2):
                k = (counts[shower, layer] + 1 - half) // 2
                if k == 0:
                    continue
                if half == 1:
                    n = beside_first(
                        axis[layer], direction, size, r_min[layer], r_max[layer], windows, mark, listed, n, x0, y0,
                        due, seen, ix, iy, start, at,
                    )  # fmt: skip
                m = 0
                for c in range(n):
                    i, j = listed[c] // SIDE, listed[c] % SIDE
                    if not taken[i, j]:
                        left[m] = c
                        told[m, :N_SEEN] = seen[c]
                        told[m, N_SEEN] = neighbours(taken, i, j) / 8 if half else 0.0
                        m += 1
                if half == 0:
                    logit = head(told[:m], first_context[row], a1, a2, a2_bias, a3, a3_bias)
                else:
                    logit = head(told[:m], second_context[row], b1, b2, b2_bias, b3, b3_bias)
                for c in range(m):
                    u = np.random.random()
                    keys[c] = logit[c, 0] + np.log(u / (1 - u))
                halo = max(min(np.random.poisson(halo_rate[row, half] * np.exp(due[0])), k), k - m)
                chosen = largest(keys, m, k - halo if half else counts[shower, layer] - 2 * halo)
                if half == 0:
                    np.random.shuffle(chosen)
                for c in chosen[: k - halo]:
                    i, j = listed[left[c]] // SIDE, listed[left[c]] % SIDE
                    taken[i, j] = 1
                    ix[at], iy[at], source[at - start] = i + x0, j + y0, left[c]
                    at += 1
                for _ in range(halo):
                    i, j, r = halo_cell(
                        axis[layer], size, r_min[layer], r_max[layer], halo_radius[section[layer]],
                        spread[shower, 1], x0, y0, mark, ix, iy, start, at,
                    )  # fmt: skip
                    if r < 0:
                        continue
                    a, b = i - x0, j - y0
                    if a >= 0 and b >= 0 and a < SIDE and b < SIDE:
                        taken[a, b] = 1
                    ix[at], iy[at], source[at - start] = i, j, -1
                    at += 1
            for h in range(start, at):
                x = told[h - start]
                i, j = ix[h] - x0, iy[h] - y0
                if source[h - start] >= 0:
                    x[:N_SEEN] = seen[source[h - start]]
                else:
                    dx, dy = (ix[h] + 0.5) * size - axis[layer, 0], (iy[h] + 0.5) * size - axis[layer, 1]
                    r = np.sqrt(dx * dx + dy * dy)
                    x[:] = 0
                    x[0], x[1], x[7] = np.log1p(r / 10), min(r, 100.0) / 50, 3.0
                    x[8], x[9] = due
                inside = i >= 1 and j >= 1 and i < SIDE - 1 and j < SIDE - 1
                x[N_SEEN] = neighbours(taken, i, j) / 8 if inside else 0.0
            mix = head(told[: at - start], energy_context[row], e1, e2, e2_bias, e3, e3_bias)
            for h in range(start, at):
                mips[h] = _energy(mix[h - start])
            share(mips, start, at, targets[shower, layer])
            add_moments(axis[layer], size, ix, iy, mips, start, at, moments)
        edge[n_layers] = at
    return at
