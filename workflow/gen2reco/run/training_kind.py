"""What each kind of training states of itself, and the look-up of kinds by name; plans and commands read it.

A training is looked up by name, as a backend is. What it implements is `gen2reco.flow.trainings.Trainer`.
"""

from importlib.metadata import EntryPoint, entry_points
from typing import ClassVar

from gen2reco.config.block import Block
from gen2reco.errors import InputError

TRAININGS = {
    "calibration": "gen2reco.calibrate.calibration_trainer:CalibrationTrainer",
    "generation": "gen2reco.generate.hadronize.generation_trainer:GenerationTrainer",
    "showers": "gen2reco.simulate.showers.shower_trainer:ShowerTrainer",
    "fused": "gen2reco.fuse.fused_trainer:FusedTrainer",
}
"""The trainings that ship: name → where the class is."""
GROUP = "gen2reco.trainings"
"""Entry points by which installed packages announce others."""


class TrainingKind:
    """The class attributes by which a kind of training is planned.

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


def known_trainings() -> dict[str, str | EntryPoint]:
    """Names of all trainings → where the class is: those that ship, then those announced by installed packages."""
    announced = {entry.name: entry for entry in entry_points(group=GROUP)}
    return {**TRAININGS, **{name: announced[name] for name in sorted(announced) if name not in TRAININGS}}


def training_kind(name: str) -> type[TrainingKind]:
    """The training of that name: one that ships, or else one announced by an installed package. Raises InputError
    naming the known ones."""
    known = known_trainings()
    if name not in known:
        raise InputError(f"there is no training `{name}`; known: {', '.join(known)}")
    place = known[name]
    return (EntryPoint(name, place, GROUP) if isinstance(place, str) else place).load()
