"""How good a calibration is on held-out events: response, resolution, pulls, identities, directions, with errors."""

import itertools
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from gen2reco.calibrate.predict import EM, Corrections, Predicted
from gen2reco.calibrate.sample import Sample
from gen2reco.events.schemas import IDENTITIES

EDGES = (5.0, 10.0, 20.0, 40.0, 70.0, 120.0, 200.0)
"""GeV; bins of the true energy."""
KINDS = {
    "photon": (IDENTITIES.index("photon"),),
    "electron": (IDENTITIES.index("electron"),),
    "charged_hadron": (IDENTITIES.index("charged_hadron"),),
    "neutral_hadron": (IDENTITIES.index("neutral_hadron"),),
}
RESAMPLES = 100


def evaluate(sample: Sample, predicted: Predicted, corrections: Corrections, chosen: NDArray) -> list[dict]:
    """Flat list of metrics {name, value, uncertainty, n} on the chosen candidates (n,) of a sample."""
    energy, sigma = corrections.energy(sample.plain.energy, predicted)
    single = chosen & ~crowded(sample)
    found = []
    for kind, codes in KINDS.items():
        found += _responses(kind, sample, single & np.isin(sample.targets.identity, codes), energy)
        found += _pulls(kind, sample, single & np.isin(sample.targets.identity, codes), energy, sigma)
    found += _pulls("in_jets", sample, chosen & crowded(sample) & _shower(sample), energy, sigma)
    found += _identities(sample, corrections.probabilities(predicted), single, "")
    found += _identities(sample, corrections.probabilities(predicted), chosen & crowded(sample), "in_jets_")
    found += _directions(sample, predicted, single)
    return found


def crowded(sample: Sample) -> NDArray[np.bool_]:
    """Candidates in events of many particles: jets, not guns."""
    key = sample.source * (sample.event.max(initial=0) + 1) + sample.event
    _, inverse, counts = np.unique(key, return_inverse=True, return_counts=True)
    return counts[inverse] > 8


def sigma_eff(values: NDArray) -> float:
    """Half the smallest interval that holds 68.27 % of the values, over their mean."""
    values = np.sort(values)
    k = int(np.ceil(0.6827 * len(values)))
    return float((values[k - 1 :] - values[: len(values) - k + 1]).min() / 2 / values.mean())


def auc(score: NDArray, positive: NDArray) -> float:
    """Area under the ROC curve: the chance that a positive scores above a negative, ties counted half."""
    from scipy.stats import rankdata

    n = positive.sum()
    ranks = rankdata(score)
    return float((ranks[positive].sum() - n * (n + 1) / 2) / max(n * (len(score) - n), 1))


def calibration_error(probability: NDArray, right: NDArray, bins: int = 15) -> float:
    """Expected calibration error of the top answer: mean |confidence - frequency| over equally filled bins."""
    groups = np.array_split(np.argsort(probability), bins)
    return float(sum(abs(probability[g].mean() - right[g].mean()) * len(g) for g in groups if len(g)) / len(right))


def metric(name: str, values: tuple[NDArray, ...], of: Callable[..., float]) -> dict:
    """A number with its bootstrap standard deviation."""
    n = len(values[0])
    rng = np.random.default_rng(n)
    again = [of(*(v[i] for v in values)) for i in (rng.integers(n, size=n) for _ in range(RESAMPLES))]
    return {"name": name, "value": of(*values), "uncertainty": float(np.std(again)), "n": n}


def _shower(sample: Sample) -> NDArray[np.bool_]:
    targets = sample.targets
    return (targets.identity >= 0) & (targets.identity != 2) & (targets.energy > 2) & (sample.plain.energy > 0)


def _per_event(sample: Sample, mask: NDArray, energy: NDArray) -> tuple[NDArray, NDArray, NDArray]:
    """True, calibrated and plain energy summed over the candidates of each event of single particles."""
    key = sample.source * (sample.event.max(initial=0) + 1) + sample.event
    events, inverse = np.unique(key[mask], return_inverse=True)
    sums = [np.bincount(inverse, v[mask], len(events)) for v in (sample.targets.energy, energy, sample.plain.energy)]
    return sums[0], sums[1], sums[2]


