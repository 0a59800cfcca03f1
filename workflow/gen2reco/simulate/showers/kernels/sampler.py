"""Cells of a shower, layer by layer: what a cell is told, and the draw. Layers count from 0 here, lengths are mm.

A window of cells about the shower's axis holds what the layers before left there, carried along the axis: `near` from
the last layer, `far` from the two before. Candidates are the cells close to the axis and those beside earlier hits;
the few hits elsewhere (the halo) are drawn by distance alone.
"""

import numpy as np
from numba import float32, float64, int64, njit, uint8

from gen2reco.campaign.jit import compiled

SIDE = 41
"""Cells along a side of the window."""
HALF = SIDE // 2
CORE = 35.0
"""mm; all cells this close to the axis are candidates."""
N_SEEN = 7
"""What a cell is told for its occupancy; its energy is told the neighbours in its layer too."""
WIDTH = 24
"""Width of the hidden layers."""
MIXTURE = 3
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
        for i in range(a - 1, a + 3):
            for j in range(b - 1, b + 3):
                if mark[i, j] == 0:
                    mark[i, j] = 1
                    listed[n_listed] = i * SIDE + j
                    n_listed += 1
    return n_listed


@njit(fastmath=True)
def candidates(axis_x, axis_y, size, r_min, r_max, near, far, mark, listed, n_listed, x0, y0, out, n_out_max):
    """What each candidate is told: out (n, N_SEEN); returns their number, `listed` then holds their places."""
    reach = int(CORE / size) + 2
    ca = int(np.floor(axis_x / size)) - x0
    cb = int(np.floor(axis_y / size)) - y0
    for i in range(ca - reach, ca + reach + 1):
        for j in range(cb - reach, cb + reach + 1):
            if mark[i, j] == 0:
                du = (i + x0 + 0.5) * size - axis_x
                dv = (j + y0 + 0.5) * size - axis_y
                if du * du + dv * dv < CORE * CORE:
                    mark[i, j] = 1
                    listed[n_listed] = i * SIDE + j
                    n_listed += 1
    n = 0
    for k in range(n_listed):
        i, j = listed[k] // SIDE, listed[k] % SIDE
        x, y = (i + x0 + 0.5) * size, (j + y0 + 0.5) * size
        r2 = x * x + y * y
        if r2 < r_min * r_min or r2 > r_max * r_max or n >= n_out_max:
            mark[i, j] = 0
            continue
        ring_near = -near[i, j]
        ring_far = -far[i, j]
        for a in range(i - 1, i + 2):
            for b in range(j - 1, j + 2):
                ring_near += near[a, b]
                ring_far += far[a, b]
        dx, dy = x - axis_x, y - axis_y
        r = np.sqrt(dx * dx + dy * dy)
        out[n, 0] = np.log1p(r / 10)
        out[n, 1] = min(r, 100.0) / 50
        out[n, 2] = np.log1p(near[i, j]) if near[i, j] > 0 else 0.0
        out[n, 3] = np.log1p(ring_near) if ring_near > 0 else 0.0
        out[n, 4] = np.log1p(far[i, j]) if far[i, j] > 0 else 0.0
        out[n, 5] = np.log1p(ring_far) if ring_far > 0 else 0.0
        out[n, 6] = (dx * out[n, 7] + dy * out[n, 8]) / (r + 10)
        listed[n] = listed[k]
        n += 1
    return n


@njit(fastmath=True)
def perceptron(seen, n_in, first, bias, second, second_bias, last, last_bias, h, g, out):
    """Two hidden layers: seen (n_in,), first (n_in, WIDTH), bias and second (WIDTH, WIDTH) to out (n_out,); h and g
    (WIDTH,) hold them."""
    for j in range(WIDTH):
        h[j] = bias[j]
        g[j] = second_bias[j]
    for i in range(n_in):
        s = seen[i]
        for j in range(WIDTH):
            h[j] += s * first[i, j]
    for i in range(WIDTH):
        s = max(h[i], np.float32(0))
        for j in range(WIDTH):
            g[j] += s * second[i, j]
    for k in range(out.size):
        out[k] = last_bias[k]
    for j in range(WIDTH):
        s = max(g[j], np.float32(0))
        for k in range(out.size):
            out[k] += s * last[j, k]


@njit(fastmath=True)
def neighbours(taken, i, j):
    """Hits among the eight cells around one."""
    n = 0
    for a in range(i - 1, i + 2):
        for b in range(j - 1, j + 2):
            n += taken[a, b]
    return n - taken[i, j]


