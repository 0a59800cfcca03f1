"""Hard processes for the learned generator: Pythia8's process level alone, or the events of an LHE file."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pyarrow as pa

from gen2reco.campaign.process import LheProcess, Pythia8Process
from gen2reco.campaign.stage import Chunk
from gen2reco.events import records
from gen2reco.events.lhe import LheEvent, LheFile, LheRun
from gen2reco.generate import engine
from gen2reco.generate.pythia8 import HardPartonFilter, assemble, run_facts

_HARD_ONLY = (
    "PartonLevel:ISR = off",
    "PartonLevel:FSR = off",
    "PartonLevel:Remnants = off",
    "HadronLevel:all = off",
    "Check:event = off",
)
_STATUS = {-1: 21, 2: 22, 1: 23}  # of the Les Houches accord, in Pythia8's words
MOMENTUM = ("px", "py", "pz", "energy")
_FIELDS = ("pdg", "status", "px", "py", "pz", "energy", "mass", "color", "anticolor")


@dataclass(frozen=True)
class Hard:
    """Hard processes: a particles table without particles, the flat partons by field, how many each event has, and
    facts of the run for the sidecar."""

    table: pa.Table
    partons: dict[str, np.ndarray]
    counts: np.ndarray
    facts: dict[str, Any]
    run: LheRun

    @property
    def event(self) -> np.ndarray:
        """The event of each parton."""
        return np.repeat(np.arange(len(self.counts)), self.counts)

    def incoming(self) -> np.ndarray:
        """Sum of the incoming four-momenta: (n, 4)."""
        own = self.partons["status"] == 21
        n = len(self.counts)
        return np.stack([np.bincount(self.event[own], self.partons[k][own], n) for k in MOMENTUM], 1)

    def coloured_beams(self) -> np.ndarray:
        """Whether a quark or gluon comes in: (n,) bool."""
        own = (self.partons["status"] == 21) & _coloured(self.partons["pdg"])
        return np.bincount(self.event[own], minlength=len(self.counts)) > 0

    def lhe(self, numbers: Iterable[int]) -> Iterator[LheEvent]:
        """Events of the table by row, as an LHE file has them."""
        first = np.concatenate([[0], np.cumsum(self.counts)])
        for number in numbers:
            yield _as_lhe({name: self.partons[name][first[number] : first[number + 1]] for name in _FIELDS})


@dataclass(frozen=True)
class Outgoing:
    """The outgoing hard partons, flat. at: places among all partons; event, pdg: (n_out,); many: (n,) of each event;
    total: (n, 4) their summed four-momentum."""

    at: np.ndarray
    event: np.ndarray
    pdg: np.ndarray
    many: np.ndarray
    total: np.ndarray

    @classmethod
    def of(cls, hard: Hard) -> "Outgoing":
        """Those of a batch."""
        n, at = len(hard.counts), np.flatnonzero(hard.partons["status"] == 23)
        event = hard.event[at]
        total = np.stack([np.bincount(event, hard.partons[k][at], n) for k in MOMENTUM], 1)
        return cls(at, event, hard.partons["pdg"][at], np.bincount(event, minlength=n), total)


def _coloured(pdg: np.ndarray) -> np.ndarray:
    return (np.abs(pdg) <= 6) | (pdg == 21)


class FromPythia8:
    """Runs Pythia8 up to the hard process; filters as the reference backend does."""

    def __init__(self, process: Pythia8Process):
        self._hook = HardPartonFilter(process.filter) if process.filter else None
        self._pythia = engine.start([*process.settings, *_HARD_ONLY], False, self._hook)
        settings = self._pythia.settings
        beams = (settings.mode("Beams:idA"), settings.mode("Beams:idB"))
        energy = self._pythia.infoPython().eCM() / 2
        self._run = LheRun(beams, (energy, energy), (0, 0, 0, 0), 3, ((1.0, 0.0, 1.0, 1),))

    def draw(self, chunk: Chunk) -> Hard:
        """Hard processes of the chunk's events, from its seed."""
        engine.reseed(self._pythia, chunk.seed)
        parts = [engine.columns(batch) for batch in engine.batches(self._pythia, chunk.stop - chunk.start)]
        table = assemble(parts, np.arange(chunk.start, chunk.stop), engine.weight_names(self._pythia))
        facts = run_facts(self._pythia, table)
        if self._hook:
            facts |= {"filter_tried": self._hook.tried, "filter_passed": self._hook.passed}
        partons = table["partons"].combine_chunks()
        flat = partons.flatten()
        fields = {name: flat.field(name).to_numpy(zero_copy_only=False) for name in _FIELDS}
        return Hard(table, fields, np.diff(partons.offsets.to_numpy()), facts, self._run)


