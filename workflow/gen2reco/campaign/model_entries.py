"""The models of a plan: in which order they and the samples are made, and the digests of their trainings."""

import re
from collections.abc import Iterable, Mapping
from graphlib import CycleError, TopologicalSorter
from pathlib import Path
from typing import Any

from gen2reco.campaign.campaign import Campaign, StageChoice
from gen2reco.campaign.libraries import content_of, libraries
from gen2reco.campaign.model_pins import pin
from gen2reco.config.block import digest, load_yaml, parse_block
from gen2reco.config.model_choice import PACKAGE, ModelChoice, WarmStart
from gen2reco.errors import InputError
from gen2reco.paths import record_file
from gen2reco.run.model_folder import keep_model
from gen2reco.run.stage_table import STAGES
from gen2reco.run.training_kind import TrainingKind, training_kind


def made_model_of(options: dict[str, Any], models: Iterable[str]) -> str | None:
    """The model of the campaign that a stage uses, by its options; None where it uses another one or none."""
    named = options.get("model")
    return named if isinstance(named, str) and named in models else None


Needs = dict[tuple[str, str], set[tuple[str, str]]]
"""("samples", name) and ("models", name) → those of them that each is made of."""


def needed(campaign: Campaign, chains: dict[str, dict[str, StageChoice]]) -> Needs:
    """What each sample and model of a campaign is made of."""
    needs: Needs = {}
    for name, sample in campaign.samples.items():
        used = {made_model_of(choice.options, campaign.models) for choice in chains[name].values()} - {None}
        needs["samples", name] = {("models", str(model)) for model in used}
        needs["samples", name] |= {("samples", sample.like)} if sample.like else set()
        needs["samples", name] |= {("samples", library) for library in libraries(campaign, name, chains[name])}
    for name, model in campaign.models.items():
        replayed = replayed_samples(model, campaign.models)
        needs["models", name] = {("samples", sample) for sample in (*model.data, *model.held_out, *replayed)}
        if model.start and model.start.model in campaign.models:
            needs["models", name].add(("models", model.start.model))
    return needs


def making_order(needs: Needs) -> list[tuple[str, str]]:
    """All samples and models, each after what it is made of. Raises InputError for a circle."""
    try:
        return list(TopologicalSorter(needs).static_order())
    except CycleError as error:
        circle = " -> ".join(f"{kind}.{name}" for kind, name in error.args[1][:10])
        raise InputError(
            f"{circle}: a model and its own training data, held-out events or earlier model, or a library of its own "
            "signal; let another sample, `like` that one, use it"
        ) from None


def check_use(stage: str, model: str, choice: ModelChoice) -> None:
    """Raises InputError where a stage uses a model that is trained for another one."""
    trained = training_kind(choice.train)
    if trained.stage != stage:
        raise InputError(f"model `{model}` is of training `{choice.train}`, whose models do `{trained.stage}`")


def replayed_samples(choice: ModelChoice, models: Mapping[str, ModelChoice]) -> list[str]:
    """The samples of the earlier model's data that a training replays."""
    start = choice.start
    if start is None or not start.replay:
        return []
    return start.data or (models[start.model].data if start.model in models else [])


def model_entry(
    file: Path, choice: ModelChoice, samples: dict[str, dict], models: dict[str, dict], known: Mapping[str, str]
) -> dict:
    """The entry of a model in the lock. samples, models: the entries of those that it is made of; known: digests of
    registered models that an earlier plan pinned.

    Raises InputError for an unknown training, a recipe that is none of it, samples that it cannot use, and an earlier
    model that it cannot start from.
    """
    trainer = training_kind(choice.train)
    recipe = recipe_of(file, choice, trainer)
    parent = _parent(file, choice.start, trainer, samples, models, known) if choice.start else None
    _check_samples(choice, trainer, samples, {*choice.data, *_learned(parent, models)})
    data = {name: _content(samples[name], trainer) for name in choice.data}
    held_out = {name: _content(samples[name], trainer) for name in choice.held_out}
    learned: dict[str, Any] = {"train": choice.train, "version": trainer.version, "recipe": recipe, "data": data}
    more = {**({"parent": parent} if parent else {}), **({"gpus": choice.gpus} if choice.gpus > 1 else {})}
    training = digest({**learned, "held_out": held_out if trainer.own_metrics else {}, **_nameless(more)})
    return {
        **learned,
        **more,
        "recipe_digest": digest(recipe),
        "held_out": held_out,
        "reads_held_out": trainer.own_metrics,
        "device": choice.device,
        "digest": training,
        "judging": digest([training, held_out]),
    }


