"""Pythia8 as an engine: started from checked settings, seeded per chunk, read in batches of arrays."""

import os
import re
import tempfile
import weakref
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import Any

import awkward as ak
import numpy as np
import pyarrow as pa
import pythia8mc

from gen2reco.errors import InputError
from gen2reco.events import records
from gen2reco.events.truth import as_shipped, new_pythia
from gen2reco.generate.hooks import add_hooks, missing
from gen2reco.generate.settings import entries, read
from gen2reco.stdout import redirected
from gen2reco.units import C_LIGHT

PB_PER_MB = 1e9
BATCH = 250
ATTEMPTS = 20.0  # engine failures tolerated per wanted event
_QUIET = (
    "Random:setSeed = on",
    "Random:seed = 1",
    "Init:showChangedSettings = off",
    "Init:showChangedParticleData = off",
    "Init:showMultipartonInteractions = off",
    "Init:showProcesses = off",
    "Next:numberCount = 0",
    "Next:numberShowInfo = 0",
    "Next:numberShowProcess = 0",
    "Next:numberShowEvent = 0",
    "Next:numberShowLHA = 0",
)

_last_words: "weakref.WeakKeyDictionary[pythia8mc.Pythia, str]" = weakref.WeakKeyDictionary()  # it says each once
_NO_REASON = re.compile(r"giving up|check of event revealed problems|reached end of Les Houches")
_MERGING_DETAILS = (
    "Merging:doDynamicMerging",
    "Merging:doSchemeVariation",
    "Merging:doUNLOPSTilde",
)  # how, not whether


def start(settings: Iterable[str], mpi: bool | None, hook: Any = None, own: Iterable[str] = ()) -> "pythia8mc.Pythia":
    """An initialised Pythia8 with all that its settings act through; `own` lines come first, unchecked.

    Raises InputError with Pythia8's reason, or naming a setting that acts through something that is not installed.
    """
    pythia = settings_of(settings, own)
    with engine_output() as said:
        if mpi is not None:
            pythia.settings.flag("PartonLevel:MPI", mpi)
        _check_source(pythia)
        kept = add_hooks(pythia)
        weakref.finalize(pythia, kept.clear)  # Pythia8 does not keep hooks written in Python alive
        if hook is not None:
            pythia.addUserHooksPtr(hook)
        for line in _QUIET:
            pythia.readString(line)
        ready = pythia.init()
    if not ready:
        raise InputError(f"Pythia8 does not start with these settings: {_complaint(said)}")
    return pythia


def _check_source(pythia: "pythia8mc.Pythia") -> None:
    """Hard processes come from a file or from Pythia8. Raises InputError for settings that ask for both."""
    from_file = pythia.mode("Beams:frameType") == 4
    if from_file and (processes := hard_processes(pythia)):
        raise InputError(f"Pythia8 setting `{processes[0]}`: the event file has the hard processes already; remove it")
    if from_file and pythia.mode("Beams:nSkipLHEFatInit"):
        raise InputError("Pythia8 setting `Beams:nSkipLHEFatInit`: the plan says which events are taken; remove it")
    if merges(pythia) and not from_file:
        raise InputError("Pythia8 settings `Merging:do…` act only on the events of an LHE file; remove them")


def settings_of(settings: Iterable[str], own: Iterable[str] = ()) -> "pythia8mc.Pythia":
    """Pythia8 with these lines read and not initialised (50 ms), to look up what they set; `own` lines come first.

    Raises InputError naming the line that Pythia8 does not take, that opens files, or that acts through something that
    is not installed.
    """
    with engine_output() as said:
        pythia = new_pythia()
        for line in own:
            pythia.readString(line)
        by_us = missing(pythia)
        read(pythia, settings)
    for row in missing(pythia):
        if row not in by_us:
            raise InputError(f"Pythia8 setting `{row.setting}` acts only through {row.through}, which is not installed")
    if "PYTHIA Error" in "".join(said):
        raise InputError(f"Pythia8 does not read these settings: {_complaint(said)}")
    return pythia


