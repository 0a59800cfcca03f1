"""Uncertainties of units that share an event: toys of many campaigns, each of few sources with several draws each."""

import numpy as np
import pytest

from gen2reco.config.validation import Validation
from gen2reco.statistics import binomial, distances, frechet, identities, response
from gen2reco.statistics.bootstrap import (
    Units,
    bootstrap_error,
    counts,
    design_effect,
    floor_weights,
    grouped_variance,
    resampled_pair,
    resampled_weights,
    whole_events,
    whole_halves,
)
from gen2reco.statistics.classifiers import FOLDS, _fold, two_sample_auc
from gen2reco.statistics.roc import auc_error, hanley_mcneil, roc_auc
from gen2reco.validate import measure
from gen2reco.validate.observable_tables import ObservableTable
from gen2reco.validate.observables import PartObservables, Profile, Quantity, Rate, Response
from gen2reco.validate.ruler import Ruler

CAMPAIGNS, SOURCES, DRAWS = 200, 80, 5
COMMON = 0.9
"""Standard deviation that the draws of a source have in common, of 1 in all."""
SOURCE = np.repeat(np.arange(SOURCES), DRAWS)
ONE = np.ones(len(SOURCE))


def campaign(rng: np.random.Generator, mean: float = 0.0) -> np.ndarray:
    """One value of each draw, of this mean and width 1."""
    own = rng.normal(size=len(SOURCE)) * np.sqrt(1 - COMMON**2)
    return mean + COMMON * rng.normal(size=SOURCES)[SOURCE] + own


def of_rate(rng, groups):
    found = binomial.rate(campaign(rng) > 0, ONE, groups)
    return found.value - 0.5, found.uncertainty


def of_response(rng, groups):
    mean, _ = response.response(1 + 0.1 * campaign(rng), ONE, 60, rng, groups)
    return mean.value - 1, mean.uncertainty


def of_resolution(rng, groups):
    _, width = response.response(1 + 0.1 * campaign(rng), ONE, 60, rng, groups)
    return width.value - 0.1, width.uncertainty


def of_auc(rng, groups):
    score, positive = np.concatenate([campaign(rng), campaign(rng, 1.0)]), np.repeat([False, True], len(SOURCE))
    group = [np.concatenate([SOURCE, SOURCE + SOURCES])] if groups else ()
    auc = roc_auc(score, positive)
    return auc - 0.76025, auc_error(auc, score, positive, np.ones(len(score)), group)  # Φ(1 / √2)


def of_median(rng, groups):
    values = campaign(rng)
    return np.median(values), bootstrap_error((values,), np.median, 60, rng, groups)


def of_mean_shift(rng, groups):
    event = SOURCE if groups else np.arange(len(SOURCE))
    a, b = Units(3 + campaign(rng), ONE, event), Units(3 + campaign(rng), ONE, event + 1000)
    found = distances.shift_measured(a, b, "mean", 60, rng)
    return found.value, found.uncertainty


