"""Resolution, rates, areas and distances against closed forms, brute force and toys."""

import itertools
import math

import numpy as np
import pytest
from scipy import stats

from gen2reco.statistics import binomial, bootstrap, distances, frechet, identities, measured, profiles, response, roc
from gen2reco.statistics.bootstrap import Units

COVERAGE = 0.6827


def quantiles(distribution, n: int = 20_000) -> np.ndarray:
    """A sample without noise: the quantiles of a distribution."""
    return distribution.ppf((np.arange(n) + 0.5) / n)


# --- resolution

WIDTHS = {  # distribution: half its shortest interval that holds 68.27 %
    "gaussian": (stats.norm(1, 0.2), 0.2),
    "uniform": (stats.uniform(0.5, 2.0), COVERAGE),
    "exponential": (stats.expon(0, 3.0), -3.0 * math.log(1 - COVERAGE) / 2),
    "triangle": (stats.triang(0.5, -1, 2), 1 - math.sqrt(1 - COVERAGE)),
}


@pytest.mark.parametrize("shape", WIDTHS)
def test_sigma_eff_in_closed_form(shape):
    distribution, width = WIDTHS[shape]
    assert response.sigma_eff(quantiles(distribution)) == pytest.approx(width, rel=2e-3)
    assert response.sigma_eff(-quantiles(distribution)[::-1]) == pytest.approx(width, rel=2e-3)


@pytest.mark.parametrize("weighted", [False, True])
def test_sigma_eff_by_brute_force(weighted):
    """The shortest of all intervals between two values that hold the share, both ends inside."""
    rng = np.random.default_rng(1)
    for n in (3, 4, 7, 30, 41):
        values = rng.normal(size=n)
        weight = rng.integers(1, 5, n).astype(float) if weighted else np.ones(n)
        least = math.inf
        for low, high in itertools.product(values, values):
            held = weight[(values >= low) & (values <= high)].sum() / weight.sum()
            if high >= low and held >= COVERAGE * (1 - 1e-9):
                least = min(least, (high - low) / 2)
        assert response.sigma_eff(values, weight if weighted else None) == pytest.approx(least), n


def test_widths_of_many_samples_at_once_are_those_of_each():
    values = np.random.default_rng(2).normal(size=(5, 40))
    assert response.sigma_eff(values) == pytest.approx([float(response.sigma_eff(row)) for row in values])
    assert np.isnan(response.sigma_eff(values[:, :2])).all()


def test_uncertainties_of_a_response_are_the_scatter_of_independent_ones():
    rng, n = np.random.default_rng(3), 300
    toys = [rng.normal(0.9, 0.15, n) for _ in range(200)]
    means, widths = [t.mean() for t in toys], [float(response.sigma_eff(t)) / t.mean() for t in toys]
    found = [response.response(t, np.ones(n), 100, rng) for t in toys[:8]]
    assert np.mean([m.uncertainty for m, _ in found]) == pytest.approx(np.std(means), rel=0.12)
    assert np.mean([w.uncertainty for _, w in found]) == pytest.approx(np.std(widths), rel=0.25)
    assert np.mean(means) == pytest.approx(0.9, abs=0.003) and np.mean(widths) == pytest.approx(1 / 6, rel=0.06)


def binned(energy, width, error=1e-4, n=1000):
    one = np.ones(len(energy))
    return response.Binned(energy, energy, energy, n * one, one, one, width, error * one)


TERMS = [(0.25, 0.3, 0.02), (0.5, 0.0, 0.01), (0.8, 1.5, 0.0)]


@pytest.mark.parametrize("terms", TERMS)
def test_planted_terms_of_the_resolution_are_found(terms):
    energy = np.geomspace(5, 200, 8)
    a, b, c = terms
    width = np.sqrt(a**2 / energy + (b / energy) ** 2 + c**2)
    found = response.fit_terms(binned(energy, width))
    assert [term.value for term in found] == pytest.approx(terms, abs=1e-5)
    assert found.at(energy) == pytest.approx(width)
    assert all(term.uncertainty < 0.05 for term in found)


