"""The documentation does what it says: generated pages are current, and the example backend runs."""

import re

import numpy as np
import pytest

from gen2reco.campaign.reference import write_reference
from gen2reco.events import records


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


def test_the_example_backend_runs(repository, gen2reco, clusters, tmp_path, monkeypatch):
    text = (repository / "docs/backends.md").read_text()
    code = re.search(r"```python\n(.*?)```", text, re.S)[1]
    assert len(code.splitlines()) <= 40
    (tmp_path / "scaled.py").write_text(code)
    (tmp_path / "scaled-1.dist-info").mkdir()
    (tmp_path / "scaled-1.dist-info/METADATA").write_text("Metadata-Version: 2.1\nName: scaled\nVersion: 1\n")
    entry = re.search(r'entry-points."(.*?)"\]\n(.*?)\n', text)
    names = f"[{entry[1]}]\n{entry[2].replace(chr(34), '')}\n"
    (tmp_path / "scaled-1.dist-info/entry_points.txt").write_text(names)
    monkeypatch.setenv("PYTHONPATH", str(tmp_path))
    energies = []
    for factor in (1.0, 2.0):
        detector = ("--detector", repository / "configs/detectors/hgcal.yaml")
        option = ("--backend", "scaled", "--option", f"factor={factor}", *detector)
        done = gen2reco("calibrate", clusters, "objects.parquet", *option)
        assert done.returncode == 0, done.stderr
        energies.append(records.awkward(records.read(tmp_path / "objects.parquet", "objects")).objects.energy)
    assert len(energies[0][0]) == 1
    np.testing.assert_allclose(energies[1].to_list(), (2 * energies[0]).to_list())
