"""Rates and cost of each stage, the speed-up of each learned box, and the chains that lead to hits and objects."""

from dataclasses import dataclass

from gen2reco.run.stage_table import STAGES, chains_to
from gen2reco.validate.samples import Cost, Sample
from gen2reco.validate.verdict import Metric


@dataclass(frozen=True)
class CostRow:
    """One stage of one sample, with the speed-up against the reference where both have sidecars."""

    sample: str
    cost: Cost
    speed_up: float | None

    @property
    def rate(self) -> float:
        """Events per second, on a core or an accelerator, the start-up left out."""
        return 1 / self.cost.seconds_per_event if self.cost.seconds_per_event > 0 else float("nan")

    @property
    def evaluations_per_event(self) -> float:
        """Network evaluations per event."""
        return self.cost.network_evaluations / self.cost.events if self.cost.events else 0.0

    @property
    def hours_per_million(self) -> float:
        """Core hours (accelerator hours) for a million events, without the start-up of their jobs."""
        return self.cost.seconds_per_event * 1e6 / 3600


def cost_table(samples: list[Sample]) -> dict[str, list[CostRow]]:
    """Rows by stage."""
    table: dict[str, list[CostRow]] = {}
    for stage in STAGES:
        for sample in samples:
            if stage in sample.costs:
                speed_up = None if sample is samples[0] else _speed_up(samples[0], sample, stage)
                table.setdefault(stage, []).append(CostRow(sample.name, sample.costs[stage], speed_up))
    return table


def chain_seconds(sample: Sample, level: str) -> float | None:
    """Seconds per event from particles to the level, by the first chain of stages that a sample has all of; None where
    a sidecar is missing."""
    for chain in chains_to(level):
        if all(stage in sample.costs for stage in chain):
            return sum(sample.costs[stage].seconds_per_event for stage in chain)
    return None


def cost_metrics(samples: list[Sample]) -> list[Metric]:
    """Seconds per event, evaluations per event and speed-ups, as metrics without verdict."""
    metrics = []
    for stage, rows in cost_table(samples).items():
        for row in rows:
            cost = row.cost
            wanted: list[tuple[str, str, float, tuple[str, ...]]]
            wanted = [("seconds_per_event", "seconds per event", cost.seconds_per_event, (row.sample,))]
            if cost.startup_seconds is not None:
                wanted.append(("startup_seconds", "start-up of a job, s", cost.startup_per_shard, (row.sample,)))
            if cost.network_evaluations:
                evaluations = ("evaluations_per_event", "network evaluations per event", row.evaluations_per_event)
                wanted.append((*evaluations, (row.sample,)))
            if row.speed_up is not None:
                wanted.append(("speed_up", "speed-up", row.speed_up, (samples[0].name, row.sample)))
            nan = float("nan")
            metrics += [
                Metric(stage, f"cost/{name}", title, value, nan, nan, cost.events, of)
                for name, title, value, of in wanted
            ]
    return metrics


def _speed_up(reference: Sample, sample: Sample, stage: str) -> float | None:
    if stage in reference.costs:
        own = sample.costs[stage].seconds_per_event
        return reference.costs[stage].seconds_per_event / own if own > 0 else None
    if STAGES[stage].spans:
        chain, own = chain_seconds(reference, STAGES[stage].writes), sample.costs[stage].seconds_per_event
        return chain / own if chain and own > 0 else None
    return None
