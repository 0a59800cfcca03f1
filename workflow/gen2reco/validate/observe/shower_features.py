"""Features of showers: moments, extent and concentration of the hits of each particle, about its own axis."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gen2reco.detector.geometry import Geometry
from gen2reco.events.schemas import NO_TIME
from gen2reco.validate.flat_lists import FlatList
from gen2reco.validate.observable_tables import row_histograms
from gen2reco.validate.true_particles import FaceState

RINGS = np.array([1.0, 5, 10, 15, 20, 30, 40, 60, 80, 120, 180, 300, 600])
"""Edges of rings about the axis of a shower, mm."""
SPECTRUM = np.geomspace(1e-3, 30.0, 31)
"""Edges of the energies of hits, GeV."""
TIMES = np.linspace(-0.2, 5.0, 27)
"""Edges of the times of hits, ns."""
_NEIGHBOURS = ((0, 1), (1, 0), (1, 1), (1, -1))
"""Half of the eight cells about a cell, in grid indices, so that each pair is counted once."""


def layer_edges(geometry: Geometry) -> NDArray[np.float64]:
    """Edges (n_layers + 1,) of bins that hold a layer each."""
    return np.arange(geometry.n_layers + 1, dtype=np.float64) + 0.5


class Cells(NamedTuple):
    """Contributions to showers, laid flat: all (n,); d and r are off the axis of the shower, mm."""

    shower: NDArray
    layer: NDArray
    energy: NDArray
    dx: NDArray
    dy: NDArray
    r: NDArray
    time: NDArray
    cell: NDArray


def make_cells(hits: FlatList, links: FlatList, particles: FlatList, face: FaceState, shower: NDArray) -> Cells:
    """The contributions (`links`) of particles to hits where the particle's `shower` (n_particles,) is not -1."""
    particle = links["particle"] + particles.starts[links.row]
    hit = links["hit"] + hits.starts[links.row]
    mine = shower[particle] >= 0
    particle, hit, energy = particle[mine], hit[mine], links["energy"][mine].astype(np.float64)
    along = hits["z"][hit].astype(np.float64) - face.z[particle]
    dx = hits["x"][hit] - face.x[particle] - face.slope_x[particle] * along
    dy = hits["y"][hit] - face.y[particle] - face.slope_y[particle] * along
    return Cells(
        shower=shower[particle],
        layer=hits["layer"][hit].astype(np.int64),
        energy=energy,
        dx=dx,
        dy=dy,
        r=np.hypot(dx, dy),
        time=hits["time"][hit].astype(np.float64),
        cell=hits["cell"][hit],
    )


def shower_features(c: Cells, energy: NDArray, geometry: Geometry) -> tuple[dict[str, NDArray], dict[str, NDArray]]:
    """Values (n,) and blocks (n, bins) of the showers of particles of true energy (n,), GeV; NaN where one is empty."""
    n = len(energy)
    total = np.bincount(c.shower, c.energy, n)
    safe = np.where(total > 0, total, np.nan)

    def mean(values: NDArray, weights: NDArray = c.energy, by: NDArray = safe) -> NDArray:
        return np.bincount(c.shower, values * weights, n) / by

    depth, radius, x, y = (mean(v) for v in (c.layer, c.r, c.dx, c.dy))
    off = c.layer - depth[c.shower]
    width = np.sqrt(mean(off**2))
    layers = row_histograms(c.shower, c.layer, layer_edges(geometry), n, c.energy)
    values = {
        "log_energy": np.log(energy),
        "energy_ratio": total / energy,
        "n_hits": np.bincount(c.shower, minlength=n).astype(float),
        "depth": depth,
        "depth_width": width,
        "depth_skew": mean(off**3) / np.maximum(width, 1e-3) ** 3,
        "radius": radius,
        "radial_width": np.sqrt(np.maximum(mean(c.r**2) - radius**2, 0)),
        "offset_x": x,
        "offset_y": y,
        "width_x": np.sqrt(np.maximum(mean(c.dx**2) - x**2, 0)),
        "width_y": np.sqrt(np.maximum(mean(c.dy**2) - y**2, 0)),
        "hadronic": mean(~geometry.electromagnetic[np.clip(c.layer, 1, geometry.n_layers) - 1]),
        **_extent(layers, total),
        **_times(c, n),
        **_concentration(c, total, n),
        **_correlations(c, total, n),
    }
    timed = c.time != NO_TIME
    blocks = {
        "layers": layers / energy[:, None],
        "layer_groups": np.add.reduceat(layers, np.arange(0, geometry.n_layers, 2), axis=1) / energy[:, None],
        "layer_hits": row_histograms(c.shower, c.layer, layer_edges(geometry), n),
        "rings": row_histograms(c.shower, np.maximum(c.r, RINGS[0]), RINGS, n, c.energy) / energy[:, None],
        "spectrum": row_histograms(c.shower, c.energy, SPECTRUM, n),
        "times": row_histograms(c.shower[timed], c.time[timed], TIMES, n),
    }
    return values, {name: block.astype(np.float32) for name, block in blocks.items()}


