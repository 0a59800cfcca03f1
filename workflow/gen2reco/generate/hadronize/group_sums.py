"""Sums over the particles of each event (or group) in flat arrays, and event shapes made of them."""

import numpy as np


def sums(index: np.ndarray, values: np.ndarray, n: int) -> np.ndarray:
    """Sum values (n_items, ...) by index (n_items,) in [0, n): (n, ...) float64."""
    if values.ndim == 1:
        return np.bincount(index, values, minlength=n)
    return np.stack([np.bincount(index, column, minlength=n) for column in values.T], -1)


def thrust_axes(momenta: np.ndarray, event: np.ndarray, n: int, starts: int = 4) -> tuple[np.ndarray, np.ndarray]:
    """Thrust (n,) and its axis (n, 3) of momenta (n_items, 3), events numbered and ordered by `event` (n_items,).

    Climbs from the hardest particles' directions to the local maxima of sum |p . axis| and keeps the best
    (as Pythia8 and Rivet do).
    """
    size = np.linalg.norm(momenta, axis=1)
    order = np.lexsort((-size, event))
    first = np.searchsorted(event, np.arange(n))
    many = np.bincount(event, minlength=n)
    best, best_axis = np.full(n, -1.0), np.zeros((n, 3))
    for k in range(starts):
        at = order[np.minimum(first + np.minimum(k, np.maximum(many - 1, 0)), len(order) - 1)]
        axis = momenta[at] / np.maximum(size[at], 1e-12)[:, None]
        axis, value = _climb(momenta, event, n, axis)
        better = value > best
        best, best_axis = np.where(better, value, best), np.where(better[:, None], axis, best_axis)
    return best / np.maximum(sums(event, size, n), 1e-12), best_axis


def _climb(momenta: np.ndarray, event: np.ndarray, n: int, axis: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    value = np.zeros(n)
    for _ in range(20):
        side = np.where(np.einsum("ij,ij->i", momenta, axis[event]) >= 0, 1.0, -1.0)
        total = sums(event, momenta * side[:, None], n)
        new = np.linalg.norm(total, axis=1)
        axis = total / np.maximum(new, 1e-12)[:, None]
        if np.all(new <= value * (1 + 1e-10)):
            break
        value = new
    return axis, value
