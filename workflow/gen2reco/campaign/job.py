"""Jobs of a plan: the stage, shard, settings and device of each are those of the plan."""

from pathlib import Path

from gen2reco.campaign.model_receipts import kept_digest
from gen2reco.campaign.plan import Plan, check_file, check_release, job_plan, read_plan
from gen2reco.campaign.plan_lock import read_lock
from gen2reco.errors import InfrastructureError, InputError
from gen2reco.paths import LOCK_NAME
from gen2reco.run.devices import usable_device
from gen2reco.run.runner import Job
from gen2reco.run.stage import make_backend


def planned_job(
    lock: Path, stage: str, sample: str | None, shard: int | None, output: Path, source: Path | None, workers: int
) -> Job:
    """The job of one stage of one shard with all settings from the plan. Raises InputError."""
    plan = job_plan(lock)
    if sample not in plan.samples or stage not in plan.stages(sample):
        raise InputError(f"{lock}: no stage `{stage}` of a sample `{sample}`; known samples: {', '.join(plan.samples)}")
    if shard is None or shard >= plan.shards(sample):
        raise InputError(f"{lock}: sample `{sample}` has {plan.shards(sample)} shards; there is no shard {shard}")
    if source is not None:
        stages = plan.stages(sample)
        check_file(plan, sample, stages[stages.index(stage) - 1], shard, source)
    choice = plan.choice(sample, stage)
    options, model = _options_and_model(plan, choice)
    backend = make_backend(stage, choice["backend"], options, plan.detector)
    if backend.model_digest != model:
        raise InputError(
            f"{lock}: {sample}.{stage} was planned with model {model}, here it is {backend.model_digest}; "
            "put the planned one back, or run `gen2reco plan CAMPAIGN --new-revision`"
        )
    check_release(plan, stage)
    library = plan.library(sample, stage)
    for file in library:
        check_file(plan, *file)
    backend.library = tuple(plan.file(*file) for file in library)
    return Job(
        backend,
        Path(output),
        plan.lock["seed"],
        source,
        plan.events(sample, shard),
        sample=plan.owner(sample, stage),
        shard=shard,
        chunk_events=choice["chunk_events"],
        oversample=choice.get("oversample", 1),
        workers=workers,
        failed_events_allowed=plan.lock["failed_events"],
        facts={"config_digest": choice["digest"], "plan_digest": plan.lock["digest"]},
        confirm=lambda: _still_planned(plan, sample, stage, shard),
    )


def _options_and_model(plan: Plan, choice: dict) -> tuple[dict, str | None]:
    """The options of a planned stage, and the digest of its model; a model that the campaign makes is named by its
    digest, which is known once it is trained. Raises InputError where it is not."""
    if "made" not in choice:
        return choice["options"], choice["model"]
    found = kept_digest(plan.folder, choice["made"], choice["model"])
    return {**choice["options"], "model": found}, found


def _still_planned(plan: Plan, sample: str, stage: str, shard: int) -> None:
    """Raises InfrastructureError if the campaign was planned anew while the job ran, and its file no longer belongs."""
    path = plan.folder / LOCK_NAME
    now = Plan(plan.folder, read_lock(path))
    if now.lock["digest"] == plan.lock["digest"]:
        return
    same = sample in now.samples and stage in now.stages(sample)
    if not same or _made(now, sample, stage, shard) != _made(plan, sample, stage, shard):
        raise InfrastructureError(f"{path}: planned anew while this job ran; its file was not put in place")


def _made(plan: Plan, sample: str, stage: str, shard: int) -> tuple:
    """The digest of the stage, the events and the path of a shard's file."""
    return plan.choice(sample, stage)["digest"], plan.events(sample, shard), plan.file(sample, stage, shard)


def planned_device(lock: Path | str, stage: str, sample: str) -> str:
    """The device of a stage in the plan, `cpu` or `cuda`. Raises InfrastructureError if no GPU is visible, unless the
    campaign allows the CPU instead."""
    plan = read_plan(lock)
    return usable_device(plan.choice(sample, stage)["device"], plan.lock["allow_cpu"], f"{stage} of `{sample}`")
