"""Les Houches event files (hep-ph/0609017, arXiv:1405.1067) as real programs write them, and back in one clean dialect.

MadGraph, POWHEG, Sherpa, Whizard and others disagree on number format, beam lines, order, weights and on what is
XML at all (run cards and comments often are none), so files are read by tag and line, not by an XML parser.
"""

import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import NoReturn

import numpy as np

from gen2reco.errors import InputError
from gen2reco.events.stream import EventFile, index_events

INCOMING, BEAM, OUTGOING = -1, -9, 1
KEPT_BLOCKS = ("slha", "MGRunCard", "MGParamCMS", "MG5ProcCard", "MGGenerationInfo")  # what Pythia8 reads of a header
MAX_HEADER = 64 << 20
_EVENT = re.compile(rb"<event(?=[\s>])")
_BODY = re.compile(r"<event\b([^>]*)>(.*?)</event\s*>", re.DOTALL)
_TAIL = re.compile(r"<(rwgt|weights|scales|mgrwt|clustering|pdfinfo)\b|^\s*#", re.MULTILINE)
_NAMED = re.compile(r"<wgt\b[^>]*?id\s*=\s*['\"]?([^'\">]*?)['\"]?\s*>([^<]*)</wgt\s*>")
_WEIGHT = re.compile(r"<weight\b([^>]*?)(?:/>|>(.*?)</weight\s*>)", re.DOTALL)
_ID = re.compile(r"\bid\s*=\s*(?:'([^']*)'|\"([^\"]*)\"|([^\s'\">]+))")
_POWHEG = re.compile(r"^\s*#new weight\S*\s+(\S+)", re.MULTILINE)


@dataclass(frozen=True)
class LheRun:
    """The `<init>` block. Cross sections in pb, energies in GeV."""

    beams: tuple[int, int]
    energies: tuple[float, float]
    pdf: tuple[int, int, int, int]
    strategy: int
    processes: tuple[tuple[float, float, float, int], ...]
    """(XSECUP, XERRUP, XMAXUP, LPRUP) of each."""
    weight_names: tuple[str, ...] = ()
    blocks: tuple[str, ...] = ()
    """Header blocks that the shower needs, tags included."""

    @property
    def unresolved_beams(self) -> bool:
        """Whether the beams are leptons or photons, that may collide whole."""
        return all(11 <= abs(pdg) <= 16 or pdg == 22 for pdg in self.beams)


@dataclass(frozen=True)
class LheEvent:
    """One event. `particles`: (n, 13) float64 with the columns of the accord:
    IDUP, ISTUP, MOTHUP 1 and 2, ICOLUP 1 and 2, px, py, pz, E, m, VTIMUP, SPINUP."""

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
    """An LHE file, indexed: `run`, `len()`, and `events(start, stop)`. Raises InputError naming the file."""

    def __init__(self, path: Path | str):
        self._file: EventFile = index_events(path, _EVENT, b"</init>", b"</LesHouchesEvents>")
        self.path = self._file.path
        header = self._file.header()
        if len(header) > MAX_HEADER:
            raise InputError(f"{path}: header of {len(header) >> 20} MiB, expected under {MAX_HEADER >> 20}")
        self.run = _run(header.decode("utf-8", errors="replace"), self.path)

    def __len__(self) -> int:
        return len(self._file)

    def events(self, start: int, stop: int) -> Iterator[LheEvent]:
        """Events [start, stop), normalised. Raises InputError if exhausted, cut off or malformed."""
        self._file.check_holds(stop)
        for number in range(start, stop):
            text = self._file.events(number, number + 1).decode("utf-8", errors="replace")
            body = _BODY.search(text)
            if body is None:
                _wrong(self.path, number, "has no </event>; the file is cut off, copy or make it again")
            yield _normal(_event(body[1], body[2], self.path, number), self.path, number)


def write_clean(path: Path | str, run: LheRun, events: Iterable[LheEvent]) -> None:
    """Write events in the plainest dialect: no comments, weights as signed numbers in pb, blocks of the header kept."""
    with Path(path).open("w", encoding="utf-8") as file:
        file.write('<LesHouchesEvents version="1.0">\n<header>\n' + "\n".join(run.blocks) + "\n</header>\n<init>\n")
        (a, b), (ea, eb) = run.beams, run.energies
        sets = " ".join(map(str, run.pdf))
        file.write(f"{a} {b} {ea:.10e} {eb:.10e} {sets} {run.strategy} {len(run.processes)}\n")
        file.writelines(f"{xs:.10e} {err:.10e} {top:.10e} {number}\n" for xs, err, top, number in run.processes)
        file.write("</init>\n")
        for event in events:
            file.write(_formatted(event))
        file.write("</LesHouchesEvents>\n")


_ROW = " ".join(["{:.0f}"] * 6 + ["{:.12e}"] * 5 + ["{:.6e}", "{:.1f}"])


def _formatted(event: LheEvent) -> str:
    numbers = (event.weight, event.scale, event.alpha_em, event.alpha_s)
    head = f"{len(event.particles)} {event.process} " + " ".join(f"{number:.10e}" for number in numbers)
    rows = [_ROW.format(*row) for row in event.particles.tolist()]
    scales = [event.scales] if event.scales else []
    return "\n".join([f"<event{event.attributes}>", head, *rows, *scales, "</event>\n"])


