"""The command line `gen2reco <command>`: every stage and tool. A command imports only what it needs."""

import importlib
import logging
import resource
import sys
import traceback
from pathlib import Path

import click
from click.shell_completion import CompletionItem

from gen2reco import __version__
from gen2reco.caches import settle
from gen2reco.errors import InfrastructureError, classified
from gen2reco.run.stage_table import STAGES
from gen2reco.verbosity import NORMAL, QUIET, VERBOSE, tell_at_most, tells

LEAST_ADDRESS_SPACE = 640 << 20

COMMANDS = {
    **{name: ("stages", stage.help) for name, stage in STAGES.items()},
    "backends": ("backends", "List the backends of the stages with their options, types and defaults."),
    "publish": ("stages", "Write objects to ROOT, or generated events to HepMC3."),
    "show": ("stages", "Print what a record file holds."),
    "check": ("campaigns", "Check a campaign file and everything it refers to."),
    "plan": ("campaigns", "Freeze a campaign into plan.lock.json and print what will be made."),
    "status": ("campaigns", "Show how far each step of a campaign is, and whether it is complete."),
    "watch": ("campaigns", "Watch a campaign live: progress, time left, and logs of what failed."),
    "verify": ("campaigns", "Check that a sample is whole: every shard valid and unchanged."),
    "recover": ("campaigns", "Reissue the failed shards of a campaign, and only those."),
    "clean": ("campaigns", "Remove what a campaign does not keep, and partial files."),
    "merge": ("campaigns", "Merge the ntuples of a sample into one ROOT file."),
    "submit": ("cluster_jobs", "Run a campaign on a cluster, after checking that it has what the profile asks for."),
    "calibrate-rates": ("cluster_jobs", "Measure events per second of each stage here, to size the shards by."),
    "validate": ("validate", "Compare samples: metrics with uncertainties and floors, and one HTML report."),
    "validate-showers": ("showers", "Compare files of showers with the metrics of CaloChallenge."),
    "showers": ("showers", "Write the showers of a sample for other tools."),
    "tune": ("tune", "Find parameters of a stage for a detector."),
    "train": ("train", "Train a model on data of the chain."),
    "make-model": ("campaign_models", "Train a model of a campaign, as a job of its plan."),
    "judge-model": ("campaign_models", "Judge a trained model of a campaign, as a job of its plan."),
    "export-model": ("train", "Write a calibration network as ONNX."),
    "track": ("track", "Replay a campaign into MLflow, and open its pages."),
    "models": ("track", "List, register and promote models."),
    "release": ("track", "Replace a model that ships by a made and judged one."),
    "export": ("track", "Take a campaign away as a Workflow Run RO-Crate."),
    "docs": ("campaigns", "Write the reference page and JSON schema of the configuration."),
}
"""Command: (module in `gen2reco.commands`, one line of help). Only the module of the command called is imported."""


class LazyGroup(click.Group):
    """A group whose commands are imported when they are called."""

    def list_commands(self, ctx: click.Context) -> list[str]:
        """All command names, stages first."""
        return list(COMMANDS)

    def get_command(self, ctx: click.Context, name: str) -> click.Command | None:
        """Import the command's module and return the command."""
        if name not in COMMANDS:
            return None
        _check_address_space()
        module = importlib.import_module(f"gen2reco.commands.{COMMANDS[name][0]}")
        return module.stage_command(STAGES[name]) if name in STAGES else getattr(module, name.replace("-", "_"))

    def shell_complete(self, ctx: click.Context, incomplete: str) -> list[CompletionItem]:
        """Complete the commands without importing any."""
        found = [CompletionItem(name, help=text) for name, (_, text) in COMMANDS.items() if name.startswith(incomplete)]
        return found + click.Command.shell_complete(self, ctx, incomplete)

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """List the commands without importing any."""
        with formatter.section("Commands"):
            formatter.write_dl([(name, text) for name, (_, text) in COMMANDS.items()])


@click.group(cls=LazyGroup, context_settings={"help_option_names": ["-h", "--help"], "max_content_width": 110})
@click.version_option(__version__, prog_name="gen2reco")
@click.option("-q", "--quiet", is_flag=True, help="Tell errors and what fell back or was lost alone.")
@click.option("-v", "--verbose", is_flag=True, help="Tell cost and provenance too, and where an error arose.")
def cli(quiet: bool, verbose: bool) -> None:
    """From hard partons to calibrated, validated collider events."""
    if quiet and verbose:
        raise click.UsageError("-q and -v exclude each other")
    tell_at_most(QUIET if quiet else VERBOSE if verbose else NORMAL)
    logging.getLogger().setLevel(logging.WARNING if quiet else logging.INFO)


def _check_address_space() -> None:
    """Raises InfrastructureError under a limit so small that libraries abort the process while they are loaded."""
    limit = resource.getrlimit(resource.RLIMIT_AS)[0]
    if 0 <= limit < LEAST_ADDRESS_SPACE:
        raise InfrastructureError(
            f"out of memory: the address space is limited to {limit >> 20} MiB (ulimit -v), expected at least "
            f"{LEAST_ADDRESS_SPACE >> 20}; ask for more memory"
        )


def main() -> None:
    """Entry point: errors of the user or the machine give one line and an exit code, a fault of this code its
    traceback."""
    code = 0
    try:
        logging.basicConfig(level=logging.INFO, format="%(message)s", stream=sys.stderr)
        settle()
        cli.main(prog_name=Path(sys.argv[0]).name, standalone_mode=False)
    except click.exceptions.Exit as error:
        code = error.exit_code
    except (click.Abort, KeyboardInterrupt) as error:
        code = _interrupted(error)
    except click.ClickException as error:
        error.show()
        code = error.exit_code
    except BrokenPipeError:
        code = 141
    except Exception as error:
        known = classified(error)
        if known is None:
            raise
        if tells(VERBOSE):
            traceback.print_exc()
        print(*(f"gen2reco: error: {line}" for line in known.lines), sep="\n", file=sys.stderr)
        code = known.exit_code
    _leave(code)


def _interrupted(error: BaseException) -> int:
    """Print why a command was interrupted, and return its exit code. click reports a truncated file of compiled code
    (EOFError) as Ctrl-D."""
    cut = classified(error.__cause__) if isinstance(error.__cause__, EOFError) else None
    print(f"gen2reco: error: {cut}" if cut else "gen2reco: interrupted", file=sys.stderr)
    return cut.exit_code if cut else 130


def _leave(code: int) -> None:
    """Exit; without tear-down where Geant4 is loaded, which crashes in it."""
    if "geant4_pybind" in sys.modules:
        from gen2reco.run.runner import leave

        leave(code)
    sys.exit(code)


if __name__ == "__main__":
    main()
