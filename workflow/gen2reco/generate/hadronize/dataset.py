"""Training data: particles records of Pythia8 (or any generator) as arrays for the three networks."""

from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gen2reco.config.process import Pythia8Process, parse_process
from gen2reco.errors import InputError
from gen2reco.events import records
from gen2reco.events.truth import new_pythia
from gen2reco.generate import pythia_engine
from gen2reco.generate.hadronize import hemispheres
from gen2reco.generate.hadronize.group_sums import sums
from gen2reco.generate.hadronize.species import Species, in_drawing_order, quantum_numbers
from gen2reco.run.runner import provenance

if TYPE_CHECKING:
    import awkward as ak
    import pythia8mc

ALPHA_S = "TimeShower:alphaSvalue"
ALPHA_S_DEFAULT = 0.1365
PT0_REF_DEFAULT = 2.28
"""GeV."""
N_FLAVOURS = 5


@dataclass(frozen=True)
class Events:
    """Flat arrays of events. momenta: (n_items, 3) float64 in the centre of mass, GeV; pdg, event: (n_items,).
    quark: (n_events, 3) direction of the hard quark; flavour, alpha_s, sqrt_s: (n_events,)."""

    momenta: np.ndarray
    pdg: np.ndarray
    event: np.ndarray
    quark: np.ndarray
    flavour: np.ndarray
    alpha_s: np.ndarray
    sqrt_s: np.ndarray

    def __len__(self) -> int:
        return len(self.quark)


@dataclass(frozen=True)
class Prepared:
    """What the networks learn. kinds, group, x: by item, ordered by event, group, kind and x[:, 0];
    counts: (n, groups, kinds);
    shapes: (n, n_shapes); conditions: (n, n_conditions)."""

    kinds: np.ndarray
    group: np.ndarray
    x: np.ndarray
    counts: np.ndarray
    shapes: np.ndarray
    conditions: np.ndarray


class Made(NamedTuple):
    """How the events of a file were made, as its provenance states."""

    alpha_s: float
    """Of final-state showers at the Z mass."""
    pt0_ref: float | None
    """Of multiparton interactions, GeV; none without these."""
    endcap: tuple[float, float] | None
    """The range of |eta| in which a hard parton was required."""


def made_of(path: Path | str) -> Made:
    """How a file's events were made; where nothing is stated, as Pythia8 comes. Raises InputError."""
    process = _process_of(path)
    settings = pythia_engine.settings_of(process.settings if process else [])
    mpi, wanted = (process.mpi, process.filter) if process else (None, None)
    pt0_ref = pythia_engine.pt0_ref(settings, mpi)
    return Made(settings.parm(ALPHA_S), pt0_ref, wanted.abs_eta if wanted else None)


def processes_of(path: Path | str) -> list[str]:
    """Flags of Pythia8 by which the processes of a file's events were chosen; none where nothing is stated. Raises
    InputError."""
    process = _process_of(path)
    return pythia_engine.hard_processes(pythia_engine.settings_of(process.settings)) if process else []


def _process_of(path: Path | str) -> Pythia8Process | None:
    options = provenance(path).get("generate", {}).get("options", {})
    process = options.get("process")
    if not isinstance(process, dict):
        return None
    found = parse_process(process, f"{path}: how it was made")
    return found if isinstance(found, Pythia8Process) else None


def read_events(path: Path | str, most: int | None = None) -> Events:
    """Read a particles record of e+e- -> q qbar events at rest. Raises InputError when they are something else."""
    table = records.awkward(records.read(path, "particles").slice(0, most))
    partons, particles = table.partons, table.particles
    quarks = partons[(partons.status == 23) & (partons.pdg >= 1) & (partons.pdg <= N_FLAVOURS)]
    outgoing = partons[partons.status == 23]
    if not (np.all(numbers_of_entries(quarks.pdg) == 1) and np.all(numbers_of_entries(outgoing.pdg) == 2)):
        raise InputError(f"{path}: expected events with one outgoing hard quark and one antiquark (u, d, s, c, b)")
    momentum, pdg, event = flat_particles(particles)
    q = np.stack([flattened(quarks[c]) for c in ("px", "py", "pz")], -1)
    n = len(table)
    energy = np.bincount(np.repeat(np.arange(n), numbers_of_entries(outgoing.pdg)), flattened(outgoing.energy), n)
    return Events(
        momentum,
        pdg,
        event,
        q / np.linalg.norm(q, axis=1, keepdims=True),
        flattened(quarks.pdg).astype(np.int64),
        np.full(n, made_of(path).alpha_s),
        energy,
    )


