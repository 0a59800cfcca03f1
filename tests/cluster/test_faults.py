"""Whatever the cluster does, a campaign ends in the bytes of the quiet run, or in an error that names the shard.

Each shard has three chunks; faults strike when the first is done, and the next attempt must go on there.
"""

import os
import re
import signal
import subprocess
import sys
import time

import pytest
from production import Production
from slurm_cluster import wait_for

slow = pytest.mark.slow


def resumed(production: Production, shard: int) -> bool:
    """Whether the job that finished a shard found chunks done and made only the others."""
    return "15/15 events" not in production.shard_log(shard)


def test_jobs_killed_cancelled_and_requeued_at_once(production):
    """Three ways to lose a job, one a shard, in one run of the driver."""
    production.hold(0, 1, 2)
    driver = production.start()
    jobs = [production.job(shard) for shard in range(3)]
    stages = [pid for shard in range(3) for pid in production.stage_pids(shard)]
    os.kill(production.stage_pids(0)[0], signal.SIGKILL)
    production.cluster.run(f"scancel {jobs[1]}")
    production.cluster.run(f"scontrol requeue {jobs[2]}")
    wait_for(lambda: not set(stages) & set(production.cluster.processes()), 60, "all three are gone")
    production.release()
    assert production.finish(driver) == 0, production.log[-3000:]
    production.same_as_quiet()
    assert all(resumed(production, shard) for shard in range(3))


def test_driver_killed_and_started_again(production):
    """The second driver cancels the jobs of the first; no job runs twice, no chunk is made twice."""
    production.hold(0)
    driver = production.start()
    first = production.job(0)
    os.killpg(driver.pid, signal.SIGKILL)
    driver.wait()
    assert first in production.cluster.jobs(), "the orphan runs on"
    driver = production.start()
    wait_for(lambda: "jobs of an earlier driver" in production.log, 120, "orphans found")
    production.release()
    assert production.finish(driver) == 0, production.log[-3000:]
    assert "CANCELLED" in production.cluster.run(f"scontrol show job {first}")
    production.same_as_quiet()
    assert resumed(production, 0)


def test_two_copies_of_one_job_at_once(production):
    """As when a node is lost and its step runs on: both write, the files are whole, and so is the sidecar."""
    production.command("plan", "campaign.yaml")
    production.demand("sleep 0.5")
    plan = ["--plan", "results/faults/plan.lock.json", "--sample", "one", "--shard", "0"]
    command = [sys.executable, "-m", "gen2reco.cli", "generate", *plan, production.targets[0]]
    twins = [subprocess.Popen(command, cwd=production.folder, env=production.env) for _ in range(3)]
    assert [twin.wait(120) for twin in twins] == [0, 0, 0]
    production.shards = 1
    assert production.digests() == production.expected()


