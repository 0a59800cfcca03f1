"""HepMC events (arXiv:1912.08005): final particles and hard process of HepMC3 and HepMC2 ASCII files, by range."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gen2reco.errors import InputError
from gen2reco.events import records
from gen2reco.events.event_files import index_events
from gen2reco.events.hepmc_lines import EVENT_LINE, Broken, HepmcEvent, read_event
from gen2reco.units import C_LIGHT

if TYPE_CHECKING:
    from scipy.sparse import csr_array

FINAL, BEAM, DOCUMENTED = 1, 4, 3
PARTICLE = ("pdg", "px", "py", "pz", "energy", "vx", "vy", "vz", "time")
PARTON = ("pdg", "status", "px", "py", "pz", "energy", "mass", "color", "anticolor")
_FORMATS = {b"Asciiv3": "hepmc3", b"IO_GenEvent": "hepmc2"}
_START = re.compile(rb"HepMC::(\w+)-START_EVENT_LISTING")
_NAMES2 = re.compile(rb"^N \d+ .*$", re.MULTILINE)


@dataclass(frozen=True)
class HepmcEvents:
    """Some events of a file: columns of the particles record, weights (n_events, n_weights)."""

    columns: dict[str, pa.Array]
    weights: np.ndarray
    weight_names: tuple[str, ...]
    section: tuple[float, float] | None
    """Cross section and its error in pb, as the last event states them, if any does."""
    decayed: int
    """Particles of final status left out, because final particles descend from them."""


class HepmcFile:
    """A HepMC ASCII file, plain or gzipped, indexed: `len()` and `events(start, stop)`.

    Files put together of several runs are read where their weights have the same names and their cross sections agree.
    Raises InputError.
    """

    def __init__(self, path: Path | str):
        self._file = index_events(path, EVENT_LINE, b"START_EVENT_LISTING")
        self.path = self._file.path
        runs = list(_START.finditer(self._file.data))
        kinds = {_FORMATS.get(mark[1]) for mark in runs}
        if len(kinds) != 1 or None in kinds:
            found = ", ".join(sorted({mark[0].decode() for mark in runs})) or "none"
            raise InputError(
                f"{path}: is no HepMC3 or HepMC2 ASCII file; expected a line HepMC::Asciiv3-START_EVENT_LISTING or "
                f"HepMC::IO_GenEvent-START_EVENT_LISTING, found: {found}"
            )
        (self.format,) = (kind for kind in kinds if kind)
        self.weight_names = self._one_set_of_names([mark.start() for mark in runs])
        self._check_sections([mark.start() for mark in runs])

    def __len__(self) -> int:
        return len(self._file)

    def events(self, start: int, stop: int) -> HepmcEvents:
        """Events [start, stop) in GeV, mm, ns. Raises InputError if exhausted, cut off or malformed."""
        self._file.check_holds(stop)
        read = [self._event(number) for number in range(start, stop)]
        weights = [event.weights or [1.0] for event in read]
        counts = {len(row) for row in weights}
        names = self.weight_names or tuple(str(i) for i in range(max(counts, default=1)))
        if wrong := counts - {len(names)}:
            at = next(i for i, row in enumerate(weights) if len(row) in wrong)
            raise self._error(start + at, f"has {len(weights[at])} weights, expected {len(names)} ({', '.join(names)})")
        chosen = [_final(event) for event in read]
        columns = {
            "partons": _lists([_hard(event, self.format) for event in read], PARTON),
            "particles": _lists([_particles(event, kept) for event, kept in zip(read, chosen)], PARTICLE),
        }
        stated = [event.section for event in read if event.section]
        decayed = sum(int((event.status == FINAL).sum()) - len(kept) for event, kept in zip(read, chosen))
        table = np.array(weights, np.float64).reshape(stop - start, -1)
        return HepmcEvents(columns, table, names, stated[-1] if stated else None, decayed)

    def _event(self, number: int) -> HepmcEvent:
        try:
            event = read_event(self._file.events(number, number + 1), self.format)
            _check_order(event)
        except Broken as error:
            raise self._error(number, str(error)) from None
        return event

    def _error(self, number: int, problem: str) -> InputError:
        return InputError(f"{self.path}: event {number} (counted from 0): {problem}; remake or drop the event")

    def _one_set_of_names(self, runs: list[int]) -> tuple[str, ...]:
        """The weights' names, which all runs (HepMC3) and events (HepMC2) have in common. Raises InputError."""
        first = None
        for names, event in self._headers(runs) if self.format == "hepmc3" else self._name_lines():
            first = names if first is None else first
            if names != first:
                raise InputError(
                    f"{self.path}: the weights' names change at event {event} (counted from 0), from "
                    f"({', '.join(first) or 'none'}) to ({', '.join(names) or 'none'}): runs put together; give each "
                    "file by itself"
                )
        return first or ()

    def _headers(self, runs: list[int]) -> Iterator[tuple[tuple[str, ...], int]]:
        """Names in the header of each run that has events, and its first event."""
        for run, event in zip(runs, np.searchsorted(self._file.starts, runs).tolist()):
            if event < len(self):
                yield _names3(self._file.data[run : self._file.starts[event]]), event

    def _name_lines(self) -> Iterator[tuple[tuple[str, ...], int]]:
        """Names in the events' own lines, and the event, where a line differs from the one before."""
        before = None
        for match in _NAMES2.finditer(self._file.data):
            if match[0] != before:
                yield _names2(match[0]), int(np.searchsorted(self._file.starts, match.start())) - 1
            before = match[0]

    def _check_sections(self, runs: list[int]) -> None:
        """Raises InputError where runs put together end with cross sections that contradict each other."""
        last = [int(np.searchsorted(self._file.starts, run)) - 1 for run in runs[1:]]
        if not last or not len(self):
            return
        ends = {at: self._event(at).section for at in {*last, len(self) - 1} if at >= 0}
        stated = {at: section for at, section in ends.items() if section}
        for at, (value, error) in stated.items():
            (first, its_error), before = stated[min(stated)], min(stated)
            if abs(value - first) > 1e-3 * abs(first) + 5 * np.hypot(max(error, 0), max(its_error, 0)):
                raise InputError(
                    f"{self.path}: runs put together state cross sections of {first:g} pb (event {before}, counted "
                    f"from 0) and {value:g} pb (event {at}): of other processes; give each file by itself"
                )


