"""Trainings as runs of their campaign, on the database beside the results: from its data to a champion in use."""

import json
import os

import pytest
from click.testing import CliRunner
from mlflow import MlflowClient
from track_campaign import sidecar

from gen2reco.cli import cli
from gen2reco.errors import InputError
from gen2reco.track.runs import campaign_runs
from gen2reco.track.spool import read
from gen2reco.track.training_log import TrainingLog, contents

E_E = '"Beams:idA = 11", "Beams:idB = -11", "Beams:eCM = 91.2", "PDF:lepton = off", "WeakSingleBoson:ffbar2gmZ = on"'
CAMPAIGN = """
name: traingen
detector: {detector}
samples:
  many:
    events: 1200
    generate:
      backend: pythia8
      process:
        kind: pythia8
        settings: [{settings}, "23:onMode = off", "23:onIfAny = 1 2 3 4 5", "ParticleDecays:limitTau0 = on",
          "ParticleDecays:tau0Max = 1e-5"]
  held_out:
    events: 100
    generate: {{backend: pythia8, process: {process}}}
promotion:
- {{metric: events/auc_event, limit: 0.99}}
licence: CC0-1.0
validation: {{resamples: 10}}
"""
RECIPE = """
sizes: {counts_width: 8, shapes_width: 8, shapes_depth: 1, width: 8, depth: 1, pooled: 8}
particles: {steps: 2, batch: 8, checkpoint_every: 1}
"""
IN_USE = """
name: used
detector: {detector}
samples:
  a: {{events: 5, generate: {{backend: ml, process: {process}, model: "models:/generation@champion"}}}}
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory, repository):
    """A folder with a campaign and what uses its model."""
    folder = tmp_path_factory.mktemp("training")
    given = {"detector": repository / "configs/detectors/hgcal.yaml", "settings": E_E}
    given["process"] = repository / "configs/processes/ee_qq_91.yaml"
    (folder / "c.yaml").write_text(CAMPAIGN.format(**given))
    (folder / "used.yaml").write_text(IN_USE.format(**given))
    (folder / "ee.yaml").write_text(given["process"].read_text())
    (folder / "recipe.yaml").write_text(RECIPE)
    return folder


@pytest.fixture
def command(gen2reco, place, monkeypatch):
    """Run a command there, with a cache of its own; returns its output. Those of MLflow run in this process."""
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("GEN2RECO_CACHE", str(place / "cache"))
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.chdir(place)

    def call(*words):
        if words[0] in ("plan", "track", "models"):
            done = CliRunner().invoke(cli, words, catch_exceptions=False)
            assert done.exit_code == 0, done.output
            return done.output
        done = gen2reco(*words, cwd=place, env=dict(os.environ))
        assert done.returncode == 0, done.stderr[-3000:]
        return done.stdout + done.stderr

    return call


def test_from_training_to_use(command, place, snakemake):
    """Train on a campaign's data, sync, promote; then use the champion by hand and in a campaign."""
    command("plan", "c.yaml")
    for sample in ("many", "held_out"):
        planned = ("--plan", "results/traingen/plan.lock.json", "--sample", sample, "--shard", "0")
        output = place / "results/traingen" / sample / "generate/00000.parquet"
        output.parent.mkdir(parents=True)
        command("generate", output, *planned)
    made = command("train", "generation", "results/traingen", "models/gen", "--model", "recipe.yaml")
    assert "registered as `generation` by: gen2reco track sync results/traingen" in made
    evaluation = json.loads((place / "models/gen/evaluation.json").read_text())
    assert evaluation["sample"]["name"] == "held_out" and len(evaluation["sample"]["digest"]) == 64
    command("track", "sync", "results/traingen")
    run, tags = one_training(place)
    assert (run.info.status, tags["gen2reco.kind"]) == ("FINISHED", "training")
    assert run.data.params["training"] == "generation" and run.data.params["particles.steps"] == "2"
    assert "held_out/events/auc_event" in run.data.metrics and "particles_teacher/seconds" in run.data.metrics
    used = {i.dataset.name: (i.tags[0].value, i.dataset.digest) for i in run.inputs.dataset_inputs}
    assert {name: context for name, (context, _) in used.items()} == {
        "many/generate": "training",
        "held_out/generate": "evaluation",
    }
    outputs = {
        d.digest[:36]
        for r in campaign_runs(place / "results/traingen").runs
        for d in r.datasets
        if d.context == "output"
    }
    assert {digest for _, digest in used.values()} <= outputs
    assert "candidate" in command("models", "list")
    assert "candidate is champion now" in command("models", "promote", "generation", "--campaign", "c.yaml")

    digest = MlflowClient(uri(place)).get_model_version("generation", "1").tags["gen2reco.digest"]
    champion = ("--option", "model=models:/generation@champion")
    command("generate", "o.parquet", "--backend", "ml", "--process", place / "ee.yaml", "--events", "5", *champion)
    assert json.loads((place / "o.json").read_text())["model_digest"] == digest
    snakemake("used.yaml", "-n", cwd=place, env=dict(os.environ))
    choice = json.loads((place / "results/used/plan.lock.json").read_text())["samples"]["a"]["stages"]["generate"]
    assert (choice["model"], choice["named"]) == (digest, "models:/generation@champion")


