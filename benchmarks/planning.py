"""What the driver costs: a dry run of the quickstart, the plan of 100,000 shards, a dry run of 10,000 jobs.

python benchmarks/planning.py [--jobs 10000] [--repeats 3]; seconds of wall (best) and CPU, and peak memory.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

REPOSITORY = Path(__file__).parents[1]
CHAIN = """
    generate: {{backend: gun, process: {repository}/configs/processes/gun_{kind}.yaml}}
    simulate: {{backend: geant4}}
    cluster: {{backend: clue}}
    calibrate: {{backend: raw}}"""


def campaign(folder: Path, shards: dict[str, int]) -> Path:
    """A campaign of that many shards of 100 events for each kind of particle, four stages and an ntuple each."""
    text = f"name: big\ndetector: {REPOSITORY}/configs/detectors/hgcal.yaml\nsamples:"
    for kind, number in shards.items():
        text += f"\n  {kind}s:\n    events: {100 * number}\n    shard_events: 100"
        text += CHAIN.format(repository=REPOSITORY, kind=kind)
    path = folder / "big.yaml"
    path.write_text(text + "\n")
    return path


def measure(name: str, command: list[str], folder: Path, repeats: int, *, planned: bool = False) -> str:
    """A row of the table: the best of some runs in a folder, each without a plan from before unless `planned`."""
    best = (float("inf"), 0.0, 0)
    for _ in range(repeats):
        if not planned:
            subprocess.run(["rm", "-rf", "results", ".snakemake"], cwd=folder, check=True)
        started = time.perf_counter()
        with (folder / "log").open("w") as log:
            process = subprocess.Popen(command, cwd=folder, stdout=log, stderr=log)
            _, status, usage = os.wait4(process.pid, 0)
        wall = time.perf_counter() - started
        if status:
            raise SystemExit((folder / "log").read_text()[-2000:])
        best = min(best, (wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss // 1024))
    return f"| {name} | {best[0]:.1f} | {best[1]:.1f} | {best[2]} |"


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--jobs", type=int, default=10_000)
    parser.add_argument("--repeats", type=int, default=3)
    given = parser.parse_args()
    dry_run = [sys.executable, "-m", "snakemake", "-n", "-q", "--snakefile", str(REPOSITORY / "Snakefile"), "--config"]
    print("| what | wall s | CPU s | MB |\n|---|---|---|---|")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        quickstart = f"campaign={REPOSITORY}/configs/campaigns/quickstart.yaml"
        for name, planned in (("its plan made first", False), ("planned before", True)):
            row = measure(
                f"`snakemake -n` of the quickstart, {name}",
                [*dry_run, quickstart],
                folder,
                given.repeats,
                planned=planned,
            )
            print(row, flush=True)
        path = campaign(folder, {"photon": 100_000})
        plan = [sys.executable, "-m", "gen2reco.cli", "plan", str(path)]
        print(measure("plan of 100,000 shards", plan, folder, given.repeats), flush=True)
        shards = given.jobs // 5
        path = campaign(folder, {"photon": shards - shards // 5, "pion": shards // 5})
        print(measure(f"`snakemake -n` of {given.jobs:,} jobs", [*dry_run, f"campaign={path}"], folder, 1))


if __name__ == "__main__":
    main()
