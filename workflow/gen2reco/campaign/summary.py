"""Summarise a plan: its samples, shards and jobs, and their cost by the rates known best."""

from typing import TYPE_CHECKING

from gen2reco.campaign.made import REMOVED, Made
from gen2reco.campaign.model_receipts import read_trained
from gen2reco.campaign.plan import Plan
from gen2reco.campaign.rates import GUESS, MEASURED, SIMILAR, JobCost, job_cost, job_costs, longest_job
from gen2reco.errors import InputError
from gen2reco.run.devices import idle_gpus
from gen2reco.run.stage_table import PUBLISH

if TYPE_CHECKING:
    from rich.table import Table


def estimate(plan: Plan) -> list[dict]:
    """For each sample: events, shards, minutes of a shard's longest job; CPU hours, GPU hours and GB of its own stages
    and ntuples, start-up included; the most GB that are there at once where not all are kept; and whether the rate of
    each stage is `measured`, `similar` or a `guess`."""
    return [_estimate(plan, sample) for sample in plan.samples]


def _estimate(plan: Plan, sample: str) -> dict:
    entry, detector = plan.samples[sample], plan.detector.digest()
    events, shards = entry["events"], plan.shards(sample)
    stages = {stage: plan.choice(sample, stage) for stage in plan.stages(sample)}
    costs = job_costs(stages, detector)
    own = {stage: costs[stage] for stage in stages if plan.owner(sample, stage) == sample}
    devices = {stage: stages[stage]["device"] for stage in own}
    longest = longest_job(stages, costs, own) if own else JobCost(0.0, 0.0, 0.0, 0.0, MEASURED)
    jobs = shards * len(own)
    if plan.publishes(sample):
        own[PUBLISH], devices[PUBLISH] = job_cost(stages, PUBLISH, detector), "cpu"
    hours = {"cpu": 0.0, "cuda": 0.0}
    for stage, cost in own.items():
        hours[devices[stage]] += cost.seconds(events, shards) / 3600
    sizes = {stage: cost.size(events, shards) / 1e9 for stage, cost in own.items()}
    kept = {stage: size for stage, size in sizes.items() if plan.keeps(sample, stage)}
    return {
        "sample": sample,
        "events": events,
        "shards": shards,
        "shard_events": entry["shard_events"],
        "job_minutes": longest.seconds(min(entry["shard_events"], events)) / 60,
        "jobs": jobs,
        "cpu_hours": hours["cpu"],
        "gpu_hours": hours["cuda"],
        "gigabytes": sum(kept.values()),
        "gigabytes_made": sum(sizes.values()),
        "backends": " -> ".join(map(_backend, stages.values())),
        "basis": {stage: cost.basis for stage, cost in own.items()},
    }


def _backend(choice: dict) -> str:
    times = choice.get("oversample", 1)
    return choice["backend"] + (f" ×{times}" if times > 1 else "")


def print_summary(plan: Plan) -> None:
    """Print the estimate as a table with totals, what it is based on, and what was removed."""
    from rich.console import Console
    from rich.table import Table

    rows = estimate(plan)
    table = Table("sample", "backends", title=f"{plan.lock['name']}, revision {plan.lock['revision']}")
    each = ("events", "shards", "shard_events", "job_minutes", "jobs", "cpu_hours", "gpu_hours", "gigabytes")
    for column in each:
        table.add_column(column.replace("_", " "), justify="right")
    table.add_column("rates")
    for row in rows:
        table.add_row(row["sample"], row["backends"], *(_number(row[column]) for column in each), _basis(row["basis"]))
    if len(rows) > 1:
        table.add_section()
        table.add_row("all", "", *(_total(rows, column) for column in each), "")
    console = Console(width=None if Console().is_terminal else 150)
    console.print(table)
    if plan.models:
        console.print(_models(plan))
    for line in (*_remarks(plan, rows), *removed_lines(plan)):
        print(line)


def _basis(basis: dict[str, str]) -> str:
    """Which stages' rates are guesses, or were measured for something similar."""
    named = {kind: ", ".join(stage for stage, found in basis.items() if found == kind) for kind in (GUESS, SIMILAR)}
    return "; ".join(f"{kind}: {stages}" for kind, stages in named.items() if stages) or MEASURED


def _remarks(plan: Plan, rows: list[dict]) -> list[str]:
    choices = [(stage, plan.choice(sample, stage)) for sample in plan.samples for stage in plan.stages(sample)]
    idle = idle_gpus((stage, choice["backend"], choice["device"]) for stage, choice in choices)
    lines = [idle] if idle else []
    if (made := sum(row["gigabytes_made"] for row in rows)) > 1.001 * sum(row["gigabytes"] for row in rows):
        lines.append(f"made in all: {made:.3g} GB; what is not kept goes as soon as nothing needs it")
    kinds = {kind for row in rows for kind in row["basis"].values()}
    if GUESS in kinds:
        lines.append(
            "guess: constants that ship, which can be off by a factor of 50; a run of the campaign with fewer events "
            f"measures, or `gen2reco calibrate-rates {plan.lock['campaign_file']}`"
        )
    if SIMILAR in kinds:
        lines.append("similar: measured here for other options, another detector or process, or behind another stage")
    return lines


def removed_lines(plan: Plan) -> list[str]:
    """A line on each sample of which files were removed after use."""
    made, lines = Made(plan), []
    for sample, entry in plan.samples.items():
        if "keep" not in entry:
            continue
        counts = {
            stage: sum(shard.state == REMOVED for shard in made.shards(sample, stage))
            for stage in plan.stages(sample)
            if plan.owner(sample, stage) == sample and not plan.keeps(sample, stage)
        }
        if texts := [f"{stage} {count} of {plan.shards(sample)}" for stage, count in counts.items() if count]:
            lines.append(f"{sample}: made and removed: {', '.join(texts)} shards")
    return lines


def _models(plan: Plan) -> "Table":
    """A row per model that the campaign makes, with what its training cost when it last came to its end here."""
    from rich.table import Table

    table = Table("model", "training", "data", "held out", "device", "recipe", "cost", title="models")
    for name, entry in plan.models.items():
        row = (entry["train"], ", ".join(entry["data"]), ", ".join(entry["held_out"]) or "-", entry["device"])
        table.add_row(name, *row, entry["recipe_digest"][:12], _training_cost(plan, name))
    return table


def _training_cost(plan: Plan, name: str) -> str:
    """What a model's training took, where it is known."""
    try:
        receipt = read_trained(plan.folder, name)
    except InputError:
        return "unknown: its receipt is damaged"
    if receipt is None:
        return "unknown: never trained"
    took = f"{receipt.wall_seconds / 60:.3g} min, {receipt.cpu_seconds / 3600:.3g} CPU h"
    return took if receipt.planned == plan.models[name]["digest"] else f"unknown: trained anew, {took} before"


def _total(rows: list[dict], column: str) -> str:
    return "" if column in ("shard_events", "job_minutes") else _number(sum(row[column] for row in rows))


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.3g}"
