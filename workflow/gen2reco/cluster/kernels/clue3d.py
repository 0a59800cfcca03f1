"""CLUE3D on the layer clusters of many endcaps in one compiled call. Load through `compiled_kernels.load`.

Transverse distances follow lines from the origin: a neighbour is moved along its line onto the layer of the layer
cluster that looks at it, as TICL does. Coordinates are u = x/|z|, v = y/|z|.
"""

import numpy as np
from numba import njit, types

from gen2reco.cluster.compiled_kernels import compiled
from gen2reco.cluster.kernels.tiles import reach_of, tile_points, windows

_f4, _i4, _i8 = types.float32, types.int32, types.int64
_signature = types.void(
    _f4[::1], _f4[::1], _f4[::1], _i4[::1], _f4[::1], _i8[::1],
    _f4, _i8, _f4, _f4, _f4, _f4, _i8, _f4, _f4[::1], _i4[::1], _i4[::1], _i4[::1],
)  # fmt: skip


@njit
def local_density(i, u, v, z, layer, energy, starts, geometry, radius, siblings, kernel):
    """Own energy plus `kernel` times that of the siblings on other layers within the radius."""
    nx, reach = int(geometry[0, 2]), reach_of(radius / z[i])
    _, _, y0, y1, x0, x1 = windows(u[i], v[i], np.float32(0), reach, geometry, None)
    others, limit = 0.0, radius * radius
    for row in range(y0, y1 + 1):
        for j in range(starts[row * nx + x0], starts[row * nx + x1 + 1]):
            apart = abs(layer[j] - layer[i])
            if 0 < apart <= siblings:
                du, dv = (u[j] - u[i]) * z[i], (v[j] - v[i]) * z[i]
                if du * du + dv * dv <= limit:
                    others += energy[j]
    return np.float32(energy[i] + kernel * others)


@njit
def nearest_higher(i, u, v, z, layer, rho, order, starts, geometry, near, distance, siblings):
    """(sorted position, transverse distance, layers apart) of the nearest higher layer cluster, -1 if none.

    What is nearer than `near` is looked for first: most have one there.
    """
    nx, best, least, layers = int(geometry[0, 2]), -1, np.float32(0), 0
    for radius in (near, distance):
        least = np.float32(radius * radius)
        _, _, y0, y1, x0, x1 = windows(u[i], v[i], np.float32(0), reach_of(radius / z[i]), geometry, None)
        for row in range(y0, y1 + 1):
            for j in range(starts[row * nx + x0], starts[row * nx + x1 + 1]):
                du, dv = (u[j] - u[i]) * z[i], (v[j] - v[i]) * z[i]
                d2 = np.float32(du * du + dv * dv)
                if d2 > least or rho[j] < rho[i] or (rho[j] == rho[i] and order[j] <= order[i]):
                    continue
                apart = abs(layer[j] - layer[i])
                if apart > siblings:
                    continue
                nearer = best < 0 or d2 < least or apart < layers
                if not nearer and apart == layers:
                    nearer = rho[j] > rho[best] or (rho[j] == rho[best] and order[j] > order[best])
                if nearer:
                    best, least, layers = j, d2, apart
        if best >= 0:
            break
    return best, np.sqrt(least), layers


@njit
def follow(higher, state, label):
    """Labels of followers from their seeds; `state` is 1 for seeds, -1 for outliers, 0 for followers."""
    chain = np.empty(len(higher), np.int32)
    for i in range(len(higher)):
        depth, k = 0, i
        while label[k] == -2:
            chain[depth] = k
            depth += 1
            if state[k] == -1 or higher[k] < 0:
                label[k] = -1
            else:
                k = higher[k]
        for d in range(depth):
            label[chain[d]] = label[k]


@compiled([_signature])
def cluster_endcaps(
    u, v, z, layer, energy, offsets, radius, siblings, kernel, min_density, min_self, seed_distance, seed_layers,
    outlier_factor, density, higher, label, counts,
):  # fmt: skip
    """CLUE3D in each group offsets[g]..offsets[g + 1]; `higher` and `label` count from zero in each group."""
    for g in range(len(offsets) - 1):
        a, n = offsets[g], offsets[g + 1] - offsets[g]
        counts[g] = 0
        if n == 0:
            continue
        ug, vg, zg, lg, eg = u[a : a + n], v[a : a + n], z[a : a + n], layer[a : a + n], energy[a : a + n]
        order, starts, geometry = tile_points(ug, vg, None, seed_distance / np.min(zg), None)
        us, vs, zs, ls, es = ug[order], vg[order], zg[order], lg[order], eg[order]
        rho, nearest = np.empty(n, np.float32), np.empty(n, np.int32)
        state, labels = np.zeros(n, np.int8), np.full(n, -2, np.int32)
        for i in range(n):
            rho[i] = local_density(i, us, vs, zs, ls, es, starts, geometry, radius, siblings, kernel)
        farthest = seed_distance * outlier_factor
        near = min(farthest, np.float32(0.3) * seed_distance)
        layers_out = seed_layers * outlier_factor
        reached = max(siblings, np.int64(layers_out))
        for i in range(n):
            best, distance, apart = nearest_higher(
                i, us, vs, zs, ls, rho, order, starts, geometry, near, farthest, reached
            )
            nearest[i] = best
            alone = best < 0 or distance > seed_distance or apart > seed_layers
            if alone and rho[i] >= min_density and es[i] >= min_self * rho[i]:
                state[i] = 1
                labels[i] = counts[g]
                counts[g] += 1
            elif best < 0:
                state[i] = -1
        follow(nearest, state, labels)
        for i in range(n):
            density[a + order[i]] = rho[i]
            higher[a + order[i]] = order[nearest[i]] if nearest[i] >= 0 else -1
            label[a + order[i]] = labels[i]
