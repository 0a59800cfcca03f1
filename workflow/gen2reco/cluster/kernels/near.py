"""Pairs of linking that lie near each other, with a margin: what is kept is measured exactly by `linking.py`.

Load through `compiled_kernels.load`.
"""

import numpy as np
from numba import njit, types

from gen2reco.cluster.compiled_kernels import compiled

MARGIN = 1.0 + 1e-6
_f8, _i8 = types.float64[::1], types.int64[::1]
_pairs = types.Tuple((_i8, _i8))


@njit
def _added(first, second, n, i, j):
    """Both arrays with (i, j) as entry n, twice as long where they were full."""
    if n == len(first):
        longer, other = np.empty(2 * n, np.int64), np.empty(2 * n, np.int64)
        longer[:n], other[:n] = first, second
        first, second = longer, other
    first[n], second[n] = i, j
    return first, second


@compiled([_pairs(_i8, _f8, _f8, _f8, _f8, _f8, _f8, types.float64)])
def followers(starts, x, y, z, axis_x, axis_y, axis_z, limit):
    """(followers, leaders): pairs within one group, the leader first in it, whose barycentre's line from the origin or
    whose axis passes the follower within `limit`. starts: (n_groups + 1,) of sorted groups."""
    first, second, n = np.empty(1024, np.int64), np.empty(1024, np.int64), 0
    most = (limit * MARGIN) ** 2
    for g in range(len(starts) - 1):
        for k in range(starts[g], starts[g + 1]):
            for i in range(k + 1, starts[g + 1]):
                scale, slope = z[i] / z[k], (z[i] - z[k]) / axis_z[k]
                dx, dy = x[i] - scale * x[k], y[i] - scale * y[k]
                ax, ay = x[i] - x[k] - slope * axis_x[k], y[i] - y[k] - slope * axis_y[k]
                if dx * dx + dy * dy <= most or ax * ax + ay * ay <= most:
                    first, second = _added(first, second, n, i, k)
                    n += 1
    return first[:n].copy(), second[:n].copy()


@compiled([_pairs(_i8, _i8, _f8, _f8, _f8, _f8, _f8, _f8, _f8)])
def attachable(begin, end, x, y, z, to_x, to_y, to_z, reach):
    """(points, lines): pairs of a point and one of the lines from the origin in [begin, end) of it that passes it on
    its side within `reach`, and no farther than those before it."""
    first, second, n = np.empty(1024, np.int64), np.empty(1024, np.int64), 0
    for i in range(len(x)):
        best = np.inf
        for j in range(begin[i], end[i]):
            scale = z[i] / to_z[j]
            if scale > 0:
                dx, dy, most = x[i] - scale * to_x[j], y[i] - scale * to_y[j], reach[j] * MARGIN
                square = dx * dx + dy * dy
                if square <= most * most and square <= best * MARGIN:
                    best = min(best, square)
                    first, second = _added(first, second, n, i, j)
                    n += 1
    return first[:n].copy(), second[:n].copy()
