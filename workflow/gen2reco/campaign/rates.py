"""Time and bytes per event of each stage, as last measured: the rates that size shards and estimate costs."""

import json
import math
import os
from collections.abc import Collection
from functools import lru_cache
from importlib.resources import files
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field

from gen2reco.caches import cache_folder
from gen2reco.config.block import digest, load_json, parse_block
from gen2reco.run.stage_table import FIRST

FALLBACK_SECONDS = 1.0
MAX_SHARD_EVENTS = 1_000_000
MAX_BYTES = 10_000_000
Rate = Annotated[float, Field(ge=0, le=1e9)]


class _Measured(BaseModel):
    model_config = ConfigDict(extra="allow", allow_inf_nan=False)

    cpu_seconds: Rate = 0.0
    bytes: Rate = 0.0


class _Rates(BaseModel):
    rates: dict[str, _Measured]


def rates_file() -> Path:
    """The site's own rates, written by `gen2reco calibrate-rates`."""
    return Path(os.environ.get("GEN2RECO_RATES") or cache_folder() / "rates.json")


@lru_cache(maxsize=1)
def known_rates() -> dict[str, dict]:
    """Rates, {cpu_seconds, bytes} per event, by their keys: the shipped ones, and the site's in their place. Raises
    InputError."""
    rates = json.loads(files("gen2reco.campaign").joinpath("rates.json").read_text(encoding="utf-8"))
    return rates | site_rates()


def site_rates() -> dict[str, dict]:
    """The site's own rates; empty where none were measured. Raises InputError for a damaged file."""
    site = rates_file()
    if not site.exists():
        return {}
    found = parse_block({"rates": load_json(site, MAX_BYTES)}, _Rates, str(site))
    return {key: rate.model_dump(exclude_unset=True) for key, rate in found.rates.items()}


def rate_keys(stage: str, entry: dict, generated: dict) -> list[str]:
    """The keys under which a stage's rate may be stored, the most specific first."""
    process = generated["options"].get("process", {})
    kind = f"{generated['backend']}-{process_label(process)}"
    device = entry["device"]
    return [f"{stage}/{entry['backend']}/{device}/{kind}", f"{stage}/{entry['backend']}/{device}"]


def process_label(process: dict) -> str:
    """A short digest of the generated process, for the keys of rates."""
    return digest(process)[:12]


def draws_of(stages: dict[str, dict], stage: str) -> int:
    """How many events a stage of a sample writes for each that is generated: more than one behind oversampling."""
    names = list(stages)
    return math.prod(stages[name].get("oversample", 1) for name in names[: names.index(stage) + 1])


def seconds_per_event(stages: dict[str, dict]) -> dict[str, float]:
    """CPU seconds of each stage of a sample per generated event, all draws of it together."""
    return {stage: _rate(stage, stages, "cpu_seconds", FALLBACK_SECONDS) for stage in stages}


def bytes_per_event(stages: dict[str, dict], own: Collection[str] | None = None) -> float:
    """Bytes on disk per generated event, summed over the stages of a sample, or over `own` ones."""
    return sum(_rate(stage, stages, "bytes", 50_000.0) for stage in stages if own is None or stage in own)


def job_seconds(stages: dict[str, dict], own: Collection[str] | None = None) -> float:
    """Seconds per generated event in the longest job of a shard, of whose stages `own` are made (left out: all).

    On a cluster the CPU stages of a shard run as one job, and each stage on a GPU as a job of its own.
    """
    made = {stage: seconds for stage, seconds in seconds_per_event(stages).items() if own is None or stage in own}
    on_gpu = [seconds for stage, seconds in made.items() if stages[stage]["device"] == "cuda"]
    on_cpu = sum(seconds for stage, seconds in made.items() if stages[stage]["device"] == "cpu")
    return max(on_cpu, *on_gpu, 1e-9)


def shard_events(stages: dict[str, dict], job_minutes: float) -> int:
    """Events per shard, in whole chunks, for which the longest job lasts about `job_minutes`."""
    wanted = min(MAX_SHARD_EVENTS, max(1, int(60 * job_minutes / job_seconds(stages))))
    chunk = max(-(-entry["chunk_events"] // draws_of(stages, stage)) for stage, entry in stages.items())
    return max(chunk, wanted // chunk * chunk)


def unmeasured(stages: dict[str, dict]) -> list[str]:
    """The stages of a sample without a measured rate, such as `simulate ml on cuda`."""
    rates = known_rates()
    return [
        f"{stage} {entry['backend']} on {entry['device']}"
        for stage, entry in stages.items()
        if not any("cpu_seconds" in rates.get(key, {}) for key in rate_keys(stage, entry, stages[FIRST]))
    ]


def _rate(stage: str, stages: dict[str, dict], what: str, default: float) -> float:
    rates, draws = known_rates(), draws_of(stages, stage)
    for key in rate_keys(stage, stages[stage], stages[FIRST]):
        if key in rates and what in rates[key]:
            return draws * float(rates[key][what])
    return draws * default
