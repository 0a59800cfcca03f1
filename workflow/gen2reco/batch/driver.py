"""The driving Snakemake process: find the campaign, make or extend its plan, and hold the campaign while it runs."""

import difflib
import functools
import os
import shlex
import subprocess
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gen2reco.campaign.exclusive import hold_until_exit
from gen2reco.campaign.model_pins import restore_models
from gen2reco.campaign.plan import VARIABLE, Plan, check_release, ensure_plan, job_plan, lock_of, read_plan
from gen2reco.config.block import load_yaml
from gen2reco.errors import InfrastructureError, InputError, classified
from gen2reco.paths import LOCK_NAME, lock_file

if TYPE_CHECKING:
    from snakemake.settings.types import ConfigSettings
    from snakemake.workflow import Workflow

    from gen2reco.batch.request import Request

QUICKSTART = "configs/campaigns/quickstart.yaml"
CHANGES = ("execute", "delete_output", "unlock", "cleanup_metadata", "cleanup_shadow")
"""Methods of Snakemake's Workflow that start jobs, or remove or mark files."""


def campaign_of(given: "ConfigSettings") -> str:
    """The campaign file: that of `--config campaign=FILE`, or the one that a `--configfile` names or is; the quickstart
    where neither is given. Raises InputError for any other key in the configuration."""
    _refuse_unknown(given.config, "--config")
    found = _as_written(given) if "campaign" in given.config else []
    for file in given.configfiles:
        content = load_yaml(file)
        if "campaign" not in content:
            if "name" not in content:
                _refuse_unknown(content, str(file))
            found.append(os.path.relpath(file))
            continue
        _refuse_unknown(content, str(file))
        if "campaign" not in given.config:
            found.append(str(content["campaign"]))
    if len(found) > 1:
        raise InputError(f"--config and --configfile name several campaigns ({', '.join(found)}); give one")
    campaign = found[0] if found else QUICKSTART
    if "\\" in campaign or not campaign.isprintable():  # Snakemake does not hand it on to its jobs as it is
        raise InputError(f"{campaign!r}: a campaign's path with a backslash or a line break in it; rename the file")
    return campaign


def _refuse_unknown(config: Any, where: str) -> None:
    for key in config:
        if key != "campaign":
            misspelt = difflib.get_close_matches(str(key), ["campaign"], n=1)
            hint = "did you mean `campaign`?" if misspelt else "the only one is `campaign`; all else stands in its file"
            raise InputError(f"{where}: unknown key `{str(key)[:80]}`; {hint}")


def _as_written(given: "ConfigSettings") -> list[str]:
    """The campaign files as typed on the command line: Snakemake parses the words as YAML, where a `#` in a name starts
    a comment. Raises InputError where `campaign=` names no file."""
    entries = given.config_args if isinstance(given.config_args, list) else []
    written = [entry.removeprefix("campaign=") for entry in entries if entry.startswith("campaign=")]
    if given.config["campaign"] is None:
        raise InputError("--config: `campaign=` without a file; give campaign=FILE")
    if len(set(written)) > 1:
        return written
    return [written[-1] if written and Path(written[-1]).is_file() else str(given.config["campaign"])]


@contextmanager
def or_end() -> Iterator[None]:
    """Where the block fails, end Snakemake's process as every command of gen2reco ends: one line and an exit code."""
    try:
        yield
    except Exception as error:
        if (known := classified(error)) is None:
            raise
        print(f"gen2reco: error: {' '.join(str(known).split())}", file=sys.stderr)
        raise SystemExit(known.exit_code) from None


def plan_of(campaign_file: Path | str, driver: bool) -> Plan:
    """The plan of a campaign. The driver makes or extends it; its jobs only read it."""
    if driver:
        os.environ.pop(VARIABLE, None)
        plan = ensure_plan(campaign_file)
        restore_models(plan.lock)
        return plan
    return job_plan(lock_of(campaign_file))


def plan_of_workflow(workflow: "Workflow") -> Plan:
    """The plan for this Snakemake process: that of its driver for a job, even if the campaign file changed
    meanwhile."""
    name = os.environ.get(VARIABLE, "").partition(":")[0]
    if name and not workflow.is_main_process:
        return job_plan(lock_file(name))
    return plan_of(campaign_of(workflow.config_settings), workflow.is_main_process)


