"""CLUE against its O(n²) definition, on whatever can go wrong: ties, duplicates, crowds, cyclic coordinates."""

import itertools
import math
import time

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gen2reco.cluster import clue
from gen2reco.cluster.numba_points import clue_groups
from gen2reco.cluster.points import fold
from gen2reco.errors import InputError

F = np.float32


def reference(points, weights, radius, min_density, outlier, seeding, periods=None):
    """The definition, pair by pair: (density, nearest higher, seeds, labels)."""
    n = len(points)
    apart = np.abs(points[:, None] - points[None])
    if periods is not None:
        apart = np.minimum(apart, periods - apart)
    square = np.zeros((n, n), F)
    for axis in range(points.shape[1]):
        square = square + apart[..., axis] * apart[..., axis]
    distance = np.sqrt(square)
    near = distance <= F(radius)
    np.fill_diagonal(near, False)
    density = (weights.astype(float) + 0.5 * (near * weights.astype(float)).sum(axis=1)).astype(F)
    order = np.lexsort((np.arange(n), density))
    rank = np.empty(n, int)
    rank[order] = np.arange(n)
    reach = np.where(density >= F(min_density), F(seeding), F(outlier))
    higher = np.full(n, -1)
    for i in range(n):
        above = np.flatnonzero((rank > rank[i]) & (distance[i] <= reach[i]))
        if len(above):
            higher[i] = above[np.lexsort((-rank[above], distance[i, above]))[0]]
    seeds = (density >= F(min_density)) & (higher < 0)
    labels = np.full(n, -1)
    labels[seeds] = np.arange(seeds.sum())
    for i in order[::-1]:
        if higher[i] >= 0:
            labels[i] = labels[higher[i]]
    return density, higher, seeds, labels


@st.composite
def problems(draw):
    """Random weighted sets: blobs, lattices (ties), duplicates; equal or random weights; plain or cyclic axes."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    n, axes = draw(st.sampled_from([0, 1, 2, 7, 47, 48, 49, 120, 260])), draw(st.sampled_from([2, 3]))
    kind = draw(st.sampled_from(["blob", "lattice", "duplicates", "line", "far"]))
    points = rng.normal(size=(n, axes)) * draw(st.sampled_from([0.2, 1.0, 4.0]))
    if kind == "lattice":
        points = np.round(points * 2) / 2
    elif kind == "duplicates":
        points = np.round(points)
    elif kind == "line":
        points[:, 0] = 1.0
    elif kind == "far" and n:
        points[0] = 1e7
    weights = np.ones(n) if draw(st.booleans()) else rng.exponential(size=n)
    radius = draw(st.sampled_from([0.1, 0.5, 1.0, 2.0]))
    factors = st.sampled_from([0.5, 1.0, 2.0, 6.0])
    period = [draw(st.sampled_from([None, 1.5, 2 * math.pi, 20.0])) for _ in range(axes)]
    return {
        "points": points.astype(F),
        "weights": weights.astype(F),
        "radius": radius,
        "min_density": draw(st.sampled_from([0.0, 0.5, 1.0, 3.0, 8.0])),
        "outlier": radius * draw(factors),
        "seeding": radius * draw(factors),
        "period": period if draw(st.booleans()) and kind != "far" else None,
    }


def tiles(*problem):
    return clue_groups(*problem, method=1)


def tree(*problem):
    return clue_groups(*problem, method=2)


def torch_cpu(*problem):
    from gen2reco.cluster.torch_points import clue_groups as run

    return run(*problem, device="cpu")


@settings(max_examples=60, deadline=None)
@given(problems(), st.sampled_from([tiles, tree, torch_cpu]))
def test_every_way_equals_the_definition(problem, run):
    """Densities, nearest highers, seeds and labels are the definition's, bit for bit, by tiles, tree and torch."""
    periods, points = None, problem["points"]
    if problem["period"] is not None:
        periods = np.array([np.inf if p is None else p for p in problem["period"]], F)
        points = fold(points, periods)
    args = problem["radius"], problem["min_density"], problem["outlier"], problem["seeding"]
    radius, min_density, outlier, seeding = args
    offsets = np.array([0, len(points)])
    thresholds = np.array([min_density])
    found, counts = run(points, problem["weights"], offsets, radius, thresholds, outlier, seeding, periods)
    density, higher, seeds, labels = reference(points, problem["weights"], *args, periods)
    np.testing.assert_array_equal(found.density, density)
    np.testing.assert_array_equal(found.nearest_higher, higher)
    np.testing.assert_array_equal(found.is_seed, seeds)
    np.testing.assert_array_equal(found.labels, labels)
    assert counts[0] == seeds.sum() == found.n_clusters