def test_uncertainties_of_the_terms_are_the_scatter_of_fits():
    energy, rng = np.geomspace(5, 200, 8), np.random.default_rng(4)
    width = np.sqrt(0.5**2 / energy + 0.03**2)
    error = 0.02 * width
    one = binned(energy, width)._replace(resolution_error=error)
    toys = [response.fit_terms(one._replace(resolution=width + error * rng.normal(size=8))) for _ in range(60)]
    assert response.fit_terms(one).stochastic.uncertainty == pytest.approx(
        np.std([t.stochastic.value for t in toys]), rel=0.3
    )


@pytest.mark.parametrize(
    ("change", "fits"),
    [({}, True), ({"n": [1000] * 4 + [9] * 4}, True), ({"n": [1000] * 3 + [9] * 5}, False), ({"n": [10] * 8}, True),
     ({"resolution_error": [1e-4] * 3 + [0.0] * 5}, False), ({"resolution": [0.1] * 3 + [math.nan] * 5}, False),
     ({"resolution_error": [0.1] * 8}, False)],
)  # fmt: skip
def test_terms_need_four_good_bins_and_a_stochastic_term(change, fits):
    energy = np.geomspace(5, 200, 8)
    one = binned(energy, np.sqrt(0.3**2 / energy + 0.01**2))
    assert (response.fit_terms(one._replace(**{k: np.array(v, float) for k, v in change.items()})) is not None) == fits


@pytest.mark.parametrize(
    ("n", "low", "high", "bins"),
    [(1000, 5.0, 100.0, 8), (100, 5.0, 100.0, 4), (24, 5.0, 100.0, 1), (1000, 5.0, 6.0, 1), (1000, 5.0, 7.0, 8)],
)
def test_bins_of_energy(n, low, high, bins):
    edges = response.energy_bins(np.geomspace(low, high, n))
    assert len(edges) == bins + 1 and edges[0] < low and edges[-1] > high
    assert np.diff(np.log(edges)) == pytest.approx(np.full(bins, np.log(edges[-1] / edges[0]) / bins))
    assert edges[0] == pytest.approx(low, rel=0.002) and edges[-1] == pytest.approx(high, rel=0.002)


def test_the_median_response_holds_where_spikes_move_the_mean():
    """Its uncertainty is the scatter of independent medians; weights count as so many units."""
    rng = np.random.default_rng(3)
    ratio, weight = rng.normal(1.0, 0.1, (300, 200)), np.ones(200)
    found = [response.median_response(one, weight, 200, rng) for one in ratio]
    assert np.mean([m.uncertainty for m in found]) == pytest.approx(np.std([m.value for m in found]), rel=0.15)
    spiked = np.where(np.arange(200) == 7, 40.0, ratio[0])
    shift = response.median_response(spiked, weight, 200, rng).value - np.median(ratio[0])
    assert abs(shift) < 0.005 < 0.1 < spiked.mean() - ratio[0].mean()
    doubled = response.median_response(ratio[0], np.where(ratio[0] > 1.1, 2.0, 1.0), 200, rng).value
    again = np.concatenate([ratio[0], ratio[0][ratio[0] > 1.1]])
    assert doubled == pytest.approx(np.median(again), abs=0.003) and doubled > np.median(ratio[0])
    assert not np.isfinite(response.median_response(ratio[0][:4], weight[:4], 200, rng).value)


def test_responses_in_bins_are_those_of_what_lies_in_them():
    """The lower edge belongs to a bin, the upper one does not; means of x are weighted, negative weights left out."""
    x = np.concatenate([np.full(6, 1.0), np.full(6, 2.0), np.full(6, 2.5), np.full(3, 3.0)])
    ratio, weight = np.linspace(0.5, 1.5, 21), np.arange(21.0) - 1
    found = response.binned_response(ratio, weight, x, np.array([1.0, 2.0, 3.0]), 5, np.random.default_rng(1))
    assert found.n.tolist() == [6, 12] and found.low.tolist() == [1.0, 2.0] and found.high.tolist() == [2.0, 3.0]
    second = slice(6, 18)
    assert found.x.tolist() == pytest.approx([1.0, np.average(x[second], weights=weight[second])])
    assert found.response[1] == pytest.approx(np.average(ratio[second], weights=weight[second]))


