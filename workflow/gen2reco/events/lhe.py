"""Les Houches event files (hep-ph/0609017, arXiv:1405.1067) as programs write them, and back in one clean dialect."""

import mmap
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import NoReturn

import numpy as np

from gen2reco.errors import InputError
from gen2reco.events import lhe_text, lhe_weights
from gen2reco.events.event_files import MAX_HEADER, EventFile, index_events
from gen2reco.events.lhe_run import LheRun, differences, read_run
from gen2reco.events.lhe_weights import Heads, WeightNames

INCOMING, BEAM, OUTGOING = -1, -9, 1
_STATUS = (INCOMING, BEAM, OUTGOING, 2, 3, -2)
_LARGEST_SCALE = 1e8  # GeV
_UNBALANCED = 0.01  # of the outgoing energy, in transverse momentum
_EVENT = re.compile(rb"<event(?=[\s>])")
_HEAD = re.compile(rb"<event(?=[\s>])([^<>]*+)>\s*+\S++\s++(\S++)\s++(\S++)")
_UNREADABLE = (b"", b"0", b"nan")
_ENERGY = re.compile(rb"\n[ \t]*+-?\d++[ \t]++-1[ \t]++(?:\S++[ \t]++){6}(\S++)[ \t]++(\S++)")


@dataclass(frozen=True)
class LheEvent:
    """One event. `particles`: (n, 13) float64 with the columns of the accord:
    IDUP, ISTUP, MOTHUP 1 and 2, ICOLUP 1 and 2, px, py, pz, E, m, VTIMUP, SPINUP. `weights`: further ones by name, in
    the units of `weight`, XWGTUP. `scales`: lines after the particles that a shower reads."""

    process: int
    weight: float
    scale: float
    alpha_em: float
    alpha_s: float
    particles: np.ndarray
    weights: dict[str, float] = field(default_factory=dict)
    attributes: str = ""
    scales: str = ""


