"""Published measurements that ship with the package, and samples held against them."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gen2reco.config.block import load_yaml


@dataclass(frozen=True)
class Measurement:
    """A published distribution or mean: value and error in bins [low, high)."""

    experiment: str
    observable: str
    table: str
    low: NDArray
    high: NDArray
    value: NDArray
    error: NDArray


@dataclass(frozen=True)
class Comparison:
    """A sample against a measurement. value, error: what the sample gives in the bins, with its statistical error;
    chi2 over the `ndf` bins that are compared, both errors taken as uncorrelated."""

    measurement: Measurement
    value: NDArray
    error: NDArray
    chi2: float
    ndf: int


def read_measurements(path: Path) -> tuple[Measurement, ...]:
    """The measurements of a table that ships with the package."""
    columns = ("low", "high", "value", "error")
    return tuple(
        Measurement(m["experiment"], m["observable"], m["table"], *(np.array(m[c], float) for c in columns))
        for m in load_yaml(path)["measurements"]
    )


def held_against(m: Measurement, value: NDArray, error: NDArray) -> Comparison:
    """A sample's value and error in the bins (n,) against the measured ones; bins that are NaN are left out."""
    kept = np.isfinite(value)
    pull2 = (value - m.value)[kept] ** 2 / (error**2 + m.error**2)[kept]
    return Comparison(m, value, error, float(pull2.sum()), int(kept.sum()))
