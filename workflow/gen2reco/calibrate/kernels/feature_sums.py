"""Sums over the layer clusters of each candidate, in one pass over them each."""

import numpy as np
from numba import types

from gen2reco.jit import compiled


def _read(kind, ndim=1):
    return types.Array(kind, ndim, "C", readonly=True)


_f8, _f4, _i8 = _read(types.float64), _read(types.float32), _read(types.int64)
_layers, _sizes = _read(types.int16), _read(types.int32)
_real, _wide, _narrow = types.float64, types.float64[:, ::1], types.float32[:, ::1]
_LEAST_LOG_SHARE, _LEAST_LOG_DENSITY = np.log(1e-6), np.log(1e-3)


@compiled([types.void(_i8, _f4, _layers, _read(types.boolean), types.float64[:, ::1], types.boolean[:, ::1])])
def plain_sums(owner, energy, layer, electromagnetic, sums, behind):
    """Fill, zeroed before: (n, 2) energy and its electromagnetic part; (n, layers) layers hit behind that."""
    for i in range(len(owner)):
        k = owner[i]
        if k < 0:
            continue
        sums[k, 0] += energy[i]
        if electromagnetic[layer[i] - 1]:
            sums[k, 1] += energy[i]
        else:
            behind[k, layer[i] - 1] = True


@compiled([types.void(_i8, _f4, _i8, types.int64[::1])])
def in_order(owner, energy, offsets, order):
    """Layer clusters of each candidate in falling energy, those of a candidate from offsets[k]; ties as they stand."""
    filled = offsets[:-1].copy()
    for i in range(len(owner)):
        if owner[i] >= 0:
            order[filled[owner[i]]] = i
            filled[owner[i]] += 1
    for k in range(len(offsets) - 1):
        mine = order[offsets[k] : offsets[k + 1]]
        order[offsets[k] : offsets[k + 1]] = mine[np.argsort(-energy[mine], kind="mergesort")]


@compiled(
    [
        types.void(
            _i8, _i8, _i8, _f4, _f4, _f4, _f4, _f4, _layers, _sizes, _sizes, _f8, _f8, _read(types.boolean), _f8,
            _real, _real, _read(types.float64, 2), _wide, _narrow, _narrow, _wide, _wide,
        )
    ]
)  # fmt: skip
def showers(
    offsets, order, kept, x, y, z, energy, time, layer, size, trackster, gev_per_mip, depth, electromagnetic, densities,
    face, log_weight, fallback, centre, place, points, by_layer, sums,
):  # fmt: skip
    """The log-weighted centre (n, 3), columns (m, 10) and places (m, 2) of the points, energy by layer, and sums.

    sums (n, 9 + densities): energy, then energy-weighted means of the distance from the axis, the same in the
    electromagnetic section, its square, having a time, time, its square, being loose; cells; and the shares of the
    energy above each of the rising densities. `kept` (n + 1,): offsets of the points, which are the first layer
    clusters of each candidate. `fallback` (n, 3): centre of candidates without weight.
    """
    n_layers, least_weighted = len(gev_per_mip), np.exp(-log_weight)
    log_mip, per_mip = np.log(gev_per_mip), 1 / gev_per_mip
    for k in range(len(offsets) - 1):
        mine, first = order[offsets[k] : offsets[k + 1]], kept[k]
        total = 0.0
        for i in mine:
            total += energy[i]
        total = total if total > 0 else 1.0
        per_total = 1 / total
        log_total, norm, cu, cv = np.log(total), 0.0, 0.0, 0.0
        for i in mine:
            if energy[i] <= least_weighted * total:
                break
            weight, scale = log_weight + np.log(energy[i] / total), face / abs(z[i])
            norm += weight
            cu += weight * x[i] * scale
            cv += weight * y[i] * scale
        side = z[mine[0]] if norm > 0 else fallback[k, 2]
        cu, cv = (cu / norm, cv / norm) if norm > 0 else (fallback[k, 0], fallback[k, 1])
        centre[k, 0], centre[k, 1], centre[k, 2] = cu, cv, np.sign(side) * face
        s = sums[k]
        s[0] = total
        for at in range(len(mine)):
            i = mine[at]
            one, share = layer[i] - 1, energy[i] * per_total
            scale = face / abs(z[i])
            du, dv = x[i] * scale - cu, y[i] * scale - cv
            radius = np.sqrt(du * du + dv * dv) / scale
            cells = max(size[i], 1)
            density = energy[i] * per_mip[one] / cells
            timed, loose = time[i] > -0.5, trackster[i] < 0
            late = min(max(time[i], 0.0), 5.0) if timed else 0.0
            by_layer[k, one] += share
            s[1] += share * radius
            if electromagnetic[one]:
                s[2] += share * radius
            s[3] += share * radius * radius
            s[4] += share * timed
            s[5] += share * late
            s[6] += share * late * late
            s[7] += share * loose
            s[8] += cells
            for d in range(len(densities)):
                if density <= densities[d]:
                    break
                s[9 + d] += share
            if at >= kept[k + 1] - first:
                continue
            place[first + at, 0], place[first + at, 1] = du, dv
            log_energy, log_cells = np.log(max(np.float64(energy[i]), 1e-6)), np.log(np.float64(cells))
            p = points[first + at]
            p[0], p[1] = (one + 1) / n_layers, depth[one] / 10
            p[2], p[3] = log_energy, max(log_energy - log_total, _LEAST_LOG_SHARE)
            p[4], p[5] = max(log_energy - log_mip[one] - log_cells, _LEAST_LOG_DENSITY), log_cells
            p[6], p[7], p[8], p[9] = np.log1p(radius / 10), timed, late, loose


@compiled([types.void(_f8, _f8, _i8, _f8, _f8, types.float64[:, ::1])])
def near_energy(key, v, sorted_by_key, energy, reaches, near):
    """Add to `near` (n, reaches) the energy of other candidates within each reach of a candidate (rising reaches)."""
    keys, most = key[sorted_by_key], reaches[-1]
    for first in range(len(keys)):
        i = sorted_by_key[first]
        at = first + 1
        while at < len(keys) and keys[at] <= keys[first] + most:
            j = sorted_by_key[at]
            du, dv = key[j] - key[i], v[j] - v[i]
            for r in range(len(reaches)):
                if du * du + dv * dv <= reaches[r] * reaches[r]:
                    near[i, r] += energy[j]
                    near[j, r] += energy[i]
            at += 1


@compiled(
    [
        types.void(
            _i8, _i8, _read(types.float32, 2), _read(types.float32, 2), _f4, _f4, types.float32, types.int64,
            types.float32[:, :, ::1], _narrow, types.float32[:, :, ::1], _narrow,
        )
    ]
)  # fmt: skip
def pad(offsets, chosen, points, place, mean, std, clip, log_share, scaled, share, at, mask):
    """Points of chosen candidates side by side, standardised, with energy shares, places and 0 or 1; zeros beyond."""
    for row in range(len(chosen)):
        start = offsets[chosen[row]]
        n = min(offsets[chosen[row] + 1] - start, scaled.shape[1])
        for i in range(n):
            for j in range(scaled.shape[2]):
                scaled[row, i, j] = min(max((points[start + i, j] - mean[j]) / std[j], -clip), clip)
            share[row, i] = np.exp(points[start + i, log_share])
            at[row, i, 0], at[row, i, 1] = place[start + i, 0], place[start + i, 1]
            mask[row, i] = 1
        scaled[row, n:], share[row, n:], at[row, n:], mask[row, n:] = 0, 0, 0, 0