def test_responses_to_the_same_events_vary_as_their_difference():
    rng, n = np.random.default_rng(5), 400
    first = rng.normal(1, 0.2, n)
    second = 1.1 * first + rng.normal(0, 0.02, n)
    numbers, ones = np.arange(n), np.ones(n)
    mean, _ = response.paired_errors(Units(first, ones, numbers), Units(second, ones, numbers), 300, rng)
    assert mean == pytest.approx(np.std(second - 1.1 * first) / math.sqrt(n), rel=0.2)


# --- rates


@pytest.mark.parametrize(("passed", "tried"), [(0, 7), (3, 7), (7, 7), (1, 1), (40, 90)])
@pytest.mark.parametrize("z", [1.0, 1.96])
def test_the_ends_of_wilsons_interval_are_z_deviations_away(passed, tried, z):
    p, low, high = binomial.wilson(np.array(passed), np.array(tried), z)
    assert p == passed / tried
    for end in (low, high):
        if 0 < end < 1 and end != p:
            assert abs(end - p) == pytest.approx(z * math.sqrt(end * (1 - end) / tried))
    assert (low == 0) == (passed == 0) and (high == 1) == (passed == tried)


def test_wilsons_interval_of_none_is_no_number_and_broadcasts():
    p, low, high = binomial.wilson(np.array([0, 1]), np.array([0, 2]))
    assert np.isnan([p[0], low[0], high[0]]).all() and low[1] + high[1] == pytest.approx(1.0)


def test_a_rate_is_the_weighted_share_with_the_interval_of_its_effective_number():
    weight, passed = np.array([1.0, 2.0, 3.0, 4.0]), np.array([True, False, True, False])
    found, tried = binomial.rate(passed, weight), 100 / 30
    _, low, high = binomial.wilson(np.array(0.4 * tried), np.array(tried))
    assert found.value == pytest.approx(0.4) and found.uncertainty == pytest.approx(float(high - low) / 2)


def test_rates_in_bins_by_hand():
    x = np.array([0.0, 0.5, 1.0, 1.5, 2.0, 2.5])
    weight, passed = np.array([1.0, 3.0, 2.0, 2.0, 5.0, 1.0]), np.array([True, False, True, True, False, True])
    found = binomial.binned_rate(passed, weight, x, np.array([0.0, 1.0, 2.0, 4.0, 5.0]))
    assert found.n.tolist() == [2, 2, 2, 0]
    assert found.value[:3].tolist() == pytest.approx([1 / 4, 1.0, 1 / 6])
    assert found.x.tolist() == pytest.approx([1.5 / 4, 1.25, 12.5 / 6, 4.5]) and math.isnan(found.value[3])
    for k, (total, squares) in enumerate([(4, 10), (4, 8), (6, 26)]):
        tried = total**2 / squares
        p, low, high = binomial.wilson(np.array(found.value[k] * tried), np.array(tried))
        assert (found.down[k], found.up[k]) == pytest.approx((p - low, high - p))


@pytest.mark.parametrize(
    ("weight", "value"), [([-1.0, 3.0], 0.0), ([3.0, -1.0], 1.0), ([2.0, -0.5], 1.0), ([1.0, 3.0], 0.25)]
)
def test_rates_of_negative_weights_stay_between_none_and_all(weight, value):
    """The first of two passes: shares of -1/2, 3/2 and 4/3 are none and all, with an interval within them."""
    passed, weight = np.array([True, False]), np.array(weight)
    assert binomial.rate(passed, weight).value == value
    found = binomial.binned_rate(passed, weight, np.array([0.2, 0.6]), np.array([0.0, 1.0]))
    assert found.value[0] == value and 0 <= found.down[0] <= value and 0 <= found.up[0] <= 1 - value
    assert max(found.down[0], found.up[0]) > 0
    assert found.x[0] == pytest.approx(np.average([0.2, 0.6], weights=np.maximum(weight, 0)))


