"""Tuning: finds better parameters than a bad start, judges them on other events, and says what it cannot use."""

import numpy as np
import pytest
import yaml
from cluster_showers import DETECTOR, GEOMETRY, events_of, shower

from gen2reco.cluster.tuning import comparison, evaluate, merit, scaled, to_yaml, tune
from gen2reco.config.clustering import Clustering
from gen2reco.errors import InputError
from gen2reco.events import records


@pytest.fixture(scope="module")
def hits(tmp_path_factory):
    """Pairs of showers 15 cm apart, one wide: a linking that reaches 20 cm merges them."""
    rng = np.random.default_rng(8)
    events = [[shower(rng, 30, 600, 300, 5), shower(rng, 40, 750, 300)] for _ in range(8)]
    path = tmp_path_factory.mktemp("tune") / "hits.parquet"
    records.write(path, events_of(events), "hits")
    return path


def too_wide():
    good = Clustering()
    return good.model_copy(
        update={"linking": good.linking.model_copy(update={"em_distance": 200.0, "halo_distance": 50.0})}
    )


def test_tuning_repairs_a_bad_start(hits):
    """Ten trials find an electromagnetic reach that tells the showers apart, the same ones for the same seed."""
    found = tune([hits], DETECTOR, too_wide(), trials=10, seed=2)
    assert found.clustering.linking.em_distance < 155
    assert merit(found.found) > merit(found.start) + 0.05
    assert found.found["efficiency"].tried == 8  # four of the eight events are held out
    assert tune([hits], DETECTOR, too_wide(), trials=10, seed=2).clustering == found.clustering
    assert Clustering.model_validate(yaml.safe_load(to_yaml(found.clustering))) == found.clustering
    assert len(comparison(found).splitlines()) == 1 + len(found.found)


def test_merit_of_nothing_found_is_low():
    nothing = evaluate([events_of([[], []])], GEOMETRY, Clustering())
    assert merit(nothing) == 0.0


def test_scaled_changes_only_what_it_is_told():
    start = Clustering()
    changed = scaled(start, {"linking.had_distance": 2.0, "iterations.em.kernel": 0.5, "linking.halo_fraction": 100.0})
    assert changed.linking.had_distance == 2 * start.linking.had_distance
    assert changed.iterations[0].kernel == 0.5 * start.iterations[0].kernel
    assert changed.linking.halo_fraction == 1.0
    assert changed.iterations[1:] == start.iterations[1:]
    assert scaled(start, {}) == start


@pytest.mark.parametrize(("events", "message"), [([[]], "two halves"), ([[], []], "no hit has a contribution")])
def test_unlabelled_hits_are_refused(events, message, tmp_path):
    path = tmp_path / "hits.parquet"
    records.write(path, events_of(events), "hits")
    with pytest.raises(InputError, match=message):
        tune([path], DETECTOR, trials=1)


def test_command_line(hits, gen2reco, tmp_path, repository):
    """`gen2reco tune cluster` writes a clustering file that the cluster stage takes."""
    detector = repository / "configs/detectors/hgcal.yaml"
    done = gen2reco("tune", "cluster", hits, "--output", "tuned.yaml", "--detector", detector, "--trials", "2")
    assert done.returncode == 0, done.stderr
    assert "efficiency" in done.stdout
    chain = gen2reco("cluster", hits, "c.parquet", "--detector", detector, "--option", "clustering=tuned.yaml")
    assert chain.returncode == 0, chain.stderr
    missing = gen2reco("tune", "cluster", hits, "--output", "tuned.yaml")
    assert missing.returncode == 2
    assert "--detector" in missing.stderr
