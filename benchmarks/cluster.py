"""Points per second of CLUE on one core beside its peers, on the same points; and the time of whole events.

Usage: python benchmarks/cluster.py [--most 1000000] [--repeat 3] [--events HITS.parquet]
Points: Gaussian blobs of 100 points of mean unit density, so that the work grows with their number alone. CPU seconds,
the best of the repeats. A peer that is not installed is skipped with a line (CLUEstering: pip install CLUEstering,
which needs cmake, a C++20 compiler and Boost >= 1.75). Its API is called in serial mode on one core.
"""

import argparse
import os
import resource
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

os.environ.update(OMP_NUM_THREADS="1", MKL_NUM_THREADS="1", NUMBA_NUM_THREADS="1")

import numpy as np

RADIUS, MIN_DENSITY = 1.5, 5.0
MOST = {"DBSCAN": 100_000, "HDBSCAN": 10_000}
"""Points beyond which a peer takes too long to wait for."""


def blobs(n: int, axes: int, seed: int = 0) -> np.ndarray:
    """(n, axes) float32 points of mean unit density: blobs of 100 at random places."""
    rng = np.random.default_rng(seed)
    side, number = n ** (1 / axes), max(1, n // 100)
    centres = rng.uniform(0, side, (number, axes))
    spread = 0.2 * side / number ** (1 / axes)
    return (centres[rng.integers(number, size=n)] + rng.normal(size=(n, axes)) * spread).astype(np.float32)


def ours(points: np.ndarray) -> Callable[[], np.ndarray]:
    """CLUE of this package."""
    from gen2reco.cluster import clue

    weights = np.ones(len(points), np.float32)
    return lambda: (
        clue(points, weights, density_radius=RADIUS, min_density=MIN_DENSITY, outlier_distance=2 * RADIUS).labels
    )


def cluestering(points: np.ndarray) -> Callable[[], np.ndarray]:
    """The peer's serial backend, its input made beforehand."""
    import CLUEstering
    import pandas as pd

    axes = {f"x{k}": points[:, k] for k in range(points.shape[1])}
    frame = pd.DataFrame({**axes, "weight": np.ones(len(points), np.float32)})
    clusterer = CLUEstering.clusterer(RADIUS, MIN_DENSITY, 2 * RADIUS)
    clusterer.read_data(frame)

    def call() -> np.ndarray:
        clusterer.run_clue(backend="cpu serial", verbose=False)
        return np.asarray(clusterer.cluster_ids)

    return call


def dbscan(points: np.ndarray) -> Callable[[], np.ndarray]:
    """scikit-learn's DBSCAN with the same radius."""
    from sklearn.cluster import DBSCAN

    return lambda: DBSCAN(eps=RADIUS, min_samples=int(MIN_DENSITY), n_jobs=1).fit_predict(points)


def hdbscan(points: np.ndarray) -> Callable[[], np.ndarray]:
    """scikit-learn's HDBSCAN."""
    from sklearn.cluster import HDBSCAN

    return lambda: HDBSCAN(min_cluster_size=int(MIN_DENSITY), n_jobs=1, copy=False).fit_predict(points)


METHODS = {"gen2reco": ours, "CLUEstering": cluestering, "DBSCAN": dbscan, "HDBSCAN": hdbscan}


def seconds(call: Callable[[], object], repeat: int) -> float:
    """Least CPU time of a call."""
    spent = []
    for _ in range(repeat):
        start = time.process_time()
        call()
        spent.append(time.process_time() - start)
    return min(spent)


def same(one: np.ndarray, other: np.ndarray) -> float:
    """Share of points whose labels agree, up to the numbering of clusters."""
    pairs, count = np.unique(np.column_stack([one, other]), axis=0, return_counts=True)
    best: dict[int, int] = {}
    for (a, _), n in zip(pairs, count):
        best[a] = max(best.get(a, 0), int(n))
    return sum(best.values()) / len(one)


def compare(most: int, repeat: int) -> None:
    """Print the table of points per second."""
    missing: set[str] = set()
    print(f"{'':14s}" + "".join(f"{name:>14s}" for name in METHODS) + "   million points per CPU second")
    for axes in (2, 3):
        n = 1000
        while n <= most:
            points, row, labels = blobs(n, axes), [], {}
            for name, make in METHODS.items():
                if name in missing or n > MOST.get(name, n):
                    row.append(f"{'-':>14s}")
                    continue
                try:
                    call = make(points)
                except ImportError as error:
                    missing.add(name)
                    print(f"*** {name} IS NOT INSTALLED AND IS LEFT OUT: {error} ***", flush=True)
                    row.append(f"{'-':>14s}")
                    continue
                labels[name] = call()
                row.append(f"{n / seconds(call, repeat) / 1e6:14.3f}")
            peer = (
                f"   labels as CLUEstering: {same(labels['CLUEstering'], labels['gen2reco']):.5f}"
                if "CLUEstering" in labels
                else ""
            )
            print(f"{axes}D {n:11,d}" + "".join(row) + peer, flush=True)
            n *= 10


def memory(n: int, axes: int) -> float:
    """Bytes per point that clustering adds to the peak of a fresh process, inputs not counted."""
    code = "\n".join(
        (
            f"import sys; sys.path.insert(0, {str(Path(__file__).resolve().parent)!r}); import cluster as b",
            f"b.ours(b.blobs(1000, {axes}))(); points = b.blobs({n}, {axes}); call = b.ours(points)",
            "peak = lambda: int(open('/proc/self/status').read().partition('VmHWM:')[2].split()[0])",
            "before = peak(); call(); print(peak() - before)",
        )
    )
    kilobytes = int(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)
    return kilobytes * 1024 / n


def events(path: str, repeat: int, pile_up_hits: int = 200_000) -> None:
    """CPU time of whole events: one by one, and one event of as many hits as at a pile-up of 200."""
    import awkward as ak

    from gen2reco.cluster.columns import clusters_table, flatten
    from gen2reco.cluster.layers import Hits
    from gen2reco.cluster.reconstruct import reconstruct
    from gen2reco.config.clustering import Clustering
    from gen2reco.detector.geometry import Geometry
    from gen2reco.detector.made_with import detector_of
    from gen2reco.events import records

    geometry, config = Geometry(detector_of(path)), Clustering()
    table = records.read(path, "hits")
    number = ak.to_numpy(ak.num(records.awkward(table)["hits"]))

    def whole(part):
        flat = flatten(part, geometry)
        return clusters_table(part, flat, reconstruct(flat.hits, flat.tracks, geometry, config), geometry)

    whole(table)
    together = seconds(lambda: whole(table), repeat) / len(table)
    alone = np.median([seconds(lambda k=k: whole(table.slice(k, 1)), repeat) for k in range(min(len(table), 20))])
    spent = f"{1e3 * together:.2f} ms an event in one chunk, {1e3 * alone:.2f} alone"
    print(f"{path}: {number.mean():.0f} hits an event; {spent}")
    flat = flatten(table, geometry)
    rng = np.random.default_rng(1)
    copies = -(-pile_up_hits // len(flat.hits))
    turn = rng.uniform(0, 2 * np.pi, (copies, len(table)))[:, flat.hits.event].ravel()
    x, y = (np.tile(v, copies) for v in (flat.hits.x, flat.hits.y))
    size = geometry.detector.cell_size
    x, y = x * np.cos(turn) - y * np.sin(turn), x * np.sin(turn) + y * np.cos(turn)
    fields = {name: np.tile(getattr(flat.hits, name), copies) for name in ("layer", "z", "energy", "time")}
    cell = [(np.floor(v / size) + 0.5).astype(np.float32) * np.float32(size) for v in (x, y)]
    _, kept = np.unique(np.column_stack([*cell, fields["z"]]), axis=0, return_index=True)
    kept = kept[:pile_up_hits]
    event = np.zeros(len(kept), np.int64)
    crowded = Hits(event, x=cell[0][kept], y=cell[1][kept], **{name: values[kept] for name, values in fields.items()})
    none = type(flat.tracks)(np.zeros(0, np.int64), *(np.zeros(0) for _ in range(6)))
    spent = seconds(lambda: reconstruct(crowded, none, geometry, config), repeat)
    made = reconstruct(crowded, none, geometry, config)
    found = f"{len(made.clusters):,d} layer clusters, {made.cluster_trackster.max() + 1:,d} tracksters"
    print(f"one event of {len(kept):,d} hits: {spent:.2f} s; {found}")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--most", type=int, default=1_000_000, help="largest number of points")
    parser.add_argument("--repeat", type=int, default=3)
    parser.add_argument("--events", help="hits file for the time of whole events")
    given = parser.parse_args()
    if given.events:
        events(given.events, given.repeat)
        return
    compare(given.most, given.repeat)
    for axes in (2, 3):
        print(f"memory {axes}D, 1,000,000 points: {memory(1_000_000, axes):.0f} bytes a point beside the input")
    print(f"peak of this process: {resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024:.0f} MB")


if __name__ == "__main__":
    main()
