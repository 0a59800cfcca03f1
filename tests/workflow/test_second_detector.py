"""A detector of another face, other layers and other cells: from the gun to raw objects, report and event display."""

import json
import math
import shutil
import subprocess
import sys

import awkward as ak
import numpy as np
import pytest

from gen2reco.config.validation import Validation
from gen2reco.detector.geometry import Geometry, decode
from gen2reco.detector.made_with import detector_of
from gen2reco.events import records
from gen2reco.run.runner import Job, run
from gen2reco.run.stage import make_backend
from gen2reco.validate.run import validate

GUN = "kind: gun\nspecies: [22, 211]\nenergy: [4., 7.]\nabs_eta: [1.9, 2.4]\n"
EVENTS = 44
STAGES = ("generate", "simulate", "cluster", "calibrate")


@pytest.fixture(scope="module")
def small(repository):
    return repository / "tests/data/small_detector.yaml"


@pytest.fixture(scope="module")
def samples(tmp_path_factory, small):
    """Two samples of the same particles, simulated with two seeds: the folder that holds `one` and `two`."""
    folder = tmp_path_factory.mktemp("small")
    (folder / "gun.yaml").write_text(GUN)

    def call(*arguments):
        command = [sys.executable, "-m", "gen2reco.cli", *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
        assert done.returncode == 0, done.stderr

    call("generate", folder / "gun.parquet", "--process", folder / "gun.yaml", "--events", EVENTS)
    for name, seed in (("one", 5), ("two", 6)):
        shards = {stage: folder / name / stage / "00000.parquet" for stage in STAGES}
        for path in shards.values():
            path.parent.mkdir(parents=True)
        shutil.copy(folder / "gun.parquet", shards["generate"])
        call("simulate", shards["generate"], shards["simulate"], "--detector", small, "--seed", seed)
        for stage, backend, source in (("cluster", "clue", "simulate"), ("calibrate", "raw", "cluster")):
            made = make_backend(stage, backend, {}, detector_of(shards[source]))
            run(Job(made, shards[stage], 1, shards[source], sample=name))
    return folder


def read(samples, stage):
    return records.awkward(records.read(samples / "one" / stage / "00000.parquet"))


def test_hits_lie_in_the_layers_and_cells_of_this_detector(samples):
    made = read(samples, "simulate")
    geometry = Geometry(detector_of(samples / "one/simulate/00000.parquet"))
    hits = ak.flatten(made.hits)
    cells = decode(ak.to_numpy(hits.cell))
    assert (geometry.n_layers, geometry.n_em_layers) == (12, 8)
    assert geometry.exists(cells.layer, cells.ix, cells.iy).all()
    x, y, z = geometry.position(ak.to_numpy(hits.cell))
    np.testing.assert_allclose(hits.x, x)
    np.testing.assert_allclose(hits.y, y)
    np.testing.assert_allclose(hits.z, z, rtol=1e-6)
    assert set(np.unique(np.mod(ak.to_numpy(hits.x), 20.0)).tolist()) == {10.0}
    assert ak.all(abs(made.tracks.z) == 2500.0)
    assert ak.num(made.tracks).to_list() == (made.particles.pdg[:, 0] == 211).to_list()


def test_photons_keep_their_energy_and_pions_reach_the_back(samples):
    made = read(samples, "simulate")
    photons = made.particles.pdg[:, 0] == 22
    response = ak.sum(made.hits.energy, axis=1) / made.particles.energy[:, 0]
    assert 12 <= ak.sum(photons) <= 32
    assert ak.mean(response[photons]) == pytest.approx(1.0, abs=0.1)
    assert ak.mean(made.hits.layer[~photons] > 8) > 4 * ak.mean(made.hits.layer[photons] > 8)


def test_clusters_and_raw_objects_are_made_of_them(samples):
    clusters, made = read(samples, "cluster"), read(samples, "calibrate")
    photons = clusters.particles.pdg[:, 0] == 22
    assert ak.mean(ak.num(clusters.tracksters[photons]) == 1) > 0.9
    share = clusters.tracksters.energy_em / (clusters.tracksters.energy_em + clusters.tracksters.energy_had)
    assert ak.mean(share[photons]) > 0.97 > 0.9 > ak.mean(share[~photons])
    assert ak.max(clusters.tracksters.last_layer) > 8 and ak.max(clusters.tracksters.last_layer) <= 12
    leading = ak.firsts(made.objects.energy[photons])
    assert ak.mean(leading / made.particles.energy[photons][:, 0]) == pytest.approx(0.97, abs=0.12)


def test_report_and_event_display(samples):
    settings = Validation(resamples=10, classifier_events=30, min_energy=3.0)
    validate([samples / "one", samples / "two"], samples / "report", settings)
    metrics = json.loads((samples / "report/metrics.json").read_text())
    assert {m["stage"] for m in metrics} >= {"particles", "hits", "clusters", "objects"}
    assert all(m["value"] is None or math.isfinite(m["value"]) for m in metrics)
    assert any(m["name"].startswith("photon/") for m in metrics if m["stage"] == "hits")
    page = (samples / "report/report.html").read_text()
    assert "Hits coloured by trackster" in page and page.count("<img") > 5


@pytest.mark.parametrize(
    ("command", "kind"),
    [
        (("simulate", "one/generate", "--backend", "ml"), "showers"),
        (("fuse", "one/generate"), "fused"),
        (("calibrate", "one/cluster"), "calibration"),
    ],
)
def test_learned_models_of_another_geometry_are_refused_in_one_line(samples, small, gen2reco, command, kind):
    stage, source, *options = command
    done = gen2reco(stage, samples / source / "00000.parquet", "out.parquet", "--detector", small, *options)
    assert done.returncode == 2
    (line,) = [line for line in done.stderr.splitlines() if not line.startswith("$")]
    assert f"{kind} model" in line and "was trained at 47 layers of 10 mm" in line and "has 12 of 20" in line
