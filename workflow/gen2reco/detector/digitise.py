"""From noise-free deposits to hits: merge per cell, saturate, add noise, apply the threshold, smear the time.

Simulators, reference or learned, emit one deposit per (event, cell, particle); this is the only place where the
readout is applied, so hits of two simulators differ by the showers alone. Pile-up is deposits of no particle (-1).
"""

from dataclasses import dataclass, fields

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from gen2reco.detector.geometry import Geometry, event_cell, layer_of
from gen2reco.events.lists import columns, event_of, offsets, per_event
from gen2reco.events.schemas import NO_TIME


@dataclass(frozen=True)
class Deposits:
    """Noise-free, calibrated deposits of a run of events; all arrays (n_deposits,)."""

    event: NDArray[np.int64]
    """Index of the event within the run, from 0."""
    cell: NDArray[np.uint64]
    particle: NDArray[np.int64]
    """Index in the event's `particles`; -1 for pile-up."""
    energy: NDArray[np.float64]
    """GeV at the electromagnetic scale: MIPs times `Geometry.gev_per_mip`."""
    time: NDArray[np.float64]
    """Energy-weighted time minus |r|/c of the cell, ns."""

    def __len__(self) -> int:
        return len(self.event)

    @classmethod
    def none(cls) -> "Deposits":
        """No deposits."""
        i, f = np.zeros(0, np.int64), np.zeros(0)
        return cls(i, i.astype(np.uint64), i, f, f)

    def take(self, which: NDArray) -> "Deposits":
        """Those of an index array or mask."""
        return Deposits(*(getattr(self, field.name)[which] for field in fields(self)))

    def joined(self, *others: "Deposits") -> "Deposits":
        """These deposits and others of the same events."""
        parts = (self, *others)
        return Deposits(*(np.concatenate([getattr(part, field.name) for part in parts]) for field in fields(self)))

    def merged(self) -> "Deposits":
        """One deposit per (event, cell, particle), in that order; times are energy-weighted."""
        order = np.lexsort((self.particle, event_cell(self.event, self.cell)))
        event, cell, particle = self.event[order], self.cell[order], self.particle[order]
        first = group_starts(event, cell, particle)
        energy = group_sums(self.energy[order], first)
        time = group_sums((self.energy * self.time)[order], first) / np.where(energy > 0, energy, 1.0)
        return Deposits(event[first], cell[first], particle[first], energy, time)


@dataclass(frozen=True)
class Hits:
    """The columns that a readout adds to an event: awkward lists of records, one list an event."""

    hits: ak.Array
    contributions: ak.Array
    pileup: ak.Array
    """Energy of pile-up in each hit, GeV: (events, var)."""


def digitise(
    deposits: Deposits, n_events: int, geometry: Geometry, rng: np.random.Generator, dead_cells: float = 0.0
) -> Hits:
    """Read out `n_events` events, with a share of the cells dead.

    A cell's deposits are added up and saturate; Gaussian noise is added; cells below threshold are dropped, and cells
    lifted over it by noise alone are added (no contributions). Contributions hold each particle's noise-free share of
    the saturated energy, so they add up to the hit's energy within the noise. A deposit below the time threshold has
    no time (-1); the others are smeared by sqrt((stochastic / MIPs)**2 + constant**2). Hits are ordered by cell id.
    Dead cells draw their noise and are not read out, so that the others are the same without them.
    """
    return read_out(deposits.merged(), n_events, geometry, rng, dead_cells)


def read_out(
    deposits: Deposits, n_events: int, geometry: Geometry, rng: np.random.Generator, dead_cells: float = 0.0
) -> Hits:
    """`digitise` of deposits that are one for each (event, cell, particle), in that order."""
    readout = geometry.detector.digitisation
    first = group_starts(deposits.event, deposits.cell)
    event, cell = deposits.event[first], deposits.cell[first]
    scale = geometry.gev_per_mip[layer_of(cell) - 1]
    energy = group_sums(deposits.energy, first)
    time = group_sums(deposits.energy * deposits.time, first) / np.where(energy > 0, energy, 1.0)
    mips = energy / scale
    saturated = np.minimum(mips, readout.saturation)
    measured = saturated + rng.normal(0.0, readout.noise, len(mips)) if readout.noise else saturated
    spread = np.hypot(readout.time_stochastic / np.maximum(saturated, 1e-9), readout.time_constant)
    time = np.where(saturated >= readout.time_threshold, time + rng.normal(0.0, 1.0, len(mips)) * spread, NO_TIME)
    kept = (measured > readout.threshold) & ~dead(cell, dead_cells)

    noise = _noise_hits(event, cell, n_events, geometry, rng)
    noise = noise.take(~dead(noise.cell, dead_cells))
    event_all = np.concatenate([event[kept], noise.event])
    cell_all = np.concatenate([cell[kept], noise.cell])
    energy_all = np.concatenate([(measured * scale)[kept], noise.energy])
    time_all = np.concatenate([time[kept], noise.time])
    order = np.argsort(event_cell(event_all, cell_all), kind="stable")  # of two sorted parts
    hits = _hits(event_all[order], cell_all[order], energy_all[order], time_all[order], n_events, geometry)

    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    hit_of_cell = np.full(len(first), -1)
    hit_of_cell[kept] = rank[: int(kept.sum())]
    group = np.repeat(np.arange(len(first)), np.diff(np.append(first, len(deposits))))
    share = deposits.energy * (saturated / np.where(mips > 0, mips, 1.0))[group]
    hit = hit_of_cell[group]
    pileup = np.bincount(hit[foreign := (deposits.particle < 0) & (hit >= 0)], share[foreign], len(order))
    contributions = _contributions(deposits, hit, share, hits, n_events)
    return Hits(hits, contributions, per_event(event_all[order], n_events, pileup))