def _run(header: str, path: Path) -> LheRun:
    found = re.search(r"<init\b[^>]*>(.*?)</init\s*>", header, re.DOTALL)
    if found is None:
        what = "has no <init> block" if "<LesHouchesEvents" in header else "is no Les Houches event file"
        raise InputError(f"{path}: {what}; expected <LesHouchesEvents>, <init>, <event> in this order")
    rows = [_numbers(line) for line in found[1].splitlines()]
    rows = [row for row in rows if len(row) >= 4]
    try:
        first, count = rows[0], int(rows[0][9])
        processes = tuple((row[0], row[1], row[2], int(row[3])) for row in rows[1 : 1 + count])
        if len(processes) < count or count < 1:
            raise IndexError
        beams, energies, pdf = (int(first[0]), int(first[1])), (first[2], first[3]), tuple(map(int, first[4:8]))
    except (IndexError, ValueError):
        raise InputError(
            f"{path}: <init> is incomplete; expected a line of 10 numbers, then 4 for each process"
        ) from None
    if not (np.isfinite([*energies, *sum((row[:3] for row in processes), ())]).all() and min(energies) >= 0):
        raise InputError(f"{path}: <init> holds a negative or infinite energy or cross section that is no number")
    names = _weight_names(header)
    return LheRun(beams, energies, pdf, _strategy(int(first[8]), path), processes, names, _blocks(header))


def _strategy(given: int, path: Path) -> int:
    """IDWTUP 3 (unit weights) or 4 (weights in pb); 1 and 2, which ask the reader to unweight, are read as 4."""
    if abs(given) not in (1, 2, 3, 4):
        raise InputError(f"{path}: IDWTUP = {given} in <init>, expected 1 to 4 or -1 to -4")
    return (3 if abs(given) == 3 else 4) * (1 if given > 0 else -1)


def _blocks(header: str) -> tuple[str, ...]:
    kept = []
    for name in KEPT_BLOCKS:
        found = re.search(rf"<{name}\b[^>]*>(.*?)</{name}\s*>", header, re.DOTALL)
        if found:
            text = found[1].replace("<![CDATA[", "").replace("]]>", "")
            kept.append(f"<{name}>{re.sub('[<>]', ' ', text)}</{name}>")
    return tuple(kept)


def _weight_names(header: str) -> tuple[str, ...]:
    """The ids of the weights that <initrwgt> announces, in its order."""
    found = re.search(r"<initrwgt\b[^>]*>(.*?)</initrwgt\s*>", header, re.DOTALL)
    names = []
    for attributes, _ in _WEIGHT.findall(found[1] if found else ""):
        match = _ID.search(attributes)
        names.append(next((g for g in match.groups() if g is not None), "") if match else str(len(names)))
    return tuple(names)


def _event(attributes: str, body: str, path: Path, number: int) -> LheEvent:
    tail = _TAIL.search(body)
    plain, extra = (body[: tail.start()], body[tail.start() :]) if tail else (body, "")
    rows = [row for line in plain.splitlines() if (row := line.partition("#")[0].split())]
    try:
        head = [_number(word) for word in rows[0]]
        count = int(head[0])
        cells = [list(map(_number, row[:13])) for row in rows[1 : 1 + count]]
        cells = [row + [0.0, 9.0][len(row) - 11 :] if 11 <= len(row) < 13 else row for row in cells]
        particles = np.array(cells, np.float64).reshape(count, 13)
        process, weight, scale, em, strong = int(head[1]), *head[2:6]
    except (IndexError, ValueError):
        _wrong(path, number, "is malformed; expected a line of 6 numbers, then NUP lines of 13")
    scales = re.search(r"<scales\b[^>]*?/?>(?:[^<]*</scales>)?", extra)
    return LheEvent(
        process, weight, scale, em, strong, particles, _weights(extra), attributes.rstrip(), scales[0] if scales else ""
    )


def _weights(text: str) -> dict[str, float]:
    """Extra weights by name: <rwgt>, <weights>, or POWHEG's comment lines."""
    if named := _NAMED.findall(text):
        return {name.strip(): _number(value.strip()) for name, value in named}
    if found := re.search(r"<weights\b[^>]*>(.*?)</weights\s*>", text, re.DOTALL):
        return {str(i): _number(word) for i, word in enumerate(found[1].split())}
    return {str(i): _number(word) for i, word in enumerate(_POWHEG.findall(text))}


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
    return replace(event, particles=rows)


def _check(event: LheEvent, path: Path, number: int) -> None:
    rows = event.particles
    if not (np.isfinite(rows).all() and np.isfinite([event.weight, event.scale, *event.weights.values()]).all()):
        _wrong(path, number, "holds NaN or infinity; remake or drop the event")
    if (bad := rows[:, 9] < 0).any():
        _wrong(path, number, f"has a particle (PDG {rows[bad][0, 0]:.0f}) of energy {rows[bad][0, 9]:g}, expected >= 0")
    if rows[:, 2:4].min(initial=0) < 0 or rows[:, 2:4].max(initial=0) > len(rows):
        _wrong(path, number, f"names a mother outside its {len(rows)} particles")


def _numbers(line: str) -> list[float]:
    """The leading numbers of a line."""
    found = []
    for word in line.partition("#")[0].split():
        try:
            found.append(_number(word))
        except ValueError:
            break
    return found


def _number(word: str) -> float:
    """A number in C's or Fortran's notation (1.0D+00, .5d0)."""
    try:
        return float(word)
    except ValueError:
        return float(re.sub("[dD]", "e", word, count=1))


def _wrong(path: Path, number: int, problem: str) -> NoReturn:
    raise InputError(f"{path}: event {number} (counted from 0) {problem}")
