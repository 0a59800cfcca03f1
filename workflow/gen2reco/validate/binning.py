"""Edges of the bins of figures and metrics."""

import numpy as np
from numpy.typing import NDArray

from gen2reco.config.validation import Validation
from gen2reco.statistics import response
from gen2reco.statistics.bootstrap import Units
from gen2reco.validate.observables import Quantity


def bin_edges(over: str, x: NDArray, settings: Validation) -> NDArray:
    """Bins for a figure over `energy`, `abs_eta` or `distance`."""
    if over == "energy":
        return response.energy_bins(x[x > 0])
    if over == "distance":
        return np.array([0.0, 30, 60, 100, 150, 200, 300, 500, 1000])
    low, high = settings.abs_eta
    return np.linspace(low, high, int(np.clip(len(x) // 25, 1, 6)) + 1)


def histogram_edges(quantity: Quantity, units: list[Units], most: int = 40) -> NDArray:
    """Bins over the central 99 % of all samples; whole numbers where the values are."""
    values = np.concatenate([u.values for u in units])
    if not len(values):
        return np.array([0.0, 1.0])
    low, high = np.percentile(values, [0.5, 99.5])
    number = int(np.clip(2 * min(max(len(u.values), 1) for u in units) ** 0.4, 8, most))
    whole = np.all(values == np.round(values))
    if whole and high - low <= 60:
        step = max(1, int(np.ceil((high - low + 1) / number)))
        return np.arange(low - 0.5, high + step + 0.5, step)
    if not high > low:
        return np.array([low - 0.5, low + 0.5])
    if quantity.log and low > 0:
        return np.geomspace(low, high, number + 1)
    return np.linspace(low, high, number + 1)
