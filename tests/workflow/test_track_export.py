"""The exported crate: valid for the rocrate library, complete, the profile's demands kept, nothing secret."""

import hashlib
import json
import os
import shutil
import zipfile

import pytest
from rocrate.rocrate import ROCrate
from track_campaign import campaign, training

from gen2reco.errors import InfrastructureError, InputError
from gen2reco.events import records
from gen2reco.track.ro_crate import PROFILES, export


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """A finished campaign."""
    folder = campaign(tmp_path_factory.mktemp("export"))
    training(folder)
    return folder


@pytest.mark.parametrize("name", ["crate", "crate.zip"])
def test_the_library_reads_it(results, tmp_path, name):
    crate = ROCrate(export(results, tmp_path / name))
    assert "pilot" in crate.name and crate.root_dataset["license"].id == "https://spdx.org/licenses/CC-BY-4.0"
    assert {p.id for p in crate.root_dataset["conformsTo"]} == PROFILES.keys()
    workflow = crate.mainEntity
    assert {"File", "SoftwareSourceCode", "ComputationalWorkflow"} == set(workflow.type)
    assert workflow["programmingLanguage"]["name"] == "Snakemake"
    (action,) = [e for e in crate.contextual_entities if e.type == "CreateAction"]
    assert action["instrument"] is workflow and action["actionStatus"].endswith("CompletedActionStatus")
    sources = action["object"] if isinstance(action["object"], list) else [action["object"]]
    made = {entity.id for entity in action["result"]}
    assert "plan.lock.json" in {entity.id for entity in sources}
    assert {"sha256sums.txt", "report/photons/report.html", "report/photons/metrics.json"} <= made
    values = {e["name"]: e["value"] for e in action["additionalProperty"]}
    assert values["pilot revision 1: photons/objects/pions/response"] == 0.98
    assert values["photons simulate: events"] == 400
    for entity in crate.data_entities:
        assert entity["encodingFormat"], entity.id


def test_files_and_digests_are_all_there(results, tmp_path):
    export(results, tmp_path / "crate.zip")
    with zipfile.ZipFile(tmp_path / "crate.zip") as archive:
        names = set(archive.namelist())
        graph = json.loads(archive.read("ro-crate-metadata.json"))["@graph"]
        sums = archive.read("sha256sums.txt").decode().splitlines()
        sidecars = json.loads(archive.read("sidecars/photons-simulate.json"))
    described = {e["@id"] for e in graph if "File" in (e["@type"] if isinstance(e["@type"], list) else [e["@type"]])}
    assert described == names - {"ro-crate-metadata.json"}
    assert len(sums) == 2 * 4 * 4 and len(sidecars) == 4
    expected = hashlib.sha256(b"photonssimulate2").hexdigest()
    assert f"{expected}  photons/simulate/00002.parquet" in sums
    assert not [name for name in names if name.endswith((".parquet", ".safetensors", ".jsonl"))]


def test_no_credential_leaves(results, tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "hunter22")
    page = results / "report" / "photons" / "notes.md"
    page.write_text("see https://me:hunter22@host and hunter22")
    out = export(results, tmp_path / "crate")
    page.unlink()
    texts = [path.read_text(errors="replace") for path in out.rglob("*") if path.is_file()]
    assert len(texts) > 10 and not any("hunter22" in text for text in texts)


def test_links_out_of_the_results_are_not_followed(results, tmp_path):
    (tmp_path / "secret.txt").write_text("secret")
    link = results / "report" / "photons" / "link.txt"
    link.symlink_to(tmp_path / "secret.txt")
    out = export(results, tmp_path / "crate")
    link.unlink()
    assert not list(out.rglob("link.txt"))


def test_another_licence(results, tmp_path):
    crate = ROCrate(export(results, tmp_path / "crate", "CC0-1.0"))
    assert crate.root_dataset["license"]["name"] == "CC0-1.0"


def test_the_campaigns_own_licence(tmp_path):
    folder = campaign(tmp_path, shards=1, samples=("photons",))
    lock = json.loads((folder / "plan.lock.json").read_text())
    (folder / "plan.lock.json").write_text(json.dumps({**lock, "licence": "https://example.org/terms"}))
    assert ROCrate(export(folder, tmp_path / "crate")).root_dataset["license"].id == "https://example.org/terms"