def _names3(header: bytes) -> tuple[str, ...]:
    """Names in the header of a HepMC3 run: one line W, the names divided by escaped line breaks."""
    line = next((line for line in header.splitlines() if line.startswith(b"W ")), b"")
    text = re.sub(r"\\(.)", lambda match: "\n" if match[1] == "|" else match[1], line[2:].decode(errors="replace"))
    return tuple(name.replace("\xa0", " ").strip() for name in text.split("\n")) if text.strip() else ()


def _names2(line: bytes) -> tuple[str, ...]:
    """Names in a line N of HepMC2, in quotes."""
    return tuple(re.findall(r'"([^"]*)"', line.decode(errors="replace")))


def _check_order(event: HepmcEvent) -> None:
    """Raises Broken if a particle is its own ancestor."""
    from scipy.sparse.csgraph import connected_components

    inner = (event.end >= 0) & (event.origin >= 0)
    graph = _graph(event.origin[inner], event.end[inner], len(event.place))
    loops = (event.origin == event.end) & inner
    if loops.any() or connected_components(graph, connection="strong")[0] < len(event.place):
        raise Broken("a particle is its own ancestor")


def _graph(tail: NDArray, head: NDArray, n: int) -> "csr_array":
    from scipy.sparse import csr_array

    return csr_array((np.ones(len(tail), np.int8), (tail, head)), shape=(n, n))


def _final(event: HepmcEvent) -> NDArray[np.int64]:
    """Final particles: of status 1, but for those that others of them descend from."""
    final = event.status == FINAL
    decayed = final & (event.end >= 0)
    if decayed.any():
        from scipy.sparse.csgraph import breadth_first_order

        n, made = len(event.place), event.origin >= 0
        inner, ends = made & (event.end >= 0), made & final
        tail = np.concatenate([event.end[inner], np.full(ends.sum(), n)])
        head = np.concatenate([event.origin[inner], event.origin[ends]])
        above = breadth_first_order(_graph(tail, head, n + 1), n, return_predecessors=False)
        final &= ~(decayed & np.isin(event.end, above))
    return np.flatnonzero(final)


def _particles(event: HepmcEvent, chosen: NDArray) -> tuple[np.ndarray, ...]:
    """Columns of the chosen particles, with the places of their production vertices."""
    known = np.asarray(event.place.any(axis=1))
    before = _before(event)
    for _ in range(len(known).bit_length()):  # vertices without a place take their mother's
        before = np.where(known[before] | (before < 0), before, before[before])
    source = np.where(known | (before < 0), np.arange(len(known)), before)
    place = np.vstack([np.where(known[source, None], event.place[source], event.position), event.position])
    born = place[event.origin[chosen]] / (1, 1, 1, C_LIGHT)
    return (event.pdg[chosen], *event.momentum[chosen, :4].T, *born.T)


def _before(event: HepmcEvent) -> NDArray[np.int64]:
    """(m,) the vertex before each vertex, -1: none: where the first of its incoming particles with one was produced."""
    inner = np.flatnonzero((event.end >= 0) & (event.origin >= 0))
    ends, first = np.unique(event.end[inner], return_index=True)
    before = np.full(len(event.place), -1)
    before[ends] = event.origin[inner[first]]
    return before


def _hard(event: HepmcEvent, kind: str) -> tuple[np.ndarray, ...]:
    """Columns of the hard process."""
    hard = np.flatnonzero((event.status >= 21) & (event.status <= 29))
    if not len(hard) and kind == "hepmc2":
        hard = np.flatnonzero(event.status == DOCUMENTED)
    lines = np.array([event.flows.get(at, (0, 0)) for at in hard.tolist()], np.int64).reshape(-1, 2)
    return (event.pdg[hard], event.status[hard], *event.momentum[hard].T, *lines.T)


def _lists(events: list[tuple[np.ndarray, ...]], names: tuple[str, ...]) -> pa.Array:
    offsets = np.cumsum([0, *(len(event[0]) for event in events)])
    columns = [np.concatenate(column) for column in zip(*events)]
    return records.structs(offsets, dict(zip(names, columns)))
