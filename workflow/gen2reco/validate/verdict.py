"""Metrics as they are written to metrics.json, and the rule that turns each into pass, attention or fail."""

import math
from collections.abc import Iterable
from dataclasses import asdict, dataclass

from gen2reco.config.validation import Limits
from gen2reco.statistics.measured import Measured

PASS, ATTENTION, FAIL = "pass", "attention", "fail"
TOO_FEW = "too few to tell"
_ORDER = (PASS, ATTENTION, FAIL)


@dataclass(frozen=True)
class Metric:
    """One number of one stage: of one sample, or of a candidate (second of `samples`) against the reference (first)."""

    stage: str
    name: str
    title: str
    value: float
    uncertainty: float
    floor: float
    n: int
    samples: tuple[str, ...]
    limits: Limits | None = None
    verdict: str | None = None
    reason: str = ""
    headline: bool = False
    judged: float = math.nan
    """What is held against the limits: |value|, or its excess over the floor."""
    judged_uncertainty: float = math.nan

    def as_json(self) -> dict:
        """Plain data; NaN becomes None."""
        plain = asdict(self)
        for key in ("value", "uncertainty", "floor", "judged", "judged_uncertainty"):
            plain[key] = plain[key] if math.isfinite(plain[key]) else None
        return plain | {"samples": list(self.samples), "limits": list(self.limits) if self.limits else None}


def judge(measured: Measured, limits: Limits, *, above_floor: bool) -> tuple[str | None, str]:
    """Verdict and reason. Judged is |value|, or its excess over the floor.

    pass: within the first limit, and the uncertainty is not larger than it; fail: beyond the second limit by more
    than twice the uncertainty, for many numbers are judged at once; attention: all else, so also where there are too
    few events to tell.
    """
    if not math.isfinite(measured.value):
        return None, "too few to measure"
    passes, fails = limits
    excess, error = held_against(measured, above_floor=above_floor)
    scale = scale_of(passes) if not above_floor else passes
    what = "excess over the floor " if above_floor and math.isfinite(measured.floor) else ""
    if excess - 2 * error > fails:
        return FAIL, f"{what}beyond {fails:g}"
    if excess - error > passes:
        return ATTENTION, f"{what}beyond {passes:g}"
    if error > max(scale, 1e-12):
        return ATTENTION, f"{TOO_FEW}: ± {error:.2g} against {passes:g}"
    if excess <= passes:
        return PASS, f"{what}within {passes:g}"
    return ATTENTION, f"{what}beyond {passes:g}, within its error"


def held_against(measured: Measured, *, above_floor: bool) -> tuple[float, float]:
    """What is judged of a number, |value| or its excess over the floor, and its uncertainty."""
    floor = measured.floor if above_floor and math.isfinite(measured.floor) else 0.0
    error = max(_finite(measured.uncertainty), _finite(measured.floor_uncertainty) if above_floor else 0.0)
    return abs(measured.value) - floor, error


def scale_of(limit: float) -> float:
    """How far a limit is from no difference at all: of an area under a curve, from one half."""
    return limit - 0.5 if limit >= 0.5 else limit


def worst(verdicts: Iterable[str | None]) -> str | None:
    """The gravest verdict; None of none."""
    known = [v for v in verdicts if v is not None]
    return max(known, key=_ORDER.index) if known else None


def excess(metric: Metric) -> float:
    """How far a metric is above its floor, in units of its first limit: what `worst distance` sorts by."""
    floor = metric.floor if math.isfinite(metric.floor) else 0.0
    limit = metric.limits[0] if metric.limits and metric.limits[0] > 0 else 1.0
    return (abs(metric.value) - floor) / limit if math.isfinite(metric.value) else -math.inf


def _finite(value: float) -> float:
    return value if math.isfinite(value) else 0.0
