"""Observables of showers: the hits each particle above threshold made, about its own axis; and of whole events."""

import awkward as ak
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gen2reco.config.detector import Detector
from gen2reco.config.validation import Validation
from gen2reco.events import records
from gen2reco.events.truth import STANDARD, Properties
from gen2reco.validate.observable_tables import Classifier, Profile, Quantity, Response, Sheet
from gen2reco.validate.observe.particles import counts_in
from gen2reco.validate.true_particles import KIND_LABELS, KINDS, Flat, at_face, flat, kind_of, true_energy

COLUMNS = ["event", "weight", "particles", "hits", "contributions"]
LAYERS = np.arange(0.5, 48.5)
RINGS = np.array([1.0, 5, 10, 15, 20, 30, 40, 60, 80, 120, 180, 300, 600])
SPECTRUM = np.geomspace(1e-3, 30.0, 31)
TIMES = np.linspace(-0.2, 5.0, 27)
_NEIGHBOURS = ((0, 1), (1, 0), (1, 1), (1, -1))

_SHOWER = [
    Quantity("energy_ratio", "ΣE of the hits / true energy"),
    Quantity("n_hits", "hits", log=True, moments=True),
    Quantity("depth", "longitudinal centre", "layer"),
    Quantity("depth_width", "longitudinal width", "layers"),
    Quantity("start", "first layer with 2 % of the energy", "layer"),
    Quantity("radius", "radial centre", "mm", log=True),
    Quantity("radial_width", "radial width", "mm", log=True),
    Quantity("offset_x", "barycentre off the axis, x", "mm"),
    Quantity("hadronic", "share of the energy behind layer 26"),
    Quantity("hottest", "share of the hottest cell"),
    Quantity("cells_half", "cells that hold half of the energy"),
    Quantity("time", "energy-weighted time", "ns"),
]
QUANTITIES = {
    **dict.fromkeys(KINDS, _SHOWER),
    "events": [
        Quantity("energy_ratio", "ΣE of the hits / true energy in the endcaps"),
        Quantity("n_hits", "hits per event", log=True, moments=True),
        Quantity("n_unlinked", "hits without a particle (noise)", log=True),
        Quantity("mean_layer", "mean layer of the hits", "layer"),
        Quantity("first_time", "earliest time above 1 GeV", "ns"),
    ],
}
PROFILES = {
    **{
        kind: [
            Profile("layers", "energy per layer / true energy", "layer", LAYERS),
            Profile("rings", "energy per ring / true energy", "distance to the axis [mm]", RINGS, log=True),
            Profile("layer_hits", "hits per layer", "layer", LAYERS),
            Profile("spectrum", "hit energies", "E [GeV]", SPECTRUM, log=True),
            Profile("times", "hit times", "t − |r|/c [ns]", TIMES, judged=False),
        ]
        for kind in KINDS
    },
    "events": [
        Profile("layers", "energy per layer", "layer", LAYERS),
        Profile("spectrum", "hit energies", "E [GeV]", SPECTRUM, log=True),
        Profile("times", "hit times", "t − |r|/c [ns]", TIMES, judged=False),
    ],
}
TITLES = {**{kind: f"Showers of {label}" for kind, label in KIND_LABELS.items()}, "events": "Whole events"}
_HIGH_LEVEL = (
    "log_energy",
    "energy_ratio",
    "n_hits",
    "depth",
    "depth_width",
    "depth_skew",
    "radius",
    "radial_width",
    "offset_x",
    "offset_y",
    "width_x",
    "width_y",
    "hadronic",
    "hottest",
    "start",
    "last",
    "time",
)
_SUMMARIES = (
    "log_energy",
    "energy_ratio",
    "n_hits",
    "hottest",
    "second",
    "cells_half",
    "cells_most",
    "pairs",
    "pair_product",
    "next_layer",
    "time",
    "time_width",
)
_CLASSIFIERS = [
    Classifier("high_level", "high-level shower features", _HIGH_LEVEL, ("layer_groups",)),
    Classifier("cells", "cell summaries", _SUMMARIES, ("layers", "layer_hits", "rings", "spectrum")),
]
CLASSIFIERS = {
    **dict.fromkeys(KINDS, _CLASSIFIERS),
    "events": [
        Classifier("event", "event features", ("energy_ratio", "n_hits", "mean_layer"), ("layers", "spectrum"), False)
    ],
}
RESPONSES = {kind: [Response("energy_ratio", "ΣE / true E", ("energy", "abs_eta"))] for kind in KINDS}


def observe(
    table: pa.Table, detector: Detector | None, settings: Validation, properties: Properties = STANDARD
) -> dict[str, Sheet]:
    """Sheets of showers by kind of particle, and `events`, of a shard of hits.

    A shower is a particle above `min_energy` whose state at the face lies in `abs_eta`, with its contributions;
    one without any has zero energy and no position (NaN).
    """
    events = records.awkward(table)
    particles, hits, links = (flat(events[name]) for name in ("particles", "hits", "contributions"))
    number, weight = (ak.to_numpy(events[name]) for name in ("event", "weight"))
    face, energy = at_face(particles, detector, properties), true_energy(particles, properties)
    kind = kind_of(particles["pdg"], properties)
    low, high = settings.abs_eta
    chosen = face.reached & (np.abs(face.eta) > low) & (np.abs(face.eta) < high)
    chosen &= (energy >= settings.min_energy) & (kind >= 0)
    shower = np.where(chosen, np.cumsum(chosen) - 1, -1)
    picked = np.flatnonzero(chosen)
    cells = _cells(hits, links, particles, face, shower)
    sheet = _showers(cells, energy[picked], np.abs(face.eta[picked]), particles.row[picked], number, weight)
    of_kind = kind[picked]
    sheets = {name: sheet.select(of_kind == i) for i, name in enumerate(KINDS) if (of_kind == i).any()}
    inside = face.reached & (np.abs(face.eta) > 1.5) & (np.abs(face.eta) < 3.0) & (kind >= 0) & (kind != 2)
    incident = np.bincount(particles.row[inside], energy[inside], len(events))
    return {**sheets, "events": _whole(hits, links, incident, number, weight)}