def guard(workflow: "Workflow", plan: Plan) -> None:
    """Make Snakemake hold the campaign, until the process ends, before it changes anything; dry runs and lists do not.

    Where another process holds the campaign, or planned it anew meanwhile, this one ends with one line.
    """
    for name in CHANGES:
        setattr(workflow, name, _holding(getattr(workflow, name), plan))


def _holding(change: Callable, plan: Plan) -> Callable:
    @functools.wraps(change)
    def held(*arguments: Any, **named: Any) -> Any:
        executor = named.get("executor_plugin")
        if not (named.get("dryrun") or (executor and executor.common_settings.dryrun_exec)):
            with or_end():
                _take(plan)
        return change(*arguments, **named)

    return held


def _take(plan: Plan) -> None:
    hold_until_exit(plan.folder)
    if read_plan(plan.folder / LOCK_NAME) != plan:
        raise InfrastructureError(f"{plan.folder}: was planned anew just now; start again")
    check_release(plan)
    os.environ[VARIABLE] = f"{plan.lock['name']}:{plan.lock['digest']}"


def start_driver(plan: Plan, workflow: "Workflow") -> None:
    """Before the first job on Slurm, check that the cluster can run the jobs, and cancel those that an earlier driver
    left in the queue. Raises InputError, InfrastructureError."""
    if type(workflow.executor_settings).__module__ != "snakemake_executor_plugin_slurm":
        return
    from gen2reco.batch import slurm
    from gen2reco.batch.offer import problems

    if workflow.resource_settings.cores not in (None, sys.maxsize):
        raise InputError(
            "`--cores` limits Slurm jobs to so many cores at once; leave it out, `--jobs` limits the jobs in the queue"
        )
    if found := problems(_requests(workflow)):
        raise InputError("; ".join(found))
    if orphans := slurm.shard_jobs(plan.lock["name"]):
        print(f"cancelling {len(orphans)} jobs of an earlier driver", file=sys.stderr, flush=True)
        slurm.cancel(orphans)
        os.execv(sys.executable, [sys.executable, *sys.orig_argv[1:]])  # they may have made files meanwhile


def end_driver(plan: Plan, failed: bool = False) -> None:
    """Remove what is not kept and no job needs any more; where the run `failed` or was stopped by Ctrl-C, say what is
    kept and how to go on."""
    from gen2reco.batch.clean import freed, remove, waste
    from gen2reco.batch.status import notices, whether
    from gen2reco.batch.steps import all_steps
    from gen2reco.campaign.made import Made

    found = waste(plan, partial=False)
    lines = [f"{plan.folder}: {freed(found):,} bytes that no sample keeps were removed"] if found else []
    remove(found)
    made = Made(plan)
    lines += notices(plan, made)
    if failed:
        chunks = sum(1 for _ in plan.folder.glob("*/*/.partial/*/[0-9]*.parquet"))
        again = shlex.join(["snakemake", *sys.argv[1:]])
        lines += [*whether(plan, all_steps(plan, made))[:1], _kept(plan, chunks), f"go on with: {again}"]
    print(*lines, sep="\n", end="\n" if lines else "", file=sys.stderr, flush=True)


def _kept(plan: Plan, chunks: int) -> str:
    files = sum(1 for _ in plan.folder.glob("*/*/[0-9]*.json"))
    at_work = f", and {chunks} finished chunks of jobs at work" if chunks else ""
    return f"kept in {plan.folder}: all {files} finished shards{at_work}; started again, it goes on there"


def _requests(workflow: "Workflow") -> list["Request"]:
    """The requests of the jobs that are to run, one of each kind; the rules of a group are one job."""
    from gen2reco.batch.profile import job_name
    from gen2reco.batch.request import Request

    kinds: dict[str, Any] = {}
    visited = set()
    for job in workflow.dag.needrun_jobs():
        whole = workflow.dag.get_job_group(job) or job
        if workflow.is_local(job.rule) or id(whole) in visited:
            continue
        visited.add(id(whole))
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
