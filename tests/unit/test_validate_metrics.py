"""Metrics against closed forms, peers and properties."""

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from scipy import stats

from gen2reco.config.block import parse_block
from gen2reco.config.validation import Validation
from gen2reco.errors import InputError
from gen2reco.statistics import binomial, distances, frechet, identities, profiles, response
from gen2reco.statistics.bootstrap import Units, bootstrap_error, effective_number
from gen2reco.statistics.classifiers import two_sample_auc
from gen2reco.statistics.measured import Measured, pull
from gen2reco.statistics.roc import hanley_mcneil, roc_auc
from gen2reco.validate.verdict import Metric, judge, worst

FLOATS = st.floats(-1e3, 1e3)
WEIGHTS = st.floats(0.1, 10)


def units(values, weight=None, event=None) -> Units:
    values = np.asarray(values, float)
    return Units(
        values,
        np.ones(len(values)) if weight is None else np.asarray(weight, float),
        np.arange(len(values)) if event is None else np.asarray(event),
    )


@settings(max_examples=60, deadline=None)
@given(st.data(), st.integers(1, 30), st.integers(1, 30))
def test_wasserstein_is_scipys(data, n, m):
    a, b = (data.draw(hnp.arrays(float, size, elements=FLOATS)) for size in (n, m))
    u, v = (data.draw(hnp.arrays(float, size, elements=WEIGHTS)) for size in (n, m))
    assert distances.wasserstein(units(a, u), units(b, v)) == pytest.approx(
        stats.wasserstein_distance(a, b, u, v), rel=1e-9, abs=1e-9
    )


def test_wasserstein_of_a_shift_is_the_shift_in_sigmas():
    rng = np.random.default_rng(1)
    a, b = units(rng.normal(0, 2, 4000)), units(rng.normal(1, 2, 4000))
    found = distances.wasserstein_measured(a, b, 50, rng)
    assert abs(found.value - 0.5) < 4 * found.uncertainty
    assert found.floor < 0.06 < found.value


@pytest.mark.parametrize("sizes", [(300, 300), (300, 60)])
def test_the_floor_is_what_independent_reference_samples_give(sizes):
    rng = np.random.default_rng(2)
    draws = [rng.normal(size=n) for _ in range(400) for n in sizes]
    true = [stats.wasserstein_distance(a, b) for a, b in zip(draws[::2], draws[1::2])]
    found = [distances.wasserstein_measured(units(a), units(b), 60, rng) for a, b in zip(draws[:40:2], draws[1:40:2])]
    assert np.mean([m.floor for m in found]) == pytest.approx(np.mean(true), rel=0.06)
    assert all(m.value < m.floor + 5 * m.floor_uncertainty for m in found)


@settings(max_examples=40, deadline=None)
@given(hnp.arrays(float, 12, elements=st.floats(0, 50)), hnp.arrays(float, 12, elements=st.floats(0, 50)))
def test_separation_lies_between_nothing_and_one(p, q):
    p, q = p + 1e-3, q + 1e-3
    apart = distances.separation(p, q)
    assert -1e-12 <= apart <= 1 + 1e-12
    assert apart == pytest.approx(distances.separation(q, p))
    assert distances.separation(p, 3 * p) == pytest.approx(0, abs=1e-12)


def test_separation_of_disjoint_histograms_is_one():
    assert distances.separation(np.array([1.0, 0, 0]), np.array([0, 2.0, 1.0])) == pytest.approx(1)


def test_what_two_samples_of_the_same_events_share_cancels():
    rng = np.random.default_rng(3)
    values = rng.exponential(10, 400)
    same = distances.shift_measured(units(values), units(1.02 * values), "mean", 50, rng)
    other = distances.shift_measured(units(values), units(1.02 * values, event=np.arange(400) + 7), "mean", 50, rng)
    assert same.value == pytest.approx(0.02)
    assert same.uncertainty < 0.002 < 0.03 < other.uncertainty


