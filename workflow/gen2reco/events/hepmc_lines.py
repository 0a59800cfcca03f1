"""The lines of one HepMC event as arrays, for both ASCII formats (arXiv:1912.08005; HepMC 2 user manual, IO_GenEvent).

pyhepmc is not used to read: its HepMC3 (3.2.5) takes no vertices and particles that are named before they are listed,
though it writes them, splits weight names at blanks, and crashes on damaged files.
"""

import re
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

EVENT_LINE = re.compile(rb"^E (?=[\s\d-])", re.MULTILINE)
_INT, _COUNT = rb" +(-?\d{1,10})", rb" +(\d{1,9})"
_FLOAT = rb" +([-+]?(?:(?:\d+(?:\.\d*)?|\.\d+)(?:[eE][-+]?\d+)?|nan|inf))"
_E3 = re.compile(rb"E" + _INT + _COUNT * 2 + rb"(?: +@" + _FLOAT * 4 + rb")? *")
_V3 = re.compile(rb"V +(-\d{1,9})" + _INT + rb" +\[((?:\d{1,9}(?:,\d{1,9})*)?)\](?: +@" + _FLOAT * 4 + rb")? *")
_P3 = re.compile(rb"P" + _COUNT + _INT * 2 + _FLOAT * 5 + _INT + rb" *")
_V2 = re.compile(rb"V +(-\d{1,9})" + _INT + _FLOAT * 4 + _COUNT * 3 + rb"(?:" + _FLOAT + rb")* *")
_P2 = re.compile(rb"P" + _INT * 2 + _FLOAT * 5 + _INT + _FLOAT * 2 + _INT + _COUNT + rb"((?:" + _INT * 2 + rb")*) *")
_ATTRIBUTE = re.compile(rb"A +(-?\d{1,9}) +(flow1|flow2|flows|GenCrossSection) +(.*)")
_WEIGHTS = re.compile(rb"W(?:" + _FLOAT + rb")* *")
_UNITS = re.compile(rb"U +(GEV|MEV) +(MM|CM)\s*")
_SCALE = {b"GEV": 1.0, b"MEV": 1e-3, b"MM": 1.0, b"CM": 10.0}


class Broken(ValueError):
    """What is wrong with an event, in words."""


@dataclass
class HepmcEvent:
    """One event in GeV and mm: n particles in the order of their numbers and m vertices."""

    pdg: NDArray[np.int64]
    status: NDArray[np.int64]
    momentum: NDArray[np.float64]
    """(n, 5) px, py, pz, energy, mass."""
    origin: NDArray[np.int64]
    """Production vertex of each particle, -1: none."""
    end: NDArray[np.int64]
    """End vertex of each particle, -1: none."""
    place: NDArray[np.float64]
    """(m, 4) x, y, z, ct of the vertices; all 0 where the file gives none."""
    position: NDArray[np.float64] = field(default_factory=lambda: np.zeros(4))
    """(4,) x, y, z, ct of the event."""
    weights: list[float] = field(default_factory=list)
    section: tuple[float, float] | None = None
    """Cross section and its error in pb, if given."""
    flows: dict[int, list[int]] = field(default_factory=dict)
    """The two colour lines, 0: none, by the particle's index."""


def read_event(text: bytes, kind: str) -> HepmcEvent:
    """The event of these lines, `hepmc3` or `hepmc2`. Raises Broken."""
    lines = [line.rstrip(b"\r") for line in text.split(b"\n")]
    end = next((at for at, line in enumerate(lines) if line.startswith(b"HepMC::")), len(lines))
    if end == len(lines) and lines[-1]:
        raise Broken("is cut off in its last line")
    event = (_hepmc3 if kind == "hepmc3" else _hepmc2)(lines[:end])
    units = [_match(_UNITS, line) for line in lines[:end] if line.startswith(b"U")]
    momentum, length = (_SCALE[unit] for unit in units[-1].groups()) if units else (1.0, 1.0)
    event.momentum *= momentum
    event.place *= length
    event.position *= length
    return event