def _responses(kind: str, sample: Sample, mask: NDArray, energy: NDArray) -> list[dict]:
    true, calibrated, raw = _per_event(sample, mask, energy)
    found = []
    for low, high in itertools.pairwise(EDGES):
        inside = (true >= low) & (true < high)
        if inside.sum() < 20:
            continue
        label = f"{kind}_{low:g}_{high:g}"
        for name, measured in (("", calibrated), ("_raw", raw)):
            ratio = measured[inside] / true[inside]
            found.append(metric(f"{label}_response{name}", (ratio,), lambda r: float(r.mean())))
            found.append(metric(f"{label}_sigma_eff{name}", (ratio,), sigma_eff))
    return found


def _pulls(kind: str, sample: Sample, mask: NDArray, energy: NDArray, sigma: NDArray) -> list[dict]:
    mask = mask & _shower(sample)
    if mask.sum() < 20:
        return []
    pull = (energy[mask] - sample.targets.energy[mask]) / sigma[mask]
    return [
        metric(f"{kind}_pull_width", (pull,), lambda p: (np.quantile(p, 0.8413) - np.quantile(p, 0.1587)) / 2),
        metric(f"{kind}_pull_mean", (pull,), lambda p: float(np.median(p))),
        metric(f"{kind}_coverage_1_sigma", (pull,), lambda p: float(np.mean(np.abs(p) < 1))),
        metric(f"{kind}_coverage_2_sigma", (pull,), lambda p: float(np.mean(np.abs(p) < 2))),
    ]


def _identities(sample: Sample, probability: NDArray, mask: NDArray, prefix: str) -> list[dict]:
    mask = mask & (sample.targets.identity >= 0) & (sample.targets.energy > 2)
    p, identity, tracked = probability[mask], sample.targets.identity[mask], sample.inputs.track[mask, 0] > 0
    if len(p) < 20:
        return []
    photon, hadron = identity == 0, identity >= 3
    score = np.log(p[:, 0] + 1e-12) - np.log(p[:, 3] + p[:, 4] + 1e-12)
    muon = np.log(p[:, 2] + 1e-12) - np.log(1 - p[:, 2] + 1e-12)
    right = p.argmax(axis=1) == identity
    cases = [("photon_hadron_auc", photon | hadron), ("photon_untracked_hadron_auc", photon | (hadron & ~tracked))]
    found = [metric(prefix + name, (score[m], photon[m]), auc) for name, m in cases if photon.any() and hadron.any()]
    if (identity == 2).sum() >= 5:
        found.append(metric(f"{prefix}muon_auc", (muon, identity == 2), auc))
    found.append(metric(f"{prefix}accuracy", (right,), lambda r: float(r.mean())))
    found.append(metric(f"{prefix}calibration_error", (p.max(axis=1), right), calibration_error))
    return found


def _directions(sample: Sample, predicted: Predicted, mask: NDArray) -> list[dict]:
    """Distance across the face between true and found direction of untracked photons, mm: 68 % quantiles."""
    targets, centre = sample.targets, sample.inputs.centre
    mask = mask & (targets.identity == EM[0]) & (targets.energy > 5) & (targets.purity > 0.9)
    if mask.sum() < 20:
        return []
    r, phi = np.abs(centre[mask, 2]) / np.sinh(np.abs(targets.eta[mask])), targets.phi[mask]
    true = np.stack([r * np.cos(phi), r * np.sin(phi)], axis=1)
    found = []
    for name, at in (("learned", centre[:, :2] + predicted.shift), ("log_weighted", centre[:, :2])):
        off = np.hypot(*(at[mask] - true).T)
        found.append(metric(f"photon_direction_{name}_mm", (off,), lambda d: float(np.quantile(d, 0.68))))
    return found
