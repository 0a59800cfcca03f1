"""Event shapes of hadronic final states, over events laid flat."""

from itertools import pairwise

import numpy as np
from numpy.typing import NDArray


def thrust_axes(momenta: NDArray, starts: NDArray) -> NDArray:
    """Thrust and its axis of each event, exactly: (events, 4) of T, n_x, n_y, n_z.

    momenta: (n, 3) float64; starts: (events + 1,) first row of each event, the last one the end.
    """
    return np.array([_thrust(momenta[start:stop]) for start, stop in pairwise(starts)]).reshape(-1, 4)


def _thrust(p: NDArray) -> NDArray:
    """The best of all partitions by planes: one at the maximum touches two of the momenta (n, 3), so pairs suffice
    (Brandt and Dahmen, Z. Phys. C1 (1979) 61)."""
    total = np.linalg.norm(p, axis=1).sum()
    if not total > 0:
        return np.full(4, np.nan)
    if len(p) < 3:
        axes = np.array([p.sum(0), p[0] - p[-1] if len(p) == 2 else p[0]])
    else:
        i, j = np.triu_indices(len(p), 1)
        sign = np.where(np.cross(p[i], p[j]) @ p.T > 0, 1.0, -1.0)
        pair = np.arange(len(i))
        sign[pair, i] = sign[pair, j] = 0.0
        rest = sign @ p
        axes = np.concatenate([rest + s * p[i] + t * p[j] for s in (1, -1) for t in (1, -1)])
    size = np.linalg.norm(axes, axis=1)
    best = size.argmax()
    return np.append(size[best] / total, axes[best] / size[best])


def c_parameter(momenta: NDArray, row: NDArray, events: int) -> NDArray:
    """C = 3 (l1 l2 + l2 l3 + l3 l1) of the linearised momentum tensor: (events,). Parisi, Phys. Lett. B74 (1978) 65."""
    size = np.linalg.norm(momenta, axis=1)
    inverse = 1 / np.where(size > 0, size, 1.0)
    total = np.bincount(row, size, events)
    tensor = np.zeros((events, 3, 3))
    for i in range(3):
        for j in range(i, 3):
            tensor[:, i, j] = tensor[:, j, i] = np.bincount(row, momenta[:, i] * momenta[:, j] * inverse, events)
    tensor /= np.where(total > 0, total, 1.0)[:, None, None]
    square = np.einsum("nij,nji->n", tensor, tensor)
    return np.where(total > 0, 1.5 * (1 - square), np.nan)


def hemispheres(momenta: NDArray, energy: NDArray, row: NDArray, axis: NDArray) -> tuple[NDArray, NDArray]:
    """Heavy and light hemisphere mass² over visible energy², hemispheres split by the axis (events, 3)."""
    events = len(axis)
    up = np.einsum("ij,ij->i", momenta, axis[row]) > 0
    visible = np.bincount(row, energy, events)
    masses = []
    for side in (up, ~up):
        sums = [np.bincount(row[side], x[side], events) for x in (energy, *momenta.T)]
        masses.append(np.maximum(sums[0] ** 2 - sums[1] ** 2 - sums[2] ** 2 - sums[3] ** 2, 0.0))
    scale = np.where(visible > 0, visible, np.nan) ** 2
    return np.maximum(*masses) / scale, np.minimum(*masses) / scale
