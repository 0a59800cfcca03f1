"""Start the driver of a campaign: as a Slurm job, detached on this machine, or in the foreground."""

import json
import os
import shlex
import signal
import subprocess
import sys
import time
from collections.abc import Iterable, Sequence
from pathlib import Path
from types import FrameType

from gen2reco.batch import slurm
from gen2reco.batch.driver import snakemake_command
from gen2reco.batch.offer import Cluster, problems, remarks
from gen2reco.batch.profile import Profile, load_profile, not_visible, requests
from gen2reco.campaign.exclusive import hold
from gen2reco.campaign.plan import Plan, ensure_plan, lock_of
from gen2reco.errors import InfrastructureError, InputError
from gen2reco.files import write_text
from gen2reco.run.stage_table import rule_name

DRIVER_MINUTES, DRIVER_MEMORY_MB = 24 * 60, 4000
WARNING_SECONDS = 120
"""How long ahead of its time limit a driver that is a Slurm job hands over to its next run."""


def model_rules(devices: Iterable[str]) -> list[str]:
    """The rules that train models on these devices, and judge them."""
    rules = dict.fromkeys(rule_name("train", device) for device in devices)
    return [*rules, *(["judge"] if rules else [])]


def check_cluster(
    profile: Profile,
    chains: Iterable[Sequence[tuple[str, str]]],
    folder: Path | None = None,
    rules: Iterable[str] = (),
) -> None:
    """Check that the cluster can run samples with these chains of (stage, device), and jobs of these rules, under the
    profile, and that its nodes have access to the results folder.

    Prints a line for what cannot be checked and for what will wait for nodes. Raises InputError, one line, with all
    that the cluster cannot satisfy.
    """
    if not profile.on_slurm:
        return
    wanted = requests(profile, chains, rules)
    cluster = Cluster.here()
    for line in remarks(wanted, cluster):
        print(f"{profile.path}: {line}", file=sys.stderr)
    found = problems(wanted, cluster) or (not_visible(folder, wanted) if folder else [])
    if found:
        raise InputError(f"{profile.path}: " + "; ".join(found))


def submit(campaign_file: Path, profile_name: str, where: str, arguments: list[str]) -> str:
    """Plan and check a campaign, then start its driver; returns a line that says where it runs.

    Raises InputError for what the cluster cannot run, InfrastructureError where a driver is queued or running.
    """
    profile = load_profile(profile_name)
    with hold(lock_of(campaign_file).parent, "`gen2reco submit`"):
        plan = ensure_plan(campaign_file)
        if where == "job" and (queued := slurm.driver_jobs(plan.lock["name"])):
            raise InfrastructureError(
                f"{plan.folder}: its driver is queued as Slurm job {queued[0]}; wait, or scancel it"
            )
        chains = [[(s, plan.choice(sample, s)["device"]) for s in plan.stages(sample)] for sample in plan.samples]
        check_cluster(profile, chains, plan.folder, model_rules(model["device"] for model in plan.models.values()))
        _remember(plan)
        again = ["gen2reco", "submit", str(campaign_file), "--profile", profile_name, "--driver", "here", "--"]
        command = [sys.executable, "-m", "gen2reco.cli", *again[1:], *arguments]
        return _as_job(plan, profile, command) if where == "job" else _detached(plan, command)


def drive(campaign_file: Path, profile_name: str, arguments: list[str]) -> int:
    """Run the driver in the foreground; returns its exit code. A driver that is a Slurm job requeues itself ahead of
    its time limit."""
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


def measure_there(campaign_file: Path, profile_name: str, seconds: float) -> str:
    """Measure a campaign's rates in a job of the cluster; returns the job's output. Raises InfrastructureError."""
    from gen2reco.campaign.campaign import load_campaign

    profile = load_profile(profile_name)
    _, _, chains = load_campaign(campaign_file)
    on_gpu = sorted(s for chain in chains.values() for s, choice in chain.items() if choice.device == "cuda")
    resources = profile.resources(rule_name(on_gpu[0], "cuda") if on_gpu else "simulate")
    command = [sys.executable, "-m", "gen2reco.cli", "calibrate-rates", str(campaign_file), "--seconds", str(seconds)]
    log = Path(f".gen2reco-rates-{os.getpid()}.log")
    options = {
        "job-name": "g2r-rates",
        "output": str(log),
        **_sbatch_options(resources),
        "wrap": f"exec {shlex.join(command)}",
    }
    try:
        slurm.query("sbatch", "--wait", *_flags(options), seconds=None)
        return log.read_text()
    except InfrastructureError as error:
        said = log.read_text().strip().splitlines() if log.exists() else []
        raise InfrastructureError(f"the measuring job failed: {said[-1] if said else error}") from None
    finally:
        log.unlink(missing_ok=True)


def _as_job(plan: Plan, profile: Profile, command: list[str]) -> str:
    resources = profile.resources("driver")
    log = plan.folder / "driver-%j.log"
    if "driver" not in profile.set_resources:
        resources |= {"runtime": DRIVER_MINUTES, "mem_mb": DRIVER_MEMORY_MB}
    options = {
        "job-name": f"{slurm.job_prefix(plan.lock['name'])}-driver",
        "output": str(log),
        "open-mode": "append",
        **_sbatch_options(resources),
        "signal": f"B:USR1@{WARNING_SECONDS}",
        "wrap": f"exec {shlex.join(command)}",
    }
    job = slurm.query("sbatch", "--parsable", "--requeue", *_flags(options))[-1].split(";")[0]
    return f"the driver is Slurm job {job}; it writes {str(log).replace('%j', job)}"


def _sbatch_options(resources: dict) -> dict:
    """The options of sbatch for a rule's resources."""
    return {
        "partition": resources.get("slurm_partition"),
        "account": resources.get("slurm_account"),
        "qos": resources.get("qos"),
        "constraint": resources.get("constraint"),
        "time": resources.get("runtime"),
        "mem": f"{resources['mem_mb']}M" if "mem_mb" in resources else None,
        "cpus-per-task": resources["threads"],
        "gres": resources.get("gres"),
        "gpus": ":".join(str(part) for part in (resources.get("gpu_model"), resources.get("gpu")) if part),
    }


def _flags(options: dict) -> list[str]:
    return [f"--{key}={value}" for key, value in options.items() if value]


def _detached(plan: Plan, command: list[str]) -> str:
    log = plan.folder / "driver.log"
    with log.open("ab") as out:
        driver = subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=out, stderr=out, start_new_session=True)
    return f"the driver is process {driver.pid} on this machine; it writes {log}"


def _remember(plan: Plan) -> None:
    """Record when the campaign was first submitted; its jobs are counted from then on."""
    path = plan.folder / "submitted.json"
    if not path.exists():
        with hold(plan.folder, "`gen2reco submit`"):
            write_text(path, json.dumps({"first": time.time()}) + "\n")
