"""Hard processes from a Les Houches event file, showered, hadronised and decayed by Pythia8."""

from dataclasses import replace

import numpy as np
import pyarrow as pa

from gen2reco.config.block import Block
from gen2reco.config.process import LheProcess, check_unchanged
from gen2reco.errors import InputError
from gen2reco.events import lhe_weights
from gen2reco.events.lhe import LheEvent, LheFile
from gen2reco.generate.lhe_shower import Shower, Showered
from gen2reco.generate.pythia8 import assemble, empty_events, merged, run_facts
from gen2reco.run.stage import Backend, Chunk, Result


class Lhe(Backend):
    """Showers events [start, stop) of the file. `event` is the number in the file, counted from 0.

    Weights and cross sections are those of IDWTUP (hep-ph/0109068) times the factors of merging and shower. Events that
    matching drops leave no row, those that merging gives no weight a row without particles; those that Pythia8 cannot
    shower count as failed.
    """

    name, stage, version, isolate, chunk_events = "lhe", "generate", 2, True, 1000

    class Options(Block):
        """What to shower."""

        process: LheProcess
        """The event file and the shower's settings."""

    options: Options

    def prepare(self) -> None:
        """Index the file and start Pythia8 on its header, to see that it does. Raises InputError."""
        process = self.options.process
        check_unchanged(process)
        self._file = LheFile(process.file)
        own, self._stretch = _beams(self._file)
        a, b = self._file.run.energies
        run = replace(self._file.run, energies=(a * self._stretch, b * self._stretch))
        self.shower = Shower(process.settings, process.mpi, run, own)
        self._names = tuple(next(self._file.events(0, 1)).weights) if len(self._file) else ()
        self._remarks = [*self._file.remarks(), *self._remarks_on_shower()]

    def _remarks_on_shower(self) -> list[str]:
        found = []
        if self.shower.from_run_card:
            changed = ", ".join(self.shower.from_run_card)
            found.append(f"the file's run card sets {changed}; JetMatching:setMad = off keeps your settings")
        if self.shower.loops:
            found.append("merging at NLO: weights of Pythia8 for other scales (MUR…) are left out")
        if self._stretch > 1:
            found.append(
                f"incoming particles have up to {self._stretch:.6g} times the energy of their beams: they collide as "
                "they are, without further radiation"
            )
        return found

    def run(self, chunk: Chunk, events: pa.Table | None = None) -> Result:
        """Shower events [start, stop). Raises InputError if the file is exhausted, cut off or malformed, or if Pythia8
        does not know its particles."""
        given = self.read(chunk)
        return self.result(given, self.showered(given, chunk), chunk)

    def read(self, chunk: Chunk) -> list[LheEvent]:
        """The events of the chunk as the file has them."""
        return list(self._file.events(chunk.start, chunk.stop))

    def showered(self, given: list[LheEvent], chunk: Chunk) -> Showered:
        """What comes out of events of the chunk. Raises InputError if Pythia8 does not know their particles."""
        try:
            return self.shower(given, chunk.seed)
        except InputError as error:
            raise InputError(f"{self._file.path}: events {chunk.start} to {chunk.stop - 1}: {error}") from None

    def result(self, given: list[LheEvent], showered: Showered, chunk: Chunk) -> Result:
        """Rows and facts of the chunk's events as they came out."""
        table = self._table(given, showered, chunk)
        return Result(table, self._facts(table, showered, chunk))

    def summary(self, infos: list[dict]) -> dict:
        """Cross section and weights of the shard."""
        if not infos:
            return {}
        first = infos[0]
        sums = {key: sum(info["sums"][key] for info in infos) for key in lhe_weights.SUMS}
        same = {key: first[key] for key in ("idwtup", "xsecup_pb", "xerrup_pb", "remarks")}
        return merged(infos) | same | _cross_section(same, sums)

    def notices(self, facts: dict) -> list[str]:
        """What of the file's weights is remarkable, and what merging and matching dropped."""
        lines = [f"{self.options.process.file}: {remark}" for remark in facts.get("remarks", [])]
        for key, what in (("events_vetoed", "dropped by matching or a veto"), ("events_unweighted", "have no weight")):
            if count := facts.get(key, 0):
                lines.append(f"{count} of {facts['events_in']} events {what}")
        empty = facts.get("events_without_particles", 0) - facts.get("events_unweighted", 0)
        return [*lines, *empty_events(facts, empty)]

    def _table(self, given: list[LheEvent], showered: Showered, chunk: Chunk) -> pa.Table:
        """Rows in the order of the file, its further weights after the shower's."""
        sizes = [len(part["weights"]) for part in showered.parts]
        weights = np.split(self._weights(given, showered, chunk), np.cumsum(sizes)[:-1])
        parts = [{**part, "weights": own} for part, own in zip(showered.parts, weights, strict=False)]
        table = assemble(parts, chunk.start + showered.at, self._weight_names())
        return table.take(np.argsort(showered.at, kind="stable"))

    def _weights(self, given: list[LheEvent], showered: Showered, chunk: Chunk) -> np.ndarray:
        """(n_rows, n_weights): what IDWTUP makes of the file's weights, times the shower's factors."""
        further = np.array([self._further(event, chunk.start + i) for i, event in enumerate(given)])
        factors = showered.factors(len(self.shower.weight_names))
        nominal, scale = (values[chunk.start + showered.at, None] for values in self._file.nominal)
        further = further.reshape(len(given), len(self._names))[showered.at]
        return np.hstack([factors * nominal, factors[:, :1] * scale * further])

    def _further(self, event: LheEvent, number: int) -> list[float]:
        """An event's weights that have names. Raises InputError where they are not those of the file's first event."""
        if different := set(self._names) ^ set(event.weights):
            name = min(different)
            has = "has no weight" if name in self._names else "has a weight"
            raise InputError(
                f"{self._file.path}: event {number} {has} `{name}`, unlike event 0; all events need the same weights"
            )
        return [event.weights[name] for name in self._names]

    def _weight_names(self) -> list[str]:
        return lhe_weights.distinct([*self.shower.weight_names, *self._names])

    def _facts(self, table: pa.Table, showered: Showered, chunk: Chunk) -> dict:
        run, here = self._file.run, slice(chunk.start, chunk.stop)
        nominal, trials = self._file.nominal[0][here], self._file.heads.trials[here]
        tried = np.delete(np.arange(len(nominal)), showered.failed)
        made = np.sort(showered.at)
        sums = lhe_weights.sums(nominal[tried], trials[tried], nominal[made], table["weight"].to_numpy())
        stated, error = lhe_weights.total(run.processes)
        same = {"idwtup": run.strategy, "xsecup_pb": stated, "xerrup_pb": error, "remarks": self._remarks}
        of_engine = run_facts(self.shower.pythia, table)
        beams = [[code, energy, mass] for (code, _, mass), energy in zip(of_engine["beams"], run.energies, strict=True)]
        own = {
            "hard_processes_tried": len(nominal),
            "sqrt_s": of_engine["sqrt_s"] / self._stretch,
            "beams": beams,
            "weight_names": self._weight_names(),
            "events_vetoed": showered.vetoed,
            "events_failed": len(showered.failed),
            "events_unweighted": showered.unweighted,
            "failure_reasons": dict(showered.failures),
            "sums": sums,
        }
        return of_engine | own | same | _cross_section(same, sums)


def _cross_section(stated: dict, sums: dict[str, float]) -> dict[str, float]:
    value, error = lhe_weights.cross_section(stated["idwtup"], stated["xsecup_pb"], stated["xerrup_pb"], sums)
    return {"cross_section_pb": value, "cross_section_error_pb": error}


def _beams(file: LheFile) -> tuple[list[str], float]:
    """Pythia8's lines for beams of leptons or photons, and a factor on their energies, judged by all events.

    Where all have the full energy, they collide whole; where some have less, Pythia8 makes the radiation that took it.
    Where some have more, the spread of the beams is in the file: each event's incoming particles collide as they are,
    and Pythia8, which takes one energy of the beams, gets the largest.
    """
    run = file.run
    if not run.unresolved_beams or not len(file) or min(run.energies) <= 0:
        return [], 1.0
    share = np.concatenate([own / beam for own, beam in zip(file.incoming_energies(), run.energies, strict=True)])
    largest = float(np.nanmax(share, initial=0.0))
    if largest > 1 + 1e-6:
        return ["PDF:lepton = off", "Check:epTolErr = 1e9", "Check:epTolWarn = 1e9"], largest
    return ["PDF:lepton = off"] if np.allclose(share, 1.0, rtol=1e-6) else [], 1.0
