"""Jobs of a plan on the models that its campaign makes: train one, and judge it on held-out samples."""

import json
import os
import platform
import resource
import shutil
import sys
import time
from contextlib import suppress
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gen2reco.commands.train import evaluate
from gen2reco.errors import Gen2recoError, InfrastructureError, InputError
from gen2reco.track.secrets import shown_command

if TYPE_CHECKING:
    from gen2reco.flow.training_data import DataFiles
    from gen2reco.flow.trainings import Trainer
    from gen2reco.flow.warm_start import Parent
    from gen2reco.track.training_log import TrainingLog

FILE = click.Path(path_type=Path)


@click.command("make-model")
@click.argument("lock", type=FILE)
@click.argument("name")
@click.argument("receipt", type=FILE)
def make_model(lock: Path, name: str, receipt: Path) -> None:
    """Train the model NAME of the plan LOCK, and write what came of it to RECEIPT.

    The model lies in results/<campaign>/models/NAME/model. Killed and started again, the training goes on from its last
    checkpoint.
    """
    from gen2reco.flow import trainings
    from gen2reco.flow.processes import end_with_parent, over_processes
    from gen2reco.paths import made_model

    job = _Job(lock, name, receipt)
    device = job.device()
    if job.entry.get("gpus", 1) > 1:
        if "WORLD_SIZE" not in os.environ:
            over_processes(sys.argv[1:], job.entry["gpus"], device)
        end_with_parent()
    parent = job.parent()
    place = made_model(job.plan.folder, name)
    draft = place.parent / ".partial" / job.entry["digest"][:16] / place.name
    job.cost.go_on(draft.with_name("cost.json"))
    with job.log() as log:
        files = job.files(log)

        def watch(*progress: Any) -> None:
            log.progress(*progress)
            if log.first:
                job.cost.keep()

        made = trainings.make_model(job.trainer, job.recipe, files, draft, None, watch, device, parent)
        if log.first:
            job.confirm()
            digest = _put_in_place(draft, place)
            kinds = {one.folder.relative_to(draft).as_posix(): one.kind for one in made}
            start = {"parent": parent.digest} if parent else {}
            job.write(
                planned=job.entry["digest"], model_digest=digest, kinds=kinds, device=device, **start, **_content(files)
            )
            print(f"{place}: {digest}", file=sys.stderr)


@click.command("judge-model")
@click.argument("lock", type=FILE)
@click.argument("name")
@click.argument("receipt", type=FILE)
def judge_model(lock: Path, name: str, receipt: Path) -> None:
    """Judge the trained model NAME of the plan LOCK on its held-out samples, and write what was found to RECEIPT.

    The model's `evaluation.json` holds the metrics; the report lies beside the model, in `model.held_out`.
    """
    from gen2reco.campaign.model_receipts import checked_place, finished_model
    from gen2reco.flow.training_data import DataFiles
    from gen2reco.run.model_folder import EVALUATION, open_model
    from gen2reco.validate.samples import planned_sample

    job = _Job(lock, name, receipt)
    trained = finished_model(job.plan.folder, name, job.entry["digest"])
    place = checked_place(job.plan.folder, trained)
    made = [open_model(place / part, kind) for part, kind in trained.kinds.items()]
    shutil.rmtree(place.with_name(f"{place.name}.held_out"), ignore_errors=True)
    (place / EVALUATION).unlink(missing_ok=True)
    with job.log() as log:
        judged = [] if job.trainer.own_metrics else [planned_sample(job.plan, one) for one in job.entry["held_out"]]
        files = DataFiles(job.paths("data"), job.held_out(), str((trained.model_extra or {}).get("data_digest", "")))
        rows = evaluate(log, job.trainer, files, place, made, judged)
    note = "" if rows else "not judged: no held-out sample"
    job.write(planned=job.entry["judging"], model_digest=trained.model_digest, metrics=len(rows), note=note)
    print(f"{place}: {note or f'{len(rows)} metrics on held-out events'}", file=sys.stderr)


