"""What a plan will make and what it will cost, from the last measured rates."""

from gen2reco.campaign.plan import Plan
from gen2reco.campaign.rates import bytes_per_event, seconds_per_event


def estimate(plan: Plan) -> list[dict]:
    """Per sample: shards, events, CPU hours, GPU hours and GB of the stages it makes itself."""
    rows = []
    for sample, entry in plan.samples.items():
        stages = {stage: plan.choice(sample, stage) for stage in plan.stages(sample)}
        own = {stage: entry for stage, entry in stages.items() if plan.owner(sample, stage) == sample}
        seconds = seconds_per_event(stages)
        hours = {"cpu": 0.0, "cuda": 0.0}
        for stage, choice in own.items():
            hours[choice["device"]] += seconds[stage] * entry["events"] / 3600
        size = bytes_per_event({"generate": stages["generate"], **own}) * entry["events"] / 1e9
        rows.append(
            {
                "sample": sample,
                "events": entry["events"],
                "shards": plan.shards(sample),
                "jobs": plan.shards(sample) * len(own),
                "cpu_hours": hours["cpu"],
                "gpu_hours": hours["cuda"],
                "gigabytes": size,
                "road": " -> ".join(choice["backend"] for choice in stages.values()),
            }
        )
    return rows


def print_summary(plan: Plan) -> None:
    """Print the estimate as a table, with totals."""
    from rich.console import Console
    from rich.table import Table

    rows = estimate(plan)
    table = Table("sample", "backends", title=f"{plan.lock['name']}, revision {plan.lock['revision']}")
    numbers = ("events", "shards", "jobs", "cpu_hours", "gpu_hours", "gigabytes")
    for column in numbers:
        table.add_column(column.replace("_", " "), justify="right")
    for row in rows:
        table.add_row(row["sample"], row["road"], *(_number(row[column]) for column in numbers))
    if len(rows) > 1:
        table.add_section()
        table.add_row("all", "", *(_number(sum(row[column] for row in rows)) for column in numbers))
    Console(width=None if Console().is_terminal else 130).print(table)


def _number(value: float) -> str:
    return f"{value:,}" if isinstance(value, int) else f"{value:.3g}"