@njit(fastmath=True)
def prepare_layer(layer, axis, size, r_min, r_max, slope, windows, mark, listed, seen, ix, iy, mips, edge):
    """Windows and candidates of a layer, from the hits of earlier ones: edge (n_layers + 1,) tells where each layer's
    hits begin. Returns the number of candidates and the window's origin."""
    x0 = int(np.floor(axis[layer, 0] / size)) - HALF
    y0 = int(np.floor(axis[layer, 1] / size)) - HALF
    windows[:] = 0
    mark[:] = 0
    n = 0
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
    steep = np.sqrt(slope[0] * slope[0] + slope[1] * slope[1]) + 1e-9
    for k in range(seen.shape[0]):
        seen[k, 7] = slope[0] / steep
        seen[k, 8] = slope[1] / steep
    n = candidates(
        axis[layer, 0], axis[layer, 1], size, r_min[layer], r_max[layer], windows[0], windows[1], mark, listed, n,
        x0, y0, seen, seen.shape[0],
    )  # fmt: skip
    return n, x0, y0


_f4, _f8, _i8 = float32[::1], float64[::1], int64[::1]
_f4s, _f8s, _i8s, _axes = float32[:, ::1], float64[:, ::1], int64[:, ::1], float64[:, :, ::1]
_HEAD = (_f4s, _f4s, _f4, _f4s, _f4)
_LOOK = int64(
    _i8s, _axes, _f8s, float64, _f8, _f8, _i8, _i8, _f4, _i8s, _i8, _f4s, uint8[::1], _f4, _f4, _f4
)  # fmt: skip
_DRAW = int64(
    _i8, _axes, _f8s, float64, _f8, _f8, _i8s, _f8s, _f4s, _f4s, _i8s, _f4, _f4s, _i8, *_HEAD, *_HEAD,
    _i8s, _i8, _i8, _f4,
)  # fmt: skip


@compiled([_LOOK], fastmath=True)
def look(
    shower_edges, axes, slopes, size, r_min, r_max, ix, iy, mips, rows, row_first, seen_out, hit_out, energy_out,
    beside_out, halo_out,
):  # fmt: skip
    """Training data: for each row (shower, layer) its candidates, which are hit (1), with what logarithm of MIPs; then
    the halo's hits (2), of which there are halo_out (n_rows,).

    `row_first` (n_rows + 1,) receives where each row's candidates begin in the outputs.
    """
    windows = np.zeros((2, SIDE, SIDE), np.float32)
    mark = np.zeros((SIDE, SIDE), np.uint8)
    taken = np.zeros((SIDE, SIDE), np.uint8)
    energies = np.zeros((SIDE, SIDE), np.float32)
    listed = np.zeros(SIDE * SIDE, np.int64)
    seen = np.zeros((SIDE * SIDE, N_SEEN + 2), np.float32)
    at = 0
    for row in range(rows.shape[0]):
        shower, layer = rows[row, 0], rows[row, 1]
        edge = shower_edges[shower]
        n, x0, y0 = prepare_layer(
            layer, axes[shower], size, r_min, r_max, slopes[shower], windows, mark, listed, seen, ix, iy, mips, edge
        )
        row_first[row] = at
        taken[:] = 0
        for h in range(edge[layer], edge[layer + 1]):
            i, j = ix[h] - x0, iy[h] - y0
            inside = i >= 1 and j >= 1 and i < SIDE - 1 and j < SIDE - 1
            if inside and mark[i, j]:
                taken[i, j] = 1
                energies[i, j] = mips[h]
            else:
                halo_out[row] += 1
        if at + n + halo_out[row] > len(hit_out):
            return row
        for k in range(n):
            i, j = listed[k] // SIDE, listed[k] % SIDE
            seen_out[at] = seen[k, :N_SEEN]
            hit_out[at] = taken[i, j]
            beside_out[at] = neighbours(taken, i, j)
            if taken[i, j]:
                energy_out[at] = np.log(energies[i, j])
            at += 1
        for h in range(edge[layer], edge[layer + 1]):
            i, j = ix[h] - x0, iy[h] - y0
            inside = i >= 1 and j >= 1 and i < SIDE - 1 and j < SIDE - 1
            if not (inside and mark[i, j]):
                dx, dy = (ix[h] + 0.5) * size - axes[shower, layer, 0], (iy[h] + 0.5) * size - axes[shower, layer, 1]
                r = np.sqrt(dx * dx + dy * dy)
                seen_out[at] = 0
                seen_out[at, 0], seen_out[at, 1] = np.log1p(r / 10), min(r, 100.0) / 50
                hit_out[at], beside_out[at], energy_out[at] = 2, 0, np.log(mips[h])
                at += 1
    row_first[rows.shape[0]] = at
    return rows.shape[0]


@njit(fastmath=True)
def fill_layer(keys, n, k):
    """Indices of the k largest of keys[:n]."""
    chosen = np.empty(max(k, 0), np.int64)
    if k <= 0:
        return chosen[:0]
    if k >= n:
        return np.arange(n)
    limit = np.partition(keys[:n], n - k)[n - k]
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


