"""Rates with binomial uncertainties: efficiency, purity, fake, merge, duplicate and split."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gen2reco.statistics.bootstrap import effective_number
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


def rate(passed: NDArray, weight: NDArray) -> Measured:
    """Weighted share of True in (n,) with half of Wilson's interval, of the effective number, as its uncertainty."""
    tried, total = effective_number(weight), max(weight.sum(), 1e-300)
    p, low, high = wilson(np.array(tried * np.clip(weight @ passed / total, 0, 1)), np.array(tried))
    return Measured(float(p), float((high - low) / 2))


def binned_rate(passed: NDArray, weight: NDArray, x: NDArray, edges: NDArray) -> BinnedRate:
    """The weighted share of True among (n,) in bins of x (n,), each at its mean x (empty ones at their middle)."""
    n = np.histogram(x, edges)[0]
    total, good, squares = (np.histogram(x, edges, weights=w)[0] for w in (weight, weight * passed, weight**2))
    positive = np.maximum(weight, 0.0)
    filled, sums = (np.histogram(x, edges, weights=w)[0] for w in (positive, positive * x))
    tried = np.maximum(total, 0) ** 2 / np.maximum(squares, 1e-300)
    p, low, high = wilson(tried * np.clip(good / np.where(total > 0, total, np.inf), 0, 1), tried)
    centre = np.where(filled > 0, sums / np.maximum(filled, 1e-300), (edges[1:] + edges[:-1]) / 2)
    return BinnedRate(centre, edges[:-1], edges[1:], n, p, p - low, high - p)
