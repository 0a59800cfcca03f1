"""The models of a plan: in which order they and the samples are made, and the digests of their trainings."""

from collections.abc import Iterable
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

from gen2reco.campaign.campaign import Campaign, StageChoice
from gen2reco.config.block import digest, load_block, parse_block
from gen2reco.config.model_choice import ModelChoice
from gen2reco.errors import InputError
from gen2reco.paths import record_file
from gen2reco.run.stage_table import STAGES
from gen2reco.run.training_kind import TrainingKind, training_kind


def made_model_of(options: dict[str, Any], models: Iterable[str]) -> str | None:
    """The model of the campaign that a stage uses, by its options; None where it uses another one or none."""
    named = options.get("model")
    return named if isinstance(named, str) and named in models else None


def making_order(campaign: Campaign, chains: dict[str, dict[str, StageChoice]]) -> list[tuple[str, str]]:
    """("samples", name) and ("models", name), each after all that it is made of. Raises InputError for a circle."""
    needs: dict[tuple[str, str], set[tuple[str, str]]] = {}
    for name, sample in campaign.samples.items():
        used = {made_model_of(choice.options, campaign.models) for choice in chains[name].values()} - {None}
        needs["samples", name] = {("models", str(model)) for model in used}
        needs["samples", name] |= {("samples", sample.like)} if sample.like else set()
    for name, model in campaign.models.items():
        needs["models", name] = {("samples", sample) for sample in (*model.data, *model.held_out)}
    try:
        return list(TopologicalSorter(needs).static_order())
    except CycleError as error:
        circle = " -> ".join(f"{kind}.{name}" for kind, name in error.args[1][:10])
        raise InputError(
            f"{circle}: a model and its own training data or held-out events; let another sample, `like` that one, "
            "use the model"
        ) from None


def check_use(stage: str, model: str, choice: ModelChoice) -> None:
    """Raises InputError where a stage uses a model that is trained for another one."""
    trained = training_kind(choice.train)
    if trained.stage != stage:
        raise InputError(f"model `{model}` is of training `{choice.train}`, whose models do `{trained.stage}`")


def model_entry(file: Path, choice: ModelChoice, samples: dict[str, dict]) -> dict:
    """The entry of a model in the lock. samples: the entries of its data and held-out samples.

    Raises InputError for an unknown training, a recipe that is none of it, and samples that it cannot use.
    """
    trainer = training_kind(choice.train)
    recipe = _recipe(file, choice, trainer)
    _check_samples(choice, trainer, samples)
    data = {name: _content(samples[name], trainer) for name in choice.data}
    held_out = {name: _content(samples[name], trainer) for name in choice.held_out}
    learned = {"train": choice.train, "version": trainer.version, "recipe": recipe, "data": data}
    training = digest({**learned, "held_out": held_out if trainer.own_metrics else {}})
    return {
        **learned,
        "recipe_digest": digest(recipe),
        "held_out": held_out,
        "reads_held_out": trainer.own_metrics,
        "device": choice.device,
        "digest": training,
        "judging": digest([training, held_out]),
    }


def record_stage(stages: Iterable[str], trainer: type[TrainingKind]) -> str | None:
    """The stage of a sample whose files a training reads; None where the sample makes no such record."""
    found = [s for s in stages if STAGES[s].writes == trainer.record and _file(s).match(trainer.pattern)]
    return found[-1] if found else None


def _file(stage: str) -> Path:
    return record_file(Path(), "sample", stage, 0)


def _recipe(file: Path, choice: ModelChoice, trainer: type[TrainingKind]) -> dict:
    """The complete recipe of a model as plain data."""
    if choice.recipe is not None:
        return load_block(file.parent / choice.recipe, trainer.Recipe).model_dump(mode="json")
    if trainer.recipe_needed:
        raise InputError(f"`recipe` is missing; training `{choice.train}` has none by default ({trainer.recipe_file})")
    return parse_block({}, trainer.Recipe, f"recipe of training `{choice.train}`").model_dump(mode="json")


def _check_samples(choice: ModelChoice, trainer: type[TrainingKind], samples: dict[str, dict]) -> None:
    """Raises InputError for samples without the records that are needed, and for held-out events that are trained
    on."""
    for name in (*choice.data, *choice.held_out):
        if record_stage(samples[name]["stages"], trainer) is None:
            raise InputError(f"sample `{name}` makes no {trainer.record}, which training `{choice.train}` reads")
    if len(choice.held_out) > 1 and not trainer.own_metrics:
        raise InputError(f"a model of training `{choice.train}` is judged on one sample; name one in `held_out`")
    for name in choice.held_out:
        stage = STAGES[trainer.stage]
        made = {STAGES[one].writes for one in samples[name]["stages"]}
        if not trainer.own_metrics and (missing := {stage.reads, stage.writes} - {None, *made}):
            raise InputError(f"held-out sample `{name}` makes no {missing.pop()}, by which the model is judged")
        for other in choice.data:
            if shared := _shared_stage(samples[name], samples[other]):
                raise InputError(
                    f"held-out sample `{name}` has the {shared} files of `{other}`, which is trained on; give it "
                    "chunk seeds of its own: state its stages instead of `like`"
                )


def _shared_stage(one: dict, other: dict) -> str | None:
    """The first stage whose files, and so chunk seeds, two samples share; None if there is none."""
    theirs = {stage: entry["owner"] for stage, entry in other["stages"].items()}
    return next((stage for stage, entry in one["stages"].items() if theirs.get(stage) == entry["owner"]), None)


def _content(sample: dict, trainer: type[TrainingKind]) -> str:
    """The digest of all that decides the records of a sample which a training reads."""
    last = record_stage(sample["stages"], trainer)
    names = list(sample["stages"])
    stages = [
        [stage, sample["stages"][stage]["digest"], sample["stages"][stage]["owner"]]
        for stage in names[: names.index(str(last)) + 1]
    ]
    return digest({"stages": stages, "events": sample["events"], "shard_events": sample["shard_events"]})
