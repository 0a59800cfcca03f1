"""Replay into real MLflow servers, on SQLite and PostgreSQL: every run and metric once, whatever happens meanwhile."""

import json
import multiprocessing
import os
import re
import shutil
import subprocess
import sys
import threading
import time
from collections import Counter
from pathlib import Path

import pytest
from mlflow import MlflowClient
from mlflow_server import MLflow, PostgreSQL, Proxy
from track_campaign import STAGES, campaign, model_folder, sidecar, spool_steps, sync_often, training

from gen2reco.errors import InfrastructureError, InputError
from gen2reco.track import server as track_server
from gen2reco.track import sync as track_sync
from gen2reco.track.address import parse
from gen2reco.track.runs import campaign_runs
from gen2reco.track.spool import Spool
from gen2reco.track.sync import sync


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def server(request, tmp_path_factory):
    """A running MLflow server."""
    folder = tmp_path_factory.mktemp(request.param)
    database = PostgreSQL(folder / "pg") if request.param == "postgresql" else None
    running = MLflow(folder / "mlflow", database.uri if database else None)
    try:
        yield running.start()
    finally:
        running.kill()
        if database:
            database.stop()


@pytest.fixture
def name(request):
    """A campaign name of its own for each test."""
    return "".join(c if c.isalnum() else "_" for c in request.node.name.lower())


@pytest.fixture(autouse=True)
def quick_and_clean(monkeypatch, tmp_path):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    monkeypatch.setenv("GEN2RECO_CACHE", str(tmp_path / "cache"))


def there(uri: str, name: str) -> dict:
    """All that the server knows of a campaign: key → (status, params, tags, metric histories, datasets, artifacts)."""
    client = MlflowClient(uri)
    experiment = client.get_experiment_by_name(name)
    runs = client.search_runs([experiment.experiment_id], max_results=1000)
    assert all(count == 1 for count in Counter(r.data.tags["gen2reco.key"] for r in runs).values())
    names = {run.info.run_id: run.data.tags["gen2reco.key"] for run in runs}
    found = {}
    for run in runs:
        histories = {
            key: sorted((m.step, m.timestamp, m.value) for m in client.get_metric_history(run.info.run_id, key))
            for key in run.data.metrics
        }
        own = ("mlflow.parentRunId", "gen2reco.synced", "mlflow.user", "mlflow.runName")
        tags = {k: v for k, v in run.data.tags.items() if k not in own}
        page = re.compile(rf"\]\([^)]*{run.info.run_id}/")  # each server has pages of its own
        tags |= {k: page.sub("](run/", v) for k, v in tags.items() if k == "mlflow.note.content"}
        parent = names.get(run.data.tags.get("mlflow.parentRunId"))
        data = sorted((i.dataset.name, i.dataset.digest, _context(i.tags)) for i in run.inputs.dataset_inputs)
        files = sorted(_files(client, run.info.run_id))
        found[names[run.info.run_id]] = {
            **{"status": run.info.status, "start": run.info.start_time, "end": run.info.end_time, "parent": parent},
            **{"params": run.data.params, "tags": tags, "metrics": histories, "datasets": data, "files": files},
        }
    return found


def _context(tags):
    return next(tag.value for tag in tags if tag.key == "mlflow.data.context")


def _files(client, run_id, folder=None):
    for entry in client.list_artifacts(run_id, folder):
        if entry.is_dir:
            yield from _files(client, run_id, entry.path)
        else:
            yield entry.path


def expected(results: Path) -> dict:
    """Metric histories that the results folder tells, by run key."""
    runs = campaign_runs(results).runs
    return {r.key: sorted((p.key, p.step, p.time, p.value) for p in r.points) for r in runs}


def histories(found: dict) -> dict:
    return {
        key: sorted((name, *row) for name, rows in run["metrics"].items() for row in rows) for key, run in found.items()
    }