def _extent(layers: NDArray, total: NDArray) -> dict[str, NDArray]:
    """First and last layer, from 1, with 2 % of the energy; layers (n, n_layers), total (n,) GeV."""
    reached = layers > 0.02 * total[:, None]
    start, last = reached.argmax(1) + 1.0, layers.shape[1] - 1.0 * reached[:, ::-1].argmax(1)
    return {"start": np.where(total > 0, start, np.nan), "last": np.where(total > 0, last, np.nan)}


def _times(c: Cells, n: int) -> dict[str, NDArray]:
    """Energy-weighted mean and standard deviation of the times of cells that have one, ns."""
    timed = c.energy * (c.time != NO_TIME)
    total = np.bincount(c.shower, timed, n)
    safe = np.where(total > 0, total, np.nan)
    time = np.bincount(c.shower, c.time * timed, n) / safe
    variance = np.bincount(c.shower, (c.time - time[c.shower]) ** 2 * timed, n) / safe
    return {"time": time, "time_width": np.sqrt(variance)}


def _concentration(c: Cells, total: NDArray, n: int) -> dict[str, NDArray]:
    """Hottest and second cell's share, and how many cells hold 50 and 90 % of the energy; all (n,)."""
    order = np.lexsort((-c.energy, c.shower))
    shower, energy = c.shower[order], c.energy[order]
    starts = np.searchsorted(shower, np.arange(n))
    ends = np.searchsorted(shower, np.arange(n), side="right")
    running = np.cumsum(energy)
    before = np.concatenate([[0.0], running])[starts]
    share = (running - before[shower]) / total[shower]
    safe = np.where(total > 0, total, np.nan)
    padded = np.append(energy, 0.0)
    second = np.where(ends - starts > 1, padded[np.minimum(starts + 1, len(energy))], 0.0)
    first = np.where(ends > starts, padded[np.minimum(starts, len(energy))], 0.0)
    return {
        "hottest": first / safe,
        "second": second / safe,
        "cells_half": np.bincount(shower[share < 0.5], minlength=n) + 1.0,
        "cells_most": np.bincount(shower[share < 0.9], minlength=n) + 1.0,
    }


def _correlations(c: Cells, total: NDArray, n: int) -> dict[str, NDArray]:
    """Pairs of neighbouring hit cells per hit, their energy product, and the overlap with the layer behind."""
    key = (c.shower.astype(np.uint64) << np.uint64(41)) | c.cell.astype(np.uint64)
    order = np.argsort(key)
    key, energy, shower = key[order], c.energy[order], c.shower[order]
    pairs, products = np.zeros(n), np.zeros(n)
    for dx, dy in _NEIGHBOURS:
        found, other = _find(key, key.astype(np.int64) + (dx << 16) + dy)
        pairs += np.bincount(shower[found], minlength=n)
        products += np.bincount(shower[found], np.sqrt(energy[found] * energy[other]), n)
    found, other = _find(key, key.astype(np.int64) + (1 << 32))
    overlap = np.bincount(shower[found], np.sqrt(energy[found] * energy[other]), n)
    safe, hits = np.where(total > 0, total, np.nan), np.maximum(np.bincount(shower, minlength=n), 1)
    return {"pairs": pairs / hits, "pair_product": products / safe, "next_layer": overlap / safe}


def _find(key: NDArray, wanted: NDArray) -> tuple[NDArray, NDArray]:
    """Places whose `wanted` key is present in the sorted keys, and where it is."""
    wanted = wanted.astype(np.uint64)
    at = np.minimum(np.searchsorted(key, wanted), max(len(key) - 1, 0))
    found = np.flatnonzero(key[at] == wanted) if len(key) else np.zeros(0, np.int64)
    return found, at[found]
