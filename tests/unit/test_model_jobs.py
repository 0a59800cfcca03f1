"""The jobs `make-model` and `judge-model` of a plan, with a training that takes no time."""

import itertools
import json
import math
import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import yaml
from click.testing import CliRunner

from gen2reco.campaign.plan import from_present_parent, read_plan
from gen2reco.cli import cli
from gen2reco.config.block import Block
from gen2reco.errors import Gen2recoError, InfrastructureError, InputError
from gen2reco.events import records
from gen2reco.flow.recipes import Training
from gen2reco.flow.trainings import Trained, Trainer
from gen2reco.run.model_folder import model_digest, open_model
from gen2reco.run.training_kind import TRAININGS
from gen2reco.track.registry import _parent_tags

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


class Fitted(Trainer):
    """Fit a line by the loop of all trainings, and a part behind it; its losses may become NaN."""

    name, stage, backend, record, pattern = "fitted", "generate", "ml", "particles", "generate/*.parquet"
    parts = ("objects", "jets")

    class Recipe(Block):
        """How it is fitted."""

        width: int = 1
        """Inputs of the line."""
        nan_from: int = 99
        """Step from which on the loss is NaN."""
        training: Training = Training(steps=4, batch=4, checkpoint_every=2, warmup=1)
        """The optimisation."""

    def load(self):
        sizes = [records.Source(path, self.record).num_rows for path in self.files.paths]
        return np.repeat(np.arange(len(sizes)), sizes)

    def train(self, data):
        import torch

        torch.manual_seed(1)
        network, rows, steps = torch.nn.Linear(self.recipe.width, 1), self.files.members(data), itertools.count(1)
        if self.work.parent:
            earlier = self.work.parent.model("fitted", "objects")
            self.work.parent.into(network, earlier, earlier.config, {"width": self.recipe.width})

        def objective(draw):
            wanted = torch.from_numpy(data[rows[draw.indices(len(rows))]]).float()
            loss = (network(draw.normal(draw.size, self.recipe.width))[:, 0] - wanted).square().mean()
            return (loss if next(steps) < self.recipe.nan_from else loss * math.nan), {}

        self.work.fit("line", network, objective, self.recipe.training)
        config = {"width": self.recipe.width, "processes": int(os.environ.get("WORLD_SIZE", "1")), "rows": len(rows)}
        weights = {name: value.numpy() for name, value in network.state_dict().items()}
        yield Trained("fitted", config, {}, weights, "# Fitted", "objects")
        behind = open_model(self.output / "objects", "fitted").digest  # in every process
        yield Trained("behind", {}, {"objects": behind}, {}, "# Behind", "jets")


