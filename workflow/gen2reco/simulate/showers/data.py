"""Training data of learned showers: single particles with their deposits, from hits records."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gen2reco.config.detector import Detector
from gen2reco.detector.geometry import Geometry, decode
from gen2reco.detector.propagate import light_time, propagate
from gen2reco.errors import InputError
from gen2reco.events import records
from gen2reco.events.lists import columns, members, sizes, starts
from gen2reco.simulate.showers.incidence import Incidence, incidence

FLOOR = 0.05
"""MIP; smaller deposits, two in a hundred cells and 1e-4 of the energy, are left out."""


@dataclass(frozen=True)
class Showers:
    """Single showers, one after the other; within each, deposits are ordered by layer."""

    incidence: Incidence
    first: NDArray[np.int64]
    """Index of the first deposit of each shower, and the number of deposits: (n + 1,)."""
    layer: NDArray[np.int64]
    """From 1."""
    ix: NDArray[np.int64]
    iy: NDArray[np.int64]
    mips: NDArray[np.float32]
    delay: NDArray[np.float32]
    """Time beyond that of light along a straight line from the entry, ns."""

    def __len__(self) -> int:
        return len(self.incidence)

    @property
    def owner(self) -> NDArray[np.int64]:
        """The shower of each deposit."""
        return np.repeat(np.arange(len(self)), np.diff(self.first))

    def take(self, chosen: NDArray) -> "Showers":
        """The chosen showers, by index."""
        at, counts = members(self.first, chosen)
        deposits = (self.layer[at], self.ix[at], self.iy[at], self.mips[at], self.delay[at])
        return Showers(self.incidence[chosen], starts(counts), *deposits)

    def per_layer(self, n_layers: int) -> tuple[NDArray, NDArray]:
        """Cells and energy (MIP) of each layer: (n, n_layers) each."""
        key = self.owner * n_layers + self.layer - 1
        shape = (len(self), n_layers)
        cells = np.bincount(key, minlength=shape[0] * n_layers).reshape(shape)
        return cells, np.bincount(key, self.mips, shape[0] * n_layers).reshape(shape)


def read_showers(path: Path, detector: Detector) -> Showers:
    """The single particles of a hits record that reach the front face, with their deposits.

    Raises InputError where the record has no deposits or more than one particle an event.
    """
    table = records.read(path, "hits")
    if "deposits" not in table.column_names:
        raise InputError(f"{path}: no `deposits` column; simulate with `keep_deposits: true`")
    events = records.awkward(table.select(["particles", "deposits"]))
    at_face = propagate(events.particles, detector)
    if len(np.unique(at_face.event)) < len(at_face):
        raise InputError(f"{path}: events with several particles at the calorimeter; expected single particles")
    deposits = events.deposits[at_face.event]
    cell, energy, time = columns(deposits, ("cell", "energy", "time")).values()
    return _sorted(incidence(at_face), sizes(deposits), cell, energy, time, Geometry(detector))


def joined(parts: list[Showers]) -> Showers:
    """All parts, one after the other."""
    inc = Incidence(*(np.concatenate(c) for c in zip(*(vars(p.incidence).values() for p in parts))))
    first = starts(np.concatenate([np.diff(p.first) for p in parts]))
    names = ("layer", "ix", "iy", "mips", "delay")
    return Showers(inc, first, *(np.concatenate([getattr(p, name) for p in parts]) for name in names))


def _sorted(
    inc: Incidence, counts: NDArray, cell: NDArray, energy: NDArray, time: NDArray, geometry: Geometry
) -> Showers:
    owner = np.repeat(np.arange(len(inc)), counts)
    cells = decode(cell)
    mips = energy / geometry.gev_per_mip[cells.layer - 1]
    kept = np.flatnonzero(mips >= FLOOR)
    kept = kept[np.lexsort((cells.layer[kept], owner[kept]))]
    owner, layer, ix, iy = owner[kept], cells.layer[kept], cells.ix[kept], cells.iy[kept]
    first = starts(np.bincount(owner, minlength=len(inc)))
    at = np.stack([(ix + 0.5) * geometry.detector.cell_size, (iy + 0.5) * geometry.detector.cell_size], 1)
    entry, began = inc.position[owner], inc.time[owner]
    delay = time[kept] - light_time(at, geometry.z[layer - 1], entry, began, geometry.detector.front_face)
    return Showers(inc, first, layer, ix, iy, mips[kept].astype(np.float32), delay.astype(np.float32))
