"""What tracking costs: a stage job's share, a training's share, and the replay of 10,000 shard records.

python benchmarks/tracking.py [--shards 10000] [--uri URI]
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parents[1] / "tests" / "workflow"))


def stage_job(folder: Path, times: int = 200) -> float:
    """Seconds that a stage job spends on its sidecar, all that tracking asks of it."""
    from gen2reco.run.sidecar import write_sidecar

    started = time.perf_counter()
    for shard in range(times):
        write_sidecar(folder / f"{shard:05d}.parquet", {"status": "ok", "events_out": 100, "wall_seconds": 1.0})
    return (time.perf_counter() - started) / times


def stage_imports() -> list[str]:
    """Tracking libraries that a stage job imports: must be none."""
    code = (
        "import json, sys, gen2reco.commands.stages, gen2reco.run.runner;"
        "names = ('mlflow', 'sqlalchemy', 'requests', 'gen2reco.track.sync');"
        "print(json.dumps([name for name in names if name in sys.modules]))"
    )
    return json.loads(subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout)


def training_step(folder: Path, times: int = 20_000) -> float:
    """Seconds to tell one step's metrics."""
    from gen2reco.track.spool import Spool

    with Spool(folder, "training", live=False) as spool:
        started = time.perf_counter()
        for step in range(times):
            spool.metrics({"loss": 0.5, "lr": 1e-3, "grad_norm": 1.0}, step)
        return (time.perf_counter() - started) / times


def replay(folder: Path, shards: int, uri: str | None) -> tuple[float, float, float]:
    """Seconds of a first replay in a new process, of one that changes nothing, and CPU seconds of both."""
    from track_campaign import campaign

    results = campaign(folder, f"bench{time.time_ns()}", shards // 20, samples=tuple(f"s{n}" for n in range(5)))
    command = [sys.executable, "-m", "gen2reco.cli", "track", "sync", str(results), *(["--uri", uri] if uri else [])]
    seconds = []
    for _ in range(2):
        started = time.perf_counter()
        subprocess.run(command, check=True)
        seconds.append(time.perf_counter() - started)
    spent = os.times()
    return seconds[0], seconds[1], spent.children_user + spent.children_system


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--shards", type=int, default=10_000)
    parser.add_argument("--uri")
    given = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        print(f"stage job: {1e3 * stage_job(folder):.2f} ms, imports {stage_imports() or 'nothing of tracking'}")
        print(f"training: {1e6 * training_step(folder):.0f} µs a step")
        first, again, cpu = replay(folder, given.shards, given.uri)
        print(f"replay of {given.shards} shard records: {first:.1f} s, again {again:.1f} s; CPU of both {cpu:.1f} s")
        print(f"machine: {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}")


if __name__ == "__main__":
    main()
