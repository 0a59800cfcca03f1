"""How good identities are: confusion, calibration of the probabilities, areas under the ROC curves."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gen2reco.statistics.binomial import BinnedRate, binned_rate
from gen2reco.statistics.bootstrap import counts, shared
from gen2reco.statistics.measured import NOT_MEASURED, Measured
from gen2reco.statistics.roc import auc_error, roc_auc

FEWEST = 20
"""Units of a kind, and of the others, below which no ROC curve is drawn of it."""
BINS = 15
"""Bins of the calibration error."""


class Answers(NamedTuple):
    """Probabilities (n, kinds), true kind (n,) and weight (n,) of identified units, and their groups (bootstrap.py)."""

    probability: NDArray
    truth: NDArray
    weight: NDArray
    groups: tuple[NDArray, ...] = ()

    @property
    def confidence(self) -> NDArray:
        """The largest probability of each, (n,)."""
        return self.probability.max(axis=1)

    @property
    def right(self) -> NDArray[np.bool_]:
        """Whether the most probable kind is the true one, (n,)."""
        return self.probability.argmax(axis=1) == self.truth


def confusion(truth: NDArray, guessed: NDArray, weight: NDArray, kinds: int) -> NDArray:
    """Share of each true kind (rows) by the identity found (columns: the kinds, then none): (kinds, kinds + 1).

    NaN in the rows of kinds that do not occur; guessed: -1 of units without an identity.
    """
    column = np.where(guessed < 0, kinds, guessed).astype(int)
    table = np.bincount(truth.astype(int) * (kinds + 1) + column, weight, kinds * (kinds + 1))
    table = table.reshape(kinds, kinds + 1)
    total = table.sum(axis=1, keepdims=True)
    return table / np.where(total > 0, total, np.nan)


def expected_calibration_error(
    confidence: NDArray, right: NDArray, weight: NDArray | None = None, bins: int = BINS
) -> float:
    """Mean |frequency of right identities - confidence| over equally filled bins of the confidence (arXiv:1706.04599).

    confidence, weight: (n,), right: (n,) bool; weights must not be negative.
    """
    weight = np.ones(len(right)) if weight is None else weight
    return _error(confidence, right, weight, equal_bins(confidence, weight, bins))


def equal_bins(values: NDArray, weight: NDArray, bins: int) -> NDArray[np.int64]:
    """Bin of each value (n,), bins being filled with equal weight; equal values share one."""
    levels, level = np.unique(values, return_inverse=True)
    filled = np.bincount(level, weight, len(levels))
    below, total = np.cumsum(filled) - filled, max(float(filled.sum()), 1e-300)
    return np.minimum(bins * below / total * (1 + 1e-12), bins - 1).astype(np.int64)[level]


def calibration_error(answers: Answers, resamples: int, rng: np.random.Generator) -> Measured:
    """Expected calibration error of the most probable kind, with its bootstrap uncertainty.

    Its floor is what perfect probabilities give; where units share groups, what their scatter about the frequencies
    found gives. NaN of fewer than `FEWEST` answers.
    """
    confidence, right, weight = answers.confidence, answers.right, np.maximum(answers.weight, 0.0)
    n = len(right)
    if n < FEWEST:
        return NOT_MEASURED
    bins = equal_bins(confidence, weight, min(BINS, n // FEWEST))
    drawn = counts(n, resamples, rng, answers.groups) * weight
    errors = [_error(confidence, right, w, bins) for w in drawn]
    if shared(answers.groups):
        floors = _scatter(confidence - right, weight, drawn, bins)
    else:
        floors = [_error(confidence, rng.random(n) < confidence, weight, bins) for _ in range(resamples)]
    value = _error(confidence, right, weight, bins)
    return Measured(value, float(np.std(errors)), float(np.mean(floors)), float(np.std(floors)))


def reliability(answers: Answers, edges: NDArray) -> BinnedRate:
    """Frequency of right identities in bins of their confidence."""
    return binned_rate(answers.right, answers.weight, answers.confidence, edges, answers.groups)


def roc_area(answers: Answers, kind: int) -> Measured:
    """Area under the ROC curve of one kind against all others by its probability; NaN of too few."""
    own, weight = answers.truth == kind, np.maximum(answers.weight, 0.0)
    if min(own.sum(), (~own).sum()) < FEWEST:
        return NOT_MEASURED
    area = roc_auc(answers.probability[:, kind], own, weight)
    return Measured(area, auc_error(area, answers.probability[:, kind], own, weight, answers.groups))


def _error(confidence: NDArray, right: NDArray, weight: NDArray, bins: NDArray) -> float:
    off = np.bincount(bins, weight * (confidence - right))
    return float(np.abs(off).sum() / max(weight.sum(), 1e-300))


def _scatter(off: NDArray, weight: NDArray, drawn: NDArray, bins: NDArray) -> list[float]:
    """Calibration errors of bootstrap weights (resamples, n), had each bin no mean offset."""
    mean = np.bincount(bins, weight * off) / np.maximum(np.bincount(bins, weight), 1e-300)
    return [_error(off - mean[bins], np.zeros(len(off)), w, bins) for w in drawn]
