"""What a shard costs beside its physics: our own share, Snakemake's, and Slurm's, on the test cluster.

    python benchmarks/cluster_overhead.py [--shards 1000] [--plain 100] [--group 20]

Prints (1) CPU seconds a shard of our own: plan, chunk bookkeeping, sidecar, verification, tracking; (2) seconds
a shard of a campaign of nearly empty shards, each as its own Slurm job and grouped; (3) the floor: a Snakefile of as
many bare `touch` jobs under the same executor. Needs the Debian packages of Slurm, see docs/slurm.md.
"""

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import yaml

REPOSITORY = Path(__file__).parents[1]
sys.path.insert(0, str(REPOSITORY / "tests/cluster"))

from slurm_cluster import Cluster, why_not  # noqa: E402

FLOOR = """
rule all:
    localrule: True
    input: expand("floor/{{i}}.txt", i=range({shards}))
rule one:
    output: "floor/{{i}}.txt"
    shell: "touch {{output}}"
"""
QUICK = ["--latency-wait", "5", "--slurm-init-seconds-before-status-checks", "1"]
HEADER = """\
| run | shards | minutes | shards/min | s/shard | CPU s/shard | load |
|---|---|---|---|---|---|---|"""
SMALL = ["--default-resources", "mem_mb=700", "runtime=30", "slurm_partition=cpu"]


def main() -> None:
    """Measure and print a table."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--shards", type=int, default=1000)
    parser.add_argument("--plain", type=int, default=100, help="shards of the runs without groups")
    parser.add_argument("--group", type=int, default=20, help="shards that go as one job")
    given = parser.parse_args()
    if reason := why_not():
        sys.exit(f"no cluster: {reason}")
    with tempfile.TemporaryDirectory(prefix="g2r-bench-") as folder:
        ours = our_share(Path(folder) / "ours")
        print(f"our share of a shard, CPU seconds: {json.dumps(ours)}", flush=True)
        with Cluster({"c1": 0, "c2": 0}, cpus=max(4, given.group)) as cluster:  # a group asks for the cores of all
            print(HEADER)
            report("bare Snakemake, plain", given.plain, *floor(cluster, Path(folder) / "floor", given.plain))
            report("gen2reco, plain", given.plain, *shards(cluster, Path(folder) / "plain", given.plain, 1))
            grouped = shards(cluster, Path(folder) / "grouped", given.shards, given.group)
            report(f"gen2reco, {given.group} a job", given.shards, *grouped)


def report(name: str, count: int, seconds: float, cpu: float) -> None:
    """Print one row: wall time, CPU seconds of the Slurm jobs, the machine's load."""
    each = f"{seconds / 60:.1f} | {60 * count / seconds:.1f} | {seconds / count:.2f} | {cpu / count:.2f}"
    print(f"| {name} | {count} | {each} | {os.getloadavg()[1]:.1f} |", flush=True)


def our_share(folder: Path, count: int = 300) -> dict[str, float]:
    """CPU seconds a shard of what is ours and no physics, without starting Python."""
    from gen2reco.batch.status import verify_sample
    from gen2reco.campaign.job import planned_job
    from gen2reco.campaign.plan import make_plan
    from gen2reco.run.runner import run

    campaign(folder, count)
    os.chdir(folder)
    spent, clock = {}, time.process_time()

    def lap(name: str) -> None:
        nonlocal clock
        spent[name] = round((time.process_time() - clock) / count, 4)
        clock = time.process_time()

    plan, _ = make_plan("campaign.yaml")
    job = planned_job(plan.folder / "plan.lock.json", "generate", "one", 0, Path("warm.parquet"), None, 1)
    run(job)
    clock = time.process_time()
    make_plan("campaign.yaml")
    lap("plan")
    physics = 0.0
    for shard in range(count):
        file = plan.file("one", "generate", shard)
        file.parent.mkdir(parents=True, exist_ok=True)
        job = planned_job(plan.folder / "plan.lock.json", "generate", "one", shard, file, None, 1)
        inner = job.backend.run

        def timed(chunk, events, inner=inner):
            nonlocal physics
            before = time.process_time()
            result = inner(chunk, events)
            physics += time.process_time() - before
            return result

        job.backend.run = timed
        run(job)
    lap("job, chunk, file, sidecar")
    spent["job, chunk, file, sidecar"] = round(spent["job, chunk, file, sidecar"] - physics / count, 4)
    verify_sample(plan, "one")
    lap("verification")
    tracked = subprocess_cpu([sys.executable, "-m", "gen2reco.cli", "track", "sync", str(plan.folder)])
    spent["tracking"] = round(tracked / count, 4)
    spent["total"] = round(sum(spent.values()), 4)
    return spent


