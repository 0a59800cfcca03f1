"""Events of a Pythia8 process for the learned generator: a hard process that it knows is kept, all others go on to
whole events of the reference.

One Pythia8 with all of the process's settings draws them one after the other and is stopped behind the hard process of
those that are known. Events of the others are the reference's by construction: where none is known, byte by byte.
"""

import weakref

import numpy as np
import pyarrow as pa
import pythia8mc

from gen2reco.config.process import Pythia8Process
from gen2reco.errors import InputError
from gen2reco.generate import pythia_engine
from gen2reco.generate.ml_hard import Beams, Hard, HardProcess, Learn, Parton, Unknown, in_order
from gen2reco.generate.pythia8 import HardPartonFilter, assemble, run_facts
from gen2reco.run.stage import Chunk, Result

_HARD_ONLY = (
    "PartonLevel:ISR = off",
    "PartonLevel:FSR = off",
    "PartonLevel:Remnants = off",
    "HadronLevel:all = off",
    "Check:event = off",
)

Attempt = tuple[HardProcess, float, str | None]
DROPPED: Attempt = ((), 0.0, None)


def beams_of(pythia: "pythia8mc.Pythia") -> Beams:
    """The beams that a Pythia8's settings state, initialised or not."""
    codes = (pythia.mode("Beams:idA"), pythia.mode("Beams:idB"))
    if pythia.mode("Beams:frameType") == 1:
        return Beams(codes, (pythia.parm("Beams:eCM") / 2,) * 2)
    return Beams(codes, (pythia.parm("Beams:eA"), pythia.parm("Beams:eB")))


class _Sorter(pythia8mc.UserHooks):
    """Vetoes hard processes that the filter drops or the model knows, and keeps the latter.

    `tries` holds an entry for each event begun: None where no hard process came out, `DROPPED` where the filter vetoed
    it, else (hard process, weight, why it is not known).
    """

    def __init__(self, wanted: HardPartonFilter | None):
        super().__init__()
        self._filter = wanted
        self.tries: list[Attempt | None] = []
        self.number, self._begun = 0, -1
        self.unknown: Unknown = lambda number, event: None

    def start(self, pythia: "pythia8mc.Pythia") -> None:
        """Take the frame and the weights from this engine, now initialised."""
        self._pythia, self._to_lab, info = weakref.proxy(pythia), None, pythia.infoPython()
        if pythia.mode("Beams:frameType") != 1:
            (a, b), masses = beams_of(pythia).energy, (info.mA(), info.mB())
            momenta = [s * np.sqrt(e**2 - m**2) for s, e, m in zip((1, -1), (a, b), masses)]
            self._to_lab = pythia8mc.RotBstMatrix()
            self._to_lab.fromCMframe(*(pythia8mc.Vec4(0.0, 0.0, pz, e) for pz, e in zip(momenta, (a, b))))

    def canVetoProcessLevel(self) -> bool:
        """Pythia8's switch for `doVetoProcessLevel`."""
        return True

    def onBeginEvent(self) -> None:
        """Pythia8 begins an event; it says so twice where there are further hooks."""
        number = self._pythia.infoPython().getCounter(3)
        if number != self._begun:
            self._begun = number
            self.tries.append(None)

    def doVetoProcessLevel(self, process: "pythia8mc.Event") -> bool:
        """True to go no further with the hard process."""
        if self._filter and self._filter.doVetoProcessLevel(process):
            self.tries[-1] = DROPPED
            return True
        entries = map(process.at, range(1, process.size()))
        event = tuple(self._parton(entry) for entry in entries if 21 <= entry.statusAbs() <= 29)
        reason = self.unknown(self.number, event)
        self.tries[-1] = event, self._pythia.infoPython().weight(), reason
        self.number += 1
        return reason is None

    def _parton(self, entry: "pythia8mc.Particle") -> Parton:
        p = entry.p()
        if self._to_lab:
            p.rotbst(self._to_lab)
        return Parton(
            entry.id(), entry.statusAbs(), p.px(), p.py(), p.pz(), p.e(), entry.m(), entry.col(), entry.acol()
        )