def test_mistakes(results, tmp_path):
    (tmp_path / "there").mkdir()
    with pytest.raises(InputError, match="exists already"):
        export(results, tmp_path / "there")
    with pytest.raises(InputError, match="no such results folder"):
        export(tmp_path / "nowhere", tmp_path / "x")
    with pytest.raises(InputError, match=r"holds no plan\.lock\.json"):
        export(tmp_path / "there", tmp_path / "x")


@pytest.fixture
def configured(tmp_path, repository):
    """A campaign with a configuration of its own, and a lock that names more files than belong to it."""
    results, folder = campaign(tmp_path / "results", shards=1, samples=("photons",)), tmp_path / "mine"
    (folder / "sub").mkdir(parents=True)
    texts = {
        "c.yaml": "{name: pilot, detector: det.yaml, licence: notes.txt, samples: {photons: {events: 100, "
        "generate: {backend: gun, process: sub/gun.yaml, options: {more: ../outside.yaml}}, "
        "simulate: {backend: geant4}, cluster: {backend: clue, clustering: linked.yaml, a: .hidden.yaml, "
        "b: changed.yaml, c: pipe.yaml, d: large.yaml}}}}",
        "det.yaml": "a: 1",
        "sub/gun.yaml": "see: http://me:hunter22@host",
        "notes.txt": "private",
        ".hidden.yaml": "private",
        "changed.yaml": "planned",
        "large.yaml": "#" * (2**24 + 1),
    }
    for name, text in texts.items():
        (folder / name).write_text(text)
    (tmp_path / "outside.yaml").write_text("private")
    (folder / "linked.yaml").symlink_to(folder / "det.yaml")
    detector = repository / "configs/detectors/hgcal.yaml"
    files = [*(folder / name for name in texts), folder / "../outside.yaml", folder / "linked.yaml", detector]
    digests = {str(file): hashlib.sha256(file.read_bytes()).hexdigest() for file in files}
    digests[str(folder / "pipe.yaml")] = "0" * 64
    (folder / "changed.yaml").write_text("private")
    os.mkfifo(folder / "pipe.yaml")
    lock = json.loads((results / "plan.lock.json").read_text())
    lock |= {"files": digests, "campaign_file": str(folder / "c.yaml")}
    (results / "plan.lock.json").write_text(json.dumps(lock))
    return results


def test_only_the_campaigns_own_configuration_is_taken(configured, tmp_path, caplog):
    out = export(configured, tmp_path / "crate")
    taken = {path.relative_to(out).as_posix() for path in out.rglob("*") if path.is_file()}
    assert {name for name in taken if name.startswith(("campaign/", "configs/"))} == {
        "campaign/c.yaml",
        "campaign/det.yaml",
        "campaign/sub/gun.yaml",
    }
    assert "hunter22" not in (out / "campaign/sub/gun.yaml").read_text()
    told = [record.getMessage().partition(str(tmp_path / "mine") + "/")[2] for record in caplog.records]
    assert sorted(told)[1:] == [
        "../outside.yaml: lies outside the campaign's folder and the checkout",
        ".hidden.yaml: is hidden, or no configuration by its name",
        "changed.yaml: has changed since it was planned",
        "large.yaml: is larger than 16 MiB",
        "linked.yaml: is a link",
        "notes.txt: is not named by a field that holds a path",
        "pipe.yaml: is no regular file",
    ]
    assert not any("private" in path.read_text(errors="replace") for path in out.rglob("*") if path.is_file())


def test_a_report_that_is_a_link_or_endless_stays(tmp_path, caplog):
    results = campaign(tmp_path, shards=1, samples=("photons",))
    os.mkfifo(results / "report" / "photons" / "pipe.json")
    (results / "report" / "photons" / "own.json").symlink_to("metrics.json")
    out = export(results, tmp_path / "crate")
    assert not list(out.rglob("pipe.json")) + list(out.rglob("own.json"))
    assert "pipe.json: left out: is no regular file" in caplog.text and "own.json: left out: is a link" in caplog.text


def test_a_crate_is_written_whole_or_not_at_all(results, tmp_path, monkeypatch):
    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(ROCrate, "write", full)
    with pytest.raises(InfrastructureError, match="No space left"):
        export(results, tmp_path / "crate")
    assert list(tmp_path.iterdir()) == []


