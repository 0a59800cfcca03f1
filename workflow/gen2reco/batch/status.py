"""The state of a campaign from its files, and the checks of its samples."""

import shutil
import time
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from gen2reco.batch import slurm
from gen2reco.batch.model_status import failed_models, made_by_others, model_state
from gen2reco.batch.steps import STATES, Step, all_steps, complete
from gen2reco.campaign.exclusive import HOLD_FILE, last_holder
from gen2reco.campaign.made import REMOVED, Made
from gen2reco.campaign.plan import Plan, changed_files, check_file
from gen2reco.campaign.summary import removed_lines
from gen2reco.errors import Gen2recoError, InfrastructureError, InputError
from gen2reco.files import file_digest
from gen2reco.run.sidecar import check_rows, failure, read_sidecar, sidecar_path
from gen2reco.run.stage_table import FIRST

if TYPE_CHECKING:
    from rich.table import Table

NOT_COMPLETE = 3
"""Exit code of `gen2reco status` and `watch` for a campaign that is not complete."""


def print_status(plan: Plan) -> bool:
    """Print a table with a row per step, and below it the failed and lost jobs, the driver, and whether the campaign is
    complete; returns the latter."""
    from rich.console import Console

    made = Made(plan)
    steps = all_steps(plan, made)
    console = Console(width=None if Console().is_terminal else 130)
    console.print(_table(plan, steps))
    if plan.models:
        console.print(_models_table(plan))
    done = complete(steps)
    notes = [_failed_note(plan.file(step.what, step.name, n)) for step in steps for n in step.failed]
    notes += [*made_by_others(plan), *_cluster_notes(plan, steps), *notices(plan, made), *whether(plan, steps)]
    for note in notes:
        print(note)
    return done


def _table(plan: Plan, steps: list[Step]) -> "Table":
    """A row per step: its jobs by state, rate, and when it is expected to end."""
    from rich.table import Table

    table = Table("sample", "step", title=f"{plan.lock['name']}, revision {plan.lock['revision']}")
    seen = [state for state in STATES if state not in (REMOVED, "stale") or any(step.states[state] for step in steps)]
    for column in (*seen, "events/s", "expected end"):
        table.add_column(column, justify="right")
    for step in steps:
        counts = [str(step.states[state]) for state in seen]
        table.add_row(step.what, step.name, *counts, _figure(step.rate), _clock(step.seconds_left))
    return table


def notices(plan: Plan, made: Made) -> list[str]:
    """Lines on files that the plan no longer fits, and on what was removed or taken from other campaigns."""
    lines = []
    if changed := changed_files(plan):
        lines.append(
            f"stale plan: {', '.join(changed[:5])} changed since it was made; the next run plans anew, or says what "
            "needs `gen2reco plan CAMPAIGN --new-revision`"
        )
    return [*lines, *removed_lines(plan), *taken_lines(plan, made)]


def taken_lines(plan: Plan, made: Made) -> list[str]:
    """A line on each stage with shards that were taken from another campaign."""
    lines = []
    for sample in plan.samples:
        for stage in plan.stages(sample):
            if plan.owner(sample, stage) != sample:
                continue
            sources = [s.facts["taken_from"] for s in made.shards(sample, stage) if s.made and "taken_from" in s.facts]
            if sources:
                names = ", ".join(sorted({Path(str(source)).parts[-4] for source in sources}))
                lines.append(f"taken: {sample} {stage}: {len(sources)} shards, made already in {names}")
    return lines


def whether(plan: Plan, steps: list[Step]) -> list[str]:
    """Whether a campaign is complete, and whether its driver is alive."""
    left = sum(step.total - step.finished for step in steps)
    if not left:
        return ["complete: yes"]
    return [f"complete: no, {left} of {sum(step.total for step in steps)} jobs are left", driver_line(plan)]


def driver_line(plan: Plan) -> str:
    """Whether the driver of a campaign is alive, and how to go on where it is not."""
    holder, alive = last_holder(plan.folder)
    if alive:
        return "alive: {what}, process {process} on {host} since {since}".format(**holder)
    if slurm.available():
        with suppress(InfrastructureError):
            if queued := slurm.driver_jobs(plan.lock["name"]):
                return f"the driver is queued as Slurm job {queued[0]}"
    file = plan.lock["campaign_file"]
    again = f"start it again: snakemake --cores all --config campaign={file}, or `gen2reco submit`"
    if holder:
        killed = "(process {process} on {host} was killed)".format(**holder)
        return f"driver not alive since {_when(_last_sign(plan))} {killed}; {again}"
    ended = plan.folder / HOLD_FILE
    return f"no driver since {_when(ended.stat().st_mtime)}; {again}" if ended.is_file() else f"no driver yet; {again}"


def _last_sign(plan: Plan) -> float:
    """When a campaign's files last changed, by its folders."""
    folders = [plan.folder / HOLD_FILE, *(plan.folder / "logs").glob("*/")]
    folders += [plan.file(sample, stage, 0).parent for sample in plan.samples for stage in plan.stages(sample)]
    return max(folder.stat().st_mtime for folder in folders if folder.exists())


def _when(seconds: float) -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(seconds))


