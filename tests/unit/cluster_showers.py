"""Made-up showers whose truth is known, as tables of hits."""

from pathlib import Path

import awkward as ak
import numpy as np
import pyarrow as pa

from gen2reco.cluster.iterations import Tracks
from gen2reco.config.block import load_block
from gen2reco.config.detector import Detector
from gen2reco.detector.geometry import Geometry, encode
from gen2reco.events import records

DETECTOR = load_block(Path(__file__).parents[2] / "configs/detectors/hgcal.yaml", Detector)
GEOMETRY = Geometry(DETECTOR)
NO_TRACKS = Tracks(np.zeros(0, int), *(np.zeros(0) for _ in range(6)))


def shower(rng, energy, x, y, first=1, last=26, side=1, width=12.0):
    """Deposits (cell, energy) of a made-up shower that points at the origin and enters layer 1 at (x, y)."""
    layers = np.arange(first, last + 1)
    depth = (layers - first + 1) / 6.0
    share = depth**2 * np.exp(-depth)
    cells, energies = [], []
    for layer, part in zip(layers, energy * share / share.sum()):
        scale = GEOMETRY.z[layer - 1] / GEOMETRY.z[0]
        place = rng.normal(size=(40, 2)) * width / 2
        cells.append(
            encode(side, layer, GEOMETRY.index(x * scale + place[:, 0]), GEOMETRY.index(y * scale + place[:, 1]))
        )
        energies.append(np.full(40, part / 40))
    return np.concatenate(cells), np.concatenate(energies)


def events_of(showers: list[list[tuple]]) -> pa.Table:
    """A hits table: per event a list of (cells, energies) showers, one particle each, photons from the origin."""
    rows = {"particles": [], "tracks": [], "hits": [], "contributions": []}
    for event in showers:
        cells = np.concatenate([np.zeros(0, np.uint64), *(c for c, _ in event)])
        energy = np.concatenate([np.zeros(0), *(e for _, e in event)])
        who = np.repeat(np.arange(len(event)), [len(c) for c, _ in event]).astype(int)
        cell, at = np.unique(cells, return_inverse=True)
        pair, inverse = np.unique(at * 100 + who, return_inverse=True)
        shared = np.bincount(inverse, energy, len(pair))
        layer = (cell >> np.uint64(32)).astype(int) & 0xFF
        x, y, z = GEOMETRY.position(cell)
        fields = {"cell": cell, "layer": layer, "x": x, "y": y, "z": z, "energy": np.bincount(at, energy, len(cell))}
        rows["hits"].append(ak.zip({**fields, "time": np.full(len(cell), 1.5)}))
        rows["contributions"].append(ak.zip({"hit": pair // 100, "particle": pair % 100, "energy": shared}))
        rows["tracks"].append([])
        rows["particles"].append([_photon(c, e) for c, e in event])
    lists = {name: ak.Array(values) for name, values in rows.items()}
    columns = {"event": np.arange(len(showers)), "weight": np.ones(len(showers)), **lists}
    if not any(rows["particles"]):
        columns["particles"] = pa.array([[]] * len(showers))
    columns["tracks"] = pa.array([[]] * len(showers))
    return records.table("hits", columns)


def _photon(cells, energy):
    x, y, z = (np.average(axis, weights=energy) for axis in GEOMETRY.position(cells))
    direction = np.array([x, y, z]) / np.linalg.norm([x, y, z])
    momentum = dict(zip(("px", "py", "pz"), direction * energy.sum()))
    return {"pdg": 22, **momentum, "energy": energy.sum(), "vx": 0.0, "vy": 0.0, "vz": 0.0, "time": 0.0}
