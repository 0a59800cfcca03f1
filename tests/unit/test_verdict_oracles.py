"""The verdict of a metric against the rule as the report states it, at every border."""

import itertools
import math

import pytest

from gen2reco.statistics.distances import Measured
from gen2reco.validate.verdict import Metric, excess, judge, worst

LIMITS = (0.10, 0.25)


def stated(over: float, error: float, limits=LIMITS, scale=None) -> str:
    """pass: within the first limit, with enough events to tell; fail: beyond the second by more than twice the
    uncertainty; attention: all else."""
    if over > limits[1] + 2 * error:
        return "fail"
    return "pass" if over <= limits[0] and error <= (limits[0] if scale is None else scale) else "attention"


BORDERS = [
    at + sigmas * error
    for at in (0.0, *LIMITS)
    for error in (0.001, 0.02, 0.09, 0.11)
    for sigmas in (-1.5, -0.5, 0.5, 0.99, 1.01, 1.5, 1.99, 2.01, 3.0)
]
ERRORS = (0.001, 0.02, 0.09, 0.11, 0.5)


def rounds(over: float, error: float) -> bool:
    """Whether it lies so near to a border that rounding decides."""
    return min(abs(over - at) for at in (*LIMITS, LIMITS[1] + 2 * error)) < 1e-9


GRID = [(over, error) for over, error in itertools.product(BORDERS, ERRORS) if over > 1e-6 and not rounds(over, error)]


def test_of_a_distance_its_excess_over_the_floor_is_judged():
    for (over, error), floor in itertools.product(GRID, (0.0, 0.3)):
        found = judge(Measured(over + floor, error, floor, 0.0), LIMITS, above_floor=True)[0]
        assert found == stated(over, error), (over, error, floor)


def test_of_a_shift_its_size_is_judged_whatever_its_sign_or_floor():
    for over, error in GRID:
        for value in (over, -over):
            found = judge(Measured(value, error, 0.2, 0.5), LIMITS, above_floor=False)[0]
            assert found == stated(over, error), (value, error)


@pytest.mark.parametrize(
    ("error", "floor_error", "verdict"),
    [(0.02, 0.0, "fail"), (0.03, 0.0, "attention"), (0.0, 0.03, "attention"), (0.0, 0.02, "fail"),
     (0.02, math.nan, "fail")],
)  # fmt: skip
def test_a_fail_is_beyond_by_twice_the_larger_uncertainty(error, floor_error, verdict):
    """An excess of 0.30 is 0.05 beyond the second limit."""
    assert judge(Measured(0.5, error, 0.2, floor_error), LIMITS, above_floor=True)[0] == verdict


def test_areas_of_classifiers_are_judged_above_one_half():
    limits = (0.6, 0.75)
    for value, error in itertools.product((0.45, 0.59, 0.61, 0.74, 0.76, 0.9), (0.01, 0.06, 0.09, 0.11)):
        found = judge(Measured(value, error, 0.52, 0.9), limits, above_floor=False)[0]
        assert found == stated(value, error, limits, scale=0.1), (value, error)


def test_what_was_not_measured_is_not_judged():
    assert judge(Measured(math.nan, 0.1), LIMITS, above_floor=True)[0] is None
    assert judge(Measured(0.05, math.nan, math.nan, math.nan), LIMITS, above_floor=True)[0] == "pass"


@pytest.mark.parametrize("verdicts", list(itertools.product(("pass", "attention", "fail", None), repeat=3)))
def test_the_worst_is_the_gravest(verdicts):
    known = [v for v in ("fail", "attention", "pass") if v in verdicts]
    assert worst(verdicts) == (known[0] if known else None)


def metric(value, floor=math.nan, limits=None):
    return Metric("hits", "x/y", "title", value, 0.1, floor, 9, ("a", "b"), limits)


def test_metrics_are_sorted_by_excess_in_units_of_their_first_limit():
    ordered = [
        metric(math.nan, 0.0, (0.1, 0.2)),
        metric(0.05, 0.3, (0.1, 0.2)),
        metric(-0.2, limits=(0.2, 0.4)),
        metric(0.35, 0.05, (0.1, 0.2)),
        metric(4.0),
    ]
    assert sorted([ordered[i] for i in (3, 0, 4, 2, 1)], key=excess) == ordered
    assert [excess(one) for one in ordered[1:]] == pytest.approx([-2.5, 1.0, 3.0, 4.0])
