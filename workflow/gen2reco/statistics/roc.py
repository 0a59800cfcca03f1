"""Area under the ROC curve of weighted scores, and its uncertainty."""

import numpy as np
from numpy.typing import NDArray


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


def hanley_mcneil(auc: float, n_negative: float, n_positive: float) -> float:
    """Standard deviation of an AUC of so many negatives and positives (Hanley & McNeil, Radiology 143 (1982) 29).

    An AUC of 1 counts as half a unit short of it.
    """
    fewest = max(min(n_negative, n_positive), 1.0)
    auc = (auc * fewest + 0.5) / (fewest + 1)
    q1, q2 = auc / (2 - auc), 2 * auc**2 / (1 + auc)  # two positives above one negative; one positive above two
    variance = auc * (1 - auc) + (n_positive - 1) * (q1 - auc**2) + (n_negative - 1) * (q2 - auc**2)
    return float(np.sqrt(max(variance, 0.0) / (n_negative * n_positive)))
