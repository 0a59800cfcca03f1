"""The jobs `make-model` and `judge-model` of a plan, with a training that takes no time."""

import json
import os

import numpy as np
import pytest
import yaml
from click.testing import CliRunner

from gen2reco.cli import cli
from gen2reco.config.block import Block
from gen2reco.errors import InfrastructureError, InputError
from gen2reco.events import records
from gen2reco.flow.trainings import Trained, Trainer
from gen2reco.run.model_folder import model_digest
from gen2reco.run.training_kind import TRAININGS

GUN = {"backend": "gun", "process": {"kind": "gun", "species": [22], "energy": [5, 100]}}


class Count(Trainer):
    """Count particles: two parts, of which the second one stands behind the first, judged by itself."""

    name, stage, backend, record, pattern = "count", "generate", "ml", "particles", "generate/*.parquet"
    parts, own_metrics = ("objects", "jets"), True

    class Recipe(Block):
        """How it is counted."""

        factor: float = 1.0
        """Multiplies the count."""

    def load(self):
        return sum(records.Source(path, self.record).num_rows for path in self.files.paths)

    def train(self, data):
        (self.work.folder / "kept").mkdir(exist_ok=True)
        held_out = {name: len(paths) for name, paths in self.files.held_out.items()}
        rows = [{"name": f"{name}_files", "value": n, "uncertainty": 0.0} for name, n in held_out.items()]
        weights = {"count": np.array([self.recipe.factor * data])}
        yield Trained("one", {"metrics": rows}, {}, weights, "# One", "objects")
        assert (self.output / "objects/config.json").is_file()
        yield Trained("two", {"metrics": []}, {}, weights, "# Two", "jets")


@pytest.fixture
def place(tmp_path, repository, monkeypatch):
    """A campaign of particles, made, with a model still to be trained."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GEN2RECO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setitem(TRAININGS, "count", f"{__name__}:Count")
    samples = {name: {"events": 6, "shard_events": 3, "generate": GUN} for name in ("a", "b")}
    models = {"counted": {"train": "count", "recipe": "recipe.yaml", "data": ["a"], "held_out": ["b"]}}
    data = {"name": "jobs", "detector": "detector.yaml", "samples": samples, "models": models}
    (tmp_path / "detector.yaml").write_text((repository / "configs/detectors/hgcal.yaml").read_text())
    (tmp_path / "recipe.yaml").write_text("factor: 2.0\n")
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(data, sort_keys=False))
    call("plan", "c.yaml")
    for sample in samples:
        for shard in range(2):
            output = tmp_path / f"results/jobs/{sample}/generate/{shard:05d}.parquet"
            output.parent.mkdir(parents=True, exist_ok=True)
            call("generate", "--plan", LOCK, "--sample", sample, "--shard", shard, output)
    return tmp_path / "results/jobs/models/counted"


LOCK = "results/jobs/plan.lock.json"
MAKE = ("make-model", LOCK, "counted", "results/jobs/models/counted/trained.json")
JUDGE = ("judge-model", LOCK, "counted", "results/jobs/models/counted/judged.json")


def call(*words):
    done = CliRunner().invoke(cli, [str(word) for word in words], catch_exceptions=False)
    assert done.exit_code == 0, done.output
    return done.output


def receipt(place, name="trained"):
    return json.loads((place / f"{name}.json").read_text())


def test_a_model_in_parts_that_judges_itself(place):
    call(*MAKE)
    trained = receipt(place)
    assert trained["kinds"] == {"objects": "one", "jets": "two"} and trained["training"] == "count"
    assert trained["model_digest"] == model_digest(place / "model")
    call(*JUDGE)
    found = json.loads((place / "model/evaluation.json").read_text())
    (row,) = found["metrics"]
    assert (row["name"], row["value"]) == ("b_files", 2) and row["sample"] != found["sample"]["digest"]
    assert (receipt(place, "judged")["metrics"], receipt(place, "judged")["note"]) == (1, "")
    assert receipt(place, "judged")["model_digest"] == trained["model_digest"]


def test_the_same_model_leaves_the_folder_and_another_replaces_it_with_its_checkpoints(place):
    call(*MAKE)
    first, when = receipt(place), (place / "model").stat().st_ino
    (checkpoints,) = (place / ".partial").iterdir()
    (place / "model/notes.txt").write_text("kept")
    call(*MAKE)
    again = receipt(place)
    assert (again["model_digest"], again["attempts"]) == (first["model_digest"], 1)
    assert (place / "model").stat().st_ino == when and (place / "model/notes.txt").exists()
    (place.parents[3] / "recipe.yaml").write_text("factor: 3.0\n")
    call("plan", "c.yaml", "--new-revision")
    call(*MAKE)
    assert receipt(place)["model_digest"] not in (first["model_digest"], "")
    assert not checkpoints.exists() and not (place / "model/notes.txt").exists()
    assert receipt(place)["planned"] != first["planned"]


def test_a_plan_that_changes_while_it_is_trained_keeps_the_model_out(place, monkeypatch):
    train = Count.train

    def plan_anew(self, data):
        (place.parents[3] / "recipe.yaml").write_text("factor: 4.0\n")
        os.environ.pop("GEN2RECO_PLAN", None)
        call("plan", "c.yaml", "--new-revision")
        yield from train(self, data)

    monkeypatch.setattr(Count, "train", plan_anew)
    with pytest.raises(InfrastructureError, match="planned anew while this job ran; its model was not put in place"):
        call(*MAKE)
    assert not (place / "model").exists() and not (place / "trained.json").exists()


WRONG = {
    "another model": (
        lambda p: None,
        ("make-model", LOCK, "count", "x.json"),
        "makes no model `count`; known: counted",
    ),
    "an untrained model": (lambda p: None, JUDGE, "model `counted` is not trained yet"),
    "data of another configuration": (
        lambda p: edit(p.parents[1] / "a/generate/00001.json", config_digest="0" * 64),
        MAKE,
        "a file of another configuration",
    ),
    "a receipt that is none": (
        lambda p: (p.mkdir(parents=True), edit(p / "trained.json", x=1)),
        MAKE,
        "no file of gen2",
    ),
    "another training": (
        lambda p: setattr(Count, "version", 2),
        MAKE,
        "was planned with version 1 of training `count`",
    ),
    "a changed model": (
        lambda p: (call(*MAKE), (p / "model/jets/config.json").write_text('{"kind": "two"}')),
        JUDGE,
        "`gen2reco recover` trains it again",
    ),
}


def edit(path, **facts):
    old = json.loads(path.read_text()) if path.exists() else {}
    path.write_text(json.dumps({**old, **facts}))


@pytest.mark.parametrize("case", WRONG)
def test_what_cannot_be_trained_or_judged_is_one_line(place, monkeypatch, case):
    monkeypatch.setattr(Count, "version", 1)
    change, words, message = WRONG[case]
    change(place)
    with pytest.raises(InputError) as caught:
        call(*words)
    assert message in str(caught.value) and "\n" not in str(caught.value)
