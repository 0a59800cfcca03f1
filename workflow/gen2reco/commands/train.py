"""Trainings: each makes a model folder of campaign data. The commands derive from the trainings that are known."""

import os
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from importlib.metadata import EntryPoint
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gen2reco.errors import InfrastructureError, InputError
from gen2reco.flow.trainings import Trainer, make_model, trainer_class
from gen2reco.run.training_kind import known_trainings

if TYPE_CHECKING:
    from gen2reco.config.block import Block
    from gen2reco.flow.training_data import DataFiles
    from gen2reco.run.model_folder import Model
    from gen2reco.track.training_log import TrainingLog
    from gen2reco.validate.samples import Sample

FILE = click.Path(path_type=Path)


class TrainingCommands(click.Group):
    """A command for each training that ships or that an installed package announces, made when it is called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """Names of all trainings."""
        return list(known_trainings())

    def get_command(self, ctx: click.Context, name: str) -> click.Command:
        """The command of a training. Raises InputError naming the known ones."""
        return _command(trainer_class(name))

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the trainings; of those of other packages without importing them."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, _line(name, place)) for name, place in known_trainings().items()])


def _line(name: str, place: str | EntryPoint) -> str:
    """The line of help on a training: the first of its docstring, or the package that announces it."""
    if not isinstance(place, str):
        return f"Of the package {place.dist.name if place.dist else place.value}."
    return (trainer_class(name).__doc__ or "").strip().partition("\n")[0]


@click.group(cls=TrainingCommands)
def train() -> None:
    """Train a model on data of the chain; killed and started again, it goes on from its last checkpoint.

    The training becomes a run of the campaign that SOURCE is, or was made by; `gen2reco track sync` brings it to MLflow
    and registers the model. A sample named `held_out` is judged, never trained on.
    """


def _command(trainer: type[Trainer]) -> click.Command:
    """The command of one training; its help is the class's docstring."""

    def call(
        source: Path, output: Path, model: Path | None, others: tuple[Path, ...], device: str, cores: str,
        card: Path | None = None,
    ) -> None:  # fmt: skip
        _train(trainer, source, output, model, card, others, device, cores)

    example = f"Recipe ({trainer.recipe_file})." if trainer.recipe_file else "Recipe."
    card = click.Option(
        ["--card"], type=FILE, help="The model card's text; left out: a short one that says it is not validated."
    )
    options = [
        click.Argument(["source"], type=FILE),
        click.Argument(["output"], type=FILE),
        click.Option(["--model"], type=FILE, required=trainer.recipe_needed, help=example),
        *([] if trainer.parts else [card]),
        click.Option(
            ["--other", "others"], type=FILE, multiple=True, help="Sample folder that is only judged, not trained on."
        ),
        click.Option(
            ["--device"], default="cpu", show_default=True, help="cpu or cuda; under torchrun each process takes one."
        ),
        click.Option(
            ["--cores"], default="all", show_default=True, help="Cores for making the data, if SOURCE is a campaign."
        ),
    ]
    return click.Command(trainer.name, callback=call, params=options, help=trainer.__doc__)


@click.command("export-model")
@click.argument("model", type=FILE)
@click.argument("output", type=FILE)
def export_model(model: Path, output: Path) -> None:
    """Write the network of the calibration MODEL (a folder) as an ONNX file."""
    from gen2reco.files import check_output

    check_output(output)
    from gen2reco.calibrate.export import export_onnx

    export_onnx(model, output)


def _train(
    trainer: type[Trainer], source: Path, output: Path, model: Path | None, card: Path | None,
    others: tuple[Path, ...], device: str, cores: str,
) -> None:  # fmt: skip
    """The one path of all trainings: recipe and data in, the model made, judged on held-out events and registered."""
    from gen2reco.config.block import load_block
    from gen2reco.files import read_text
    from gen2reco.flow.training_data import DataFiles, find_files, matching_files

    _check_folders(output, trainer.parts)
    recipe = load_block(model, trainer.Recipe) if model else trainer.Recipe()
    text = read_text(card) if card else None
    folder = _data_of(source, cores)
    paths, judged = find_files(folder, trainer.pattern, others)
    if len(judged) > 1 and not trainer.own_metrics:
        raise InputError(f"{judged[1]}: a model is judged on one sample, and that is {judged[0]}; leave one out")
    with _logged(trainer.name, folder, output, recipe) as log:
        held_out = {one.name: matching_files(one, trainer.pattern) for one in judged} if trainer.own_metrics else {}
        files = DataFiles(paths, held_out, log.data(paths))
        made = make_model(trainer, recipe, files, output, text, log.progress, device)
        if log.first:
            evaluate(log, trainer, files, output, made, judged)
            for one in made:
                print(f"{one.folder}: {one.digest}", file=sys.stderr)