def test_a_shard_truncated_behind_its_back_is_named(production):
    """The rest of the chain does not take it: verification names the file, and says what to do."""
    assert production.run() == 0, production.log[-3000:]
    victim = production.folder / production.targets[1]
    os.truncate(victim, victim.stat().st_size // 2)
    done = production.command("verify", "results/faults/plan.lock.json", "one", "checked.json", check=False)
    assert done.returncode == 1 and "00001.parquet: its bytes are not those" in done.stderr
    victim.unlink()
    assert production.run() == 0
    production.same_as_quiet()


def test_out_of_memory_is_retried_with_more(production):
    """The first attempt is killed for its memory; the second has twice as much."""
    production.demand("memory! 1200", shard=1, chunk=1)
    production.demand("memory 900", shard=2, chunk=1)
    assert production.run("--default-resources", "mem_mb=1000*attempt", "runtime=5") == 0, production.log[-3000:]
    production.same_as_quiet()
    assert resumed(production, 2)


@slow
def test_preempted_by_a_higher_partition(production):
    """Urgent jobs take the nodes; the campaign's jobs wait in the queue and go on."""
    production.hold(0, 1, 2)
    driver = production.start()
    victims = [production.job(shard) for shard in range(3)]
    urgent = production.cluster.run("sbatch --parsable -p urgent -w c1,c2 -N2 --exclusive --wrap 'sleep 8'")
    wait_for(lambda: urgent in production.cluster.jobs(), 60, "urgent job runs")
    assert not set(victims) & set(production.cluster.jobs())
    production.release()
    assert production.finish(driver) == 0, production.log[-3000:]
    assert "PREEMPTED" in production.cluster.run("sacct -X -n -D --format=State")
    production.same_as_quiet()
    assert all(resumed(production, shard) for shard in range(3))


@slow
def test_node_lost_and_back(production):
    """Slurm requeues the jobs of a lost node; what still runs there does no harm."""
    production.hold(0)
    driver = production.start()
    job = production.job(0)
    node = production.cluster.run(f"squeue -h -o %N -j {job}")
    production.cluster.lose_node(node)
    wait_for(lambda: "down" in production.cluster.node_states()[node], 90, "node is down")
    wait_for(lambda: len(production.stage_pids(0)) == 2, 120, "two copies of the shard run at once")
    production.cluster.start_node(node)
    production.release()
    assert production.finish(driver) == 0, production.log[-3000:]
    production.same_as_quiet()


@slow
def test_told_to_stop_ahead_of_the_limit(production):
    """Slurm's warning lets the stage finish its chunk and leave; the next attempt goes on there."""
    production.hold(0)
    driver = production.start()
    production.cluster.run(f"scancel -s USR1 {production.job(0)}")
    wait_for(lambda: "SIGUSR1: stops after the chunk at work" in production.shard_log(0), 60, "signal is there")
    production.release()
    wait_for(lambda: "stopped by SIGUSR1 after 2 of 3 chunks" in production.log, 120, "stopped by the signal")
    assert production.finish(driver) == 0, production.log[-3000:]
    production.same_as_quiet()
    assert resumed(production, 0)


@slow
def test_time_limit(production):
    """The job ends at its limit; the next attempt has a longer one, and goes on at the chunk."""
    production.demand("sleep! 400", shard=0, chunk=1)
    limits = ["--default-resources", "runtime=attempt", "mem_mb=1000", "slurm_partition=cpu"]
    assert production.run(*limits) == 0, production.log[-3000:]
    production.same_as_quiet()
    assert re.search("TIMEOUT", production.cluster.run("sacct -X -n --format=State"))
    assert resumed(production, 0)


@slow
def test_out_of_memory_for_good_is_named(production):
    """A job that never has enough memory ends in an error; the status names the shard and the reason."""
    production.demand("memory 1500", shard=1)
    assert production.run("--default-resources", "mem_mb=800", "runtime=5", "--retries", "1") != 0
    status = production.command("status", "campaign.yaml", check=False).stdout
    assert "one generate 00001" in status and "out of memory" in status
    assert production.run("--default-resources", "mem_mb=2500", "runtime=5") == 0
    production.same_as_quiet()


@slow
def test_controller_restarted(production):
    """slurmctld is away for half a minute: jobs run on, the driver waits for it."""
    production.hold(0)
    driver = production.start()
    production.job(0)
    production.cluster.stop_controller()
    production.release()
    time.sleep(30)
    production.cluster.start_controller()
    assert production.finish(driver) == 0, production.log[-3000:]
    production.same_as_quiet()


@slow
def test_accounting_down_throughout(production):
    """slurmdbd is away: nothing that a campaign needs asks it."""
    production.cluster.stop_dbd()
    assert production.run() == 0, production.log[-3000:]
    production.same_as_quiet()
    assert "done" in production.command("status", "campaign.yaml", check=False).stdout


@slow
def test_disk_full_and_freed(production):
    """A full disk fails the shard by name; after some room is made, the same bytes."""
    production.command("plan", "campaign.yaml")
    folder = production.results / "one"
    folder.mkdir(parents=True)
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=256k", "tmpfs", folder]).returncode:
        pytest.skip("a small filesystem cannot be mounted here")
    try:
        filler = folder / "filler"
        filler.write_bytes(b"x" * 240_000)
        assert production.run("--retries", "0") != 0
        assert "No space left" in production.log and "00000.parquet" in production.log
        filler.unlink()
        assert production.run() == 0, production.log[-3000:]
        production.same_as_quiet()
    finally:
        subprocess.run(["umount", "-l", folder], check=True)


@slow
def test_tracking_server_down_throughout(production):
    """MLflow is away: the campaign's files do not care."""
    production.env["MLFLOW_TRACKING_URI"] = "http://127.0.0.1:9"
    assert production.run() == 0, production.log[-3000:]
    production.same_as_quiet()
    done = production.command("track", "sync", "results/faults", "--receipt", "tracked.json", check=False)
    assert "Traceback" not in done.stderr
