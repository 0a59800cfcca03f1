"""The numba kernels of CLUE: points sorted into tiles, densities, nearest highers, labels; one call for many groups.

Distances follow float32 arithmetic exactly. `d <= R` is tested on squares against `square_limit(R)`, the largest
float32 whose root does not exceed R, which is the same test without the root. Densities are summed in float64 and
rounded once, so that they do not depend on the order of the points. Load through `compiled_kernels.load`.
"""

import numpy as np
from numba import njit

TILES_PER_REACH = 4  # tiles along the innermost axis are this much finer than the radius
BRUTE_FORCE_BELOW = 48  # groups this small are one tile


@njit(inline="never")
def square2(dx, dy):
    """Squared length in two dimensions; never inlined, so that no caller contracts it otherwise."""
    return dx * dx + dy * dy


@njit(inline="never")
def square3(dx, dy, dz):
    """Squared length in three dimensions, as `square2`."""
    return dx * dx + dy * dy + dz * dz


@njit
def separation(xi, yi, zi, x, y, z, j, period):
    """Squared distance of (xi, yi, zi) to point j, differences folded into half a period where there is one."""
    dx, dy = abs(xi - x[j]), abs(yi - y[j])
    if period is not None:
        dx, dy = min(dx, period[0] - dx), min(dy, period[1] - dy)
    if z is None:
        return square2(dx, dy)
    else:
        dz = abs(zi - z[j])
        if period is not None:
            dz = min(dz, period[2] - dz)
        return square3(dx, dy, dz)


@njit
def square_limit(radius):
    """The largest float32 whose float32 square root is not above `radius` (float32)."""
    limit = np.float32(radius * radius)
    while limit > np.float32(0) and np.sqrt(limit) > radius:
        limit = np.nextafter(limit, np.float32(0))
    while np.isfinite(limit) and np.sqrt(np.nextafter(limit, np.float32(np.inf))) <= radius:
        limit = np.nextafter(limit, np.float32(np.inf))
    return limit


@njit
def reach_of(radius):
    """A float64 margin around `radius` that no float32 rounding (nor underflow of squares) can cross."""
    return max(np.float64(radius) * (1 + 1e-5), 1e-22)


@njit(fastmath={"reassoc", "nsz"})
def span_weight(a, b, xi, yi, zi, x, y, z, w, limit, period):
    """Sum of weights of the points a..b within the limit."""
    total = 0.0
    for j in range(a, b):
        total += np.float64(w[j] if separation(xi, yi, zi, x, y, z, j, period) <= limit else np.float32(0))
    return total


@njit
def span_higher(a, b, i, x, y, z, rho, order, best, best_distance, limit, period):
    """Refine (position, distance) of the nearest point above i among a..b; ties go to the higher (rho, index)."""
    xi, yi, zi = x[i], y[i], np.float32(0)
    if z is not None:
        zi = z[i]
    rho_i, order_i = rho[i], order[i]
    bound = limit if best < 0 else min(limit, best_distance * best_distance * np.float32(1.000001))
    for j in range(a, b):
        d2 = separation(xi, yi, zi, x, y, z, j, period)
        if d2 <= bound and (rho[j] > rho_i or (rho[j] == rho_i and order[j] > order_i)):
            distance = np.sqrt(d2)
            nearer = best < 0 or distance < best_distance
            if not nearer and distance == best_distance:
                nearer = rho[j] > rho[best] or (rho[j] == rho[best] and order[j] > order[best])
            if nearer:
                best, best_distance = j, distance
                bound = min(limit, d2 * np.float32(1.000001))
    return best, best_distance


@njit
def axis_tiles(axis, values, reach, period, most):
    """Fill `axis` with lowest value, tiles per unit and number of tiles, each tile at least `reach` wide."""
    if period > 0 and np.isfinite(period):
        low, extent = -0.5 * period, np.float64(period)
    else:
        low, high = np.float64(values[0]), np.float64(values[0])
        for value in values:
            low, high = min(low, np.float64(value)), max(high, np.float64(value))
        extent = high - low
    count = int(max(1.0, min(np.floor(extent / reach), most)))
    axis[0], axis[1], axis[2] = low, (count / extent if extent > 0 else 0.0), count


@njit
def tile_of(value, low, scale, count):
    """Number of the tile along one axis that holds `value`, of `count` tiles from `low` on with `scale` in a unit."""
    return min(max(int((np.float64(value) - low) * scale), 0), count - 1)


@njit
def window(value, reach, low, scale, count, periodic):
    """First and last tile that a reach around `value` touches; may run over the ends where periodic, never twice."""
    first = np.floor((np.float64(value) - reach - low) * scale)
    last = np.floor((np.float64(value) + reach - low) * scale)
    if periodic:
        if last - first + 1 >= count:
            return 0, count - 1
        return int(first), int(last)
    return int(min(max(first, 0.0), count - 1.0)), int(min(max(last, 0.0), count - 1.0))


