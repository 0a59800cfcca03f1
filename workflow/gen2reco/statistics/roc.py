"""Area under the ROC curve of weighted scores, and its uncertainty."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import NDArray

from gen2reco.statistics.bootstrap import effective_number, grouped_variance, shared


def roc_auc(score: NDArray, positive: NDArray, weight: NDArray | None = None) -> float:
    """Area under the ROC curve: the chance that a positive scores above a negative, ties counted half.

    score, weight: (n,), positive: (n,) bool; weights must not be negative. NaN where either class has no weight.
    """
    weight = np.ones(len(score)) if weight is None else weight
    levels, level = np.unique(score, return_inverse=True)
    own = np.bincount(level, weight * positive, len(levels))
    other = np.bincount(level, weight * ~positive.astype(bool), len(levels))
    total = own.sum() * other.sum()
    return float(own @ (np.cumsum(other) - other / 2) / total) if total > 0 else float("nan")


def auc_error(auc: float, score: NDArray, positive: NDArray, weight: NDArray, groups: Sequence[NDArray] = ()) -> float:
    """Standard deviation of the AUC of scores (n,) of which units share groups (bootstrap.py), else Hanley & McNeil's.

    The part of each unit in the AUC is summed over its group (Obuchowski, Biometrics 53 (1997) 567). A perfect AUC has
    no such parts; the error is then that of as many units as there are groups.
    """
    positive = positive.astype(bool)
    if not (found := shared(groups)):
        return hanley_mcneil(auc, effective_number(weight[~positive]), effective_number(weight[positive]))
    if 0 < auc < 1:
        return float(np.sqrt(grouped_variance(auc_parts(score, positive, weight), groups)))
    return max(
        hanley_mcneil(auc, *(effective_number(np.bincount(g[one], weight[one])) for one in (~positive, positive)))
        for g in found
    )


def auc_parts(score: NDArray, positive: NDArray, weight: NDArray) -> NDArray[np.float64]:
    """By how much each unit moves the AUC of scores (n,): their squares add up to its variance (DeLong et al.,
    Biometrics 44 (1988) 837)."""
    levels, level = np.unique(score, return_inverse=True)
    own, other = (np.bincount(level, weight * one, len(levels)) for one in (positive, ~positive))
    below, above = (np.cumsum(h) - h / 2 for h in (other, own))
    n, m = (max(float(h.sum()), 1e-300) for h in (own, other))
    below, above = below / m, 1 - above / n
    auc = own @ below / n
    return weight * np.where(positive, (below[level] - auc) / n, (above[level] - auc) / m)


def hanley_mcneil(auc: float, n_negative: float, n_positive: float) -> float:
    """Standard deviation of an AUC of so many negatives and positives (Hanley & McNeil, Radiology 143 (1982) 29).

    An AUC of 1 counts as half a unit short of it.
    """
    fewest = max(min(n_negative, n_positive), 1.0)
    auc = (auc * fewest + 0.5) / (fewest + 1)
    q1, q2 = auc / (2 - auc), 2 * auc**2 / (1 + auc)  # two positives above one negative; one positive above two
    variance = auc * (1 - auc) + (n_positive - 1) * (q1 - auc**2) + (n_negative - 1) * (q2 - auc**2)
    return float(np.sqrt(max(variance, 0.0) / (n_negative * n_positive)))
