"""Fréchet and kernel physics distances, as defined in arXiv:2211.10295 and used by jetnet."""

from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from gen2reco.statistics.bootstrap import shared, whole_events, whole_halves
from gen2reco.statistics.measured import Measured

Events = tuple[NDArray, NDArray]
"""The event of each unit of the reference and of the candidate, (n,) each."""
FEWEST = 100
"""Units of each sample below which no distance is given."""


def frechet_physics_distance(
    reference: NDArray,
    candidate: NDArray,
    events: Events | None = None,
    *,
    seed: int,
    most: int = 50_000,
    points: int = 10,
    batches: int = 10,
) -> Measured:
    """FPD of features (n, k): Fréchet distance between Gaussian fits, extrapolated to infinite samples.

    The distance is measured for sample sizes equidistant in 1/N from 0.4 of the smaller sample (at most `most`) to all
    of it; the value is the intercept of a line in 1/N. Samples beyond the 1 % tails of the reference are trimmed.
    Where units share `events`, whole events are drawn.
    """
    if min(len(reference), len(candidate)) < FEWEST:
        return Measured(float("nan"), float("nan"))
    x, y = _normalised(*_trimmed(reference, candidate))
    largest = min(most, len(x), len(y))
    sizes = (1 / np.linspace(1 / (0.4 * largest), 1 / largest, points)).astype(int)
    own, other = (None, None) if events is None else events
    rng = np.random.default_rng(seed)
    values = np.array(
        [
            [_frechet(x[_rows(len(x), own, n, rng)], y[_rows(len(y), other, n, rng)]) for _ in range(batches)]
            for n in sizes
        ]
    )
    error = np.maximum(values.std(1) / np.sqrt(batches), 1e-12)
    (_, intercept), covariance = np.polyfit(1 / sizes, values.mean(1), 1, w=1 / error, cov="unscaled")
    return Measured(max(float(intercept), 0.0), float(np.sqrt(covariance[1, 1])))


def kernel_physics_distance(
    reference: NDArray,
    candidate: NDArray,
    events: Events | None = None,
    *,
    seed: int,
    batches: int = 10,
    batch_size: int = 1000,
) -> Measured:
    """KPD of features (n, k): unbiased squared MMD with the kernel (x·y/k + 1)^4, median and half the 68 % interval
    over batches. Where units share `events`, pairs of one event are left out, which are alike for no other reason."""
    if min(len(reference), len(candidate)) < FEWEST:
        return Measured(float("nan"), float("nan"))
    x, y = _normalised(reference, candidate)
    size = min(batch_size, len(x), len(y))
    rng = np.random.default_rng(seed)
    numbered = np.unique(np.concatenate(events), return_inverse=True)[1] if events else None
    drawn = []
    for _ in range(batches):
        at_x, at_y = rng.permutation(len(x))[:size], rng.permutation(len(y))[:size]
        own = None if numbered is None else (numbered[at_x], numbered[len(x) + at_y])
        drawn.append(_mmd(x[at_x], y[at_y], own))
    low, middle, high = np.percentile(drawn, [16.275, 50, 83.725])
    return Measured(float(middle), float((high - low) / 2))


def with_floor(
    distance: Callable[..., Measured], reference: NDArray, candidate: NDArray, seed: int, events: Events | None = None
) -> tuple[Measured, int]:
    """A distance with its floor between halves of the reference; all parts are cut to the same size, also returned.

    Where units share `events`, the halves are of different events.
    """
    n = min(len(reference) // 2, len(candidate))
    if events is not None and any(shared([one]) for one in events):
        return _with_floor_by_events(distance, reference, candidate, seed, events, n)
    order = np.random.default_rng(seed).permutation(len(reference))[: 2 * n]
    a, b = reference[order[:n]], reference[order[n:]]
    value, floor = distance(a, candidate[:n], seed=seed), distance(a, b, seed=seed)
    return Measured(value.value, value.uncertainty, floor.value, floor.uncertainty), n


def _with_floor_by_events(
    distance: Callable[..., Measured], reference: NDArray, candidate: NDArray, seed: int, events: Events, n: int
) -> tuple[Measured, int]:
    own, other = events
    rng = np.random.default_rng(seed)
    halves = whole_halves(own, rng.permutation(np.unique(own)), n)
    third = whole_events(other, rng.permutation(np.unique(other)), n)
    n = min(len(third), *map(len, halves))
    first, second, third = (part[:n] for part in (*halves, third))
    value = distance(reference[first], candidate[third], (own[first], other[third]), seed=seed)
    floor = distance(reference[first], reference[second], (own[first], own[second]), seed=seed)
    return Measured(value.value, value.uncertainty, floor.value, floor.uncertainty), n


def _rows(held: int, event: NDArray | None, n: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """About n of so many rows, drawn with replacement: row by row, or by events where they share them."""
    if event is None or not (found := shared([event])):
        return rng.integers(0, held, n)
    events = found[0].max() + 1
    drawn = rng.multinomial(max(round(n * events / held), 2), np.full(events, 1 / events))
    return np.repeat(np.arange(held), drawn[found[0]])


def _frechet(x: NDArray, y: NDArray) -> float:
    """|mu_x - mu_y|^2 + tr(C_x + C_y - 2 (C_x C_y)^1/2)."""
    cx, cy = np.atleast_2d(np.cov(x, rowvar=False)), np.atleast_2d(np.cov(y, rowvar=False))
    values, vectors = np.linalg.eigh(cx)
    root = (vectors * np.sqrt(np.maximum(values, 0))) @ vectors.T
    cross = np.sqrt(np.maximum(np.linalg.eigvalsh(root @ cy @ root), 0)).sum()
    return float(((x.mean(0) - y.mean(0)) ** 2).sum() + np.trace(cx) + np.trace(cy) - 2 * cross)


def _mmd(x: NDArray, y: NDArray, events: Events | None = None) -> float:
    m, n, k = len(x), len(y), x.shape[1]
    xx, yy, xy = ((a @ b.T / k + 1) ** 4 for a, b in ((x, x), (y, y), (x, y)))
    if events is not None:
        apart = (a[:, None] != b for a, b in (events[:1] * 2, events[1:] * 2, events))
        return float(np.dot([1, 1, -2], [kernel.mean(where=other) for kernel, other in zip((xx, yy, xy), apart)]))
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