class LheFile:
    """An LHE file, indexed: `run`, `len()`, and `events(start, stop)`. Raises InputError naming the file, also for
    files put together of runs that differ."""

    def __init__(self, path: Path | str):
        found = index_events(path, _EVENT, b"</init>", b"</LesHouchesEvents>")
        self.path = found.path
        first = int(found.starts[0]) if len(found) else found.end
        self.run = read_run(_header(found, 0, first), self.path)
        self._names = WeightNames(self.run.weights)
        self._file = replace(found, starts=self._starts_of_one_run(found))

    def __len__(self) -> int:
        return len(self._file)

    def events(self, start: int, stop: int) -> Iterator[LheEvent]:
        """Events [start, stop), normalised. Raises InputError if exhausted, cut off or malformed."""
        self._file.check_holds(stop)
        for number in range(start, stop):
            yield _normal(self._event(number), self.path, number)

    @cached_property
    def heads(self) -> Heads:
        """Process, weight and trials of every event in the file; those of an <eventgroup> share one trial."""
        starts = self._file.starts.tolist()
        found = _HEAD.finditer(self._file.data, starts[0], self._file.end) if starts else ()
        head = {match.start(): match.groups() for match in found}
        rows = [head.get(start, _UNREADABLE) for start in starts]
        return Heads(
            np.clip(np.nan_to_num(_array([process for _, process, _ in rows])), -(2**31), 2**31).astype(np.int64),
            _array([weight for _, _, weight in rows]),
            np.array([_trials(attributes) for attributes, _, _ in rows]) / self._group_sizes(),
        )

    @cached_property
    def nominal(self) -> tuple[np.ndarray, np.ndarray]:
        """The weight of every event in a sample of all of them, and the factor on its further ones: see
        `lhe_weights.nominal`. Raises InputError."""
        try:
            return lhe_weights.nominal(self.run.strategy, self.run.processes, self.heads)
        except InputError as error:
            raise InputError(f"{self.path}: {error}") from None

    def incoming_energies(self) -> tuple[np.ndarray, np.ndarray]:
        """Energies, GeV, of all incoming particles of the file that fly to +z, and of those to -z."""
        if not len(self):
            return np.empty(0), np.empty(0)
        found = [match.groups() for match in _ENERGY.finditer(self._file.data, int(self._file.starts[0]))]
        along, energy = _array([pair[0] for pair in found]), _array([pair[1] for pair in found])
        return energy[along > 0], energy[along <= 0]

    def remarks(self) -> list[str]:
        """What a reader should know of the file's weights: one line each."""
        found = lhe_weights.remarks(self.run.strategy, self.run.processes, self.heads)
        grouped = int((self._group_sizes() > 1).sum())
        if grouped:
            found.append(
                f"{grouped} events belong to an <eventgroup>: each is showered on its own, a group counts once"
            )
        if len(self) and (listed := self._text(0).listed) and len(listed) != len(self._names.declared):
            found.append(
                f"<weights> holds {len(listed)} numbers, but <initrwgt> announces {len(self._names.declared)}: "
                "they are named by their place"
            )
        return found

    def _text(self, number: int) -> lhe_text.EventText:
        text = self._file.events(number, number + 1).decode("utf-8", errors="replace")
        try:
            return lhe_text.event_text(text)
        except EOFError:
            _wrong(self.path, number, "has no </event>; the file is cut off, copy or make it again")
        except ValueError:
            _wrong(self.path, number, "is malformed; expected a line of 6 numbers, then NUP lines of 13")

    def _event(self, number: int) -> LheEvent:
        text = self._text(number)
        _, process, weight, scale, em, strong = text.head
        weights = self._names(text.named, text.listed, text.commented)
        rows = np.array(text.rows, np.float64).reshape(-1, 13)
        return LheEvent(int(process), weight, scale, em, strong, rows, weights, text.attributes, text.scales)

    def _group_sizes(self) -> np.ndarray:
        """How many events the <eventgroup> of each event has: (n,) int, 1 outside of groups."""
        data, starts = self._file.data, self._file.starts
        opened = np.array(list(_places(data, b"<eventgroup")), np.int64)
        if not len(opened):
            return np.ones(len(starts), int)
        closed = np.array(list(_places(data, b"</eventgroup")), np.int64)
        group = np.searchsorted(opened, starts) - 1
        inside = (group >= 0) & (np.searchsorted(closed, starts) == np.searchsorted(closed, opened[group]))
        sizes = np.bincount(group[inside], minlength=len(opened))
        return np.where(inside, sizes[group], 1)

    def _starts_of_one_run(self, found: EventFile) -> np.ndarray:
        """The starts of events, those in further headers left out. Raises InputError if a further run is another."""
        data, starts, last = found.data, found.starts, max(found.data.find(b"</init>"), 0)
        kept = np.ones(len(starts), bool)
        for place in _places(data, b"<init", last, found.end):
            if data[place + 5 : place + 6] not in (b">", b" ", b"\t", b"\r", b"\n"):
                continue
            low = max(data.rfind(mark, last, place) for mark in (b"<LesHouchesEvents", b"<header"))
            low = low if low >= 0 else max(data.rfind(b"</event", last, place), last)
            high = data.find(b"</init", place, found.end)
            first, after = np.searchsorted(starts, (low, high if high >= 0 else found.end))
            end = int(starts[after]) if after < len(starts) else found.end
            if other := differences(self.run, read_run(_header(found, low, end), self.path)):
                raise InputError(
                    f"{self.path}: put together of runs that differ: after {kept[:first].sum()} events {other}; "
                    "give each run as a process of its own"
                )
            kept[first:after], last = False, place + 5
        return starts[kept]


def write_clean(path: Path | str, run: LheRun, events: Iterable[LheEvent]) -> None:
    """Write events in the plainest dialect: every number as it stands, no comments or further weights, and what of
    header and events a shower reads."""
    (a, b), (ea, eb) = run.beams, run.energies
    with Path(path).open("w", encoding="utf-8") as file:
        file.write(f'<LesHouchesEvents version="{run.version}">\n<header>\n' + "\n".join(run.blocks))
        sets = " ".join(map(str, run.pdf))
        file.write(f"\n</header>\n<init>\n{a} {b} {ea!r} {eb!r} {sets} {run.strategy} {len(run.processes)}\n")
        file.writelines(f"{xs!r} {err!r} {top!r} {number}\n" for xs, err, top, number in run.processes)
        file.write("</init>\n")
        for event in events:
            file.write(_formatted(event))
        file.write("</LesHouchesEvents>\n")


_ROW = " ".join(["{:.0f}"] * 6 + ["{!r}"] * 7)


def _formatted(event: LheEvent) -> str:
    numbers = (event.weight, event.scale, event.alpha_em, event.alpha_s)
    head = f"{len(event.particles)} {event.process} " + " ".join(repr(float(number)) for number in numbers)
    rows = [_ROW.format(*row) for row in event.particles.tolist()]
    scales = [event.scales] if event.scales else []
    return "\n".join([f"<event{event.attributes}>", head, *rows, *scales, "</event>\n"])


def _header(file: EventFile, low: int, high: int) -> str:
    if high - low > MAX_HEADER:
        raise InputError(f"{file.path}: header of {high - low >> 20} MiB, expected at most {MAX_HEADER >> 20}")
    return file.data[low:high].decode("utf-8", errors="replace")