# --- areas and identities


def test_the_area_is_the_share_of_pairs_in_order_ties_counting_half():
    rng = np.random.default_rng(6)
    score, positive, weight = rng.integers(0, 6, 40), rng.random(40) < 0.4, rng.random(40)
    pairs = [
        (weight[i] * weight[j], 1.0 if score[i] > score[j] else 0.5 if score[i] == score[j] else 0.0)
        for i in np.flatnonzero(positive)
        for j in np.flatnonzero(~positive)
    ]
    expected = sum(w * v for w, v in pairs) / sum(w for w, _ in pairs)
    assert roc.roc_auc(score, positive, weight) == pytest.approx(expected)
    assert math.isnan(roc.roc_auc(score, np.zeros(40, bool)))


@pytest.mark.parametrize(("shift", "n", "m"), [(0.0, 60, 60), (1.0, 60, 25), (1.5, 20, 90)])
def test_hanley_and_mcneil_against_toys(shift, n, m):
    """Exponential scores, for which the formula is exact."""
    rng = np.random.default_rng(7)
    rate = math.exp(shift)
    positive = np.arange(n + m) >= n
    areas = [
        roc.roc_auc(np.concatenate([rng.exponential(1, n), rng.exponential(rate, m)]), positive) for _ in range(600)
    ]
    assert np.mean(areas) == pytest.approx(rate / (1 + rate), abs=0.012)
    assert roc.hanley_mcneil(rate / (1 + rate), n, m) == pytest.approx(np.std(areas), rel=0.12)


def test_an_area_of_one_is_not_known_for_sure():
    assert 0 < roc.hanley_mcneil(1.0, 100, 100) < roc.hanley_mcneil(1.0, 10, 10) < 0.2
    assert roc.hanley_mcneil(0.5, 1e4, 1e4) == pytest.approx(math.sqrt(1 / 6 / 1e4), rel=1e-2)


def test_bins_of_equal_weight():
    assert identities.equal_bins(np.arange(6.0), np.ones(6), 3).tolist() == [0, 0, 1, 1, 2, 2]
    assert identities.equal_bins(np.array([1.0, 1, 1, 2, 3, 4]), np.ones(6), 2).tolist() == [0, 0, 0, 1, 1, 1]
    assert identities.equal_bins(np.array([3.0, 1, 2]), np.array([1.0, 4, 1]), 2).tolist() == [1, 0, 1]


def test_the_calibration_error_by_hand():
    """Two bins of two: frequencies 1/2 and 1 against mean confidences 0.55 and 0.85."""
    confidence, right = np.array([0.5, 0.6, 0.8, 0.9]), np.array([True, False, True, True])
    found = identities.expected_calibration_error(confidence, right, bins=2)
    assert found == pytest.approx(0.5 * abs(0.5 - 0.55) + 0.5 * abs(1 - 0.85))
    heavy = identities.expected_calibration_error(confidence, right, np.array([1.0, 1.0, 2.0, 2.0]), bins=1)
    assert heavy == pytest.approx(abs((1 + 2 + 2) / 6 - (0.5 + 0.6 + 1.6 + 1.8) / 6))


# --- distances


def units(values, weight=None) -> Units:
    values = np.asarray(values, float)
    return Units(values, np.ones(len(values)) if weight is None else np.asarray(weight, float), np.arange(len(values)))


