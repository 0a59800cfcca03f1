"""The command of each stage, run by hand or as a job of a plan; it writes a record file and its sidecar."""

import os
import platform
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click

from gen2reco.campaign.model_pins import pin_option
from gen2reco.commands.backends import StageCommand, backend_names_of, option_keys_of, sample_names
from gen2reco.config.block import load_block, parse_yaml
from gen2reco.config.detector import Detector
from gen2reco.detector.made_with import stated_detector
from gen2reco.errors import InputError
from gen2reco.events import records
from gen2reco.files import check_output
from gen2reco.run.backend_list import names_of
from gen2reco.run.runner import Job, provenance, run
from gen2reco.run.sidecar import check_source, failure
from gen2reco.run.stage import make_backend, wrong_record
from gen2reco.run.stage_table import MAX_DRAWS, RECORDS, Stage
from gen2reco.track.secrets import shown_command
from gen2reco.verbosity import QUIET, VERBOSE, say

FILE = click.Path(path_type=Path)
MAX_BLOCKS = 10
LIBRARY_HELP = "Files of a library, whose events are added as pile-up or give showers; takes all that follow it."


def _job_options(stage: Stage, command: Callable) -> Callable:
    """Add the options that all stages share: those of a run by hand, and those of a job of a plan."""
    backend, keys = backend_names_of(stage.name), option_keys_of(stage.name)
    names = ", ".join(names_of(stage.name))
    options = [
        click.option(
            "--backend",
            shell_complete=backend,
            help=f"Which backend does the stage: {names}; default: {stage.backend}.",
        ),
        click.option(
            "--option",
            "options",
            multiple=True,
            metavar="KEY=VALUE",
            shell_complete=keys,
            help="An option of the backend, as listed below.",
        ),
        click.option("--detector", type=FILE, help="Detector file; default: the one the input was made with."),
        click.option(
            "--seed", type=click.IntRange(0, 2**63 - 1), default=1, show_default=True, help="Seed of the run."
        ),
        click.option("--workers", type=click.IntRange(min=1), default=1, show_default=True, help="Processes at once."),
        click.option("--chunk-events", type=click.IntRange(min=1), help="Events per chunk (part of the seeds)."),
        click.option("--plan", type=FILE, help="plan.lock.json: run as a job of this plan."),
        click.option("--sample", shell_complete=sample_names, help="With --plan: the sample."),
        click.option("--shard", type=click.IntRange(min=0), help="With --plan: the shard."),
    ]
    for option in reversed(options):
        command = option(command)
    return command


def stage_command(stage: Stage) -> click.Command:
    """The command of a stage: one that makes events takes a process, all others a record file."""

    def command(output: Path, **given: Any) -> None:
        execute(stage, output, **given)

    decorate = _takes_a_process if stage.reads is None else _takes_a_record
    named = decorate(click.argument("output", type=FILE)(_job_options(stage, command)))
    named = _oversample(named) if stage.draws else named
    if stage.takes_library:
        named = click.option("--library", type=FILE, multiple=True, help=LIBRARY_HELP)(named)
    files = f"Reads {stage.reads} from SOURCE, writes" if stage.reads else "Writes"
    cls = _ManyFiles if stage.takes_library else StageCommand
    return click.command(stage.name, cls=cls, help=f"{stage.help}\n\n{files} {stage.writes} to OUTPUT.")(named)


class _ManyFiles(StageCommand):
    """A command whose `--library` takes all files that follow it, as a shell expands `minbias/*.parquet`."""

    def parse_args(self, ctx: click.Context, args: list[str]) -> list[str]:
        """Repeat the option before each of its files."""
        spread: list[str] = []
        open_option = False
        for word in args:
            open_option = word == "--library" or (open_option and not word.startswith("-"))
            spread += ["--library", word] if open_option and word != "--library" else []
            spread += [word] if not open_option else []
        return super().parse_args(ctx, spread)


def _oversample(command: Callable) -> Callable:
    draws = click.IntRange(1, MAX_DRAWS)
    return click.option("--oversample", type=draws, default=1, show_default=True, help="Draws of each event.")(command)


def _takes_a_record(command: Callable) -> Callable:
    return click.argument("source", type=FILE)(command)


def _takes_a_process(command: Callable) -> Callable:
    events = click.option(
        "--events", type=click.IntRange(min=0), default=1000, show_default=True, help="Accepted events to make."
    )
    process = click.option(
        "--process", type=FILE, help="Process file (.yaml), Pythia card (.cmnd), or event file (LHE, HepMC)."
    )
    return process(events(command))


