"""Precision, recall, density and coverage: do samples fill the same region of features, by nearest neighbours?

Precision and recall after Kynkäänniemi et al. (arXiv:1904.06991), density and coverage after Naeem et al.
(arXiv:2002.09797). Around each unit of a sample lies the ball that reaches to its k-th nearest neighbour there.
"""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gen2reco.statistics.binomial import rate
from gen2reco.statistics.bootstrap import grouped_variance, whole_events, whole_halves
from gen2reco.statistics.measured import NOT_MEASURED, Measured

FEWEST = 100
"""Units of each sample below which nothing is measured."""
NEIGHBOURS = 5
_BLOCK = 1000  # rows whose distances to all others are held at once


class Overlap(NamedTuple):
    """How a candidate and the reference fill each other's region of features: means, or the part of each unit.

    Of equal samples density is 1 on average and coverage 1 - 2^-k; what precision and recall are, the floor tells.
    """

    precision: NDArray
    """Share of the candidate in any ball of the reference: (m,) of the candidate."""
    recall: NDArray
    """Share of the reference in any ball of the candidate: (n,) of the reference."""
    density: NDArray
    """Balls of the reference that a unit of the candidate is in, over k: (m,) of the candidate."""
    coverage: NDArray
    """Share of the balls of the reference in which there is any unit of the candidate: (n,) of the reference."""


def overlap(reference: NDArray, candidate: NDArray, neighbours: int = NEIGHBOURS) -> Overlap:
    """Parts of the units in the overlap of the candidate (m, features) with the reference (n, features).

    Features are taken as they are: give all of them one scale. Neither sample may have fewer than `neighbours` + 1.
    """
    ball, own = (_radii(x, neighbours) for x in (reference, candidate))
    inside = np.zeros(len(candidate), np.int64)
    known, covered = np.zeros(len(reference), bool), np.zeros(len(reference), bool)
    for start in range(0, len(reference), _BLOCK):
        rows = slice(start, start + _BLOCK)
        apart = _distances(reference[rows], candidate)
        within = apart <= ball[rows, None]
        inside += within.sum(0)
        covered[rows] = within.any(1)
        known[rows] = (apart <= own).any(1)
    return Overlap(inside > 0, known, inside / neighbours, covered)


def overlap_measured(
    reference: NDArray,
    candidate: NDArray,
    events: tuple[NDArray, NDArray] | None = None,
    *,
    seed: int,
    most: int = 5000,
    neighbours: int = NEIGHBOURS,
) -> tuple[dict[str, Measured], int]:
    """The four numbers by name, features in standard deviations of the reference, each with its uncertainty and its
    floor between halves of the reference.

    All of it is of the same number of units, which is returned: at most `most` and half of the reference. `events` are
    those of the units: none is in both halves, and uncertainties are by event. They are those of the units between the
    balls as they are. NaN when too few.
    """
    own, other = (np.arange(len(x)) for x in (reference, candidate)) if events is None else events
    n = min(most, len(reference) // 2, len(candidate))
    order = np.random.default_rng(seed).permutation(np.union1d(own, other))
    first, second = whole_halves(own, order, n)
    third = whole_events(other, order, n)
    n = min(len(first), len(second), len(third))
    if n < FEWEST:
        return dict.fromkeys(Overlap._fields, NOT_MEASURED), n
    scale = np.where(reference.std(0) > 0, reference.std(0), 1.0)
    x, null = (reference[rows[:n]] / scale for rows in (first, second))
    found = _shares(overlap(x, candidate[third[:n]] / scale, neighbours), own[first[:n]], other[third[:n]])
    floors = _shares(overlap(x, null, neighbours), own[first[:n]], own[second[:n]])
    return {name: Measured(*found[name][:2], *floors[name][:2]) for name in found}, n


def _shares(parts: Overlap, reference: NDArray, candidate: NDArray) -> dict[str, Measured]:
    """Means of the parts with uncertainties by the events of the two samples."""
    weight, mean = np.ones(len(reference)), float(parts.density.mean())
    error = np.sqrt(grouped_variance((parts.density - mean) / len(candidate), [candidate]))
    return {
        "precision": rate(parts.precision, weight, [candidate]),
        "recall": rate(parts.recall, weight, [reference]),
        "density": Measured(mean, float(error)),
        "coverage": rate(parts.coverage, weight, [reference]),
    }


def _radii(x: NDArray, neighbours: int) -> NDArray[np.float64]:
    """Squared distance of each row of (n, k) to its so-many-th nearest other row, (n,)."""
    found = []
    for start in range(0, len(x), _BLOCK):
        apart = _distances(x[start : start + _BLOCK], x)
        found.append(np.partition(apart, neighbours, axis=1)[:, neighbours])  # the nearest is the row itself
    return np.concatenate(found)


def _distances(a: NDArray, b: NDArray) -> NDArray[np.float64]:
    """Squared distances of all rows of a (n, k) to those of b (m, k): (n, m)."""
    a, b = a.astype(np.float64), b.astype(np.float64)
    return np.maximum((a**2).sum(1)[:, None] + (b**2).sum(1) - 2 * a @ b.T, 0.0)