def _nameless(more: dict) -> dict:
    """What decides a model, without what its earlier model is called."""
    kept = {key: value for key, value in more.get("parent", {}).items() if key != "model"}
    return {**more, **({"parent": kept} if kept else {})}


def _parent(
    file: Path,
    start: WarmStart,
    trainer: type[TrainingKind],
    samples: dict[str, dict],
    models: dict[str, dict],
    known: Mapping[str, str],
) -> dict:
    """The earlier model: its name, the digest of it or, if the campaign makes it, of its training, and what is
    replayed. Raises InputError."""
    if made := models.get(start.model):
        if made["train"] != trainer.name:
            raise InputError(
                f"from: `{start.model}` is of training `{made['train']}`, expected `{trainer.name}`; start from a "
                "model of the same training"
            )
        found, names = made["digest"], start.data or list(made["data"])
    else:
        found, names = known.get(start.model) or _pinned(file, start.model, trainer), start.data
    if start.replay and not names:
        raise InputError(
            f"from: `replay` needs the data of `{start.model}`, which the campaign does not make; list samples of "
            "this campaign like them in `from.data`, or leave `replay` out"
        )
    for name in names if start.replay else ():
        if record_stage(samples[name]["stages"], trainer) is None:
            raise InputError(f"from: sample `{name}` makes no {trainer.record}, which training `{trainer.name}` reads")
    data = {name: _content(samples[name], trainer) for name in names if start.replay}
    return {"model": start.model, "digest": found, "made": bool(made), "replay": start.replay, "data": data}


def _pinned(file: Path, name: str, trainer: type[TrainingKind]) -> str:
    """The digest of an earlier model that the campaign does not make: a shipped one, or one as stages take it."""
    release = PACKAGE.joinpath(*trainer.__module__.split(".")[1:2], "release")
    shipped = release if name == "release" else release / name
    if re.fullmatch("[a-z0-9_]+", name) and any(shipped.glob("**/config.json")):
        return keep_model(shipped)
    found = pin(name, file.parent)
    if found == name and not re.fullmatch("[0-9a-f]{64}", name):
        raise InputError(
            f"from: there is no model `{name[:80]}`; name one of the campaign, `release`, a folder with a `/`, a "
            "digest, models:/NAME@ALIAS or models:/NAME/VERSION"
        )
    return found


def _learned(parent: dict | None, models: dict[str, dict]) -> set[str]:
    """The samples that an earlier model, and those before it, were trained on, and what is replayed."""
    found: set[str] = set()
    while parent:
        found |= {*parent["data"]}
        earlier = models[parent["model"]] if parent["made"] else {}
        found |= {*earlier.get("data", ())}
        parent = earlier.get("parent")
    return found


def record_stage(stages: Iterable[str], trainer: type[TrainingKind]) -> str | None:
    """The stage of a sample whose files a training reads; None where the sample makes no such record."""
    found = [s for s in stages if STAGES[s].writes == trainer.record and _file(s).match(trainer.pattern)]
    return found[-1] if found else None


def _file(stage: str) -> Path:
    return record_file(Path(), "sample", stage, 0)


def recipe_of(file: Path, choice: ModelChoice, trainer: type[TrainingKind]) -> dict:
    """The complete recipe of a model as plain data."""
    if choice.recipe is None and trainer.recipe_needed:
        raise InputError(f"`recipe` is missing; training `{choice.train}` has none by default ({trainer.recipe_file})")
    path = file.parent / choice.recipe if choice.recipe is not None else None
    source = str(path) if path else f"recipe of training `{choice.train}`"
    data = load_yaml(path) if path else {}
    for key, (value,) in choice.vary.items():
        source += f", with {key} = {value!r}"
        *blocks, last = key.split(".")
        place = data
        for block in blocks:
            place = place.setdefault(block, {})
            if not isinstance(place, dict):
                raise InputError(f"{source}: `{block}` is no block of settings; mend the key in `vary`")
        place[last] = value
    return parse_block(data, trainer.Recipe, source).model_dump(mode="json")


def _check_samples(
    choice: ModelChoice, trainer: type[TrainingKind], samples: dict[str, dict], learned: set[str]
) -> None:
    """Raises InputError for samples without the records that are needed, and for held-out events that the model, or an
    earlier one that it starts from, has learned from."""
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
        for other in sorted(learned):
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
    return content_of(sample, str(record_stage(sample["stages"], trainer)))
