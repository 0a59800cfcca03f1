"""The state of a campaign from its files: done, running, failed and waiting shards."""

import os
import shutil
import time
from collections import Counter
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from gen2reco.batch.model_status import RUNNING_SECONDS, failed_models, made_by_others, model_state
from gen2reco.campaign.plan import Plan, check_file
from gen2reco.errors import Gen2recoError, InputError
from gen2reco.files import file_digest
from gen2reco.run.sidecar import check_rows, failure, read_sidecar, sidecar_path
from gen2reco.run.stage_table import FIRST

if TYPE_CHECKING:
    from rich.table import Table


def shard_state(file: Path, running: set[str]) -> str:
    """The state of a shard: `done`, `failed`, `running` (listed in `running`, the outputs with recent chunks) or
    `waiting`."""
    if sidecar_path(file).is_file() and file.is_file():
        return "failed" if read_sidecar(file).get("status") == "failed" else "done"
    return "running" if file.name in running else "waiting"


def stage_states(plan: Plan, sample: str, stage: str) -> dict:
    """Shards of one stage of a sample by state, the failed ones, the rate in events/s and the seconds left."""
    folder = plan.file(sample, stage, 0).parent
    running = _running(folder)
    states, failed, facts = Counter[str](), [], []
    for shard in range(plan.shards(sample)):
        file = plan.file(sample, stage, shard)
        state = shard_state(file, running)
        states[state] += 1
        if state == "failed":
            failed.append(shard)
        if state == "done":
            facts.append(read_sidecar(file))
    rate, left = _rate_and_end(facts, states)
    return {**states, "failed_shards": failed, "events_per_second": rate, "seconds_left": left}


def print_status(plan: Plan) -> None:
    """Print a table with a row per sample and stage, and below it the failed and lost shards."""
    from rich.console import Console
    from rich.table import Table

    table = Table("sample", "stage", title=f"{plan.lock['name']}, revision {plan.lock['revision']}")
    for column in ("done", "running", "failed", "waiting", "events/s", "expected end"):
        table.add_column(column, justify="right")
    notes = []
    for sample in plan.samples:
        for stage in plan.stages(sample):
            if plan.owner(sample, stage) != sample:
                continue
            row = stage_states(plan, sample, stage)
            counts = [str(row.get(state, 0)) for state in ("done", "running", "failed", "waiting")]
            table.add_row(sample, stage, *counts, _figure(row["events_per_second"]), _clock(row["seconds_left"]))
            notes += [_failed_note(plan.file(sample, stage, shard)) for shard in row["failed_shards"]]
    Console(width=None if Console().is_terminal else 130).print(table)
    if plan.models:
        Console(width=None if Console().is_terminal else 130).print(_models_table(plan))
    for note in [*notes, *made_by_others(plan), *_cluster_notes(plan)]:
        print(note)


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


def _cluster_notes(plan: Plan) -> list[str]:
    """Lines on shards whose last attempt was lost, with the reason, and on the GPU hours spent."""
    from gen2reco.batch.lost_jobs import failed_attempts, gpu_hours, uses_gpu

    notes = [f"lost: {attempt}" for attempt in failed_attempts(plan)]
    if uses_gpu(plan):
        hours, source = gpu_hours(plan)
        notes.append(f"GPU hours spent: {hours:.3g} (by {source})")
    return notes


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
    failed, shards = set(), plan.shards(sample)
    given: dict[int, int] = {}
    for stage in plan.stages(sample):
        for shard in range(shards):
            file = plan.file(sample, stage, shard)
            facts = check_file(plan, sample, stage, shard)
            if not file.is_file() or file_digest(file) != facts.get("sha256"):
                raise Gen2recoError(f"{file}: its bytes are not those its sidecar tells; delete it and run again")
            check_rows(file, facts)
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
    allowed = plan.lock["failed_shards"]
    if len(failed) > allowed * shards:
        raise Gen2recoError(
            f"sample `{sample}`: {len(failed)} of {shards} shards failed, tolerated are {allowed:.0%}; "
            f"first: shard {min(failed)}; `gen2reco recover` reissues them"
        )
    return {"sample": sample, "shards": shards, "failed": len(failed), "failed_shards": sorted(failed)}


def _running(folder: Path) -> set[str]:
    """Names of outputs whose unfinished chunks were written in the last RUNNING_SECONDS."""
    try:
        entries = list(os.scandir(folder / ".partial"))
    except OSError:
        return set()
    recent = time.time() - RUNNING_SECONDS
    return {entry.name.rpartition("-")[0] for entry in entries if entry.stat().st_mtime > recent}


def _rate_and_end(facts: list[dict], states: Counter) -> tuple[float | None, float | None]:
    seconds, events = sum(f["wall_seconds"] for f in facts), sum(f["events_in"] for f in facts)
    if not facts or not seconds:
        return None, None
    left = states["running"] + states["waiting"]
    at_once = max(states["running"], 1)
    return events / seconds, left * seconds / len(facts) / at_once


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
