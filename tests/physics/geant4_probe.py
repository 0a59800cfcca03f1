"""Shoots single particles at normal incidence with the product's own engine, in a process of its own.

Usage: python geant4_probe.py DETECTOR OUTPUT.npz PDG:GEV:COUNT ...
For each beam, arrays named PDG:GEV/<what>: `silicon` (n,) GeV deposited in silicon; `weighted` (n,) GeV after dE/dx
weights; `layers` (n, n_layers) MIPs; `r90` mm, the radius around the axis that holds 90 %.
The time window is opened to 10 us: the reference figures were taken without one.
"""

import os
import sys

import numpy as np

from gen2reco.config.block import load_block
from gen2reco.config.detector import Detector
from gen2reco.detector.geometry import decode
from gen2reco.detector.propagate import AtFace
from gen2reco.run.stage import make_backend
from gen2reco.units import C_LIGHT

MASS = {22: 0.0, 211: 0.13957, 13: 0.10566}
X = 905.0


def beam(pdg: int, energy: float, n: int, face: float) -> AtFace:
    """Particles entering at (X +- 5, +- 5) mm along +z."""
    spot = np.random.default_rng(5).uniform(-5.0, 5.0, (n, 2))
    position = np.column_stack([X + spot[:, 0], spot[:, 1], np.full(n, face)])
    momentum = np.zeros((n, 3))
    momentum[:, 2] = np.sqrt(energy**2 - MASS[pdg] ** 2)
    zero, numbers = np.zeros(n, np.int64), np.arange(n)
    time = np.full(n, face / C_LIGHT)
    return AtFace(numbers, zero, zero + pdg, zero.astype(np.int8), np.full(n, energy), position, momentum, time)


def probe(backend, pdg: int, energy: float, n: int) -> dict[str, np.ndarray]:
    """Shoot one beam; keep the raw steps beside the deposits that the product makes of them."""
    geometry, particles = backend.geometry, beam(pdg, energy, n, backend.detector.front_face)
    kept = []
    shoot = backend.engine.shoot

    def recorded(at_face: AtFace, seeds: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        steps, which = shoot(at_face, seeds)
        kept.append((steps, at_face.event[which]))
        return steps, which

    backend.engine.shoot = recorded
    deposits = backend.deposits(particles, np.random.default_rng(int(energy) + pdg))
    backend.engine.shoot = shoot
    steps, event = (np.concatenate(part) for part in zip(*kept))
    r = np.hypot(steps[:, 1] - particles.position[event, 0], steps[:, 2] - particles.position[event, 1])
    order = np.argsort(r)
    inside = np.cumsum(steps[order, 0])
    layer = decode(deposits.cell).layer - 1
    at = deposits.event * geometry.n_layers + layer
    mips = np.bincount(at, deposits.energy / geometry.gev_per_mip[layer], minlength=n * geometry.n_layers)
    return {
        "silicon": np.bincount(event, steps[:, 0], minlength=n) / 1e3,
        "weighted": np.bincount(deposits.event, deposits.energy, minlength=n),
        "layers": mips.reshape(n, geometry.n_layers),
        "r90": r[order][np.searchsorted(inside, 0.9 * inside[-1])],
    }


def without_time_window(detector: Detector) -> Detector:
    """The detector, but with all deposits read out however late."""
    return detector.model_copy(update={"digitisation": detector.digitisation.model_copy(update={"time_window": 1e4})})


def main() -> None:
    """Shoot all beams of the command line and leave at once: Geant4 crashes in its own tear-down."""
    detector, output, *beams = sys.argv[1:]
    backend = make_backend("simulate", "geant4", {}, without_time_window(load_block(detector, Detector)))
    backend.prepare()
    found = {}
    for one in beams:
        pdg, energy, n = one.split(":")
        for name, values in probe(backend, int(pdg), float(energy), int(n)).items():
            found[f"{pdg}:{energy}/{name}"] = values
    np.savez(output, **found)
    os._exit(0)


if __name__ == "__main__":
    main()