def hard_processes(pythia: "pythia8mc.Pythia") -> list[str]:
    """The flags that are on and by which Pythia8 makes hard or soft processes of its own, by their documented name."""
    probe, found = new_pythia().settings, []
    for kind, name, entry in entries(pythia.settings):
        if kind == "Flag" and entry.valNow and not entry.valDefault and not name.startswith("SecondHard:"):
            probe.flag(name, True)
            if probe.hasHardProc() or name.startswith(("SoftQCD:", "LowEnergyQCD:")):
                found.append(name)
            probe.flag(name, False)
    return found


def soft(pythia: "pythia8mc.Pythia") -> bool:
    """Whether any of its processes are soft collisions."""
    return any(entry.valNow for _, entry in pythia.settings.getFlagMap("softqcd:").items())


def interactions(pythia: "pythia8mc.Pythia") -> bool:
    """Whether multiparton interactions are on."""
    return pythia.flag("PartonLevel:MPI") and pythia.flag("PartonLevel:all")


def pt0_ref(pythia: "pythia8mc.Pythia", mpi: bool | None) -> float | None:
    """pT0Ref of multiparton interactions (GeV), none without these. mpi: whether a process has them; None: as set."""
    on = interactions(pythia) if mpi is None else mpi
    return pythia.parm("MultipartonInteractions:pT0Ref") if on else None


def merges(pythia: "pythia8mc.Pythia") -> bool:
    """Whether events are merged (CKKW-L, UMEPS, NL3, UNLOPS), which vetoes or reweights them."""
    switches = (entry.name for key, entry in pythia.settings.getFlagMap("merging:do").items())
    return any(pythia.flag(name) for name in switches if name not in _MERGING_DETAILS)


def changed(pythia: "pythia8mc.Pythia") -> dict[str, Any]:
    """Values of the settings that differ from those which Pythia8 starts with, by their documented name."""
    shipped = _values(as_shipped())
    return {name: value for name, value in _values(pythia).items() if value != shipped.get(name)}


def _values(pythia: "pythia8mc.Pythia") -> dict[str, Any]:
    return {name: _plain(entry.valNow) for _, name, entry in entries(pythia.settings)}


def _plain(value: Any) -> Any:
    return value if isinstance(value, bool | int | float | str) else list(value)


def reseed(pythia: "pythia8mc.Pythia", seed: int) -> None:
    """Set the random generator's state from a 63-bit seed.

    Pythia8's own seeds number 9e8, few enough for two chunks of a campaign to meet; the Marsaglia-Zaman-Tsang
    generator's second part, an arithmetic sequence of period 16777213, is seeded from the remaining bits.
    """
    high, low = divmod(seed, 900_000_000)
    pythia.rndm.init(low + 1)
    state = pythia.rndm.getState()
    state.c = (high % 16_777_213) / 16_777_216
    pythia.rndm.setState(state)


def batches(
    pythia: "pythia8mc.Pythia", events: int, mode: str | float = ATTEMPTS, reasons: dict[str, int] | None = None
) -> Iterator[ak.Array]:
    """Yield `events` generated events in batches of arrays. Raises InputError if too many events fail.

    With mode "none", events that fail are missing from a batch; `reasons` then counts them by the engine's own words.
    """
    for first in range(0, events, BATCH):
        said: list[str] = []
        try:
            with engine_output() as said:
                batch = pythia.nextBatch(min(BATCH, events - first), mode)
        except InputError:
            raise
        except Exception as error:
            raise InputError(f"Pythia8 fails to make events: {_complaint(said, str(error))}") from None
        reason = _last_words[pythia] = _complaint(said, _last_words.get(pythia, "Pythia8 gives no reason"))
        if reasons is not None and (failed := int(np.sum(ak.is_none(batch)))):
            reasons[reason] = reasons.get(reason, 0) + failed
        yield batch


def weight_names(pythia: "pythia8mc.Pythia") -> list[str]:
    """The names of the weights that Pythia8 gives each event, the nominal one first."""
    return list(pythia.infoPython().weightNameVector())


