"""What the driving Snakemake process does: make or extend the plan, and keep a second driver away."""

import fcntl
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import TYPE_CHECKING

from gen2reco.campaign.config import load_yaml
from gen2reco.campaign.paths import lock_file
from gen2reco.campaign.pinned import restore_models
from gen2reco.campaign.plan import Plan, ensure_plan, read_plan
from gen2reco.errors import InfrastructureError, InputError

if TYPE_CHECKING:
    from snakemake.workflow import Workflow

    from gen2reco.campaign.profile import Request

_held: list = []


def plan_of(campaign_file: Path | str, driver: bool) -> Plan:
    """The plan of a campaign: the driver makes or extends it, its jobs read it."""
    if driver:
        plan = ensure_plan(campaign_file)
        restore_models(plan.lock)
        return plan
    return read_plan(lock_file(str(load_yaml(campaign_file).get("name"))))


def driver_lock(plan: Plan) -> None:
    """Hold the campaign until this process ends, however it ends. Raises InfrastructureError if another holds it."""
    file = (plan.folder / ".driver").open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise InfrastructureError(f"{plan.folder}: another driver runs this campaign; wait for it or stop it") from None
    _held.append(file)


def held(plan: Plan) -> bool:
    """Whether a driver holds the campaign."""
    try:
        with (plan.folder / ".driver").open("r+") as file:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except FileNotFoundError:
        return False
    except OSError:
        return True
    return False


def start_driver(plan: Plan, workflow: "Workflow") -> None:
    """What the driver does before its first job: hold the campaign and, on Slurm, see that the cluster has what the
    jobs ask for, and cancel those that an earlier driver left behind. Raises InputError, InfrastructureError."""
    driver_lock(plan)
    if type(workflow.executor_settings).__module__ != "snakemake_executor_plugin_slurm":
        return
    from gen2reco.campaign import slurm
    from gen2reco.campaign.profile import problems

    if workflow.resource_settings.cores not in (None, sys.maxsize):
        raise InputError(
            "`--cores` limits Slurm jobs to so many cores at once; leave it out, `--jobs` limits the jobs in the queue"
        )
    if found := problems(_requests(workflow)):
        raise InputError("; ".join(found))
    if orphans := slurm.shard_jobs(plan.lock["name"]):
        print(f"cancelling {len(orphans)} jobs of an earlier driver", file=sys.stderr, flush=True)
        slurm.cancel(orphans)
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # they may have changed what is there


def _requests(workflow: "Workflow") -> list["Request"]:
    """What the jobs that are to run ask for, groups as one job; of like jobs the first."""
    from gen2reco.campaign.profile import Request, job_name

    kinds, seen = {}, set()
    for job in workflow.dag.needrun_jobs():
        whole = workflow.dag.get_job_group(job) or job
        if workflow.is_local(job.rule) or id(whole) in seen:
            continue
        seen.add(id(whole))
        rules = Counter(one.rule.name for level in whole.toposorted for one in level) if whole.is_group() else {}
        rules = rules or {job.rule.name: 1}
        kinds.setdefault(job_name(list(rules), max(rules.values())), whole)
    return [Request.of(name, job.resources) for name, job in kinds.items()]


def snakemake_command(campaign_file: Path | str, arguments: list[str]) -> list[str]:
    """The command that runs Snakemake on a campaign with the repository's Snakefile."""
    snakefile = Path(__file__).parents[3] / "Snakefile"
    command = [sys.executable, "-m", "snakemake", "--config", f"campaign={campaign_file}"]
    return [*command, "--snakefile", str(snakefile), *arguments]


def run_snakemake(campaign_file: Path | str, arguments: list[str]) -> int:
    """Run Snakemake on a campaign with the repository's Snakefile; returns its exit code."""
    return subprocess.call(snakemake_command(campaign_file, arguments))
