"""What is found before submission, and drivers: as a Slurm job, detached, with orphans to clear."""

import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
import yaml
from production import REPOSITORY
from slurm_cluster import wait_for


def site_profile(production, **changed):
    """A copy of the shipped profile with other settings for the rule `generate`; returns its folder."""
    settings = yaml.safe_load((REPOSITORY / "profiles/slurm/profile.yaml").read_text())
    settings["default-resources"] |= changed
    settings |= {"latency-wait": 5, "slurm-init-seconds-before-status-checks": 1}
    folder = production.folder / "site"
    folder.mkdir(exist_ok=True)
    (folder / "profile.yaml").write_text(yaml.safe_dump(settings))
    return str(folder)


BAD = {
    "partition": (
        {"slurm_partition": "cpus"},
        "partition `cpus` does not exist on this cluster; it has cpu, gpu, urgent",
    ),
    "account": ({"slurm_account": "biology"}, "account `biology` is not one of yours; you have physics, root"),
    "memory": ({"mem_mb": "17000 * attempt"}, "17000 MB are more than any node of partition `cpu` has"),
    "runtime": ({"runtime": 1441}, "runtime 1441 min is beyond the 1440 min of partition `cpu`"),
    "GPU type": (
        {"slurm_partition": "gpu", "gpu": 1, "gpu_model": "h100"},
        "partition `gpu` has no GPU of type `h100`; it has fake",
    ),
}


@pytest.mark.parametrize("what", BAD)
def test_what_the_cluster_lacks_is_found_before_submission(production, what):
    changed, said = BAD[what]
    profile = site_profile(production, **changed)
    done = production.command("submit", "campaign.yaml", "--profile", profile, check=False)
    assert done.returncode == 2
    looked = production.command("check", "campaign.yaml", "--profile", profile, check=False)
    assert looked.returncode == 2 and said in looked.stderr
    line = [line for line in done.stderr.splitlines() if line.startswith("gen2reco: error")]
    assert len(line) == 1 and said in line[0] and "rule generate" in line[0]
    assert not production.cluster.jobs("all") or "PENDING" not in production.cluster.run("squeue -h -o %T")


def test_the_driver_checks_as_well(production):
    """A direct call of Snakemake says the same line, before it submits anything."""
    assert production.run("--default-resources", "slurm_partition=cpus") != 0
    assert "partition `cpus` does not exist" in production.log
    assert production.run("--group-components", "shard=3", "--default-resources", "mem_mb=6000") != 0
    assert "rule generate, up to 3 of each, as one job: 3 CPU, 18000 MB are more than any node" in production.log
    assert "submitted" not in production.log


def test_results_that_compute_nodes_cannot_see(production):
    """A folder mounted for the submitting process alone, as a local disk of the login node is."""
    if subprocess.run(["unshare", "-m", "true"]).returncode:
        pytest.skip("mount namespaces cannot be made here")
    hidden = production.folder / "hidden"
    hidden.mkdir()
    command = [shutil.which("gen2reco", path=production.env["PATH"]), "submit", "campaign.yaml"]
    script = f"mount -t tmpfs tmpfs {hidden} && cp {production.folder}/campaign.yaml {hidden} && cd {hidden} && "
    done = subprocess.run(
        ["unshare", "-m", "sh", "-c", script + " ".join(command)],
        env=production.env,
        cwd=production.folder,
        capture_output=True,
        text=True,
    )
    assert done.returncode == 2, done.stderr
    assert "not visible on the compute nodes of partition `cpu`; work in a folder of a shared" in done.stderr


