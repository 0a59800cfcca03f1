"""How good a calibration is on held-out events: response, resolution, pulls, identities, directions, with errors."""

import itertools
from collections.abc import Callable

import numpy as np
from numpy.typing import NDArray

from gen2reco.calibrate.corrections import EM, Corrections, Predicted
from gen2reco.calibrate.sample import Sample
from gen2reco.events.schemas import IDENTITIES
from gen2reco.statistics.bootstrap import bootstrap_error
from gen2reco.statistics.identities import equal_bins, expected_calibration_error
from gen2reco.statistics.response import resolution
from gen2reco.statistics.roc import roc_auc

EDGES = (5.0, 10.0, 20.0, 40.0, 70.0, 120.0, 200.0)
"""GeV; bins of the true energy."""
PHOTON, MUON = IDENTITIES.index("photon"), IDENTITIES.index("muon")
HADRONS = [IDENTITIES.index(name) for name in ("charged_hadron", "neutral_hadron")]
RESAMPLES = 100
MANY = 8
"""Events with more particles that candidates were made by are jets."""
LEAST = 60
"""Fewer candidates give no figures of identities."""
LEAST_IDENTIFIED = 2.0
"""GeV; identities are judged on candidates of more true energy."""


def evaluate(sample: Sample, predicted: Predicted, corrections: Corrections, chosen: NDArray) -> list[dict]:
    """Flat list of metrics {name, value, uncertainty, n} on the chosen candidates (n,) of a sample."""
    energy, sigma = corrections.energy(sample.plain.energy, predicted)
    single = chosen & ~crowded(sample)
    found = []
    for index, kind in enumerate(IDENTITIES):
        if index != MUON:
            found += _responses(kind, sample, single & (sample.targets.identity == index), energy)
            found += _pulls(kind, sample, single & (sample.targets.identity == index), energy, sigma)
    found += _pulls("in_jets", sample, chosen & crowded(sample) & _shower(sample), energy, sigma)
    found += _identities(sample, corrections.probabilities(predicted), single, "")
    found += _identities(sample, corrections.probabilities(predicted), chosen & crowded(sample), "in_jets_")
    found += _directions(sample, predicted, single)
    return found


def crowded(sample: Sample) -> NDArray[np.bool_]:
    """Candidates in events of many particles, jets, not guns; pile-up, which no particle made, does not count."""
    key, particle = _number(sample, sample.event), sample.targets.particle
    events, inverse = np.unique(key, return_inverse=True)
    made = np.unique(np.stack([inverse, particle], axis=1)[particle >= 0], axis=0)
    return np.bincount(made[:, 0], minlength=len(events))[inverse] > MANY


def _number(sample: Sample, event: NDArray) -> NDArray[np.int64]:
    """A number for each event of each file, (n,)."""
    return sample.source * (event.max(initial=0) + 1) + event


def metric(name: str, values: tuple[NDArray, ...], of: Callable[..., float], group: NDArray) -> dict:
    """A number `of` rows of values (n,), with its bootstrap standard deviation by group (n,): by original event."""
    n = len(values[0])
    error = bootstrap_error(values, of, RESAMPLES, np.random.default_rng(n), [group])
    return {"name": name, "value": of(*values), "uncertainty": error, "n": n}


def _shower(sample: Sample) -> NDArray[np.bool_]:
    targets = sample.targets
    return (targets.identity >= 0) & (targets.identity != MUON) & (targets.energy > 2) & (sample.plain.energy > 0)


def _per_event(sample: Sample, mask: NDArray, energy: NDArray) -> tuple[NDArray, NDArray, NDArray, NDArray]:
    """True, calibrated and plain energy summed over the candidates of each event of single particles, and a number of
    its original event."""
    key, origin = _number(sample, sample.event)[mask], _number(sample, sample.origin)[mask]
    events, first, inverse = np.unique(key, return_index=True, return_inverse=True)
    sums = [np.bincount(inverse, v[mask], len(events)) for v in (sample.targets.energy, energy, sample.plain.energy)]
    return sums[0], sums[1], sums[2], origin[first]


def _responses(kind: str, sample: Sample, mask: NDArray, energy: NDArray) -> list[dict]:
    true, calibrated, raw, origin = _per_event(sample, mask, energy)
    found, spread = [], []
    for low, high in itertools.pairwise(EDGES):
        inside = (true >= low) & (true < high)
        if inside.sum() < 20:
            continue
        label = f"{kind}_{low:g}_{high:g}"
        for name, measured in (("", calibrated), ("_raw", raw)):
            ratio = measured[inside] / true[inside]
            found.append(metric(f"{label}_response{name}", (ratio,), lambda r: float(r.mean()), origin[inside]))
            found.append(metric(f"{label}_sigma_eff{name}", (ratio,), resolution, origin[inside]))
            spread.append((name, float(np.mean(true[inside])), found[-1]))
    return found + [m for name in ("", "_raw") for m in _terms(kind, name, [s[1:] for s in spread if s[0] == name])]


