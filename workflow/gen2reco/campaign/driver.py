"""What the driving Snakemake process does: make or extend the plan, and keep a second driver away."""

import fcntl
import subprocess
import sys
from pathlib import Path

from gen2reco.campaign.config import load_yaml
from gen2reco.campaign.paths import lock_file
from gen2reco.campaign.plan import Plan, ensure_plan, read_plan
from gen2reco.errors import InfrastructureError

_held: list = []


def plan_of(campaign_file: Path | str, driver: bool) -> Plan:
    """The plan of a campaign: the driver makes or extends it, its jobs read it."""
    if driver:
        return ensure_plan(campaign_file)
    return read_plan(lock_file(str(load_yaml(campaign_file).get("name"))))


def driver_lock(plan: Plan) -> None:
    """Hold the campaign until this process ends, however it ends. Raises InfrastructureError if another holds it."""
    file = (plan.folder / ".driver").open("w")
    try:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        raise InfrastructureError(f"{plan.folder}: another driver runs this campaign; wait for it or stop it") from None
    _held.append(file)


def run_snakemake(campaign_file: Path | str, arguments: list[str]) -> int:
    """Run Snakemake on a campaign with the repository's Snakefile; returns its exit code."""
    snakefile = Path(__file__).parents[3] / "Snakefile"
    command = [sys.executable, "-m", "snakemake", "--snakefile", str(snakefile), *arguments]
    return subprocess.call([*command, "--config", f"campaign={campaign_file}"])
