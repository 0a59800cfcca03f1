"""Run the driver of a campaign on a cluster: as a Slurm job, detached on this machine, or here."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from types import FrameType

from gen2reco.campaign import slurm
from gen2reco.campaign.driver import held, snakemake_command
from gen2reco.campaign.plan import Plan, ensure_plan
from gen2reco.campaign.profile import Profile, load_profile, problems, requests, unseen
from gen2reco.campaign.sidecar import write_text
from gen2reco.errors import InfrastructureError, InputError

DRIVER_MINUTES, DRIVER_MEMORY_MB = 24 * 60, 4000
WARNING_SECONDS = 120
"""How long ahead of its time limit a driver that is a Slurm job hands over to its next run."""


def check_cluster(profile: Profile, plan: Plan) -> None:
    """Raises InputError, one line, with all that the cluster cannot give of what the profile asks for."""
    if not profile.on_slurm:
        return
    asked = requests(profile, plan)
    found = problems(asked) or unseen(plan.folder, asked)
    if found:
        raise InputError(f"{profile.path}: " + "; ".join(found))


def submit(campaign_file: Path, profile_name: str, where: str, arguments: list[str]) -> str:
    """Plan and check a campaign, then start its driver; returns a line that tells where it runs.

    Raises InputError for what cannot run there, InfrastructureError if a driver is there already.
    """
    profile = load_profile(profile_name)
    plan = ensure_plan(campaign_file)
    if held(plan):
        raise InfrastructureError(f"{plan.folder}: a driver runs this campaign; wait for it or stop it")
    name = plan.lock["name"]
    if where == "job" and (queued := slurm.driver_jobs(name)):
        raise InfrastructureError(f"{plan.folder}: its driver is queued as Slurm job {queued[0]}; wait, or scancel it")
    check_cluster(profile, plan)
    _remember(plan)
    again = ["gen2reco", "submit", str(campaign_file), "--profile", profile_name, "--driver", "here", "--"]
    command = [sys.executable, "-m", "gen2reco.cli", *again[1:], *arguments]
    if where == "job":
        return _as_job(plan, profile, command)
    return _detached(plan, command)


def drive(campaign_file: Path, profile_name: str, arguments: list[str]) -> int:
    """Run the driver here and now; returns its exit code. As a Slurm job, it requeues itself ahead of the limit."""
    profile = load_profile(profile_name)
    plan = ensure_plan(campaign_file)
    _remember(plan)
    given = ["--workflow-profile", str(profile.path.parent if profile.path.name == "profile.yaml" else profile.path)]
    if profile.on_slurm:
        given += ["--slurm-jobname-prefix", slurm.job_prefix(plan.lock["name"])]
    command = snakemake_command(campaign_file, [*given, *arguments])
    job = os.environ.get("SLURM_JOB_ID")
    if job is None:
        os.execv(command[0], command)
    driver = subprocess.Popen(command)

    def hand_over(number: int, frame: FrameType | None) -> None:
        driver.kill()  # its jobs run on, until the next run of the driver takes the campaign over
        subprocess.run(["scontrol", "requeue", job], check=False)

    signal.signal(signal.SIGUSR1, hand_over)
    signal.signal(signal.SIGTERM, lambda number, frame: driver.kill())
    return driver.wait()


def _as_job(plan: Plan, profile: Profile, command: list[str]) -> str:
    asked = profile.resources("driver")
    log = plan.folder / "driver-%j.log"
    options = {
        "job-name": f"{slurm.job_prefix(plan.lock['name'])}-driver",
        "output": str(log),
        "open-mode": "append",
        "partition": asked.get("slurm_partition"),
        "account": asked.get("slurm_account"),
        "qos": asked.get("qos"),
        "time": DRIVER_MINUTES if "driver" not in profile.settings.get("set-resources", {}) else asked["runtime"],
        "mem": f"{DRIVER_MEMORY_MB}M",
        "cpus-per-task": 1,
        "signal": f"B:USR1@{WARNING_SECONDS}",
        "wrap": f"exec {shlex.join(command)}",
    }
    given = [f"--{key}={value}" for key, value in options.items() if value]
    job = slurm.query("sbatch", "--parsable", "--requeue", *given)[-1].split(";")[0]
    return f"the driver is Slurm job {job}; it writes {str(log).replace('%j', job)}"


def _detached(plan: Plan, command: list[str]) -> str:
    log = plan.folder / "driver.log"
    with log.open("ab") as out:
        driver = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True)
    return f"the driver is process {driver.pid} on this machine; it writes {log}"


def _remember(plan: Plan) -> None:
    """Note when the campaign was first submitted: since then its jobs are counted."""
    path = plan.folder / "submitted.json"
    if not path.exists():
        write_text(path, json.dumps({"first": time.time()}) + "\n")
