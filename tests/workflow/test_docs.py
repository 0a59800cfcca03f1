"""The documentation does what it says: generated pages are current, the example backend and the example stage run."""

import json
import os
import re
import tomllib

import numpy as np
import pytest

from gen2reco.campaign.reference import write_reference
from gen2reco.events import records
from gen2reco.run.stage_table import CHAIN


def test_the_reference_pages_are_current(repository, tmp_path):
    for page in write_reference(tmp_path):
        shipped = (repository / "docs" / page.name).read_text()
        assert page.read_text() == shipped, f"docs/{page.name} is stale; run `make docs`"


@pytest.fixture
def clusters(tmp_path):
    """One event with one trackster of 10 GeV, without hits."""
    columns = {name: [[]] for name in ("particles", "tracks", "hit_cluster", "associations")}
    kinds = {"layer_clusters": records.SCHEMAS["clusters"].field("layer_clusters").type}
    kinds["tracksters"] = records.SCHEMAS["clusters"].field("tracksters").type
    values = {
        "energy": 10.0,
        "x": 500.0,
        "y": 0.0,
        "z": 3300.0,
        "eta": 2.58,
        "layer": 5,
        "size": 3,
        "n_layer_clusters": 3,
    }
    for name, kind in kinds.items():
        columns[name] = [[{field.name: values.get(field.name, 0) for field in kind.value_type}]]
    table = records.table("clusters", {"event": [0], "weight": [1.0], "cluster_trackster": [[0]], **columns})
    path = tmp_path / "clusters.parquet"
    records.write(path, table, "clusters")
    return path


def install(page, folder, monkeypatch, *files):
    """Install what a page prints: its Python blocks as these files, its entry points; returns the lines of code."""
    text = page.read_text()
    blocks = re.findall(r"```python\n(.*?)```", text, re.S)
    for name, code in zip(files, blocks, strict=True):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(code)
    announced = tomllib.loads("".join(re.findall(r"```toml\n(.*?)```", text, re.S)))["project"]["entry-points"]
    lines = [line for group, names in announced.items() for line in (f"[{group}]", *map(" = ".join, names.items()))]
    info = folder / "printed-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: printed\nVersion: 1\n")
    (info / "entry_points.txt").write_text("\n".join(lines))
    monkeypatch.setenv("PYTHONPATH", str(folder), prepend=os.pathsep)
    return "".join(blocks).splitlines()


def test_the_example_backend_runs(repository, gen2reco, clusters, tmp_path, monkeypatch):
    assert len(install(repository / "docs/backends.md", tmp_path, monkeypatch, "scaled.py")) <= 40
    energies = []
    for factor in (1.0, 2.0):
        detector = ("--detector", repository / "configs/detectors/hgcal.yaml")
        option = ("--backend", "scaled", "--option", f"factor={factor}", *detector)
        done = gen2reco("calibrate", clusters, "objects.parquet", *option)
        assert done.returncode == 0, done.stderr
        energies.append(records.awkward(records.read(tmp_path / "objects.parquet", "objects")).objects.energy)
    assert len(energies[0][0]) == 1
    np.testing.assert_allclose(energies[1].to_list(), (2 * energies[0]).to_list())


def test_the_example_generator_of_showers_runs(repository, gen2reco, tmp_path, monkeypatch):
    assert len(install(repository / "docs/exchange.md", tmp_path, monkeypatch, "gammas.py")) <= 40
    detector = ("--detector", repository / "configs/detectors/hgcal.yaml")
    process = repository / "configs/processes/held_out_photons.yaml"
    steps = [("generate", "p.parquet", "--process", process, "--events", "30")]
    steps += [("simulate", "p.parquet", "h.parquet", "--backend", "gammas", "--option", "points=300", *detector)]
    for step in steps:
        done = gen2reco(*step)
        assert done.returncode == 0, done.stderr
    hits = records.awkward(records.read(tmp_path / "h.parquet", "hits"))
    energy = np.array([event.energy[0] for event in hits.particles])
    measured = np.array([sum(event.energy) for event in hits.hits])
    assert 0.6 < np.median(measured / energy) < 1.05  # less what is below the threshold


@pytest.fixture
def tagging(repository, tmp_path, monkeypatch):
    """The stage `tag` of docs/stages.md, installed."""
    code = install(repository / "docs/stages.md", tmp_path, monkeypatch, "tagging/__init__.py", "tagging/sure.py")
    assert len(code) <= 42


def test_the_example_stage_runs(tagging, repository, gen2reco, clusters, tmp_path):
    steps = [
        (
            "calibrate",
            clusters,
            "o.parquet",
            "--backend",
            "raw",
            "--detector",
            repository / "configs/detectors/hgcal.yaml",
        ),
        ("tag", "o.parquet", "sure.parquet"),
        ("tag", "sure.parquet", "none.parquet", "--option", "least=1"),
    ]
    for step in steps:
        done = gen2reco(*step)
        assert done.returncode == 0, done.stderr
    names = ("o", "sure", "none")
    found = [records.awkward(records.read(tmp_path / f"{name}.parquet", "objects")).objects for name in names]
    assert [objects.pdg.to_list() for objects in found] == [[[22]], [[22]], [[130]]]
    assert found[1].to_list() == found[0].to_list()
    assert json.loads((tmp_path / "none.json").read_text())["renamed"] == 1


CAMPAIGN = """
name: tagged
detector: {repository}/configs/detectors/hgcal.yaml
samples:
  a:
    events: 20
    shard_events: 10
    generate: {{backend: gun, process: {repository}/configs/processes/gun_photon.yaml}}
    simulate: {{backend: geant4}}
    cluster: {{backend: clue}}
    calibrate: {{backend: raw}}
  b: {{like: a, tag: {{backend: sure, least: 0.8}}}}
"""


def test_the_example_stage_is_part_of_a_campaign(tagging, repository, gen2reco, snakemake, tmp_path):
    (tmp_path / "c.yaml").write_text(CAMPAIGN.format(repository=repository))
    assert re.search(r"^  tag +Keep photons", gen2reco("--help").stdout, re.M)
    assert re.search(r"^│ b .* guess: tag", gen2reco("plan", "c.yaml").stdout, re.M)
    stages = json.loads((tmp_path / "results/tagged/plan.lock.json").read_text())["samples"]["b"]["stages"]
    assert {stage: entry["owner"] for stage, entry in stages.items()} == {**dict.fromkeys(CHAIN, "a"), "tag": "b"}
    dry = snakemake("c.yaml", "--dry-run").stdout
    assert [len(re.findall(rf"^rule {name}:", dry, re.M)) for name in ("calibrate", "tag", "publish")] == [2, 2, 4]
    (published,) = re.findall(r"rule publish:\n +input: (\S+), \S+\n +output: results/tagged/b/publish/00000.root", dry)
    assert published == "results/tagged/b/tag/00000.parquet"
    (verified,) = re.findall(r"rule verify:\n +input: (.*)\n +output: results/tagged/b/verified.json", dry)
    assert len(verified.split(", ")) == 5 * 2
