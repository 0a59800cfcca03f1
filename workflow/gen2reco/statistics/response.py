"""Energy response and resolution: effective width, bins in energy or eta, and the calorimeter's three terms."""

from collections.abc import Sequence
from itertools import pairwise
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gen2reco.statistics.bootstrap import Units, batches, counts, effective_number, resampled_pair, shared
from gen2reco.statistics.measured import NOT_MEASURED, Measured

COVERAGE = 0.6827
_NEEDED = COVERAGE * (1 - 1e-12)
"""The share that an interval must hold, less the rounding of a sum of weights."""


class Binned(NamedTuple):
    """Response in bins: all arrays (n_bins,); mean of the binned variable, number, response and resolution."""

    x: NDArray
    low: NDArray
    high: NDArray
    n: NDArray
    response: NDArray
    response_error: NDArray
    resolution: NDArray
    resolution_error: NDArray


class Terms(NamedTuple):
    """sigma/E = stochastic/sqrt(E) (+) noise/E (+) constant, with uncertainties; E in GeV."""

    stochastic: Measured
    noise: Measured
    constant: Measured

    def at(self, energy: NDArray) -> NDArray:
        """The fitted relative resolution at energies in GeV."""
        a, b, c = (term.value for term in self)
        return np.sqrt(a**2 / energy + b**2 / energy**2 + c**2)


def sigma_eff(values: NDArray, weight: NDArray | None = None) -> NDArray:
    """Half the shortest interval that holds 68.27 % of the weight, in the unit of the values.

    values: (..., n), taken along the last axis, or (n,) with weights (n,), of which negative ones count as none. The
    interval runs from one value to another, both of them inside. NaN of fewer than three values of any weight.
    """
    if weight is not None and np.ptp(weight) > 1e-9 * weight.max():
        return _weighted_sigma_eff(values[weight > 0], weight[weight > 0])
    n = values.shape[-1]
    if n < 3:
        return np.full(values.shape[:-1], np.nan)
    ordered, inside = np.sort(values, axis=-1), int(np.ceil(_NEEDED * n))
    return (ordered[..., inside - 1 :] - ordered[..., : n - inside + 1]).min(-1) / 2


def _weighted_sigma_eff(values: NDArray, weight: NDArray) -> NDArray:
    if len(values) < 3:
        return np.array(np.nan)
    order = np.argsort(values, kind="stable")
    values, up_to = values[order], np.cumsum(weight[order])
    needed = up_to - weight[order] + _NEEDED * up_to[-1]
    first = np.flatnonzero(needed <= up_to[-1])
    last = np.searchsorted(up_to, needed[first])
    return (values[last] - values[first]).min() / 2


def resolution(ratio: NDArray) -> float:
    """sigma_eff over the mean of E_reco/E_true (n,)."""
    return float(sigma_eff(ratio) / ratio.mean())


def response(
    ratio: NDArray, weight: NDArray, resamples: int, rng: np.random.Generator, groups: Sequence[NDArray] = ()
) -> tuple[Measured, Measured]:
    """Mean response and sigma_eff over it, of E_reco/E_true (n,), with bootstrap uncertainties; NaN of fewer than 5.

    Weighted units are drawn by weight, as many as their effective number; negative weights count as none. Where units
    share groups (bootstrap.py), groups are drawn.
    """
    if len(ratio) < 5:
        return NOT_MEASURED, NOT_MEASURED
    groups = [group[weight > 0] for group in groups]
    ratio, chance = ratio[weight > 0], weight[weight > 0] / weight[weight > 0].sum()
    mean, width = chance @ ratio, float(sigma_eff(ratio, chance))
    drawn = _resampled_groups(ratio, chance, groups, resamples, rng) if shared(groups) else None
    means, widths = drawn or _resampled(ratio, chance, resamples, rng)
    relative = widths / np.where(means > 0, means, np.nan)
    over = width / mean if mean > 0 else np.nan
    return Measured(float(mean), float(means.std())), Measured(float(over), float(np.nanstd(relative)))


def median_response(
    ratio: NDArray, weight: NDArray, resamples: int, rng: np.random.Generator, groups: Sequence[NDArray] = ()
) -> Measured:
    """Median of E_reco/E_true (n,), weighted, which one spike in a thousand does not move; NaN of fewer than 5.

    The uncertainty is that of the bootstrap, whose medians are quantiles at places that follow a beta distribution
    (Maritz, Jarrett, J. Am. Stat. Assoc. 73 (1978) 194); where units share groups (bootstrap.py), groups are drawn.
    Negative weights count as none.
    """
    if np.count_nonzero(weight > 0) < 5:
        return NOT_MEASURED
    chosen = np.flatnonzero(weight > 0)
    chosen = chosen[np.argsort(ratio[chosen], kind="stable")]
    ratio, weight, groups = ratio[chosen], weight[chosen], [group[chosen] for group in groups]
    middle = float(np.interp(0.5, _places(weight), ratio))
    if shared(groups):
        many = (w * weight for n in batches(resamples, len(ratio)) for w in counts(len(ratio), n, rng, groups))
        drawn = np.array([np.interp(0.5, _places(w[w > 0]), ratio[w > 0]) for w in many])
    else:
        half = (effective_number(weight) + 1) / 2
        drawn = np.interp(rng.beta(half, half, resamples), _places(weight), ratio)
    return Measured(middle, float(drawn.std()))