def _check_folders(output: Path, parts: tuple[str, ...]) -> None:
    """Check, before hours of training, that a model and its parts may be written there. Raises InputError."""
    from gen2reco.files import check_folder, check_output
    from gen2reco.run.model_folder import CONFIG, EVALUATION

    for folder in (output, *(output / part for part in parts)):
        check_folder(folder)
        check_output(folder / CONFIG, own=("kind", "pins"))
        check_output(folder / EVALUATION, own=("sample", "metrics"))


def _data_of(source: Path, cores: str) -> Path:
    """The folder of the data: the source itself, or the results of the campaign that it is, which is made first."""
    from gen2reco.batch.driver import run_snakemake
    from gen2reco.campaign.plan import ensure_plan

    if source.suffix not in (".yaml", ".yml"):
        return source
    if int(os.environ.get("WORLD_SIZE", "1")) > 1:
        raise InputError(f"{source}: under torchrun expected a folder of results; make the campaign first")
    if run_snakemake(source, ["--cores", cores]):
        raise InfrastructureError(f"{source}: its data could not be made; see the lines above, then start again")
    return ensure_plan(source).folder


@contextmanager
def _logged(name: str, data: Path, output: Path, recipe: "Block") -> "Iterator[TrainingLog]":
    """The training as a run of the campaign that made the data; of data of no campaign, in the folder of the output."""
    from gen2reco.paths import LOCK_NAME
    from gen2reco.track.training_log import TrainingLog

    results = next((folder for folder in (data, data.parent) if (folder / LOCK_NAME).is_file()), output.parent)
    with TrainingLog(results, name, output, recipe.model_dump(mode="json")) as log:
        yield log
    if log.first:
        print(f"registered as `{name}` by: gen2reco track sync {results}", file=sys.stderr)


def evaluate(
    log: "TrainingLog",
    trainer: type[Trainer],
    files: "DataFiles",
    output: Path,
    made: "list[Model]",
    judged: "Sequence[Path | Sample]",
) -> list[dict]:
    """Judge the model on held-out events, write its evaluation, and have it registered; returns the metrics, none where
    there are no held-out events."""
    if trainer.own_metrics:
        sample, events, rows = _own_metrics(log, files, made)
    elif judged:
        sample, events, rows = _by_stage(log, trainer, output, judged[0])
    else:
        print("no `held_out` sample and no --other: the model is not judged, and cannot be promoted", file=sys.stderr)
        log.made()
        return []
    from gen2reco.flow.model_cards import write_judgement
    from gen2reco.run.evaluations import save_evaluation
    from gen2reco.run.model_folder import CARD

    save_evaluation(output, sample, events, rows)
    if (output / CARD).is_file():
        write_judgement(output, sample, rows)
    log.evaluated(rows)
    log.made()
    return rows


Judged = tuple[str, str, list[dict]]
"""Name and digest of the held-out events, and metrics of a model on them."""


def _by_stage(log: "TrainingLog", trainer: type[Trainer], output: Path, held_out: "Path | Sample") -> Judged:
    """Have the model do its stage of a held-out sample, and compare what it makes with the sample."""
    from gen2reco.flow.training_data import matching_files
    from gen2reco.validate.heldout import judge

    work = output.with_name(f"{output.name}.held_out")
    rows = judge(trainer.stage, output, held_out, work, trainer.backend)
    log.report(work)
    files = matching_files(held_out) if isinstance(held_out, Path) else [*chain(*held_out.shards.values())]
    return held_out.name, log.data(files, "evaluation"), rows


def _own_metrics(log: "TrainingLog", files: "DataFiles", made: "list[Model]") -> Judged:
    """Metrics that the training itself found on events set apart; those on another sample with that one's digest."""
    from gen2reco.config.block import digest

    events = {label: log.data(paths, "evaluation") for label, paths in files.held_out.items()}
    rows = [_with_sample(row, events) for one in made for row in one.config["metrics"]]
    return "test part of the training samples", digest([files.digest, "test"]), rows


def _with_sample(row: dict, events: dict[str, str]) -> dict:
    """A metric with the digest of the sample whose label its name starts with, the longest of several."""
    label = max((label for label in events if row["name"].startswith(f"{label}_")), key=len, default=None)
    return {**row, "sample": events[label]} if label else row
