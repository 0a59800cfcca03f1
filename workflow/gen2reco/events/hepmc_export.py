"""Generated events as HepMC3 ASCII, for other tools."""

import gzip
import re
from collections.abc import Iterable, Iterator, Mapping
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import IO

import numpy as np
import pyarrow as pa
import pyhepmc

from gen2reco.events.hepmc import BEAM, FINAL
from gen2reco.events.provenance import story_of
from gen2reco.files import whole
from gen2reco.units import C_LIGHT

INCOMING, INTERMEDIATE, OUTGOING = 21, 22, 23
NEAR = 1e-6  # mm: nearer to the origin is written as at the origin


def write_hepmc(
    events: pa.Table | Iterable[pa.Table], path: Path | str, metadata: Mapping[str, str] | None = None
) -> None:
    """Write a particles table, or several, as HepMC3 ASCII (.gz: gzipped), atomically.

    Each event: beams, the hard process, final particles as daughters of its outgoing partons; those born away from the
    origin hang on a decayed particle of code 0 with their summed momentum, for the record does not keep what decayed.
    Blanks in the weights' names become no-break spaces, for HepMC3 divides names at blanks. `metadata`: the record
    file's.
    """
    path = Path(path)
    facts = story_of(metadata or {}, path).get("generate", {}).get("info", {})
    run, names = pyhepmc.GenRunInfo(), None
    with (
        whole(path) as temporary,
        temporary.open("wb") as raw,
        _compressed(raw, path) as file,
        pyhepmc.open(file, "w", precision=16) as out,
    ):
        for table in [events] if isinstance(events, pa.Table) else events:
            if names is None:
                run.weight_names = names = _weight_names(table, facts)
            for row in _rows(table):
                out.write(_event(row, run, facts))


def _weight_names(events: pa.Table, facts: dict) -> list[str]:
    count = len(events["weights"][0]) if "weights" in events.schema.names and len(events) else 1
    names = facts.get("weight_names", ["Weight"])
    names = names if len(names) == count else [str(i) for i in range(count)]
    names = [re.sub(r"\s", "\xa0", name) or str(i) for i, name in enumerate(names)]
    return [name if name not in names[:i] else f"{name}#{i}" for i, name in enumerate(names)]


def _compressed(raw: IO[bytes], path: Path) -> AbstractContextManager:
    return gzip.GzipFile("", "wb", 6, raw, mtime=0) if path.suffix == ".gz" else nullcontext(raw)


def _rows(events: pa.Table) -> Iterator[dict]:
    """Each event as a dictionary of numpy arrays, the lists of structs as dictionaries of columns."""
    columns = {name: events[name].combine_chunks() for name in events.schema.names}
    flat, offsets = {}, {}
    for name, column in columns.items():
        if pa.types.is_large_list(column.type):
            offsets[name], inner = column.offsets.to_numpy(), column.values
            parts = (
                dict(zip((f.name for f in inner.type), inner.flatten()))
                if pa.types.is_struct(inner.type)
                else {"": inner}
            )
            flat[name] = {key: values.to_numpy() for key, values in parts.items()}
        else:
            flat[name] = column.to_numpy()
    for at in range(len(events)):
        spans = {name: slice(*o[at : at + 2]) for name, o in offsets.items()}
        yield {
            name: {key: v[spans[name]] for key, v in values.items()} if name in spans else values[at]
            for name, values in flat.items()
        }


def _event(row: dict, run: "pyhepmc.GenRunInfo", facts: dict) -> "pyhepmc.GenEvent":
    event = pyhepmc.GenEvent(run)
    table, flows = _hepevt(row, facts.get("beams", []))
    event.from_hepevt(int(row["event"]), **table, fortran=True)
    event.run_info = run
    event.weights = row["weights"][""].tolist() if "weights" in row else [float(row["weight"])]
    if "cross_section_pb" in facts:
        section = pyhepmc.GenCrossSection()
        section.set_cross_section(facts["cross_section_pb"], facts["cross_section_error_pb"])
        event.cross_section = section
    for number, flow in flows:
        for name, line in zip(("flow1", "flow2"), flow):
            if line:
                event.particles[number].attributes[name] = int(line)
    return event


