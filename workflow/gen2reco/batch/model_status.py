"""The state of the models that a campaign makes, from their receipts, checkpoints and logs."""

import re
import time
from dataclasses import dataclass
from pathlib import Path

from gen2reco.batch.lost_jobs import SIGNS
from gen2reco.campaign.model_receipts import Trained, checked_place, finished_model, read_judged
from gen2reco.campaign.plan import Plan, by_present_model
from gen2reco.errors import InputError
from gen2reco.paths import judged_file, made_model, trained_file
from gen2reco.run.sidecar import sidecar_path

RUNNING_SECONDS = 900.0
"""Seconds within which a checkpoint, or a chunk of a shard, must have been written for its job to count as running."""


@dataclass(frozen=True)
class ModelState:
    """How far a model is: `waiting`, `running`, `trained`, `judged`, or `failed`, with the reason in one line."""

    state: str
    note: str = ""
    trained: Trained | None = None


def model_state(plan: Plan, name: str) -> ModelState:
    """The state of a model of the plan."""
    entry = plan.models[name]
    try:
        trained = finished_model(plan.folder, name, entry["digest"])
    except InputError as error:
        if reason := _reason(plan, "train", name):
            return ModelState("failed", reason)
        if _checkpoint_age(plan, name) < RUNNING_SECONDS:
            return ModelState("running")
        return ModelState("waiting", str(error) if trained_file(plan.folder, name).exists() else "")
    try:
        checked_place(plan.folder, trained)
        judged = read_judged(plan.folder, name)
    except InputError as error:
        return ModelState("failed", str(error))
    if judged and (judged.planned, judged.model_digest) == (entry["judging"], trained.model_digest):
        return ModelState("judged", judged.note, trained)
    if reason := _reason(plan, "judge", name):
        return ModelState("failed", reason, trained)
    return ModelState("trained", "", trained)


def failed_models(plan: Plan) -> tuple[list[Path], list[Path]]:
    """Receipts to make again, of models that failed, and the last receipts of these models."""
    remake, targets = [], []
    for name in plan.models:
        found = model_state(plan, name)
        if found.state == "failed":
            receipt = judged_file if found.trained else trained_file
            remake.append(receipt(plan.folder, name))
            targets.append(judged_file(plan.folder, name))
    return remake, targets


def made_by_others(plan: Plan) -> list[str]:
    """Lines on stages with shards that were made by another model than the campaign has now."""
    lines = []
    for sample in plan.samples:
        for stage in plan.stages(sample):
            name = plan.choice(sample, stage).get("made")
            if name is None or plan.owner(sample, stage) != sample or not trained_file(plan.folder, name).exists():
                continue
            shards = [n for n in range(plan.shards(sample)) if sidecar_path(plan.file(sample, stage, n)).exists()]
            if others := [n for n in shards if not by_present_model(plan, sample, stage, n)]:
                lines.append(
                    f"stale: {sample} {stage}: {len(others)} shards of another `{name}` than there is now; the next "
                    "run of the campaign makes them again"
                )
    return lines


def _reason(plan: Plan, rule: str, name: str) -> str:
    """Why the last attempt failed, by its log; empty where nothing went wrong yet."""
    log = plan.folder / "logs" / rule / f"{name}.log"
    text = log.read_text(errors="replace") if log.is_file() else ""
    if errors := re.findall(r"^gen2reco: error: (.*)$", text, re.M):
        return errors[-1]
    if "Traceback (most recent call last)" in text:
        return text.strip().splitlines()[-1]
    return next((reason for pattern, reason in SIGNS.items() if re.search(pattern, text)), "")


def _checkpoint_age(plan: Plan, name: str) -> float:
    """Seconds since a checkpoint of the planned training was written; infinite where there is none."""
    folder = made_model(plan.folder, name).parent / ".partial" / plan.models[name]["digest"][:16]
    times = [path.stat().st_mtime for path in folder.rglob("*") if path.is_file()]
    return time.time() - max(times) if times else float("inf")
