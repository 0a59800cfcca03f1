"""The runs of a campaign as plain data, read from its results folder alone, to be replayed into a server or exported.

One run for the plan's revision, below it one per sample and stage, and one per training: never one per shard.
The same folder always gives the same runs, so that replaying it twice, or at once by two processes, changes nothing.
"""

import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field, fields
from pathlib import Path
from typing import NamedTuple

from pydantic import ValidationError

from gen2reco.config.block import digest
from gen2reco.errors import InputError
from gen2reco.files import file_digest
from gen2reco.paths import LOCK_NAME
from gen2reco.track import spool
from gen2reco.track.files_read import NAME, PlanLock, first_mistake
from gen2reco.track.notes import campaign_note
from gen2reco.track.regular import NotTaken, read
from gen2reco.track.reports import REPORT, Told, files_of, headline_metrics, told
from gen2reco.track.secrets import scrub_value
from gen2reco.track.shards import Shards, shards_of

_LARGEST_PLAN = 2**28


class Point(NamedTuple):
    """One metric value: `time` in ms since 1970."""

    key: str
    value: float
    time: int
    step: int


class Data(NamedTuple):
    """A data set used or made by a run."""

    name: str
    digest: str
    context: str
    source: str = ""
    facts: str = "{}"


@dataclass
class Run:
    """One run: `key` names it on every server; `parent` is the key of the run above it."""

    key: str
    name: str
    parent: str | None = None
    status: str = "RUNNING"
    start: int = 0
    end: int | None = None
    note: str = ""
    tags: dict[str, str] = field(default_factory=dict)
    params: dict[str, str] = field(default_factory=dict)
    points: list[Point] = field(default_factory=list)
    datasets: list[Data] = field(default_factory=list)
    artifacts: list[tuple[Path, str]] = field(default_factory=list)
    """(file, folder among the run's artifacts)"""
    models: list[tuple[str, dict[str, Path]]] = field(default_factory=list)
    """(registered name, files of the model folder by their names in it)"""

    def digest(self) -> str:
        """The sha256 of all that the run holds, files by content."""
        content = {field.name: getattr(self, field.name) for field in fields(self)}
        content["artifacts"] = [(file_digest(path), path.name, folder) for path, folder in self.artifacts]
        content["models"] = [
            (name, {place: path.parent.name for place, path in files.items()}) for name, files in self.models
        ]
        return digest(content)


@dataclass
class CampaignRuns:
    """A campaign: its name, and its runs, parents first."""

    campaign: str
    root: str
    runs: list[Run]


def campaign_runs(results: Path | str) -> CampaignRuns:
    """Read the runs of the campaign in that results folder. Raises InputError if there is no such folder."""
    results = Path(results)
    lock = read_lock(results)
    top = _top(results, lock)
    stages = [shards for sample, stage in stage_folders(results, lock) if (shards := shards_of(results, sample, stage))]
    runs = [_stage_run(top, shards, lock, stages) for shards in stages]
    reports = told(results)
    for run in runs:
        if text := "; ".join(filter(None, (t.of(run.tags["gen2reco.sample"]) for t in reports))):
            run.tags["verdict"] = text
    runs += [training_run(results, top, key, events) for key, events in spool.read(results).items()]
    _complete_top(top, results, lock, runs, stages, reports)
    return CampaignRuns(lock["name"], top.key, [top, *runs])


def read_lock(results: Path) -> dict:
    """The plan of a results folder; for a folder without one (a training by hand) a stand-in named after the folder.

    Raises InputError for a missing folder, and for a plan that is damaged or names what no plan would.
    """
    if not results.is_dir():
        raise InputError(f"{results}: no such results folder; expected results/CAMPAIGN")
    from gen2reco.campaign.plan_lock import checksum

    path = results / LOCK_NAME
    plain = re.sub(r"[^a-z0-9_]+", "_", results.resolve().name.lower())[:100] or "results"
    if not os.path.lexists(path):
        return {"name": plain, **PlanLock().model_dump(exclude_none=True)}
    try:
        found = json.loads(read(path, results, _LARGEST_PLAN))
        known = PlanLock.model_validate(found).model_dump(exclude_none=True)
        if checksum(found) != found.get("checksum", checksum(found)):
            raise ValueError("was edited since it was written")
    except ValidationError as error:
        raise InputError(f"{path}: damaged plan: {first_mistake(error)}; plan the campaign again") from None
    except (NotTaken, ValueError, RecursionError) as error:
        raise InputError(f"{path}: damaged plan: {error}; plan the campaign again") from None
    return {"name": plain, **found, **known}