@pytest.mark.parametrize("device", [None, "cpu"])
def test_groups_are_independent(device):
    rng = np.random.default_rng(3)
    sizes = [0, 1, 200, 0, 35, 90]
    offsets = np.concatenate([[0], np.cumsum(sizes)])
    points, weights = rng.normal(size=(offsets[-1], 2)).astype(F), rng.exponential(size=offsets[-1]).astype(F)
    thresholds = np.array([1.0, 0.1, 2.0, 1.0, 1.5, 4.0])
    run = torch_cpu if device else clue_groups
    found, counts = run(points, weights, offsets, 0.4, thresholds, 0.8, 0.4)
    for g, (a, b) in enumerate(itertools.pairwise(offsets)):
        alone = clue(
            points[a:b],
            weights[a:b],
            density_radius=0.4,
            min_density=thresholds[g],
            outlier_distance=0.8,
            device=device,
        )
        np.testing.assert_array_equal(found.labels[a:b], alone.labels)
        assert counts[g] == alone.n_clusters


@pytest.mark.parametrize(
    "make",
    [
        lambda rng, n: np.zeros((n, 2)),
        lambda rng, n: rng.uniform(size=(n, 2)) * 0.5,
        lambda rng, n: np.column_stack([np.zeros(n), rng.uniform(size=n)]),
        lambda rng, n: np.vstack([rng.normal(size=(n - 1, 2)) * 1e-3, [[1e9, 1e9]]]),
        lambda rng, n: rng.integers(0, 3, size=(n, 3)) * 0.2,
    ],
    ids=["one point", "one tile", "a line", "far outlier", "a few places"],
)
def test_crowds_do_not_hang(make):
    """200,000 points within one radius: the pairwise cost would be minutes."""
    n = 200_000
    points = make(np.random.default_rng(0), n)
    clue(points[:10], np.ones(10), density_radius=1.0, min_density=1.0)
    start = time.process_time()
    found = clue(points, np.ones(n), density_radius=1.0, min_density=1.0)
    assert time.process_time() - start < 20
    assert found.density.max() >= 0.5 * (n - 1)
    assert found.n_clusters <= 2


def test_torch_leaves_crowds_to_the_tree():
    points = np.random.default_rng(0).uniform(size=(300_000, 2)) * 0.5
    on_torch = clue(points, np.ones(len(points)), density_radius=1.0, min_density=1.0, device="cpu")
    compiled = clue(points, np.ones(len(points)), density_radius=1.0, min_density=1.0)
    np.testing.assert_array_equal(on_torch.labels, compiled.labels)


def test_wide_search_over_empty_space_is_quick():
    rng = np.random.default_rng(1)
    points = rng.uniform(0, 1000, size=(50_000, 2))
    start = time.process_time()
    clue(points, np.ones(len(points)), density_radius=1.0, min_density=100.0, outlier_distance=1e6)
    assert time.process_time() - start < 20


def test_phi_wraps():
    phi = np.array([math.pi - 0.01, -math.pi + 0.01, 0.0, 3 * math.pi])
    points = np.column_stack([np.zeros(4), phi])
    found = clue(points, np.ones(4), density_radius=0.1, min_density=1.2, period=(None, 2 * math.pi))
    assert found.labels.tolist() == [0, 0, -1, 0]
    assert clue(points, np.ones(4), density_radius=0.1, min_density=1.2).labels.tolist() == [-1] * 4


def test_no_points_and_one_point():
    empty = clue(np.empty((0, 3)), np.empty(0), density_radius=1, min_density=1)
    assert empty.n_clusters == 0
    assert len(empty.labels) == 0
    assert clue(np.empty((0, 2)), [], density_radius=1, min_density=1, device="cpu").n_clusters == 0
    assert clue([[1, 2]], [2.0], density_radius=1, min_density=1).labels.tolist() == [0]
    assert clue([[1, 2]], [0.5], density_radius=1, min_density=1).labels.tolist() == [-1]


GOOD = {"coordinates": [[0, 0], [1, 1]], "weights": [1, 1], "density_radius": 1, "min_density": 1}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"coordinates": [[0, 0], [math.nan, 1]]}, "coordinates"),
        ({"coordinates": [[0, 0], [math.inf, 1]]}, "coordinates"),
        ({"coordinates": [[0, 0], [1e300, 1]]}, "coordinates"),
        ({"coordinates": [[0], [1]]}, "shape"),
        ({"coordinates": [0, 1]}, "shape"),
        ({"coordinates": [["a", "b"], ["c", "d"]]}, "numbers"),
        ({"weights": [1, math.nan]}, "weights"),
        ({"weights": [1, -1]}, ">= 0"),
        ({"weights": [1]}, "shape"),
        ({"density_radius": 0}, "density_radius"),
        ({"density_radius": math.nan}, "density_radius"),
        ({"min_density": -1}, "min_density"),
        ({"outlier_distance": math.inf}, "outlier_distance"),
        ({"period": (1,)}, "period"),
        ({"period": (0, None)}, "period"),
    ],
)
@pytest.mark.filterwarnings("ignore:overflow")
def test_bad_input_is_one_clear_line(change, message):
    with pytest.raises(InputError, match=message) as error:
        clue(**{**GOOD, **change})
    assert "\n" not in str(error.value)
