"""Precision, recall, density and coverage against brute force, known cases and their floor."""

import numpy as np
import pytest

from gen2reco.statistics.manifold import overlap, overlap_measured


def means(*given):
    return tuple(float(part.mean()) for part in overlap(*given))


def by_hand(x, y, k):
    """The definitions of arXiv:1904.06991 and arXiv:2002.09797, pair by pair."""
    ball, own = ([sorted(float(np.sum((a - b) ** 2)) for b in s)[k] for a in s] for s in (x, y))
    within = [[float(np.sum((a - b) ** 2)) <= ball[i] for b in y] for i, a in enumerate(x)]
    known = [any(float(np.sum((a - b) ** 2)) <= own[j] for j, b in enumerate(y)) for a in x]
    inside = np.array(within)
    return inside.any(0).mean(), np.mean(known), inside.sum() / k / len(y), inside.any(1).mean()


@pytest.mark.parametrize(("n", "m", "k"), [(40, 30, 3), (12, 50, 1), (60, 60, 5)])
def test_it_is_what_brute_force_gives(n, m, k, monkeypatch):
    rng = np.random.default_rng(n)
    x, y = rng.normal(size=(n, 2)), rng.normal(0.3, 1.2, size=(m, 2))
    for block in (1000, 7):
        monkeypatch.setattr("gen2reco.statistics.manifold._BLOCK", block)
        assert means(x, y, k) == pytest.approx(by_hand(x, y, k))


def test_known_cases():
    rng = np.random.default_rng(1)
    x = rng.normal(size=(400, 2))
    assert means(x, x) == pytest.approx((1, 1, 1 + 1 / 5, 1))  # each unit is in its own ball too
    assert means(x, x + 100) == (0, 0, 0, 0)
    narrow = means(x, 0.2 * rng.normal(size=(400, 2)))  # one mode of many: precise, and little of the reference
    assert narrow[0] > 0.95 and narrow[1] < 0.4 and narrow[3] < 0.5
    _, _, density, coverage = np.mean([means(*rng.normal(size=(2, 300, 3))) for _ in range(8)], axis=0)
    assert density == pytest.approx(1, abs=0.05) and coverage == pytest.approx(1 - 2**-5, abs=0.015)


def test_uncertainty_is_the_scatter_of_samples_and_knows_of_sources():
    rng = np.random.default_rng(2)
    found = []
    for seed in range(12):
        x, y = rng.normal(size=(400, 2)), rng.normal(size=(200, 2)) * 1.3
        found.append(overlap_measured(x, y, seed=seed)[0])
    values, errors, floors = (np.array([[m[i] for m in one.values()] for one in found]) for i in range(3))
    ratio = errors.mean(0) / values.std(0)
    assert (ratio > 0.6).all() and (ratio < 2).all()
    assert (floors.mean(0) > values.mean(0) - 0.01)[[0, 2, 3]].all()  # a wider candidate is less precise, less dense
    source = np.repeat(np.arange(100), 4)
    features = rng.normal(size=(100, 2))[source] + 0.01 * rng.normal(size=(400, 2))
    other = rng.normal(size=(100, 2))[source] + 0.01 * rng.normal(size=(400, 2))
    by_source, n = overlap_measured(features, other, (source, source + 100), seed=1)
    by_draw, _ = overlap_measured(features, other, seed=1)
    assert (
        n == 200 and by_source["coverage"].floor < by_draw["coverage"].floor - 0.2
    )  # a source in both halves covers itself
    assert by_source["density"].uncertainty > 1.3 * by_draw["density"].uncertainty
    assert np.isnan(overlap_measured(features[:90], other, seed=1)[0]["recall"].value)
