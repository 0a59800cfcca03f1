"""The sidecars of one sample and stage, added up: counts, throughput, cost, where it ran."""

import hashlib
import json
import logging
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime
from pathlib import Path
from typing import Any

from gen2reco.errors import InputError
from gen2reco.run.sidecar import read_facts
from gen2reco.track.regular import NotTaken, check

_SHARD, _LARGEST = re.compile(r"[0-9]{5,9}\.json"), 2**24
_PER_SHARD = ("wall_seconds", "cpu_seconds", "peak_memory_mb", "events_out")


@dataclass(frozen=True)
class Shards:
    """All sidecars of a sample's stage, by shard number."""

    sample: str
    stage: str
    facts: dict[int, dict]

    def __len__(self) -> int:
        return len(self.facts)

    def total(self, name: str) -> float:
        """The sum of a number over shards."""
        return sum(_number(fact.get(name)) for fact in self.facts.values())

    def one(self, name: str) -> Any:
        """A value that all shards share; None if they differ."""
        values = {json.dumps(fact.get(name)) for fact in self.facts.values()}
        return json.loads(values.pop()) if len(values) == 1 else None

    @property
    def failed(self) -> int:
        """Number of shards written empty because too much of them failed."""
        return sum(fact.get("status") == "failed" for fact in self.facts.values())

    @property
    def start(self) -> int:
        """Start of the earliest shard, ms since 1970."""
        return min(_started(fact) for fact in self.facts.values())

    @property
    def end(self) -> int:
        """End of the latest shard, ms since 1970."""
        return max(_ended(fact) for fact in self.facts.values())

    def content(self) -> str:
        """The sha256 over the digests of all shards' files."""
        lines = "".join(f"{shard:05d} {self.facts[shard].get('sha256')}\n" for shard in sorted(self.facts))
        return hashlib.sha256(lines.encode()).hexdigest()

    def tags(self) -> dict[str, str]:
        """Where and by what it was made: code, hosts, devices, Slurm jobs."""
        names = {"code_version": "gen2reco.code", "host": "gen2reco.hosts", "device": "gen2reco.devices"}
        names |= {"slurm_job_id": "gen2reco.slurm_jobs", "plan_digest": "gen2reco.made_by_plan"}
        found = {tag: sorted({str(f[name]) for f in self.facts.values() if f.get(name)}) for name, tag in names.items()}
        return {tag: _listed(values) for tag, values in found.items() if values}

    def points(self) -> Iterator[tuple[str, float, int, int]]:
        """Metrics (key, value, ms, step): per shard at its number, and totals at the count of shards."""
        for shard, fact in sorted(self.facts.items()):
            when, wall = _ended(fact), _number(fact.get("wall_seconds"))
            for name in _PER_SHARD:
                yield f"shard/{name}", _number(fact.get(name)), when, shard
            yield "shard/events_per_second", _number(fact.get("events_out")) / wall if wall else 0.0, when, shard
        end = self.end
        for name, value in self.totals().items():
            yield name, value, end, len(self)

    def totals(self) -> dict[str, float]:
        """What the stage made and what it cost."""
        wall = self.total("wall_seconds")
        warm = self.total("cpu_seconds") - self.total("startup_seconds")
        on_gpu = [f for f in self.facts.values() if str(f.get("device", "")).startswith("cuda")]
        return {
            "events": self.total("events_out"),
            "events_failed": self.total("events_failed"),
            "events_per_second": self.total("events_out") / wall if wall else 0.0,
            "events_per_core_second": self.total("events_out") / warm if warm > 0 and not on_gpu else 0.0,
            "startup_seconds": self.total("startup_seconds") / len(self),
            "shards": float(len(self)),
            "shards_failed": float(self.failed),
            "wall_hours": wall / 3600,
            "core_hours": self.total("cpu_seconds") / 3600,
            "gpu_hours": sum(_number(f.get("wall_seconds")) for f in on_gpu) / 3600,
            "network_evaluations": self.total("network_evaluations"),
            "peak_memory_mb": max(_number(f.get("peak_memory_mb")) for f in self.facts.values()),
        }


def shards_of(results: Path, sample: str, stage: str) -> Shards | None:
    """Read the sidecars of a sample's stage, None if there are none; a damaged one is a warning and left out."""
    facts: dict[int, dict] = {}
    try:
        with os.scandir(results / sample / stage) as entries:
            found = sorted(e.path for e in entries if _SHARD.fullmatch(e.name))
    except OSError:
        return None
    for path in found:
        try:
            check(Path(path), results, _LARGEST)
            facts[int(Path(path).stem)] = read_facts(Path(path))
        except (NotTaken, InputError) as error:
            reason = str(error).removeprefix(f"{path}: ")
            logging.getLogger(__name__).warning("%s: damaged sidecar, left out: %s", path, reason)
    return Shards(sample, stage, facts) if facts else None


def _number(value: object) -> float:
    return float(value) if isinstance(value, (int, float)) else 0.0


def _started(fact: dict) -> int:
    try:
        return max(int(datetime.fromisoformat(fact["started"]).timestamp() * 1000), 0)
    except (KeyError, TypeError, ValueError, OverflowError):
        return 0


def _ended(fact: dict) -> int:
    return _started(fact) + int(1000 * _number(fact.get("wall_seconds")))


def _listed(values: list[str], most: int = 200) -> str:
    """Values in one line, the middle of a long list left out."""
    if len(values) > most:
        values = [*values[: most // 2], f"… {len(values) - most} more …", *values[-most // 2 :]]
    return " ".join(values)