def execute(
    stage: Stage,
    output: Path,
    *,
    backend: str | None,
    options: tuple[str, ...],
    detector: Path | None,
    seed: int,
    workers: int,
    chunk_events: int | None,
    plan: Path | None,
    sample: str | None,
    shard: int | None,
    oversample: int = 1,
    source: Path | None = None,
    process: Path | None = None,
    events: int = 0,
    library: tuple[Path, ...] = (),
) -> None:
    """Run one job of a stage, planned or by hand; print the line that runs it again, and how many events it made.

    By hand, raises InputError where too many events failed; `verify` counts the failures of a plan's shards.
    """
    say(f"$ gen2reco {shown_command(sys.argv[1:])}")
    check_output(output)
    if source is not None and stage.reads is not None and (found := records.record_of(source)) != stage.reads:
        raise InputError(f"{source}: {wrong_record(stage, found)}")
    if slurm_job := os.environ.get("SLURM_JOB_ID"):
        say(f"Slurm job {slurm_job} on {platform.node()}")
    if plan is not None:
        from gen2reco.campaign.job import planned_device, planned_job

        job = planned_job(plan, stage.name, sample, shard, output, source, workers)
        job.backend.device = planned_device(plan, stage.name, sample or "")
        job.planned = True
    else:
        given = pin_option(_parse_options(options))
        if process is not None:
            from gen2reco.config.process import options_for

            backend, given = options_for(process, backend or stage.backend, given)
            _check_apart(output, process, given["process"].get("file"))
        made = make_backend(stage.name, backend or stage.backend, given, _detector(detector, source, stage))
        if library and not made.takes_library:
            raise InputError(f"--library: backend `{made.name}` of `{stage.name}` takes none; leave it out")
        _check_apart(output, *library)
        made.library = library
        job = Job(
            made, output, seed, source, range(events), chunk_events=chunk_events, workers=workers, oversample=oversample
        )
    facts = run(job)
    if plan is not None:
        from gen2reco.campaign.made import drop_second_names

        drop_second_names(plan, stage.name, sample or "", shard or 0)
    say(f"{output}: {facts['events_out']} events, {facts['wall_seconds']:.1f} s, {facts['status']}")
    if plan and "taken_from" in facts:
        say(f"taken from {facts['taken_from']}, which is the same")
    say(*(f"  {key}: {value}" for key, value in facts.items() if not isinstance(value, dict)), at=VERBOSE)
    by_hand = facts["status"] == "failed" and plan is None
    lost = [failure(facts)] if facts["events_failed"] and not by_hand else []
    say(*(" ".join(line.split()) for line in [*job.backend.notices(facts), *lost]), at=QUIET)
    if by_hand:
        raise InputError(f"{output}: written empty: {failure(facts)}; mend the input and run it again")


def _check_apart(output: Path, *inputs: Path | str | None) -> None:
    """Raises InputError if the output is one of the input files."""
    for file in inputs:
        if file is not None and Path(file).resolve() == output.resolve():
            raise InputError(f"{output}: input and output are the same file; name another output")


def _parse_options(options: tuple[str, ...]) -> dict:
    """`a.b=1` → {"a": {"b": 1}}, values read as YAML."""
    parsed: dict = {}
    for option in options:
        key, equals, value = option.partition("=")
        what = f"--option {option[:80]}"
        *path, last = key.split(".")
        if not equals or len(path) > MAX_BLOCKS:
            raise InputError(f"{what}: expected KEY=VALUE, the key in at most {MAX_BLOCKS} blocks")
        place = parsed
        for part in path:
            place = place.setdefault(part, {})
            if not isinstance(place, dict):
                raise InputError(f"{what}: `{part}` has a value already; give one or the other")
        if last in place:
            raise InputError(f"{what}: `{key}` is given twice; keep one of them")
        place[last] = parse_yaml(value, what)
    return parsed


def _detector(path: Path | None, source: Path | None, stage: Stage) -> Detector | None:
    """The detector file given, else the detector that the input file was made with."""
    if path is not None:
        return load_block(path, Detector)
    if source is None or stage.reads == RECORDS[0]:
        return None
    return stated_detector(provenance(source))


@click.command()
@click.argument("source", type=FILE)
@click.argument("output", type=FILE)
@click.option("--shard", type=click.IntRange(min=0), default=0, show_default=True, help="Number for luminosityBlock.")
@click.option("--particles", type=FILE, help="What the objects were made of: adds partons and sums of weights.")
@click.option("--planned", is_flag=True, help="A shard of a plan: publish one that failed, as `verify` counts those.")
def publish(source: Path, output: Path, shard: int, particles: Path | None, planned: bool) -> None:
    """Write the objects in SOURCE to ROOT (OUTPUT ends in .root), or its particles to HepMC3 (.hepmc, .hepmc.gz)."""
    from gen2reco.events.publish import publish_file

    check_output(output)
    for file in (source, particles) if particles else (source,):
        _check_apart(output, file)
        check_source(file, failed=planned)
    count, notices = publish_file(source, output, shard, particles)
    say(f"{output}: {count} events")
    say(*notices, at=QUIET)


@click.command()
@click.argument("file", type=FILE)
@click.option("--events", type=click.IntRange(min=0), default=2, show_default=True, help="Events to print.")
def show(file: Path, events: int) -> None:
    """Print what a record FILE holds: schema, how it was made, sizes, ranges, first events."""
    from gen2reco.events.show import show_file

    show_file(file, events)
