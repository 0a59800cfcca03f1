"""Spikes: single cells with the energy of a shower and none around them.

A nucleus that recoils or breaks up in the silicon stops in it and leaves hundreds of MIP in one cell; weighted as a
sample of the absorber that counts for many times its energy. A shower that deposits as much in a cell has neighbours
(the same idea as the `Swiss cross` of CMS, J. Phys. Conf. Ser. 404 (2012) 012043).
"""

import awkward as ak
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gen2reco.cluster.layers import Hits
from gen2reco.detector.geometry import Geometry, event_cell
from gen2reco.events import records

LEAST_MIP = 100.0
"""Energy of a spike, MIP."""
MOST_AROUND = 0.03
"""Largest share of its energy, both in MIP, in the 26 cells around: of its layer and of the two next to it."""
_STEPS = [
    (layer << 32) + (x << 16) + y
    for layer in (-1, 0, 1)
    for x in (-1, 0, 1)
    for y in (-1, 0, 1)
    if (layer, x, y) != (0, 0, 0)
]
"""From the id of a cell to those around it (`detector/geometry.py`)."""


def find_spikes(
    cell: NDArray, event: NDArray, mip: NDArray, least: float = LEAST_MIP, around: float = MOST_AROUND
) -> NDArray[np.bool_]:
    """Which hits are spikes: (n,).

    cell: (n,) uint64 ids, each once an event. event: (n,) index of the event. mip: (n,) energy in MIP.
    """
    found = np.zeros(len(cell), bool)
    hot = np.flatnonzero(mip >= least)
    if not len(hot):
        return found
    key = event_cell(event, cell).astype(np.int64)
    order = np.argsort(key, kind="stable")
    own, total = key[hot], np.zeros(len(hot))
    key, energy = np.append(key[order], np.iinfo(np.int64).max), np.append(mip[order], 0.0)
    for step in _STEPS:
        at = np.searchsorted(key, own + step)
        total += np.where(key[at] == own + step, energy[at], 0.0)
    found[hot] = total <= around * mip[hot]
    return found


def spikes_of(events: pa.Table, hits: Hits, geometry: Geometry) -> NDArray[np.bool_]:
    """Which of the hits of a `hits` table are spikes; hits: the same, flat."""
    cell = ak.to_numpy(ak.flatten(records.awkward(events.select(["hits"])).hits.cell))
    return find_spikes(cell, hits.event, hits.energy / geometry.gev_per_mip[hits.layer - 1])
