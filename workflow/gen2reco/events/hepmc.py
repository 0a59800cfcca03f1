"""HepMC events (arXiv:1912.08005): HepMC3 and HepMC2 ASCII read by range through pyhepmc."""

import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyhepmc

from gen2reco.errors import InputError
from gen2reco.events import records
from gen2reco.events.hepmc_guard import EVENT_LINE, check_lines
from gen2reco.events.stream import index_events

LIGHT_SPEED = 299.792458  # mm/ns
FINAL, BEAM, DOCUMENTED = 1, 4, 3
PARTICLE = ("pdg", "px", "py", "pz", "energy", "vx", "vy", "vz", "time")
PARTON = ("pdg", "status", "px", "py", "pz", "energy", "mass", "color", "anticolor")


@dataclass(frozen=True)
class HepmcEvents:
    """Some events of a file: columns of the particles record, weights (n_events, n_weights), cross section in pb."""

    columns: dict[str, pa.Array]
    weights: np.ndarray
    weight_names: tuple[str, ...]
    cross_section: float
    cross_section_error: float


class HepmcFile:
    """A HepMC ASCII file, plain or gzipped, indexed: `len()` and `events(start, stop)`. Raises InputError."""

    def __init__(self, path: Path | str):
        self._file = index_events(path, EVENT_LINE, b"STARTEVENT_LINE_LISTING", b"ENDEVENT_LINE_LISTING")
        self.path = self._file.path
        kinds = {b"HepMC::Asciiv3-START": "hepmc3", b"HepMC::IO_GenEvent-START": "hepmc2"}
        self.format = next((kind for mark, kind in kinds.items() if mark in self._file.header()), None)
        if self.format is None:
            raise InputError(f"{path}: is no HepMC3 or HepMC2 ASCII file; expected a STARTEVENT_LINE_LISTING line")
        pyhepmc.Setup.print_errors = pyhepmc.Setup.print_warnings = False

    def __len__(self) -> int:
        return len(self._file)

    def events(self, start: int, stop: int) -> HepmcEvents:
        """Events [start, stop) in GeV, mm, ns. Raises InputError if exhausted, cut off or malformed."""
        body = self._file.events(start, stop)
        check_lines(body, self.format, self.path, start)
        text = io.BytesIO(self._file.header() + body)
        particles, partons, weights, names, section = [], [], [], (), (0.0, 0.0)
        with pyhepmc.open(text, format=self.format) as reader:
            for number in range(start, stop):
                event = _next(reader, self.path, number)
                try:
                    final, hard = _parts(event, self.format)
                except ValueError as error:
                    raise InputError(
                        f"{self.path}: event {number} (counted from 0): broken attribute: {error}"
                    ) from None
                particles.append(final)
                partons.append(hard)
                weights.append(event.weights or [1.0])
                names = _weight_names(event)
                section = _cross_section(event) or section
        if len({len(row) for row in weights}) > 1:
            raise InputError(f"{self.path}: events {start} to {stop - 1} differ in their number of weights")
        columns = {"partons": _lists(partons, PARTON), "particles": _lists(particles, PARTICLE)}
        return HepmcEvents(columns, np.array(weights, np.float64).reshape(stop - start, -1), names, *section)


def _next(reader: "pyhepmc.io.HepMCFile", path: Path, number: int) -> "pyhepmc.GenEvent":
    try:
        event = next(iter(reader), None)
    except Exception as error:
        event, reason = None, f": {str(error).splitlines()[0]}" if str(error) else ""
    else:
        reason = ""
    if event is None:
        raise InputError(
            f"{path}: event {number} (counted from 0) cannot be read{reason}; it is cut off, empty, or one of its "
            "vertex (V) and particle (P) lines is broken"
        )
    event.set_units(pyhepmc.Units.GEV, pyhepmc.Units.MM)
    return event


