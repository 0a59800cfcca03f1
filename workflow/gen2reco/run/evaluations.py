"""How good a model is on held-out events: the file `evaluation.json` of its folder."""

import json
from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from gen2reco.config.block import load_json, parse_block
from gen2reco.errors import InputError
from gen2reco.files import write_text
from gen2reco.run.model_folder import EVALUATION, MAX_CONFIG

Word = Annotated[str, StringConstraints(pattern=r"^[^\x00\n]*$", max_length=500)]
Key = Annotated[str, StringConstraints(pattern=r"^[^\x00\n]+$", max_length=500)]
Number = Annotated[float, Field(strict=True)]


class Tolerant(BaseModel):
    """What is used of a larger file; other keys are for people."""

    model_config = ConfigDict(extra="ignore")


class Judged(Tolerant):
    """A metric of a model on held-out events."""

    name: Key
    value: Number
    uncertainty: Number | None = None
    n: int | None = None
    """Events of each side."""
    sample: Word | None = None


class HeldOut(Tolerant):
    """The events that a model was judged on."""

    name: Word = ""
    digest: Word | None = None


class Evaluation(Tolerant):
    """How good a model is."""

    sample: HeldOut
    metrics: list[Judged]


def evaluation(folder: Path) -> dict:
    """The evaluation of a model folder: {"sample": {"name", "digest"}, "metrics": {name: {"value", …}}}. Raises
    InputError where there is none, or a damaged one."""
    path = folder / EVALUATION
    if not path.exists():
        raise InputError(f"{path}: no such file; a model is compared by its evaluation on held-out events")
    try:
        found = parse_block(load_json(path, MAX_CONFIG), Evaluation, str(path))
    except InputError as error:
        line = str(error).splitlines()[0].removeprefix(f"{path}: ")
        raise InputError(f"{path}: damaged evaluation: {line}; evaluate the model again") from None
    return {"sample": found.sample.model_dump(), "metrics": {row.name: row.model_dump() for row in found.metrics}}


def save_evaluation(folder: Path, sample: str, digest: str, metrics: Iterable[dict]) -> None:
    """Write how good a model is on held-out events: their name and content digest, and metrics {name, value,
    uncertainty}; one on other events names their digest as `sample`."""
    plain = {"sample": {"name": sample, "digest": digest}, "metrics": list(metrics)}
    write_text(folder / EVALUATION, json.dumps(plain, indent=1) + "\n")
