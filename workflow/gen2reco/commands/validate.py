"""`gen2reco validate`: compare samples and write metrics.json, report.html and its figures."""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from gen2reco.config.block import load_block, load_yaml, parse_block, parse_yaml
from gen2reco.config.detector import Detector
from gen2reco.config.validation import Validation
from gen2reco.errors import InputError
from gen2reco.files import new_folder

if TYPE_CHECKING:
    from gen2reco.validate.verdict import Metric

FILE = click.Path(path_type=Path)


class SamplesFirst(click.Group):
    """A group whose first command needs no name: `validate A B` is `validate samples A B`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Put the name in where it is left out."""
        if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
            args = ["samples", *args]
        return super().parse_args(ctx, args)


@click.group(cls=SamplesFirst)
def validate() -> None:
    """Compare samples at every stage that they share: metrics.json, report.html and its figures.

    `gen2reco validate REFERENCE CANDIDATE …` is short for `gen2reco validate samples REFERENCE CANDIDATE …`.
    """


_OUT = click.option("--out", type=FILE, help="Folder of the report; left out: a new one, validation_SAMPLES.")
_SETTINGS = click.option(
    "--settings", type=FILE, help="YAML file of limits and selection, or a campaign file with `validation`."
)


@validate.command()
@click.argument("samples", nargs=-1, required=True, type=FILE)
@_OUT
@_SETTINGS
@click.option("--plan", type=FILE, help="plan.lock.json: SAMPLES names a reference of this plan.")
@click.option("--detector", type=FILE, help="Detector of samples whose files do not say it.")
def samples(
    samples: tuple[Path, ...], out: Path | None, settings: Path | None, plan: Path | None, detector: Path | None
) -> None:
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
    given = load_block(detector, Detector) if detector else None
    with _folder(out, samples) as folder:
        _print_verdicts(compare(opened, folder, chosen, given), folder)


@contextmanager
def _folder(out: Path | None, samples: Sequence[Path]) -> Iterator[Path]:
    """The folder that is given, or a new one named after the samples, which goes where nothing was written to it."""
    if out is not None:
        yield out
        return
    names = [re.sub(r"[^A-Za-z0-9_.-]", "_", sample.stem if sample.suffix else sample.name) for sample in samples]
    made = new_folder(Path("_".join(["validation", *names])[:100]))
    try:
        yield made
    finally:
        with suppress(OSError):
            made.rmdir()


def _scan(many: str) -> Callable:
    """Options of a command that goes through settings of a backend; `many`: those it goes through if none are given."""
    options = [
        click.argument("reference", type=FILE),
        _OUT,
        _SETTINGS,
        click.option(
            "--vary",
            multiple=True,
            metavar="KEY=V1,V2,…",
            default=(many,),
            show_default=True,
            help="Settings of an option to go through; several options: all combinations.",
        ),
        click.option("--option", "options", multiple=True, metavar="KEY=VALUE", help="A fixed option of the backend."),
        click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True, help="Seed of the backend."),
    ]

    def decorate(command: Callable) -> Callable:
        for option in reversed(options):
            command = option(command)
        return command

    return decorate


@validate.command()
@_scan("evaluations=1,2,4,8,25,50")
@click.option("--backend", default="ml", show_default=True, help="The learned simulation.")
def showers(backend: str, **given: Any) -> None:
    """Quality and time of the learned simulation against network evaluations, on the particles of REFERENCE."""
    _scan_stage("simulate", backend, **given)


@validate.command()
@_scan("evaluations=1,2,4,8,25")
@click.option("--backend", default="fused", show_default=True, help="The learned simulation and reconstruction.")
def fused(backend: str, **given: Any) -> None:
    """Quality and time of particles straight to objects against network evaluations, on the events of REFERENCE."""
    _scan_stage("fuse", backend, **given)


@validate.command()
@_scan("evaluations=1,2,4,8")
@click.option("--events", type=click.IntRange(min=1), default=5000, show_default=True, help="Events of each setting.")
def generation(
    reference: Path, out: Path | None, settings: Path | None, vary: tuple[str, ...], options: tuple[str, ...],
    seed: int, events: int,
) -> None:  # fmt: skip
    """Quality and time of the learned generator against network evaluations, on the process of REFERENCE."""
    from gen2reco.campaign.model_pins import pin_option
    from gen2reco.validate.run import compare
    from gen2reco.validate.samples import open_sample
    from gen2reco.validate.scan import scan_generator

    opened, chosen = open_sample(reference), read_settings(settings)
    with _folder(out, [reference]) as folder:
        candidates = scan_generator(opened, folder, _varied(vary), pin_option(_pairs(options)), events, seed)
        _print_verdicts(compare([opened, *candidates], folder, chosen), folder)


def _scan_stage(
    stage: str, backend: str, reference: Path, out: Path | None, settings: Path | None, vary: tuple[str, ...],
    options: tuple[str, ...], seed: int,
) -> None:  # fmt: skip
    from gen2reco.campaign.model_pins import pin_option
    from gen2reco.validate.run import compare
    from gen2reco.validate.samples import open_sample
    from gen2reco.validate.scan import scan_stage

    opened, chosen = open_sample(reference), read_settings(settings)
    with _folder(out, [reference]) as folder:
        candidates = scan_stage(stage, opened, folder, _varied(vary), pin_option(_pairs(options)), backend, seed)
        _print_verdicts(compare([opened, *candidates], folder, chosen), folder)


def _varied(vary: tuple[str, ...]) -> dict[str, list]:
    """KEY=V1,V2 as lists of values, models among them by digest."""
    from gen2reco.campaign.model_pins import pin_option

    varied = {key: value if isinstance(value, list) else [value] for key, value in _pairs(vary, many=True).items()}
    return {key: [pin_option({key: value})[key] for value in values] for key, values in varied.items()}


def _pairs(given: tuple[str, ...], *, many: bool = False) -> dict:
    """KEY=VALUE → {"KEY": value}, values read as YAML; with `many` as lists."""
    parsed = {}
    for pair in given:
        key, equals, value = pair.partition("=")
        if not equals:
            raise InputError(f"`{pair}`: expected KEY=VALUE")
        parsed[key] = parse_yaml(f"[{value}]" if many else value, f"`{pair}`")
    return parsed


def _print_verdicts(metrics: "list[Metric]", out: Path) -> None:
    for metric in metrics:
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
