"""Distances between one-dimensional samples, with bootstrap uncertainty and reference-against-reference floor."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Measured(NamedTuple):
    """A number with its uncertainty; `floor` is what two reference samples of the same sizes give, on average."""

    value: float
    uncertainty: float
    floor: float = float("nan")
    floor_uncertainty: float = float("nan")


class Units(NamedTuple):
    """A sample of values: weights (n,), and the event of each (n,), so that events are resampled, not values."""

    values: NDArray
    weight: NDArray
    event: NDArray


def wasserstein(a: Units, b: Units) -> float:
    """Wasserstein-1 distance between two weighted samples, in the unit of the values."""
    x, order = _pooled(a.values, b.values)
    signed = np.concatenate([a.weight / a.weight.sum(), -b.weight / b.weight.sum()])[order]
    return float(np.abs(np.cumsum(signed)[:-1]) @ np.diff(x))


def separation(p: NDArray, q: NDArray) -> NDArray:
    """Separation power of histograms along the last axis: (1/2) sum (p-q)^2/(p+q) of unit-area p, q; from 0 to 1."""
    p = p / np.maximum(p.sum(-1, keepdims=True), 1e-300)
    q = q / np.maximum(q.sum(-1, keepdims=True), 1e-300)
    total = p + q
    return 0.5 * ((p - q) ** 2 / np.where(total > 0, total, 1.0)).sum(-1)


def resampled_weights(units: Units, events: int, resamples: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Weights of bootstrap samples of `events` events each, normalised to one: (resamples, n)."""
    _, of_event = np.unique(units.event, return_inverse=True)
    return _weighted(_counts(of_event.max() + 1, events, resamples, rng), of_event, units.weight)


