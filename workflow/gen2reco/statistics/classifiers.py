"""Classifier two-sample test: can a boosted-tree classifier tell the candidate from the reference?"""

import numpy as np
from numpy.typing import NDArray

from gen2reco.statistics.bootstrap import effective_number, grouped_variance, shared, whole_events, whole_halves
from gen2reco.statistics.measured import Measured
from gen2reco.statistics.roc import auc_parts, hanley_mcneil, roc_auc

FOLDS = 5
FEWEST = 40
"""Units of each class below which no classifier is trained."""
_UNKNOWN = Measured(*[float("nan")] * 4)


def two_sample_auc(
    reference: NDArray,
    candidate: NDArray,
    events_reference: NDArray,
    events_candidate: NDArray,
    weight_reference: NDArray | None = None,
    weight_candidate: NDArray | None = None,
    *,
    most: int,
    seed: int,
    floors: dict[int, float] | None = None,
) -> tuple[Measured, int]:
    """AUC of the test of arXiv:1610.06545 with HistGradientBoosting, 5-fold, every unit scored by a fold not its own.

    Features are (n, k), events and weights (n,), negative weights counting as none. Units of equal event number share a
    fold, so equal-energy pairs and draws of one event are not split.
    The floor is the same test between halves of the reference, of different events; `floors` keeps it by the number of
    units for the next candidate. Both are of the same number of units of each class, at most `most` and half of the
    reference, less those of an event that would be cut; the number is returned, for the AUC grows with it. NaN when too
    few.
    """
    w_a, w_b = (np.ones(len(x)) if w is None else np.maximum(w, 0.0) for x, w in
                ((reference, weight_reference), (candidate, weight_candidate)))  # fmt: skip
    n = int(min(most, len(reference) // 2, len(candidate)))
    if n < FEWEST:
        return _UNKNOWN, n
    rows = _fitting(events_reference, n, seed)
    reference, events_reference, w_a = reference[rows], events_reference[rows], w_a[rows]
    rows = _fitting(events_candidate, n, seed)
    candidate, events_candidate, w_b = candidate[rows], events_candidate[rows], w_b[rows]
    order = np.random.default_rng(seed).permutation(np.union1d(events_reference, events_candidate))
    first = whole_events(events_reference, order, n)
    second = whole_events(events_candidate, order, n)
    if min(len(first), len(second)) < FEWEST:
        return _UNKNOWN, min(len(first), len(second))
    value, uncertainty = _auc(
        (reference[first], events_reference[first], w_a[first]),
        (candidate[second], events_candidate[second], w_b[second]),
        seed,
    )
    floors = {} if floors is None else floors
    if n not in floors:
        floors[n] = _floor(reference, events_reference, w_a, n, seed)
    return Measured(value, uncertainty, floors[n], uncertainty), min(len(first), len(second))


def _fitting(events: NDArray, n: int, seed: int) -> NDArray[np.int64]:
    """All units, or so many by chance that n hold units of several events, where events have very many."""
    number = len(np.unique(events))
    wanted = min(FOLDS, max(number // 2, 1)) * len(events) / number
    if wanted <= n:
        return np.arange(len(events))
    return np.flatnonzero(np.random.default_rng([seed, 2]).random(len(events)) < n / wanted)


def _floor(x: NDArray, events: NDArray, weight: NDArray, n: int, seed: int) -> float:
    """AUC of n units against n others of the same sample, of other events."""
    halves = whole_halves(events, np.random.default_rng([seed, 1]).permutation(np.unique(events)), n)
    if min(map(len, halves)) < FEWEST:
        return float("nan")
    first, second = ((x[half], events[half], weight[half]) for half in halves)
    return _auc(first, second, seed)[0]


def _auc(first: tuple, second: tuple, seed: int) -> tuple[float, float]:
    """Out-of-fold AUC of two classes, each (features, events, weights), and its uncertainty.

    The uncertainty is Hanley and McNeil's of the effective numbers, or that by events, if larger, where units of a
    class share them. The AUC is the mean over folds: scores of different folds are not on one scale, and pooled they
    would pull the AUC below 0.5.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier

    (a, events_a, w_a), (b, events_b, w_b) = first, second
    x = np.concatenate([a, b]).astype(np.float32)
    y = np.concatenate([np.zeros(len(a)), np.ones(len(b))])
    w = np.concatenate([w / max(w.mean(), 1e-300) for w in (w_a, w_b)])
    equal = np.ptp(w) == 0  # the same result sooner: sklearn bins weighted samples by a loop in Python
    events = np.concatenate([events_a, events_b])
    fold = _fold(events, seed)
    found, pairs, parts = [], [], np.zeros(len(x))
    for i in range(FOLDS):
        train, test = fold != i, fold == i
        if len(np.unique(y[train])) < 2 or len(np.unique(y[test])) < 2:
            continue
        model = HistGradientBoostingClassifier(
            max_iter=80, learning_rate=0.1, max_leaf_nodes=15, l2_regularization=1.0, early_stopping=False,
            random_state=seed,
        )  # fmt: skip
        score = model.fit(x[train], y[train], None if equal else w[train]).predict_proba(x[test])[:, 1]
        found.append(roc_auc(score, y[test] == 1, w[test]))
        pairs.append(y[test].sum() * (1 - y[test]).sum())
        parts[test] = pairs[-1] * auc_parts(score, y[test] == 1, w[test])
    auc = float(np.average(found, weights=pairs)) if found else float("nan")
    if shared([events_a]) or shared([events_b]):
        if 0 < auc < 1:
            alone = hanley_mcneil(auc, effective_number(w_a), effective_number(w_b))
            return auc, max(alone, float(np.sqrt(grouped_variance(parts / sum(pairs), [events]))))
        w_a, w_b = (np.bincount(np.unique(e, return_inverse=True)[1], w) for _, e, w in (first, second))
    return auc, hanley_mcneil(auc, effective_number(w_a), effective_number(w_b))


def _fold(events: NDArray, seed: int) -> NDArray[np.int64]:
    """Fold of each unit: events are dealt out evenly at random."""
    unique, of_event = np.unique(events, return_inverse=True)
    return (np.random.default_rng(seed).permutation(len(unique)) % FOLDS)[of_event]
