"""Mean profiles and spectra: blocks of values per unit, with event bootstrap."""

from collections.abc import Callable

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
    return _largest_deviation(a, units_a, b, units_b, resamples, rng, holding(_mean(a, units_a)), _as_is)


def trend_measured(
    a: NDArray, units_a: Units, b: NDArray, units_b: Units, resamples: int, rng: np.random.Generator
) -> Measured:
    """Largest relative deviation of the means in bins of b (m, 2 bins) from those of a (n, 2 bins).

    a, b: of `content_and_number`. It is taken over the bins that hold 95 % of the units of a; a bin without units in a
    sample does not deviate.
    """
    mean = _mean(a, units_a)
    held = holding(np.split(mean, 2)[1]) & (bin_means(mean) > 0)
    return _largest_deviation(a, units_a, b, units_b, resamples, rng, np.tile(held, 2), bin_means)


def content_and_number(y: NDArray, x: NDArray, edges: NDArray) -> NDArray[np.float64]:
    """Units with values y (n,) in the bins of x (n,): y, then 1, in the bin of each: (n, 2 bins), else 0.

    Units where either is not finite or x is beyond the edges are in no bin.
    """
    inside = (x[:, None] >= edges[:-1]) & (x[:, None] < edges[1:]) & np.isfinite(y)[:, None]
    return np.concatenate([np.where(inside, y[:, None], 0.0), inside], axis=1)


def bin_means(block: NDArray) -> NDArray[np.float64]:
    """Mean of the units in each bin, (..., bins), of sums or means of `content_and_number`; NaN of bins without."""
    content, number = np.split(block, 2, axis=-1)
    return content / np.where(number > 0, number, np.nan)


def _largest_deviation(
    a: NDArray,
    units_a: Units,
    b: NDArray,
    units_b: Units,
    resamples: int,
    rng: np.random.Generator,
    held: NDArray,
    means: Callable[[NDArray], NDArray],
) -> Measured:
    """Largest relative deviation of `means` of the columns `held`."""
    if not held.any():
        return NOT_MEASURED
    own = means(_drawn(a, units_a, units_a, resamples, rng)[:, held])
    null = means(_drawn(a, units_a, units_b, resamples, rng)[:, held])
    pair = resampled_pair(units_a, units_b, resamples, rng)
    first, second = (means(w @ block[:, held]) for w, block in zip(pair, (a, b)))
    reference = means(_mean(a, units_a)[held])
    size = np.nan_to_num(np.abs(means(_mean(b, units_b)[held]) / reference - 1))
    at = size.argmax()
    floors = np.nan_to_num(np.abs((null - own) / reference)).max(1)
    error = np.nan_to_num((second - first) / reference)[:, at].std()
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


def _mean(block: NDArray, units: Units) -> NDArray:
    return units.weight @ block / units.weight.sum()


def _as_is(means: NDArray) -> NDArray:
    return means


def _drawn(block: NDArray, units: Units, like: Units, resamples: int, rng: np.random.Generator) -> NDArray:
    """Means of bootstrap samples of the size of other units: (resamples, bins)."""
    drawn = [floor_weights(units, like, count, rng) @ block for count in batches(resamples, len(block))]
    return np.concatenate(drawn)


def _distance(p: NDArray, q: NDArray, x: NDArray) -> NDArray:
    def cumulative(h: NDArray) -> NDArray:
        return np.cumsum(h / np.maximum(h.sum(1, keepdims=True), 1e-300), axis=1)

    return np.abs(cumulative(p) - cumulative(q))[:, :-1] @ np.diff(x)
