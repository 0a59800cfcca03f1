"""Trainings: each makes a model folder of campaign data."""

import os
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import click

from gen2reco.errors import InfrastructureError, InputError

if TYPE_CHECKING:
    from gen2reco.config.block import Block
    from gen2reco.run.model_folder import Model
    from gen2reco.track.training_log import TrainingLog

HELD_OUT = "held_out"
"""A sample of this name is judged, never trained on."""
FILE = click.Path(path_type=Path)
CARD = click.option(
    "--card", type=FILE, help="The model card's text; left out: a short one that says it is not validated."
)


def _options(model: str, *more: Callable, required: bool = False) -> Callable:
    """What every training is given, `--model` (a file that `model` tells of) and `more` among it."""
    options = [
        click.argument("source", type=FILE),
        click.argument("output", type=FILE),
        click.option("--model", type=FILE, required=required, help=model),
        *more,
        click.option(
            "--other", "others", type=FILE, multiple=True, help="Sample folder that is only judged, not trained on."
        ),
        click.option(
            "--device", default="cpu", show_default=True, help="cpu or cuda; under torchrun each process takes one."
        ),
        click.option(
            "--cores", default="all", show_default=True, help="Cores for making the data, if SOURCE is a campaign."
        ),
    ]

    def decorate(command: Callable) -> Callable:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


@click.group()
def train() -> None:
    """Train a model on data of the chain; killed and started again, it goes on from its last checkpoint.

    The training becomes a run of the campaign that SOURCE is, or was made by; `gen2reco track sync` brings it to MLflow
    and registers the model. A sample named `held_out` is judged, never trained on.
    """


@train.command()
@_options("Settings of the training (configs/models/calibration.yaml).")
def calibration(
    source: Path, output: Path, model: Path | None, others: tuple[Path, ...], device: str, cores: str
) -> None:
    """Train the calibration of objects and of jets; they go to OUTPUT/objects and OUTPUT/jets.

    SOURCE is a folder with `clusters` files in it, or a campaign (.yaml), which is made first.
    """
    _check_folders(output, output / "objects", output / "jets")
    from gen2reco.calibrate.calibration_training import CalibrationModel, make_calibration
    from gen2reco.config.block import digest, load_block

    settings = load_block(model, CalibrationModel) if model else CalibrationModel()
    folder = _data_of(source, cores)
    judged = {other.name: _clusters(other) for other in _judged(folder, others)}
    paths = sorted(set(_clusters(folder)).difference(*judged.values()))
    with _told("calibration", folder, output, settings) as told:
        data = told.data(paths)
        events = {label: told.data(files, "evaluation") for label, files in judged.items()}
        made = make_calibration(paths, judged, output, settings, device, lambda part, _: told.watch(part.name))
        rows = [_with_sample(row, events) for one in made for row in one.config["metrics"]]
        _finish(told, output, made, "test part of the training samples", digest([data, "test"]), rows)


@train.command()
@_options("Recipe (configs/models/generation_ee_qq_91.yaml).", CARD, required=True)
def generation(output: Path, model: Path, device: str, **given: object) -> None:
    """Train a learned parton shower and hadronisation; the model folder is OUTPUT.

    SOURCE is a folder with `particles` files in it, or a campaign (.yaml), which is made first.
    """
    _check_folders(output)
    from gen2reco.config.block import load_block
    from gen2reco.generate.hadronize.generation_training import Recipe, make_generation

    recipe = load_block(model, Recipe)

    def make(paths: list[Path], card: str | None, watch: Callable) -> "Model | None":
        return make_generation(paths, output, recipe, card, device, watch)

    _train("generation", "generate", "ml", "*.parquet", recipe, make, output, **given)


@train.command()
@_options("Recipe (configs/models/showers.yaml).", CARD)
def showers(output: Path, model: Path | None, device: str, **given: object) -> None:
    """Train learned showers; the model folder is OUTPUT.

    SOURCE is a folder with `hits` files of single particles with deposits in it, or a campaign (.yaml), which is made
    first.
    """
    _check_folders(output)
    from gen2reco.config.block import load_block
    from gen2reco.simulate.showers.shower_training import Recipe, make_showers
    from gen2reco.validate.samples import open_sample

    recipe = load_block(model, Recipe) if model else Recipe()

    def make(paths: list[Path], card: str | None, watch: Callable) -> "Model | None":
        return make_showers(paths, open_sample(paths[0].parent.parent).detector, output, recipe, card, watch, device)

    _train("showers", "simulate", "ml", "simulate/*.parquet", recipe, make, output, **given)


@train.command()
@_options("Recipe (configs/models/fused.yaml).", CARD)
def fused(output: Path, model: Path | None, device: str, **given: object) -> None:
    """Train the fused model, particles straight to calibrated objects; the model folder is OUTPUT.

    SOURCE is a folder with `objects` files and the `clusters` files that they were made of, or a campaign (.yaml),
    which is made first.
    """
    _check_folders(output)
    from gen2reco.config.block import load_block
    from gen2reco.fuse.fused_training import Recipe, make_fused
    from gen2reco.fuse.pairs import load_pairs
    from gen2reco.validate.samples import open_sample

    recipe = load_block(model, Recipe) if model else Recipe()

    def make(paths: list[Path], card: str | None, watch: Callable) -> "Model | None":
        detector = open_sample(paths[0].parent.parent).detector
        pairs, calibration = load_pairs(paths, detector)
        return make_fused(pairs, detector, calibration, output, recipe, card, watch, device)

    _train("fused", "fuse", "fused", "calibrate/*.parquet", recipe, make, output, **given)


