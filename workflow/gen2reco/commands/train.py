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
@click.option("--device", default="cpu", show_default=True, help="cpu or cuda; under torchrun each process takes one.")
@click.option("--cores", default="all", show_default=True, help="Cores for making the data, if SOURCE is a campaign.")
def calibration(source: Path, output: Path, model: Path | None, device: str, cores: str) -> None:
    """Train the calibration on the `clusters` files under the folder SOURCE, or on a campaign (.yaml), made first."""
    from gen2reco.calibrate.campaign import make_calibration
    from gen2reco.calibrate.train import CalibrationTraining
    from gen2reco.campaign.config import load_block

    settings = load_block(model, CalibrationTraining) if model else CalibrationTraining()
    folder = _data_of(source, cores) if source.suffix in (".yaml", ".yml") else source
    paths = sorted(p for p in folder.rglob("*.parquet") if p.parent.name.startswith("cluster"))
    spool = _spool(output, settings.model_dump(mode="json"))
    made = make_calibration(paths, output, settings, device, spool)
    print(f"{output}: {made.digest}", file=sys.stderr)


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
