"""Event weights in every metric: integer weights are repeated rows, rows of weight zero are no rows, scale is nothing.

One property over all functions of `statistics/` that take weights. A metric is a function of (rng, a sample and
another); each returns the numbers that must not change.
"""

from typing import NamedTuple

import numpy as np
import pytest

from gen2reco.statistics import binomial, distances, identities, profiles, response
from gen2reco.statistics.classifiers import two_sample_auc
from gen2reco.statistics.distances import Units

EDGES = np.linspace(0.0, 3.0, 7)
PLACES = np.arange(4.0)


class Rows(NamedTuple):
    """A weighted sample: values (n,) about 1, blocks (n, 4), probabilities (n, 3), truth (n,), weight (n,), event."""

    values: np.ndarray
    block: np.ndarray
    probability: np.ndarray
    truth: np.ndarray
    weight: np.ndarray
    event: np.ndarray

    @property
    def units(self) -> Units:
        return Units(self.values, self.weight, self.event)

    @property
    def answers(self) -> identities.Answers:
        return identities.Answers(self.probability, self.truth, self.weight)

    def take(self, rows, weight=None) -> "Rows":
        taken = Rows(*(column[rows] for column in self))
        return taken if weight is None else taken._replace(weight=weight)


def rows(n: int, seed: int, weight) -> Rows:
    rng = np.random.default_rng(seed)
    probability = rng.dirichlet([1.0, 1.0, 1.0], n)
    truth = (probability.cumsum(axis=1) < rng.random((n, 1))).sum(axis=1)
    values, block = rng.gamma(9.0, 1 / 9.0, n), rng.gamma(2.0, 1.0, (n, 4)) * [8.0, 4.0, 2.0, 1.0]
    return Rows(values, block, probability, truth, weight(rng, n).astype(float), np.arange(n) + 1000 * seed)


def confusion(a: Rows) -> np.ndarray:
    guessed = np.where(a.probability.max(axis=1) < 0.5, -1, a.probability.argmax(axis=1))
    return identities.confusion(a.truth, guessed, a.weight, 3)


VALUES = {
    "wasserstein": lambda r, a, b: distances.wasserstein(a.units, b.units),
    "wasserstein in sigmas": lambda r, a, b: distances.wasserstein_measured(a.units, b.units, 2, r).value,
    "separation": lambda r, a, b: distances.separation_measured(a.units, b.units, EDGES, 2, r).value,
    "shift of the mean": lambda r, a, b: distances.shift_measured(a.units, b.units, "mean", 2, r).value,
    "shift of the width": lambda r, a, b: distances.shift_measured(a.units, b.units, "width", 2, r).value,
    "spread": lambda r, a, b: distances.spread(a.values, a.weight),
    "response": lambda r, a, b: response.response(a.values, a.weight, 2, r)[0].value,
    "response in bins": lambda r, a, b: (
        response.binned_response(a.values, a.weight, a.block[:, 0], np.array([0.0, 12, 90]), 2, r).response
    ),
    "resolution": lambda r, a, b: response.response(a.values, a.weight, 2, r)[1].value,
    "resolution in bins": lambda r, a, b: (
        response.binned_response(a.values, a.weight, a.block[:, 0], np.array([0.0, 12, 90]), 2, r).resolution
    ),
    "rate": lambda r, a, b: binomial.rate(a.values > 1.2, a.weight).value,
    "rate in bins": lambda r, a, b: binomial.binned_rate(a.values > 1.2, a.weight, a.block[:, 0], EDGES * 9).value,
    "deviation of profiles": lambda r, a, b: (
        profiles.deviation_measured(a.block, a.units, b.block, b.units, 2, r).value
    ),
    "distance of spectra": lambda r, a, b: (
        profiles.shape_measured(a.block, a.units, b.block, b.units, PLACES, 2, r).value
    ),
    "confusion": lambda r, a, b: confusion(a),
    "reliability": lambda r, a, b: identities.reliability(a.answers, np.linspace(0.3, 1.0, 4)).value,
    "calibration": lambda r, a, b: identities.calibration_error(a.answers, 2, r).value,
    "area of the ROC curve": lambda r, a, b: identities.roc_area(a.answers, 1).value,
}
"""What integer weights and repeated rows give alike."""


def threes(rng, n):
    return rng.integers(1, 4, n)


@pytest.mark.parametrize("metric", VALUES)
def test_integer_weights_are_repeated_rows(metric):
    a, b = rows(400, 1, threes), rows(300, 2, threes)
    find = VALUES[metric]
    many = [one.take(np.repeat(np.arange(len(one.values)), one.weight.astype(int))) for one in (a, b)]
    many = [one._replace(weight=np.ones(len(one.values))) for one in many]
    weighted, repeated = (find(np.random.default_rng(3), *pair) for pair in ((a, b), many))
    plain = find(np.random.default_rng(3), *(one._replace(weight=np.ones(len(one.values))) for one in (a, b)))
    assert weighted == pytest.approx(repeated, rel=1e-9, nan_ok=True)
    assert plain != pytest.approx(repeated, rel=1e-4, nan_ok=True), "this sample's weights change nothing"


