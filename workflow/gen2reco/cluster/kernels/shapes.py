"""Sums over the layer clusters of each trackster, in two passes. Load through `compiled_kernels.load`."""

from numba import types

from gen2reco.cluster.compiled_kernels import compiled

_f8, _i8 = types.float64, types.int64
_signature = types.void(
    _i8[::1], _i8[::1], _f8[::1], _f8[::1], _f8[::1], _f8[::1], _f8[::1], _f8[:, ::1], _f8[:, ::1], _i8[:, ::1]
)


@compiled([_signature])
def accumulate(label, layer, x, y, z, energy, time, per_layer, sums, counts):
    """Fill, per trackster: energy per layer (n, n_layers); counts (n, 3) of layer clusters, first and last layer; and
    sums (n, 13): energy, barycentre (3), time, timed energy, covariance (xx, xy, xz, yy, yz, zz), squared distance
    from the line through the origin. Sums and counts come zeroed, first layers too large.
    """
    for i in range(len(label)):
        k = label[i]
        if k < 0:
            continue
        e, s = energy[i], sums[k]
        per_layer[k, layer[i] - 1] += e
        counts[k, 0] += 1
        counts[k, 1] = min(counts[k, 1], layer[i])
        counts[k, 2] = max(counts[k, 2], layer[i])
        s[0] += e
        s[1] += e * x[i]
        s[2] += e * y[i]
        s[3] += e * z[i]
        if time[i] != -1.0:
            s[4] += e * time[i]
            s[5] += e
    for k in range(len(sums)):
        if sums[k, 0] > 0:
            sums[k, 1:4] /= sums[k, 0]
    for i in range(len(label)):
        k = label[i]
        if k < 0:
            continue
        s = sums[k]
        e = energy[i] / s[0]
        dx, dy, dz = x[i] - s[1], y[i] - s[2], z[i] - s[3]
        s[6] += e * dx * dx
        s[7] += e * dx * dy
        s[8] += e * dx * dz
        s[9] += e * dy * dy
        s[10] += e * dy * dz
        s[11] += e * dz * dz
        square = s[1] * s[1] + s[2] * s[2] + s[3] * s[3]
        along = (x[i] * s[1] + y[i] * s[2] + z[i] * s[3]) / square
        ox, oy, oz = x[i] - along * s[1], y[i] - along * s[2], z[i] - along * s[3]
        s[12] += e * (ox * ox + oy * oy + oz * oz)
