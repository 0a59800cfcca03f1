"""Minimum-bias collisions of hadrons: whole events without a known hard process, as training data and as activities.

The activity of an event is what its networks are given in place of a hard process: how many particles either side has
before decays and how many of them are central, how hard they are, what momentum the leading particle of each side
leaves to the others, by which diffractive events are told from the rest, and whether it is a baryon.
"""

from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from gen2reco.errors import InputError
from gen2reco.events import records
from gen2reco.generate.hadronize.dataset import Prepared, flat_particles, flattened, made_of, processes_of
from gen2reco.generate.hadronize.dijet_dataset import by_group
from gen2reco.generate.hadronize.dijet_encoding import encode_without
from gen2reco.generate.hadronize.dijets import JET_SHAPES, LEADING, tune
from gen2reco.generate.hadronize.group_sums import sums
from gen2reco.generate.hadronize.species import Species

ACTIVITY = ("n_forward", "n_backward", "n_central", "scalar_pt", *LEADING)
PROCESS = "SoftQCD:inelastic"
"""The process of Pythia8 that makes such events."""
CENTRAL = 2.5
"""|rapidity| up to which particles are central."""


@dataclass(frozen=True)
class MinimumBias:
    """Flat arrays of events. momenta: (n_items, 3) GeV; pdg, event: (n_items,); alpha_s, pt0_ref (GeV), sqrt_s:
    (n_events,)."""

    momenta: np.ndarray
    pdg: np.ndarray
    event: np.ndarray
    alpha_s: np.ndarray
    pt0_ref: np.ndarray
    sqrt_s: np.ndarray

    def __len__(self) -> int:
        return len(self.sqrt_s)


def read_minimum_bias(path: Path | str, most: int | None = None) -> MinimumBias:
    """Read a particles record of inelastic collisions. Raises InputError for one that was made otherwise."""
    made = made_of(path)
    if processes_of(path) != [PROCESS] or made.pt0_ref is None:
        raise InputError(f"{path}: was not made as minimum bias, by Pythia8 with `{PROCESS} = on` and nothing else")
    particles = records.awkward(records.read(path, "particles").slice(0, most)).particles
    n = len(particles)
    momenta, pdg, event = flat_particles(particles)
    energy = np.bincount(event, flattened(particles.energy), n)
    return MinimumBias(momenta, pdg, event, np.full(n, made.alpha_s), np.full(n, made.pt0_ref), energy)


def activity(p: np.ndarray, mass: np.ndarray, event: np.ndarray, n: int) -> np.ndarray:
    """All but the numbers of LEADING of n events with momenta (n_items, 3), GeV: (n, len(ACTIVITY) - len(LEADING))."""
    pt = np.hypot(p[:, 0], p[:, 1])
    y = np.arcsinh(p[:, 2] / np.maximum(np.sqrt(pt**2 + mass**2), 1e-6))
    sides = [p[:, 2] >= 0, p[:, 2] < 0]
    many = [np.log1p(np.bincount(event[at], minlength=n)) for at in (*sides, np.abs(y) < CENTRAL)]
    return np.column_stack([*many, np.log1p(sums(event, pt, n))])


def prepare_minimum_bias(events: MinimumBias, species: Species) -> tuple[Prepared, np.ndarray]:
    """Encode events; returns them and which (n_events,) bool were kept: those with only known species and with a
    particle outside of jets on either side."""
    kinds = species.kinds(events.pdg)
    n = len(events)
    mass = np.where(kinds >= 0, species.masses[kinds], 0.14)
    encoded = encode_without(events.momenta, mass, species.baryons(kinds), events.event, events.sqrt_s)
    good = encoded.good & (sums(events.event, (kinds < 0).astype(float), n) == 0)
    shapes, leaders = np.split(encoded.shapes, [len(JET_SHAPES)], axis=1)
    known = activity(events.momenta, mass, events.event, n)
    values = np.column_stack([known, leaders, tune(events.alpha_s, events.pt0_ref)]).astype(np.float32)
    encoded = replace(encoded, shapes=shapes)
    return by_group(encoded, kinds, events.event, values, good, len(species)), good
