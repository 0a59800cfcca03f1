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
@click.option("--other", type=FILE, help="Folder of `clusters` files that are not trained on: jets of another process.")
@click.option("--device", default="cpu", show_default=True, help="cpu or cuda; under torchrun each process takes one.")
@click.option("--cores", default="all", show_default=True, help="Cores for making the data, if SOURCE is a campaign.")
def calibration(source: Path, output: Path, model: Path | None, other: Path | None, device: str, cores: str) -> None:
    """Train the calibration of objects and of jets; they go to OUTPUT/objects and OUTPUT/jets.

    SOURCE is a folder with `clusters` files in it, or a campaign (.yaml), which is made first.
    """
    from gen2reco.calibrate.campaign import CalibrationModel, make_calibration
    from gen2reco.campaign.config import load_block

    settings = load_block(model, CalibrationModel) if model else CalibrationModel()
    folder = _data_of(source, cores) if source.suffix in (".yaml", ".yml") else source
    others = _clusters(other) if other else []
    paths = [path for path in _clusters(folder) if path not in others]
    for made in make_calibration(paths, others, output, settings, device, _spool):
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