def _terms(kind: str, name: str, bins: list[tuple[float, dict]]) -> list[dict]:
    """Stochastic and constant term of sigma_eff / E = stochastic / sqrt(E) + constant, added in quadrature, in GeV."""
    if len(bins) < 3:
        return []
    inverse = 1 / np.array([energy for energy, _ in bins])
    width, error = (np.array([m[k] for _, m in bins]) for k in ("value", "uncertainty"))
    rng = np.random.default_rng(len(bins))
    again = width + np.maximum(error, 1e-4) * np.vstack([np.zeros(len(bins)), rng.normal(size=(RESAMPLES, len(bins)))])
    columns = np.stack([inverse, np.ones(len(bins))], axis=1)
    scale = 1 / np.maximum(2 * width * error, 1e-6)
    squares = np.linalg.lstsq(columns * scale[:, None], (again**2 * scale).T, rcond=None)[0]
    terms = np.sqrt(np.maximum(squares, 0.0))
    labels, n = ("stochastic", "constant"), sum(m["n"] for _, m in bins)
    return [
        {"name": f"{kind}_{label}_term{name}", "value": float(t[0]), "uncertainty": float(np.std(t[1:])), "n": n}
        for label, t in zip(labels, terms)
    ]


def reliability(probability: NDArray, right: NDArray, bins: int = 8) -> list[tuple[float, float, float, int]]:
    """(mean confidence, frequency of being right, its error, n) of the most probable kind, in equally filled bins."""
    bin_of = equal_bins(probability, np.ones(len(probability)), bins)
    groups = [bin_of == i for i in np.unique(bin_of)]
    rows = [(float(probability[g].mean()), float(right[g].mean()), int(g.sum())) for g in groups]
    return [(p, f, float(np.sqrt(f * (1 - f) / n)), n) for p, f, n in rows]


def _pulls(kind: str, sample: Sample, mask: NDArray, energy: NDArray, sigma: NDArray) -> list[dict]:
    mask = mask & _shower(sample)
    if mask.sum() < 20:
        return []
    pull, origin = (energy[mask] - sample.targets.energy[mask]) / sigma[mask], _number(sample, sample.origin)[mask]
    wanted: dict[str, Callable[..., float]] = {
        "pull_width": lambda p: (np.quantile(p, 0.8413) - np.quantile(p, 0.1587)) / 2,
        "pull_mean": lambda p: float(np.median(p)),
        "coverage_1_sigma": lambda p: float(np.mean(np.abs(p) < 1)),
        "coverage_2_sigma": lambda p: float(np.mean(np.abs(p) < 2)),
    }
    return [metric(f"{kind}_{name}", (pull,), of, origin) for name, of in wanted.items()]


def _identities(sample: Sample, probability: NDArray, mask: NDArray, prefix: str) -> list[dict]:
    mask = mask & (sample.targets.identity >= 0) & (sample.targets.energy > LEAST_IDENTIFIED)
    p, identity, tracked = probability[mask], sample.targets.identity[mask], sample.inputs.track[mask, 0] > 0
    if len(p) < LEAST:
        return []
    photon, muon, hadron = identity == PHOTON, identity == MUON, np.isin(identity, HADRONS)
    photon_score = np.log(p[:, PHOTON] + 1e-12) - np.log(p[:, HADRONS].sum(axis=1) + 1e-12)
    muon_score = np.log(p[:, MUON] + 1e-12) - np.log(1 - p[:, MUON] + 1e-12)
    right, origin = p.argmax(axis=1) == identity, _number(sample, sample.origin)[mask]
    found = []
    for name, background in (("photon_hadron_auc", hadron), ("photon_untracked_hadron_auc", hadron & ~tracked)):
        either = photon | background
        if photon.any() and background.any():
            found.append(metric(prefix + name, (photon_score[either], photon[either]), roc_auc, origin[either]))
    if muon.sum() >= 5:
        found.append(metric(f"{prefix}muon_auc", (muon_score, muon), roc_auc, origin))
    found.append(metric(f"{prefix}accuracy", (right,), lambda r: float(r.mean()), origin))
    confidence = p.max(axis=1)
    found.append(metric(f"{prefix}calibration_error", (confidence, right), expected_calibration_error, origin))
    return found


def _directions(sample: Sample, predicted: Predicted, mask: NDArray) -> list[dict]:
    """Distance across the face between true and found direction of untracked photons, mm: 68 % quantiles."""
    targets, centre, origin = sample.targets, sample.inputs.centre, _number(sample, sample.origin)
    mask = mask & (targets.identity == EM[0]) & (targets.energy > 5) & (targets.purity > 0.9)
    if mask.sum() < 20:
        return []
    r, phi = np.abs(centre[mask, 2]) / np.sinh(np.abs(targets.eta[mask])), targets.phi[mask]
    true = np.stack([r * np.cos(phi), r * np.sin(phi)], axis=1)
    found = []
    for name, at in (("learned", centre[:, :2] + predicted.shift), ("log_weighted", centre[:, :2])):
        off = np.hypot(*(at[mask] - true).T)
        found.append(metric(f"photon_direction_{name}_mm", (off,), lambda d: float(np.quantile(d, 0.68)), origin[mask]))
    return found
