"""The contract of trainings: what each kind of model states and implements, and the one path that all of them take.

A training is looked up by name, as a backend is. Importing this module, or a kind of training, imports no torch.
"""

import importlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from gen2reco.config.block import Block, load_json
from gen2reco.errors import InputError
from gen2reco.files import MAX_TEXT, write_text
from gen2reco.run.model_folder import Model, save_model

if TYPE_CHECKING:
    import numpy as np

    from gen2reco.flow.training_data import DataFiles
    from gen2reco.flow.training_parts import Watch, Work

TRAININGS = {
    "calibration": "gen2reco.calibrate.calibration_trainer:CalibrationTrainer",
    "generation": "gen2reco.generate.hadronize.generation_trainer:GenerationTrainer",
    "showers": "gen2reco.simulate.showers.shower_trainer:ShowerTrainer",
    "fused": "gen2reco.fuse.fused_trainer:FusedTrainer",
}
"""The trainings that ship: name → where the class is."""
GROUP = "gen2reco.trainings"
"""Entry points by which installed packages announce others."""


@dataclass(frozen=True)
class Trained:
    """A model that a training made, as its folder will hold it. card: Markdown, from its title on; what the data were
    and the recipe are added to it. part: the model's folder in that of the whole, where a training makes several."""

    kind: str
    config: dict[str, Any]
    pins: dict[str, str]
    weights: Mapping[str, "np.ndarray"]
    card: str
    part: str = ""


class Trainer:
    """One kind of training. Subclasses state the class attributes, and implement `load` and `train`; the first line of
    their docstring is the command's help.

    `stage` and `backend` are what the model does when it is used: by them it is judged on a held-out sample, unless
    `own_metrics` says that the training judges it, and puts `metrics` into the model's config. Data are files of
    `record`, found by `pattern` (how their path ends).
    """

    name: ClassVar[str]
    stage: ClassVar[str]
    backend: ClassVar[str]
    record: ClassVar[str]
    version: ClassVar[int] = 1
    """Raised by hand when the same recipe and data give another model."""
    pattern: ClassVar[str] = "*.parquet"
    parts: ClassVar[tuple[str, ...]] = ()
    """Folders of the models, where a training makes several, each behind those before it; of `model_folder.PARTS`."""
    own_metrics: ClassVar[bool] = False
    recipe_file: ClassVar[str] = ""
    """An example of a recipe, named in the help."""
    recipe_needed: ClassVar[bool] = False
    """Whether there is no training without a recipe."""

    Recipe: ClassVar[type[Block]] = Block
    """The block of settings that `--model` gives; here, none."""

    def __init__(self, recipe: Block, files: "DataFiles", output: Path, work: "Work"):
        self.recipe, self.files, self.output, self.work = recipe, files, output, work

    def load(self) -> Any:
        """Read `self.files`. Raises InputError where they are no data for this training."""
        raise NotImplementedError

    def train(self, data: Any) -> Iterator[Trained]:
        """Train on the data by `self.recipe`, and yield each model once it is made; its folder in `self.output` is
        written before the next one is trained. Networks are trained by `self.work`, whose parts are kept and resumed.
        Under torchrun every process runs this."""
        raise NotImplementedError


def known_trainings() -> dict[str, str | EntryPoint]:
    """Names of all trainings → where the class is: those that ship, then those announced by installed packages."""
    announced = {entry.name: entry for entry in entry_points(group=GROUP)}
    return {**TRAININGS, **{name: announced[name] for name in sorted(announced) if name not in TRAININGS}}


def trainer_class(name: str) -> type[Trainer]:
    """The training of that name: one that ships, or else one announced by an installed package. Raises InputError
    naming the known ones."""
    known = known_trainings()
    if name not in known:
        raise InputError(f"there is no training `{name}`; known: {', '.join(known)}")
    place = known[name]
    if not isinstance(place, str):
        return place.load()
    module, _, attribute = place.partition(":")
    return getattr(importlib.import_module(module), attribute)


def make_model(
    trainer: type[Trainer],
    recipe: Block,
    files: "DataFiles",
    output: Path,
    card: str | None = None,
    watch: "Watch | None" = None,
    device: str = "cpu",
) -> list[Model]:
    """Train on record files and write the model folder `output`, or its parts; returns the models, in the first process
    of torchrun alone. Checkpoints are kept in `output`.partial: killed and started again, the training goes on.

    card: text in place of the training's own; what the data were, and the recipe, are added to either. Raises
    InputError for unfit data, for a training that diverges, and where the checkpoints are of other data or of another
    recipe (`steps` aside).
    """
    from gen2reco.flow import training_parts as parts

    work = parts.Work(output.with_name(f"{output.name}.partial"), watch or parts.silent, device)
    training, made = trainer(recipe, files, output, work), []
    data = training.load()
    _check_unchanged(work.folder, trainer, recipe, files)
    for one in training.train(data):
        if parts.FIRST:
            text = "\n\n".join([(card or one.card).strip(), files.card(), _recipe_card(recipe)])
            made.append(save_model(output / one.part, one.kind, one.config, one.pins, one.weights, text))
        parts.wait_for_all()
    return made


def _check_unchanged(folder: Path, trainer: type[Trainer], recipe: Block, files: "DataFiles") -> None:
    """Check that checkpoints belong to this training; where there are none yet, state what they will belong to. Raises
    InputError."""
    from gen2reco.flow import training_parts as parts

    mine = {"training": trainer.name, "data": files.content, "recipe": _without_steps(recipe.model_dump(mode="json"))}
    path = folder / "training.json"
    if path.is_file():
        theirs = load_json(path, MAX_TEXT)
        if changed := [name for name in mine if mine[name] != theirs.get(name)]:
            raise InputError(
                f"{folder}: its checkpoints are of another {changed[0]}; delete the folder, or name another output"
            )
    elif parts.FIRST:
        folder.mkdir(parents=True, exist_ok=True)
        write_text(path, json.dumps(mine, indent=1) + "\n")


def _without_steps(settings: Any) -> Any:
    """A recipe without the one setting that may change when a training goes on."""
    if isinstance(settings, dict):
        return {name: _without_steps(value) for name, value in settings.items() if name != "steps"}
    return settings


def _recipe_card(recipe: Block) -> str:
    return f"Recipe (digest `{recipe.digest()}`): `{json.dumps(recipe.model_dump(mode='json'))}`"
