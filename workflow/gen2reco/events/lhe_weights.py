"""Weights of Les Houches events: what IDWTUP makes of them, their cross section (hep-ph/0109068), and their names."""

from collections import Counter, defaultdict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np

from gen2reco.errors import InputError

Processes = Sequence[tuple[float, float, float, int]]
"""(XSECUP, XERRUP, XMAXUP, LPRUP) of each."""
SUMS = ("tried", "trials", "tried2", "made", "made2", "made_tried")
"""Sums that cross sections are made of: weights of the events tried, how many attempts these are, the squares; weights
of the events made, their squares, and the products of both."""


@dataclass(frozen=True)
class Heads:
    """What all events of a file say of their weights. process: (n,) int64, LPRUP; weight: (n,) float64, XWGTUP, NaN
    where it cannot be read; trials: (n,) float64, attempts of the generator that each event stands for."""

    process: np.ndarray
    weight: np.ndarray
    trials: np.ndarray


def nominal(strategy: int, processes: Processes, heads: Heads) -> tuple[np.ndarray, np.ndarray]:
    """The weight of each event in a sample that keeps all of them, and the factor on its further weights: (n,) float64.

    IDWTUP ±3: ±1, or as they stand if they are no unit weights; ±4: XWGTUP, in pb. ±1 and ±2 ask the reader to keep
    an event with the chance |XWGTUP| / XMAXUP of its process: instead, it has a weight in proportion to that.
    Raises InputError if these need an XMAXUP that is missing.
    """
    factor = np.ones(len(heads.weight))
    if abs(strategy) == 3 and _same_size(heads.weight):
        factor = 1 / np.where(heads.weight == 0, 1.0, np.abs(heads.weight))
        return np.where(heads.weight < 0, -1.0, 1.0), factor
    if abs(strategy) <= 2 and len(processes) > 1:
        factor = _mixing(strategy, processes, heads)
    return heads.weight * factor, factor


def _mixing(strategy: int, processes: Processes, heads: Heads) -> np.ndarray:
    """The sum of all XMAXUP over that of the event's process: (n,)."""
    tops = {number: abs(top) for _, _, top, number in processes}
    if zero := [number for number, top in tops.items() if not top]:
        raise InputError(f"XMAXUP = 0 of process {zero[0]} in <init>, expected > 0: IDWTUP = {strategy} mixes by it")
    if missing := set(heads.process.tolist()) - set(tops):
        raise InputError(f"events of process {missing.pop()}, which <init> does not list; IDWTUP = {strategy} needs it")
    return sum(tops.values()) / np.array([tops[number] for number in heads.process.tolist()])


def _same_size(weights: np.ndarray) -> bool:
    sizes = np.abs(weights[np.isfinite(weights)])
    return sizes.size == 0 or float(np.ptp(sizes)) <= 1e-6 * float(sizes.max())


def sums(tried: np.ndarray, trials: np.ndarray, made: np.ndarray, weights: np.ndarray) -> dict[str, float]:
    """The sums of SUMS. tried, trials: (n,) weights and attempts of the events tried; made, weights: (m,) weights of
    those made, before and after the shower."""
    values = tried.sum(), trials.sum(), tried @ tried, weights.sum(), weights @ weights, weights @ made
    return dict(zip(SUMS, map(float, values), strict=True))


def cross_section(strategy: int, stated: float, error: float, of: dict[str, float]) -> tuple[float, float]:
    """Cross section and its error, pb, of the events made, from their SUMS and the sum of XSECUP with its error.

    IDWTUP ±2 and ±3: XSECUP times the fraction that was made; ±1 and ±4: the mean weight of an attempt.
    """
    if abs(strategy) in (1, 4):
        return mean(of["made"], of["made2"], of["trials"], stated, error)
    if not of["tried"]:
        return stated, error
    fraction = of["made"] / of["tried"]
    spread = of["made2"] - 2 * fraction * of["made_tried"] + fraction**2 * of["tried2"]
    return stated * fraction, float(np.hypot(error * fraction, stated * max(spread, 0) ** 0.5 / of["tried"]))


def total(processes: Processes) -> tuple[float, float]:
    """The sum of XSECUP and its error, pb."""
    return float(sum(row[0] for row in processes)), float(np.hypot.reduce([row[1] for row in processes]))