def subprocess_cpu(command: list[str]) -> float:
    """CPU seconds of a command, from start to end."""
    before = os.times()
    subprocess.run(command, capture_output=True)
    after = os.times()
    return after.children_user + after.children_system - before.children_user - before.children_system


def campaign(folder: Path, count: int) -> None:
    """A campaign of as many shards of ten gun events."""
    folder.mkdir(parents=True)
    (folder / "gun.yaml").write_text(yaml.safe_dump({"kind": "gun", "species": [22], "energy": [5.0, 50.0]}))
    sample = {"events": 10 * count, "shard_events": 10, "generate": {"backend": "gun", "process": "gun.yaml"}}
    data = {"name": "bench", "detector": str(REPOSITORY / "configs/detectors/hgcal.yaml"), "samples": {"one": sample}}
    (folder / "campaign.yaml").write_text(yaml.safe_dump(data))


def shards(cluster: Cluster, folder: Path, count: int, group: int) -> tuple[float, float]:
    """A campaign of so many short shards, `group` of them a Slurm job: (wall, CPU) seconds."""
    campaign(folder, count)
    targets = [f"results/bench/one/generate/{shard:05d}.parquet" for shard in range(count)]
    command = ["--snakefile", str(REPOSITORY / "Snakefile"), "--workflow-profile", str(REPOSITORY / "profiles/slurm")]
    grouped = ["--group-components", f"shard={group}"] if group > 1 else []
    return drive(cluster, folder, [*command, *SMALL, *grouped, "--config", "campaign=campaign.yaml", "--", *targets])


def floor(cluster: Cluster, folder: Path, count: int) -> tuple[float, float]:
    """A Snakefile of so many `touch` jobs: (wall, CPU) seconds."""
    folder.mkdir(parents=True)
    (folder / "Snakefile").write_text(FLOOR.format(shards=count))
    slurm = ["--executor", "slurm", "--jobs", "400", "--slurm-status-command", "squeue", "--nolock"]
    return drive(cluster, folder, ["--workflow-profile", "none", *slurm, *SMALL])


def drive(cluster: Cluster, folder: Path, arguments: list[str]) -> tuple[float, float]:
    """Run Snakemake on the cluster to its end; wall seconds, and CPU seconds of its Slurm jobs."""
    env = {k: v for k, v in cluster.env.items() if k != "PYTHONDONTWRITEBYTECODE"}
    env["PATH"] = f"{cluster.folder}/bin:{Path(sys.executable).parent}:{env['PATH']}"
    command = [sys.executable, str(REPOSITORY / "tests/cluster/quick_driver.py"), *QUICK, *arguments]
    start, before = time.perf_counter(), cpu_seconds(cluster)
    done = subprocess.run(command, cwd=folder, env=env, capture_output=True, text=True)
    if done.returncode:
        sys.exit(done.stdout[-2000:] + done.stderr[-4000:])
    wall = time.perf_counter() - start
    time.sleep(5)  # until the accounting knows the last job
    return wall, cpu_seconds(cluster) - before


def cpu_seconds(cluster: Cluster) -> float:
    """CPU seconds of all jobs so far, by the accounting."""
    spent = 0.0
    rows = [row.split("|") for row in cluster.run("sacct -n -P -S now-2days -o JobID,TotalCPU").splitlines()]
    for text in (cpu for job, cpu in rows if "." not in job):  # a job's steps are in its own row
        days, _, clock = text.rpartition("-")
        spent += 86400 * int(days or 0)
        spent += sum(60**power * float(part) for power, part in enumerate(reversed(clock.split(":"))))
    return spent


if __name__ == "__main__":
    main()