@pytest.mark.parametrize("of", [of_rate, of_response, of_resolution, of_auc, of_median, of_mean_shift])
def test_campaigns_cover_by_source_and_not_by_draw(of):
    def coverage(groups, campaigns=CAMPAIGNS):
        rng = np.random.default_rng(3)
        off, error = np.array([of(rng, groups) for _ in range(campaigns)]).T
        return float(np.mean(np.abs(off) < error))

    assert abs(coverage([SOURCE]) - 0.6827) < 0.05
    assert coverage((), CAMPAIGNS // 2) < 0.5


def test_two_groupings_cover_where_either_alone_does_not():
    rng = np.random.default_rng(5)
    found = []
    for _ in range(CAMPAIGNS):
        source, library = rng.integers(0, 25, (2, 250))
        values = (rng.normal(size=25)[source] + rng.normal(size=25)[library] + 0.5 * rng.normal(size=250)) / 1.5
        rate = [binomial.rate(values > 0, np.ones(250), g).uncertainty for g in ([source], [source, library])]
        mean = [bootstrap_error((values,), np.mean, 60, rng, g) for g in ([source], [source, library])]
        found.append([(values > 0).mean() - 0.5, *rate, values.mean(), *mean])
    share, *rates, mean, one, both = np.array(found).T
    assert np.mean(np.abs(share) < rates[0]) < 0.6 and np.mean(np.abs(mean) < one) < 0.6
    assert abs(np.mean(np.abs(share) < rates[1]) - 0.6827) < 0.07  # of 25 sources: a few per cent too few
    assert 0.63 < np.mean(np.abs(mean) < both) < 0.78  # the product counts what is of one unit thrice


def crossings(rng: np.random.Generator, parts: int) -> tuple[np.ndarray, np.ndarray]:
    """What 160 events add up to, most of it from 40 of the 960 events of a library, and the part of each."""
    library, part = rng.normal(size=960) / np.sqrt(40), np.arange(160) % parts
    pileup = [library[p + parts * rng.choice(960 // parts, 40, replace=False)].sum() for p in part]
    return 0.3 * rng.normal(size=160) + np.array(pileup), part


@pytest.mark.parametrize("of", ["mean", "rate", "pair"])
def test_pileup_campaigns_cover_by_the_part_of_the_library_and_not_by_event(of):
    rng, found = np.random.default_rng(8), []
    ones, event = np.ones(160), np.arange(160)
    for _ in range(3 * CAMPAIGNS):
        values, part = crossings(rng, parts=20)
        units = [Units(values, ones, event, library) for library in (None, part)]
        if of == "rate":
            found.append([(values > 0).mean() - 0.5, *(binomial.rate(values > 0, ones, u.groups)[1] for u in units)])
        elif of == "mean":
            found.append([values.mean(), *((resampled_weights(u, 160, 80, rng) @ values).std() for u in units)])
        else:  # against the same events without pile-up
            plain = Units(0.3 * rng.normal(size=160), ones, event)
            drawn = [resampled_pair(plain._replace(library=u.library), u, 80, rng) for u in units]
            errors = [(b @ values - a @ plain.values).std() for a, b in drawn]
            found.append([values.mean() - plain.values.mean(), *errors])
    off, by_event, by_part = np.array(found).T
    assert np.mean(np.abs(off) < by_event) < 0.5
    assert abs(np.mean(np.abs(off) < by_part) - 0.6827) < 0.05


def test_events_without_pileup_are_resampled_as_those_behind_it():
    event = np.array([4, 2, 7])
    plain, behind = ObservableTable(event[::-1], np.ones(3)), ObservableTable(event, np.ones(3), library=event % 5)
    assert plain.grouped_as(behind).library.tolist() == [2, 2, 4]
    assert behind.grouped_as(plain) is behind and plain.grouped_as(plain) is plain
    other = ObservableTable(np.array([4, 9]), np.ones(2))
    assert other.grouped_as(behind) is other
    # as many events are drawn, in whole groups
    many = Units(np.arange(12.0), np.ones(12), np.arange(12), np.arange(12) % 4)
    weights = resampled_weights(many, 6, 50, np.random.default_rng(1))
    assert {round(w.max() * 6, 6) for w in weights} <= {1.0, 2.0}


def test_variances_by_hand():
    parts, group, other = np.array([1.0, 2.0, -3.0, 0.5]), np.array([0, 0, 1, 1]), np.array([0, 1, 0, 1])
    assert grouped_variance(parts) == grouped_variance(parts, [np.arange(4)]) == 14.25
    assert grouped_variance(parts, [group]) == pytest.approx(2 * (9 + 6.25))
    assert grouped_variance(parts, [group, np.arange(4)]) == pytest.approx(2 * (9 + 6.25))
    both = 2 * (9 + 6.25) + 2 * (4 + 6.25) - 14.25 * 4 / 3
    assert grouped_variance(parts, [group, other]) == pytest.approx(max(both, 2 * (9 + 6.25)))
    assert design_effect(parts, [group]) == pytest.approx(2 * 15.25 / 14.25)
    assert design_effect(np.zeros(4), [group]) == 2.0  # nothing differs: as many as there are groups
    assert design_effect(parts, [np.arange(4)]) == design_effect(parts) == 1.0


def test_single_units_give_what_they_gave_without_groups():
    rng = np.random.default_rng(1)
    values, weight, single = rng.normal(1, 0.1, 90), rng.random(90), [rng.permutation(90)]
    assert binomial.rate(values > 1, weight, single) == binomial.rate(values > 1, weight)
    both = [response.response(values, weight, 20, np.random.default_rng(2), g) for g in ((), single)]
    assert both[0] == both[1]
    error = [bootstrap_error((values,), np.mean, 20, np.random.default_rng(2), g) for g in ((), single)]
    assert error[0] == error[1]
    edges = np.array([0.8, 1.0, 1.2])
    binned = [binomial.binned_rate(values > 1.05, weight, values, edges, g) for g in ((), single)]
    assert all(np.array_equal(*pair) for pair in zip(*binned))


def test_draws_of_a_source_stay_together():
    rng = np.random.default_rng(2)
    times = counts(len(SOURCE), 7, rng, [SOURCE])
    assert (np.ptp(times.reshape(7, SOURCES, DRAWS), axis=2) == 0).all() and (times.sum(1) == len(SOURCE)).all()
    first, second = whole_halves(SOURCE, rng.permutation(SOURCES), 203)
    assert len(first) == 200 and len(second) == 200  # no source cut at 203, and 200 are left
    assert not set(SOURCE[first]) & set(SOURCE[second])
    assert whole_events(SOURCE, np.arange(SOURCES), 7).tolist() == [0, 1, 2, 3, 4]
    fold = _fold(np.concatenate([SOURCE, SOURCE]), 1)
    assert all(len(set(fold[np.tile(SOURCE, 2) == s])) == 1 for s in range(SOURCES)) and len(set(fold)) == FOLDS


def test_a_floor_has_no_more_draws_than_the_candidate():
    rng = np.random.default_rng(4)
    values = rng.normal(size=len(SOURCE))  # nothing in common: 5 draws are worth five events
    often, once = Units(values, ONE, SOURCE, draws=5.0), Units(values[::5], ONE[::5], SOURCE[::5])
    spread = [(floor_weights(often, b, 400, rng) @ values).std() * np.sqrt(SOURCES) for b in (often, once)]
    assert spread[0] == pytest.approx(1 / np.sqrt(5), rel=0.15) and spread[1] == pytest.approx(1.0, rel=0.15)


def test_few_groups_of_very_many_units_are_thinned_for_a_classifier():
    rng = np.random.default_rng(6)
    group = np.repeat(np.arange(8), 500)  # more units a group than the classifier sees in all
    x, y, z = rng.normal(size=(4000, 2)), rng.normal(size=(4000, 2)), rng.normal(0.7, 1.0, (4000, 2))
    same, n = two_sample_auc(x, y, group, group, most=400, seed=1)
    other, _ = two_sample_auc(x, z, group, group, most=400, seed=1)
    assert 250 < n <= 400 and abs(same.value - 0.5) < 4 * same.uncertainty and other.value > 0.64
    alone, n = two_sample_auc(x, y, np.zeros(4000, int), np.ones(4000, int), most=400, seed=1)
    assert n <= 400 and (np.isnan(alone.value) or 0 < alone.value < 1)


def features(seed: int) -> np.ndarray:
    """Features that all draws of a source share."""
    return np.repeat(np.random.default_rng(seed).normal(size=(SOURCES, 3)), DRAWS, axis=0)


def test_a_classifier_is_as_sure_as_there_are_sources():
    found, n = two_sample_auc(features(1), features(2), SOURCE, SOURCE + SOURCES, most=200, seed=1, floors={200: 0.5})
    assert n == 200
    assert 1.5 < found.uncertainty / hanley_mcneil(found.value, n, n) < 3  # the square root of 5 draws: 2.2


def test_kernel_and_frechet_distances_do_not_take_a_source_for_a_difference():
    kpd, naive = [], []
    for seed in range(12):
        x, y = features(seed), features(seed + 100)
        for into, events in ((kpd, (SOURCE, SOURCE + SOURCES)), (naive, None)):
            into.append(frechet.kernel_physics_distance(x, y, events, seed=seed, batches=1).value)
    assert abs(np.mean(kpd)) < 3 * np.std(kpd) / np.sqrt(12) and np.mean(naive) > 3 * np.std(naive) / np.sqrt(12)
    halves = []

    def spy(a, b, events, seed):
        halves.append(events)
        return frechet.frechet_physics_distance(a, b, events, seed=seed, points=4, batches=2)

    _, n = frechet.with_floor(spy, features(1), features(2), 1, (SOURCE, SOURCE))
    assert n == 200 and [len(one) for pair in halves for one in pair] == [200] * 4
    assert not set(halves[1][0]) & set(halves[1][1])


def test_the_floor_of_calibration_errors_knows_of_sources():
    rng = np.random.default_rng(6)
    confidence = rng.uniform(0.5, 1, SOURCES)[SOURCE]
    right = rng.random(SOURCES)[SOURCE] < confidence  # all draws of a source right, or none
    kind = np.where(right, 0, 1)
    probability = np.stack([confidence, 1 - confidence], 1)
    floors = []
    for groups in ((), (SOURCE,)):
        answers = identities.Answers(probability, kind, ONE, groups)
        floors.append(identities.calibration_error(answers, 100, np.random.default_rng(1)).floor)
    assert floors[1] == pytest.approx(np.sqrt(DRAWS) * floors[0], rel=0.3)


PART = PartObservables(
    "toys",
    "Toys",
    quantities=(Quantity("x", "x", moments=True),),
    profiles=(Profile("layers", "energy per layer", "layer"),),
    responses=(Response("ratio", "E / E", ("energy",), terms=False),),
    rates=(Rate("found", "efficiency", ("energy",)),),
    pull=True,
)


def table(seed: int, draws: int) -> ObservableTable:
    """160 events, each `draws` times, the draws the same: they tell as much as the events alone."""
    rng, n = np.random.default_rng(seed), 160
    values = {"x": rng.normal(3, 1, n), "ratio": rng.normal(1, 0.1, n), "energy": rng.uniform(10, 100, n)}
    values |= {"found": (rng.random(n) < 0.8).astype(float), "pull": rng.normal(size=n)}
    columns = {name: np.repeat(column, draws) for name, column in values.items()}
    event, number = np.repeat(np.arange(n) + 1000 * seed, draws), np.arange(n * draws)
    block = np.repeat(rng.exponential(size=(n, 6)), draws, axis=0)
    return ObservableTable(number, np.ones(n * draws) / draws, columns, {"layers": block}).of_sources(number, event)


def test_draws_that_tell_nothing_new_change_no_metric_of_a_report():
    found = []
    for draws in (1, 4):
        a, b, ruler = table(1, draws), table(2, draws), Ruler("objects", ("a", "b"), Validation())
        made = [*measure.absolute(PART, ruler, a), *measure.compared(PART, ruler, a, b)]
        found.append({metric.name: metric for metric in made})
    plain, often = found
    assert set(plain) == set(often) and len(plain) > 10
    for name, metric in plain.items():
        if "separation" in name:
            continue  # its bins are narrower the more units there are
        assert often[name].value == pytest.approx(metric.value), name
        assert often[name].uncertainty == pytest.approx(metric.uncertainty, rel=0.4), name
        assert often[name].floor == pytest.approx(metric.floor, rel=0.4, nan_ok=True), name
