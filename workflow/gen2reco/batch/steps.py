"""All steps of a campaign to the last, and how far each is, from its files: stages, ntuples, verification, models,
reports, tracking."""

import time
from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path

from gen2reco.batch.model_status import RUNNING_SECONDS, model_state
from gen2reco.campaign.made import DONE, FAILED, MISSING, REMOVED, STALE, Made, Shard
from gen2reco.campaign.plan import Plan
from gen2reco.campaign.rates import job_cost
from gen2reco.paths import judged_file, report_folder, tracked_file, trained_file, verified_file
from gen2reco.run.sidecar import sidecar_path
from gen2reco.run.stage_table import PUBLISH

RUNNING, WAITING = "running", "waiting"
STATES = (DONE, REMOVED, RUNNING, FAILED, STALE, WAITING)
FINISHED = (DONE, REMOVED)


@dataclass
class Step:
    """One step of a sample, of a model or of the campaign: its jobs by state."""

    what: str
    """The sample, the model or the campaign."""
    name: str
    """The stage, or `publish`, `verify`, `train`, `judge`, `report`, `track`."""
    states: Counter[str]
    failed: list[int] = field(default_factory=list)
    """Numbers of the failed shards."""
    rate: float | None = None
    """Events per second of its finished shards."""
    seconds: float | None = None
    """Seconds of work left, in one job at a time; None where nobody knows."""

    @property
    def total(self) -> int:
        """Number of jobs."""
        return self.states.total()

    @property
    def finished(self) -> int:
        """Number of jobs that are done, what was removed afterwards included."""
        return sum(self.states[state] for state in FINISHED)

    @property
    def seconds_left(self) -> float | None:
        """Seconds until it ends with as many jobs at once as now; None where nobody knows."""
        return None if self.seconds is None else self.seconds / max(self.states[RUNNING], 1)

    @property
    def complete(self) -> bool:
        """Whether nothing is left to do."""
        return self.finished == self.total


def all_steps(plan: Plan, made: Made) -> list[Step]:
    """The steps of a campaign in the order in which they run. A failed shard counts as done where its sample is
    verified nevertheless."""
    steps: list[Step] = []
    for sample in plan.samples:
        own = [stage for stage in plan.stages(sample) if plan.owner(sample, stage) == sample]
        steps += [stage_step(plan, made, sample, stage) for stage in own]
        if plan.publishes(sample):
            steps.append(_publish_step(plan, made, sample))
        steps.append(_one(sample, "verify", _verified(plan, sample), _last_shard(plan, sample)))
    steps += list(_model_steps(plan))
    reports = []
    for comparison in plan.lock["compare"]:
        names = [comparison["reference"], *comparison["candidates"]]
        reports.append(_changed(report_folder(plan.folder, comparison["reference"]) / "metrics.json"))
        ready = _latest([_verified(plan, name) for name in names])
        steps.append(_one(comparison["reference"], "report", reports[-1], ready))
    steps.append(_one(plan.lock["name"], "track", _changed(tracked_file(plan.folder)), _latest(reports)))
    _forgive(steps)
    return steps


def complete(steps: list[Step]) -> bool:
    """Whether a campaign is done to its last step."""
    return all(step.complete for step in steps)


def stage_step(plan: Plan, made: Made, sample: str, stage: str) -> Step:
    """How far a stage of a sample is."""
    running = _running(plan.file(sample, stage, 0).parent)
    shards = made.shards(sample, stage)
    states, failed, facts = Counter[str](), [], []
    for number, shard in enumerate(shards):
        state = _state(shard, plan.file(sample, stage, number), running)
        states[state] += 1
        if state == FAILED:
            failed.append(number)
        if state in FINISHED:
            facts.append(shard.facts)
    step = Step(sample, stage, states, failed)
    seconds, events = sum(f["wall_seconds"] for f in facts), sum(f["events_in"] for f in facts)
    left = sum(states[state] for state in (RUNNING, WAITING, STALE))
    if seconds and events:
        step.rate = events / seconds
        step.seconds = left * seconds / len(facts)
    elif left:
        stages = {one: plan.choice(sample, one) for one in plan.stages(sample)}
        cost = job_cost(stages, stage, plan.detector.digest())
        step.seconds = None if cost.guessed else left * cost.seconds(plan.samples[sample]["shard_events"])
    return step


