"""Events per second of `generate` beside bare Pythia8 in the same run, as a ratio with its spread.

Usage: python benchmarks/generate.py [--repeats 5] [--seconds 3]. Both sides run the same chunk with the same seed in a
fresh fork, by turns, and are timed by the CPU time of the child, for machines are busy. "Bare" is `nextBatch` alone in
batches of the same size, its arrays dropped; ours is what a stage job does with a chunk: seed, generate, select,
write Parquet.
"""

import argparse
import os
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

import numpy as np

from gen2reco.config.process import process_from
from gen2reco.events import records
from gen2reco.generate import pythia_engine
from gen2reco.run.stage import Chunk, make_backend

PROCESSES = Path(__file__).parents[1] / "configs" / "processes"
CASES = ("ee_qq_91", "pp_dijet_endcap_nompi", "pp_dijet_endcap", "pp_ttbar")


def child_seconds(work: Callable[[], None]) -> float:
    """CPU seconds of the work in a fork of this process."""
    pid = os.fork()
    if pid == 0:
        work()
        os._exit(0)
    _, status, used = os.wait4(pid, 0)
    if status:
        raise SystemExit("a run failed")
    return used.ru_utime + used.ru_stime


def measure(name: str, repeats: int, seconds: float) -> tuple[float, float, np.ndarray]:
    """Bare and own events per CPU second, and their ratios, one a repeat."""
    backend = make_backend("generate", "pythia8", {"process": process_from(PROCESSES / f"{name}.yaml").model_dump()})
    backend.prepare()
    path = Path(tempfile.mkdtemp()) / "particles.parquet"

    def bare(events: int) -> None:
        pythia_engine.reseed(backend._pythia, 1)
        for _ in pythia_engine.batches(backend._pythia, events):
            pass

    def ours(events: int) -> None:
        records.write(path, backend.run(Chunk(0, 1, 0, events)).table, "particles")

    start = time.process_time()
    trial = 100
    rate = trial / child_seconds(lambda: bare(trial))
    events = int(max(trial, rate * seconds))
    ours(trial)  # what is loaded at the first write is loaded before the forks
    backend._fresh = True
    backend.prepare()
    pairs = []
    for turn in range(repeats):
        order = (bare, ours) if turn % 2 else (ours, bare)
        used = {work.__name__: child_seconds(lambda work=work: work(events)) for work in order}
        pairs.append((events / used["bare"], events / used["ours"]))
    rates = np.array(pairs)
    print(f"# {name}: {events} events, {time.process_time() - start:.1f} s in the parent", flush=True)
    return *np.median(rates, axis=0), rates[:, 1] / rates[:, 0]


def main() -> None:
    """Print one line a process."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--repeats", type=int, default=5)
    parser.add_argument("--seconds", type=float, default=3.0)
    given = parser.parse_args()
    print(f"{'process':24s} {'bare /s':>9s} {'generate /s':>12s} {'ratio':>7s}  spread (min..max)")
    for name in CASES:
        bare, ours, ratio = measure(name, given.repeats, given.seconds)
        print(f"{name:24s} {bare:9.1f} {ours:12.1f} {np.median(ratio):7.3f}  {ratio.min():.3f}..{ratio.max():.3f}")


if __name__ == "__main__":
    main()