def top_run(results: Path, lock: dict) -> Run:
    """The run of a plan's revision, as far as the plan alone states it; it starts when the plan was written."""
    tags = {"gen2reco.kind": "campaign", "gen2reco.campaign": lock["name"], "gen2reco.plan": lock.get("digest", "")}
    tags["gen2reco.revision"] = str(lock["revision"])
    name = f"{lock['name']} revision {lock['revision']}"
    plan = results / LOCK_NAME
    start = plan.stat().st_mtime_ns // 10**6 if plan.is_file() else 0
    return Run(f"{lock['name']}/{lock['revision']}", name, start=start, tags={k: v for k, v in tags.items() if v})


def training_run(results: Path, top: Run, key: str, events: list[dict]) -> Run:
    """The run of one training, from the events of all its attempts."""
    run = Run(f"{top.key}/training/{key}", f"training {key}", top.key, start=events[0]["t"])
    run.tags = {"gen2reco.kind": "training", "gen2reco.training": key, **_inherited(top)}
    points: dict[tuple[str, int], Point] = {}
    for event in events:
        match event:
            case {"kind": "metrics", "values": values, "step": step, "t": time}:
                for name, value in values.items():
                    points.setdefault((name, step), Point(name, float(value), time, step))
            case {"kind": "params", "values": values}:
                run.params = {**values, **run.params}
            case {"kind": "tags", "values": values}:
                run.tags.update(values)
            case {
                "kind": "dataset",
                "name": name,
                "digest": found,
                "context": context,
                "source": source,
                "facts": facts,
            }:
                run.datasets.append(Data(name, found, context, source, json.dumps(facts, sort_keys=True)))
            case {"kind": "artifact", "file": name, "folder": folder}:
                if path := spool.spooled_file(results, name):
                    run.artifacts.append((path, spool.safe_path(folder)))
            case {"kind": "model", "name": name, "files": names}:
                if files := _model_files(results, names):
                    run.models.append((name, files))
            case {"kind": "end", "status": status, "t": time}:
                if run.status != spool.FINISHED:
                    run.status, run.end = status, time
    if run.status != spool.FINISHED and events[-1]["kind"] != "end":
        run.status, run.end = "RUNNING", None
    run.points, run.datasets = list(points.values()), list(dict.fromkeys(run.datasets))
    run.tags["gen2reco.attempts"] = str(len({event["attempt"] for event in events}))
    return run


def _model_files(results: Path, names: dict[str, str | None]) -> dict[str, Path]:
    """The spooled files of a model by their names in its folder; empty where one of them is missing or changed."""
    found = {spool.safe_path(place): spool.spooled_file(results, kept) for place, kept in names.items()}
    whole = {place: path for place, path in found.items() if path}
    return whole if len(whole) == len(found) else {}


def _top(results: Path, lock: dict) -> Run:
    top = top_run(results, lock)
    changeable = (
        "job_minutes",
        "failed_events",
        "failed_shards",
        "allow_cpu",
        "code_version",
        "campaign_file",
        "licence",
    )
    top.tags |= {f"gen2reco.{key}": scrub_value(str(lock[key])) for key in changeable if key in lock}
    top.params = {"seed": str(lock["seed"])} if "seed" in lock else {}
    for name, entry in lock["samples"].items():
        for stage, choice in entry["stages"].items():
            top.params[f"{name}.{stage}"] = choice["backend"]
    return top


def _inherited(top: Run) -> dict[str, str]:
    names = ("gen2reco.campaign", "gen2reco.revision", "gen2reco.plan")
    return {name: top.tags[name] for name in names if name in top.tags}


def stage_folders(results: Path, lock: dict) -> Iterator[tuple[str, str]]:
    """(sample, stage) that hold files of their own, in the order of the plan; without a plan, the folders found."""
    planned = lock["samples"].items()
    pairs = [(s, stage) for s, entry in planned for stage, c in entry["stages"].items() if c.get("owner", s) == s]
    if pairs or lock["samples"]:
        yield from pairs
        return
    for folder in sorted(results.glob("*/*/")):
        names = folder.relative_to(results).parts
        if names[0] != REPORT and all(re.match(NAME, name) for name in names):
            yield folder.parent.name, folder.name


