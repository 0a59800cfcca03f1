"""Summarise a plan: its samples, shards and jobs, and their cost by the last measured rates."""

from typing import TYPE_CHECKING

from gen2reco.campaign.model_receipts import read_trained
from gen2reco.campaign.plan import Plan
from gen2reco.campaign.rates import FALLBACK_SECONDS, bytes_per_event, job_seconds, seconds_per_event, unmeasured
from gen2reco.errors import InputError
from gen2reco.run.devices import idle_gpus
from gen2reco.run.stage_table import FIRST

if TYPE_CHECKING:
    from rich.table import Table


def estimate(plan: Plan) -> list[dict]:
    """For each sample: events, shards, minutes of a shard's longest job; CPU hours, GPU hours and GB of its own
    stages."""
    rows = []
    for sample, entry in plan.samples.items():
        stages = {stage: plan.choice(sample, stage) for stage in plan.stages(sample)}
        own = {stage: entry for stage, entry in stages.items() if plan.owner(sample, stage) == sample}
        seconds = seconds_per_event(stages)
        hours = {"cpu": 0.0, "cuda": 0.0}
        for stage, choice in own.items():
            hours[choice["device"]] += seconds[stage] * entry["events"] / 3600
        size = bytes_per_event(stages, {FIRST, *own}) * entry["events"] / 1e9
        rows.append(
            {
                "sample": sample,
                "events": entry["events"],
                "shards": plan.shards(sample),
                "shard_events": entry["shard_events"],
                "job_minutes": job_seconds(stages, own) * min(entry["shard_events"], entry["events"]) / 60
                if own
                else 0.0,
                "jobs": plan.shards(sample) * len(own),
                "cpu_hours": hours["cpu"],
                "gpu_hours": hours["cuda"],
                "gigabytes": size,
                "backends": " -> ".join(map(_backend, stages.values())),
                "unmeasured": unmeasured(stages),
            }
        )
    return rows


def _backend(choice: dict) -> str:
    times = choice.get("oversample", 1)
    return choice["backend"] + (f" ×{times}" if times > 1 else "")


def print_summary(plan: Plan) -> None:
    """Print the estimate as a table with totals, and name the stages whose rate was never measured."""
    from rich.console import Console
    from rich.table import Table

    rows = estimate(plan)
    table = Table("sample", "backends", title=f"{plan.lock['name']}, revision {plan.lock['revision']}")
    each = ("events", "shards", "shard_events", "job_minutes", "jobs", "cpu_hours", "gpu_hours", "gigabytes")
    for column in each:
        table.add_column(column.replace("_", " "), justify="right")
    for row in rows:
        table.add_row(row["sample"], row["backends"], *(_number(row[column]) for column in each))
    if len(rows) > 1:
        table.add_section()
        table.add_row("all", "", *(_total(rows, column) for column in each))
    Console(width=None if Console().is_terminal else 130).print(table)
    if plan.models:
        Console(width=None if Console().is_terminal else 130).print(_models(plan))
    choices = [(stage, plan.choice(sample, stage)) for sample in plan.samples for stage in plan.stages(sample)]
    if line := idle_gpus((stage, choice["backend"], choice["device"]) for stage, choice in choices):
        print(line)
    if guessed := sorted({stage for row in rows for stage in row["unmeasured"]}):
        print(
            f"never measured, taken as {FALLBACK_SECONDS:g} s an event: {', '.join(guessed)}; "
            f"`gen2reco calibrate-rates {plan.lock['campaign_file']}` measures"
        )


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
