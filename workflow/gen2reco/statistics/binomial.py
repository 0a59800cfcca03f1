"""Rates with binomial uncertainties: efficiency, purity, fake, merge, duplicate and split."""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gen2reco.statistics.bootstrap import design_effect, effective_number, shared
from gen2reco.statistics.measured import Measured


class BinnedRate(NamedTuple):
    """A rate in bins: centre, edges, number tried, value, and the distances down and up to its 68 % interval."""

    x: NDArray
    low: NDArray
    high: NDArray
    n: NDArray
    value: NDArray
    down: NDArray
    up: NDArray


def wilson(passed: NDArray, tried: NDArray, z: float = 1.0) -> tuple[NDArray, NDArray, NDArray]:
    """Rate and Wilson's interval (J. Am. Stat. Assoc. 22 (1927) 209): value, lower and upper end; NaN of none tried."""
    n = np.where(np.asarray(tried) > 0, tried, np.nan).astype(float)
    p = passed / n
    centre = (p + z**2 / (2 * n)) / (1 + z**2 / n)
    half = z / (1 + z**2 / n) * np.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    return p, np.minimum(centre - half, p), np.maximum(centre + half, p)


def rate(passed: NDArray, weight: NDArray, groups: Sequence[NDArray] = ()) -> Measured:
    """Weighted share of True in (n,) with half of Wilson's interval, of the effective number, as its uncertainty.

    Units of a group (bootstrap.py) count as fewer, by the design effect (Kish, Survey Sampling, 1965).
    """
    total = max(weight.sum(), 1e-300)
    share = np.clip(weight @ passed / total, 0, 1)
    tried = effective_number(weight) / design_effect(weight * (passed - share), groups, weight)
    p, low, high = wilson(np.array(tried * share), np.array(tried))
    return Measured(float(p), float((high - low) / 2))


def binned_rate(
    passed: NDArray, weight: NDArray, x: NDArray, edges: NDArray, groups: Sequence[NDArray] = ()
) -> BinnedRate:
    """The weighted share of True among (n,) in bins of x (n,), each at its mean x (empty ones at their middle).

    Uncertainties by groups, as those of `rate`.
    """
    n = np.histogram(x, edges)[0]
    total, good, squares = (np.histogram(x, edges, weights=w)[0] for w in (weight, weight * passed, weight**2))
    positive = np.maximum(weight, 0.0)
    filled, sums = (np.histogram(x, edges, weights=w)[0] for w in (positive, positive * x))
    tried = np.maximum(total, 0) ** 2 / np.maximum(squares, 1e-300)
    tried = tried / _effects(passed, weight, x, edges, good / np.where(total > 0, total, np.inf), groups)
    p, low, high = wilson(tried * np.clip(good / np.where(total > 0, total, np.inf), 0, 1), tried)
    centre = np.where(filled > 0, sums / np.maximum(filled, 1e-300), (edges[1:] + edges[:-1]) / 2)
    return BinnedRate(centre, edges[:-1], edges[1:], n, p, p - low, high - p)


def _effects(
    passed: NDArray, weight: NDArray, x: NDArray, edges: NDArray, share: NDArray, groups: Sequence[NDArray]
) -> NDArray[np.float64]:
    """Design effect of the share of True in each bin, (bins,)."""
    effect = np.ones(len(share))
    if not shared(groups):
        return effect
    bins = np.where(x == edges[-1], len(share) - 1, np.searchsorted(edges, x, side="right") - 1)
    for i in range(len(share)):
        inside = bins == i
        own = weight[inside]
        effect[i] = design_effect(own * (passed[inside] - share[i]), [group[inside] for group in groups], own)
    return effect