def test_shape(server, tmp_path, name):
    results = campaign(tmp_path, name)
    training(results)
    assert "10 runs" in sync(results, server.uri)
    found = there(server.uri, name)
    keys = {f"{name}/1/{s}/{stage}" for s in ("photons", "pions") for stage in STAGES}
    assert found.keys() == {f"{name}/1", f"{name}/1/training/showers", *keys}
    assert {run["parent"] for key, run in found.items() if key != f"{name}/1"} == {f"{name}/1"}
    assert {run["status"] for run in found.values()} == {"FINISHED"}
    stage = found[f"{name}/1/photons/simulate"]
    assert stage["params"] | {"backend": "geant4", "options.a.b": "1", "seed": "7"} == stage["params"]
    wanted = {"gen2reco.code": "0.1.0", "gen2reco.slurm_jobs": "1000 1001 1002 1003", "gen2reco.progress": "4/4 shards"}
    assert stage["tags"] | wanted == stage["tags"] and len(stage["tags"]["gen2reco.config"]) == 64
    assert stage["metrics"]["events_per_second"][0][2] == pytest.approx(10.0)
    assert stage["metrics"]["core_hours"][0][2] == pytest.approx(0.01)
    assert [row[0] for row in stage["metrics"]["shard/wall_seconds"]] == [0, 1, 2, 3]
    before, made = stage["datasets"]
    assert (before[0], before[2], made[0], made[2]) == ("photons/generate", "input", "photons/simulate", "output")
    assert ("photons/generate", before[1], "output") in found[f"{name}/1/photons/generate"]["datasets"]
    top = found[f"{name}/1"]
    assert top["metrics"]["photons/objects/pions/response"][0][2] == 0.98
    assert top["metrics"]["photons/objects/pions/response.uncertainty"][0][2] == 0.01
    assert top["files"] == [
        "plan/plan.lock.json",
        "report/photons/figures/01_hits_photon_profiles.png",
        "report/photons/metrics.json",
        "report/photons/report.html",
        "report/photons/verdict.json",
    ]
    assert len([key for key in top["metrics"] if "/" in key]) == 2
    assert top["tags"]["verdict"] == "pions: no: photons" and top["tags"]["verdict.pions"] == "no: photons"
    assert found[f"{name}/1/pions/simulate"]["tags"]["verdict"] == "no: photons" and "verdict" not in stage["tags"]
    assert stage["metrics"]["events_per_core_second"][0][2] == pytest.approx(100 / 9.0)
    assert found[f"{name}/1/training/showers"]["datasets"][0][0] == "photons/simulate"


def test_replayed_again_it_changes_nothing(server, tmp_path, name):
    results = campaign(tmp_path, name, samples=("photons",))
    training(results)
    sync(results, server.uri)
    first = there(server.uri, name)
    assert "0 written" in sync(results, server.uri)
    client = MlflowClient(server.uri)
    for run in client.search_runs([client.get_experiment_by_name(name).experiment_id]):
        client.delete_tag(run.info.run_id, "gen2reco.synced")
    assert "6 written" in sync(results, server.uri)
    assert there(server.uri, name) == first


def test_extended_it_goes_on_in_the_same_runs(server, tmp_path, name):
    results = campaign(tmp_path, name, shards=2, samples=("photons",))
    sync(results, server.uri)
    sidecar(results, "photons", "generate", 2, status="failed", events_out=0)
    lock = json.loads((results / "plan.lock.json").read_text())
    lock["samples"]["photons"]["events"] = 300
    (results / "plan.lock.json").write_text(json.dumps(lock))
    sync(results, server.uri)
    found = there(server.uri, name)
    assert len(found) == 5
    generate, simulate = (found[f"{name}/1/photons/{stage}"] for stage in ("generate", "simulate"))
    assert (generate["status"], simulate["status"]) == ("FAILED", "RUNNING")
    assert [(step, value) for step, _, value in generate["metrics"]["shards_failed"]] == [(2, 0.0), (3, 1.0)]
    assert simulate["tags"]["gen2reco.progress"] == "2/3 shards"


def test_eight_spooling_while_two_sync(server, tmp_path, name):
    """Two syncs of one folder, and one of a copy: nothing but the server stands between them."""
    results = campaign(tmp_path, name, shards=2, samples=("photons",))
    (tmp_path / "copy").mkdir()
    copy = Path(shutil.copytree(results, tmp_path / "copy" / name))
    context = multiprocessing.get_context("fork")
    writers = [context.Process(target=spool_steps, args=(results, n, 60, 0.05)) for n in range(8)]
    syncs = [context.Process(target=sync_often, args=(f, server.uri, 2)) for f in (results, results, copy)]
    for process in (*writers, *syncs):
        process.start()
    for process in (*writers, *syncs):
        process.join()
    sync(results, server.uri)
    assert histories(there(server.uri, name)) == expected(results)
    assert sum(len(v) for k, v in expected(results).items() if "training" in k) == 8 * 60


