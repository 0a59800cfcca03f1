"""Fréchet and kernel physics distances, as defined in arXiv:2211.10295 and used by jetnet."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from gen2reco.statistics.measured import Measured

FEWEST = 100
"""Units of each sample below which no distance is given."""


def frechet_physics_distance(
    reference: NDArray, candidate: NDArray, *, seed: int, most: int = 50_000, points: int = 10, batches: int = 10
) -> Measured:
    """FPD of features (n, k): Fréchet distance between Gaussian fits, extrapolated to infinite samples.

    The distance is measured for sample sizes equidistant in 1/N from 0.4 of the smaller sample (at most `most`) to all
    of it; the value is the intercept of a line in 1/N. Samples beyond the 1 % tails of the reference are trimmed.
    """
    if min(len(reference), len(candidate)) < FEWEST:
        return Measured(float("nan"), float("nan"))
    x, y = _normalised(*_trimmed(reference, candidate))
    largest = min(most, len(x), len(y))
    sizes = (1 / np.linspace(1 / (0.4 * largest), 1 / largest, points)).astype(int)
    rng = np.random.default_rng(seed)
    values = np.array(
        [
            [_frechet(x[rng.integers(0, len(x), n)], y[rng.integers(0, len(y), n)]) for _ in range(batches)]
            for n in sizes
        ]
    )
    error = np.maximum(values.std(1) / np.sqrt(batches), 1e-12)
    (_, intercept), covariance = np.polyfit(1 / sizes, values.mean(1), 1, w=1 / error, cov="unscaled")
    return Measured(max(float(intercept), 0.0), float(np.sqrt(covariance[1, 1])))


def kernel_physics_distance(
    reference: NDArray, candidate: NDArray, *, seed: int, batches: int = 10, batch_size: int = 1000
) -> Measured:
    """KPD of features (n, k): unbiased squared MMD with the kernel (x·y/k + 1)^4, median and half the 68 % interval
    over batches."""
    if min(len(reference), len(candidate)) < FEWEST:
        return Measured(float("nan"), float("nan"))
    x, y = _normalised(reference, candidate)
    size = min(batch_size, len(x), len(y))
    rng = np.random.default_rng(seed)
    drawn = [_mmd(rng.permutation(len(x))[:size], rng.permutation(len(y))[:size], x, y) for _ in range(batches)]
    low, middle, high = np.percentile(drawn, [16.275, 50, 83.725])
    return Measured(float(middle), float((high - low) / 2))


def with_floor(
    distance: Callable[..., Measured], reference: NDArray, candidate: NDArray, seed: int
) -> tuple[Measured, int]:
    """A distance with its floor between halves of the reference; all parts are cut to the same size, also returned."""
    n = min(len(reference) // 2, len(candidate))
    order = np.random.default_rng(seed).permutation(len(reference))[: 2 * n]
    a, b = reference[order[:n]], reference[order[n:]]
    value, floor = distance(a, candidate[:n], seed=seed), distance(a, b, seed=seed)
    return Measured(value.value, value.uncertainty, floor.value, floor.uncertainty), n


def _frechet(x: NDArray, y: NDArray) -> float:
    """|mu_x - mu_y|^2 + tr(C_x + C_y - 2 (C_x C_y)^1/2)."""
    cx, cy = np.atleast_2d(np.cov(x, rowvar=False)), np.atleast_2d(np.cov(y, rowvar=False))
    values, vectors = np.linalg.eigh(cx)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    cross = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ cy @ root), 0)).sum()
    return float(((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(cx) + np.trace(cy) - 2 * cross)


def _mmd(rows_x: NDArray, rows_y: NDArray, x: NDArray, y: NDArray) -> float:
    x, y = x[rows_x], y[rows_y]
    m, n, k = len(x), len(y), x.shape[1]
    xx, yy, xy = ((a @ b.T / k + 1) ** 4 for a, b in ((x, x), (y, y), (x, y)))
    own = (xx.sum() - np.trace(xx)) / (m * (m - 1)) + (yy.sum() - np.trace(yy)) / (n * (n - 1))
    return float(own - 2 * xy.mean())


def _normalised(x: NDArray, y: NDArray) -> tuple[NDArray, NDArray]:
    largest = np.abs(x).max(0)
    largest = np.where(largest > 0, largest, 1.0)
    return x / largest, y / largest


def _trimmed(x: NDArray, y: NDArray) -> tuple[NDArray, NDArray]:
    """Clip both to the central 99 % of the reference in each feature."""
    low, high = np.percentile(x, [0.5, 99.5], axis=0)
    return np.clip(x, low, high), np.clip(y, low, high)
