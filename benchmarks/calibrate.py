"""Tracksters per second of the calibration on one core, in batch mode, and where the time goes.

Usage: python benchmarks/calibrate.py CLUSTERS.parquet [--model FOLDER] [--tracksters 50000]
The file's events are repeated until there are that many tracksters. CPU seconds of one process, one thread; the best
of five runs of each step.
"""

import argparse
import os
import time
from collections.abc import Callable
from pathlib import Path

os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1")

import awkward as ak
import pyarrow as pa

from gen2reco.calibrate import candidates as cand
from gen2reco.calibrate.dnn import Dnn
from gen2reco.calibrate.features import make_inputs
from gen2reco.calibrate.objects import summarise
from gen2reco.calibrate.predict import predict
from gen2reco.calibrate.raw import Raw
from gen2reco.config.detector import Detector
from gen2reco.events import records
from gen2reco.run.runner import provenance
from gen2reco.run.stage import Chunk

REPEATS = 5


def timed(label: str, n: int, step: Callable, *arguments: object) -> object:
    """Run one step a few times, print the best rate, return what it gives."""
    times = []
    for _ in range(REPEATS):
        start = time.process_time()
        result = step(*arguments)
        times.append(time.process_time() - start)
    spent = min(times)
    print(f"{label:34s} {spent:9.2f} {n / spent:14,.0f}", flush=True)
    return result


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("clusters", type=Path)
    parser.add_argument("--model", default="release")
    parser.add_argument("--tracksters", type=int, default=50_000)
    options = parser.parse_args()
    events = records.read(options.clusters, "clusters")
    each = max(int(ak.sum(ak.num(records.awkward(events).tracksters))), 1)
    table = pa.concat_tables([events] * -(-options.tracksters // each)).combine_chunks()
    detector = Detector.model_validate(provenance(options.clusters)["cluster"]["detector"])
    dnn, raw = Dnn(Dnn.Options(model=options.model), detector), Raw(Raw.Options(), detector)
    dnn.prepare()
    dnn.run(Chunk(0, 1, 0, 10), table.slice(0, 10))
    data = records.awkward(table)
    n = int(ak.sum(ak.num(data.tracksters)))
    points = int(ak.sum(ak.num(data.layer_clusters)))
    print(f"{n} tracksters of {points / n:.1f} layer clusters in {table.num_rows} events")
    print(f"{'step':34s} {'CPU s':>9s} {'tracksters/s':>14s}")
    candidates = timed("candidates", n, cand.build, data, detector.front_face)
    plain = timed("plain sums", n, summarise, data, candidates, dnn.geometry)
    inputs = timed("features", n, make_inputs, data, candidates, plain, dnn.geometry)
    timed("network", n, predict, dnn.network, inputs)
    timed("objects (all of the above)", n, dnn.reconstruct, data)
    timed("stage dnn (with jets, record)", n, dnn.run, Chunk(0, 1, 0, table.num_rows), table)
    timed("stage raw (with jets, record)", n, raw.run, Chunk(0, 1, 0, table.num_rows), table)


if __name__ == "__main__":
    main()