def test_units_of_one_event_are_drawn_together():
    rng = np.random.default_rng(4)
    event = np.repeat(np.arange(50), 20)
    values = rng.normal(size=50)[event]
    error = distances.shift_measured(
        units(values + 100, event=event), units(values + 100, event=event + 99), "mean", 2000, rng
    )
    assert error.uncertainty == pytest.approx(math.sqrt(2 / 50) * values.std() / (100 + values.mean()), rel=0.05)


@pytest.mark.parametrize(("shift", "expected"), [(0.0, 0.5), (1.0, stats.norm.cdf(1 / math.sqrt(2)))])
def test_auc_of_gaussians(shift, expected):
    rng = np.random.default_rng(5)
    a, b = rng.normal(0, 1, (1200, 3)), rng.normal(0, 1, (1200, 3))
    b[:, 0] += shift
    found, n = two_sample_auc(a, b, np.arange(1200), np.arange(1200) + 5000, most=600, seed=1)
    assert n == 600
    assert found.value == pytest.approx(expected, abs=4 * found.uncertainty)
    assert 0 < abs(found.floor - 0.5) < 4 * found.uncertainty


def test_pairs_of_one_event_share_a_fold():
    """Both classes hold the same rows: a classifier that saw a row's twin of the other class would fall below 0.5."""
    x = np.random.default_rng(6).normal(size=(400, 2))
    found, _ = two_sample_auc(x, x, np.arange(400), np.arange(400), most=200, seed=1)
    assert found.value == pytest.approx(0.5, abs=1e-9)


def test_too_few_for_a_classifier_is_no_number():
    found, n = two_sample_auc(np.zeros((30, 2)), np.zeros((30, 2)), np.arange(30), np.arange(30), most=1000, seed=1)
    assert n == 15 and math.isnan(found.value)


def test_frechet_distance_of_shifted_gaussians():
    rng = np.random.default_rng(7)
    a, b = rng.uniform(-1, 1, (4000, 3)), rng.uniform(-1, 1, (4000, 3))
    same, n = frechet.with_floor(frechet.frechet_physics_distance, a, b, 1)
    b[:, 0] += 0.3
    apart, _ = frechet.with_floor(frechet.frechet_physics_distance, a, np.clip(b, -1, 2), 1)
    assert n == 2000
    assert same.value < 0.005 and same.floor == apart.floor < 0.005
    assert apart.value == pytest.approx(0.09, rel=0.25)


def test_kernel_distance_is_unbiased_and_sees_a_shift():
    rng = np.random.default_rng(8)
    a, b = rng.normal(size=(1000, 4)), rng.normal(size=(1000, 4))
    same = frechet.kernel_physics_distance(a, b, seed=1)
    apart = frechet.kernel_physics_distance(a, b + 1.5, seed=1)
    assert abs(same.value) < 4 * max(same.uncertainty, 1e-4)
    assert apart.value > 10 * abs(same.value)


@settings(max_examples=40, deadline=None)
@given(hnp.arrays(float, st.integers(3, 40), elements=FLOATS))
def test_sigma_eff_is_the_shortest_interval_that_holds_its_share(values):
    pairs = [(a, b) for a in values for b in values if a <= b]
    brute = min(b - a for a, b in pairs if ((values >= a) & (values <= b)).mean() >= 0.6827) / 2
    assert response.sigma_eff(values) == pytest.approx(brute)


@pytest.mark.parametrize(
    ("distribution", "half_width"),
    [
        (stats.norm(1, 0.1), 0.1),
        (stats.uniform(0, 2), 0.6827),
        (stats.expon(), -math.log(1 - 0.6827) / 2),
        (stats.triang(0), (1 - math.sqrt(1 - 0.6827)) / 2),
    ],
)
def test_sigma_eff_of_known_distributions(distribution, half_width):
    """At evenly spaced quantiles; of a falling density the interval starts at its peak."""
    values = distribution.ppf((np.arange(20_000) + 0.5) / 20_000)
    assert response.sigma_eff(values) == pytest.approx(half_width, rel=1e-3)
    half, weight = values[::2], np.full(10_000, 2.0)
    weight[::3] += 1e-6
    assert response.sigma_eff(half, weight) == pytest.approx(half_width, rel=1e-3)