def test_the_models_of_the_campaign_are_in_it_without_weights_and_links(tmp_path, caplog):
    results = campaign(tmp_path)
    lock = json.loads((results / "plan.lock.json").read_text())
    (results / "plan.lock.json").write_text(json.dumps({**lock, "models": {"one": {}, "two": {}}}))
    folder = results / "models/one"
    (folder / "model").mkdir(parents=True)
    for name in ("trained.json", "judged.json", "model/card.md", "model/evaluation.json", "model/weights.safetensors"):
        (folder / name).write_text("{}")
    (results / "models/two").mkdir()
    (results / "models/two/trained.json").symlink_to("/etc/hostname")
    crate = ROCrate(export(results, tmp_path / "crate"))
    names = {entity.id for entity in crate.data_entities if entity.id.startswith("models/")}
    assert names == {f"models/one/{name}" for name in ("trained.json", "judged.json")} | {
        "models/one/model/card.md",
        "models/one/model/evaluation.json",
    }
    assert "models/two/trained.json" in caplog.text


MINE = """
name: mine
seed: 3
detector: {repository}/configs/detectors/hgcal.yaml
samples:
  a:
    events: 2
    generate: {{backend: gun, process: {repository}/tests/data/tiny_photons.yaml}}
    cluster: {{backend: clue, clustering: mine.yaml}}
    simulate: {{backend: ml, model: ./model}}
  b:
    events: 2
    generate: {{backend: lhe, process: events.lhe}}
  c: {{events: 1, generate: {{backend: lhe, process: sub/lhe.yaml}}}}
"""


def test_a_crate_runs_elsewhere(tmp_path, repository, gen2reco, snakemake, monkeypatch):
    """References out of the campaign's folder, event files and models of another folder hold in the crate."""
    mine = tmp_path / "mine"
    (mine / "sub").mkdir(parents=True)
    (mine / "c.yaml").write_text(MINE.format(repository=repository))
    (mine / "mine.yaml").write_text("{}")
    (mine / "sub/lhe.yaml").write_text("{kind: lhe, file: ../events.lhe}")
    shutil.copy(repository / "tests/data/whizard.lhe", mine / "events.lhe")
    shutil.copytree(repository / "workflow/gen2reco/simulate/release", mine / "model")
    done = gen2reco("plan", mine / "c.yaml")
    assert done.returncode == 0, done.stderr
    done = gen2reco("export", "results/mine", "mine.zip")
    assert (done.returncode, done.stderr) == (0, "")
    shutil.rmtree(mine)
    monkeypatch.setenv("GEN2RECO_CACHE", str(tmp_path / "cache"))
    there = tmp_path / "there"
    with zipfile.ZipFile(tmp_path / "mine.zip") as archive:
        archive.extractall(there)
    assert str(repository) not in (there / "campaign/c.yaml").read_text()
    assert "gen2reco check campaign/c.yaml" in (there / "README.md").read_text()
    checked = gen2reco("check", "campaign/c.yaml", cwd=there)
    assert checked.returncode == 0 and "simulate ml" in checked.stdout, checked.stderr
    run = ("results/mine/c/verified.json", "--snakefile", "Snakefile", "--workflow-profile", "profiles/default")
    snakemake("campaign/c.yaml", *run, cwd=there)
    assert records.read(there / "results/mine/c/generate/00000.parquet", "particles").num_rows == 1


def test_ntuples_go_with_it_if_asked(tmp_path, caplog):
    results = campaign(tmp_path, shards=1, samples=("photons",))
    (results / "photons/publish").mkdir(parents=True, exist_ok=True)
    (results / "photons/publish/00000.root").write_bytes(b"root")
    (results / "photons/publish/00001.root").symlink_to("/etc/hostname")
    assert not list(export(results, tmp_path / "crate").rglob("*.root"))
    with zipfile.ZipFile(export(results, tmp_path / "crate.zip", ntuples=True)) as archive:
        assert [n for n in archive.namelist() if n.endswith(".root")] == ["ntuples/photons/00000.root"]
        assert archive.read("ntuples/photons/00000.root") == b"root"
    assert "00001.root: is a link" in caplog.text