def campaign(tmp_path, repository, monkeypatch, models):
    """Plan a campaign of particles with models, and make its samples."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GEN2RECO_CACHE", str(tmp_path / "cache"))
    samples = {name: {"events": 6, "shard_events": 3, "generate": GUN} for name in ("a", "b")}
    data = {"name": "jobs", "detector": "detector.yaml", "samples": samples, "models": models}
    (tmp_path / "detector.yaml").write_text((repository / "configs/detectors/hgcal.yaml").read_text())
    if not (tmp_path / "recipe.yaml").exists():
        (tmp_path / "recipe.yaml").write_text("factor: 2.0\n")
    (tmp_path / "c.yaml").write_text(yaml.safe_dump(data, sort_keys=False))
    call("plan", "c.yaml")
    for sample in samples:
        for shard in range(2):
            output = tmp_path / f"results/jobs/{sample}/generate/{shard:05d}.parquet"
            output.parent.mkdir(parents=True, exist_ok=True)
            call("generate", "--plan", LOCK, "--sample", sample, "--shard", shard, output)
    return tmp_path / "results/jobs/models"


@pytest.fixture
def place(tmp_path, repository, monkeypatch):
    """A campaign of particles, made, with a model still to be trained."""
    monkeypatch.setitem(TRAININGS, "count", f"{__name__}:Count")
    models = {"counted": {"train": "count", "recipe": "recipe.yaml", "data": ["a"], "held_out": ["b"]}}
    return campaign(tmp_path, repository, monkeypatch, models) / "counted"


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


CHILD = {"train": "fitted", "recipe": "recipe.yaml", "data": ["b"], "from": {"model": "first", "replay": 0.25}}


@pytest.fixture
def fitted(tmp_path, repository, monkeypatch):
    """A campaign with a model trained by two processes, and one that starts from it; the training is installed."""
    info = tmp_path / "fitted-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: fitted\nVersion: 1\n")
    (info / "entry_points.txt").write_text(f"[gen2reco.trainings]\nfitted = {__name__}:Fitted\n")
    monkeypatch.syspath_prepend(tmp_path)
    (tmp_path / "recipe.yaml").write_text("width: 2\n")
    first = {"train": "fitted", "recipe": "recipe.yaml", "data": ["a"], "gpus": 2}
    return campaign(tmp_path, repository, monkeypatch, {"first": first, "child": CHILD})


def job(name):
    return ("make-model", LOCK, name, f"results/jobs/models/{name}/trained.json")


def over_processes(*words):
    """The job as a process of its own, which starts others."""
    paths = [str(Path.cwd()), *(path for path in sys.path if path)]
    env = {**os.environ, "PYTHONPATH": os.pathsep.join(paths), "OMP_NUM_THREADS": "1"}
    words = [sys.executable, "-m", "gen2reco.cli", *words]
    return subprocess.run(words, capture_output=True, text=True, timeout=300, env=env, check=False)


def test_processes_train_a_model_and_another_starts_from_it(fitted):
    with pytest.raises(InputError, match="model `first` is not trained yet"):
        call(*job("child"))
    done = over_processes(*job("first"))
    assert done.returncode == 0, done.stderr[-3000:]
    first = receipt(fitted / "first")
    config = json.loads((fitted / "first/model/objects/config.json").read_text())
    assert (config["processes"], config["rows"]) == (2, 6) and "parent" not in first
    call(*job("child"))
    child = receipt(fitted / "child")
    config = json.loads((fitted / "child/model/objects/config.json").read_text())
    assert child["parent"] == config["parent"] == first["model_digest"] and config["rows"] == 8
    assert sorted(child["data"]) == ["a/generate", "b/generate"]
    assert _parent_tags(fitted / "child/model") == {"gen2reco.parent": first["model_digest"]}
    assert _parent_tags(fitted / "first/model") == {}
    plan = read_plan(LOCK)
    assert from_present_parent(plan, "child")
    edit(fitted / "first/trained.json", model_digest="0" * 64)
    assert not from_present_parent(plan, "child")


def no_room(monkeypatch):
    def fail(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(Path, "write_bytes", fail)


STOPPED = {
    "NaN at once": ("nan_from: 1", lambda m: None, "diverged at step 2", "no checkpoint was written yet; lower `learn"),
    "NaN later": (
        "nan_from: 4",
        lambda m: None,
        "diverged at step 4",
        "the checkpoint of step 2 is kept; lower `learn",
    ),
    "a full disk": ("width: 3", no_room, "cannot be written: No space left", "checkpoint "),
}


@pytest.mark.parametrize("case", STOPPED)
def test_a_training_that_stops_is_one_line_and_puts_no_model_in_place(tmp_path, repository, monkeypatch, case):
    recipe, change, *messages = STOPPED[case]
    monkeypatch.setitem(TRAININGS, "fitted", f"{__name__}:Fitted")
    (tmp_path / "recipe.yaml").write_text(recipe + "\n")
    model = {"train": "fitted", "recipe": "recipe.yaml", "data": ["a"]}
    models = campaign(tmp_path, repository, monkeypatch, {"first": model})
    change(monkeypatch)
    with pytest.raises(Gen2recoError) as caught:
        call(*job("first"))
    assert all(message in str(caught.value) for message in messages) and "\n" not in str(caught.value)
    assert not (models / "first/model").exists() and not (models / "first/trained.json").exists()
    kept = [*models.glob("first/.partial/*/model.partial/line/checkpoint.safetensors")]
    assert len(kept) == (case == "NaN later")
