"""Inelastic pp collisions at 13 TeV against LHC data: charged particles, as ATLAS and CMS define them.

Charged are those that live longer than 300 ps, of the collision or of decays of what lives shorter than 30 ps: neither
decay products of K0S and hyperons nor charged hyperons. Products are recognised by where they are born.
"""

from functools import cache
from pathlib import Path
from typing import NamedTuple

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from gen2reco.errors import InputError
from gen2reco.events.truth import charge
from gen2reco.validate.flat_lists import flatten
from gen2reco.validate.measurements import Comparison, Measurement, held_against, read_measurements
from gen2reco.validate.observable_tables import row_histograms
from gen2reco.validate.observe.collision_observables import from_strange_decay
from gen2reco.validate.true_particles import vertex_direction

SQRT_S = 13_000.0
FEWEST = 100
FEWEST_IN_BIN = 10
"""Events with an entry in a bin below which it is not compared."""
_HYPERONS = (3112, 3222, 3312, 3334)
_HADRONS = (211, 321, 2212)


class Charged(NamedTuple):
    """Charged particles (n,) of one event selection: place of the event, pT in GeV, eta; and the number of events."""

    row: NDArray
    pt: NDArray
    eta: NDArray
    events: int


def are_inelastic(story: dict) -> bool:
    """Whether a file's story says that it holds all inelastic pp collisions at 13 TeV."""
    made = story.get("generate", {})
    process, sqrt_s = made.get("options", {}).get("process"), made.get("info", {}).get("sqrt_s", 0.0)
    if not isinstance(process, dict) or process.get("filter") or abs(sqrt_s - SQRT_S) > 1:
        return False
    settings = ["".join(line.split()).lower() for line in process.get("settings", [])]
    return "softqcd:inelastic=on" in settings


@cache
def measurements() -> tuple[Measurement, ...]:
    """The measurements that ship with the package."""
    return read_measurements(Path(__file__).with_suffix(".yaml"))


def compare(events: ak.Array, sqrt_s: float) -> list[Comparison]:
    """Inelastic events, diffractive ones included and elastic ones not, against every measurement; sqrt_s in GeV.

    Events count alike, whatever their weight. Raises InputError where they are few or of another energy.
    """
    if abs(sqrt_s - SQRT_S) > 1 or len(events) < FEWEST:
        raise InputError(
            f"comparison with LHC data: expected at least {FEWEST} events at {SQRT_S:g} GeV, found {len(events)} at "
            f"{sqrt_s:g} GeV"
        )
    selected = {"atlas": _atlas(events), "cms": _cms(events)}
    return [_compare(m, selected[m.experiment]) for m in measurements()]


def _prompt(events: ak.Array) -> tuple[Charged, NDArray]:
    """Charged particles as both define them, and the absolute PDG code of each (n,)."""
    particles = flatten(events.particles)
    code = np.abs(particles["pdg"])
    kept = (charge(particles["pdg"]) != 0) & ~np.isin(code, _HYPERONS) & ~from_strange_decay(particles)
    pt, eta = np.hypot(*particles.vectors("px", "py").T), vertex_direction(particles)[0]
    return Charged(particles.row[kept], pt[kept], eta[kept], len(events)), code[kept]


def _atlas(events: ak.Array) -> Charged:
    """Particles above 0.5 GeV in |eta| < 2.5, of events with at least one."""
    charged, _ = _prompt(events)
    kept = (charged.pt > 0.5) & (np.abs(charged.eta) < 2.5)
    rows, row = np.unique(charged.row[kept], return_inverse=True)
    return Charged(row, charged.pt[kept], charged.eta[kept], len(rows))


def _cms(events: ak.Array) -> Charged:
    """Pions, kaons and protons of all events."""
    charged, code = _prompt(events)
    kept = np.isin(code, _HADRONS)
    return Charged(charged.row[kept], charged.pt[kept], charged.eta[kept], len(events))


def _eta(charged: Charged, edges: NDArray) -> NDArray:
    return row_histograms(charged.row, charged.eta, edges, charged.events)


def _pt(charged: Charged, edges: NDArray) -> NDArray:
    """1 / (2 pi pT) per particle and unit of eta, of which |eta| < 2.5 has five."""
    return row_histograms(charged.row, charged.pt, edges, charged.events, 1 / (10 * np.pi * charged.pt))


def _number(charged: Charged, edges: NDArray) -> NDArray:
    counts = np.bincount(charged.row, minlength=charged.events)
    return row_histograms(np.arange(charged.events), counts, edges, charged.events)


_CONTENT = {"eta_charged": _eta, "eta_hadrons": _eta, "pt_charged": _pt, "n_charged": _number}
"""What each event adds to the bins of an observable: (events, bins)."""


def _compare(m: Measurement, charged: Charged) -> Comparison:
    content = _CONTENT[m.observable](charged, np.append(m.low, m.high[-1]))
    width, n = m.high - m.low, max(charged.events, 1)
    mean, square = content.sum(0) / n, (content**2).sum(0) / n
    value = np.where((content > 0).sum(0) < FEWEST_IN_BIN, np.nan, mean / width)
    return held_against(m, value, np.sqrt(np.maximum(square - mean**2, 0) / n) / width)