def test_two_copies_replayed_at_once_meet_in_one_run(server, tmp_path, name, monkeypatch):
    """The worst race, made certain: both look, then both create."""
    results = campaign(tmp_path, name, shards=2, samples=("photons",))
    (tmp_path / "copy").mkdir()
    copies = [results, Path(shutil.copytree(results, tmp_path / "copy" / name))]
    barrier, looked = threading.Barrier(2, timeout=60), set()
    look = track_sync.Replay._known_runs

    def look_together(self):
        found = look(self)
        if threading.get_ident() not in looked:
            looked.add(threading.get_ident())
            barrier.wait()
        return found

    monkeypatch.setattr(track_sync.Replay, "_known_runs", look_together)
    problems = []

    def replay(folder):
        try:
            sync(folder, server.uri)
        except Exception as error:
            problems.append(error)

    threads = [threading.Thread(target=replay, args=(folder,)) for folder in copies]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert problems == []
    assert histories(there(server.uri, name)) == expected(results)


def test_server_killed_in_mid_sync_and_restarted(server, tmp_path, name):
    results = campaign(tmp_path, name, shards=40)
    training(results, steps=3000)
    failures = []

    def replay():
        try:
            sync(results, server.uri)
        except InfrastructureError as error:
            failures.append(str(error))

    thread = threading.Thread(target=replay)
    thread.start()
    client = MlflowClient(server.uri)
    while not (found := client.get_experiment_by_name(name)) or len(client.search_runs([found.experiment_id])) < 3:
        time.sleep(0.05)
    server.kill()
    thread.join(timeout=120)
    server.start()
    assert failures and "\n" not in failures[0] and "sync again" in failures[0]
    sync(results, server.uri)
    assert histories(there(server.uri, name)) == expected(results)


def test_absent_server_later_gives_the_runs_of_a_live_one(server, tmp_path, name, monkeypatch):
    """A training watched live, and its campaign replayed late elsewhere: the same runs."""
    results = campaign(tmp_path, name, samples=("photons",))
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    with Spool(results, "showers") as log:
        log.params({"lr": 0.1})
        for step in range(20):
            log.metrics({"loss": 1.0 / (step + 1)}, step)
        seen = wait_for(lambda: live_points(server.uri, name), 200)
        for step in range(20, 30):
            log.metrics({"loss": 1.0 / (step + 1)}, step)
    assert seen >= 20, "the curve was not there while the training ran"
    wait_for(lambda: live_points(server.uri, name) == 30, 60)
    sync(results)
    monkeypatch.delenv("MLFLOW_TRACKING_URI")
    sync(results)
    embedded = there(f"sqlite:///{tmp_path / 'mlflow.db'}", name)
    assert embedded == there(server.uri, name)


def wait_for(condition, seconds):
    deadline = time.monotonic() + seconds
    while time.monotonic() < deadline:
        if found := condition():
            return found
        time.sleep(0.3)
    return condition()


def live_points(uri, name):
    client = MlflowClient(uri)
    if not (experiment := client.get_experiment_by_name(name)):
        return 0
    for run in client.search_runs([experiment.experiment_id]):
        if run.data.tags["gen2reco.key"].endswith("/training/showers"):
            return len(client.get_metric_history(run.info.run_id, "loss"))
    return 0


def test_a_server_known_to_a_proxy_alone(server, tmp_path, name, monkeypatch):
    uri, results = "http://mlflow.invalid:5000", campaign(tmp_path, name, shards=1, samples=("photons",))
    with pytest.raises(InfrastructureError, match="cannot be reached"):
        sync(results, uri)
    with Proxy(server.uri) as proxy:
        monkeypatch.setenv("http_proxy", proxy.uri)
        assert "5 written" in sync(results, uri)
        assert proxy.asked and all(asked.startswith(uri) for asked in proxy.asked)
    with pytest.raises(InfrastructureError, match=r"through the proxy http://\*\*\*@127\.0\.0\.1") as caught:
        sync(results, uri)
    assert "hunter22" not in str(caught.value)