def test_distances_of_a_few_points_by_hand():
    assert distances.wasserstein(units([0, 1]), units([2, 3])) == pytest.approx(2.0)
    assert distances.wasserstein(units([0, 10], [3, 1]), units([0])) == pytest.approx(2.5)
    assert distances.separation(np.array([1.0, 1.0]), np.array([1.0, 3.0])) == pytest.approx(
        0.5 * (0.25**2 / 0.75 + 0.25**2 / 1.25)
    )
    assert distances.spread(np.array([1.0, 3.0, 100.0]), np.array([1.0, 1.0, 0.0])) == pytest.approx(1.0)
    edges = np.array([0.0, 1.0, 2.0])
    assert distances.bin_of(np.array([-5, 0, 0.99, 1, 2, 7.0]), edges).tolist() == [0, 0, 0, 1, 1, 1]


def test_distances_are_in_deviations_of_the_reference_and_shifts_in_parts_of_it():
    rng = np.random.default_rng(8)
    a, b = units(4 + 2 * quantiles(stats.norm, 500)), units(5 + 3 * quantiles(stats.norm, 500))
    shifted = a._replace(values=a.values + 1.0)
    assert distances.wasserstein_measured(a, shifted, 2, rng).value == pytest.approx(0.5, rel=0.01)
    assert distances.shift_measured(a, b, "mean", 2, rng).value == pytest.approx(0.25)
    assert distances.shift_measured(a, b, "width", 2, rng).value == pytest.approx(0.5)
    assert distances.shift_measured(b, a, "mean", 2, rng).value == pytest.approx(-0.2)


def test_uncertainties_of_distances_are_the_scatter_of_independent_pairs():
    rng, n = np.random.default_rng(9), 250

    def pair():
        a, b = rng.normal(0, 1, n), rng.normal(0.8, 1.2, n)
        numbers = int(rng.integers(10**9)) + np.arange(2 * n)
        return Units(a, np.ones(n), numbers[:n]), Units(b, np.ones(n), numbers[n:])

    for find in (
        lambda a, b, k: distances.wasserstein_measured(a, b, k, rng),
        lambda a, b, k: distances.shift_measured(
            a._replace(values=a.values + 9), b._replace(values=b.values + 9), "mean", k, rng
        ),
    ):
        toys = [find(*pair(), 2).value for _ in range(150)]
        assert np.mean([find(*pair(), 60).uncertainty for _ in range(6)]) == pytest.approx(np.std(toys), rel=0.25)


def test_the_floor_of_a_signed_difference():
    drawn = np.abs(np.random.default_rng(10).normal(0, 0.3, 200_000))
    assert measured.half_normal(0.3) == pytest.approx((drawn.mean(), drawn.std()), rel=0.01)
    assert measured.pull((1.0, 3.0), (11.0, 4.0)) == 2.0 == -measured.pull((11.0, 3.0), (1.0, 4.0))


def test_the_effective_number_and_what_is_resampled():
    assert bootstrap.effective_number(np.full(7, 3.0)) == pytest.approx(7)
    assert bootstrap.effective_number(np.array([1.0, 0.0, 0.0])) == pytest.approx(1)
    assert bootstrap.effective_number(np.array([2.0, -1.0])) == pytest.approx(0.2)
    assert bootstrap.effective_number(np.array([1.0, -2.0])) == 0
    one = Units(np.zeros(6), np.array([1.0, 1, 2, 2, 3, 3]), np.array([5, 5, 7, 7, 9, 9]))
    drawn = bootstrap.resampled_weights(one, 3, 400, np.random.default_rng(1))
    assert drawn.sum(axis=1) == pytest.approx(np.ones(400)) and (drawn[:, ::2] == drawn[:, 1::2]).all()
    relative = drawn[:, ::2] / np.array([1.0, 2.0, 3.0])
    counts = np.round(3 * relative / relative.sum(1, keepdims=True))
    assert (counts.sum(1) == 3).all() and counts.mean(0) == pytest.approx(np.ones(3), abs=0.15)
    assert bootstrap.batches(10, 3, 9) == [3, 3, 3, 1] and bootstrap.batches(2, 100, 9) == [1, 1]


# --- profiles and features


