"""A sample on disk: which records it holds, its events shard by shard, and what each stage cost."""

import itertools
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field, replace
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING

from gen2reco.config.block import parse_block
from gen2reco.config.detector import Detector
from gen2reco.config.validation import Validation
from gen2reco.errors import InputError
from gen2reco.events.truth import Properties
from gen2reco.paths import LOCK_NAME
from gen2reco.run.sidecar import read_sidecar, sidecar_path
from gen2reco.run.stage_table import RECORDS, STAGES, in_order

if TYPE_CHECKING:
    import pyarrow as pa

    from gen2reco.campaign.plan import Plan


@dataclass(frozen=True)
class Cost:
    """What making one stage of a sample took, over all shards that have a sidecar."""

    stage: str
    backend: str
    events: int
    wall_seconds: float
    cpu_seconds: float
    peak_memory_mb: int
    device: str
    network_evaluations: int
    shards: int
    shards_failed: int
    startup_seconds: float | None = None
    """Of all shards together; None where a sidecar does not tell."""

    @property
    def seconds_per_event(self) -> float:
        """Core seconds on a CPU, wall seconds on an accelerator, without the start-up where the sidecars tell it."""
        spent = self.cpu_seconds if self.device == "cpu" else self.wall_seconds
        return max(spent - (self.startup_seconds or 0.0), 0.0) / self.events if self.events else float("nan")

    @property
    def startup_per_shard(self) -> float:
        """Seconds that a job takes before its first event; NaN where the sidecars do not tell."""
        return float("nan") if self.startup_seconds is None else self.startup_seconds / self.shards


@dataclass(frozen=True)
class Sample:
    """Record files of one sample by record, in the order of the shards."""

    name: str
    path: Path
    shards: dict[str, list[Path]] = field(default_factory=dict)
    replaced: tuple[Path, ...] = ()
    """Files of stages after which another one makes the same record: what they cost counts."""
    other_detector: Detector | None = None
    """The detector where the files name none."""

    def events(
        self, record: str, columns: Iterable[str], most: int, optional: Iterable[str] = ()
    ) -> "Iterator[pa.Table]":
        """The events of a record, one table a shard, at most `most` in all; `optional` columns where they are."""
        from gen2reco.events import records

        for path in self.shards[record]:
            if most <= 0:
                return
            with records.open_file(path, record) as file:
                present = set(file.schema_arrow.names)
            wanted = [*columns, *(name for name in optional if name in present)]
            table = records.Source(path, record, wanted).slice(0, most)
            most -= table.num_rows
            if table.num_rows:
                yield table

    @cached_property
    def detector(self) -> Detector | None:
        """The detector that the files say they were made with, else `other_detector`."""
        from gen2reco.detector.made_with import stated_detector
        from gen2reco.run.runner import provenance

        for record in reversed(RECORDS):
            for path in self.shards.get(record, [])[:1]:
                if found := stated_detector(provenance(path)):
                    return found
        return self.other_detector

    @cached_property
    def properties(self) -> Properties:
        """Properties of particles, as the generator of the files gives them."""
        from gen2reco.run.runner import provenance

        last = next((self.shards[record] for record in reversed(RECORDS) if self.shards.get(record)), [])
        return Properties.of(*map(provenance, last))

    def number(self, record: str, most: int) -> int:
        """The number of events of a record, at most `most`."""
        from gen2reco.events import records

        return min(sum(records.Source(path, record).num_rows for path in self.shards[record]), most)

    @cached_property
    def sidecars(self) -> dict[str, list[dict]]:
        """Sidecars by stage, of the stages whose files have them."""
        found: dict[str, list[dict]] = {}
        for path in (*itertools.chain(*self.shards.values()), *self.replaced):
            sidecar = read_sidecar(path) if sidecar_path(path).exists() else {}
            if sidecar.get("stage") in STAGES:
                found.setdefault(sidecar["stage"], []).append(sidecar)
        return {stage: found[stage] for stage in STAGES if stage in found}

    @cached_property
    def costs(self) -> dict[str, Cost]:
        """Cost by stage, of the stages whose files have sidecars."""
        return {stage: _cost(stage, sidecars) for stage, sidecars in self.sidecars.items()}


def open_sample(path: Path | str) -> Sample:
    """A sample folder (`<stage>/<shard>.parquet`) or a lone record file. Raises InputError."""
    from gen2reco.events import records

    path = Path(path)
    if path.is_file():
        return Sample(path.stem, path, _known({records.record_of(path): [path]}, path))
    if not path.is_dir():
        raise InputError(f"{path}: no such sample; give a folder like results/<campaign>/<sample> or a record file")
    shards: dict[str, list[Path]] = {}
    replaced: list[Path] = []
    folders = sorted(child.name for child in path.iterdir() if child.is_dir() and not child.name.startswith("."))
    for name in [*(name for name in folders if name not in STAGES), *in_order(folders)]:
        if files := _of_its_plan(path, sorted((path / name).glob("*.parquet"))):
            record = records.record_of(files[0])
            if name in STAGES and STAGES[name].reads == record:
                replaced += shards.pop(record, [])
            shards.setdefault(record, []).extend(files)
    if not shards and (files := sorted(path.glob("*.parquet"))):
        for file in files:
            shards.setdefault(records.record_of(file), []).append(file)
    return Sample(path.resolve().name, path, _known(shards, path), tuple(replaced))


