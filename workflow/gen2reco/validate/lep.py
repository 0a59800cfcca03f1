"""Generated e+e- events at 91.2 GeV against LEP data: charged particles, as ALEPH and DELPHI define them.

Charged are all charged particles after decays of everything with a mean lifetime below 1 ns, K0S and hyperons included.
"""

from functools import cache
from pathlib import Path

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from gen2reco.errors import InputError
from gen2reco.events.truth import charge
from gen2reco.validate.flat_lists import flatten
from gen2reco.validate.measurements import Comparison, Measurement, held_against, read_measurements
from gen2reco.validate.observe.event_shapes import c_parameter, hemispheres, thrust_axes
from gen2reco.validate.observe.jet_clustering import durham

FEWEST = 100


@cache
def measurements() -> tuple[Measurement, ...]:
    """The measurements that ship with the package."""
    return read_measurements(Path(__file__).with_suffix(".yaml"))


def observe(events: ak.Array, sqrt_s: float = 91.2) -> dict[str, NDArray]:
    """Observables of charged particles: one value an event, but `x_p` one a particle. Raises InputError if few."""
    particles = flatten(events.particles)
    kept = charge(particles["pdg"]) != 0
    n = len(events)
    row = particles.row[kept]
    counts = np.bincount(row, minlength=n)
    if (counts < 2).mean() > 0.01 or n < FEWEST:
        raise InputError(f"comparison with LEP: expected at least {FEWEST} hadronic e+e- events, found {n}")
    momenta = particles.vectors("px", "py", "pz")[kept]
    energy = particles["energy"][kept].astype(np.float64)
    starts = np.append(0, np.cumsum(counts))
    thrust = thrust_axes(np.ascontiguousarray(momenta), starts)
    heavy, _ = hemispheres(momenta, energy, row, thrust[:, 1:])
    fields = {"px": momenta[:, 0], "py": momenta[:, 1], "pz": momenta[:, 2], "E": energy}
    y23, _ = durham(ak.unflatten(ak.zip(fields), counts))
    return {
        "thrust": 1 - thrust[:, 0],
        "heavy_mass": heavy,
        "c_parameter": c_parameter(momenta, row, n),
        "y23": -np.log(np.maximum(y23, 1e-12)),
        "x_p": 2 * np.linalg.norm(momenta, axis=1) / sqrt_s,
        "n_charged": counts.astype(np.float64),
    }


def compare(observed: dict[str, NDArray]) -> list[Comparison]:
    """The sample that `observe` was given against every measurement."""
    return [_compare(m, observed) for m in measurements()]


def _compare(m: Measurement, observed: dict[str, NDArray]) -> Comparison:
    n = len(observed["n_charged"])
    if m.observable == "mean_n_charged":
        counts = observed["n_charged"]
        value, error = np.array([counts.mean()]), np.array([counts.std() / np.sqrt(n)])
    else:
        edges = np.stack([m.low, m.high], 1)
        values = np.sort(observed[m.observable])
        inside = np.diff(np.searchsorted(values, edges - 1e-9), axis=1)[:, 0].astype(float)
        width = np.ones(len(m.low)) if m.observable == "n_charged" else m.high - m.low
        value, error = inside / n / width, np.sqrt(np.maximum(inside, 1)) / n / width
    return held_against(m, value, error)
