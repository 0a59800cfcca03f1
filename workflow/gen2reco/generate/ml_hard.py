"""Hard processes as the learned generator takes them: event by event to judge, as arrays to draw from."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np
import pyarrow as pa

from gen2reco.events import records

INCOMING, INTERMEDIATE, OUTGOING = 21, 22, 23
"""Status of hard partons, as Pythia8 counts."""
MOMENTUM = ("px", "py", "pz", "energy")
BALANCE = 1e-3
"""Least share of its energy that an event must miss to count as unbalanced."""


class Parton(NamedTuple):
    """One entry of a hard process, with the fields of the record's `partons`; GeV."""

    pdg: int
    status: int
    px: float
    py: float
    pz: float
    energy: float
    mass: float
    color: int
    anticolor: int

    @property
    def coloured(self) -> bool:
        """Whether it is a quark or a gluon."""
        return abs(self.pdg) <= 6 or self.pdg == 21


HardProcess = tuple[Parton, ...]
Unknown = Callable[[int, HardProcess], str | None]
"""Why the model does not know the hard process of the event of this number; None where it does."""
Learn = Callable[[Sequence[HardProcess]], pa.Array]
"""Stable particles of hard processes that the model knows: a column of lists."""


@dataclass(frozen=True)
class Beams:
    """Codes of the two beam particles and their energies, GeV."""

    pdg: tuple[int, int]
    energy: tuple[float, float]

    @property
    def sqrt_s(self) -> float:
        """Energy in the centre of mass of massless beams, GeV."""
        return 2 * float(np.sqrt(self.energy[0] * self.energy[1]))


@dataclass(frozen=True)
class Hard:
    """Hard processes: flat partons by field, and how many each event has."""

    partons: dict[str, np.ndarray]
    counts: np.ndarray

    @classmethod
    def of(cls, events: Sequence[HardProcess]) -> "Hard":
        """Those of some events."""
        rows = [parton for event in events for parton in event]
        columns = zip(*rows) if rows else ((),) * len(Parton._fields)
        types = Parton.__annotations__.values()
        arrays = (np.array(column, np.int32 if kind is int else float) for column, kind in zip(columns, types))
        return cls(dict(zip(Parton._fields, arrays)), np.array([len(event) for event in events], int))

    @property
    def event(self) -> np.ndarray:
        """The event of each parton."""
        return np.repeat(np.arange(len(self.counts)), self.counts)

    def column(self) -> pa.Array:
        """The column `partons` of a particles table."""
        return records.structs(np.concatenate([[0], np.cumsum(self.counts)]), self.partons)


def outgoing(event: HardProcess) -> list[Parton]:
    """The outgoing partons of a hard process."""
    return [parton for parton in event if parton.status == OUTGOING]


def incoming(event: HardProcess) -> list[Parton]:
    """The two partons that collide."""
    return [parton for parton in event if parton.status == INCOMING]


def total(partons: Sequence[Parton]) -> tuple[float, ...]:
    """Summed px, py, pz and energy, GeV; of few partons, so without arrays."""
    return tuple(map(sum, zip(*(parton[2:6] for parton in partons), strict=True))) or (0.0,) * 4


def unbalanced(event: HardProcess) -> bool:
    """Whether outgoing partons do not carry the momentum of the incoming ones."""
    out, coming = total(outgoing(event)), total(incoming(event))
    return max(abs(a - b) for a, b in zip(out, coming, strict=True)) > BALANCE * max(out[3], 1)


def in_order(tables: Sequence[pa.Table]) -> pa.Table:
    """The events of particles tables as one, by their number."""
    table = pa.concat_tables(tables)
    return table.take(np.argsort(table["event"].to_numpy(), kind="stable")).combine_chunks()