def _of_its_plan(path: Path, files: list[Path]) -> list[Path]:
    """The files of a sample's folder that its campaign's plan means; those of an earlier revision are left out, with
    one line."""
    from gen2reco.campaign.plan import read_plan

    lock = path.parent / LOCK_NAME
    if not files or not lock.is_file():
        return files
    try:
        plan = read_plan(lock)
    except InputError:  # of another release
        return files
    stage = files[0].parent.name
    if path.name not in plan.samples or stage not in STAGES:
        return files
    owned = stage in plan.stages(path.name) and plan.owner(path.name, stage) == path.name
    names = {plan.file(path.name, stage, n).name for n in range(plan.shards(path.name))} if owned else set()
    if left := [file for file in files if file.name not in names]:
        print(f"{left[0].parent}: {len(left)} files of an earlier plan are left out", file=sys.stderr)
    return [file for file in files if file.name in names]


def open_samples(paths: list[Path]) -> list[Sample]:
    """Open samples and make their names differ. Raises InputError where one has no stage in common with the first."""
    samples = [open_sample(path) for path in paths]
    names = [sample.name for sample in samples]
    if len(set(names)) < len(names):
        samples = [replace(s, name=_longer_name(s)) for s in samples]
        names = [sample.name for sample in samples]
        samples = [replace(s, name=f"{s.name}_{i}") if names.count(s.name) > 1 else s for i, s in enumerate(samples)]
    for sample in samples[1:]:
        if not set(sample.shards) & set(samples[0].shards):
            raise InputError(
                f"{sample.path}: holds {', '.join(sample.shards)}, the reference {samples[0].path} holds "
                f"{', '.join(samples[0].shards)}; expected a stage that both have"
            )
    return samples


def planned_samples(plan: Path | str, reference: str) -> tuple[list[Sample], Validation]:
    """The reference of a plan and its candidates, stages they share with others included, and the plan's limits.

    Raises InputError where the plan compares nothing with this reference, or a file it promises is missing.
    """
    from gen2reco.campaign.plan import job_plan

    planned = job_plan(plan)
    comparisons = {entry["reference"]: entry["candidates"] for entry in planned.lock["compare"]}
    if reference not in comparisons:
        raise InputError(f"{plan}: `{reference}` is no reference; known: {', '.join(comparisons) or 'none'}")
    samples = [planned_sample(planned, name) for name in (reference, *comparisons[reference])]
    settings = parse_block(planned.lock["validation"], Validation, source=f"{plan}: `validation`")
    return samples, settings


def planned_sample(plan: "Plan", name: str) -> Sample:
    """A sample of a plan, stages it shares with others included; of those that it does not keep, the cost alone. Raises
    InputError where a file is missing, or none is kept."""
    by_stage = {
        stage: [plan.file(name, stage, shard) for shard in range(plan.shards(name))] for stage in plan.stages(name)
    }
    kept = {stage: files for stage, files in by_stage.items() if plan.keeps(name, stage)}
    shards = {STAGES[stage].writes: files for stage, files in kept.items()}
    missing = next((file for files in kept.values() for file in files if not file.is_file()), None)
    if missing:
        raise InputError(f"{missing}: no such file, though the plan promises it; run the campaign to its end")
    replaced = [file for files in by_stage.values() if files not in shards.values() for file in files]
    ordered = {record: shards[record] for record in RECORDS if record in shards}
    if not ordered:
        raise InputError(
            f"sample `{name}` keeps no records, so that no report can be made of it; let it `keep` a stage"
        )
    return Sample(name, plan.folder / name, ordered, tuple(replaced))


def _known(shards: dict[str, list[Path]], path: Path) -> dict[str, list[Path]]:
    if not shards:
        raise InputError(f"{path}: holds no record files; expected <stage>/<shard>.parquet")
    return {record: shards[record] for record in RECORDS if record in shards}


def _longer_name(sample: Sample) -> str:
    return f"{sample.path.resolve().parent.name}_{sample.name}"


def _cost(stage: str, sidecars: list[dict]) -> Cost:
    def total(key: str) -> float:
        return sum(float(sidecar.get(key) or 0) for sidecar in sidecars)

    def names(key: str) -> str:
        return ", ".join(sorted({str(sidecar.get(key, "?")) for sidecar in sidecars}))

    return Cost(
        stage=stage,
        backend=names("backend"),
        events=int(total("events_in")),
        wall_seconds=total("wall_seconds"),
        cpu_seconds=total("cpu_seconds"),
        peak_memory_mb=int(max(float(sidecar.get("peak_memory_mb") or 0) for sidecar in sidecars)),
        device=names("device"),
        network_evaluations=int(total("network_evaluations")),
        shards=len(sidecars),
        shards_failed=sum(sidecar.get("status") != "ok" for sidecar in sidecars),
        startup_seconds=total("startup_seconds") if all("startup_seconds" in s for s in sidecars) else None,
    )
