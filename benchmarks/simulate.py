"""CPU seconds an event of the reference simulation: photons and pions of fixed energy, and dijet events.

Usage: python benchmarks/simulate.py [--showers 20] [--dijets PARTICLES.parquet --events 3]
One process, one core. "engine" is Geant4 with its silicon callback, "rest" is propagation, cells, readout and tracks.
"""

import argparse
import os
import sys
import time
from pathlib import Path

import awkward as ak
import numpy as np

from gen2reco.config.block import load_block
from gen2reco.config.detector import Detector
from gen2reco.events import records
from gen2reco.run.stage import Backend, Chunk, make_backend

ENERGIES = (10.0, 50.0, 100.0)
MASS = {22: 0.0, 211: 0.13957}


def showers(pdg: int, energy: float, n: int):
    """Events of one particle from the origin, 1.7 < eta < 2.8."""
    rng = np.random.default_rng(int(energy) + pdg)
    eta, phi = rng.uniform(1.7, 2.8, n), rng.uniform(-np.pi, np.pi, n)
    pt = np.sqrt(energy**2 - MASS[pdg] ** 2) / np.cosh(eta)
    fields = {"px": pt * np.cos(phi), "py": pt * np.sin(phi), "pz": pt * np.sinh(eta), "energy": np.full(n, energy)}
    zero = {name: np.zeros(n) for name in ("vx", "vy", "vz", "time")}
    particles = ak.unflatten(ak.zip({"pdg": np.full(n, pdg), **fields, **zero}), np.ones(n, int))
    columns = {"event": np.arange(n), "weight": np.ones(n), "partons": ak.Array([[]] * n), "particles": particles}
    return records.table("particles", columns)


def measure(backend: Backend, events, label: str) -> None:
    """Run the events as one chunk and print a row."""
    inside = [0.0]
    shoot = backend.engine.shoot

    def timed(*arguments):
        start = time.process_time()
        result = shoot(*arguments)
        inside[0] += time.process_time() - start
        return result

    backend.engine.shoot = timed
    start = time.process_time()
    result = backend.run(Chunk(0, 1, 0, events.num_rows), events)
    total = time.process_time() - start
    backend.engine.shoot = shoot
    n, made = events.num_rows, records.awkward(result.table)
    energy = result.info["energy_at_face"] / n
    rest = 100 * (total - inside[0]) / total
    print(
        f"{label:16s} {n:4d} {energy:9.1f} {n / total:9.2f} {total / n:9.3f} {1e3 * total / n / energy:9.2f} "
        f"{rest:6.1f} {ak.mean(ak.num(made.hits)):7.0f}",
        flush=True,
    )


def main() -> None:
    """Print the table and leave at once: Geant4 crashes in its own tear-down."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--showers", type=int, default=20)
    parser.add_argument("--dijets", type=Path, help="a particles file with dijet events")
    parser.add_argument("--events", type=int, default=3, help="how many of them")
    parser.add_argument("--detector", default="configs/detectors/hgcal.yaml")
    options = parser.parse_args()
    start = time.process_time()
    backend = make_backend("simulate", "geant4", {}, load_block(options.detector, Detector))
    backend.prepare()
    print(f"{backend.tables.label}; start-up {time.process_time() - start:.2f} CPU s")
    print("events              n    GeV in  events/s     CPU s    ms/GeV rest %    hits")
    for pdg, name in ((22, "gamma"), (211, "pi+")):
        for energy in ENERGIES:
            measure(backend, showers(pdg, energy, options.showers), f"{name} {energy:.0f} GeV")
    if options.dijets is not None:
        measure(backend, records.read(options.dijets, "particles").slice(0, options.events), "dijet")
    else:
        print("dijet: skipped, give --dijets PARTICLES.parquet (gen2reco generate --process configs/processes/...)")
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
