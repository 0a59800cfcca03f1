"""Weighted units of events, how many equal ones they are worth, and bootstrap samples of them.

Units that share an event are not independent, nor are the draws of one event (oversampling), nor events whose pile-up
comes from the same part of a library, in which the former are nested. Functions take such groupings as `groups`: none,
one or two arrays (n,). One is resampled group by group; of two that cross, both are, and a unit's weight is the product
(the pigeonhole bootstrap: Owen, Ann. Appl. Stat. 1 (2007) 386), which never underestimates for large samples.
"""

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray


class Units(NamedTuple):
    """A sample of values: weights (n,), and the event of each (n,), so that events are resampled, not values.

    `event` numbers original events: all `draws` of one are resampled together. `library`: the part of the library that
    the pile-up of each comes from (n,); all events of one are resampled together.
    """

    values: NDArray
    weight: NDArray
    event: NDArray
    library: NDArray | None = None
    draws: float = 1.0
    """Events simulated of each original one."""

    @property
    def n_events(self) -> int:
        """Number of different events."""
        return len(np.unique(self.event))

    @property
    def groups(self) -> tuple[NDArray, ...]:
        """The grouping of the units."""
        return (self.group,)

    @property
    def group(self) -> NDArray:
        """What is resampled together: (n,)."""
        return self.event if self.library is None else self.library


def effective_number(weight: NDArray) -> float:
    """Number of equal weights with the same relative uncertainty of their sum: (sum w)^2 / sum w^2 of (n,).

    Negative weights count with their sign; 0 where the sum is not positive.
    """
    return max(float(weight.sum()), 0.0) ** 2 / max(float((weight**2).sum()), 1e-300)


def shared(groups: Sequence[NDArray]) -> list[NDArray[np.int64]]:
    """The groupings in which units share a group, groups numbered from 0; a grouping of single units changes no
    variance, next to another one neither."""
    numbered = [np.unique(group, return_inverse=True)[1] for group in groups]
    return [group for group in numbered if len(group) and group.max() + 1 < len(group)]


def grouped_variance(parts: NDArray, groups: Sequence[NDArray] = ()) -> float:
    """Variance of the sum of parts (n,) of mean 0: the sum of squares of what each group adds up to.

    Of two groupings A and B it is V(A) + V(B) - V(A and B) (Cameron, Gelbach & Miller, J. Bus. Econ. Stat. 29 (2011)
    238), at least the larger of the first two.
    """
    found = shared(groups)
    if not found:
        return float((parts**2).sum())
    each = [_squares(parts, group) for group in found]
    if len(found) == 1:
        return each[0]
    both = found[0] * (found[1].max() + 1) + found[1]
    return max(*each, sum(each) - _squares(parts, np.unique(both, return_inverse=True)[1]))


def _squares(parts: NDArray, group: NDArray) -> float:
    total = np.bincount(group, parts)
    return float((total**2).sum() * len(total) / max(len(total) - 1, 1))


def design_effect(parts: NDArray, groups: Sequence[NDArray] = (), weight: NDArray | None = None) -> float:
    """By how much groupings increase the variance of the sum of parts (n,) of mean 0, at least 1.

    Where all parts are 0, the groups of these weights (n,) count as single units.
    """
    found = shared(groups)
    alone = float((parts**2).sum())
    if not found:
        return 1.0
    if alone > 0:
        return max(grouped_variance(parts, groups) / alone, 1.0)
    weight = np.ones(len(parts)) if weight is None else weight
    fewest = min(effective_number(np.bincount(group, weight)) for group in found)
    return max(effective_number(weight) / max(fewest, 1.0), 1.0)


def bootstrap_error(
    columns: tuple[NDArray, ...],
    statistic: Callable[..., float],
    resamples: int,
    rng: np.random.Generator,
    groups: Sequence[NDArray] = (),
) -> float:
    """Standard deviation of `statistic(*columns)` over samples of as many rows, or groups, drawn with replacement.

    Samples in which the statistic is not defined (NaN) are left out.
    """
    n = len(columns[0])
    if found := shared(groups):
        rows = (np.repeat(np.arange(n), times) for times in counts(n, resamples, rng, found))
    else:
        rows = (rng.integers(n, size=n) for _ in range(resamples))
    return float(np.nanstd([statistic(*(column[drawn] for column in columns)) for drawn in rows]))