def _state(shard: Shard, file: Path, running: set[str]) -> str:
    if shard.state in (MISSING, STALE) and file.name in running:
        return RUNNING
    return WAITING if shard.state == MISSING else shard.state


def _publish_step(plan: Plan, made: Made, sample: str) -> Step:
    """How far the ntuples of a sample are; one older than its objects is stale."""
    states, last = Counter[str](), plan.stages(sample)[-1]
    for number, shard in enumerate(made.shards(sample, last)):
        there = plan.ntuple(sample, number).is_file()
        fine = there and made.published(sample, number) and (shard.made or shard.state == FAILED)
        states[DONE if fine else STALE if there else WAITING] += 1
    stages = {one: plan.choice(sample, one) for one in plan.stages(sample)}
    step, cost = Step(sample, PUBLISH, states), job_cost(stages, PUBLISH, plan.detector.digest())
    if not cost.guessed:
        step.seconds = (step.total - step.finished) * cost.seconds(plan.samples[sample]["shard_events"])
    return step


def _one(what: str, name: str, made: float | None, source: float | None) -> Step:
    """A step of one job, whose file was written at `made` from files of which the latest was written at `source`."""
    fresh = made is not None and source is not None and made >= source
    return Step(what, name, Counter([WAITING if made is None else DONE if fresh else STALE]))


def _model_steps(plan: Plan) -> Iterator[Step]:
    for name in plan.models:
        found = model_state(plan, name).state
        trained = found in ("trained", "judged") or (found == FAILED and trained_file(plan.folder, name).exists())
        train = DONE if trained else found
        judge = DONE if found == "judged" else FAILED if found == FAILED and trained else WAITING
        for rule, state, receipt in (("train", train, trained_file), ("judge", judge, judged_file)):
            old = state == WAITING and receipt(plan.folder, name).exists()
            yield Step(name, rule, Counter([STALE if old else state]))


def _forgive(steps: list[Step]) -> None:
    """Count failed shards of verified samples as done: the campaign tolerates them."""
    verified = {step.what for step in steps if step.name == "verify" and step.complete}
    for step in steps:
        if step.what in verified and step.states[FAILED] and step.name not in ("train", "judge"):
            step.states[DONE] += step.states.pop(FAILED)


def _verified(plan: Plan, sample: str) -> float | None:
    """When a sample was verified; None where it was not."""
    return _changed(verified_file(plan.folder, sample))


def _last_shard(plan: Plan, sample: str) -> float | None:
    """When the last sidecar of a sample was written; None where one is missing."""
    shards = range(plan.shards(sample))
    return _latest(_changed(sidecar_path(plan.file(sample, stage, n))) for stage in plan.stages(sample) for n in shards)


def _latest(times: Iterable[float | None]) -> float | None:
    """The latest of some times, 0 of none; None where one is missing."""
    last = 0.0
    for time_ in times:
        if time_ is None:
            return None
        last = max(last, time_)
    return last


def _changed(file: Path) -> float | None:
    try:
        return file.stat().st_mtime_ns
    except OSError:
        return None


def _running(folder: Path) -> set[str]:
    """Names of outputs whose unfinished chunks were written in the last RUNNING_SECONDS; second names of finished files
    (run/finished.py) are none."""
    recent = time.time() - RUNNING_SECONDS
    return {
        place.name.rpartition("-")[0]
        for place in (folder / ".partial").glob("*/")
        if place.stat().st_mtime > recent and not any(place.glob("done-*"))
    }
