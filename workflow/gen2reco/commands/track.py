"""Tracking: replay a campaign into MLflow, look at it, keep models, and take a campaign away as a crate."""

import json
import os
import shlex
import sys
from collections.abc import Callable
from pathlib import Path

import click

from gen2reco.errors import classified

FOLDER = click.Path(path_type=Path, file_okay=False)
RESULTS = click.option("--results", type=FOLDER, default="results", show_default=True, help="Folder of all results.")
PATIENCE = 900.0
"""Seconds that a campaign waits for its tracking at most."""
URI = click.option("--uri", help="MLflow server; default: MLFLOW_TRACKING_URI, else mlflow.db of the results.")


@click.group()
def track() -> None:
    """Replay campaigns into MLflow and look at them."""


@track.command()
@click.argument("results", type=FOLDER)
@URI
@click.option(
    "--upgrade", is_flag=True, help="Migrate the database of an older MLflow; an SQLite file is copied first."
)
@click.option("--receipt", type=click.Path(path_type=Path), help="Write what was done here; failing is a warning then.")
def sync(results: Path, uri: str | None, upgrade: bool, receipt: Path | None) -> None:
    """Replay the campaign in RESULTS (results/CAMPAIGN) into MLflow; may be repeated at will."""
    from gen2reco.track.sync import sync as replay

    if receipt is None:
        print(replay(results, uri, upgrade))
    else:
        _sync_or_wait(receipt, results, lambda: replay(results, uri, upgrade))


def _sync_or_wait(receipt: Path, results: Path, replay: Callable[[], str]) -> None:
    """Sync as the last step of a campaign, which no server, address or damaged file may fail or hold up."""
    from gen2reco.files import check_output, write_text
    from gen2reco.run.runner import leave
    from gen2reco.track.patience import TookTooLong, within
    from gen2reco.track.secrets import scrub

    check_output(receipt, own=("status", "message"))
    late = False
    try:
        status, line = "synced", within(PATIENCE, replay)
    except Exception as error:
        late, known = isinstance(error, TookTooLong), classified(error)
        status, line = "waiting", scrub(" ".join(str(known or f"broke off: {type(error).__name__}").split()))
        print(f"gen2reco: warning: {line}; later: gen2reco track sync {shlex.quote(str(results))}", file=sys.stderr)
    print(line)
    write_text(receipt, json.dumps({"status": status, "message": line}, indent=1) + "\n")
    if late:  # the usual exit would wait for the thread that was left behind
        leave(0)


@track.command()
@RESULTS
@URI
@click.option("--host", default="127.0.0.1", show_default=True, help="Address to listen on.")
@click.option("--port", type=click.IntRange(1, 65535), default=5000, show_default=True, help="Port to listen on.")
def ui(results: Path, uri: str | None, host: str, port: int) -> None:
    """Open MLflow's pages on the database that `sync` writes."""
    from gen2reco.track.server import serve

    serve(results, host, port, uri)


@click.group()
def models() -> None:
    """List, register and promote models."""


@models.command("list")
@URI
@RESULTS
def list_models(uri: str | None, results: Path) -> None:
    """All versions of all models with aliases and digests."""
    from gen2reco.track.registry import listing

    rows = [[r["name"], r["version"], ", ".join(r["aliases"]), r["digest"]] for r in listing(uri, results)]
    _print("models", ("name", "version", "aliases", "digest"), rows)


@models.command("register")
@click.argument("name")
@click.argument("folder", type=FOLDER)
@URI
@RESULTS
def register_model(name: str, folder: Path, uri: str | None, results: Path) -> None:
    """Register the model in FOLDER as a new version of NAME, its candidate."""
    from gen2reco.track.registry import register

    version = register(folder, name, uri, results)
    print(f"models:/{name}/{version.version}  {version.tags['gen2reco.digest']}")


@models.command("promote")
@click.argument("name")
@click.option("--campaign", type=click.Path(path_type=Path), required=True, help="File with the `promotion` criteria.")
@click.option("--first", is_flag=True, help="Promote a first champion that there is none to compare with.")
@URI
@RESULTS
def promote_model(name: str, campaign: Path, first: bool, uri: str | None, results: Path) -> None:
    """Make the candidate of NAME its champion if the campaign's criteria hold on the same held-out events."""
    from gen2reco.track.promote import promote, read_criteria

    decision = promote(name, read_criteria(campaign), uri, results, first)
    rows = [[v.metric, v.champion, v.candidate, v.change, "holds" if v.holds else "fails"] for v in decision.verdicts]
    _print(name, ("metric", "champion", "candidate", "gain", "criterion"), rows)
    print(decision.note)
    stays = "champion stays" if any(v.champion != "-" for v in decision.verdicts) else "no champion yet"
    print("candidate is champion now" if decision.promoted else stays)
    if not decision.promoted:
        raise click.exceptions.Exit(1)


@click.command()
@click.argument("name")
@click.option("--from", "source", type=FOLDER, required=True, help="Model folder, or results/CAMPAIGN/models/MODEL.")
def release(name: str, source: Path) -> None:
    """Replace the model NAME that ships with this package by a judged model of its kind, whole or not at all.

    A model of a campaign must be that of its receipts; its card then names the plan. Models that were trained behind
    the earlier one, and are pinned to its digest, are to be made again.
    """
    from gen2reco.track.releases import release as replace

    done = replace(name, source)
    print(f"{done.folder}\nbefore {done.before}\nafter  {done.after}")


@click.command()
@click.argument("results", type=FOLDER)
@click.argument("output", type=click.Path(path_type=Path))
@click.option("--licence", help="Licence of the results (SPDX name or address); default: the plan's, else CC-BY-4.0.")
@click.option("--with-ntuples", "ntuples", is_flag=True, help="Take the ROOT files of all samples, too.")
def export(results: Path, output: Path, licence: str | None, ntuples: bool) -> None:
    """Write the campaign in RESULTS as a Workflow Run RO-Crate: OUTPUT is a new folder or a .zip file.

    Unpacked elsewhere, the campaign in it can be checked and run; its README says how.
    """
    from gen2reco.track.ro_crate import export as write

    print(write(results, output, licence, ntuples))


def _print(title: str, columns: tuple[str, ...], rows: list[list]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table(*columns, title=title)
    for row in rows:
        table.add_row(*map(str, row))
    width = None if os.isatty(1) else 160
    Console(width=width).print(table)
