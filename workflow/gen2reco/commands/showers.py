"""`gen2reco showers` and `gen2reco validate-showers`: showers as files of other tools."""

import json
from collections.abc import Iterator
from pathlib import Path

import click

from gen2reco.config.detector import Detector
from gen2reco.errors import InputError
from gen2reco.files import check_output

FILE = click.Path(path_type=Path)
FORMATS = ("showerdata", "calochallenge")
EVENTS = 500
"""Events that are read at once."""


@click.group()
def showers() -> None:
    """Showers for other tools, and theirs for this one (`simulate --backend showers`)."""


@showers.command()
@click.argument("sample", type=FILE)
@click.argument("output", type=FILE)
@click.option(
    "--format",
    "layout",
    type=click.Choice(FORMATS),
    default=FORMATS[0],
    show_default=True,
    help="Points, which lose nothing, or voxels about the shower's axis.",
)
@click.option("--binning", type=FILE, help="XML file of the voxels, as of CaloChallenge.")
def export(sample: Path, output: Path, layout: str, binning: Path | None) -> None:
    """Write the shower of each particle of SAMPLE, a folder or a hits file with deposits, to OUTPUT (HDF5)."""
    from gen2reco.detector.geometry import Geometry
    from gen2reco.exchange import point_files, voxel_files
    from gen2reco.exchange.voxel_binning import read_binning

    if (binning is None) != (layout == FORMATS[0]):
        raise InputError(f"--format {layout} {'takes no' if binning else 'needs a'} `--binning`")
    check_output(output)
    files = _deposits_of(sample)
    detector = _detector_of(files[0])
    unit = "GeV" if binning is None else "MeV"
    about = json.dumps(
        {"detector": detector.name, "geometry": detector.geometry_digest, "energy": f"{unit}, electromagnetic scale"}
    )
    parts, planes = _parts(files, detector), Geometry(detector).z - detector.front_face
    if binning is None:
        written = point_files.write(parts, output, planes, about)
        text = f"{written['showers']} showers, {written['points']} points"
    else:
        voxels = read_binning(binning)
        voxels.check_layers(detector, binning)
        told = voxel_files.write(parts, output, voxels, planes, about)
        share = told["beyond"] / max(told["energy"], 1e-300)
        text = f"{told['showers']:.0f} showers; {share:.2%} of the energy lies beyond the last rings and is put there"
    click.echo(f"{output}: {text}", err=True)


@click.command()
@click.argument("reference", type=FILE)
@click.argument("candidate", type=FILE)
@click.option("--binning", type=FILE, help="XML file of the voxels, as of CaloChallenge; needed for voxels.")
@click.option("--out", type=FILE, help="JSON file of the numbers, for other programs.")
@click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True, help="Seed of folds and resamples.")
def validate_showers(reference: Path, candidate: Path, binning: Path | None, out: Path | None, seed: int) -> None:
    """Compare the showers of CANDIDATE with those of REFERENCE, HDF5 files of points or voxels; prints a table.

    Needs nothing of the rest of the chain. The floor is what the reference shows against itself.
    """
    from gen2reco.files import write_text
    from gen2reco.validate.shower_files import compare

    if out is not None:
        check_output(out, own=("metric", "value"))
    found = compare(reference, candidate, binning, seed)
    if out is not None:
        write_text(out, json.dumps(found, indent=1) + "\n")
    _print(found)


def _print(found: list[dict]) -> None:
    from rich.console import Console
    from rich.table import Table

    table = Table("metric", "value", "uncertainty", "floor", "showers")
    for row in found:
        numbers = (f"{row[name]:.4g}" for name in ("value", "uncertainty", "floor"))
        table.add_row(row["metric"], *numbers, f"{row['showers']:,}")
    console = Console()
    console.print(table)


def _deposits_of(sample: Path) -> list[Path]:
    """The files of a sample, or the one that is given, that hold deposits. Raises InputError where there are none."""
    from gen2reco.events import records
    from gen2reco.validate.samples import open_sample

    found = open_sample(sample)
    files = [*found.replaced, *found.shards.get("hits", [])]
    kept = []
    for file in files:
        with records.open_file(file) as opened:
            if "deposits" in opened.schema_arrow.names:
                kept.append(file)
    if not kept:
        raise InputError(f"{sample}: no hits with deposits; simulate with `keep_deposits: true`")
    return kept


def _detector_of(file: Path) -> Detector:
    from gen2reco.detector.made_with import simulated_in
    from gen2reco.run.runner import provenance

    if made := simulated_in(provenance(file), f"metadata of {file}"):
        return made
    raise InputError(f"{file}: does not say which detector it was made with; simulate it again")


def _parts(files: list[Path], detector: Detector) -> "Iterator":
    from gen2reco.events import records
    from gen2reco.events.truth import Properties
    from gen2reco.exchange.shower_points import of_hits

    for file in files:
        source = records.Source(file, "hits", ["event", "particles", "deposits"])
        properties = Properties.of(source.story)
        for events in source.tables(EVENTS):
            yield of_hits(events, detector, str(file), properties)