def test_a_deleted_experiment_is_named(server, tmp_path, name):
    results = campaign(tmp_path, name, shards=1, samples=("photons",))
    sync(results, server.uri)
    client = MlflowClient(server.uri)
    client.delete_experiment(client.get_experiment_by_name(name).experiment_id)
    with pytest.raises(InputError, match=f"experiment `{name}` was deleted there; restore it"):
        sync(results, server.uri)


def test_a_deleted_run_comes_back(server, tmp_path, name):
    results = campaign(tmp_path, name, shards=1, samples=("photons",))
    sync(results, server.uri)
    first = there(server.uri, name)
    client = MlflowClient(server.uri)
    runs = client.search_runs([client.get_experiment_by_name(name).experiment_id])
    client.delete_run(next(r.info.run_id for r in runs if r.data.tags["gen2reco.key"] == f"{name}/1"))
    sync(results, server.uri)
    assert there(server.uri, name) == first


def test_another_campaign_of_the_same_name_is_refused(server, tmp_path, name):
    sync(campaign(tmp_path / "a", name, shards=1), server.uri)
    other = campaign(tmp_path / "b", name, shards=1)
    lock = json.loads((other / "plan.lock.json").read_text())
    lock["samples"]["photons"]["stages"]["simulate"]["options"] = {"a": {"b": 2}}
    (other / "plan.lock.json").write_text(json.dumps(lock))
    with pytest.raises(
        InputError, match=r"`photons simulate`: the server knows it with options\.a\.b = 1, here it is 2"
    ):
        sync(other, server.uri)


def test_models_are_registered_once_with_what_they_were_trained_on(server, tmp_path, name):
    from gen2reco.track.registry import listing, resolve

    results = campaign(tmp_path, name, samples=("photons",))
    model = name[:40]
    folder = model_folder(tmp_path / "model", seed=len(name))
    with Spool(results, "showers", live=False) as log:
        log.metrics({"loss": 1.0})
        log.model(model, folder)
    for _ in range(2):
        sync(results, server.uri)
    (row,) = [r for r in listing(server.uri) if r["name"] == model]
    assert (row["version"], row["aliases"]) == (1, ["candidate"])
    run = MlflowClient(server.uri).get_run(row["run"])
    assert run.data.tags["gen2reco.key"] == f"{name}/1/training/showers"
    for reference in (f"models:/{model}@candidate", f"models:/{model}/1", row["digest"], row["digest"][:16]):
        found = resolve(reference, server.uri)
        assert found.digest == row["digest"]
        assert (found.path / "weights.safetensors").read_bytes() == (folder / "weights.safetensors").read_bytes()
    lock = json.loads((results / "plan.lock.json").read_text())
    lock["samples"]["photons"]["stages"]["simulate"]["model"] = row["digest"]
    lock["revision"] = 2
    (results / "plan.lock.json").write_text(json.dumps(lock))
    sync(results, server.uri)
    tags = there(server.uri, name)[f"{name}/2/photons/simulate"]["tags"]
    assert tags["gen2reco.model_version"] == f"{model}/1"


def test_a_model_changed_in_the_store_is_refused(server, tmp_path, name):
    from gen2reco.track.registry import register, resolve

    version = register(model_folder(tmp_path / "model", seed=99 + len(name)), name[:40], server.uri)
    (weights,) = [
        p for p in server.artifacts.rglob("weights.safetensors") if version.source.removeprefix("models:/") in str(p)
    ]
    weights.write_bytes(weights.read_bytes()[:-1] + b"x")
    digest = version.tags["gen2reco.digest"]
    with pytest.raises(InputError, match=f"digest is [0-9a-f]{{64}}, expected {digest}"):
        resolve(f"models:/{name[:40]}/1", server.uri)
    assert not (tmp_path / "cache" / "models" / digest).exists()