def dead(cell: NDArray[np.uint64], share: float) -> NDArray[np.bool_]:
    """Whether each cell is dead where a share of all cells is, the same ones in every event: by a hash of the cell's
    id (the finaliser of SplitMix64), so that those of a larger share hold those of a smaller one."""
    if share == 0.0:
        return np.zeros(len(cell), bool)
    mixed = cell.astype(np.uint64) + np.uint64(0x9E3779B97F4A7C15)
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        mixed = (mixed ^ (mixed >> np.uint64(shift))) * np.uint64(factor)
    return (mixed ^ (mixed >> np.uint64(31))) < share * 2.0**64


def _noise_hits(event: NDArray, cell: NDArray, n_events: int, geometry: Geometry, rng: np.random.Generator) -> Deposits:
    """Cells without deposits that noise lifts over the threshold: their number is binomial, their tail sampled."""
    from scipy.special import ndtr, ndtri

    readout = geometry.detector.digitisation
    chance = ndtr(-readout.threshold / readout.noise) if readout.noise else 0.0
    n_cells = 2 * int(geometry.n_cells.sum())
    number = rng.binomial(n_cells, chance, n_events)
    at = np.repeat(np.arange(n_events), number)
    noisy = geometry.nth_cell(rng.integers(0, n_cells, len(at)))
    mips = -readout.noise * ndtri(chance * (1.0 - rng.random(len(at))))
    energy = mips * geometry.gev_per_mip[layer_of(noisy) - 1]
    keys, there = event_cell(at, noisy), event_cell(event, cell)
    place = np.minimum(np.searchsorted(there, keys), max(len(there) - 1, 0))
    _, first = np.unique(keys, return_index=True)
    new = np.sort(first)
    new = new[there[place[new]] != keys[new]] if len(there) else new
    return Deposits(at[new], noisy[new], np.full(len(new), -1), energy[new], np.full(len(new), -1.0))


def deposits_of(lists: ak.Array) -> Deposits:
    """The `deposits` column of hits, (events, var) records, flat."""
    found = columns(lists, ("cell", "particle", "energy", "time"))
    cell, particle, energy, time = found.values()
    energy, time = energy.astype(np.float64), time.astype(np.float64)
    return Deposits(event_of(lists), cell, particle.astype(np.int64), energy, time)


def deposit_lists(deposits: Deposits, n_events: int) -> ak.Array:
    """Deposits as one list of records an event, the optional `deposits` column of the hits record."""
    found = {name: getattr(deposits, name) for name in ("cell", "particle", "energy", "time")}
    return per_event(deposits.event, n_events, found)


def _hits(event: NDArray, cell: NDArray, energy: NDArray, time: NDArray, n_events: int, geometry: Geometry) -> ak.Array:
    x, y, z = geometry.position(cell)
    found = {"cell": cell, "layer": layer_of(cell), "x": x, "y": y, "z": z, "energy": energy, "time": time}
    return per_event(event, n_events, found)


def _contributions(deposits: Deposits, hit: NDArray, energy: NDArray, hits: ak.Array, n_events: int) -> ak.Array:
    """Records (hit, particle, energy) of the deposits whose cell was read out; `hit` counts over all events."""
    read = (hit >= 0) & (deposits.particle >= 0)
    event = deposits.event[read]
    before = offsets(hits)[event]
    order = np.lexsort((deposits.particle[read], hit[read]))
    found = {"hit": hit[read] - before, "particle": deposits.particle[read], "energy": energy[read]}
    return per_event(event, n_events, {name: values[order] for name, values in found.items()})


def group_starts(*keys: NDArray) -> NDArray[np.int64]:
    """Where a new group begins in arrays sorted by `keys`."""
    if not len(keys[0]):
        return np.zeros(0, np.int64)
    new = np.any([key[1:] != key[:-1] for key in keys], axis=0)
    return np.concatenate([[0], np.flatnonzero(new) + 1])


def group_sums(values: NDArray, first: NDArray) -> NDArray:
    """Sums of values (n,) over groups that begin at `first`."""
    return np.add.reduceat(values, first) if len(first) else np.zeros(0)