def _hepmc3(lines: list[bytes]) -> HepmcEvent:
    head = _match(_E3, lines[0])
    n_vertices, n_particles = int(head[2]), int(head[3])
    if n_vertices > 2 * n_particles:  # each has a particle that another has not
        raise Broken(_line(lines[0]))
    listed = [line for line in lines if line.startswith(b"P")]
    table = _numbers([_match(_P3, line)[0][1:] for line in listed], 9)
    if len(table) != n_particles:
        raise Broken(f"holds {len(table)} of its {n_particles} particles, cut off or damaged")
    order = np.argsort(table[:, 0], kind="stable")
    if (wrong := table[order, 0] != np.arange(1, n_particles + 1)).any():
        raise Broken(_line(listed[order[np.argmax(wrong)]]))
    mother = table[:, 1].astype(np.int64)
    if (wrong := (mother < -n_vertices) | (mother > n_particles)).any():
        raise Broken(_line(listed[np.argmax(wrong)]))
    mother = mother[order]
    vertices = _vertex_lines(lines, n_vertices, n_particles)
    names = np.union1d(mother[mother != 0], np.array(list(vertices), np.int64))
    if len(names) > n_vertices:
        raise Broken(f"holds {len(names)} vertices, its line E tells {n_vertices}")
    origin = np.where(mother != 0, np.searchsorted(names, mother), -1)
    own = names[names > 0]  # vertices without a line are named by their only incoming particle
    place = np.zeros((len(names), 4))
    ends = [(number - 1, np.searchsorted(names, number)) for number in own.tolist()]
    for name, (incoming, where) in vertices.items():
        at = np.searchsorted(names, name)
        place[at] = where
        ends += [(number - 1, at) for number in incoming]
    event = HepmcEvent(*_columns(table[order], 2), origin, _ends(ends, n_particles), place)
    event.position = np.array([float(word or 0) for word in head.groups()[3:]])
    event.weights = _weights([line for line in lines if line.startswith(b"W")])
    _attributes(event, [line for line in lines if line.startswith(b"A")])
    return event


def _vertex_lines(lines: list[bytes], n_vertices: int, n_particles: int) -> dict[int, tuple[set[int], list[float]]]:
    """Incoming particles and place of the vertices that have lines, by their (negative) numbers."""
    found: dict[int, tuple[set[int], list[float]]] = {}
    for line in (line for line in lines if line.startswith(b"V")):
        match = _match(_V3, line)
        incoming = {int(word) for word in match[3].split(b",") if word}
        name = int(match[1])
        if not -n_vertices <= name < 0 or name in found or not all(0 < number <= n_particles for number in incoming):
            raise Broken(_line(line))
        found[name] = incoming, [float(word or 0) for word in match.groups()[3:]]
    return found


def _ends(ends: list[tuple[int, int]], n_particles: int) -> NDArray[np.int64]:
    """(n,) end vertices from (particle, vertex)."""
    end = np.full(n_particles, -1)
    particle, vertex = np.array(ends, np.int64).reshape(-1, 2).T
    if len(np.unique(particle)) < len(particle):
        number = particle[np.argmax(np.bincount(particle)[particle] > 1)] + 1
        raise Broken(f"particle {number} ends at two vertices")
    end[particle] = vertex
    return end


def _attributes(event: HepmcEvent, lines: list[bytes]) -> None:
    """Colour lines and cross section from attribute lines."""
    for match in filter(None, map(_ATTRIBUTE.fullmatch, lines)):
        number, name, value = int(match[1]), match[2], match[3].split()
        try:
            if name == b"GenCrossSection":
                event.section = (float(value[0]), float(value[1]))
            elif 0 < number <= len(event.pdg):
                flows = event.flows.setdefault(number - 1, [0, 0])
                for at, word in zip(range(2) if name == b"flows" else [int(name[4:]) - 1], value):
                    flows[at] = int(word)
        except (ValueError, IndexError):
            raise Broken(f"broken attribute in {_line(match[0])}") from None