def test_a_campaign_names_a_registered_model(server, tmp_path, name, repository, monkeypatch):
    """The plan pins what an alias means when it is made, and keeps it; a new revision follows the alias."""
    from gen2reco.calibrate.dnn import RELEASE
    from gen2reco.campaign import model_pins
    from gen2reco.campaign.job import planned_job
    from gen2reco.campaign.plan import make_plan
    from gen2reco.run.model_folder import model_digest
    from gen2reco.track.registry import fetch, register

    model = name[:40]
    monkeypatch.setattr(model_pins, "_registry", fetch)
    client = MlflowClient(server.uri)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", server.uri)
    monkeypatch.chdir(tmp_path)
    first = register(RELEASE, model)
    client.set_registered_model_alias(model, "champion", first.version)
    path = calibrated_campaign(tmp_path, repository, f"models:/{model}@champion")
    plan = make_plan(path)[0]
    choice = plan.choice("a", "calibrate")
    assert choice["options"]["model"] == choice["model"] == model_digest(RELEASE) == first.tags["gen2reco.digest"]
    job = planned_job(plan.folder / "plan.lock.json", "calibrate", "a", 0, tmp_path / "o.parquet", None, 1)
    assert job.backend.jet_model and job.backend.model.folder.is_relative_to(tmp_path / "cache")
    without_jets = Path(shutil.copytree(RELEASE / "objects", tmp_path / "second" / "objects")).parent
    second = register(without_jets, model)
    assert int(second.version) == 2
    client.set_registered_model_alias(model, "champion", second.version)
    calibrated_campaign(tmp_path, repository, f"models:/{model}@champion", events=20)
    assert make_plan(path)[0].choice("a", "calibrate") == choice
    assert make_plan(path, new_revision=True)[0].choice("a", "calibrate")["model"] == model_digest(without_jets)
    calibrated_campaign(tmp_path, repository, f"models:/{model}/1", events=20)
    assert make_plan(path, new_revision=True)[0].choice("a", "calibrate")["model"] == choice["model"]
    shutil.rmtree(tmp_path / "cache")
    calibrated_campaign(tmp_path, repository, choice["model"][:16], events=20)
    assert make_plan(path, new_revision=True)[0].choice("a", "calibrate")["model"] == choice["model"]
    calibrated_campaign(tmp_path, repository, f"models:/{model}/9", events=20)
    with pytest.raises(InputError, match=f"model `models:/{model}/9`: not in the registry"):
        make_plan(path, new_revision=True)


def calibrated_campaign(folder: Path, repository: Path, model: str, events: int = 10) -> Path:
    """A campaign whose objects are calibrated by that model."""
    (folder / "gun.yaml").write_text("kind: gun\nspecies: [22]\nenergy: [5, 100]\n")
    (folder / "c.yaml").write_text(f"""
name: named
detector: {repository / "configs/detectors/hgcal.yaml"}
samples:
  a:
    events: {events}
    shard_events: 10
    generate: {{backend: gun, process: gun.yaml}}
    simulate: {{backend: geant4}}
    cluster: {{backend: clue}}
    calibrate: {{backend: dnn, model: "{model}"}}
""")
    return folder / "c.yaml"


def test_a_full_artifact_store_costs_only_the_files(server, tmp_path, name):
    """The store of this experiment cannot be written: a file stands where its folder should be."""
    results = campaign(tmp_path, name, samples=("photons",))
    client = MlflowClient(server.uri)
    broken = server.artifacts / client.create_experiment(name)
    broken.parent.mkdir(parents=True, exist_ok=True)
    broken.write_text("in the way")
    with pytest.raises(InfrastructureError, match="could not be stored with the run") as caught:
        sync(results, server.uri)
    assert "\n" not in str(caught.value)
    assert histories(there_without_files(server.uri, name)) == expected(results)
    broken.unlink()
    sync(results, server.uri)
    assert len(there(server.uri, name)[f"{name}/1"]["files"]) == 4


def there_without_files(uri, name):
    global _files
    kept, _files = _files, lambda *_: []
    try:
        return there(uri, name)
    finally:
        _files = kept


@pytest.mark.parametrize(
    ("uri", "error", "text"),
    [
        ("http://127.0.0.1:9", InfrastructureError, "cannot be reached"),
        ("http://me:passw0rd@127.0.0.1:9", InfrastructureError, "http://***@127.0.0.1:9: cannot be reached"),
        ("ftp://host", InputError, "expected http(s)://HOST:PORT"),
        ("postgresql://u@127.0.0.1:9/x", InfrastructureError, "cannot be reached"),
    ],
)
def test_wrong_addresses(tmp_path, uri, error, text):
    results = campaign(tmp_path, shards=1, samples=("photons",))
    started = time.monotonic()
    with pytest.raises(error) as caught:
        sync(results, uri)
    assert text in str(caught.value) and "passw0rd" not in str(caught.value)
    assert time.monotonic() - started < 20