@pytest.mark.parametrize(("n", "inside"), [(3, 3), (4, 3), (10, 7), (100, 69), (10_000, 6827)])
def test_sigma_eff_counts_both_ends(n, inside):
    """Of whole numbers the interval holds so many, thus is one shorter; rounding adds none at 68.27 % of 10,000."""
    assert response.sigma_eff(np.arange(n, dtype=float)) == (inside - 1) / 2
    assert response.sigma_eff(np.arange(n, dtype=float), np.r_[1.0 + 1e-8, np.ones(n - 1)]) == (inside - 1) / 2


@settings(max_examples=100, deadline=None)
@given(st.data(), st.integers(3, 30))
def test_whole_weights_are_repeated_rows(data, n):
    values = data.draw(hnp.arrays(float, n, elements=st.floats(0, 1, width=16)))
    times = data.draw(hnp.arrays(np.int64, n, elements=st.integers(1, 5)))
    truth = data.draw(hnp.arrays(bool, n))
    weight = times / 7
    again, positive = np.repeat(values, times), np.repeat(truth, times)
    assert response.sigma_eff(values, weight) == pytest.approx(response.sigma_eff(again), abs=1e-12)
    assert roc_auc(values, truth, weight) == pytest.approx(roc_auc(again, positive), nan_ok=True)
    error = identities.expected_calibration_error
    assert error(values, truth, weight, 5) == pytest.approx(error(again, positive, bins=5), abs=1e-12)
    assert binomial.rate(truth, weight).value == pytest.approx(positive.mean())


def test_sigma_eff_of_two_is_none_and_negative_weights_count_as_none():
    assert np.isnan(response.sigma_eff(np.array([1.0, 2.0])))
    assert np.isnan(response.sigma_eff(np.arange(4.0), np.array([1.0, 2.0, -1.0, -1.0])))
    values, weight = np.array([0.0, 1, 2, 3, 50]), np.array([2.0, 1, 1, 1, -3])
    assert response.sigma_eff(values, weight) == response.sigma_eff(np.array([0.0, 0, 1, 2, 3]))


@pytest.mark.parametrize("n", [10, 57, 400])
def test_roc_area_is_scikit_learns(n):
    from sklearn.metrics import roc_auc_score

    rng = np.random.default_rng(n)
    score, truth, weight = rng.integers(0, 9, n) / 8, rng.random(n) < 0.4, rng.exponential(1, n)
    assert roc_auc(score, truth, weight) == pytest.approx(roc_auc_score(truth, score, sample_weight=weight))
    assert roc_auc(score, truth) == pytest.approx(roc_auc_score(truth, score))
    assert math.isnan(roc_auc(score, np.ones(n, bool)))


def test_uncertainty_of_a_roc_area_is_its_spread():
    rng = np.random.default_rng(12)
    truth = np.arange(420) < 60
    areas = [roc_auc(rng.exponential(np.where(truth, 4.0, 1.0)), truth) for _ in range(1000)]
    assert np.mean(areas) == pytest.approx(0.8, abs=0.01)
    assert hanley_mcneil(0.8, n_negative=360, n_positive=60) == pytest.approx(np.std(areas), rel=0.07)
    assert hanley_mcneil(0.8, n_negative=60, n_positive=360) < 0.9 * np.std(areas)


def test_bootstrap_error_of_a_mean():
    rng = np.random.default_rng(13)
    values = rng.normal(0, 2, 900)
    error = bootstrap_error((values, values), lambda a, b: float((a + b).mean() / 2), 1000, rng)
    assert error == pytest.approx(values.std() / 30, rel=0.07)


