"""The block of a model that a campaign makes: its training, recipe, data, and the samples that it is judged on."""

import itertools
import re
from pathlib import Path
from typing import Any, Literal, Self

from pydantic import Field, GetJsonSchemaHandler, model_validator

from gen2reco.config.block import Block, Name

PACKAGE = Path(__file__).parents[1]
MAX_MEMBERS = 100
"""Most members of a family; more is taken for a mistake."""


class WarmStart(Block):
    """The earlier model whose weights a training starts from; a name alone stands for `{model: name}`."""

    model: str = Field(min_length=1, max_length=4096)
    """A model of the campaign by its name, the shipped one (`release`, or the name of a shipped generator), or one as
    stages take it: a folder with `/` in its name, a digest, `models:/NAME@ALIAS` or `models:/NAME/VERSION`."""
    replay: float = Field(default=0.0, ge=0, lt=1)
    """Share of each batch from the data of the earlier model, against forgetting."""
    data: list[Name] = Field(default=[], max_length=1000)
    """Samples of this campaign that are replayed; left out: those that the earlier model was trained on, if the
    campaign makes it."""

    @model_validator(mode="before")
    @classmethod
    def _name_alone(cls, data: Any) -> Any:
        return {"model": data} if isinstance(data, str) else data

    @classmethod
    def __get_pydantic_json_schema__(cls, core: Any, handler: GetJsonSchemaHandler) -> dict[str, Any]:
        return {"anyOf": [{"type": "string"}, handler(core)]}

    @model_validator(mode="after")
    def _data_are_replayed(self) -> Self:
        if self.data and not self.replay:
            raise ValueError("`data` are replayed by a share of each batch; state it as `replay`, or leave `data` out")
        return self


class ModelChoice(Block):
    """A model that the campaign trains on some of its samples and judges on others; a stage of a sample uses it by
    `model: <name>`."""

    train: str = Field(min_length=1, max_length=64)
    """The training: `showers`, `generation`, `calibration`, `fused`, or that of an installed package."""
    recipe: str | None = None
    """Recipe file of the training; left out: its defaults."""
    vary: dict[str, list[Any]] = Field(default={}, max_length=10)
    """A family of models: keys of the recipe (`layers.family`) with the values that they take. Each combination is a
    model of its own, named `<name>_<values>`; a sample that uses `<name>` becomes one sample for each."""
    data: list[Name] = Field(min_length=1, max_length=1000)
    """Samples to train on."""
    held_out: list[Name] = Field(default=[], max_length=1000)
    """Samples that the model is judged on; none: it is not judged, unless its training sets events apart itself."""
    start: WarmStart | None = Field(default=None, alias="from")
    """The earlier model whose weights the training starts from; left out: none."""
    device: Literal["cpu", "cuda"] = "cpu"
    """Where it is trained; `cuda` jobs ask the cluster for a GPU."""
    gpus: int = Field(default=1, ge=1, le=64)
    """GPUs of one node, or processes on `cpu`, over which torchrun shares out the batches."""

    @model_validator(mode="after")
    def _each_sample_once(self) -> Self:
        named = [*self.data, *self.held_out, *(self.start.data if self.start else [])]
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


def with_families(data: Any) -> Any:
    """The plain data of a campaign with each model that has `vary` replaced by the members of its family, each sample
    that uses it by one sample a member, and so in `compare`. Raises ValueError for a family without members."""
    if not isinstance(data, dict) or not isinstance(models := data.get("models"), dict):
        return data
    families = {name: _members(name, model) for name, model in models.items() if _varied(model)}
    if not families or not isinstance(samples := data.get("samples"), dict):
        return data
    made = {name: _by_member(name, sample, families) for name, sample in samples.items()}
    every = {name: families.get(name) or {name: model} for name, model in models.items()}
    return {
        **data,
        "models": _merged("models", every),
        "samples": _merged("samples", made),
        "compare": [_with_members(one, made) for one in data.get("compare") or []],
    }


def _varied(model: Any) -> bool:
    return isinstance(model, dict) and isinstance(model.get("vary"), dict) and bool(model["vary"])


def _members(name: str, model: dict) -> dict[str, dict]:
    """The models of a family by name; `vary` of each holds one value a key."""
    values = [value if isinstance(value, list) else [] for value in model["vary"].values()]
    found: dict[str, dict] = {}
    for chosen in itertools.islice(itertools.product(*values), MAX_MEMBERS + 1):
        words = (re.sub("[^a-z0-9]+", "_", str(value).lower()).strip("_") for value in chosen)
        member = "_".join([name, *words])
        if member in found:
            raise ValueError(f"`models.{name}.vary`: two members would be named `{member}`; vary by other values")
        found[member] = {**model, "vary": {key: [value] for key, value in zip(model["vary"], chosen)}}
    if not 1 <= len(found) <= MAX_MEMBERS:
        raise ValueError(f"`models.{name}.vary`: expected lists of values that make 1 to {MAX_MEMBERS} models")
    return found


def _by_member(name: str, sample: Any, families: dict[str, dict[str, dict]]) -> dict[str, Any]:
    """A sample, or where a stage of it uses a family, one sample for each member."""
    for stage, choice in sample.items() if isinstance(sample, dict) else ():
        family = choice.get("model") if isinstance(choice, dict) else None
        if isinstance(family, str) and family in families:
            return {
                f"{name}{member.removeprefix(family)}": {**sample, stage: {**choice, "model": member}}
                for member in families[family]
            }
    return {name: sample}


def _merged(what: str, parts: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """The members of all in one block. Raises ValueError for a name that stands twice."""
    found: dict[str, Any] = {}
    for part in parts.values():
        if twice := found.keys() & part.keys():
            raise ValueError(f"`{what}.{min(twice)}` has the name of a member of a family; rename it")
        found |= part
    return found


def _with_members(comparison: Any, samples: dict[str, dict]) -> Any:
    """A comparison whose candidates are the samples of all members."""
    if not isinstance(comparison, dict) or not isinstance(named := comparison.get("candidates"), list):
        return comparison
    return {**comparison, "candidates": [one for name in named for one in samples.get(name, {name: None})]}
