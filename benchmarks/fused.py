"""Events per second from particles to calibrated objects, one core: reference chain, learned chain and fused model.

    python benchmarks/fused.py [--geant4 10] [--learned 100] [--fused 1000] [--repeats 3] [--device cuda]

The same pp_dijet_endcap events, particles in memory to objects and jets in memory (no files), by Geant4, clustering and
calibration; by the learned showers and the same; and by the fused model in one evaluation. Start-up and compilation are
not counted. Quoted for orientation, from papers, on other events and machines: Delphes 261-372 events/s for its
simulation alone, Parnassus 0.77 events/s on a CPU.
"""

import argparse
import os
import sys
import time

import numpy as np
import pyarrow as pa

from gen2reco.config.block import load_block, load_yaml
from gen2reco.config.detector import Detector
from gen2reco.run.stage import Backend, Chunk, make_backend

PROCESS = "configs/processes/pp_dijet_endcap.yaml"


def particles(n: int, seed: int) -> pa.Table:
    """n events of the process."""
    backend = make_backend("generate", "pythia8", {"process": load_yaml(PROCESS)})
    backend.prepare()
    return backend.run(Chunk(0, seed, 0, n), None).table


def per_second(road: list[Backend], events: pa.Table, seed: int, clock) -> float:
    """Events per second through these stages, in chunks as the first has them by default."""
    size, start = road[0].chunk_events, clock()
    for index, first in enumerate(range(0, len(events), size)):
        some = events.slice(first, size)
        for backend in road:
            some = backend.run(Chunk(index, seed + index, first, first + len(some)), some).table
    return len(events) / (clock() - start)


def roads(detector: Detector, device: str) -> dict[str, list[Backend]]:
    """The ways from particles to objects, ready to run."""
    late = [make_backend("cluster", "clue", {}, detector), make_backend("calibrate", "dnn", {}, detector)]
    made = {
        "geant4": [make_backend("simulate", "geant4", {}, detector), *late],
        "learned": [make_backend("simulate", "ml", {"outside": "nearest"}, detector), *late],
        "fused": [make_backend("fuse", "fused", {"outside": "keep"}, detector)],
    }
    made["learned"][0].device = made["fused"][0].device = device
    for backend in (made["geant4"][0], made["learned"][0], *late, *made["fused"]):
        backend.prepare()
    return made


def main() -> None:
    """Print the table and leave at once: Geant4 crashes in its own tear-down."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--geant4", type=int, default=10, help="events a repeat, as below")
    parser.add_argument("--learned", type=int, default=100)
    parser.add_argument("--fused", type=int, default=1000)
    parser.add_argument("--repeats", type=int, default=3)
    parser.add_argument("--device", default="cpu")
    parser.add_argument("--detector", default="configs/detectors/hgcal.yaml")
    given = parser.parse_args()
    detector = load_block(given.detector, Detector)
    clock = time.process_time if given.device == "cpu" else time.perf_counter
    sizes = {"geant4": given.geant4, "learned": given.learned, "fused": given.fused}
    rates: dict[str, list[float]] = {name: [] for name in sizes}
    made = roads(detector, given.device)
    warm = particles(5, 99)
    for name in ("learned", "fused"):
        per_second(made[name], warm, 1, clock)
    for repeat in range(given.repeats):
        events = particles(max(sizes.values()), repeat)
        for name, road in made.items():
            rates[name].append(per_second(road, events.slice(0, sizes[name]), repeat, clock))
    print(f"{'road':10s} {'events/s':>18s} {'over geant4':>18s}")
    for name, found in rates.items():
        rate, ratio = np.array(found), np.array(found) / np.array(rates["geant4"])
        print(
            f"{name:10s} {rate.mean():10.3f} ± {rate.std():5.3f} {ratio.mean():10.0f} ± {ratio.std():5.0f}", flush=True
        )
    sys.stdout.flush()
    os._exit(0)


if __name__ == "__main__":
    main()