def test_effective_number_of_weights():
    assert effective_number(np.full(7, 0.3)) == pytest.approx(7)
    assert effective_number(np.array([3.0, 1.0])) == pytest.approx(16 / 10)
    assert effective_number(np.array([1.0, 1.0, 1.0, -1.0])) == pytest.approx(1)
    assert effective_number(np.array([1.0, -2.0])) == 0


def test_pull_is_the_difference_in_standard_deviations():
    assert pull((1.0, 3.0), (11.0, 4.0)) == pytest.approx(2)
    assert pull((2.0, 0.0), (1.0, 0.0)) == -math.inf and pull((1.0, 0.0), (1.0, 0.0)) == 0
    assert math.isnan(pull((math.nan, 0.0), (1.0, 0.0))) and math.isnan(pull((math.nan, 1.0), (1.0, 1.0)))


def test_response_of_a_gaussian():
    rng = np.random.default_rng(9)
    ratio = rng.normal(0.98, 0.1, 4000)
    mean, width = response.response(ratio, np.ones(4000), 1000, rng)
    assert mean.value == pytest.approx(0.98, abs=4 * mean.uncertainty)
    assert mean.uncertainty == pytest.approx(ratio.std() / math.sqrt(4000), rel=0.07)
    assert width.value == pytest.approx(0.1 / 0.98, abs=4 * width.uncertainty)
    assert response.resolution(ratio) == pytest.approx(width.value)


def test_terms_of_a_calorimeter_are_found_again():
    rng = np.random.default_rng(10)
    energy = np.exp(rng.uniform(np.log(5), np.log(200), 20_000))
    width = np.hypot(0.23 / np.sqrt(energy), 0.01)
    ratio = rng.normal(1, width)
    binned = response.binned_response(ratio, np.ones(20_000), energy, response.energy_bins(energy), 50, rng)
    terms = response.fit_terms(binned)
    assert terms.stochastic.value == pytest.approx(0.23, abs=3 * terms.stochastic.uncertainty)
    assert terms.constant.value == pytest.approx(0.01, abs=3 * terms.constant.uncertainty)
    assert 0 < terms.stochastic.uncertainty < 0.01 and 0 < terms.constant.uncertainty < 0.004
    assert terms.at(np.array([25.0]))[0] == pytest.approx(np.hypot(0.046, 0.01), rel=0.03)


def test_no_fit_of_three_bins():
    flat = response.binned_response(
        np.ones(60), np.ones(60), np.linspace(1, 3, 60), np.array([1, 2, 2.5, 3.1]), 20, np.random.default_rng(0)
    )
    assert response.fit_terms(flat) is None


def test_few_events_are_no_fit():
    """Forty showers in five bins: the three terms could be anything."""
    rng = np.random.default_rng(2)
    energy = np.exp(rng.uniform(np.log(5), np.log(100), 60))
    ratio = rng.normal(1, np.hypot(0.5 / np.sqrt(energy), 0.05))
    binned = response.binned_response(ratio, np.ones(60), energy, np.geomspace(5, 100, 5), 50, rng)
    assert (binned.n >= 10).sum() == 4 and response.fit_terms(binned) is None


def test_weights_count_as_often():
    """Weighted units give what as many copies of each give, with the uncertainty of the effective number."""
    rng = np.random.default_rng(3)
    ratio, weight = rng.normal(1, 0.1, 3000), rng.integers(1, 4, 3000).astype(float)
    mean, width = response.response(ratio, weight, 1000, np.random.default_rng(1))
    copies = np.repeat(ratio, weight.astype(int))
    assert mean.value == pytest.approx(copies.mean())
    assert width.value == pytest.approx(response.sigma_eff(copies) / copies.mean())
    assert mean.uncertainty == pytest.approx(0.1 / math.sqrt(effective_number(weight)), rel=0.07)
    assert binomial.rate(ratio > 1, weight).value == pytest.approx((copies > 1).mean())
    inside = binomial.binned_rate(ratio > 1, weight, ratio, np.array([0.9, 1.1]))
    assert inside.x[0] == pytest.approx(copies[(copies >= 0.9) & (copies < 1.1)].mean())
    assert inside.value[0] == pytest.approx((copies[(copies >= 0.9) & (copies < 1.1)] > 1).mean())