def _stage_run(top: Run, shards: Shards, lock: dict, stages: list[Shards]) -> Run:
    entry = lock["samples"].get(shards.sample, {})
    choice = entry.get("stages", {}).get(shards.stage, {})
    planned = -(-entry["events"] // entry["shard_events"]) if entry.get("shard_events") else len(shards)
    run = Run(f"{top.key}/{shards.sample}/{shards.stage}", f"{shards.sample} {shards.stage}", top.key)
    run.start, run.end = shards.start, shards.end
    kind = {"gen2reco.kind": "stage", "gen2reco.sample": shards.sample, "gen2reco.stage": shards.stage}
    made, planned_model = choice.get("made"), choice.get("model")  # of a model made by the campaign, its training
    model = shards.one("model_digest") if made else planned_model or shards.one("model_digest")
    named = choice.get("named") or made
    found = {"gen2reco.config": choice.get("digest"), "gen2reco.model": model, "gen2reco.named": named}
    found["gen2reco.progress"] = f"{len(shards)}/{planned} shards"
    run.tags = {**_inherited(top), **kind, **{k: str(v) for k, v in found.items() if v}, **shards.tags()}
    settings = {key: choice[key] for key in ("backend", "version", "chunk_events") if choice.get(key)}
    settings |= {"model": model} if planned_model and model else {}
    settings |= {"sample": shards.sample, "stage": shards.stage, "seed": lock.get("seed", shards.one("seed"))}
    settings |= {f"options.{k}": v for k, v in spool.flatten(choice.get("options", {}))}
    run.params = {key: scrub_value(str(value), key) for key, value in settings.items()}
    run.points = [Point(*point) for point in shards.points()]
    complete = len(shards) >= planned
    failed = shards.failed > lock.get("failed_shards", 0.0) * len(shards)
    run.status = "FAILED" if failed else "FINISHED" if complete else "RUNNING"
    if complete:
        run.datasets = [_data(source, "input") for source in _sources(shards, entry, stages)] + [
            _data(shards, "output")
        ]
    return run


def _sources(shards: Shards, entry: dict, stages: list[Shards]) -> list[Shards]:
    """The shards of the stage before, which may be another sample's."""
    order = list(entry.get("stages", {}))
    place = order.index(shards.stage) if shards.stage in order else 0
    if not place:
        return []
    owner = entry["stages"][order[place - 1]].get("owner", shards.sample)
    return [s for s in stages if (s.sample, s.stage) == (owner, order[place - 1])]


def _data(shards: Shards, context: str) -> Data:
    source = f"{shards.sample}/{shards.stage}"
    facts = {"events": shards.total("events_out"), "shards": len(shards), "seed": shards.one("seed")}
    return Data(source, shards.content(), context, source, json.dumps(facts, sort_keys=True))


def _complete_top(
    top: Run, results: Path, lock: dict, runs: list[Run], stages: list[Shards], reports: list[Told]
) -> None:
    """Complete the top run by what follows from all others: status, span, report, the table of contents."""
    top.start = top.start or min((run.start for run in runs if run.start), default=0)
    top.end = max((run.end for run in runs if run.end), default=None)
    states = {run.status for run in runs}
    made = {(shards.sample, shards.stage) for shards in stages}
    missing = set(stage_folders(results, lock)) - made
    top.status = next((s for s in ("RUNNING", "FAILED", "KILLED") if s in states), "RUNNING" if missing else "FINISHED")
    last = {run.tags["gen2reco.sample"]: run for run in runs if run.datasets and "gen2reco.sample" in run.tags}
    top.datasets = [data._replace(context="report") for run in last.values() for data in run.datasets[-1:]]
    made_by = max((shards.end for shards in stages), default=0)
    for name, key in (("events_made", "events"), ("core_hours",) * 2, ("gpu_hours",) * 2, ("wall_hours",) * 2):
        total = sum(shards.totals()[key] for shards in stages)
        top.points += [Point(name, total, made_by, sum(map(len, stages)))] if stages else []
    top.points += [Point(*point) for point in headline_metrics(results, reports)]
    by_candidate = {name: t.of(name) for t in reports for name in t.candidates}
    top.tags |= {f"verdict.{name}": text for name, text in by_candidate.items()}
    top.tags |= {"verdict": " | ".join(f"{name}: {text}" for name, text in by_candidate.items())} if reports else {}
    top.artifacts = [(results / LOCK_NAME, "plan")] if (results / LOCK_NAME).is_file() else []
    top.artifacts += files_of(results)
    top.note = campaign_note(lock, [_listed(run) for run in runs], reports, results)


def _listed(run: Run) -> tuple[str, ...]:
    """Name, state, events and core hours of a run, as text."""
    latest = {point.key: point.value for point in run.points}
    events, hours = (latest.get(key) for key in ("events", "core_hours"))
    numbers = (f"{events:.0f}" if events is not None else "", f"{hours:.3g}" if hours is not None else "")
    return run.name, run.tags.get("gen2reco.progress", run.status.lower()), *numbers
