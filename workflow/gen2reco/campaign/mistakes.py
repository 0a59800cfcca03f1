"""Every mistake in a campaign file and the files it names, found by checks that do not wait for each other."""

from contextlib import suppress
from pathlib import Path
from typing import Any, TypeVar

from gen2reco.campaign.campaign import Campaign, Comparison, Sample, StageChoice, complete_choice, unknown_names
from gen2reco.campaign.draft import Loaded, draft
from gen2reco.campaign.model_entries import made_model_of, recipe_of
from gen2reco.campaign.model_pins import pin_option
from gen2reco.campaign.plan import Plan
from gen2reco.campaign.summary import estimate
from gen2reco.config.block import Block, load_block, load_yaml, parse_block
from gen2reco.config.detector import Detector
from gen2reco.config.model_choice import ModelChoice, with_families
from gen2reco.errors import InputError, Mistakes
from gen2reco.run.model_folder import OtherDetector
from gen2reco.run.stage import make_backend
from gen2reco.run.training_kind import known_trainings, training_kind

CAMPAIGNS = Path(__file__).parents[3] / "configs/campaigns"
BlockT = TypeVar("BlockT", bound=Block)


def check_campaign(file: Path) -> Loaded:
    """Read a campaign and everything that it refers to. Raises InputErrors, a line for each mistake with file, sample
    and field; for a model of another detector the line says what differs, and what training one for it costs."""
    found, raw = Mistakes(), load_yaml(file)
    with found.caught():
        parse_block(raw, Campaign, str(file))
    with suppress(ValueError):  # which the campaign told
        raw = with_families(raw)
    detector = _detector(file, raw, found)
    samples = _valid(raw.get("samples"), Sample)
    models = _valid(raw.get("models"), ModelChoice)
    compare = _valid(dict(enumerate(raw["compare"])) if isinstance(raw.get("compare"), list) else {}, Comparison)
    all_samples = {**_mapping(raw.get("samples")), **samples}
    known = {name: sample for name, sample in all_samples.items() if isinstance(sample, Sample)}
    found.lines += [
        f"{file}: {problem}"
        for problem in unknown_names({**dict.fromkeys(all_samples, _ALONE), **known}, compare.values(), models)
    ]
    for name, sample in samples.items():
        for stage, choice in sample.choices.items():
            with found.caught():
                _check_stage(file, name, stage, choice, detector, models)
    for name, model in models.items():
        if any(len(values) != 1 for values in model.vary.values()):
            continue  # a family that could not be told apart
        with found.caught(f"{file}: models.{name}"):
            recipe_of(file, model, training_kind(model.train))
    if not found.lines:
        with found.caught():
            loaded = Loaded.of(file)
            draft(loaded)
    found.tell()
    return loaded


class _Alone:
    """Stands for a sample that is not valid, whose own mistakes are told."""

    like = None


_ALONE = _Alone()


def _mapping(block: Any) -> dict:
    return block if isinstance(block, dict) else {}


def _valid(blocks: Any, model: type[BlockT]) -> dict[str, BlockT]:
    """The blocks that are valid by themselves."""
    found = {}
    for name, block in _mapping(blocks).items():
        try:
            found[name] = parse_block(block, model, "")
        except InputError:
            continue
    return found


def _detector(file: Path, raw: dict, found: Mistakes) -> Detector | None:
    """The detector, where its file is valid."""
    if isinstance(raw.get("detector"), str):
        with found.caught():
            return load_block(file.parent / raw["detector"], Detector)
    return None


def _check_stage(
    file: Path, sample: str, stage: str, choice: StageChoice, detector: Detector | None, models: dict[str, ModelChoice]
) -> None:
    """Raises InputError for options that are wrong, and for a model that is missing or of another detector."""
    complete = complete_choice(file, sample, stage, choice)
    if detector is None or made_model_of(complete.options, models):
        return
    where = Mistakes()
    with where.caught(f"{file}: samples.{sample}.{stage}"):
        try:
            make_backend(stage, choice.backend, pin_option(complete.options, file.parent), detector)
        except OtherDetector as error:
            raise InputError(f"{error.reason}; {_way_out(stage, choice.backend)}") from None
    where.tell()


def _way_out(stage: str, backend: str) -> str:
    """By which campaign a model for another detector is trained, and what making its data costs."""
    trained = [name for name in known_trainings() if _does(name, stage, backend)]
    campaigns = [file for name in trained for file in sorted(CAMPAIGNS.glob("release_*.yaml")) if _trains(file, name)]
    if not campaigns:
        return "take another backend, or train a model for it (docs/trainings.md)"
    file = campaigns[0]
    hours = sum(row["cpu_hours"] for row in estimate(Plan(Path(), draft(Loaded.of(file)))))
    return (
        f"train one for it with {file.parent.parent.name}/{file.parent.name}/{file.name} and your `detector` (data of "
        f"about {hours:.2g} CPU hours, and the training), or take another backend"
    )


def _does(training: str, stage: str, backend: str) -> bool:
    try:
        kind = training_kind(training)
    except (InputError, ImportError):
        return False
    return (kind.stage, kind.backend) == (stage, backend)


def _trains(file: Path, training: str) -> bool:
    """Whether a campaign makes a model of this training, or, by its name, the data of one."""
    made = [_mapping(model).get("train") for model in _mapping(load_yaml(file).get("models")).values()]
    return training in made or file.stem == f"train_{training}"