class FromPythia8:
    """Draws the events of a Pythia8 process. Raises InputError for settings that Pythia8 does not take."""

    def __init__(self, process: Pythia8Process):
        self._filters = [HardPartonFilter(process.filter) if process.filter else None for _ in range(2)]
        self._sorter = _Sorter(self._filters[0])
        settings = [*process.settings, "Check:abortIfVeto = on"]
        self._pythia = pythia_engine.start(settings, process.mpi, self._sorter)
        self._sorter.start(self._pythia)
        mpi = None if pythia_engine.soft(self._pythia) else False  # soft collisions have no process without them
        self._counter = pythia_engine.start([*process.settings, *_HARD_ONLY], mpi, self._filters[1])

    def events(self, chunk: Chunk, unknown: Unknown, learn: Learn) -> tuple[Result, list[str]]:
        """Events [start, stop) with the particles that `learn` makes of the known ones, and the reasons of all others.
        Raises InputError when Pythia8 or the filter cannot deliver them."""
        pythia_engine.reseed(self._pythia, chunk.seed)
        self._sorter.unknown = unknown
        rows, parts = self._attempts(chunk)
        at = {known: np.flatnonzero([(reason is None) == known for *_, reason in rows]) for known in (True, False)}
        names = pythia_engine.weight_names(self._pythia)
        tables = [assemble(parts, chunk.start + at[False], names)]
        if len(at[True]):
            hard, weights, _ = zip(*(rows[i] for i in at[True]))
            own = {"partons": Hard.of(hard).column(), "particles": learn(hard), "weights": np.array(weights)[:, None]}
            tables.append(assemble([own], chunk.start + at[True], names))
        table = in_order(tables)
        facts = self._facts(table, chunk, len(tables) > 1)
        return Result(table, facts), [reason for *_, reason in rows if reason]

    def _attempts(self, chunk: Chunk) -> tuple[list[Attempt], list[dict]]:
        """The chunk's hard processes, and the columns of those that went on; what Pythia8 does not finish is left out,
        as the reference leaves it out."""
        wanted, failed = chunk.stop - chunk.start, 0
        said: dict[str, int] = {}
        rows: list[Attempt] = []
        parts: list[dict] = []
        while len(rows) < wanted:
            self._sorter.tries.clear()
            self._sorter.number = chunk.start + len(rows)
            most = min(pythia_engine.BATCH, wanted - len(rows))
            present, batch = pythia_engine.without_missing(
                next(pythia_engine.batches(self._pythia, most, "none", said))
            )
            if len(batch):
                parts.append(pythia_engine.columns(batch))
            for attempt, whole in zip(self._sorter.tries, present.tolist(), strict=True):
                if attempt is None or (attempt[2] is not None and not whole):
                    failed += 1
                elif attempt is not DROPPED:
                    rows.append(attempt)
            if failed > pythia_engine.ATTEMPTS * wanted:
                raise InputError(f"Pythia8 fails to make events: {'; '.join(said)}")
        return rows, parts

    def _facts(self, table: pa.Table, chunk: Chunk, some_known: bool) -> dict:
        """Facts of the engine that made the events; an event stopped behind its hard process enters no cross section,
        so where there are such, of one that makes as many hard processes and no more."""
        if not some_known:
            return run_facts(self._pythia, table) | _filter_counts(self._filters[0])
        pythia_engine.reseed(self._counter, chunk.seed)
        for _ in pythia_engine.batches(self._counter, table.num_rows):
            pass
        return run_facts(self._counter, table) | _filter_counts(self._filters[1])


def _filter_counts(hook: HardPartonFilter | None) -> dict[str, int]:
    return {"filter_tried": hook.tried, "filter_passed": hook.passed} if hook else {}