def mean(weights: float, squares: float, trials: float, stated: float, error: float) -> tuple[float, float]:
    """The mean weight of an attempt and its error; where weights do not vary, the relative error that is stated."""
    if not trials:
        return 0.0, 0.0
    value = weights / trials
    spread = max(squares - weights * value, 0) ** 0.5 / trials
    if spread <= 1e-9 * abs(value):
        spread = abs(value * error / stated) if stated else 0.0
    return value, spread


def remarks(strategy: int, processes: Processes, heads: Heads) -> list[str]:
    """What of the weights contradicts IDWTUP or XSECUP: one line each."""
    found = []
    valid = np.isfinite(heads.weight)
    weights, (stated, error) = heads.weight[valid], total(processes)
    if abs(strategy) == 3 and not _same_size(weights):
        span = f"|XWGTUP| from {np.abs(weights).min():.6g} to {np.abs(weights).max():.6g}"
        found.append(f"IDWTUP = {strategy} promises unit weights, but events have {span}: these are kept")
    if strategy > 0 and (weights < 0).any():
        found.append(
            f"IDWTUP = {strategy} promises positive weights, but {(weights < 0).sum()} of {len(weights)} events "
            "have negative ones: the signs are kept"
        )
    if abs(strategy) in (2, 3) and not stated:
        found.append(f"IDWTUP = {strategy} takes the cross section from XSECUP, which is 0")
    if abs(strategy) in (1, 4) and stated and len(weights) > 1:
        weights = nominal(strategy, processes, heads)[0][valid]
        found += _mean_against_stated(strategy, weights, float(heads.trials[valid].sum()), stated, error)
    return found


def _mean_against_stated(strategy: int, weights: np.ndarray, trials: float, stated: float, error: float) -> list[str]:
    summed = float(weights.sum())
    value, spread = mean(summed, float((weights**2).sum()), trials, stated, error)
    if abs(value - stated) <= 4 * np.hypot(spread, error) + 1e-3 * abs(stated):
        return []
    alike = abs(summed - stated) <= 4 * error + 1e-3 * abs(stated)
    return [
        f"the mean weight of {len(weights)} events is {value:.6g} ± {spread:.2g} pb, but XSECUP {stated:.6g} ± "
        f"{error:.2g} pb: by IDWTUP = {strategy} the mean counts"
        + ("; the sum of the weights is XSECUP, so the file may mean IDWTUP = 3" if alike else "")
    ]


class WeightNames:
    """Names of the further weights of a file's events, each of them once."""

    def __init__(self, declared: Sequence[tuple[str, str]]):
        """declared: (id, name of the group) of each weight that the header announces."""
        often = Counter(name for name, _ in declared)
        self.declared = distinct(f"{group}:{name}" if often[name] > 1 and group else name for name, group in declared)
        self._order = {name: i for i, name in enumerate(self.declared)}
        self._of = defaultdict(list)
        for (name, _), unique in zip(declared, self.declared, strict=True):
            self._of[name].append(unique)

    def __call__(self, named: Sequence[tuple[str, float]], listed: Sequence[float], commented: Sequence[float]) -> dict:
        """An event's weights by name, those of the header first and in its order.

        named: (id, weight) of <rwgt>; an id that stands twice has the names of its first and second announcement.
        listed: those of <weights>, which have the announced names if there are as many. commented: POWHEG's lines.
        """
        passed: Counter[str] = Counter()
        found: list[tuple[str, float]] = []
        for name, value in named:
            names = self._of.get(name, ())
            found.append((names[passed[name]] if passed[name] < len(names) else name, value))
            passed[name] += 1
        places = self.declared if len(self.declared) == len(listed) else map(str, range(len(listed)))
        found += zip(places, listed, strict=True)
        found += ((str(i), value) for i, value in enumerate(commented))
        found.sort(key=lambda weight: self._order.get(weight[0], len(self._order)))
        return dict(zip(distinct(name for name, _ in found), (value for _, value in found), strict=True))


def distinct(names: Iterable[str]) -> list[str]:
    """The names, those that stand more than once numbered from the second on."""
    found: dict[str, None] = {}
    last: Counter[str] = Counter()
    for name in names:
        unique = name
        while unique in found:
            last[name] += 1
            unique = f"{name}#{last[name] + 1}"
        found[unique] = None
    return list(found)