def test_responses_to_the_same_events_are_compared_event_by_event():
    """A second simulation that differs by one per cent of noise: its shift is known far better than either response."""
    rng = np.random.default_rng(7)
    ratio, numbers, ones = rng.normal(1, 0.2, 400), np.arange(400), np.ones(400)
    a, b = (Units(values, ones, numbers) for values in (ratio, 1.02 * ratio + rng.normal(0, 0.01, 400)))
    mean, width = response.paired_errors(a, b, 1000, np.random.default_rng(1))
    alone = response.response(ratio, ones, 200, np.random.default_rng(1))
    assert mean == pytest.approx((b.values / 1.02 - ratio).std() / math.sqrt(400), rel=0.1)
    assert mean < 0.1 * alone[0].uncertainty
    assert width < 0.5 * alone[1].uncertainty / alone[1].value


def test_a_classifier_sees_through_weights():
    """The same distribution drawn evenly and drawn by weight: nothing to find, unless weights are forgotten."""
    rng = np.random.default_rng(4)
    a, b = rng.exponential(1, (800, 1)), rng.uniform(0, 5, (800, 1))
    numbers = np.arange(800)
    weighted, _ = two_sample_auc(a, b, numbers, numbers + 900, np.ones(800), np.exp(-b[:, 0]), most=400, seed=1)
    forgotten, _ = two_sample_auc(a, b, numbers, numbers + 900, most=400, seed=1)
    assert abs(weighted.value - 0.5) < 3 * weighted.uncertainty < 0.15
    assert forgotten.value > 0.7


def answers(confidence, rng, honest=True):
    """Two kinds: kind 1 with the stated probability, or always where not honest."""
    probability = np.stack([1 - confidence, confidence], axis=1)
    truth = (rng.random(len(confidence)) < confidence) if honest else np.ones(len(confidence), bool)
    return identities.Answers(probability, truth.astype(int), np.ones(len(confidence)))


def test_calibration_error_of_honest_and_of_modest_probabilities():
    rng = np.random.default_rng(5)
    honest = identities.calibration_error(answers(rng.uniform(0.5, 1, 4000), rng), 50, rng)
    assert honest.value < honest.floor + 3 * honest.floor_uncertainty < 0.05
    modest = identities.calibration_error(answers(np.full(4000, 0.7), rng, honest=False), 50, rng)
    assert modest.value == pytest.approx(0.3) and modest.floor < 0.05
    curve = identities.reliability(answers(np.full(4000, 0.7), rng, honest=False), np.array([0.5, 0.8, 1.0]))
    assert curve.value[0] == 1 and curve.n.tolist() == [4000, 0]


def test_confusion_and_roc_area():
    table = identities.confusion(np.array([0, 0, 0, 2]), np.array([0, 1, -1, 2]), np.array([1.0, 1, 2, 1]), 3)
    assert (
        table[0].tolist() == [0.25, 0.25, 0.0, 0.5] and np.isnan(table[1]).all() and table[2].tolist() == [0, 0, 1, 0]
    )
    rng = np.random.default_rng(6)
    found = identities.roc_area(answers(np.r_[np.full(50, 0.1), np.full(50, 0.9)], rng), 1)
    truth = np.r_[np.zeros(50, int), np.ones(50, int)]
    perfect = identities.roc_area(identities.Answers(np.eye(2)[truth], truth, np.ones(100)), 1)
    assert 0.7 < found.value < 1 and found.uncertainty < 0.1
    assert perfect.value == 1 and 0 < perfect.uncertainty < 0.03
    assert math.isnan(identities.roc_area(answers(np.full(30, 0.99), rng, honest=False), 1).value)


