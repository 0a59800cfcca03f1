"""Receipts of the models that a campaign makes, `trained.json` and `judged.json`, and the way from a receipt to the
model's folder."""

import json
import os
import platform
from pathlib import Path
from typing import Annotated, Any, TypeVar

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from gen2reco import __version__
from gen2reco.config.block import load_json, parse_block
from gen2reco.errors import InputError
from gen2reco.files import MAX_TEXT, write_text
from gen2reco.paths import judged_file, made_model, trained_file
from gen2reco.run.model_folder import keep_model, kept_models, located, model_digest

RECEIPT_KEYS = ("model", "model_digest", "planned")
Sha256 = Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")]
Seconds = Annotated[float, Field(ge=0, lt=1e12)]


class Trained(BaseModel):
    """The receipt of a training."""

    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)

    model: Annotated[str, StringConstraints(max_length=64)]
    """Name of the model in its campaign."""
    planned: Sha256
    """Digest of all that decides the model, as the plan has it."""
    model_digest: Sha256
    """Digest of the model that was made."""
    parent: str = ""
    """Digest of the earlier model that it started from; empty for none."""
    kinds: dict[str, str]
    """Folder of each part in the model's folder, empty for a model in one part, and the kind of the part."""
    wall_seconds: Seconds
    cpu_seconds: Seconds


class Judged(BaseModel):
    """The receipt of a judging."""

    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)

    model: Annotated[str, StringConstraints(max_length=64)]
    """Name of the model in its campaign."""
    planned: Sha256
    """Digest of all that decides the evaluation, as the plan has it."""
    model_digest: Sha256
    """Digest of the model that was judged."""
    metrics: Annotated[int, Field(ge=0)]
    """Number of metrics in the model's `evaluation.json`."""
    note: str
    """Why the model is not judged; empty if it is."""


ReceiptT = TypeVar("ReceiptT", Trained, Judged)


def write_receipt(path: Path, facts: dict[str, Any]) -> None:
    """Write a receipt whole or not at all, with host, code version and Slurm job added."""
    slurm = {"slurm_job_id": os.environ["SLURM_JOB_ID"]} if "SLURM_JOB_ID" in os.environ else {}
    facts = {**facts, "host": platform.node(), "code_version": __version__, **slurm}
    write_text(path, json.dumps(facts, indent=1, sort_keys=True) + "\n")


def read_trained(folder: Path, name: str) -> Trained | None:
    """The receipt of a model's training in the results folder of its campaign; None where there is none. Raises
    InputError for a damaged one."""
    return _read(trained_file(folder, name), Trained)


def read_judged(folder: Path, name: str) -> Judged | None:
    """The receipt of a model's judging; None where there is none. Raises InputError for a damaged one."""
    return _read(judged_file(folder, name), Judged)


def _read(path: Path, kind: type[ReceiptT]) -> ReceiptT | None:
    if not path.is_file():
        return None
    return parse_block(load_json(path, MAX_TEXT), kind, f"{path}: no receipt, delete it and run the campaign")


def finished_model(folder: Path, name: str, planned: str) -> Trained:
    """The receipt of a model that is trained as the plan says. Raises InputError where it is not."""
    receipt = read_trained(folder, name)
    if receipt is None:
        raise InputError(f"{made_model(folder, name)}: model `{name}` is not trained yet; run the campaign to train it")
    if receipt.planned != planned:
        raise InputError(
            f"{trained_file(folder, name)}: was trained by an earlier plan, with another recipe or on other data; run "
            "the campaign to train it again"
        )
    return receipt


def kept_digest(folder: Path, name: str, planned: str) -> str:
    """The digest of a finished model of a campaign, which the cache holds from now on. Raises InputError where it is
    unfinished, or not the model of its receipt."""
    receipt = finished_model(folder, name, planned)
    if (kept_models() / receipt.model_digest).is_dir():
        return located(receipt.model_digest).name
    return keep_model(checked_place(folder, receipt))


def checked_place(folder: Path, receipt: Trained) -> Path:
    """The folder of a trained model. Raises InputError where it does not hold the model of the receipt."""
    place = made_model(folder, receipt.model)
    if (found := model_digest(place)) != receipt.model_digest:
        raise InputError(
            f"{place}: the model's digest is {found}, its receipt says {receipt.model_digest}; `gen2reco recover` "
            "trains it again"
        )
    return place