class _Cells(dict):
    """Fields of the contributions to showers, laid flat: shower, layer, energy, dx, dy, r, time, cell."""

    __getattr__ = dict.__getitem__


def _cells(hits: Flat, links: Flat, particles: Flat, face, shower: NDArray) -> _Cells:
    particle = links["particle"] + particles.starts[links.row]
    hit = links["hit"] + hits.starts[links.row]
    mine = shower[particle] >= 0
    particle, hit, energy = particle[mine], hit[mine], links["energy"][mine].astype(np.float64)
    along = hits["z"][hit].astype(np.float64) - face.z[particle]
    dx = hits["x"][hit] - face.x[particle] - face.slope_x[particle] * along
    dy = hits["y"][hit] - face.y[particle] - face.slope_y[particle] * along
    return _Cells(
        shower=shower[particle],
        layer=hits["layer"][hit].astype(np.int64),
        energy=energy,
        dx=dx,
        dy=dy,
        r=np.hypot(dx, dy),
        time=hits["time"][hit].astype(np.float64),
        cell=hits["cell"][hit],
    )


def _showers(c: _Cells, energy: NDArray, abs_eta: NDArray, row: NDArray, number: NDArray, weight: NDArray) -> Sheet:
    n = len(energy)
    total = np.bincount(c.shower, c.energy, n)
    safe = np.where(total > 0, total, np.nan)

    def mean(values: NDArray, weights: NDArray = c.energy, by: NDArray = safe) -> NDArray:
        return np.bincount(c.shower, values * weights, n) / by

    depth, radius, x, y = (mean(v) for v in (c.layer, c.r, c.dx, c.dy))
    off = c.layer - depth[c.shower]
    width = np.sqrt(mean(off**2))
    timed = c.energy * (c.time >= 0)
    timed_total = np.bincount(c.shower, timed, n)
    time = mean(c.time, timed, np.where(timed_total > 0, timed_total, np.nan))
    layers = counts_in(c.shower, c.layer, LAYERS, n, np.ones(len(c.layer), bool), c.energy)
    reached = layers > 0.02 * total[:, None]
    everything = np.ones(len(c.layer), bool)
    values = {
        "energy": energy,
        "abs_eta": abs_eta,
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
        "hadronic": mean(c.layer > 26),
        "start": np.where(total > 0, reached.argmax(1) + 1.0, np.nan),
        "last": np.where(total > 0, 47.0 - reached[:, ::-1].argmax(1), np.nan),
        "time": time,
        "time_width": np.sqrt(
            mean((c.time - time[c.shower]) ** 2, timed, np.where(timed_total > 0, timed_total, np.nan))
        ),
        **_concentration(c, total, n),
        **_correlations(c, total, n),
    }
    blocks = {
        "layers": layers / energy[:, None],
        "layer_groups": np.add.reduceat(layers, np.arange(0, 47, 2), axis=1) / energy[:, None],
        "layer_hits": counts_in(c.shower, c.layer, LAYERS, n, everything),
        "rings": counts_in(c.shower, np.maximum(c.r, RINGS[0]), RINGS, n, everything, c.energy) / energy[:, None],
        "spectrum": counts_in(c.shower, c.energy, SPECTRUM, n, everything),
        "times": counts_in(c.shower, c.time, TIMES, n, c.time >= 0),
    }
    return Sheet(number[row], weight[row], values, {name: block.astype(np.float32) for name, block in blocks.items()})


def _concentration(c: _Cells, total: NDArray, n: int) -> dict[str, NDArray]:
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


def _correlations(c: _Cells, total: NDArray, n: int) -> dict[str, NDArray]:
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


def _whole(hits: Flat, links: Flat, incident: NDArray, number: NDArray, weight: NDArray) -> Sheet:
    n = len(hits.counts)
    energy, layer = hits["energy"].astype(np.float64), hits["layer"].astype(np.int64)
    linked = np.zeros(len(energy), bool)
    linked[links["hit"] + hits.starts[links.row]] = True
    everything = np.ones(len(energy), bool)
    timed = hits["time"] >= 0
    first = np.full(n, np.inf)
    bright = timed & (energy > 1)
    np.minimum.at(first, hits.row[bright], hits["time"][bright])
    total = np.bincount(hits.row, energy, n)
    values = {
        "energy_ratio": total / np.where(incident > 0, incident, np.nan),
        "n_hits": hits.counts.astype(float),
        "n_unlinked": np.bincount(hits.row[~linked], minlength=n).astype(float),
        "mean_layer": np.bincount(hits.row, layer, n) / np.where(hits.counts > 0, hits.counts, np.nan),
        "first_time": np.where(np.isfinite(first), first, np.nan),
    }
    blocks = {
        "layers": counts_in(hits.row, layer, LAYERS, n, everything, energy),
        "spectrum": counts_in(hits.row, energy, SPECTRUM, n, everything),
        "times": counts_in(hits.row, hits["time"], TIMES, n, timed),
    }
    return Sheet(number, weight, values, blocks)
