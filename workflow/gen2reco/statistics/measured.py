"""A measured number with its uncertainty and its floor, and the difference of two of them."""

import math
from typing import NamedTuple


class Measured(NamedTuple):
    """A number with its uncertainty; `floor` is what two reference samples of the same sizes give, on average."""

    value: float
    uncertainty: float
    floor: float = float("nan")
    floor_uncertainty: float = float("nan")


NOT_MEASURED = Measured(float("nan"), float("nan"))
"""What a measurement gives where there are too few units."""


def half_normal(sigma: float) -> tuple[float, float]:
    """Mean and standard deviation of |x| where x is normal with mean 0: the floor of a signed difference."""
    return math.sqrt(2 / math.pi) * sigma, math.sqrt(1 - 2 / math.pi) * sigma


def pull(reference: tuple[float, float], value: tuple[float, float]) -> float:
    """Difference (value - reference) in standard deviations of both; each is a number and its uncertainty.

    Where neither has an uncertainty, a difference is infinite and none is 0.
    """
    difference, error = value[0] - reference[0], math.hypot(reference[1], value[1])
    if error == 0:
        return difference * math.inf if difference else 0.0
    return difference / error
