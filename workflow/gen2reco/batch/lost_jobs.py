"""Why shards are missing: the outcome of the last attempt, from its log, Slurm's log and the accounting."""

import re
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from pydantic import BaseModel, Field

from gen2reco.batch import slurm
from gen2reco.campaign.campaign import MAX_SHARDS
from gen2reco.campaign.model_receipts import read_trained
from gen2reco.campaign.plan import Plan
from gen2reco.config.block import load_json, parse_block
from gen2reco.errors import InputError
from gen2reco.run.sidecar import read_sidecar, sidecar_path
from gen2reco.run.stage_table import PUBLISH

SLURM_LOGS = Path(".snakemake/slurm_logs")
ALIVE = {"RUNNING", "PENDING", "REQUEUED", "SUSPENDED", "COMPLETING", "CONFIGURING", "RESIZING"}
STATES = {
    "OUT_OF_MEMORY": "out of memory",
    "TIMEOUT": "time limit",
    "DEADLINE": "time limit",
    "NODE_FAIL": "node lost",
    "BOOT_FAIL": "node lost",
    "PREEMPTED": "preempted",
    "CANCELLED": "cancelled",
}
SIGNS = {
    r"memory limit|oom[-_ ]kill|[Oo]ut [Oo]f [Mm]emory": "out of memory",
    r"DUE TO TIME LIMIT|stopped by SIGUSR1": "time limit",
    r"DUE TO NODE FAILURE": "node lost",
    r"DUE TO PREEMPTION": "preempted",
}
"""Patterns in the logs, used where the accounting gives no reason: a job killed for its memory often counts as
failed."""


class Submitted(BaseModel):
    """`submitted.json`: when the campaign was first submitted, seconds since 1970."""

    first: float = Field(ge=0, lt=1e11)


@dataclass(frozen=True)
class Attempt:
    """The last attempt at a job whose file is missing: of a shard, or of a step that has no shards."""

    sample: str
    stage: str
    shard: int | None
    reason: str
    log: Path

    def __str__(self) -> str:
        return f"{self.sample} {self.stage}{'' if self.shard is None else f' {self.shard:05d}'}: {self.reason}"

    def tail(self, lines: int = 5) -> list[str]:
        """The end of its log."""
        try:
            return self.log.read_text(errors="replace").rstrip().splitlines()[-lines:]
        except OSError:
            return []


def failed_attempts(plan: Plan, steps: Iterable[tuple[str, str]] = ()) -> list[Attempt]:
    """The shards that were tried and are missing, with the reason, and of the unfinished `steps`, (sample, name), those
    that were tried; what is running is left out."""
    tried = [(*job, path.read_text(errors="replace"), path) for job, path in _logs(plan, steps)]
    jobs = {text: found[-1] for *_, text, _ in tried if (found := re.findall(r"^Slurm job (\d+)", text, re.M))}
    known = slurm.states(sorted(set(jobs.values()))) if jobs and slurm.available() else {}
    attempts = []
    for sample, stage, shard, text, path in tried:
        job = jobs.get(text)
        state = known[job].state if job in known else ""
        if state not in ALIVE and (reason := _reason(text, job, state)):
            where = f" (Slurm job {job}{f' on {known[job].nodes}' if job in known else ''})" if job else ""
            attempts.append(Attempt(sample, stage, shard, reason + where, path))
    return attempts


def gpu_hours(plan: Plan) -> tuple[float, str]:
    """GPU hours spent on a campaign, and their source: Slurm's accounting, or else the sidecars of finished shards."""
    submitted = plan.folder / "submitted.json"
    if submitted.exists() and slurm.available():
        first = parse_block(load_json(submitted, 1000), Submitted, str(submitted)).first
        spent = slurm.gpu_hours(plan.lock["name"], first)
        if spent is not None:
            return spent, "Slurm's accounting, lost attempts included"
    return sum(_gpu_seconds(plan)) / 3600, "the finished shards"


def uses_gpu(plan: Plan) -> bool:
    """Whether any stage of a plan, or any training, runs on a GPU."""
    stages = (plan.choice(sample, stage) for sample in plan.samples for stage in plan.stages(sample))
    return any(entry["device"] == "cuda" for entry in (*stages, *plan.models.values()))


def _gpu_seconds(plan: Plan) -> list[float]:
    seconds = []
    for sample in plan.samples:
        for stage in plan.stages(sample):
            if plan.owner(sample, stage) != sample or plan.choice(sample, stage)["device"] != "cuda":
                continue
            files = [plan.file(sample, stage, shard) for shard in range(plan.shards(sample))]
            facts = [read_sidecar(file) for file in files if file.with_suffix(".json").is_file()]
            seconds += [fact["wall_seconds"] for fact in facts if fact.get("device") == "cuda"]
    for name in plan.models:
        with suppress(InputError):  # a damaged receipt, which the model's state tells
            if (one := read_trained(plan.folder, name)) and (one.model_extra or {}).get("device") == "cuda":
                seconds.append(one.wall_seconds)
    return seconds


def _logs(plan: Plan, steps: Iterable[tuple[str, str]]) -> list[tuple[tuple[str, str, int | None], Path]]:
    """((sample, stage, shard), its log) of each shard that has a log and neither file nor sidecar, and of each of the
    steps."""
    found: list[tuple[tuple[str, str, int | None], Path]] = []
    for sample in plan.samples:
        for stage in (*plan.stages(sample), PUBLISH):
            if stage != PUBLISH and plan.owner(sample, stage) != sample:
                continue
            for log in sorted((plan.folder / "logs" / stage).glob(f"{sample}-[0-9]*.log")):
                number = log.stem.rpartition("-")[2]
                shard = int(number) if number.isdecimal() and len(number) < 10 else MAX_SHARDS
                if shard < plan.shards(sample) and not _is_there(plan, sample, stage, shard):
                    found.append(((sample, stage, shard), log))
    for what, name in steps:
        rule = "validate" if name == "report" else name
        log = plan.folder / "logs" / ("track.log" if rule == "track" else f"{rule}/{what}.log")
        if log.is_file() and name != PUBLISH:
            found.append(((what, name, None), log))
    return found


def _is_there(plan: Plan, sample: str, stage: str, shard: int) -> bool:
    if stage == PUBLISH:
        return plan.ntuple(sample, shard).is_file()
    file = plan.file(sample, stage, shard)
    return file.is_file() or (sidecar_path(file).is_file() and not plan.keeps(sample, stage))


def _reason(log: str, job: str | None, state: str) -> str:
    """The reason in one line; empty where nothing went wrong yet."""
    if state in STATES:
        return STATES[state]
    texts = [log, *(file.read_text(errors="replace") for file in SLURM_LOGS.rglob(f"{job}.log"))] if job else [log]
    for pattern, reason in SIGNS.items():
        if any(re.search(pattern, text) for text in texts):
            return reason
    if errors := re.findall(r"^gen2reco: error: (.*)$", log, re.M):
        return errors[-1]
    if "Traceback (most recent call last)" in log:
        return log.strip().splitlines()[-1]
    return "killed" if state == "FAILED" else ""