def _places(weight: NDArray) -> NDArray[np.float64]:
    """Where each value, by rising order, lies among all: (n,) from 0 to 1."""
    return (np.cumsum(weight) - weight / 2) / weight.sum()


def _resampled(ratio: NDArray, chance: NDArray, resamples: int, rng: np.random.Generator) -> tuple[NDArray, NDArray]:
    """Means and widths of bootstrap samples, in batches that bound the memory."""
    equal = np.ptp(chance) < 1e-9 * chance.max()
    n = len(ratio) if equal else max(5, round(effective_number(chance)))
    means, widths = [], []
    for count in batches(resamples, len(ratio), budget=4_000_000):
        size = (count, n)
        drawn = ratio[rng.integers(0, len(ratio), size) if equal else rng.choice(len(ratio), size, p=chance)]
        means.append(drawn.mean(-1))
        widths.append(sigma_eff(drawn))
    return np.concatenate(means), np.concatenate(widths)


def _resampled_groups(
    ratio: NDArray, chance: NDArray, groups: Sequence[NDArray], resamples: int, rng: np.random.Generator
) -> tuple[NDArray, NDArray]:
    """Means and widths of bootstrap samples of groups."""
    order = np.argsort(ratio)
    ratio, chance, groups = ratio[order], chance[order], [group[order] for group in groups]
    means, widths = [], []
    for count in batches(resamples, len(ratio)):
        weights = counts(len(ratio), count, rng, groups) * chance
        means += list(weights @ ratio / np.maximum(weights.sum(1), 1e-300))
        widths += [float(sigma_eff(ratio, w)) for w in weights]
    return np.array(means), np.array(widths)


def paired_errors(a: Units, b: Units, resamples: int, rng: np.random.Generator) -> tuple[float, float]:
    """Standard deviations of the relative shifts of response and resolution of b against a that hold the same events.

    The same events are drawn for both, so that what the two share cancels.
    """
    a, b = (u._replace(weight=np.maximum(u.weight, 0.0)) for u in (a, b))
    shifts = []
    for first, second in zip(*resampled_pair(a, b, resamples, rng)):
        (mean_a, width_a), (mean_b, width_b) = (
            (w @ u.values, float(sigma_eff(u.values, w))) for u, w in ((a, first), (b, second))
        )
        shifts.append((mean_b / mean_a - 1, width_b * mean_a / (width_a * mean_b) - 1))
    response, resolution = np.nanstd(shifts, axis=0)
    return float(response), float(resolution)


def binned_response(
    ratio: NDArray,
    weight: NDArray,
    x: NDArray,
    edges: NDArray,
    resamples: int,
    rng: np.random.Generator,
    groups: Sequence[NDArray] = (),
) -> Binned:
    """Response and resolution of E_reco/E_true (n,), weighted, in bins of x (n,)."""
    rows = []
    for low, high in pairwise(edges):
        inside = (x >= low) & (x < high)
        own = [group[inside] for group in groups]
        mean, width = response(ratio[inside], weight[inside], resamples, rng, own)
        positive = np.maximum(weight[inside], 0.0)
        centre = positive @ x[inside] / positive.sum() if positive.any() else np.nan
        rows.append((centre, low, high, inside.sum(), mean.value, mean.uncertainty, width.value, width.uncertainty))
    return Binned(*np.array(rows, dtype=float).T)


def energy_bins(energy: NDArray, most: int = 8, least: int = 25) -> NDArray:
    """Edges equidistant in log(energy) over the sample, so few that a flat one would hold `least` in each bin."""
    low, high = energy.min() * 0.999, energy.max() * 1.001
    if high / low < 1.3:
        return np.array([low, high])
    return np.geomspace(low, high, int(np.clip(len(energy) // least, 1, most)) + 1)


def fit_terms(binned: Binned, toys: int = 200) -> Terms | None:
    """Fit (sigma/E)^2 = a^2/E + b^2/E^2 + c^2, squares >= 0, to bins in energy; None where that tells nothing.

    Uncertainties come from fits to resolutions varied by theirs. It tells nothing with fewer than four good bins, and
    where the stochastic term is not known to 20 %: few events let the three terms trade places.
    """
    from scipy.optimize import nnls

    good = np.isfinite(binned.resolution) & (binned.resolution_error > 0) & (binned.n >= 10)
    if good.sum() < 4:
        return None
    energy, width, error = binned.x[good], binned.resolution[good], binned.resolution_error[good]
    design = np.stack([1 / energy, 1 / energy**2, np.ones_like(energy)], axis=1)
    weight = 1 / (2 * width * error)

    def solve(value: NDArray) -> NDArray:
        return np.sqrt(nnls(design * weight[:, None], value**2 * weight)[0])

    varied = width + error * np.random.default_rng(0).normal(size=(toys, len(width)))
    errors = np.std([solve(np.maximum(value, 0)) for value in varied], axis=0)
    found = solve(width)
    if found[0] < 5 * errors[0]:
        return None
    return Terms(*(Measured(float(v), float(e)) for v, e in zip(found, errors)))