@njit
def tile_points(x, y, z, radius, period):
    """Sort points into tiles: (order, starts, geometry (3, 3) of low, scale, count per axis)."""
    n = len(x)
    px, py, pz = np.float32(0), np.float32(0), np.float32(0)
    if period is not None:
        px, py, pz = period[0], period[1], period[2]
    reach = reach_of(radius)
    geometry = np.ones((3, 3))
    geometry[2, :2] = 0.0
    if n < BRUTE_FORCE_BELOW:
        geometry[:, :2] = 0.0
    else:
        most = 4.0 * n + 64
        axis_tiles(geometry[0], x, reach / TILES_PER_REACH, px, most)
        axis_tiles(geometry[1], y, reach, py, most)
        if z is not None:
            axis_tiles(geometry[2], z, reach, pz, most)
        product = geometry[0, 2] * geometry[1, 2] * geometry[2, 2]
        while product > most:
            axis = np.argmax(geometry[:, 2])
            fewer = max(1.0, np.floor(geometry[axis, 2] / 2))
            geometry[axis, 1] *= fewer / geometry[axis, 2]
            geometry[axis, 2] = fewer
            product = geometry[0, 2] * geometry[1, 2] * geometry[2, 2]
    nx, ny, nz = int(geometry[0, 2]), int(geometry[1, 2]), int(geometry[2, 2])
    tile = np.zeros(n, np.int32)
    starts = np.zeros(nx * ny * nz + 1, np.int32)
    for i in range(n):
        t = tile_of(y[i], geometry[1, 0], geometry[1, 1], ny)
        if z is not None:
            t += ny * tile_of(z[i], geometry[2, 0], geometry[2, 1], nz)
        t = t * nx + tile_of(x[i], geometry[0, 0], geometry[0, 1], nx)
        tile[i] = t
        starts[t + 1] += 1
    for t in range(nx * ny * nz):
        starts[t + 1] += starts[t]
    order = np.empty(n, np.int32)
    for i in range(n):
        order[starts[tile[i]]] = i
        starts[tile[i]] += 1
    for t in range(nx * ny * nz, 0, -1):
        starts[t] = starts[t - 1]
    starts[0] = 0
    return order, starts, geometry


@njit
def crowding(starts, geometry, with_z):
    """Mean number of points that a density query would look at, estimated from the tiles' own populations."""
    total = 0.0
    for t in range(len(starts) - 1):
        total += np.float64(starts[t + 1] - starts[t]) ** 2
    visited = min(geometry[0, 2], 2.0 * TILES_PER_REACH + 1) * min(geometry[1, 2], 3.0)
    if with_z:
        visited *= min(geometry[2, 2], 3.0)
    return visited * total / max(1, starts[-1])


@njit
def windows(xi, yi, zi, reach, geometry, period):
    """First and last tile per axis (z, y, x) within reach of a point."""
    px, py, pz = False, False, False
    if period is not None:
        px, py, pz = np.isfinite(period[0]), np.isfinite(period[1]), np.isfinite(period[2])
    z0, z1 = window(zi, reach, geometry[2, 0], geometry[2, 1], int(geometry[2, 2]), pz)
    y0, y1 = window(yi, reach, geometry[1, 0], geometry[1, 1], int(geometry[1, 2]), py)
    x0, x1 = window(xi, reach, geometry[0, 0], geometry[0, 1], int(geometry[0, 2]), px)
    return z0, z1, y0, y1, x0, x1


@njit
def tile_density(i, x, y, z, w, starts, geometry, reach, limit, period):
    """Weight within the limit around sorted point i, itself included."""
    nx, ny, nz = int(geometry[0, 2]), int(geometry[1, 2]), int(geometry[2, 2])
    xi, yi, zi = x[i], y[i], np.float32(0)
    if z is not None:
        zi = z[i]
    z0, z1, y0, y1, x0, x1 = windows(xi, yi, zi, reach, geometry, period)
    total = 0.0
    for kz in range(z0, z1 + 1):
        for ky in range(y0, y1 + 1):
            row = (kz % nz * ny + ky % ny) * nx
            a, b = starts[row + max(x0, 0)], starts[row + min(x1, nx - 1) + 1]
            total += span_weight(a, b, xi, yi, zi, x, y, z, w, limit, period)
            if period is not None:
                if x0 < 0:
                    a, b = starts[row + nx + x0], starts[row + nx]
                    total += span_weight(a, b, xi, yi, zi, x, y, z, w, limit, period)
                if x1 >= nx:
                    a, b = starts[row], starts[row + x1 - nx + 1]
                    total += span_weight(a, b, xi, yi, zi, x, y, z, w, limit, period)
    return total


@njit
def tile_higher(i, x, y, z, rho, order, starts, geometry, reach, limit, period):
    """Sorted position of the nearest point above sorted point i within the limit, or -1.

    The point's own row is searched first: what it finds narrows the search of the others.
    """
    nx, ny, nz = int(geometry[0, 2]), int(geometry[1, 2]), int(geometry[2, 2])
    xi, yi, zi = x[i], y[i], np.float32(0)
    if z is not None:
        zi = z[i]
    own = tile_of(zi, geometry[2, 0], geometry[2, 1], nz) * ny + tile_of(yi, geometry[1, 0], geometry[1, 1], ny)
    _, _, _, _, x0, x1 = windows(xi, yi, zi, reach, geometry, period)
    a, b = starts[own * nx + max(x0, 0)], starts[own * nx + min(x1, nx - 1) + 1]
    best, near = span_higher(a, b, i, x, y, z, rho, order, -1, np.float32(np.inf), limit, period)
    if best >= 0:
        reach = min(reach, reach_of(near))
    z0, z1, y0, y1, x0, x1 = windows(xi, yi, zi, reach, geometry, period)
    for kz in range(z0, z1 + 1):
        for ky in range(y0, y1 + 1):
            row = (kz % nz * ny + ky % ny) * nx
            a, b = starts[row + max(x0, 0)], starts[row + min(x1, nx - 1) + 1]
            best, near = span_higher(a, b, i, x, y, z, rho, order, best, near, limit, period)
            if period is not None:
                if x0 < 0:
                    a, b = starts[row + nx + x0], starts[row + nx]
                    best, near = span_higher(a, b, i, x, y, z, rho, order, best, near, limit, period)
                if x1 >= nx:
                    a, b = starts[row], starts[row + x1 - nx + 1]
                    best, near = span_higher(a, b, i, x, y, z, rho, order, best, near, limit, period)
    return best
