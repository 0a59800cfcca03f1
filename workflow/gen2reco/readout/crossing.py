"""Deposits of pile-up: turned about the beam, added up by cell, and joined with those of the event itself."""

import numpy as np
from numpy.typing import NDArray

from gen2reco.detector.digitise import Deposits, group_starts, group_sums

_BITS = 22
_PLACE = (1 << _BITS) - 1


_FLIPPED = np.array([0, 0xFFFF0000, 0xFFFFFFFF, 0xFFFF], np.uint64)
"""Per number of quarter turns, which of the two grid indices change sign: i to -i - 1 flips all 16 bits."""


def turned(cell: NDArray[np.uint64], quarters: NDArray[np.int64]) -> NDArray[np.uint64]:
    """Cells turned by 0 to 3 quarter turns about the beam, (n,) each: a quarter takes the grid indices (ix, iy) to
    (-iy - 1, ix), which is exact for centres at half indices."""
    both, half = np.uint64(0xFFFFFFFF), np.uint64(16)
    swapped = (cell & ~both) | ((cell << half) & both) | ((cell & both) >> half)
    return np.where((quarters & 1).astype(bool), swapped, cell) ^ _FLIPPED[quarters]


def joined(own: Deposits, cell: NDArray[np.uint64], energy: NDArray, time: NDArray) -> Deposits:
    """Deposits of one event and of its pile-up, which belong to no particle (-1), merged per cell and particle.

    cell, energy (GeV), time (ns): (n,) of the pile-up. Sums run in the order of the interactions.
    """
    n = len(cell)
    own = own.merged()
    cell = np.concatenate([cell, own.cell])
    particle = np.concatenate([np.full(n, -1), own.particle])
    energy, time = np.concatenate([energy, own.energy]), np.concatenate([time, own.time])
    order = sorting(cell)  # pile-up first, then particles in order
    cell, particle, energy, time = cell[order], particle[order], energy[order], time[order]
    first = group_starts(cell, particle)
    total, weighted = (group_sums(values, first) for values in (energy, energy * time))
    zero = np.zeros(len(first), np.int64)
    return Deposits(zero, cell[first], particle[first], total, weighted / np.where(total > 0, total, 1.0))


def sorting(cell: NDArray[np.uint64]) -> NDArray[np.int64]:
    """The stable order of cell ids, which have 41 bits: the place is kept in the low bits of what is sorted."""
    if len(cell) > _PLACE:
        return np.argsort(cell, kind="stable")
    keys = (cell.astype(np.int64) << _BITS) | np.arange(len(cell))
    keys.sort()
    return keys & _PLACE
