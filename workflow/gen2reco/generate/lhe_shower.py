"""Pythia8 on hard processes that are given: it showers, hadronises and decays a list of Les Houches events."""

import tempfile
import weakref
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import pyarrow as pa
import pythia8mc

from gen2reco.errors import InputError
from gen2reco.events.lhe import LheEvent, LheRun, write_clean
from gen2reco.generate import pythia_engine

TRIES = 3  # showers of a hard process that Pythia8 gives up, before the event counts as failed
_MADE, _VETOED = {0}, {6, 7, 8, 9, 14}  # of Pythia8's PhysicsBase::Status
_GOLDEN = 0x9E3779B97F4A7C15  # seeds of further attempts lie far from those of other chunks
_LOOPS = ("Merging:doUNLOPSLoop", "Merging:doUNLOPSSubtNLO")


@dataclass
class Showered:
    """What came out. `parts`: columns of each batch (see `pythia_engine.columns`), their weights factors on those of
    the given events; `at`: (n,) the one of each row; `vetoed`: how many were dropped on purpose;
    `failed`: which ones Pythia8 gave up; `failures`: why, and how many events for each reason."""

    parts: list[dict] = field(default_factory=list)
    at: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    vetoed: int = 0
    failed: np.ndarray = field(default_factory=lambda: np.empty(0, np.int64))
    failures: Counter[str] = field(default_factory=Counter)

    def factors(self, weights: int) -> np.ndarray:
        """(n, weights) float64: factors of merging and shower, the nominal one first."""
        return np.concatenate([np.empty((0, weights)), *(part["weights"] for part in self.parts)])

    @property
    def unweighted(self) -> int:
        """Rows to which merging gives no weight."""
        return sum(int((part["weights"][:, 0] == 0).sum()) for part in self.parts)


class Shower:
    """Showers given events by Pythia8, each once with unit weight: as it treats IDWTUP 3.

    Every call starts Pythia8 anew, so that it does as on a file of these events: a second start-up with another file
    corrupts memory where merging is on, and leaves other random numbers to decays of taus.
    """

    pythia: Any
    """The engine of the last call."""

    def __init__(self, settings: Iterable[str], mpi: bool | None, run: LheRun, own: Iterable[str] = ()):
        """run: beams and header of the events; own: lines of ours. Raises InputError with Pythia8's reason."""
        self._settings, self._mpi, self._own = [*settings, "Check:abortIfVeto = on"], mpi, tuple(own)
        requested = pythia_engine.settings_of(self._settings)
        _check_merging(requested)
        self._header = replace(run, strategy=3, processes=((1.0, 0.0, 1.0, 0),))
        self._start([])
        self.loops = any(self.pythia.flag(name) for name in _LOOPS)
        """Whether Pythia8 merges at NLO, where its variations of scales need those of the file, which it does not
        read: they are left out."""
        self.from_run_card = _from_run_card(requested, self.pythia)
        """Settings of matching that the file's run card sets, in Pythia8's words."""
        self._drop()

    def _drop(self) -> None:
        """Let go of Pythia8, some of whose hooks print at their end."""
        with pythia_engine.engine_output():
            self.pythia = None

    def _start(self, events: Sequence[LheEvent]) -> None:
        self._watch = _Watch()
        with tempfile.NamedTemporaryFile(suffix=".lhe") as file:
            write_clean(file.name, self._header, events)
            own = [*self._own, "Beams:frameType = 4", f"Beams:LHEF = {file.name}"]
            self.pythia = pythia_engine.start(self._settings, self._mpi, self._watch, own)
        self._watch.pythia = weakref.proxy(self.pythia)

    @property
    def weight_names(self) -> list[str]:
        """Names of the shower's weights, the nominal one first."""
        return [name for name, kept in zip(pythia_engine.weight_names(self.pythia), self._kept(), strict=True) if kept]

    def _kept(self) -> list[bool]:
        return [not (self.loops and name.startswith("MUR")) for name in pythia_engine.weight_names(self.pythia)]

    def __call__(self, events: Sequence[LheEvent], seed: int) -> Showered:
        """Shower the events. Those that Pythia8 gives up are tried again, those that it vetoes are not.

        Raises InputError if Pythia8 does not know their particles.
        """
        result, left = Showered(), np.arange(len(events))
        reasons: dict[str, int] = {}
        for attempt in range(TRIES):
            if attempt and not len(left):
                break
            self._drop()
            self._start([replace(events[i], process=i, weight=1.0) for i in left.tolist()])
            _check_codes(self.pythia, events)
            pythia_engine.reseed(self.pythia, (seed + attempt * _GOLDEN) % 2**63)
            reasons = self._run(len(left), result.parts)
            made, vetoed = self._watch.numbers(_MADE), self._watch.numbers(_VETOED)
            result.at = np.concatenate([result.at, made])
            result.vetoed += len(vetoed)
            left = np.setdiff1d(left, np.concatenate([made, vetoed]))
        result.failed = left
        for reason, count in reasons.items():
            if most := min(count, len(left) - result.failures.total()):
                result.failures[reason] = most
        return result

    def _run(self, events: int, parts: list[dict]) -> dict[str, int]:
        """Append the columns of what comes out; returns why others did not."""
        reasons: dict[str, int] = {}
        for batch in pythia_engine.batches(self.pythia, events, "none", reasons):
            _, batch = pythia_engine.without_missing(batch)
            if len(batch):
                columns = pythia_engine.columns(batch)
                parts.append(_without_vetoed({**columns, "weights": columns["weights"][:, self._kept()]}))
        return reasons