def test_driver_as_a_slurm_job(production):
    """Submitted, refused twice while it is there, listed; its shards end as in the quiet run."""
    production.demand("sleep 2")
    profile = site_profile(production)
    arguments = ["submit", "campaign.yaml", "--profile", profile, "--", "--", *production.targets]
    said = production.command(*arguments).stdout
    job = re.search(r"Slurm job (\d+)", said)[1]
    again = production.command(*arguments, check=False)
    assert again.returncode == 75 and ("is queued as" in again.stderr or "a driver runs" in again.stderr)
    wait_for(lambda: job not in production.cluster.jobs("RUNNING,PENDING,COMPLETING"), 400, "driver ends")
    log = (production.results / f"driver-{job}.log").read_text()
    assert "COMPLETED" in production.cluster.run(f"scontrol show job {job}"), log
    production.same_as_quiet()


@pytest.mark.slow
def test_driver_ahead_of_its_time_limit_hands_over(production):
    """It requeues itself; its next run clears the jobs left behind, which go on at their chunks."""
    production.demand("sleep 15")
    arguments = ["submit", "campaign.yaml", "--profile", site_profile(production), "--", "--", *production.targets]
    job = re.search(r"Slurm job (\d+)", production.command(*arguments).stdout)[1]
    production.job(0)
    production.cluster.run(f"scancel -b -s USR1 {job}")
    wait_for(lambda: "Restarts=1" in production.cluster.run(f"scontrol show job {job}"), 60, "requeued")
    done = ("RUNNING,PENDING,COMPLETING", 400, "driver ends")
    wait_for(lambda: job not in production.cluster.jobs(done[0]), *done[1:])
    log = (production.results / f"driver-{job}.log").read_text()
    assert "jobs of an earlier driver" in log
    production.same_as_quiet()


@pytest.mark.slow
def test_driver_detached(production):
    """It outlives the command that started it."""
    arguments = ["submit", "campaign.yaml", "--profile", site_profile(production), "--driver", "detached", "--"]
    said = production.command(*arguments, "--", *production.targets).stdout
    assert "process" in said
    wait_for(lambda: all((production.folder / target).exists() for target in production.targets), 300, "shards made")
    wait_for(lambda: "100%" in (production.results / "driver.log").read_text(), 60, "driver ends")
    production.same_as_quiet()


@pytest.mark.slow
@pytest.mark.parametrize("profile", ["slurm", "slurm-gres"])
def test_a_gpu_stage_gets_its_gpu_and_its_cost_is_counted(production, profile):
    """The job of a `cuda` stage has a GPU of Slurm's; status tells the GPU hours. Nothing here computes on it."""
    production.write(generate={"device": "cuda"}, allow_cpu=True)
    production.demand("sleep 2")
    production.command("plan", "campaign.yaml")
    settings = yaml.safe_load((REPOSITORY / "profiles" / profile / "profile.yaml").read_text())
    settings["set-resources"]["generate_gpu"]["mem_mb"] = 1000
    (production.folder / "site").mkdir()
    (production.folder / "site/profile.yaml").write_text(
        yaml.safe_dump(settings | {"latency-wait": 5, "slurm-init-seconds-before-status-checks": 1})
    )
    done = production.command(
        "submit", "campaign.yaml", "--profile", "site", "--driver", "here", "--", "--", *production.targets, timeout=400
    )
    assert "generate_gpu" in done.stdout + done.stderr
    jobs = production.cluster.run("sacct -X -n -P --format=Partition,AllocTRES | grep gres/gpu=1 || true")
    assert jobs.count("gpu|") >= 3, jobs
    status = production.command("status", "campaign.yaml", check=False).stdout
    assert "GPU hours spent" in status and "accounting" in status
    production.same_as_quiet()


def test_rates_are_measured_in_a_job(production):
    """A job of the cluster measures; the next plan sizes shards by it."""
    production.write(job_minutes=1)
    text = (production.folder / "campaign.yaml").read_text()
    (production.folder / "campaign.yaml").write_text(re.sub(r".*shard_events.*\n", "", text))
    production.demand("sleep 0.5")
    arguments = ["calibrate-rates", "campaign.yaml", "--seconds", "1", "--profile", site_profile(production)]
    assert "generate faulty on cpu:" in production.command(*arguments).stdout
    assert Path(os.environ["GEN2RECO_RATES"]).is_file()
