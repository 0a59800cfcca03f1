"""Trainings: each makes a model folder of campaign data."""

import sys
from pathlib import Path

import click

from gen2reco.errors import InfrastructureError

FILE = click.Path(path_type=Path)


@click.group()
def train() -> None:
    """Train a model on data of the chain; killed and started again, it goes on from its last checkpoint."""


@train.command()
@click.argument("source", type=FILE)
@click.argument("output", type=FILE)
@click.option("--model", type=FILE, help="Settings of the training (configs/models/calibration.yaml).")
@click.option("--other", "others", type=FILE, multiple=True, help="Sample folder that is only judged, not trained on.")
@click.option("--device", default="cpu", show_default=True, help="cpu or cuda; under torchrun each process takes one.")
@click.option("--cores", default="all", show_default=True, help="Cores for making the data, if SOURCE is a campaign.")
def calibration(
    source: Path, output: Path, model: Path | None, others: tuple[Path, ...], device: str, cores: str
) -> None:
    """Train the calibration of objects and of jets; they go to OUTPUT/objects and OUTPUT/jets.

    SOURCE is a folder with `clusters` files in it, or a campaign (.yaml), which is made first.
    """
    from gen2reco.calibrate.campaign import CalibrationModel, make_calibration
    from gen2reco.campaign.config import load_block

    settings = load_block(model, CalibrationModel) if model else CalibrationModel()
    folder = _data_of(source, cores) if source.suffix in (".yaml", ".yml") else source
    judged = {other.name: _clusters(other) for other in others}
    paths = sorted(set(_clusters(folder)).difference(*judged.values()))
    for made in make_calibration(paths, judged, output, settings, device, _spool):
        print(f"{made.folder}: {made.digest}", file=sys.stderr)


@train.command()
@click.argument("source", type=FILE)
@click.argument("output", type=FILE)
@click.option("--model", type=FILE, required=True, help="Recipe (configs/models/generation_ee_qq_91.yaml).")
@click.option("--card", type=FILE, help="The model card's text; left out: a short one that says it is not validated.")
@click.option("--device", default="cpu", show_default=True, help="cpu or cuda; under torchrun each process takes one.")
@click.option("--cores", default="all", show_default=True, help="Cores for making the data, if SOURCE is a campaign.")
def generation(source: Path, output: Path, model: Path, card: Path | None, device: str, cores: str) -> None:
    """Train a learned parton shower and hadronisation; the model folder is OUTPUT.

    SOURCE is a folder with `particles` files in it, or a campaign (.yaml), which is made first.
    """
    from gen2reco.campaign.config import load_block
    from gen2reco.errors import InputError
    from gen2reco.generate.hadronize.train import Recipe, make_generation

    recipe = load_block(model, Recipe)
    folder = _data_of(source, cores) if source.suffix in (".yaml", ".yml") else source
    paths = sorted(path for path in folder.rglob("*.parquet") if ".partial" not in path.parts)
    if not paths:
        raise InputError(f"{folder}: holds no particles files (.parquet); make the campaign first")
    spool = _spool(output, recipe.model_dump(mode="json"))

    def watch(part: str, step: int, numbers: dict[str, float]) -> None:
        spool(step, {f"{part}_{name}": value for name, value in numbers.items()})

    text = card.read_text(encoding="utf-8") if card else None
    made = make_generation(paths, output, recipe, text, device, watch)
    print(f"{made.folder}: {made.digest}", file=sys.stderr)


@click.command("export-model")
@click.argument("model", type=FILE)
@click.argument("output", type=FILE)
def export_model(model: Path, output: Path) -> None:
    """Write the network of the calibration MODEL (a folder) as an ONNX file."""
    from gen2reco.calibrate.export import export_onnx

    export_onnx(model, output)


def _clusters(folder: Path) -> list[Path]:
    """The `clusters` files under a folder, or the file itself."""
    files = [folder] if folder.is_file() else folder.rglob("*.parquet")
    return sorted(p for p in files if p.parent.name.startswith("cluster") and ".partial" not in p.parts)


def _data_of(campaign: Path, cores: str) -> Path:
    """Run the campaign and return its results folder."""
    from gen2reco.campaign.driver import run_snakemake
    from gen2reco.campaign.plan import ensure_plan

    if run_snakemake(campaign, ["--cores", cores]):
        raise InfrastructureError(f"{campaign}: its data could not be made; see the lines above, then start again")
    return ensure_plan(campaign).folder


def _spool(output: Path, settings: dict):
    """A watcher that prints the losses and appends them to the tracking spool beside the output."""
    from gen2reco.track.spool import Spool

    spool = Spool(output.parent, output.name)
    spool.params(settings)

    def watch(step: int, numbers: dict[str, float]) -> None:
        print(f"step {step}: " + ", ".join(f"{k} {v:.4f}" for k, v in numbers.items()), file=sys.stderr, flush=True)
        spool.metrics(numbers, step)

    return watch