def _models_table(plan: Plan) -> "Table":
    """A row per model that the campaign makes: how far it is, its digest, its cost, and why it failed."""
    from rich.markup import escape
    from rich.table import Table

    table = Table("model", "training", "state", "digest", "minutes", "note", title="models")
    for name, entry in plan.models.items():
        found = model_state(plan, name)
        digest = found.trained.model_digest[:12] if found.trained else ""
        minutes = _figure(found.trained.wall_seconds / 60) if found.trained else ""
        table.add_row(name, entry["train"], found.state, digest, minutes, escape(found.note))
    return table


def _failed_note(file: Path) -> str:
    facts = read_sidecar(file)
    return f"failed: {file} ({failure(facts)})"


def _cluster_notes(plan: Plan, steps: list[Step]) -> list[str]:
    """Lines on jobs whose last attempt was lost, with the reason, and on the GPU hours spent."""
    from gen2reco.batch.lost_jobs import failed_attempts, gpu_hours, uses_gpu

    notes = [f"lost: {attempt}" for attempt in failed_attempts(plan, unfinished(steps))]
    if uses_gpu(plan):
        hours, source = gpu_hours(plan)
        notes.append(f"GPU hours spent: {hours:.3g} (by {source})")
    return notes


def unfinished(steps: list[Step]) -> list[tuple[str, str]]:
    """(sample, name) of the steps of one job that are not complete, those of models left out."""
    return [(s.what, s.name) for s in steps if s.name in ("verify", "report", "track") and not s.complete]


def failed_files(plan: Plan) -> tuple[list[str], list[str]]:
    """Files to make again, because they failed or belong to another configuration, and the last files of their
    shards; receipts, of models."""
    remake: dict[str, None] = {}
    targets = []
    for sample in plan.samples:
        for shard in range(plan.shards(sample)):
            files = {stage: plan.file(sample, stage, shard) for stage in plan.stages(sample)}
            bad = next((file for stage, file in files.items() if _to_be_remade(plan, sample, stage, shard)), None)
            if bad is not None:
                remake[str(bad)] = None
                targets.append(str(plan.file(sample, plan.stages(sample)[-1], shard)))
    receipts, last = failed_models(plan)
    return [*remake, *map(str, receipts)], [*targets, *map(str, last)]


def _to_be_remade(plan: Plan, sample: str, stage: str, shard: int) -> bool:
    file = plan.file(sample, stage, shard)
    if not (file.is_file() and sidecar_path(file).is_file()):
        return False
    try:
        return check_file(plan, sample, stage, shard).get("status") == "failed"
    except InputError:
        return True


def verify_sample(plan: Plan, sample: str) -> dict:
    """Check every shard of a sample against its sidecar and the plan. Raises Gen2recoError naming the first damaged
    shard, or the sample if more of its shards failed than the campaign tolerates."""
    if sample not in plan.samples:
        raise InputError(f"{plan.folder}: no sample `{sample[:80]}`; known: {', '.join(list(plan.samples)[:10])}")
    failed, shards, removed = set(), plan.shards(sample), 0
    given: dict[int, int] = {}
    for stage in plan.stages(sample):
        for shard in range(shards):
            file = plan.file(sample, stage, shard)
            facts = check_file(plan, sample, stage, shard)
            if stage == FIRST and facts["events_in"] != len(plan.events(sample, shard)):
                raise InputError(
                    f"{file}: of {facts['events_in']} events, planned are {len(plan.events(sample, shard))}"
                )
            drawn, wanted = facts.get("oversample", 1), plan.choice(sample, stage).get("oversample", 1)
            if drawn != wanted:
                raise InputError(f"{file}: each event drawn {drawn} times, planned are {wanted}; run the stage again")
            if stage != FIRST and facts["events_in"] != wanted * given[shard]:
                raise InputError(
                    f"{file}: of {facts['events_in']} events, its input holds {given[shard]}"
                    f"{f', each drawn {wanted} times' if wanted > 1 else ''}; run the stage again"
                )
            given[shard] = facts["events_out"]
            if facts.get("status") != "ok":
                failed.add(shard)
            if not file.is_file() and not plan.keeps(sample, stage):
                removed += 1
                continue
            if not file.is_file() or file_digest(file) != facts.get("sha256"):
                raise Gen2recoError(f"{file}: its bytes are not those its sidecar tells; delete it and run again")
            check_rows(file, facts)
    allowed = plan.lock["failed_shards"]
    if len(failed) > allowed * shards:
        raise Gen2recoError(
            f"sample `{sample}`: {len(failed)} of {shards} shards failed, tolerated are {allowed:.0%}; "
            f"first: shard {min(failed)}; `gen2reco recover` reissues them"
        )
    found = {"sample": sample, "shards": shards, "failed": len(failed), "failed_shards": sorted(failed)}
    return {**found, "removed_files": removed} if removed else found


def _figure(value: float | None) -> str:
    return "" if value is None else f"{value:.3g}"


def _clock(seconds: float | None) -> str:
    if not seconds:
        return ""
    return time.strftime("%Y-%m-%d %H:%M", time.localtime(time.time() + seconds))


def forget(plan: Plan, sample: str) -> None:
    """Remove the second names of finished files (run/finished.py) of a sample that is verified."""
    for stage in plan.stages(sample):
        with suppress(OSError):
            shutil.rmtree(plan.file(sample, stage, 0).parent / ".partial")
