"""Training data of dijets: particles records of hadron collisions as arrays for the three networks."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gen2reco.errors import InputError
from gen2reco.events import records
from gen2reco.generate.hadronize import dijets
from gen2reco.generate.hadronize.dataset import Prepared, flat_particles, flattened, made_of, numbers_of_entries
from gen2reco.generate.hadronize.dijet_encoding import Encoded, encode
from gen2reco.generate.hadronize.dijets import GROUPS, Hardest
from gen2reco.generate.hadronize.group_sums import sums
from gen2reco.generate.hadronize.species import Species


@dataclass(frozen=True)
class DijetEvents:
    """Flat arrays of events. momenta: (n_items, 3) GeV; pdg, event: (n_items,); hard: their hard processes;
    alpha_s, pt0_ref (GeV, NaN without multiparton interactions), sqrt_s: (n_events,)."""

    momenta: np.ndarray
    pdg: np.ndarray
    event: np.ndarray
    hard: Hardest
    alpha_s: np.ndarray
    pt0_ref: np.ndarray
    sqrt_s: np.ndarray

    def __len__(self) -> int:
        return len(self.sqrt_s)


def read_dijets(path: Path | str, most: int | None = None) -> DijetEvents:
    """Read a particles record of 2 → 2 scatterings of partons. Raises InputError when they are something else."""
    table = records.awkward(records.read(path, "particles").slice(0, most))
    partons, particles = table.partons, table.particles
    hard = partons[(partons.status == 21) | (partons.status == 23)]
    codes = flattened(hard.pdg)
    fits = np.all(numbers_of_entries(hard.pdg) == 4) and np.isin(codes, dijets.PARTONS).all()
    if not (fits and np.all(flattened(hard.status).reshape(-1, 4) == [21, 21, 23, 23])):
        raise InputError(f"{path}: expected events of two partons (gluons, quarks up to beauty) that become two")
    n, made = len(table), made_of(path)
    momenta, codes_of_particles, event = flat_particles(particles)
    energy = np.bincount(event, flattened(particles.energy), n)
    four = np.stack([flattened(hard[c]) for c in ("px", "py", "pz", "energy")], -1).reshape(n, 4, 4)
    forward = np.where(four[:, :1, 2] >= 0, [[0, 1, 2, 3]], [[1, 0, 2, 3]])  # the one along +z first
    codes_of = {c: flattened(hard[c]).reshape(n, 4).astype(int) for c in ("pdg", "color", "anticolor")}
    pdg, color, anticolor = (np.take_along_axis(column, forward, 1) for column in codes_of.values())
    return DijetEvents(
        momenta,
        codes_of_particles,
        event,
        Hardest(pdg, color, anticolor, np.take_along_axis(four, forward[..., None], 1), energy),
        np.full(n, made.alpha_s),
        np.full(n, made.pt0_ref, float),
        energy,
    )


def prepare_dijets(events: DijetEvents, species: Species) -> tuple[Prepared, np.ndarray]:
    """Encode events; returns them and which (n_events,) bool were kept: those with only known species, with a jet near
    each hard parton, and with a particle outside of jets on either side."""
    kinds = species.kinds(events.pdg)
    n = len(events)
    mass = np.where(kinds >= 0, species.masses[kinds], 0.14)
    values, frame = dijets.known(events.hard, dijets.tune(events.alpha_s, events.pt0_ref))
    encoded = encode(events.momenta, mass, species.baryons(kinds), events.event, frame, events.sqrt_s)
    good = encoded.good & (sums(events.event, (kinds < 0).astype(float), n) == 0)
    return by_group(encoded, kinds, events.event, values, good, len(species)), good


def by_group(
    encoded: Encoded, kinds: np.ndarray, event: np.ndarray, values: np.ndarray, good: np.ndarray, n_kinds: int
) -> Prepared:
    """Events that are `good` (n,) as the networks learn them, given kind and event of each particle (n_items,) and the
    conditions `values` (n, n_known)."""
    at, renumber = good[event], np.cumsum(good) - 1
    event, kinds, group, x = renumber[event[at]], kinds[at], encoded.group[at], encoded.x[at]
    n = int(good.sum())
    flat = (event * GROUPS + group) * n_kinds + kinds
    counts = np.bincount(flat, minlength=n * GROUPS * n_kinds)
    rank = np.lexsort((x[:, 0], flat))
    return Prepared(
        kinds[rank],
        group[rank],
        x[rank].astype(np.float32),
        counts.reshape(n, GROUPS, n_kinds),
        encoded.shapes[good].astype(np.float32),
        values[good],
    )
