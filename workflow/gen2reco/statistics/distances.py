"""Distances between one-dimensional samples, with bootstrap uncertainty and reference-against-reference floor."""

import numpy as np
from numpy.typing import NDArray

from gen2reco.statistics.bootstrap import Units, batches, floor_weights, resampled_pair, resampled_weights
from gen2reco.statistics.measured import Measured, half_normal


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


def wasserstein_measured(a: Units, b: Units, resamples: int, rng: np.random.Generator) -> Measured:
    """Wasserstein-1 of b against the reference a, in standard deviations of a, with uncertainty and floor."""
    scale = spread(a.values, a.weight) or 1.0
    value = wasserstein(a, b) / scale
    x, order = _pooled(a.values, b.values)
    own_order = np.argsort(a.values, kind="stable")
    own_x = a.values[own_order]
    drawn, floors = [], []
    for count in batches(resamples, len(x)):
        first, second = resampled_pair(a, b, count, rng)
        drawn.append(_distance(x, np.hstack([first, -second])[:, order]))
        null = resampled_weights(a, a.n_events, count, rng) - floor_weights(a, b, count, rng)
        floors.append(_distance(own_x, null[:, own_order]))
    drawn_all, floor = np.concatenate(drawn) / scale, np.concatenate(floors) / scale
    return Measured(value, float(drawn_all.std()), float(floor.mean()), float(floor.std()))


def separation_measured(a: Units, b: Units, edges: NDArray, resamples: int, rng: np.random.Generator) -> Measured:
    """Separation power of b against the reference a in the given bins (outer ones open), uncertainty and floor."""
    bins_a, bins_b = bin_of(a.values, edges), bin_of(b.values, edges)
    n_bins = len(edges) - 1
    p, q = _fill(a.weight[None], bins_a, n_bins)[0], _fill(b.weight[None], bins_b, n_bins)[0]
    drawn, floors = [], []
    for count in batches(resamples, len(bins_a) + len(bins_b)):
        first, second = resampled_pair(a, b, count, rng)
        first, second = _fill(first, bins_a, n_bins), _fill(second, bins_b, n_bins)
        drawn.append(separation(first, second))
        floors.append(separation(first, _fill(floor_weights(a, b, count, rng), bins_a, n_bins)))
    drawn_all, floor = np.concatenate(drawn), np.concatenate(floors)
    return Measured(float(separation(p, q)), float(drawn_all.std()), float(floor.mean()), float(floor.std()))


def shift_measured(a: Units, b: Units, statistic: str, resamples: int, rng: np.random.Generator) -> Measured:
    """Relative shift of the `mean` or `width` (standard deviation) of b against the reference a.

    The floor is the mean absolute shift that this uncertainty makes between equal samples.
    """
    moment = _MOMENTS[statistic]
    reference, candidate = (moment(u.values, u.weight[None] / u.weight.sum())[0] for u in (a, b))
    shifts = []
    for count in batches(resamples, len(a.values) + len(b.values)):
        first, second = resampled_pair(a, b, count, rng)
        shifts.append(moment(b.values, second) - moment(a.values, first))
    scale = abs(reference) or 1.0
    error = float(np.concatenate(shifts).std() / scale)
    return Measured(float((candidate - reference) / scale), error, *half_normal(error))


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