@pytest.mark.parametrize(
    ("answer", "text"),
    [
        (401, "credentials are missing or refused; set MLFLOW_TRACKING_TOKEN"),
        (404, "something answers there, but it is no MLflow"),
    ],
)
def test_a_closed_or_strange_server_is_one_clear_line(tmp_path, answer, text):
    """A server that wants other credentials, or is something else; a stand-in, since only its answer matters."""
    from http.server import BaseHTTPRequestHandler, HTTPServer

    class Closed(BaseHTTPRequestHandler):
        def do_GET(self):
            good = self.headers.get("Authorization") == "Bearer right-token"
            self.send_response(200 if good else answer)
            self.end_headers()
            self.wfile.write(b"{}")

        do_POST = do_GET

        def log_message(self, *_):
            pass

    web = HTTPServer(("127.0.0.1", 0), Closed)
    threading.Thread(target=web.serve_forever, daemon=True).start()
    results = campaign(tmp_path, shards=1, samples=("photons",))
    environment = {**os.environ, "MLFLOW_TRACKING_TOKEN": "wrong-token", "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "0"}
    command = [sys.executable, "-m", "gen2reco.cli", "track", "sync", str(results)]
    command += ["--uri", f"http://127.0.0.1:{web.server_port}"]
    done = subprocess.run(command, capture_output=True, text=True, env=environment)
    web.shutdown()
    assert done.returncode == 2, done.stderr
    assert text in done.stderr
    assert "wrong-token" not in done.stderr and len(done.stderr.strip().splitlines()) == 1


def test_eight_processes_make_the_embedded_database_at_once(tmp_path):
    context = multiprocessing.get_context("fork")
    folders = [campaign(tmp_path, f"c{n}", shards=1, samples=("photons",)) for n in range(8)]
    workers = [context.Process(target=sync_often, args=(folder, None, 1)) for folder in folders]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    uri = f"sqlite:///{tmp_path / 'mlflow.db'}"
    for folder in folders:
        assert histories(there(uri, folder.name)) == expected(folder)


def test_a_foreign_or_damaged_database_is_one_clear_error(tmp_path):
    results = campaign(tmp_path, shards=1, samples=("photons",))
    (tmp_path / "mlflow.db").write_text("not a database" * 100)
    with pytest.raises(InputError, match="is no SQLite database; give another file"):
        sync(results)


def test_without_receipt_it_fails_with_one_it_warns(tmp_path, gen2reco):
    results = campaign(tmp_path, shards=1, samples=("photons",))
    away = ("--uri", "http://127.0.0.1:9")
    failed = gen2reco("track", "sync", results, *away)
    assert failed.returncode == 75 and "cannot be reached" in failed.stderr
    warned = gen2reco("track", "sync", results, *away, "--receipt", tmp_path / "tracked.json")
    assert warned.returncode == 0 and "warning" in warned.stderr
    assert json.loads((tmp_path / "tracked.json").read_text())["status"] == "waiting"
    assert gen2reco("track", "sync", results, "--receipt", tmp_path / "tracked.json").returncode == 0
    assert json.loads((tmp_path / "tracked.json").read_text())["status"] == "synced"


@pytest.mark.parametrize(
    ("break_it", "text"),
    [
        (lambda r: shutil.rmtree(r), "no such results folder"),
        (lambda r: (r / "plan.lock.json").write_text("{"), "damaged plan"),
        (lambda r: (r / "plan.lock.json").write_text("[]"), "damaged plan"),
    ],
)
def test_results_that_cannot_be_told(tmp_path, break_it, text):
    results = campaign(tmp_path, shards=1)
    break_it(results)
    with pytest.raises(InputError, match=text):
        sync(results)


def test_damaged_sidecars_and_metrics_are_named_and_left_out(tmp_path, caplog):
    results = campaign(tmp_path, shards=3, samples=("photons",))
    (results / "photons" / "simulate" / "00001.json").write_text("{")
    (results / "report" / "photons" / "metrics.json").write_text("nonsense")
    runs = {run.key: run for run in campaign_runs(results).runs}
    assert runs["pilot/1/photons/simulate"].tags["gen2reco.progress"] == "2/3 shards"
    assert "simulate/00001.json: damaged sidecar" in caplog.text and "metrics.json: damaged" in caplog.text


def test_explained_errors_are_one_line():
    for error in (OSError("a\nb"), ValueError("")):
        assert "\n" not in str(track_server.explain(error, parse("http://u:p@h")))