def one_training(place):
    client = MlflowClient(uri(place))
    found = client.search_runs([client.get_experiment_by_name("traingen").experiment_id])
    (run,) = [r for r in found if r.data.tags.get("gen2reco.kind") == "training"]
    return run, run.data.tags


def uri(place):
    return f"sqlite:///{place / 'results/mlflow.db'}"


def test_a_resumed_training_goes_on_in_its_run_and_other_settings_make_another(tmp_path):
    for settings, fails in (({"a": 1}, True), ({"a": 1}, False), ({"a": 2}, False)):
        try:
            with TrainingLog(tmp_path, "showers", tmp_path / "models/v 1", settings) as log:
                log.watch("shapes")(5, {"loss": 1.0})
                if fails:
                    raise InputError("diverged")
        except InputError:
            pass
    runs = {key: [event for event in events if event["kind"] == "end"] for key, events in read(tmp_path).items()}
    assert sorted(len(ends) for ends in runs.values()) == [1, 2]
    assert all(key.startswith("v_1-") for key in runs)
    story = {run.name: run for run in campaign_runs(tmp_path).runs[1:]}
    assert {run.status for run in story.values()} == {"FINISHED"}
    assert all(point.key == "shapes/loss" for run in story.values() for point in run.points)


def test_only_the_first_process_logs(tmp_path, monkeypatch):
    monkeypatch.setenv("RANK", "1")
    with TrainingLog(tmp_path, "showers", tmp_path / "m", {"a": 1}) as log:
        log.watch()(1, {"loss": 1.0})
        log.made()
    assert read(tmp_path) == {} and not log.first


def test_data_are_named_as_their_campaign_names_them(tmp_path):
    """Shards of a sample by the digest that its stage's run states; a part of them, or a lone file, by its own."""
    for shard in range(3):
        sidecar(tmp_path / "r", "photons", "simulate", shard)
    paths = [tmp_path / "r/photons/simulate" / f"{shard:05d}.parquet" for shard in range(3)]
    (whole,) = [run for run in campaign_runs(tmp_path / "r").runs if run.datasets and "gen2reco.stage" in run.tags]
    assert contents(paths) == {"photons/simulate": (whole.datasets[-1].digest, 300)}
    ((name, (part, events)),) = contents(paths[:2]).items()
    assert (name, events) == ("photons/simulate", 200) and part != whole.datasets[-1].digest
    lone = tmp_path / "lone.parquet"
    lone.write_bytes(b"PAR1")
    assert contents([lone])[str(lone)][1] == 0
