"""Numbers as the report writes them."""

import math

import numpy as np

from gen2reco.validate.verdict import Metric

_RELATIVE = ("shift_", "mean_", "width_", "bins_", "profile_")
"""Metrics that are written in per cent, by the start of their names."""


def number(value: float | None) -> str:
    """A number with three significant digits, whole from a thousand on."""
    if value is None or not math.isfinite(value):
        return "–"
    return f"{value:,.0f}" if 1e3 <= abs(value) < 1e9 else f"{value:.3g}"


def measured(metric: Metric) -> str:
    """Value ± uncertainty, to the digits the uncertainty allows."""
    if not math.isfinite(metric.value):
        return "–"
    if not (math.isfinite(metric.uncertainty) and metric.uncertainty > 0):
        return f"{metric.value:.3g}"
    digits = int(np.clip(1 - math.floor(math.log10(metric.uncertainty)), 0, 5))
    return f"{metric.value:.{digits}f} ± {metric.uncertainty:.{digits}f}"


def percent(value: float, uncertainty: float) -> str:
    """A relative shift with its uncertainty, in per cent."""
    digits = 2 if uncertainty < 1e-3 else 1
    return f"{100 * value:+.{digits}f} ± {100 * uncertainty:.{digits}f} %"


def written(metric: Metric) -> str:
    """A judged number with its uncertainty, its floor if that is taken off, and its limit, in one line."""
    relative = metric.name.rpartition("/")[2].startswith(_RELATIVE)
    value = percent(metric.value, metric.uncertainty) if relative else measured(metric)
    limit = metric.limits[0] if metric.limits else math.nan
    text = f"{100 * limit:g} %" if relative else f"{limit:g}"
    above = math.isfinite(metric.floor) and metric.judged < abs(metric.value)
    floor = f"{100 * metric.floor:.1f} %" if relative else number(metric.floor)
    return (
        f"{_plain(metric.title)} {value} ({f'limit {text} above the floor of {floor}' if above else f'limit {text}'})"
    )


def seconds(value: float | None) -> str:
    """A duration in a fitting unit."""
    if value is None or not math.isfinite(value):
        return "–"
    for unit, scale in (("s", 1.0), ("ms", 1e-3), ("µs", 1e-6)):
        if value >= scale:
            return f"{value / scale:.3g} {unit}"
    return f"{value / 1e-9:.3g} ns"


def _plain(title: str) -> str:
    """A metric's title without what its number repeats."""
    return title.removesuffix(", relative shift").removesuffix(", shift").removeprefix("largest of the distances: ")