def _from_run_card(requested: "pythia8mc.Pythia", used: "pythia8mc.Pythia") -> list[str]:
    names = {"flag": ["merge"], "parm": ["qCut", "clFact"], "mode": ["nQmatch"]}
    found = [
        (f"JetMatching:{name}", getattr(used, kind), getattr(requested, kind)) for kind in names for name in names[kind]
    ]
    return [f"{name} = {now(name)}" for name, now, before in found if now(name) != before(name)]


def _check_codes(pythia: "pythia8mc.Pythia", events: Sequence[LheEvent]) -> None:
    codes = Counter(code for event in events for code in set(event.particles[:, 0].astype(int).tolist()))
    unknown = Counter({code: n for code, n in codes.items() if not pythia.particleData.isParticle(code)})
    for code, n in unknown.most_common(1):
        raise InputError(
            f"{n} of {len(events)} events hold PDG code {code}, which Pythia8 does not know; put an SLHA block with "
            "its mass and decays into the file's header, or give a line "
            f"`{code}:new = name anti spin charge colour mass` in `settings`"
        )


def _check_merging(pythia: "pythia8mc.Pythia") -> None:
    """Raises InputError where Pythia8 would crash: it looks for the process from which merging starts."""
    process = pythia.word("Merging:Process")
    merges = pythia_engine.merges(pythia) or pythia.flag("Merging:doDynamicMerging")
    if merges and pythia.mode("PartonShowers:model") == 1 and ">" not in process:
        raise InputError(f"Merging:Process = {process}: merging needs the process, such as `pp>mu+mu-` or `pp>LEPTONS`")


class _Watch(pythia8mc.UserHooks):
    """Notes how each event ended and its process number, for Pythia8 goes on to the next one in the file where it
    cannot construct a hard process. `ends`: (status, process number) by Pythia8's count of events."""

    def __init__(self) -> None:
        super().__init__()
        self.ends: dict[int, tuple[int, int]] = {}
        self.pythia: Any = None

    def onEndEvent(self, status: Any) -> None:
        """Pythia8 ends an event; it says so twice where there are further hooks."""
        info = self.pythia.infoPython()
        self.ends[info.getCounter(3)] = int(status), info.codeSub()

    def numbers(self, statuses: set[int]) -> np.ndarray:
        """Process numbers of the events that ended so."""
        return np.array([number for status, number in self.ends.values() if status in statuses], np.int64)


def _without_vetoed(columns: dict) -> dict:
    """Events to which merging gives no weight stay in the sample; Pythia8 stops at their hard process, no particle is
    final."""
    vetoed = (columns["weights"] == 0).all(axis=1)
    if not vetoed.any():
        return columns
    particles = columns["particles"]
    with_empty = pa.concat_arrays([particles, pa.array([[]], particles.type)])
    rows = np.where(vetoed, len(particles), np.arange(len(particles)))
    return {**columns, "particles": with_empty.take(pa.array(rows))}