class _Cost:
    """Wall and CPU seconds of a job, of its earlier attempts too where they were kept."""

    def __init__(self) -> None:
        self.file: Path | None = None
        self.before = {"wall_seconds": 0.0, "cpu_seconds": 0.0, "attempts": 0}
        self.wall = time.perf_counter()

    def go_on(self, file: Path) -> None:
        """Add up from what an earlier attempt kept in a file, as far as its last checkpoint."""
        self.file = file
        with suppress(OSError, ValueError, KeyError, TypeError):
            kept = json.loads(file.read_text(encoding="utf-8"))
            self.before = {name: type(none)(kept[name]) for name, none in self.before.items()}

    def facts(self) -> dict[str, float]:
        """Seconds so far, and the number of attempts."""
        usage = [resource.getrusage(who) for who in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
        cpu = sum(one.ru_utime + one.ru_stime for one in usage)
        now = {"wall_seconds": time.perf_counter() - self.wall, "cpu_seconds": cpu, "attempts": 1}
        return {name: round(value + self.before[name], 3) for name, value in now.items()}

    def keep(self) -> None:
        """Keep the cost so far for the next attempt."""
        from gen2reco.files import write_text

        if self.file:
            write_text(self.file, json.dumps(self.facts()) + "\n")


class _Job:
    """What both jobs share: the plan, the model's entry in it, and the receipt with its clock."""

    def __init__(self, lock: Path, name: str, receipt: Path):
        from gen2reco.campaign.model_receipts import RECEIPT_KEYS
        from gen2reco.campaign.plan import check_release, job_plan
        from gen2reco.config.block import parse_block
        from gen2reco.files import check_output
        from gen2reco.flow.trainings import trainer_class

        print(f"$ gen2reco {shown_command(sys.argv[1:])}", file=sys.stderr)
        if slurm_job := os.environ.get("SLURM_JOB_ID"):
            print(f"Slurm job {slurm_job} on {platform.node()}", file=sys.stderr, flush=True)
        check_output(receipt, own=RECEIPT_KEYS)
        self.plan, self.name, self.receipt = job_plan(lock), name, receipt
        if name not in self.plan.models:
            known = ", ".join(list(self.plan.models)[:10]) or "none"
            raise InputError(f"{lock}: makes no model `{name[:80]}`; known: {known}")
        check_release(self.plan)
        self.entry = self.plan.models[name]
        self.trainer: type[Trainer] = trainer_class(self.entry["train"])
        self.recipe = parse_block(self.entry["recipe"], self.trainer.Recipe, f"{lock}: models.{name}.recipe")
        self.started, self.cost = datetime.now(UTC), _Cost()

    def device(self) -> str:
        """The planned device. Raises InfrastructureError where it cannot be used."""
        from gen2reco.run.devices import usable_device

        return usable_device(self.entry["device"], self.plan.lock["allow_cpu"], f"the training of `{self.name}`")

    def paths(self, which: str) -> list[Path]:
        """The record files of the `data` or `held_out` samples, as planned. Raises InputError."""
        return [file for name in self.entry[which] for file in self._files_of(name)]

    def held_out(self) -> dict[str, list[Path]]:
        """The record files of the held-out samples, for a training that judges its models itself."""
        return {name: self._files_of(name) for name in self.entry["held_out"]} if self.trainer.own_metrics else {}

    def files(self, log: "TrainingLog") -> "DataFiles":
        """What the training reads; logged."""
        from gen2reco.flow.training_data import DataFiles

        start = self.entry.get("parent") or {"data": [], "replay": 0.0}
        new, replayed = self.paths("data"), [file for name in start["data"] for file in self._files_of(name)]
        paths = [*new, *replayed]
        return DataFiles(paths, self.held_out(), log.data(paths), len(replayed), start["replay"])

    def parent(self) -> "Parent | None":
        """The earlier model that the training starts from. Raises InputError where it is unfinished or missing."""
        from gen2reco.campaign.model_receipts import kept_digest
        from gen2reco.flow.warm_start import Parent

        start = self.entry.get("parent")
        if not start:
            return None
        made = start["made"] and kept_digest(self.plan.folder, start["model"], start["digest"])
        return Parent.of(made or start["digest"])

    def _files_of(self, sample: str) -> list[Path]:
        from gen2reco.campaign.model_entries import record_stage
        from gen2reco.campaign.plan import check_file

        stage = str(record_stage(self.plan.stages(sample), self.trainer))
        shards = range(self.plan.shards(sample))
        for shard in shards:
            check_file(self.plan, sample, stage, shard)
        return [self.plan.file(sample, stage, shard) for shard in shards]

    def log(self) -> "TrainingLog":
        """The run of the campaign that training and judging are."""
        from gen2reco.paths import made_model
        from gen2reco.track.training_log import TrainingLog

        place, settings = made_model(self.plan.folder, self.name), self.recipe.model_dump(mode="json")
        return TrainingLog(
            self.plan.folder, self.entry["train"], place, settings, f"{self.name}_{self.entry['digest'][:8]}"
        )

    def confirm(self) -> None:
        """Raises InfrastructureError if the campaign was planned anew while the job ran, with another training."""
        from gen2reco.campaign.plan_lock import read_lock
        from gen2reco.paths import LOCK_NAME

        path = self.plan.folder / LOCK_NAME
        now = read_lock(path).get("models", {}).get(self.name, {})
        if now.get("digest") != self.entry["digest"]:
            raise InfrastructureError(f"{path}: planned anew while this job ran; its model was not put in place")

    def write(self, **facts: Any) -> None:
        """Write the receipt."""
        from gen2reco.campaign.model_receipts import write_receipt
        from gen2reco.run.sidecar import peak_memory_mb

        write_receipt(
            self.receipt,
            {
                "model": self.name,
                "training": self.entry["train"],
                "recipe_digest": self.entry["recipe_digest"],
                "plan_digest": self.plan.lock["digest"],
                "started": self.started.isoformat(timespec="seconds"),
                **self.cost.facts(),
                "peak_memory_mb": peak_memory_mb(),
                **facts,
            },
        )


def _content(files: "DataFiles") -> dict[str, Any]:
    """What was trained on, by content, for the receipt."""
    from gen2reco.track.training_log import contents

    return {
        "data": {name: content for name, (content, _) in contents(files.paths).items()},
        "data_digest": files.digest,
    }


def _put_in_place(draft: Path, place: Path) -> str:
    """Keep a model in the cache and move its folder into place, unless the same model is there; checkpoints of earlier
    trainings are removed. Returns the model's digest."""
    from gen2reco.run.model_folder import keep_model, model_digest

    digest, there = keep_model(draft), ""
    with suppress(Gen2recoError):
        there = model_digest(place)
    if there == digest:
        shutil.rmtree(draft)
    else:
        if place.exists():
            print(f"{place}: another model than before ({digest[:12]}, it was {there[:12]})", file=sys.stderr)
        shutil.rmtree(place, ignore_errors=True)
        draft.rename(place)
    for folder in draft.parent.parent.iterdir():
        if folder != draft.parent:
            shutil.rmtree(folder, ignore_errors=True)
    return digest