@click.command("export-model")
@click.argument("model", type=FILE)
@click.argument("output", type=FILE)
def export_model(model: Path, output: Path) -> None:
    """Write the network of the calibration MODEL (a folder) as an ONNX file."""
    from gen2reco.files import check_output

    check_output(output)
    from gen2reco.calibrate.export import export_onnx

    export_onnx(model, output)


def _check_folders(*folders: Path) -> None:
    """Check, before hours of training, that a model may be written into these. Raises InputError."""
    from gen2reco.files import check_folder, check_output
    from gen2reco.run.model_folder import CONFIG, EVALUATION

    for folder in folders:
        check_folder(folder)
        check_output(folder / CONFIG, own=("kind", "pins"))
        check_output(folder / EVALUATION, own=("sample", "metrics"))


def _clusters(folder: Path) -> list[Path]:
    """The `clusters` files under a folder, or the file itself."""
    files = [folder] if folder.is_file() else _records(folder)
    return sorted(path for path in files if path.parent.name.startswith("cluster"))


def _records(folder: Path) -> list[Path]:
    """The record files under a folder, in order, those of unfinished jobs left out."""
    found = ((path, path.relative_to(folder).parts) for path in folder.rglob("*.parquet"))
    return sorted(path for path, parts in found if not any(part.startswith(".") for part in parts))


def _judged(folder: Path, others: tuple[Path, ...]) -> list[Path]:
    """The samples that are only judged."""
    return [*others, *([folder / HELD_OUT] if (folder / HELD_OUT).is_dir() else [])]


def _train(
    name: str, stage: str, backend: str, pattern: str, recipe: "Block", make: "Callable[..., Model | None]",
    output: Path, *, source: Path, card: Path | None, others: tuple[Path, ...], cores: str,
) -> None:  # fmt: skip
    """Have `make` (of record files, a card's text and a watch) train a model that does one stage; judge and tell it."""
    folder = _data_of(source, cores)
    judged, paths, text = _asked(folder, pattern, others, card)
    with _told(name, folder, output, recipe) as told:
        told.data(paths)
        _judge(told, stage, backend, output, judged, make(paths, text, told.progress))


def _asked(
    folder: Path, pattern: str, others: tuple[Path, ...], card: Path | None
) -> tuple[Path | None, list[Path], str | None]:
    """The sample to judge a model on, if there is one, the record files to train it on, and the text of its card."""
    from gen2reco.files import read_text

    (judged, *more) = [*_judged(folder, others), None]
    if any(more):
        raise InputError(f"--other {more[0]}: expected one sample to judge the model on, beside `{HELD_OUT}`: none")
    paths = [path for path in _records(folder) if path.match(pattern) and judged not in path.parents]
    if not paths:
        raise InputError(f"{folder}: holds no records to train on ({pattern}); make the campaign first")
    return judged, paths, read_text(card) if card else None


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
def _told(name: str, data: Path, output: Path, settings: "Block") -> "Iterator[TrainingLog]":
    """The training as a run of the campaign that made the data; of data of no campaign, beside the output."""
    from gen2reco.paths import LOCK_NAME
    from gen2reco.track.training_log import TrainingLog

    results = next((folder for folder in (data, data.parent) if (folder / LOCK_NAME).is_file()), output.parent)
    with TrainingLog(results, name, output, settings.model_dump(mode="json")) as told:
        yield told
    if told.first:
        print(f"registered as `{name}` by: gen2reco track sync {results}", file=sys.stderr)


def _judge(
    told: "TrainingLog", stage: str, backend: str, output: Path, held_out: Path | None, made: "Model | None"
) -> None:
    """Judge the model made, which does one stage, on a held-out sample, if there is one, and have it registered."""
    from gen2reco.validate.heldout import judge

    if not told.first:
        return
    if held_out is None:
        print(
            f"no `{HELD_OUT}` sample and no --other: the model is not judged, and cannot be promoted", file=sys.stderr
        )
        told.made()
        print(f"{made.folder}: {made.digest}", file=sys.stderr)
        return
    work = output.with_name(f"{output.name}.held_out")
    rows = judge(stage, output, held_out, work, backend)
    told.report(work)
    _finish(told, output, [made], held_out.name, told.data(_records(held_out), "evaluation"), rows)


def _finish(told: "TrainingLog", output: Path, made: list, sample: str, events: str, rows: list[dict]) -> None:
    """Write the evaluation beside the model, tell it, and have the model registered; by the first process alone."""
    from gen2reco.run.model_folder import save_evaluation

    if not told.first:
        return
    save_evaluation(output, sample, events, rows)
    told.evaluated(rows)
    told.made()
    for one in made:
        print(f"{one.folder}: {one.digest}", file=sys.stderr)


def _with_sample(row: dict, events: dict[str, str]) -> dict:
    """A metric with the digest of the sample whose label its name starts with."""
    label = next((label for label in events if row["name"].startswith(f"{label}_")), None)
    return {**row, "sample": events[label]} if label else row
