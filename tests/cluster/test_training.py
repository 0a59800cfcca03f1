"""A training over two processes and a sample that uses its model, as Slurm jobs; the training is hurt."""

import json
import shutil

import pytest
from slurm_cluster import wait_for

MODEL = "models/taught_one"


def facts(path):
    return json.loads(path.read_text())


@pytest.mark.slow
def test_a_training_requeued_in_the_middle_gives_the_model_of_a_quiet_one(production):
    """Its job goes on at the checkpoint, the sample is made by it, and by hand the same model is made again."""
    model = {"train": "taught", "data": ["one"], "gpus": 2}
    learned = {"events": 15, "shard_events": 15, "generate": {"backend": "faulty", "model": "taught_one"}}
    production.write(models={"taught_one": model}, samples={"learned": learned})
    (production.demands / "train").write_text("sleep 0.5")
    driver = production.start(targets=["results/faults/learned/generate/00000.parquet"])
    partial = production.results / MODEL / ".partial"
    wait_for(lambda: [*partial.rglob("checkpoint.safetensors")], 450, "first checkpoint")
    log = (production.results / "logs/train/taught_one.log").read_text()
    production.cluster.run(f"scontrol requeue {log.partition('Slurm job ')[2].split()[0]}")
    production.release()
    assert production.finish(driver) == 0, production.log[-3000:]
    hurt = facts(production.results / MODEL / "trained.json")
    assert hurt["attempts"] > 1 and facts(production.results / MODEL / "model/config.json")["processes"] == 2
    assert facts(production.results / "learned/generate/00000.json")["model_digest"] == hurt["model_digest"]
    shutil.rmtree(partial)
    production.command("make-model", "results/faults/plan.lock.json", "taught_one", "quiet.json")
    quiet = facts(production.folder / "quiet.json")
    assert (quiet["model_digest"], quiet["attempts"]) == (hurt["model_digest"], 1)