@compiled([_DRAW], fastmath=True)
def draw(
    seeds, axes, slopes, size, r_min, r_max, counts, targets, o_context, e_context, row_of, halo_rate, halo_radius,
    section, o_first, o_second, o_second_bias, o_last, o_last_bias, e_first, e_second, e_second_bias, e_last,
    e_last_bias, edges, ix, iy, mips,
):  # fmt: skip
    """Draw the cells of showers. counts, targets: (n, n_layers) cells and MIPs; contexts: (n_rows, WIDTH) biases
    of the first hidden layers of occupancy and energy, row_of (n, n_layers); edges (n, n_layers + 1) receives
    where each layer's cells begin in ix, iy, mips. Each shower has its own seed. Returns the number of cells."""
    windows = np.zeros((2, SIDE, SIDE), np.float32)
    mark = np.zeros((SIDE, SIDE), np.uint8)
    taken = np.zeros((SIDE, SIDE), np.uint8)
    listed = np.zeros(SIDE * SIDE, np.int64)
    seen = np.zeros((SIDE * SIDE, N_SEEN + 2), np.float32)
    told = np.zeros(N_SEEN + 1, np.float32)
    keys = np.zeros(SIDE * SIDE, np.float64)
    one, two, logit = np.zeros(WIDTH, np.float32), np.zeros(WIDTH, np.float32), np.zeros(1, np.float32)
    mix = np.zeros(3 * MIXTURE, np.float32)
    n_layers = counts.shape[1]
    n_quantiles = halo_radius.shape[1]
    at = 0
    for shower in range(counts.shape[0]):
        np.random.seed(seeds[shower])
        axis, edge = axes[shower], edges[shower]
        for layer in range(n_layers):
            edge[layer] = at
            k = counts[shower, layer]
            if k == 0:
                continue
            row = row_of[shower, layer]
            n, x0, y0 = prepare_layer(
                layer, axis, size, r_min, r_max, slopes[shower], windows, mark, listed, seen, ix, iy, mips, edge
            )
            halo = min(np.random.poisson(halo_rate[row]), k)
            halo = max(halo, k - n)
            for c in range(n):
                perceptron(
                    seen[c],
                    N_SEEN,
                    o_first,
                    o_context[row],
                    o_second,
                    o_second_bias,
                    o_last,
                    o_last_bias,
                    one,
                    two,
                    logit,
                )
                keys[c] = logit[0] - np.log(-np.log(np.random.random()))
            chosen = fill_layer(keys, n, k - halo)
            taken[:] = 0
            for c in chosen:
                taken[listed[c] // SIDE, listed[c] % SIDE] = 1
            for c in chosen:
                i, j = listed[c] // SIDE, listed[c] % SIDE
                told[:N_SEEN] = seen[c, :N_SEEN]
                told[N_SEEN] = neighbours(taken, i, j) / 8
                perceptron(
                    told,
                    N_SEEN + 1,
                    e_first,
                    e_context[row],
                    e_second,
                    e_second_bias,
                    e_last,
                    e_last_bias,
                    one,
                    two,
                    mix,
                )
                ix[at], iy[at], mips[at] = i + x0, j + y0, _energy(mix)
                at += 1
            for _ in range(halo):
                for _try in range(20):
                    u = np.arccos(1 - 2 * np.random.random()) / np.pi * (n_quantiles - 1)
                    q = min(int(u), n_quantiles - 2)
                    r = halo_radius[section[layer], q] + (u - q) * (
                        halo_radius[section[layer], q + 1] - halo_radius[section[layer], q]
                    )
                    phi = 2 * np.pi * np.random.random()
                    x, y = axis[layer, 0] + r * np.cos(phi), axis[layer, 1] + r * np.sin(phi)
                    i, j = int(np.floor(x / size)), int(np.floor(y / size))
                    x, y = (i + 0.5) * size, (j + 0.5) * size
                    r2 = x * x + y * y
                    if r2 < r_min[layer] ** 2 or r2 > r_max[layer] ** 2:
                        continue
                    a, b = i - x0, j - y0
                    if a >= 0 and b >= 0 and a < SIDE and b < SIDE and mark[a, b]:
                        continue
                    twice = False
                    for h in range(edge[layer], at):
                        twice = twice or (ix[h] == i and iy[h] == j)
                    if twice:
                        continue
                    r = np.sqrt((x - axis[layer, 0]) ** 2 + (y - axis[layer, 1]) ** 2)
                    told[:] = 0
                    told[0], told[1] = np.log1p(r / 10), min(r, 100.0) / 50
                    perceptron(
                        told, N_SEEN + 1, e_first, e_context[row], e_second, e_second_bias, e_last, e_last_bias,
                        one, two, mix,
                    )  # fmt: skip
                    ix[at], iy[at], mips[at] = i, j, _energy(mix)
                    at += 1
                    break
            share(mips, edge[layer], at, targets[shower, layer])
        edge[n_layers] = at
    return at
