"""Time and bytes per event of each stage, as measured or learned here: the rates that size shards and chunks, and
estimate costs."""

import json
import math
import os
from collections.abc import Collection
from dataclasses import dataclass
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, Field

from gen2reco.caches import cache_folder
from gen2reco.config.block import digest, load_json, parse_block
from gen2reco.run.stage_table import FIRST, PUBLISH

FALLBACK_SECONDS, FALLBACK_BYTES = 1.0, 50_000.0
START_SECONDS = 2.0
"""CPU seconds until a job is at work, where nobody measured: an interpreter and its imports."""
MAX_SHARD_EVENTS = 1_000_000
CHUNK_SECONDS, CHUNK_BYTES = 60.0, 100e6
"""How long a chunk shall last, and how much it may read and write, where a campaign states no `chunk_events`."""
MAX_BYTES = 10_000_000
MEASURED, SIMILAR, GUESS = "measured", "similar", "guess"
Rate = Annotated[float, Field(ge=0, le=1e12)]


class _Measured(BaseModel):
    model_config = ConfigDict(extra="allow", allow_inf_nan=False)

    cpu_seconds: Rate = 0.0
    """CPU seconds per event, wall seconds on a GPU, without start-up."""
    startup_seconds: Rate = 0.0
    """Likewise until a job is at work."""
    bytes: Rate = 0.0
    """Bytes per event."""
    file_bytes: Rate = 0.0
    """Bytes of a file without events, its sidecar included."""


class _Rates(BaseModel):
    rates: dict[str, _Measured]


@dataclass(frozen=True)
class JobCost:
    """What a job of a stage costs, by the rates known best.

    `basis`: `measured` for this chain of stages, process and detector; `similar` for other settings, another detector
    or another process; `guess` for a constant that ships.
    """

    per_event: float
    startup: float
    bytes: float
    file_bytes: float
    basis: str

    @property
    def guessed(self) -> bool:
        """Whether the time was never measured here."""
        return self.basis == GUESS

    def seconds(self, events: float, jobs: int = 1) -> float:
        """Core seconds (wall seconds on a GPU) of so many events in so many jobs."""
        return events * self.per_event + jobs * self.startup

    def size(self, events: float, jobs: int = 1) -> float:
        """Bytes of so many events in so many files."""
        return events * self.bytes + jobs * self.file_bytes


def rates_file() -> Path:
    """The site's own rates, learned from finished samples or measured by `gen2reco calibrate-rates`."""
    return Path(os.environ.get("GEN2RECO_RATES") or cache_folder() / "rates.json")


@lru_cache(maxsize=1)
def known_rates() -> dict[str, dict]:
    """The site's rates by their keys. Raises InputError."""
    return site_rates()


@lru_cache(maxsize=1)
def shipped_rates() -> dict[str, dict]:
    """Constants, {cpu_seconds, bytes} per event, for stages that nobody measured here."""
    return json.loads(files("gen2reco.campaign").joinpath("rates.json").read_text(encoding="utf-8"))


def site_rates() -> dict[str, dict]:
    """The site's own rates; empty where none were measured. Raises InputError for a damaged file."""
    site = rates_file()
    if not site.exists():
        return {}
    found = parse_block({"rates": load_json(site, MAX_BYTES)}, _Rates, str(site))
    return {key: rate.model_dump(exclude_unset=True) for key, rate in found.rates.items()}


def rate_keys(stages: dict[str, dict], stage: str, detector: str) -> list[str]:
    """The keys under which the rate of a stage may be stored, the most specific first: for this chain of stages with
    their options and detector (its digest), for the process, and for the backend and device alone.

    `stages`: the entries of a sample's stages up to this one or beyond. The ntuples' stage is `publish`.
    """
    names = [*stages, PUBLISH]
    upto = [name for name in names[: names.index(stage) + 1] if name in stages]
    chain = [[one, stages[one]["backend"], stages[one]["options"]] for one in upto]
    generated = stages[FIRST]
    process = generated["options"].get("process", {})
    entry = stages.get(stage, {"backend": "root", "device": "cpu"})
    own = f"{stage}/{entry['backend']}/{entry['device']}"
    of_process = f"{own}/{generated['backend']}-{process_label(process)}"
    return [f"{of_process}/{digest([chain, detector])[:12]}", of_process, own]


def process_label(process: dict) -> str:
    """A short digest of the generated process, for the keys of rates."""
    return digest(process)[:12]


def draws_of(stages: dict[str, dict], stage: str) -> int:
    """How many events a stage of a sample writes for each that is generated: more than one behind oversampling."""
    names = [*stages, PUBLISH]
    return math.prod(stages.get(name, {}).get("oversample", 1) for name in names[: names.index(stage) + 1])


