"""The contract of trainings: what each kind of model implements, and the one path that all of them take.

Importing this module, or a kind of training, imports no torch.
"""

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gen2reco.config.block import Block, load_json
from gen2reco.errors import InputError
from gen2reco.files import MAX_TEXT, write_text
from gen2reco.run.model_folder import Model, save_model
from gen2reco.run.training_kind import TrainingKind, training_kind

if TYPE_CHECKING:
    import numpy as np

    from gen2reco.flow.training_data import DataFiles
    from gen2reco.flow.training_parts import Watch, Work
    from gen2reco.flow.warm_start import Parent


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


class Trainer(TrainingKind):
    """One kind of training. Subclasses state the class attributes of `TrainingKind`, and implement `load` and `train`;
    the first line of their docstring is the command's help."""

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


def trainer_class(name: str) -> type[Trainer]:
    """The training of that name. Raises InputError naming the known ones, and for an announced class that is none."""
    found = training_kind(name)
    if not issubclass(found, Trainer):
        raise InputError(f"training `{name}`: {found.__name__} is no Trainer; mend the package that announces it")
    return found


def make_model(
    trainer: type[Trainer],
    recipe: Block,
    files: "DataFiles",
    output: Path,
    card: str | None = None,
    watch: "Watch | None" = None,
    device: str = "cpu",
    parent: "Parent | None" = None,
) -> list[Model]:
    """Train on record files and write the model folder `output`, or its parts; returns the models, in the first process
    of torchrun alone. Checkpoints are kept in `output`.partial: killed and started again, the training goes on.

    card: text in place of the training's own; what the data were, and the recipe, are added to either. parent: the
    earlier model whose weights the networks start from. Raises InputError for unfit data, data that were in part left
    to a fallback, a training that diverges, and where the checkpoints are of other data, of another recipe (`steps`
    aside) or of another parent.
    """
    from gen2reco.flow import training_parts as parts

    work = parts.Work(output.with_name(f"{output.name}.partial"), watch or parts.silent, device, parent)
    files.check_made()
    training, made = trainer(recipe, files, output, work), []
    data = training.load()
    _check_unchanged(work, trainer, recipe, files)
    for one in training.train(data):
        if parts.FIRST:
            about = [*_start_card(work, files), files.card(), _recipe_card(recipe)]
            text = "\n\n".join([(card or one.card).strip(), *about])
            config = {**one.config, **({"parent": parent.digest} if parent else {})}
            made.append(save_model(output / one.part, one.kind, config, one.pins, one.weights, text))
        parts.wait_for_all()
    return made


def _check_unchanged(work: "Work", trainer: type[Trainer], recipe: Block, files: "DataFiles") -> None:
    """Check that checkpoints belong to this training; where there are none yet, state what they will belong to. Raises
    InputError."""
    from gen2reco.flow import training_parts as parts

    mine = {"training": trainer.name, "data": files.content, "recipe": _without_steps(recipe.model_dump(mode="json"))}
    if work.parent:
        mine |= {"parent": work.parent.digest, "replay": files.replay}
    folder, path = work.folder, work.folder / "training.json"
    if path.is_file():
        theirs = load_json(path, MAX_TEXT)
        if changed := [name for name in {**mine, **theirs} if mine.get(name) != theirs.get(name)]:
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


def _start_card(work: "Work", files: "DataFiles") -> list[str]:
    """The section of the card on the earlier model; none where the training starts from its own."""
    if not work.parent:
        return []
    replay = f", {100 * files.replay:g} % of each batch from that model's data" if files.replay else ""
    return [f"Started from the weights of model `{work.parent.digest}`{replay}."]


def _recipe_card(recipe: Block) -> str:
    return f"Recipe (digest `{recipe.digest()}`): `{json.dumps(recipe.model_dump(mode='json'))}`"