@pytest.mark.parametrize(("passed", "tried"), [(0, 10), (10, 10), (3, 10), (500, 1000)])
def test_wilson_interval_holds_the_rate_and_stays_in_range(passed, tried):
    p, low, high = binomial.wilson(np.array(passed), np.array(tried))
    assert 0 <= low <= p <= high <= 1
    assert high > low


def test_wilson_of_many_is_the_binomial_error():
    p, low, high = binomial.wilson(np.array(2000), np.array(8000))
    assert (high - low) / 2 == pytest.approx(math.sqrt(p * (1 - p) / 8000), rel=1e-3)


def test_rates_fall_into_their_bins():
    found = binomial.binned_rate(
        np.array([True, False, True, True]), np.ones(4), np.array([1.0, 2, 11, 12]), np.array([0, 10, 20, 30])
    )
    assert found.n.tolist() == [2, 2, 0]
    assert found.value[:2].tolist() == [0.5, 1.0] and math.isnan(found.value[2])


def test_profile_bins_that_hold_the_content():
    assert profiles.holding(np.array([0.5, 0.0, 0.3, 0.17, 0.03])).tolist() == [True, False, True, True, False]


def test_largest_deviation_of_a_profile():
    rng = np.random.default_rng(11)
    block = rng.gamma(50, 1, (500, 4))
    changed = block * np.array([1, 1, 1.2, 1])
    own = units(np.zeros(500))
    found = profiles.deviation_measured(block, own, changed, own, 50, rng)
    assert found.value == pytest.approx(0.2)
    assert found.floor < 0.05


@pytest.mark.parametrize(
    ("measured", "limits", "above_floor", "verdict"),
    [
        (Measured(0.05, 0.01, 0.04, 0.01), (0.1, 0.25), True, "pass"),
        (Measured(0.20, 0.01, 0.04, 0.01), (0.1, 0.25), True, "attention"),
        (Measured(0.40, 0.02, 0.04, 0.01), (0.1, 0.25), True, "fail"),
        (Measured(0.40, 0.20, 0.04, 0.01), (0.1, 0.25), True, "attention"),
        (Measured(0.30, 0.02, 0.28, 0.20), (0.1, 0.25), True, "attention"),
        (Measured(-0.06, 0.01, 0.01), (0.01, 0.03), False, "fail"),
        (Measured(-0.005, 0.002, 0.01), (0.01, 0.03), False, "pass"),
        (Measured(0.002, 0.05, 0.04), (0.01, 0.03), False, "attention"),
        (Measured(0.55, 0.02, 0.5), (0.6, 0.75), False, "pass"),
        (Measured(0.55, 0.2, 0.5), (0.6, 0.75), False, "attention"),
        (Measured(0.9, 0.02, 0.5), (0.6, 0.75), False, "fail"),
        (Measured(math.nan, math.nan), (0.6, 0.75), False, None),
    ],
)
def test_verdicts(measured, limits, above_floor, verdict):
    assert judge(measured, limits, above_floor=above_floor)[0] == verdict


def test_the_gravest_verdict():
    assert worst(["pass", None, "fail", "attention"]) == "fail"
    assert worst([None]) is None


def test_a_metric_is_plain_json():
    plain = Metric("hits", "photon/fpd", "FPD", math.nan, math.inf, 0.1, 5, ("a", "b")).as_json()
    assert plain["value"] is None and plain["uncertainty"] is None and plain["floor"] == 0.1
    assert {"stage", "name", "value", "uncertainty", "floor", "n", "samples"} <= set(plain)


@pytest.mark.parametrize(
    ("given", "said"),
    [
        ({"auc": [0.7, 0.6]}, "smaller number first"),
        ({"acu": [0.5, 0.6]}, "did you mean `auc`"),
        ({"max_events": 0}, "max_events"),
    ],
)
def test_limits_are_checked(given, said):
    with pytest.raises(InputError, match=said):
        parse_block(given, Validation, "campaign.yaml")