class FromLhe:
    """Reads hard processes of an LHE file of any dialect."""

    def __init__(self, process: LheProcess):
        self._file = LheFile(process.file)

    def draw(self, chunk: Chunk) -> Hard:
        """Events [start, stop) of the file. Raises InputError if it is exhausted, cut off or malformed."""
        given = list(self._file.events(chunk.start, chunk.stop))
        rows = np.concatenate([event.particles for event in given]) if given else np.empty((0, 13))
        fields = {
            "pdg": rows[:, 0].astype(np.int32),
            "status": np.array([_STATUS.get(int(s), 22) for s in rows[:, 1]], np.int32),
            **{name: rows[:, 6 + i] for i, name in enumerate(("px", "py", "pz", "energy", "mass"))},
            "color": rows[:, 4].astype(np.int32),
            "anticolor": rows[:, 5].astype(np.int32),
        }
        counts = np.array([len(event.particles) for event in given], int)
        run, weights = self._file.run, np.array([event.weight for event in given])
        weights = np.where(weights < 0, -1.0, 1.0) if run.strategy in (3, -3) else weights
        table = records.table("particles", _columns(np.arange(chunk.start, chunk.stop), weights, fields, counts))
        cross = float(sum(row[0] for row in run.processes))
        facts = {
            "events_accepted": len(given),
            "hard_processes_tried": len(given),
            "cross_section_pb": cross,
            "cross_section_error_pb": float(np.hypot.reduce([row[1] for row in run.processes])),
            "sum_of_weights": float(weights.sum()),
            "sqrt_s": float(np.sqrt(4 * run.energies[0] * run.energies[1])),
            "weight_names": ["Weight"],
        }
        return Hard(table, fields, counts, facts, run)


def _columns(numbers: np.ndarray, weights: np.ndarray, fields: dict, counts: np.ndarray) -> dict:
    offsets = np.concatenate([[0], np.cumsum(counts)])
    return {
        "event": numbers,
        "weight": weights,
        "partons": records.structs(offsets, fields),
        "particles": records.no_lists(len(counts)),
    }


def _as_lhe(partons: dict[str, np.ndarray]) -> LheEvent:
    """One event in the accord's columns; outgoing partons descend from both incoming ones."""
    back = {value: key for key, value in _STATUS.items()}
    keep = np.isin(partons["status"], (21, 23))
    n = int(keep.sum())
    rows = np.zeros((n, 13))
    rows[:, 0] = partons["pdg"][keep]
    rows[:, 1] = [back[int(s)] for s in partons["status"][keep]]
    rows[:, 2:4] = np.where(rows[:, 1:2] == 1, [1, 2], [0, 0])
    rows[:, 4], rows[:, 5] = partons["color"][keep], partons["anticolor"][keep]
    for i, name in enumerate(("px", "py", "pz", "energy", "mass")):
        rows[:, 6 + i] = partons[name][keep]
    rows[:, 12] = 9
    scale = float(
        np.sqrt(max((rows[rows[:, 1] == 1, 9].sum()) ** 2 - (rows[rows[:, 1] == 1, 6:9].sum(0) ** 2).sum(), 0))
    )
    return LheEvent(1, 1.0, scale, -1.0, -1.0, rows)


def source(process: Pythia8Process | LheProcess) -> FromPythia8 | FromLhe:
    """Where the hard processes of `process` come from."""
    return FromPythia8(process) if isinstance(process, Pythia8Process) else FromLhe(process)