def _hepmc2(lines: list[bytes]) -> HepmcEvent:
    n_vertices, weights = _head2(lines[0])
    index: dict[int, int] = {}
    rows: list[bytes] = []
    place, flows, producer = [], {}, []
    wanted = 0
    for line in lines[1:]:
        if line.startswith(b"V"):
            match = _match(_V2, line)
            if wanted > 0 or len(match[0].split()) != 10 + int(match[9]) or int(match[1]) in index:
                raise Broken(_line(line))
            wanted = int(match[7]) + int(match[8])
            index[int(match[1])] = len(index)
            place.append([float(word) for word in match.groups()[2:6]])
        elif line.startswith(b"P"):
            match = _match(_P2, line)
            colours = [int(word) for word in match[13].split()]
            if not index or len(colours) != 2 * int(match[12]):
                raise Broken(_line(line))
            wanted -= 1
            flows[len(rows)] = [dict(zip(colours[::2], colours[1::2])).get(colour, 0) for colour in (1, 2)]
            rows.append(match[0][1 : match.start(12)])
            producer.append(len(index) - 1)
    if wanted > 0 or len(index) != n_vertices:
        raise Broken(f"holds {len(index)} of its {n_vertices} vertices, cut off")
    table = _numbers(rows, 11)
    end = np.array([index.get(int(barcode), -1) for barcode in table[:, 10]], np.int64)
    origin = np.where(end == producer, -1, np.array(producer, np.int64))  # what ends where it is listed comes in
    event = HepmcEvent(*_columns(table, 1), origin, end, np.array(place).reshape(-1, 4))
    event.weights, event.flows = weights, {at: pair for at, pair in flows.items() if any(pair)}
    event.section = _section2([line for line in lines if line.startswith(b"C")])
    return event


def _head2(line: bytes) -> tuple[int, list[float]]:
    """Number of vertices and weights of an event line of HepMC2."""
    words = line.split()
    try:
        n_vertices, states = int(words[8]), int(words[11])
        weights = int(words[12 + states])
        values = [float(word) for word in words[13 + states :]]
    except (ValueError, IndexError):
        raise Broken(_line(line)) from None
    if n_vertices < 0 or states < 0 or weights != len(values):
        raise Broken(_line(line))
    return n_vertices, values


def _section2(lines: list[bytes]) -> tuple[float, float] | None:
    try:
        if not lines:
            return None
        value, error = map(float, lines[-1].split()[1:3])
        return value, error
    except ValueError:
        raise Broken(_line(lines[-1])) from None


def _columns(table: NDArray, first: int) -> tuple[NDArray, NDArray, NDArray]:
    """PDG code, status and momentum from a table of particles, whose PDG code stands in column `first`."""
    codes = table[:, [first, first + 6]].astype(np.int64)
    if (wrong := (np.abs(codes) >= 2**31).any(axis=1)).any():
        raise Broken(f"PDG code and status {codes[np.argmax(wrong)].tolist()} are no 32-bit integers")
    return codes[:, 0], codes[:, 1], table[:, first + 1 : first + 6].copy()


def _weights(lines: list[bytes]) -> list[float]:
    if len(lines) > 1:
        raise Broken(f"has two lines of weights, the second {_line(lines[1])}")
    return [float(word) for word in _match(_WEIGHTS, lines[0])[0].split()[1:]] if lines else []


def _numbers(rows: list[bytes], columns: int) -> NDArray[np.float64]:
    return np.fromstring(b" ".join(rows), sep=" ").reshape(-1, columns)


def _match(pattern: re.Pattern[bytes], line: bytes) -> re.Match[bytes]:
    match = pattern.fullmatch(line)
    if match is None:
        raise Broken(_line(line))
    return match


def _line(line: bytes) -> str:
    return f"broken line `{line[:60].decode(errors='replace')}`"
