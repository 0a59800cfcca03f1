"""Small events of straight showers, tracks and particles for the tests of the calibration."""

from pathlib import Path

import awkward as ak
import numpy as np

from gen2reco.config.block import load_block
from gen2reco.config.detector import Detector
from gen2reco.detector.geometry import Geometry
from gen2reco.events import records, schemas

DETECTOR = load_block(Path(__file__).parents[2] / "configs/detectors/hgcal.yaml", Detector)
GEOMETRY = Geometry(DETECTOR)
FACE = DETECTOR.front_face


def shower(eta, phi, energy, layers=range(5, 15)):
    """Layer clusters along a straight line from the origin, sharing `energy`."""
    z = np.sign(eta) * GEOMETRY.z[np.array(layers) - 1]
    r = z / np.sinh(eta)
    share = np.full(len(z), energy / len(z))
    return {
        "layer": np.array(layers),
        "x": r * np.cos(phi),
        "y": r * np.sin(phi),
        "z": z,
        "energy": share,
        "time": 0 * z,
        "size": np.full(len(z), 3),
    }


def event(showers, loose=(), tracks=(), particles=(), associations=()):
    """One event of tracksters (eta, phi, energy), loose showers, tracks and particles, as plain lists."""
    clusters, owner, tracksters = [], [], []
    for i, given in enumerate([*showers, *loose]):
        columns = shower(*given)
        rows = [dict(zip(columns, row)) for row in zip(*columns.values())]
        clusters += rows
        owner += [i if i < len(showers) else -1] * len(rows)
        if i < len(showers):
            at = {name: float(np.mean(columns[name])) for name in "xyz"}
            shapes = dict.fromkeys(schemas.SHAPES, 0.0)
            eta, phi, energy = given[:3]
            tracksters.append(dict(iteration=0, energy=energy, eta=eta, phi=phi, time=0.0, **at, **shapes))
    return {
        "event": 0,
        "weight": 1.0,
        "particles": list(particles),
        "tracks": list(tracks),
        "layer_clusters": clusters,
        "hit_cluster": [],
        "tracksters": tracksters,
        "cluster_trackster": owner,
        "associations": list(associations),
    }


def track(eta, phi, momentum, charge=1):
    """A straight track from the origin, at the face."""
    direction = np.array([np.cos(phi), np.sin(phi), np.sinh(eta)]) / np.cosh(eta)
    p, at = momentum * direction, direction * FACE / abs(direction[2])
    return dict(zip(("px", "py", "pz", "x", "y", "z"), [*p, *at]), charge=charge, particle=0)


def particle(pdg, eta, phi, energy):
    pt = energy / np.cosh(eta)
    p = {"px": pt * np.cos(phi), "py": pt * np.sin(phi), "pz": pt * np.sinh(eta)}
    return dict(pdg=pdg, **p, energy=energy, vx=0.0, vy=0.0, vz=0.0, time=0.0)


def table(events):
    for number, one in enumerate(events):
        one["event"] = number
    columns = {name: [one[name] for one in events] for name in events[0]}
    return records.table("clusters", {name: ak.Array(v) if any(map(np.size, v)) else v for name, v in columns.items()})