def numbers_of_entries(array: "ak.Array") -> np.ndarray:
    """Entries of each list of a column of lists: (n,)."""
    import awkward as ak

    return ak.to_numpy(ak.num(array))


def flattened(array: "ak.Array") -> np.ndarray:
    """A column of lists as one array of numbers."""
    import awkward as ak

    return ak.to_numpy(ak.flatten(array)).astype(np.float64)


def flat_particles(particles: "ak.Array") -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Momenta (n_items, 3), GeV, codes and events (n_items,) of a column of particles."""
    momenta = np.stack([flattened(particles[c]) for c in ("px", "py", "pz")], -1)
    event = np.repeat(np.arange(len(particles)), numbers_of_entries(particles.pdg))
    return momenta, flattened(particles.pdg).astype(np.int64), event


def species_of(events: list[Events], least: float) -> Species:
    """The species that occur more often than `least` per event, with their antiparticles, in drawing order."""
    codes, many = np.unique(np.concatenate([e.pdg for e in events]), return_counts=True)
    total = sum(len(e) for e in events)
    common = {int(c) for c, k in zip(codes, many) if k / total >= least}
    present = {int(c) for c in codes}
    common |= {-c for c in common if -c in present}
    known = []
    for code in common:
        try:
            quantum_numbers(code)
        except ValueError:
            continue
        known.append(code)
    ordered = in_drawing_order(known)
    return Species(tuple(ordered), tuple(_mass(code) for code in ordered))


def _mass(code: int) -> float:
    """The mass that Pythia8 gives the species, GeV."""
    return _pythia().particleData.m0(code)


@cache
def _pythia() -> "pythia8mc.Pythia":
    """A Pythia8 whose table of particles is read; the table lives as long as it."""
    pythia = new_pythia()
    pythia.readString("Print:quiet = on")
    return pythia


def conditions(flavour: np.ndarray, alpha_s: np.ndarray) -> np.ndarray:
    """What is known before anything is drawn: flavour, one-hot, and alpha_s about its default: (n, 6) float32."""
    hot = np.eye(N_FLAVOURS)[flavour - 1]
    return np.column_stack([hot, (alpha_s - ALPHA_S_DEFAULT) / 0.01]).astype(np.float32)


def prepare(events: Events, species: Species) -> tuple[Prepared, np.ndarray]:
    """Encode events; returns them and which (n_events,) bool were kept: those with only known species and with no
    empty hemisphere."""
    kinds = species.kinds(events.pdg)
    n = len(events)
    good = sums(events.event, (kinds < 0).astype(float), n) == 0
    good &= np.bincount(events.event, minlength=n) > 1
    at = good[events.event]
    renumber = np.cumsum(good) - 1
    event, kinds = renumber[events.event[at]], kinds[at]
    n = int(good.sum())
    encoded = hemispheres.encode(events.momenta[at], species.masses[kinds], event, events.quark[good])
    kinds = kinds[encoded.order]
    flat = (event[encoded.order] * hemispheres.GROUPS + encoded.group) * len(species) + kinds
    counts = np.bincount(flat, minlength=n * hemispheres.GROUPS * len(species))
    rank = np.lexsort((encoded.x[:, 0], flat))
    prepared = Prepared(
        kinds[rank],
        encoded.group[rank],
        encoded.x[rank].astype(np.float32),
        counts.reshape(n, hemispheres.GROUPS, len(species)),
        encoded.shapes.astype(np.float32),
        conditions(events.flavour[good], events.alpha_s[good]),
    )
    return prepared, good
