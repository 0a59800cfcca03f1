"""Mean profiles and spectra: blocks of values per unit, with event bootstrap."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gen2reco.statistics.distances import Measured, resampled_pair, resampled_weights

HELD = 0.95


class MeanProfile(NamedTuple):
    """Weighted mean of a block over the units, with bootstrap uncertainty; both (bins,)."""

    value: NDArray
    error: NDArray


def mean_profile(block: NDArray, units, resamples: int, rng: np.random.Generator) -> MeanProfile:
    """Mean of a block (n, bins) of units; `units` gives weights and events."""
    drawn = _drawn(block, units, len(np.unique(units.event)), resamples, rng)
    return MeanProfile(units.weight @ block / units.weight.sum(), drawn.std(0))


def deviation_measured(a: NDArray, units_a, b: NDArray, units_b, resamples: int, rng: np.random.Generator) -> Measured:
    """Largest relative deviation of mean profile b from a, in the bins that hold 95 % of the content of a."""
    n_a, n_b = len(np.unique(units_a.event)), len(np.unique(units_b.event))
    mean_a = units_a.weight @ a / units_a.weight.sum()
    mean_b = units_b.weight @ b / units_b.weight.sum()
    held = holding(mean_a)
    if not held.any():
        return Measured(np.nan, np.nan)
    own = _drawn(a, units_a, n_a, resamples, rng)[:, held]
    null = _drawn(a, units_a, n_b, resamples, rng)[:, held]
    first, second = (w @ block[:, held] for w, block in zip(resampled_pair(units_a, units_b, resamples, rng), (a, b)))
    reference = mean_a[held]
    size = np.abs(mean_b[held] / reference - 1)
    at = size.argmax()
    floors = np.abs((null - own) / reference).max(1)
    error = ((second - first) / reference)[:, at].std()
    return Measured(float(size[at]), float(error), float(floors.mean()), float(floors.std()))


def shape_measured(
    a: NDArray, units_a, b: NDArray, units_b, x: NDArray, resamples: int, rng: np.random.Generator
) -> Measured:
    """Wasserstein-1 between the spectra that blocks a and b add up to, at positions x (bins,), in its sigma of a."""
    n_a, n_b = len(np.unique(units_a.event)), len(np.unique(units_b.event))
    total = units_a.weight @ a
    if not total.sum() > 0 or not (units_b.weight @ b).sum() > 0:
        return Measured(np.nan, np.nan)
    p = total / total.sum()
    scale = np.sqrt(max(p @ x**2 - (p @ x) ** 2, 0.0)) or 1.0
    own, null = _drawn(a, units_a, n_a, resamples, rng), _drawn(a, units_a, n_b, resamples, rng)
    other = _drawn(b, units_b, n_b, resamples, rng)
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


def _drawn(block: NDArray, units, events: int, resamples: int, rng: np.random.Generator) -> NDArray:
    step = max(1, 8_000_000 // max(len(block), 1))
    parts = [
        resampled_weights(units, events, min(step, resamples - done), rng) @ block for done in range(0, resamples, step)
    ]
    return np.concatenate(parts)


def _distance(p: NDArray, q: NDArray, x: NDArray) -> NDArray:
    def cumulative(h: NDArray) -> NDArray:
        return np.cumsum(h / np.maximum(h.sum(1, keepdims=True), 1e-300), axis=1)

    return np.abs(cumulative(p) - cumulative(q))[:, :-1] @ np.diff(x)