def _hepevt(row: dict, beams: list) -> tuple[dict[str, np.ndarray], list]:
    """HEPEVT arrays: beams, incoming partons, other partons, unknown mothers, final particles; and colour lines."""
    order = np.argsort(np.minimum(row["partons"]["status"], OUTGOING), kind="stable")
    hard = {name: values[order] for name, values in row["partons"].items()}
    final = {name: values.astype(float) for name, values in row["particles"].items()}
    born, group = _birthplaces(final)
    away = born.any(axis=1)
    momentum = np.stack([final[name] for name in ("px", "py", "pz", "energy")], axis=1)
    mothers = np.array([momentum[group == at].sum(axis=0) for at in np.flatnonzero(away)]).reshape(-1, 4)
    incoming = [[0, 0, sign * np.sqrt(max(e**2 - m**2, 0)), e, m] for (_, e, m), sign in zip(beams, (1, -1))]
    partons = np.stack([hard[name] for name in ("px", "py", "pz", "energy", "mass")], axis=1)
    blocks = [np.reshape(incoming, (-1, 5)), partons, _with_mass(mothers), _with_mass(momentum)]
    codes = [[beam[0] for beam in beams], hard["pdg"], [0] * len(mothers), final["pdg"]]
    states = [[BEAM] * len(beams), hard["status"], [2] * len(mothers), [FINAL] * len(group)]
    rows = np.ascontiguousarray(np.concatenate(blocks).T)
    vertex = np.zeros((4, rows.shape[1]))
    vertex[:, rows.shape[1] - len(group) :] = born[group].T
    own = np.where(away, np.cumsum(away), 0)[group]
    counts = [int(n) for n in np.bincount(np.clip(hard["status"] - INCOMING, 0, 2), minlength=3)]
    single = counts[1] == 1 and _balanced(partons[counts[0]], partons[counts[0] + 1 :])
    flows = enumerate(zip(hard["color"], hard["anticolor"]), len(beams))
    return {
        "pid": np.concatenate(codes).astype(np.int32),
        "status": np.concatenate(states).astype(np.int32),
        **dict(zip(("px", "py", "pz", "en", "m"), rows)),
        **dict(zip(("vx", "vy", "vz", "vt"), vertex)),
        "parents": _parents(len(beams), counts, single, len(mothers), own),
    }, [(at, flow) for at, flow in flows if any(flow)]


def _birthplaces(final: dict[str, np.ndarray]) -> tuple[np.ndarray, np.ndarray]:
    """The distinct production vertices (n, 4) x, y, z, ct in mm, and that of each particle."""
    place = np.stack([final["vx"], final["vy"], final["vz"], final["time"] * C_LIGHT], axis=1)
    place[np.abs(place).max(axis=1, initial=0) < NEAR] = 0
    born, group = np.unique(place, axis=0, return_inverse=True)
    return born, group.reshape(-1)


def _with_mass(momentum: np.ndarray) -> np.ndarray:
    """(n, 4) px, py, pz, energy → (n, 5) with the mass."""
    square = momentum[:, 3] ** 2 - (momentum[:, :3] ** 2).sum(axis=1)
    return np.column_stack([momentum, np.sqrt(np.maximum(square, 0))])


def _balanced(mother: np.ndarray, daughters: np.ndarray) -> bool:
    """Whether the momentum (px, py, pz, energy …) of one particle is the sum of others', to a thousandth."""
    return len(daughters) > 0 and np.allclose(daughters[:, :4].sum(axis=0), mother[:4], rtol=0, atol=1e-3 * mother[3])


def _parents(n_beam: int, hard: list[int], single: bool, n_mother: int, own: np.ndarray) -> np.ndarray:
    """(n, 2) first and last parent, counted from 1, 0: none.

    hard: numbers of incoming, intermediate and outgoing partons; single: all outgoing ones come from the only
    intermediate one. own: (n_final,) the unknown mother of each, 0: none.
    """
    beams = (1, n_beam) if n_beam else (0, 0)
    n_in, n_middle, n_out = hard
    incoming = (n_beam + 1, n_beam + n_in) if n_in else beams
    first = n_beam + n_in + n_middle
    middle = (n_beam + n_in + 1, first) if n_middle else incoming
    outgoing = (first + 1, first + n_out) if n_out else middle
    blocks = [[(0, 0)] * n_beam, [beams] * n_in, [incoming] * n_middle, [middle if single else incoming] * n_out]
    last = np.where(own > 0, first + n_out + own, 0)[:, None]
    rows = [np.reshape(block, (-1, 2)) for block in (*blocks, [outgoing] * n_mother)]
    return np.concatenate([*rows, np.where(last > 0, last, outgoing)]).astype(int)