def _places(data: mmap.mmap, mark: bytes, low: int = 0, high: int | None = None) -> Iterator[int]:
    at = low - 1
    while (at := data.find(mark, at + 1, len(data) if high is None else high)) >= 0:
        yield at


def _trials(attributes: bytes) -> float:
    """Attempts of the generator for an event, as Sherpa writes them; 1 where there is no number > 0."""
    if b"trials" not in attributes:
        return 1.0
    trials = _number(lhe_text.attribute(attributes.decode(errors="replace"), "trials") or "")
    return trials if 0 < trials < np.inf else 1.0


def _array(words: list[bytes]) -> np.ndarray:
    """Numbers as float64, NaN for what is none."""
    try:
        return np.array(words, "S64").astype(np.float64)
    except ValueError:
        return np.array([_number(word.decode(errors="replace")) for word in words])


def _number(word: str) -> float:
    try:
        return lhe_text.number(word)
    except ValueError:
        return np.nan


def _normal(event: LheEvent, path: Path, number: int) -> LheEvent:
    """Beams' own lines dropped, the two incoming first (+z then −z), mothers and colours as Pythia8 expects them."""
    _check(event, path, number)
    rows = event.particles
    kept = np.flatnonzero(rows[:, 1] != BEAM) if (rows[:, 1] == INCOMING).any() else np.arange(len(rows))
    incoming = np.isin(rows[kept, 1], (INCOMING, BEAM))
    if incoming.sum() != 2:
        _wrong(path, number, f"has {incoming.sum()} incoming particles (ISTUP -1), expected 2")
    order = kept[np.argsort(np.where(incoming, -1 - (rows[kept, 8] > 0), 0), kind="stable")]
    place = np.zeros(len(rows) + 1, int)  # new line of each old one, both counted from 1; 0: none
    place[order + 1] = np.arange(1, len(order) + 1)
    low, high = place[rows[order, 2:4].astype(int)].T
    swap = (low > high) & (high > 0)
    rows = rows[order]
    rows[:, 2], rows[:, 3] = np.where(swap, high, low), np.where(swap, low, high)
    rows[2:][(rows[2:, 2:4] == 0).all(axis=1), 2:4] = (1, 2)
    rows[:2, 1:4] = (INCOMING, 0, 0)
    if 0 < rows[:, 4:6].max() <= 500:
        rows[:, 4:6] += 500 * (rows[:, 4:6] > 0)
    _check_balance(rows, path, number)
    return replace(event, particles=rows)


def _check(event: LheEvent, path: Path, number: int) -> None:
    rows = event.particles
    if not len(rows):
        _wrong(path, number, "has no particles (NUP = 0), nothing to shower; take such events out of the file")
    if not (np.isfinite(rows).all() and np.isfinite([event.weight, event.scale, *event.weights.values()]).all()):
        _wrong(path, number, "holds NaN or infinity; remake or drop the event")
    if event.scale > _LARGEST_SCALE:
        _wrong(path, number, f"has SCALUP = {event.scale:g}, expected at most {_LARGEST_SCALE:g} GeV")
    if (rows[:, :6] % 1).any() or np.abs(rows[:, :6]).max() >= 2**31:
        _wrong(path, number, "has a PDG code, status, mother or colour that is no whole number of 32 bits")
    if (bad := rows[:, 9] < 0).any():
        _wrong(path, number, f"has a particle (PDG {rows[bad][0, 0]:.0f}) of energy {rows[bad][0, 9]:g}, expected >= 0")
    if (bad := ~np.isin(rows[:, 1], _STATUS)).any():
        _wrong(path, number, f"has a particle of status ISTUP = {rows[bad][0, 1]:.0f}, expected one of {_STATUS}")
    if rows[:, 2:4].min() < 0 or rows[:, 2:4].max() > len(rows):
        _wrong(path, number, f"names a mother outside its {len(rows)} particles")


def _check_balance(rows: np.ndarray, path: Path, number: int) -> None:
    """Raises InputError for transverse momentum from nowhere, which Pythia8 may shower without end."""
    final = rows[:, 1] == OUTGOING
    missing = np.hypot(*(rows[final, 6:8].sum(axis=0) - rows[:2, 6:8].sum(axis=0)))
    if missing > _UNBALANCED * rows[final, 9].sum():
        _wrong(path, number, f"creates {missing:.4g} GeV of transverse momentum; remake or drop the event")


def _wrong(path: Path, number: int, problem: str) -> NoReturn:
    raise InputError(f"{path}: event {number} (counted from 0) {problem}")
