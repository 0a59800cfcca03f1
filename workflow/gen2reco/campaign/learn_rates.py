"""Learn rates from what a campaign has made: sidecars, sizes of files, and Snakemake's own measurements of jobs."""

import csv
import json
import statistics
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from gen2reco.campaign.made import Made
from gen2reco.campaign.plan import Plan
from gen2reco.campaign.rates import START_SECONDS, known_rates, merged, rate_keys, rates_file, site_rates
from gen2reco.files import write_text
from gen2reco.paths import benchmark_file, make_folder
from gen2reco.run.stage_table import PUBLISH

MAX_FILES = 50
"""So many ntuples of a sample are opened, to tell what a file costs from what its events take."""
SIDECAR_BYTES = 4096
"""A sidecar on disk."""


def learn(plan: Plan, sample: str) -> dict[str, dict]:
    """Learn the rates of the stages that a sample makes itself, and keep them for later plans; returns them by key.

    Shards that were resumed after a kill (whose time is that of the last attempt) and those taken from another campaign
    are left out.
    """
    made, found = Made(plan), {}
    stages = {stage: plan.choice(sample, stage) for stage in plan.stages(sample)}
    detector = plan.detector.digest()
    for stage in stages:
        if plan.owner(sample, stage) == sample and (rate := _of_stage(plan, made, sample, stage)):
            found[rate_keys(stages, stage, detector)[0]] = rate
    if found:
        keep(found)
    return found


def learn_ntuples(plan: Plan) -> dict[str, dict]:
    """The same of all ntuples of a campaign, which need not be there yet when their sample is verified."""
    made, found = Made(plan), {}
    for sample in plan.samples:
        if plan.publishes(sample) and (rate := _of_ntuples(plan, made, sample)):
            stages = {stage: plan.choice(sample, stage) for stage in plan.stages(sample)}
            found[rate_keys(stages, PUBLISH, plan.detector.digest())[0]] = rate
    if found:
        keep(found)
    return found


def keep(found: dict[str, dict]) -> None:
    """Add rates to the site's file; the rate for one chain also serves where its process or backend is planned in
    another one that nobody measured."""
    path = rates_file()
    make_folder(path.parent)
    with _alone(path):
        known = site_rates()
        for key, rate in found.items():
            backend = key.split("/")
            for name in dict.fromkeys((key, "/".join(backend[:4]), "/".join(backend[:3]))):
                known[name] = merged(known.get(name), rate) if name == key else rate
        write_text(path, json.dumps(known, indent=1, sort_keys=True) + "\n")
    known_rates.cache_clear()


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Hold the file of rates: several campaigns may learn at once."""
    import fcntl

    with path.with_name(f".{path.name}.lock").open("ab") as file:
        with suppress(OSError):  # a filesystem without locks: the last writer wins
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _of_stage(plan: Plan, made: Made, sample: str, stage: str) -> dict[str, Any] | None:
    shards = [(number, shard) for number, shard in enumerate(made.shards(sample, stage)) if shard.made]
    own = [(number, shard.facts) for number, shard in shards if "taken_from" not in shard.facts]
    device = plan.choice(sample, stage)["device"]
    clock = "wall_seconds" if device == "cuda" else "cpu_seconds"
    spent = [(fact["events_in"], max(fact[clock] - fact.get("startup_seconds", 0.0), 0.0)) for _, fact in own]
    whole = _whole([(events, seconds) for events, seconds in spent if events])
    events = sum(events for events, _ in whole)
    if not events:
        return None
    rate = {"cpu_seconds": sum(seconds for _, seconds in whole) / events, "events": events}
    starts = [_start(plan, sample, stage, number, fact[clock]) for number, fact in own]
    loading = statistics.median(fact.get("startup_seconds", 0.0) for _, fact in own)
    rate["startup_seconds"] = loading + statistics.median([s for s in starts if s is not None] or [START_SECONDS])
    return rate | _record_sizes([shard.facts for _, shard in shards])


def _whole(spent: list[tuple[int, float]]) -> list[tuple[int, float]]:
    """Without the jobs that took less than half of the usual time an event: resumed ones count their last attempt
    alone."""
    if not spent:
        return []
    usual = statistics.median(seconds / events for events, seconds in spent)
    return [(events, seconds) for events, seconds in spent if seconds / events >= usual / 2]


def _start(plan: Plan, sample: str, stage: str, shard: int, inside: float) -> float | None:
    """CPU seconds of a job outside of its stage, for the interpreter and imports; None where Snakemake's measurement,
    which misses what ended children took, is no larger."""
    job = _measured(plan, sample, stage, shard)
    return job - inside if job is not None and job > inside else None


def _measured(plan: Plan, sample: str, stage: str, shard: int) -> float | None:
    """CPU seconds of a job as Snakemake measured them."""
    try:
        with benchmark_file(plan.folder, sample, stage, shard).open(encoding="utf-8") as file:
            return float(next(csv.DictReader(file, delimiter="\t"))["cpu_time"])
    except (OSError, StopIteration, KeyError, TypeError, ValueError):
        return None


def _record_sizes(facts: list[dict]) -> dict[str, float]:
    """Bytes per event of record files, and of a file and its sidecar without events; of those that say so."""
    known = [fact for fact in facts if "file_bytes" in fact]
    events = sum(fact["events_out"] for fact in known)
    if not events:
        return {}
    of_events = sum(fact["event_bytes"] for fact in known)
    others = [fact["file_bytes"] - fact["event_bytes"] + SIDECAR_BYTES for fact in known]
    return {"bytes": of_events / events, "file_bytes": statistics.mean(others)}


def _of_ntuples(plan: Plan, made: Made, sample: str) -> dict[str, Any] | None:
    import uproot

    events, packed, others, seconds = 0, 0, [], []
    numbers = [number for number in range(plan.shards(sample)) if made.published(sample, number)]
    for number in numbers[:: max(1, len(numbers) // MAX_FILES)]:
        file = plan.ntuple(sample, number)
        try:
            with uproot.open(file) as opened:
                rows, size = opened["Events"].num_entries, int(opened["Events"].compressed_bytes)
        except (OSError, KeyError, ValueError):
            continue
        events, packed = events + rows, packed + size
        others.append(file.stat().st_size - size)
        seconds.append(_measured(plan, sample, PUBLISH, number) or 0.0)
    if not events:
        return None
    work = max(sum(seconds) - START_SECONDS * len(seconds), 0.0)
    sizes = {"bytes": packed / events, "file_bytes": statistics.mean(others)}
    return {"cpu_seconds": work / events, "startup_seconds": START_SECONDS, "events": events, **sizes}
