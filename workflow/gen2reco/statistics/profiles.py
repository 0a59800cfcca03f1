"""Mean profiles and spectra: blocks of values per unit, with event bootstrap."""

import numpy as np
from numpy.typing import NDArray

from gen2reco.statistics.bootstrap import Units, batches, floor_weights, resampled_pair
from gen2reco.statistics.measured import NOT_MEASURED, Measured

HELD = 0.95


def deviation_measured(
    a: NDArray, units_a: Units, b: NDArray, units_b: Units, resamples: int, rng: np.random.Generator
) -> Measured:
    """Largest relative deviation of the mean of blocks b (m, bins) from that of blocks a (n, bins).

    It is taken over the bins that hold 95 % of the content of a; of `units` the weights and events are used.
    """
    mean_a = units_a.weight @ a / units_a.weight.sum()
    mean_b = units_b.weight @ b / units_b.weight.sum()
    held = holding(mean_a)
    if not held.any():
        return NOT_MEASURED
    own = _drawn(a, units_a, units_a, resamples, rng)[:, held]
    null = _drawn(a, units_a, units_b, resamples, rng)[:, held]
    first, second = (w @ block[:, held] for w, block in zip(resampled_pair(units_a, units_b, resamples, rng), (a, b)))
    reference = mean_a[held]
    size = np.abs(mean_b[held] / reference - 1)
    at = size.argmax()
    floors = np.abs((null - own) / reference).max(1)
    error = ((second - first) / reference)[:, at].std()
    return Measured(float(size[at]), float(error), float(floors.mean()), float(floors.std()))


def shape_measured(
    a: NDArray, units_a: Units, b: NDArray, units_b: Units, x: NDArray, resamples: int, rng: np.random.Generator
) -> Measured:
    """Wasserstein-1 between the spectra that blocks a and b add up to, at positions x (bins,), in its sigma of a."""
    total = units_a.weight @ a
    if not total.sum() > 0 or not (units_b.weight @ b).sum() > 0:
        return NOT_MEASURED
    p = total / total.sum()
    scale = np.sqrt(max(p @ x**2 - (p @ x) ** 2, 0.0)) or 1.0
    own = _drawn(a, units_a, units_a, resamples, rng)
    null = _drawn(a, units_a, units_b, resamples, rng)
    other = _drawn(b, units_b, units_b, resamples, rng)
    floors, drawn = _distance(own, null, x) / scale, _distance(own, other, x) / scale
    value = _distance(total[None], (units_b.weight @ b)[None], x)[0] / scale
    return Measured(float(value), float(drawn.std()), float(floors.mean()), float(floors.std()))


def holding(mean: NDArray, share: float = HELD) -> NDArray[np.bool_]:
    """The fewest bins that hold the share of the content."""
    order = np.argsort(-mean)
    before = np.cumsum(mean[order]) - mean[order]
    held = np.zeros(len(mean), bool)
    held[order] = before < share * mean.sum()
    return held & (mean > 0)


def _drawn(block: NDArray, units: Units, like: Units, resamples: int, rng: np.random.Generator) -> NDArray:
    """Means of bootstrap samples of the size of other units: (resamples, bins)."""
    drawn = [floor_weights(units, like, count, rng) @ block for count in batches(resamples, len(block))]
    return np.concatenate(drawn)


def _distance(p: NDArray, q: NDArray, x: NDArray) -> NDArray:
    def cumulative(h: NDArray) -> NDArray:
        return np.cumsum(h / np.maximum(h.sum(1, keepdims=True), 1e-300), axis=1)

    return np.abs(cumulative(p) - cumulative(q))[:, :-1] @ np.diff(x)
