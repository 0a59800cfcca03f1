"""The block of a model that a campaign makes: its training, recipe, data, and the samples that it is judged on."""

import re
from pathlib import Path
from typing import Literal, Self

from pydantic import Field, model_validator

from gen2reco.config.block import Block, Name

PACKAGE = Path(__file__).parents[1]


class ModelChoice(Block):
    """A model that the campaign trains on some of its samples and judges on others; a stage of a sample uses it by
    `model: <name>`."""

    train: str = Field(min_length=1, max_length=64)
    """The training: `showers`, `generation`, `calibration`, `fused`, or that of an installed package."""
    recipe: str | None = None
    """Recipe file of the training; left out: its defaults."""
    data: list[Name] = Field(min_length=1, max_length=1000)
    """Samples to train on."""
    held_out: list[Name] = Field(default=[], max_length=1000)
    """Samples that the model is judged on; none: it is not judged, unless its training sets events apart itself."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where it is trained; `cuda` jobs ask the cluster for a GPU."""

    @model_validator(mode="after")
    def _each_sample_once(self) -> Self:
        named = [*self.data, *self.held_out]
        if twice := sorted({name for name in named if named.count(name) > 1}):
            raise ValueError(f"`{twice[0]}` stands twice in `data` and `held_out`; a model is judged on other events")
        return self


def not_shipped(name: str) -> str:
    """The name of a model, where no shipped model has it, and where it cannot be taken for a digest. Raises
    ValueError."""
    shipped = {folder.parent.name for folder in PACKAGE.glob("*/release/*/config.json")}
    if name in {"release", *shipped} or re.fullmatch("[0-9a-f]{12,64}", name):
        raise ValueError("a shipped model has this name, or it could be a digest; choose another")
    return name