def job_cost(stages: dict[str, dict], stage: str, detector: str) -> JobCost:
    """What a job of a stage of a sample costs for each generated event, all draws of it together. Raises InputError for
    a damaged file of rates."""
    keys = rate_keys(stages, stage, detector)
    site, shipped = known_rates(), shipped_rates()
    found = [(site[key], MEASURED if key == keys[0] else SIMILAR) for key in keys if key in site]
    found += [(shipped[key], GUESS) for key in keys if key in shipped]

    def value(name: str, default: float) -> tuple[float, str]:
        return next(((float(rate[name]), basis) for rate, basis in found if name in rate), (default, GUESS))

    per_event, basis = value("cpu_seconds", FALLBACK_SECONDS)
    per_bytes, of_bytes = value("bytes", FALLBACK_BYTES)
    start, _ = value("startup_seconds", START_SECONDS)
    draws = draws_of(stages, stage)
    return JobCost(
        draws * per_event, start, draws * per_bytes, value("file_bytes", 0.0)[0], max(basis, of_bytes, key=_ORDER.index)
    )


_ORDER = [MEASURED, SIMILAR, GUESS]


def job_costs(stages: dict[str, dict], detector: str) -> dict[str, JobCost]:
    """What a job of each stage of a sample costs."""
    return {stage: job_cost(stages, stage, detector) for stage in stages}


def longest_job(stages: dict[str, dict], costs: dict[str, JobCost], own: Collection[str] | None = None) -> JobCost:
    """The longest job of a shard, of whose stages `own` are made (left out: all).

    On a cluster the CPU stages of a shard run as one job, and each stage on a GPU as a job of its own.
    """
    made = [stage for stage in stages if own is None or stage in own]
    jobs = [[costs[stage]] for stage in made if stages[stage]["device"] == "cuda"]
    jobs.append([costs[stage] for stage in made if stages[stage]["device"] == "cpu"])
    longest = max(jobs, key=lambda job: sum(cost.per_event for cost in job))
    basis = max((cost.basis for cost in longest), key=_ORDER.index, default=MEASURED)
    return JobCost(sum(c.per_event for c in longest), sum(c.startup for c in longest), 0.0, 0.0, basis)


def shard_events(stages: dict[str, dict], job_minutes: float, detector: str) -> int:
    """Events per shard, in whole chunks, for which the longest job lasts about `job_minutes`."""
    longest = longest_job(stages, job_costs(stages, detector))
    seconds = max(60 * job_minutes - longest.startup, 0.0)
    wanted = min(MAX_SHARD_EVENTS, max(1, int(seconds / max(longest.per_event, 1e-9))))
    chunk = max(-(-entry["chunk_events"] // draws_of(stages, stage)) for stage, entry in stages.items())
    return max(chunk, wanted // chunk * chunk)


def chunk_events(stages: dict[str, dict], stage: str, detector: str, usual: int, most: int) -> int:
    """Events per chunk of a stage, for which a chunk lasts about CHUNK_SECONDS and its input and output take at most
    CHUNK_BYTES, at most `most`, as 1, 2 or 5 times a power of ten; the backend's `usual` number where the stage's rate
    was not measured here.
    """
    cost = job_cost(stages, stage, detector)
    if cost.basis != MEASURED:
        return usual
    names = list(stages)
    before = names[: names.index(stage)][-1:]
    size = cost.bytes + sum(job_cost(stages, one, detector).bytes for one in before)
    wanted = min(CHUNK_SECONDS / max(cost.per_event, 1e-9), CHUNK_BYTES / max(size, 1.0), most)
    return _round(wanted * draws_of(stages, stage))


def _round(value: float) -> int:
    """The largest of 1, 2 and 5 times a power of ten up to a value, at least 1."""
    power = 10 ** (len(str(int(max(value, 1)))) - 1)
    return next(n * power for n in (5, 2, 1) if n * power <= max(value, 1))


def basis(stages: dict[str, dict], detector: str) -> dict[str, str]:
    """For each stage, such as `simulate ml on cuda`, whether its rate is `measured`, `similar` or a `guess`."""
    costs = job_costs(stages, detector)
    return {f"{s} {entry['backend']} on {entry['device']}": costs[s].basis for s, entry in stages.items()}


def merged(known: dict[str, Any] | None, found: dict[str, Any]) -> dict[str, Any]:
    """A rate measured again: the mean of both, the earlier one with at most the weight of the later."""
    if not known or not known.get("events"):
        return found
    weight = min(known["events"], found["events"]) / max(found["events"], 1) if found["events"] else 0.0
    numbers = ("cpu_seconds", "startup_seconds", "bytes", "file_bytes")
    mean = {
        key: (found[key] + weight * known[key]) / (1 + weight) if key in known and key in found else found.get(key)
        for key in numbers
    }
    return {**found, **{key: value for key, value in mean.items() if value is not None}}
