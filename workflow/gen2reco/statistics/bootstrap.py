"""Weighted units of events, how many equal ones they are worth, and bootstrap samples of them."""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Units(NamedTuple):
    """A sample of values: weights (n,), and the event of each (n,), so that events are resampled, not values."""

    values: NDArray
    weight: NDArray
    event: NDArray

    @property
    def n_events(self) -> int:
        """Number of different events."""
        return len(np.unique(self.event))


def effective_number(weight: NDArray) -> float:
    """Number of equal weights with the same relative uncertainty of their sum: (sum w)^2 / sum w^2 of (n,).

    Negative weights count with their sign; 0 where the sum is not positive.
    """
    return max(float(weight.sum()), 0.0) ** 2 / max(float((weight**2).sum()), 1e-300)


def bootstrap_error(
    columns: tuple[NDArray, ...], statistic: Callable[..., float], resamples: int, rng: np.random.Generator
) -> float:
    """Standard deviation of `statistic(*columns)` over samples of as many rows, drawn with replacement.

    Samples in which the statistic is not defined (NaN) are left out.
    """
    n = len(columns[0])
    rows = (rng.integers(n, size=n) for _ in range(resamples))
    return float(np.nanstd([statistic(*(column[drawn] for column in columns)) for drawn in rows]))


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


def batches(resamples: int, size: int, budget: int = 8_000_000) -> list[int]:
    """Split resamples so that no (batch, size) array exceeds the budget."""
    step = max(1, min(resamples, budget // max(size, 1)))
    return [min(step, resamples - done) for done in range(0, resamples, step)]


def _counts(held: int, drawn: int, resamples: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """How often each of `held` events is among `drawn` ones: (resamples, held)."""
    return rng.multinomial(drawn, np.full(held, 1 / held), size=resamples)


def _weighted(counts: NDArray, of_event: NDArray, weight: NDArray) -> NDArray[np.float64]:
    weights = counts[:, of_event] * weight
    return weights / np.maximum(weights.sum(1, keepdims=True), 1e-300)
