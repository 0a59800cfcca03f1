"""Floors: what a metric gives between independent samples of the reference of the same sizes, never zero.

Each floor of one reference is compared with the mean of the metric over independent pairs of samples.
"""

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import pytest

from gen2reco.statistics import distances, frechet, identities, profiles
from gen2reco.statistics.classifiers import two_sample_auc
from gen2reco.statistics.distances import Measured, Units

EDGES = np.array([0.0, 0.4, 0.8, 1.2, 1.6, 2.0, 9.0])
PAIRS = 150


class Sample(NamedTuple):
    """n events with one value and one profile of five bins each."""

    values: np.ndarray
    block: np.ndarray
    units: Units


def drawn(rng: np.random.Generator, n: int) -> Sample:
    values = rng.gamma(4.0, 0.25, n)
    block = rng.gamma(3.0, 1.0, (n, 5)) * np.array([1.0, 3.0, 4.0, 2.0, 0.5])
    return Sample(values, block, Units(values, np.ones(n), int(rng.integers(10**9)) + np.arange(n)))


def rng(seed: int = 1) -> np.random.Generator:
    return np.random.default_rng(seed)


Metric = Callable[[Sample, Sample, int], Measured]
METRICS: dict[str, Metric] = {
    "wasserstein": lambda a, b, n: distances.wasserstein_measured(a.units, b.units, n, rng()),
    "separation": lambda a, b, n: distances.separation_measured(a.units, b.units, EDGES, n, rng()),
    "distance of spectra": lambda a, b, n: profiles.shape_measured(
        a.block, a.units, b.block, b.units, np.arange(5.0), n, rng()
    ),
    "deviation of profiles": lambda a, b, n: profiles.deviation_measured(a.block, a.units, b.block, b.units, n, rng()),
    "shift of the mean": lambda a, b, n: absolute(distances.shift_measured(a.units, b.units, "mean", n, rng())),
    "shift of the width": lambda a, b, n: absolute(distances.shift_measured(a.units, b.units, "width", n, rng())),
}


def absolute(found: Measured) -> Measured:
    return found._replace(value=abs(found.value))


@pytest.mark.parametrize("sizes", [(300, 300), (300, 60), (80, 400)])
@pytest.mark.parametrize("metric", METRICS)
def test_a_floor_is_the_mean_of_independent_pairs(metric, sizes):
    find, draws = METRICS[metric], rng(2)
    apart = [find(*(drawn(draws, n) for n in sizes), 2).value for _ in range(PAIRS)]
    floors = [find(*(drawn(draws, n) for n in sizes), 60) for _ in range(6)]
    floor = np.mean([found.floor for found in floors])
    assert 0 < floor == pytest.approx(np.mean(apart), rel=0.3)
    assert np.mean([found.floor_uncertainty for found in floors]) == pytest.approx(np.std(apart), rel=0.45)


@pytest.mark.parametrize("n", [60, 600])
def test_the_floor_of_a_calibration_is_that_of_honest_probabilities(n):
    def honest(draws) -> identities.Answers:
        probability = draws.dirichlet([2.0, 1.0, 1.0], n)
        truth = (probability.cumsum(axis=1) < draws.random((n, 1))).sum(axis=1)
        return identities.Answers(probability, truth, np.ones(n))

    draws = rng(3)
    values = [identities.calibration_error(honest(draws), 2, rng()).value for _ in range(PAIRS)]
    floors = [identities.calibration_error(honest(draws), 40, rng()).floor for _ in range(4)]
    assert 0 < np.mean(floors) == pytest.approx(np.mean(values), rel=0.25)


@pytest.mark.parametrize("distance", [frechet.frechet_physics_distance, frechet.kernel_physics_distance])
def test_the_floor_of_a_distance_of_features_is_that_of_two_different_halves(distance):
    """Halves of references against pairs of independent samples: alike in mean and spread, and far from nothing."""
    draws, n = rng(4), 150

    def features(size):
        return draws.gamma(4.0, 1.0, (size, 3))

    floors = [frechet.with_floor(distance, features(2 * n), features(n), seed)[0].floor for seed in range(16)]
    apart = [distance(features(n), features(n), seed=seed).value for seed in range(16)]
    one = features(n)
    same = [distance(one, one, seed=seed).value for seed in range(4)]
    error = np.hypot(np.std(floors), np.std(apart)) / 4
    assert np.mean(floors) == pytest.approx(np.mean(apart), abs=4 * error)
    assert 0.4 < np.std(floors) / np.std(apart) < 2.5
    assert abs(np.mean(floors) - np.mean(same)) > 3 * np.std(floors) / 4, "as if one half were compared with itself"


def test_value_and_floor_of_a_distance_are_of_equal_sizes():
    """Of 700 reference units and 200 candidates, each number is of 200 against 200, no unit of the floor twice."""
    sizes = []

    def spy(a, b, *, seed):
        assert len(np.unique(np.concatenate([a, b])[:, 0])) == len(a) + len(b)
        sizes.append((len(a), len(b)))
        return Measured(0.0, 0.0)

    values = np.arange(900.0)[:, None]
    assert frechet.with_floor(spy, values[:700], values[700:], 1)[1] == 200
    assert frechet.with_floor(spy, values[:300], values[300:], 1)[1] == 150
    assert sizes == [(200, 200)] * 2 + [(150, 150)] * 2


def test_the_floor_of_a_classifier_is_that_of_two_different_halves():
    """Its scatter about one half is that of independent samples, and two halves never share an event."""
    draws, n = rng(5), 50

    def auc(seed) -> Measured:
        a, b = (draws.normal(size=(size, 2)) for size in (2 * n, n))
        return two_sample_auc(a, b, np.arange(2 * n), np.arange(n) + 900, most=n, seed=seed)[0]

    found = [auc(seed) for seed in range(10)]
    floors, values = (np.array([getattr(one, name) for one in found]) for name in ("floor", "value"))
    assert (np.abs(floors - 0.5) > 1e-6).all(), "as if one half were compared with itself"
    assert 0.4 < floors.std() / values.std() < 2.5
    assert abs(floors.mean() - 0.5) < 4 * found[0].uncertainty / np.sqrt(10)
    assert values.std() == pytest.approx(np.mean([one.uncertainty for one in found]), rel=0.6)


def test_the_floor_of_a_classifier_is_kept_by_its_size():
    draws, known = rng(6), {}
    a, b = draws.normal(size=(200, 1)), draws.normal(size=(100, 1))
    numbers = np.arange(200)
    first, n = two_sample_auc(a, b, numbers, numbers[:100] + 900, most=60, seed=1, floors=known)
    assert known == {60: first.floor} and n == 60
    known[60] = 0.4321
    again, _ = two_sample_auc(a, b, numbers, numbers[:100] + 900, most=60, seed=1, floors=known)
    assert again.floor == 0.4321 and again.value == first.value
    two_sample_auc(a, b, numbers, numbers[:100] + 900, most=50, seed=1, floors=known)
    assert set(known) == {60, 50}