def counts(n: int, resamples: int, rng: np.random.Generator, groups: Sequence[NDArray] = ()) -> NDArray[np.int64]:
    """How often each of n units is in each bootstrap sample of as many units, or groups: (resamples, n)."""
    found = shared(groups)
    if not found:
        return _counts(n, n, resamples, rng)
    times = np.ones((resamples, n), np.int64)
    for group in found:
        times *= _counts(group.max() + 1, group.max() + 1, resamples, rng)[:, group]
    return times


def resampled_weights(units: Units, events: int, resamples: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Weights of bootstrap samples of `events` events each, normalised to one: (resamples, n)."""
    return _weighted(_times(units, events, resamples, rng), units.weight)


def floor_weights(a: Units, b: Units, resamples: int, rng: np.random.Generator) -> NDArray[np.float64]:
    """Bootstrap weights of samples of the reference a of the size of b: as many events, of no more draws each."""
    times = _times(a, b.n_events, resamples, rng)
    return _weighted(rng.binomial(times, b.draws / a.draws) if a.draws > b.draws else times, a.weight)


def resampled_pair(
    a: Units, b: Units, resamples: int, rng: np.random.Generator
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Bootstrap weights of two samples, as `resampled_weights`; where they hold the same events, the same are drawn.

    So what two simulations of the same particles have in common cancels in their difference.
    """
    (groups_a, of_a), (groups_b, of_b) = (np.unique(u.group, return_inverse=True) for u in (a, b))
    counts_a = counts_b = _counts(len(groups_a), len(groups_a), resamples, rng)
    if not np.array_equal(groups_a, groups_b):
        counts_b = _counts(len(groups_b), len(groups_b), resamples, rng)
    return _weighted(counts_a[:, of_a], a.weight), _weighted(counts_b[:, of_b], b.weight)


def batches(resamples: int, size: int, budget: int = 8_000_000) -> list[int]:
    """Split resamples so that no (batch, size) array exceeds the budget."""
    step = max(1, min(resamples, budget // max(size, 1)))
    return [min(step, resamples - done) for done in range(0, resamples, step)]


def whole_events(events: NDArray, order: NDArray, n: int) -> NDArray[np.int64]:
    """The units of the events that come first in `order`, (k,) sorted so: n of them, or fewer, no event cut."""
    sorter = np.argsort(order)
    rank = sorter[np.searchsorted(order, events, sorter=sorter)]
    first = np.argsort(rank, kind="stable")[: n + 1]
    if len(first) <= n:
        return first
    return first[:n][rank[first[:n]] < rank[first[n]]]


def whole_halves(events: NDArray, order: NDArray, n: int) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """About n units of the events that come first in `order`, and about n of those that follow: no event in both."""
    first = whole_events(events, order, n)
    others = np.flatnonzero(~np.isin(events, events[first]))
    return first, others[whole_events(events[others], order, n)]


def _counts(held: int, drawn: int, resamples: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """How often each of `held` groups is among `drawn` ones: (resamples, held)."""
    return rng.multinomial(drawn, np.full(held, 1 / held), size=resamples)


def _times(units: Units, events: int, resamples: int, rng: np.random.Generator) -> NDArray[np.int64]:
    """How often each unit is in bootstrap samples of so many events, in whole groups: (resamples, n)."""
    groups, of = np.unique(units.group, return_inverse=True)
    drawn = max(1, round(len(groups) * events / units.n_events))
    return _counts(len(groups), drawn, resamples, rng)[:, of]


def _weighted(times: NDArray, weight: NDArray) -> NDArray[np.float64]:
    weights = times * weight
    return weights / np.maximum(weights.sum(1, keepdims=True), 1e-300)
