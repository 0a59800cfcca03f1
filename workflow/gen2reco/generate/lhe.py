"""Hard processes from a Les Houches event file, showered, hadronised and decayed by Pythia8."""

import tempfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pyarrow as pa

from gen2reco.campaign.config import Block
from gen2reco.campaign.process import LheProcess, check_unchanged
from gen2reco.campaign.stage import Backend, Chunk, Result
from gen2reco.errors import InputError
from gen2reco.events.lhe import LheEvent, LheFile, LheRun, write_clean
from gen2reco.generate import engine
from gen2reco.generate.pythia8 import assemble, merged, run_facts

TRIES = 3  # showers of a hard process that Pythia8 gives up, before the event counts as failed


class Lhe(Backend):
    """Showers events [start, stop) of the file. `event` is the number in the file, counted from 0.

    Events that a matching or merging veto drops leave no row; those that Pythia8 cannot shower count as failed.
    """

    name, stage, isolate, chunk_events = "lhe", "generate", True, 1000

    class Options(Block):
        """What to shower."""

        process: LheProcess
        """The event file and the shower's settings."""

    def prepare(self) -> None:
        """Index the file and start Pythia8 on its header. Raises InputError for a file that is no LHE file."""
        process = self.options.process
        check_unchanged(process)
        self._file = LheFile(process.file)
        with tempfile.NamedTemporaryFile(suffix=".lhe") as header:
            write_clean(header.name, self._file.run, ())
            own = ["Beams:frameType = 4", f"Beams:LHEF = {header.name}", *self._lepton_beams()]
            self._pythia = engine.start(process.settings, process.mpi, own=own)
        self._extra = tuple(next(self._file.events(0, 1)).weights) if len(self._file) else ()
        self._vetoes = engine.matches(self._pythia) or engine.merges(self._pythia)
        self._fresh = True

    def run(self, chunk: Chunk, events: pa.Table | None = None) -> Result:
        """Shower events [start, stop). Raises InputError if the file is exhausted, cut off or malformed."""
        if not self._fresh:
            self.prepare()
        self._fresh = False
        engine.reseed(self._pythia, chunk.seed)
        given = list(self._file.events(chunk.start, chunk.stop))
        todo, parts, numbers = np.arange(len(given)), [], []
        reasons: dict[str, int] = {}
        for _ in range(1 if self._vetoes else TRIES):
            reasons.clear()
            made = self._shower([given[i] for i in todo], parts, reasons)
            numbers.append(todo[made])
            todo = todo[~made]
            if not len(todo):
                break
        table = self._table(given, parts, np.concatenate(numbers), chunk.start)
        failed = {"events_failed": len(todo), "failure_reasons": reasons}
        missing = {"events_vetoed": len(todo)} if self._vetoes else failed
        return Result(table, run_facts(self._pythia, table) | self._facts(self._file.run) | missing)

    def summary(self, infos: list[dict]) -> dict:
        """Cross section and weights of the shard; with unit weights (IDWTUP 3) its error is the file's."""
        total = merged(infos)
        if infos:
            total |= {"events_out": total["events_accepted"], "idwtup": infos[0]["idwtup"]}
            if abs(total["idwtup"]) == 3:
                total["cross_section_error_pb"] = max(info["cross_section_error_pb"] for info in infos)
        return total

    def _lepton_beams(self) -> list[str]:
        """Leptons that collide with their full energy have no parton densities."""
        run = self._file.run
        if not run.unresolved_beams or not len(self._file):
            return []
        energy = next(self._file.events(0, 1)).particles[:2, 9]
        return ["PDF:lepton = off"] if np.allclose(energy, run.energies, rtol=1e-6) else []

    def _shower(self, events: list[LheEvent], parts: list[dict], reasons: dict[str, int]) -> np.ndarray:
        """Append the columns of what comes out; returns which events did, (n_events,) bool."""
        made = []
        with tempfile.NamedTemporaryFile(suffix=".lhe") as clean:
            write_clean(clean.name, self._file.run, events)
            engine.next_file(self._pythia, Path(clean.name))
            for batch in engine.batches(self._pythia, len(events), "none", reasons):
                present, batch = engine.without_missing(batch)
                made.append(present)
                if len(batch):
                    parts.append(engine.columns(batch))
        return np.concatenate(made)

    def _facts(self, run: LheRun) -> dict:
        """What the file knows better than the engine: with unit weights, the error of the cross section."""
        own = {"weight_names": self._weight_names(), "idwtup": run.strategy}
        if abs(run.strategy) != 3:
            return own
        sections = np.array([process[:2] for process in run.processes])
        relative = np.hypot.reduce(sections[:, 1]) / max(sections[:, 0].sum(), 1e-300)
        section = self._pythia.infoPython().sigmaGen() * engine.PB_PER_MB
        return own | {"cross_section_error_pb": float(section * relative)}

    def _weight_names(self) -> list[str]:
        return engine.weight_names(self._pythia) + list(self._extra)

    def _table(self, given: list[LheEvent], parts: list[dict], at: np.ndarray, first: int) -> pa.Table:
        """Rows in the order of the file, its extra weights after the shower's."""
        extra = np.array([_relative(given[i], self._extra, self._file.path, first + i) for i in at])
        table = assemble(parts, first + at, self._weight_names(), extra.reshape(len(at), len(self._extra)))
        return table.take(np.argsort(at, kind="stable"))


def _relative(event: LheEvent, names: Sequence[str], path: Path, number: int) -> list[float]:
    """The file's extra weights of an event over its nominal one."""
    if missing := [name for name in names if name not in event.weights]:
        raise InputError(f"{path}: event {number} has no weight `{missing[0]}`, which event 0 has; remake the file")
    return [event.weights[name] / event.weight if event.weight else 0.0 for name in names]