def test_bins_that_hold_a_share_are_the_fewest():
    rng = np.random.default_rng(11)
    for share in (0.5, 0.9, 0.95):
        mean = rng.exponential(size=7)
        fewest = min(
            (k for k in range(1, 8) for c in itertools.combinations(mean, k) if sum(c) >= share * mean.sum()), default=0
        )
        held = profiles.holding(mean, share)
        assert held.sum() == fewest and mean[held].min() >= mean[~held].max(initial=0)


def test_deviation_and_distance_of_profiles_by_hand():
    """Means 8, 4, 0.2 of the reference: the last bin lies beyond 95 %, so that its factor of nine does not count."""
    a = np.tile([8.0, 4.0, 0.2], (4, 1))
    b = a * np.array([1.1, 0.7, 9.0])
    own, rng = units(np.zeros(4)), np.random.default_rng(12)
    assert profiles.deviation_measured(a, own, b, own, 2, rng).value == pytest.approx(0.3)
    x = np.array([0.0, 1.0, 3.0])
    p, q = (row / row.sum() for row in (a[0], b[0]))
    mean = p @ x
    w1 = abs(p[0] - q[0]) * 1 + abs(p[0] + p[1] - q[0] - q[1]) * 2
    expected = w1 / math.sqrt(p @ (x - mean) ** 2)
    assert profiles.shape_measured(a, own, b, own, x, 2, rng).value == pytest.approx(expected)


def test_the_kernel_distance_is_the_unbiased_square_by_brute_force():
    rng = np.random.default_rng(13)
    x, y = rng.normal(size=(120, 3)), rng.normal(0.4, 1, (120, 3))
    scale = np.abs(x).max(0)
    u, v = x / scale, y / scale
    k = (u @ u.T / 3 + 1) ** 4, (v @ v.T / 3 + 1) ** 4, (u @ v.T / 3 + 1) ** 4
    off = ~np.eye(120, dtype=bool)
    expected = k[0][off].mean() + k[1][off].mean() - 2 * k[2].mean()
    assert frechet.kernel_physics_distance(x, y, seed=1).value == pytest.approx(expected)


@pytest.mark.parametrize("scale", [0.5, 1.0])
def test_the_frechet_distance_of_gaussians_in_closed_form(scale):
    """Squares of the difference of means and of deviations, in units of the largest value of the reference."""
    rng = np.random.default_rng(14)
    x = rng.normal(0.5, 0.1, (20_000, 2))
    y = rng.normal([0.55, 0.5], [0.1 * scale, 0.1], (20_000, 2))
    found = frechet.frechet_physics_distance(x, y, seed=1, most=4000)
    largest = np.percentile(x, 99.5, axis=0)[0]
    assert found.value == pytest.approx((0.05**2 + (0.1 - 0.1 * scale) ** 2) / largest**2, rel=0.15)


@pytest.mark.parametrize("apart", [0.0, 0.05])
def test_the_uncertainty_of_the_frechet_distance_is_its_scatter(apart):
    """Of one pair of samples, drawn from again with other seeds."""
    rng = np.random.default_rng(15)
    x, y = rng.normal(0.5, 0.1, (600, 2)), rng.normal(0.5 + apart, 0.1, (600, 2))
    found = [frechet.frechet_physics_distance(x, y, seed=seed, points=5) for seed in range(30)]
    values = np.array([one.value for one in found])
    assert np.mean([one.uncertainty for one in found]) == pytest.approx(values.std(), rel=0.5) or not apart
    assert values.min() >= 0 and np.mean([one.uncertainty for one in found]) < 0.01


def test_the_kernel_distance_is_the_median_of_its_batches(monkeypatch):
    """Of ten batches of 0 … 9 in any order; the uncertainty is half of what their middle 67.45 % span."""
    planted = iter(np.random.default_rng(16).permutation(10).astype(float))
    monkeypatch.setattr(frechet, "_mmd", lambda *_: next(planted))
    found = frechet.kernel_physics_distance(np.ones((100, 2)), np.ones((100, 2)), seed=1)
    assert found[:2] == pytest.approx((4.5, 0.6745 * 9 / 2)) and next(planted, None) is None
