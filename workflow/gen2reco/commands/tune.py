"""Searches for parameters of a stage on labelled data."""

import sys
from pathlib import Path

import click

FILE = click.Path(path_type=Path)


@click.group()
def tune() -> None:
    """Find parameters of a stage for a detector."""


@tune.command()
@click.argument("hits", nargs=-1, required=True, type=FILE)
@click.option("--output", type=FILE, required=True, help="YAML file for the parameters found.")
@click.option("--start", type=FILE, help="Clustering to start from (configs/clustering/hgcal.yaml).")
@click.option("--detector", type=FILE, help="Detector file; default: the one the hits were made with.")
@click.option("--trials", type=click.IntRange(min=1), default=100, show_default=True, help="Clusterings to try.")
@click.option("--seed", type=click.IntRange(min=0), default=1, show_default=True, help="Seed of the search.")
def cluster(hits: tuple[Path, ...], output: Path, start: Path | None, detector: Path | None, **given: int) -> None:
    """Tune the clustering on every other event of the simulated HITS files, and report on the rest of them."""
    from gen2reco.cluster.tuning import comparison, to_yaml, tune
    from gen2reco.config.block import load_block
    from gen2reco.config.clustering import Clustering
    from gen2reco.detector.made_with import detector_of
    from gen2reco.files import check_output, write_text

    check_output(output)
    begin = load_block(start, Clustering) if start else Clustering()
    found = tune(hits, detector_of(hits[0], detector), begin, report=lambda line: print(line, file=sys.stderr), **given)
    write_text(output, to_yaml(found.clustering))
    print(comparison(found))
    print(f"{output}: the best of {found.trials} clusterings", file=sys.stderr)
