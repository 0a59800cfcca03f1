"""Models made in a campaign, for real: trained, killed, judged, used, registered, made again."""

import json
import os
import shutil
import signal
import time

import pytest
from tiny_campaign import start
from tiny_models import write_campaign

from gen2reco.config.block import load_block
from gen2reco.simulate.showers.shower_recipe import ShowerRecipe
from gen2reco.track.runs import campaign_runs
from repository import REPOSITORY

MODEL = "results/tiny_models/models/tiny_showers"
USES = f"""
name: uses
detector: {REPOSITORY}/configs/detectors/hgcal.yaml
samples:
  again:
    events: 5
    shard_events: 5
    generate: {{backend: gun, process: gun.yaml}}
    simulate: {{backend: ml, model: "models:/showers@candidate"}}
"""


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A folder for the campaign, through whose life the tests go in order."""
    folder = tmp_path_factory.mktemp("models")
    write_campaign(folder)
    return folder


@pytest.fixture
def run(place, snakemake, monkeypatch):
    """Run the campaign, or some targets of it."""
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    return lambda *words, **given: snakemake("tiny_models.yaml", *words, cwd=place, **given)


def receipt(place, name="trained"):
    return json.loads((place / MODEL / f"{name}.json").read_text())


def test_a_model_is_trained_judged_used_and_registered(place, run):
    run()
    trained, judged = receipt(place), receipt(place, "judged")
    assert judged["model_digest"] == trained["model_digest"] and judged["metrics"] > 0
    assert trained["device"] == "cpu" and trained["attempts"] == 1 and list(trained["data"]) == ["photons/simulate"]
    evaluation = json.loads((place / MODEL / "model/evaluation.json").read_text())
    assert evaluation["sample"]["name"] == "held_out" and len(evaluation["metrics"]) == judged["metrics"]
    used = json.loads((place / "results/tiny_models/learned/simulate/00000.json").read_text())
    assert used["model_digest"] == trained["model_digest"] and used["status"] == "ok"
    assert (place / "results/tiny_models/report/held_out/report.html").is_file()
    runs = campaign_runs(place / "results/tiny_models").runs
    (tags,) = [run.tags for run in runs if run.name == "learned simulate"]
    assert (tags["gen2reco.model"], tags["gen2reco.named"]) == (trained["model_digest"], "tiny_showers")
    models = [one for each in runs for one in each.models]
    assert [name for name, _ in models] == ["showers"]
    card = (place / MODEL / "model/card.md").read_text()
    recipe = load_block(place / "recipe.yaml", ShowerRecipe).digest()
    assert trained["recipe_digest"] == recipe and f"Recipe (digest `{recipe}`)" in card
    assert f"Digest of the content: `{trained['data_digest']}`" in card


def test_another_campaign_uses_it_by_its_alias(place, snakemake, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    (place / "uses.yaml").write_text(USES)
    snakemake("uses.yaml", "results/uses/again/simulate/00000.parquet", cwd=place)
    used = json.loads((place / "results/uses/again/simulate/00000.json").read_text())
    assert used["model_digest"] == receipt(place)["model_digest"] and used["network_evaluations"] > 0


def test_its_state_is_shown(place, gen2reco):
    text = gen2reco("status", "tiny_models.yaml", cwd=place).stdout
    assert "judged" in text and receipt(place)["model_digest"][:12] in text
    assert " min, " in gen2reco("plan", "tiny_models.yaml", cwd=place).stdout
    assert "no failed shard or model" in gen2reco("recover", "tiny_models.yaml", cwd=place).stdout


def test_a_training_killed_twice_gives_the_same_model_and_its_users_stay(place, run):
    """The receipt and all checkpoints are gone; driver and job are killed at the first part, and later at another."""
    before = receipt(place)["model_digest"]
    users = place / "results/tiny_models/learned/simulate/00000.parquet"
    when = users.stat().st_mtime_ns
    shutil.rmtree(place / MODEL / ".partial")
    target = f"{MODEL}/trained.json"
    (place / target).unlink()
    for part in ("electromagnetic/start", "electromagnetic/teacher"):
        driver = start(place, "tiny_models.yaml", 1, target)
        while not list((place / MODEL).glob(f".partial/*/model.partial/{part}/*")):
            assert driver.poll() is None
            time.sleep(0.01)
        os.killpg(driver.pid, signal.SIGKILL)
        assert driver.wait() == -signal.SIGKILL and not (place / target).exists()
    run(target)
    assert receipt(place)["model_digest"] == before and receipt(place)["attempts"] > 1
    run(f"{MODEL}/judged.json", "results/tiny_models/learned/verified.json")
    assert users.stat().st_mtime_ns == when


def test_another_model_than_that_of_the_shards_is_seen_and_its_users_are_made_again(place, run, gen2reco):
    sidecar = place / "results/tiny_models/learned/simulate/00000.json"
    facts, when = json.loads(sidecar.read_text()), sidecar.stat().st_mtime_ns
    sidecar.write_text(json.dumps({**facts, "model_digest": "0" * 64}))
    os.utime(sidecar, ns=(when, when))
    assert "1 shards of another `tiny_showers`" in gen2reco("status", "tiny_models.yaml", cwd=place).stdout
    done = gen2reco("verify", "results/tiny_models/plan.lock.json", "learned", "v.json", cwd=place)
    assert "was made by model 000000000000, but `tiny_showers` is" in done.stderr
    run("results/tiny_models/learned/verified.json")
    assert json.loads(sidecar.read_text())["model_digest"] == receipt(place)["model_digest"]


def test_a_failed_training_is_named_and_recovered(place, run, gen2reco):
    """A damaged model folder: its state says so, and it is trained again to the same digest."""
    before = receipt(place)["model_digest"]
    (place / MODEL / "model/config.json").write_text("{}")
    text = " ".join(gen2reco("status", "tiny_models.yaml", cwd=place).stdout.split())
    assert "failed" in text
    done = gen2reco("recover", "tiny_models.yaml", "--", "--cores", "2", cwd=place)
    assert done.returncode == 0 and "0 failed shards and 1 models" in done.stderr, done.stderr[-3000:]
    assert receipt(place)["model_digest"] == receipt(place, "judged")["model_digest"] == before
    assert "judged" in gen2reco("status", "tiny_models.yaml", cwd=place).stdout


def rewrite(place, file, old, new):
    path = place / file
    path.write_text(path.read_text().replace(old, new))


def test_a_model_without_held_out_events_is_not_judged_and_says_so(place, run, gen2reco):
    """Only the judging changes: no new revision is needed, and the model stays."""
    before = (place / MODEL / "trained.json").read_bytes()
    rewrite(place, "tiny_models.yaml", ", held_out: [held_out]}", "}")
    run(f"{MODEL}/judged.json")
    assert receipt(place, "judged")["note"] == "not judged: no held-out sample"
    assert "no held-out sample" in gen2reco("status", "tiny_models.yaml", cwd=place).stdout
    assert (place / MODEL / "trained.json").read_bytes() == before
    assert not (place / MODEL / "model/evaluation.json").exists()


def test_a_recipe_that_cannot_be_trained_is_a_reason_in_the_status(place, run, gen2reco):
    rewrite(place, "recipe.yaml", "[electromagnetic]", "[hadron]")
    changed = gen2reco("plan", "tiny_models.yaml", cwd=place)
    assert "changed since plan revision 1 in samples.learned.simulate, models.tiny_showers" in changed.stderr
    assert gen2reco("plan", "tiny_models.yaml", "--new-revision", cwd=place).returncode == 0
    assert "trained anew" in gen2reco("plan", "tiny_models.yaml", cwd=place, env=wide()).stdout
    done = run("results/tiny_models/learned/verified.json", check=False)
    assert done.returncode != 0
    text = " ".join(gen2reco("status", "tiny_models.yaml", cwd=place, env=wide()).stdout.split())
    assert "failed" in text and "0 showers of family `hadron`, expected at least 100" in text
    job = ("results/tiny_models/plan.lock.json", "--sample", "learned", "--shard", "0")
    source = "results/tiny_models/held_out/generate/00000.parquet"
    done = gen2reco("simulate", "--plan", *job, source, "x.parquet", cwd=place)
    assert done.returncode != 0 and "`tiny_showers` is not trained yet; run the campaign" in done.stderr


def wide():
    return {**os.environ, "COLUMNS": "200"}
