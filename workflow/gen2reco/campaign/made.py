"""What is made of a plan: the state of each record file, by its sidecar; and what no stage needs any more."""

import shutil
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path

from gen2reco.campaign.model_receipts import read_trained
from gen2reco.campaign.plan import Plan, read_plan
from gen2reco.errors import InputError
from gen2reco.run.sidecar import read_facts, sidecar_path
from gen2reco.run.stage_table import FIRST

DONE, REMOVED, FAILED, STALE, MISSING = "done", "removed", "failed", "stale", "missing"


@dataclass(frozen=True)
class Shard:
    """The state of one record file, and the facts of its sidecar ({} where it has none).

    `done`; `removed`: made, and removed because the sample does not keep it; `failed`; `stale`: of another plan or
    model than now, or of an input that is to be made again; `missing`.
    """

    state: str
    facts: dict

    @property
    def made(self) -> bool:
        """Whether the file is, or was, what the plan wants."""
        return self.state in (DONE, REMOVED)


class Made:
    """The states of the record files of a plan; those of sidecars that have not changed are read once."""

    def __init__(self, plan: Plan):
        self.plan = plan
        self._digests: dict[str, str | None] = {}

    def refresh(self) -> None:
        """Look at the models anew; sidecars are looked at each time."""
        self._digests.clear()

    def shards(self, sample: str, stage: str) -> list[Shard]:
        """The state of every shard of a stage of a sample."""
        return [self.shard(sample, stage, shard) for shard in range(self.plan.shards(sample))]

    def shard(self, sample: str, stage: str, shard: int) -> Shard:
        """The state of one shard of a stage of a sample, by all stages up to it."""
        stages = self.plan.stages(sample)
        before: Shard | None = None
        for one in stages[: stages.index(stage) + 1]:
            before = self._one(sample, one, shard, before)
        assert before is not None
        return before

    def chain(self, sample: str, shard: int) -> dict[str, Shard]:
        """The states of one shard at every stage of a sample."""
        found: dict[str, Shard] = {}
        before = None
        for stage in self.plan.stages(sample):
            found[stage] = before = self._one(sample, stage, shard, before)
        return found

    def _one(self, sample: str, stage: str, shard: int, before: Shard | None) -> Shard:
        file = self.plan.file(sample, stage, shard)
        facts = _facts(sidecar_path(file))
        if facts is None:
            return Shard(MISSING, {})
        there = file.is_file()
        if not facts or not self._planned(facts, sample, stage, shard, before):
            return Shard(STALE if there else MISSING, facts)
        if facts["status"] == FAILED:
            return Shard(FAILED, facts)
        return Shard(DONE if there else MISSING if self.plan.keeps(sample, stage) else REMOVED, facts)

    def _planned(self, facts: dict, sample: str, stage: str, shard: int, before: Shard | None) -> bool:
        """Whether a sidecar is that of the plan, of the input that there is now."""
        wanted = {"config_digest": self.plan.choice(sample, stage)["digest"], "shard": shard, "stage": stage}
        wanted |= {"sample": self.plan.owner(sample, stage)}
        if any(facts.get(key) != value for key, value in wanted.items()):
            return False
        if stage == FIRST:
            return facts["events_in"] == len(self.plan.events(sample, shard))
        if before is None or before.state in (STALE, MISSING) or not _of_input(facts, before.facts):
            return False
        made = self.plan.choice(sample, stage).get("made")
        return made is None or facts.get("model_digest") == self._digest(made)

    def _digest(self, model: str) -> str | None:
        """The digest of a model that the campaign makes; None where it is not trained."""
        if model not in self._digests:
            try:
                receipt = read_trained(self.plan.folder, model)
            except InputError:
                receipt = None
            self._digests[model] = receipt.model_digest if receipt else None
        return self._digests[model]

    def settled(self, sample: str, stage: str, shard: int) -> bool:
        """Whether a shard's file is made, and there unless nothing needs it any more."""
        found = self.shard(sample, stage, shard)
        return found.made and (found.state == DONE or self.consumed(sample, stage, shard))

    def consumed(self, sample: str, stage: str, shard: int) -> bool:
        """Whether every stage, and the ntuple, that a shard's file is read for is made of it."""
        return all(self._used(user, stage, shard) for user in self.plan.users(sample, stage))

    def _used(self, sample: str, stage: str, shard: int) -> bool:
        if shard >= self.plan.shards(sample):
            return True
        stages = self.plan.stages(sample)
        after = stages[stages.index(stage) + 1 :][:1]
        if after:
            published = stage != FIRST or not self.plan.publishes(sample) or self.published(sample, shard)
            return published and self.settled(sample, after[0], shard)
        return self.shard(sample, stage, shard).made and (
            not self.plan.publishes(sample) or self.published(sample, shard)
        )

    def published(self, sample: str, shard: int) -> bool:
        """Whether a shard's ntuple is made, of the objects that the plan wants."""
        last = self.plan.stages(sample)[-1]
        try:
            made = self.plan.ntuple(sample, shard).stat().st_mtime_ns
            source = sidecar_path(self.plan.file(sample, last, shard)).stat().st_mtime_ns
        except OSError:
            return False
        return made >= source

    def unneeded(self) -> Iterator[Path]:
        """The record files that no sample keeps and no stage needs any more."""
        for sample in self.plan.samples:
            for stage in self.plan.stages(sample):
                if self.plan.owner(sample, stage) != sample or self.plan.keeps(sample, stage):
                    continue
                for shard in range(self.plan.shards(sample)):
                    file = self.plan.file(sample, stage, shard)
                    if self.shard(sample, stage, shard).state == DONE and self.consumed(sample, stage, shard):
                        yield file


def _of_input(facts: dict, source: dict) -> bool:
    """Whether a sidecar is of a file that was made of the input that there is, or was, by the input's bytes; for one of
    an earlier release, by the times at which both were begun."""
    if facts["events_in"] != source["events_out"]:
        return False
    if "source_sha256" in facts:
        return facts["source_sha256"] == source["sha256"]
    return str(facts.get("started", "")) >= str(source.get("started", ""))


def drop_second_names(lock: Path, stage: str, sample: str, shard: int) -> None:
    """After the last stage of a shard, remove the second names (run/finished.py) of its files that are not kept: they
    would hold the disk's space until the sample is verified."""
    plan = read_plan(lock)
    stages = plan.stages(sample)
    if stage != stages[-1]:
        return
    made = Made(plan)
    for one in stages[:-1]:
        if not plan.keeps(sample, one) and made.consumed(sample, one, shard):
            file = plan.file(sample, one, shard)
            for folder in (file.parent / ".partial").glob(f"{file.name}-*"):
                shutil.rmtree(folder, ignore_errors=True)


def _facts(path: Path) -> dict | None:
    """The facts of a sidecar; None where there is none, {} for a damaged one."""
    try:
        changed = path.stat()
        return _read(path, changed.st_mtime_ns, changed.st_size)
    except FileNotFoundError:
        return None
    except (OSError, InputError):
        return {}


@lru_cache(maxsize=100_000)
def _read(path: Path, changed: int, size: int) -> dict:
    return read_facts(path)
