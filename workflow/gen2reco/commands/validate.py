"""`gen2reco validate`: compare samples and write metrics.json and report.html."""

from pathlib import Path

import click

from gen2reco.campaign.config import load_block, load_yaml, parse_block
from gen2reco.campaign.validation import Validation
from gen2reco.errors import InputError

FILE = click.Path(path_type=Path)


@click.command()
@click.argument("samples", nargs=-1, required=True, type=FILE)
@click.option("--out", type=FILE, default="validation", show_default=True, help="Folder of metrics.json, report.html.")
@click.option("--settings", type=FILE, help="YAML file of limits and selection, or a campaign file with `validation`.")
@click.option("--plan", type=FILE, help="plan.lock.json: SAMPLES names a reference of this plan.")
def validate(samples: tuple[Path, ...], out: Path, settings: Path | None, plan: Path | None) -> None:
    """Compare SAMPLES, of which the first is the reference, at every stage that both have.

    A sample is a folder results/<campaign>/<sample> or a lone record file. One alone gives a report of itself.
    """
    from gen2reco.validate.run import compare
    from gen2reco.validate.samples import open_samples, planned_samples

    if plan is not None:
        if len(samples) != 1 or settings is not None:
            raise InputError(f"--plan {plan}: expected one name of a reference, and no --settings")
        opened, chosen = planned_samples(plan, str(samples[0]))
    else:
        opened, chosen = open_samples(list(samples)), read_settings(settings)
    for metric in compare(opened, out, chosen):
        if metric.headline and metric.verdict in ("fail", "attention"):
            click.echo(
                f"{metric.verdict}: {metric.samples[-1]} {metric.stage} {metric.name}: {metric.reason}", err=True
            )
    click.echo(out / "report.html")


def read_settings(path: Path | None) -> Validation:
    """Settings from a file of their own, or from the `validation` block of a campaign file. Raises InputError."""
    if path is None:
        return Validation()
    plain = load_yaml(path)
    if "samples" in plain:
        return parse_block(plain.get("validation") or {}, Validation, source=f"{path}: `validation`")
    return load_block(path, Validation)
