"""Neighbours of tracksters, tracks and layer clusters, for all events of a run in one call each.

Places are on the plane of the face, projected from the origin: `key` is x plus the endcap times a distance that nothing
bridges, so one sorted list of keys holds every endcap. Axes are straight lines (x, y, z, dx, dy, dz), sorted by key.
"""

import numpy as np
from numba import njit, types

from gen2reco.jit import compiled


def _read(kind, ndim=1):
    return types.Array(kind, ndim, "C", readonly=True)


_f8, _f4, _i8 = _read(types.float64), _read(types.float32), _read(types.int64)
_axes, _reals, _places = _read(types.float64, 2), types.float64[::1], types.int64[::1]
_real = types.float64


@njit
def first_from(keys, value):
    """First place in sorted keys that is not below the value."""
    low, high = 0, len(keys)
    while low < high:
        middle = (low + high) // 2
        if keys[middle] < value:
            low = middle + 1
        else:
            high = middle
    return low


@njit
def off_axis(x, y, z, axes, j):
    """Distance across z of a point from axis j, mm."""
    step = (z - axes[j, 2]) / axes[j, 5]
    return np.hypot(x - axes[j, 0] - step * axes[j, 3], y - axes[j, 1] - step * axes[j, 4])


@compiled([types.void(_f8, _f8, _i8, _i8, _real, _places)])
def absorb(key, v, sorted_by_key, falling, radius, leader):
    """In falling energy, each trackster that is still free (-1) leads itself and the free ones within the radius."""
    keys = key[sorted_by_key]
    for i in falling:
        if leader[i] >= 0:
            continue
        leader[i] = i
        at = first_from(keys, key[i] - radius)
        while at < len(keys) and keys[at] <= key[i] + radius:
            j = sorted_by_key[at]
            du, dv = key[j] - key[i], v[j] - v[i]
            if leader[j] < 0 and du * du + dv * dv <= radius * radius:
                leader[j] = i
            at += 1


@compiled([types.void(_f8, _f8, _axes, _f8, _f8, _axes, _i8, _real, _real, _places)])
def nearest_point(axis_key, axis_v, axes, key, v, places, names, reach, radius, found):
    """For each axis the nearest of sorted points within the radius, by name, -1 for none; ties to the lower name."""
    for i in range(len(axis_key)):
        best, least = -1, radius
        at = first_from(key, axis_key[i] - reach)
        while at < len(key) and key[at] <= axis_key[i] + reach:
            du, dv = key[at] - axis_key[i], v[at] - axis_v[i]
            if du * du + dv * dv <= reach * reach:
                distance = off_axis(places[at, 0], places[at, 1], places[at, 2], axes, i)
                if distance < least or (distance == least and (best < 0 or names[at] < best)):
                    best, least = names[at], distance
            at += 1
        found[i] = best


@compiled([types.void(_i8, _f4, _f4, _f4, _places, _real, _real, _f8, _f8, _axes, _i8, _real, _real)])
def nearest_axis(offsets, x, y, z, owner, face, apart, key, v, axes, names, reach, radius):
    """Give each layer cluster without an owner (-1) to the nearest axis within the radius; ties to the lower name."""
    for event in range(len(offsets) - 1):
        for i in range(offsets[event], offsets[event + 1]):
            if owner[i] >= 0:
                continue
            px, py, pz = np.float64(x[i]), np.float64(y[i]), np.float64(z[i])
            scale = face / max(abs(pz), 1.0)
            k, w = (2 * event + (pz > 0)) * apart + px * scale, py * scale
            best, least = -1, radius
            at = first_from(key, k - reach)
            while at < len(key) and key[at] <= k + reach:
                du, dv = key[at] - k, v[at] - w
                if du * du + dv * dv <= reach * reach:
                    distance = off_axis(px, py, pz, axes, at)
                    if distance < least or (distance == least and (best < 0 or names[at] < best)):
                        best, least = names[at], distance
                at += 1
            owner[i] = best


@compiled([types.int64(_i8, _f4, _f4, _f4, _f4, _i8, _real, _real, _f8, _f8, _axes, _real, _real, _places, _reals)])
def along(offsets, x, y, z, energy, owner, face, apart, key, v, axes, reach, radius, pair, shared):
    """List (axis, owner) as axis * 2**32 + owner, with the energy, of each owned layer cluster near an axis.

    Returns how many there are; `pair` and `shared` hold as many as fit.
    """
    n = 0
    for event in range(len(offsets) - 1):
        low = first_from(key, (2 * event - 0.5) * apart)
        high = first_from(key, (2 * event + 1.5) * apart)
        if low == high:
            continue
        for i in range(offsets[event], offsets[event + 1]):
            if owner[i] < 0:
                continue
            px, py, pz = np.float64(x[i]), np.float64(y[i]), np.float64(z[i])
            scale = face / max(abs(pz), 1.0)
            k, w = (2 * event + (pz > 0)) * apart + px * scale, py * scale
            for at in range(low, high):
                du, dv = key[at] - k, v[at] - w
                if du * du + dv * dv <= reach * reach and off_axis(px, py, pz, axes, at) <= radius:
                    if n < len(pair):
                        pair[n], shared[n] = (at << 32) + owner[i], energy[i]
                    n += 1
    return n


@compiled([types.void(_i8, _i8, _read(types.int32), _i8, _places)])
def owners(cluster_offsets, trackster_offsets, trackster, of_trackster, owner):
    """Owner of each layer cluster: that of its trackster, -1 where it has none."""
    for event in range(len(cluster_offsets) - 1):
        for i in range(cluster_offsets[event], cluster_offsets[event + 1]):
            owner[i] = of_trackster[trackster_offsets[event] + trackster[i]] if trackster[i] >= 0 else -1