def _parts(event: "pyhepmc.GenEvent", kind: str) -> tuple[tuple[np.ndarray, ...], tuple[np.ndarray, ...]]:
    """Columns of the final particles and of the hard process of one event."""
    data = pyhepmc.GenEventData()
    event.write_data(data)
    entry = data.particles
    pdg, status = entry["pid"], entry["status"]
    final = np.flatnonzero(status == FINAL)
    vertex = _production(event, data)[final]
    particles = (pdg[final], *(entry[name][final] for name in ("px", "py", "pz", "e")), *vertex.T)
    hard = np.flatnonzero((status >= 21) & (status <= 29))
    if not len(hard) and kind == "hepmc2":
        hard = np.flatnonzero(status == DOCUMENTED)
    flows = _flows(data) if len(hard) else {}
    lines = np.array([flows.get(at + 1, (0, 0)) for at in hard], np.int32).reshape(-1, 2)
    lone = (lines[:, 1] == 0) & (pdg[hard] < 0) & (kind == "hepmc2")  # whose only line pyhepmc does not number
    lines[lone] = lines[lone, ::-1]
    momenta = [entry[name][hard] for name in ("px", "py", "pz", "e", "mass")]
    return particles, (pdg[hard], status[hard], *momenta, *lines.T)


def _production(event: "pyhepmc.GenEvent", data: "pyhepmc.GenEventData") -> np.ndarray:
    """(n_particles, 4) x, y, z in mm and time in ns of the production vertices; unset ones take their mother's."""
    one, two = np.asarray(data.links1), np.asarray(data.links2)
    origin = np.zeros(len(data.particles) + 1, int)  # production vertex of each particle, 0: none
    origin[two[two > 0]] = -one[two > 0]
    mother = np.zeros(len(data.vertices) + 1, int)  # vertex before each vertex
    into = two < 0
    mother[-two[into]] = origin[one[into]]
    number = -np.asarray(event.numpy.vertices.id)  # vertices stand in the order of the file, not of their numbers
    position = event.event_pos()
    place = np.tile([position.x, position.y, position.z, position.t], (len(data.vertices) + 1, 1))
    place[number] = np.stack([data.vertices[name] for name in ("x", "y", "z", "t")], axis=1)
    known = np.ones(len(place), bool)
    known[number] = event.numpy.vertices.has_set_position
    for _ in range(len(known)):
        todo = ~known & known[mother]
        if not todo.any():
            break
        place[todo], known[todo] = place[mother[todo]], True
    return place[origin[1:]] / (1, 1, 1, LIGHT_SPEED)


def _flows(data: "pyhepmc.GenEventData") -> dict[int, tuple[int, int]]:
    """The two colour lines by particle number."""
    flows: dict[int, tuple[int, int]] = {}
    for name, number, text in zip(data.attribute_name, data.attribute_id, data.attribute_string):
        if name == "flow1":
            flows[number] = (int(text), flows.get(number, (0, 0))[1])
        elif name == "flow2":
            flows[number] = (flows.get(number, (0, 0))[0], int(text))
        elif name == "flows":  # from HepMC2
            flows[number] = (*map(int, text.split()), 0, 0)[:2]
    return flows


def _weight_names(event: "pyhepmc.GenEvent") -> tuple[str, ...]:
    names = tuple(event.run_info.weight_names) if event.run_info else ()
    count = max(len(event.weights), 1)
    return names if len(names) == count else tuple(str(i) for i in range(count))


def _cross_section(event: "pyhepmc.GenEvent") -> tuple[float, float] | None:
    section = event.cross_section
    return (section.xsec(), section.xsec_err()) if section is not None else None


def _lists(events: list[tuple[np.ndarray, ...]], names: tuple[str, ...]) -> pa.Array:
    offsets = np.cumsum([0, *(len(event[0]) for event in events)])
    columns = [np.concatenate(column) for column in zip(*events)]
    return records.structs(offsets, dict(zip(names, columns)))