def resampled_pair(
    a: Units, b: Units, resamples: int, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Bootstrap weights of two samples, as `resampled_weights`; where they hold the same events, the same are drawn.

    So what two simulations of the same particles have in common cancels in their difference.
    """
    (events_a, of_a), (events_b, of_b) = (np.unique(u.event, return_inverse=True) for u in (a, b))
    counts_a = counts_b = _counts(len(events_a), len(events_a), resamples, rng)
    if not np.array_equal(events_a, events_b):
        counts_b = _counts(len(events_b), len(events_b), resamples, rng)
    return _weighted(counts_a, of_a, a.weight), _weighted(counts_b, of_b, b.weight)


def _counts(held: int, drawn: int, resamples: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """How often each of `held` events is among `drawn` ones: (resamples, held)."""
    return rng.multinomial(drawn, np.full(held, 1 / held), size=resamples)


def _weighted(counts: NDArray, of_event: NDArray, weight: NDArray) -> NDArray[np.float64]:
    weights = counts[:, of_event] * weight
    return weights / np.maximum(weights.sum(1, keepdims=True), 1e-300)


def wasserstein_measured(a: Units, b: Units, resamples: int, rng: np.random.Generator) -> Measured:
    """Wasserstein-1 of b against the reference a, in standard deviations of a, with uncertainty and floor."""
    scale = spread(a.values, a.weight) or 1.0
    n_a, n_b = len(np.unique(a.event)), len(np.unique(b.event))
    value = wasserstein(a, b) / scale
    x, order = _pooled(a.values, b.values)
    own_order = np.argsort(a.values, kind="stable")
    own_x = a.values[own_order]
    drawn, floors = [], []
    for count in _batches(resamples, len(x)):
        first, second = resampled_pair(a, b, count, rng)
        drawn.append(_distance(x, np.hstack([first, -second])[:, order]))
        null = resampled_weights(a, n_a, count, rng) - resampled_weights(a, n_b, count, rng)
        floors.append(_distance(own_x, null[:, own_order]))
    drawn, floors = np.concatenate(drawn) / scale, np.concatenate(floors) / scale
    return Measured(value, float(drawn.std()), float(floors.mean()), float(floors.std()))


def separation_measured(a: Units, b: Units, edges: NDArray, resamples: int, rng: np.random.Generator) -> Measured:
    """Separation power of b against the reference a in the given bins (outer ones open), uncertainty and floor."""
    bins_a, bins_b = bin_of(a.values, edges), bin_of(b.values, edges)
    n_bins, n_b = len(edges) - 1, len(np.unique(b.event))
    p, q = _fill(a.weight[None], bins_a, n_bins)[0], _fill(b.weight[None], bins_b, n_bins)[0]
    drawn, floors = [], []
    for count in _batches(resamples, len(bins_a) + len(bins_b)):
        first, second = resampled_pair(a, b, count, rng)
        first, second = _fill(first, bins_a, n_bins), _fill(second, bins_b, n_bins)
        drawn.append(separation(first, second))
        floors.append(separation(first, _fill(resampled_weights(a, n_b, count, rng), bins_a, n_bins)))
    drawn, floors = np.concatenate(drawn), np.concatenate(floors)
    return Measured(float(separation(p, q)), float(drawn.std()), float(floors.mean()), float(floors.std()))


def shift_measured(a: Units, b: Units, statistic: str, resamples: int, rng: np.random.Generator) -> Measured:
    """Relative shift of the `mean` or `width` (standard deviation) of b against the reference a.

    The floor is the mean absolute shift that this uncertainty makes between equal samples.
    """
    moment = _MOMENTS[statistic]
    reference, candidate = (moment(u.values, u.weight[None] / u.weight.sum())[0] for u in (a, b))
    shifts = []
    for count in _batches(resamples, len(a.values) + len(b.values)):
        first, second = resampled_pair(a, b, count, rng)
        shifts.append(moment(b.values, second) - moment(a.values, first))
    scale = abs(reference) or 1.0
    error = float(np.concatenate(shifts).std() / scale)
    return Measured(float((candidate - reference) / scale), error, *half_normal(error))


def half_normal(sigma: float) -> tuple[float, float]:
    """Mean and standard deviation of |x| where x is normal with mean 0: the floor of a signed difference."""
    return float(np.sqrt(2 / np.pi) * sigma), float(np.sqrt(1 - 2 / np.pi) * sigma)


def spread(values: NDArray, weight: NDArray) -> float:
    """Weighted standard deviation."""
    return float(_width(values, weight[None] / weight.sum())[0])


def bin_of(values: NDArray, edges: NDArray) -> NDArray[np.int64]:
    """Bin of each value; values outside go to the outermost bins."""
    return np.clip(np.searchsorted(edges, values, side="right") - 1, 0, len(edges) - 2)


def _mean(values: NDArray, weights: NDArray) -> NDArray:
    return weights @ values


def _width(values: NDArray, weights: NDArray) -> NDArray:
    centred = values - values.mean()
    return np.sqrt(np.maximum(weights @ centred**2 - (weights @ centred) ** 2, 0.0))


_MOMENTS = {"mean": _mean, "width": _width}


def _pooled(a: NDArray, b: NDArray) -> tuple[NDArray, NDArray]:
    """All values sorted, and the order that sorts them."""
    both = np.concatenate([a, b]).astype(np.float64)
    order = np.argsort(both, kind="stable")
    return both[order], order


def _distance(x: NDArray, signed: NDArray) -> NDArray:
    return np.abs(np.cumsum(signed, axis=1)[:, :-1]) @ np.diff(x)


def _fill(weights: NDArray, bins: NDArray, n_bins: int) -> NDArray:
    """Histograms of weights (resamples, n): (resamples, n_bins)."""
    order = np.argsort(bins, kind="stable")
    present, starts = np.unique(bins[order], return_index=True)
    filled = np.zeros((len(weights), n_bins))
    if len(present):
        filled[:, present] = np.add.reduceat(weights[:, order], starts, axis=1)
    return filled


def _batches(resamples: int, size: int, budget: int = 8_000_000) -> list[int]:
    """Split resamples so that no (batch, size) array exceeds the budget."""
    step = max(1, min(resamples, budget // max(size, 1)))
    return [min(step, resamples - done) for done in range(0, resamples, step)]