def without_missing(batch: ak.Array) -> tuple[np.ndarray, ak.Array]:
    """Which events of a batch are there, (n_events,) bool, and those."""
    present = ~ak.to_numpy(ak.is_none(batch))
    return present, batch[present]


def columns(batch: ak.Array) -> dict[str, pa.Array | np.ndarray]:
    """The columns `partons`, `particles`, and (n_events, n_weights) `weights`, of a batch without missing events."""
    layout = batch.layout
    if not layout.is_record:  # events were dropped from it
        layout = ak.to_packed(ak.drop_none(batch)).layout
    record = layout.content("prt")
    offsets, entry = np.asarray(record.offsets), record.content[: record.offsets[-1]]
    field = {name: np.asarray(entry.content(name).data) for name in ("id", "status", "col", "acol", "m")}
    momentum = {name: np.asarray(entry.content("p").content(name).data) for name in ("px", "py", "pz", "e")}
    return {
        "partons": _lists(offsets, _hard(field["status"]), lambda at: _partons(field, momentum, at)),
        "particles": _lists(offsets, field["status"] > 0, lambda at: _particles(field, momentum, entry, at)),
        "weights": ak.to_numpy(ak.to_regular(ak.Array(layout.content("info").content("weights")), axis=1)),
    }


def _hard(status: np.ndarray) -> np.ndarray:
    """Incoming, intermediate and outgoing entries of the hard process: (n_entries,) bool."""
    return (np.abs(status) >= 21) & (np.abs(status) <= 29)


def _partons(field: dict, momentum: dict, at: np.ndarray) -> dict[str, np.ndarray]:
    return {
        "pdg": field["id"][at],
        "status": np.abs(field["status"][at]),
        **{name: momentum[name][at] for name in ("px", "py", "pz")},
        "energy": momentum["e"][at],
        "mass": field["m"][at],
        "color": field["col"][at],
        "anticolor": field["acol"][at],
    }


def _particles(field: dict, momentum: dict, entry: Any, at: np.ndarray) -> dict[str, np.ndarray]:
    vertex = entry.content("vProd")
    index = np.asarray(vertex.index.data)[at]

    def production(name: str) -> np.ndarray:
        values = np.asarray(vertex.content.content(name).data)
        return np.where(index >= 0, values[index], 0.0) if len(values) else np.zeros(len(index))

    return {
        "pdg": field["id"][at],
        **{name: momentum[name][at] for name in ("px", "py", "pz")},
        "energy": momentum["e"][at],
        "vx": production("px").astype(np.float32),
        "vy": production("py").astype(np.float32),
        "vz": production("pz").astype(np.float32),
        "time": (production("e") / C_LIGHT).astype(np.float32),
    }


def _lists(offsets: np.ndarray, chosen: np.ndarray, fields: Callable[[np.ndarray], dict]) -> pa.Array:
    """The chosen entries of each event as a list of structs."""
    counts = np.concatenate([[0], np.cumsum(chosen)])[offsets]
    return records.structs(counts, fields(np.flatnonzero(chosen)))


@contextmanager
def engine_output() -> Iterator[list[str]]:
    """Keep the engine's printing off standard output; the list holds what it printed once the block is left."""
    said: list[str] = []
    with tempfile.TemporaryFile() as kept:
        try:
            with redirected(kept.fileno()):
                yield said
        finally:
            said.append(os.pread(kept.fileno(), 1 << 20, 0).decode(errors="replace"))


def _complaint(said: list[str], otherwise: str = "no reason given") -> str:
    """The engine's own last errors on one line, without those that only say that an event failed."""
    found = re.findall(r"PYTHIA (?:Error|Abort)(?: (?:in|from) \S+)?: *(.+)", "".join(said))
    words = list(dict.fromkeys(line.strip() for line in found))
    words = [line for line in words if not _NO_REASON.search(line)] or words
    return "; ".join(words[-3:]) or otherwise