MEASURED = {
    "wasserstein": lambda r, a, b: distances.wasserstein_measured(a.units, b.units, 60, r),
    "separation": lambda r, a, b: distances.separation_measured(a.units, b.units, EDGES, 200, r),
    "shift of the mean": lambda r, a, b: distances.shift_measured(a.units, b.units, "mean", 150, r),
    "shift of the width": lambda r, a, b: distances.shift_measured(a.units, b.units, "width", 150, r),
    "response": lambda r, a, b: response.response(a.values, a.weight, 150, r)[0],
    "resolution": lambda r, a, b: response.response(a.values, a.weight, 150, r)[1],
    "rate": lambda r, a, b: binomial.rate(a.values > 1.2, a.weight),
    "deviation of profiles": lambda r, a, b: profiles.deviation_measured(a.block, a.units, b.block, b.units, 60, r),
    "distance of spectra": lambda r, a, b: profiles.shape_measured(a.block, a.units, b.block, b.units, PLACES, 60, r),
    "calibration": lambda r, a, b: identities.calibration_error(a.answers, 60, r),
    "area of the ROC curve": lambda r, a, b: identities.roc_area(a.answers, 1),
}
"""All metrics with their uncertainties and floors."""


@pytest.mark.parametrize("metric", MEASURED)
def test_the_scale_of_weights_is_nothing(metric):
    """Weights in picobarns or of a million: values, uncertainties and floors stay."""
    a, b = rows(200, 1, threes), rows(150, 2, threes)
    found = MEASURED[metric](np.random.default_rng(1), a, b)
    for factor in (1e-6, 7.0):
        other = [one._replace(weight=factor * one.weight) for one in (a, b)]
        assert MEASURED[metric](np.random.default_rng(1), *other) == pytest.approx(found, rel=1e-6, nan_ok=True)


def few(n):
    """Weights of one for the first n rows, of none for the others, whose values are wild."""
    return lambda rng, size: np.arange(size) < n


@pytest.mark.parametrize("metric", [m for m in MEASURED if m != "calibration"])
def test_rows_of_no_weight_are_no_rows(metric):
    """Six of seven rows weigh nothing and hold other values: the value is that of the others alone, its uncertainty
    and floor those of so few, not of all."""
    a, b = rows(1400, 1, few(200)), rows(1050, 2, few(150))
    wild = []
    for one in (a, b):
        none = one.weight == 0
        values = np.where(none, 5 * one.values, one.values)
        block = np.where(none[:, None], one.block[:, ::-1], one.block)
        truth = np.where(none, (one.truth + 1) % 3, one.truth)
        wild.append(one._replace(values=values, block=block, truth=truth))
    kept = [one.take(one.weight > 0) for one in wild]
    found, expected = (MEASURED[metric](np.random.default_rng(1), *pair) for pair in (wild, kept))
    assert found.value == pytest.approx(expected.value, rel=1e-9)
    assert found.uncertainty == pytest.approx(expected.uncertainty, rel=0.3)
    assert found.floor == pytest.approx(expected.floor, rel=0.3, nan_ok=True)
    assert found.floor_uncertainty == pytest.approx(expected.floor_uncertainty, rel=0.4, nan_ok=True)


def test_calibration_errors_are_weighted():
    """Sure of kind 0 to 0.9, and right in half of the rows: with the wrong ones weighing three times, in a quarter."""
    n = 400
    probability = np.tile([0.9, 0.05, 0.05], (n, 1))
    truth = np.arange(n) % 2
    rng = np.random.default_rng(1)
    equal = identities.calibration_error(identities.Answers(probability, truth, np.ones(n)), 40, rng)
    tilted = identities.calibration_error(identities.Answers(probability, truth, 1.0 + 2 * truth), 40, rng)
    assert equal.value == pytest.approx(0.4, abs=0.01) and tilted.value == pytest.approx(0.65, abs=0.01)


def test_a_classifier_weighs_both_classes_and_its_floor():
    """Two halves of the reference that differ, one of which weighs nothing: the candidate is like the other."""
    rng = np.random.default_rng(2)
    n = 600
    near, far = rng.normal(0, 1, n), rng.normal(6, 1, n)
    both, numbers = np.concatenate([near, far])[:, None], np.arange(2 * n)
    mixed = rng.permutation(2 * n)
    weight = (numbers < n).astype(float)
    own = both[mixed], numbers[mixed], weight[mixed]
    like = np.concatenate([rng.normal(0, 1, n), rng.normal(-6, 1, n)])[:, None]
    found, _ = two_sample_auc(own[0], like, own[1], numbers + 5000, own[2], weight, most=2 * n, seed=1)
    assert abs(found.value - 0.5) < 4 * found.uncertainty
    assert found.uncertainty == pytest.approx(np.sqrt(1 / 6 / (n / 2)), rel=0.25), "that of the rows that weigh"
    unweighted, _ = two_sample_auc(own[0], like, own[1], numbers + 5000, most=2 * n, seed=1)
    assert unweighted.value > 0.7


@pytest.mark.parametrize("shape", ["half", "third"])
def test_uncertainties_are_those_of_the_effective_number(shape):
    """Weights 0 and 1, or 1 and 3: bootstrap errors of a mean against sigma over the root of the effective number."""
    rng = np.random.default_rng(9)
    n = 3000
    weight = {"half": rng.integers(0, 2, n), "third": 1 + 2 * (rng.random(n) < 0.3)}[shape].astype(float)
    values = rng.normal(1.0, 0.2, n)
    expected = 0.2 * np.sqrt((weight**2).sum()) / weight.sum()
    mean, _ = response.response(values, weight, 300, np.random.default_rng(1))
    assert mean.uncertainty == pytest.approx(expected, rel=0.15)
    chance = 0.5
    rate = binomial.rate(values > 1.0, weight)
    assert rate.uncertainty == pytest.approx(expected / 0.2 * np.sqrt(chance * (1 - chance)), rel=0.02)
    own, other = Units(values, weight, np.arange(n)), Units(values, weight, np.arange(n) + n)
    shift = distances.shift_measured(own, other, "mean", 300, np.random.default_rng(3))
    assert shift.uncertainty == pytest.approx(np.sqrt(2) * expected, rel=0.15)
