"""Milliseconds a shower of the learned simulation beside Geant4 in the same run, one core; ratio with its spread.

    python benchmarks/showers.py [--geant4 6] [--learned 500] [--repeats 3] [--evaluations 1 8] [--device cuda]

Photons and pions of 10, 50 and 100 GeV, 1.7 < eta < 2.8. What is timed is showers alone, particle at the face to
calibrated deposits: propagation, readout and tracks are the same for both. Start-up and compilation are not counted.
"""

import argparse
import os
import sys
import time

import numpy as np
from simulate import ENERGIES, showers

from gen2reco.config.block import load_block
from gen2reco.config.detector import Detector
from gen2reco.detector.propagate import AtFace, propagate
from gen2reco.events import records
from gen2reco.run.stage import Backend, make_backend


def at_face(pdg: int, energy: float, n: int, detector: Detector) -> AtFace:
    """Particles at the front face."""
    return propagate(records.awkward(showers(pdg, energy, n)).particles, detector)


def milliseconds(backend: Backend, particles: AtFace, seed: int, clock) -> float:
    """Milliseconds a shower."""
    start = clock()
    backend.deposits(particles, np.random.default_rng(seed))
    return 1e3 * (clock() - start) / len(particles)


def main() -> None:
    """Print the table and leave at once: Geant4 crashes in its own tear-down."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--geant4", type=int, default=6, help="Geant4 showers a repeat")
    parser.add_argument("--learned", type=int, default=500, help="learned showers a repeat")
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--evaluations", type=int, nargs="+", default=[1, 8])
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--detector", default="configs/detectors/hgcal.yaml")
    given = parser.parse_args()
    detector = load_block(given.detector, Detector)
    reference = make_backend("simulate", "geant4", {}, detector)
    reference.prepare()
    learned = {}
    for n in given.evaluations:
        learned[n] = make_backend("simulate", "ml", {"outside": "nearest", "evaluations": n}, detector)
        learned[n].device = given.device
        learned[n].prepare()
    clock = time.process_time if given.device == "cpu" else time.perf_counter
    print(
        f"{'shower':16s} {'Geant4 ms':>16s}" + "".join(f" {f'{n} evaluations ms':>22s} {'ratio':>16s}" for n in learned)
    )
    for pdg, name in ((22, "gamma"), (211, "pi+")):
        for energy in ENERGIES:
            few, many = (at_face(pdg, energy, n, detector) for n in (given.geant4, given.learned))
            slow = np.array([milliseconds(reference, few, s, time.process_time) for s in range(given.repeats)])
            row = f"{name} {energy:.0f} GeV".ljust(16) + f" {slow.mean():9.1f} ± {slow.std():4.1f}"
            for backend in learned.values():
                fast = np.array([milliseconds(backend, many, s, clock) for s in range(given.repeats)])
                ratio = slow / fast
                row += f" {fast.mean():14.3f} ± {fast.std():5.3f} {ratio.mean():8.0f} ± {ratio.std():5.0f}"
            print(row, flush=True)
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
