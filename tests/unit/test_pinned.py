"""Models by name: what is pinned, where it is found again, what is refused."""

import json
import shutil
from pathlib import Path

import numpy as np
import pytest
import yaml

from gen2reco.batch.driver import plan_of
from gen2reco.calibrate.dnn import RELEASE, Dnn
from gen2reco.campaign import model_pins
from gen2reco.campaign.draft import Loaded, draft
from gen2reco.campaign.job import planned_job
from gen2reco.campaign.model_pins import pin, pin_option
from gen2reco.campaign.plan import make_plan
from gen2reco.campaign.plan_lock import checksum, write_lock
from gen2reco.config.detector import Detector
from gen2reco.errors import InputError
from gen2reco.run.model_folder import keep_model, kept_models, located, model_digest, open_model, save_model


@pytest.fixture(autouse=True)
def away(monkeypatch, tmp_path):
    """An empty working folder and cache, and no registry."""
    monkeypatch.setenv("GEN2RECO_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(model_pins, "_registry", None)
    monkeypatch.chdir(tmp_path)


@pytest.fixture
def model(tmp_path):
    """A model folder that a backend of another kind would refuse."""
    weights = {"w": np.ones((2, 2), np.float32)}
    save_model(tmp_path / "models/m", "showers", {"width": 4}, {}, weights, "# M")
    return tmp_path / "models/m"


@pytest.fixture
def campaign(tmp_path, repository):
    """A campaign whose objects are calibrated by a copy of the release model, `models/cal`."""
    shutil.copytree(RELEASE, tmp_path / "models/cal")
    (tmp_path / "gun.yaml").write_text(yaml.safe_dump({"kind": "gun", "species": [22], "energy": [5, 100]}))

    def write(model="models/cal", events=10):
        chain = {"simulate": {"backend": "geant4"}, "cluster": {"backend": "clue"}}
        chain |= {"generate": {"backend": "gun", "process": "gun.yaml"}}
        chain |= {"calibrate": {"backend": "dnn", "model": model}}
        sample = {"events": events, "shard_events": 10, **chain}
        detector = str(repository / "configs/detectors/hgcal.yaml")
        data = {"name": "pinned", "detector": detector, "samples": {"a": sample}}
        (tmp_path / "c.yaml").write_text(yaml.safe_dump(data))
        return tmp_path / "c.yaml"

    return write


def entry(plan):
    return plan.lock["samples"]["a"]["stages"]["calibrate"]


@pytest.mark.parametrize("name", ["models/m", "./models/m", "near"])
def test_a_folder_becomes_its_digest(model, name, tmp_path):
    near = model.parents[1] if name != "near" else model.parent
    digest = pin("./m" if name == "near" else name, near)
    assert digest == open_model(model, "showers").digest
    shutil.rmtree(model)
    assert open_model(digest, "showers").folder == tmp_path / "cache/models" / digest
    assert pin(digest) == pin(digest[:12]) == pin(f"sha256:{digest}") == digest


@pytest.mark.parametrize("word", ["release", "ee_qq_91", "m"])
def test_a_bare_word_is_the_backends_own(word):
    assert pin_option({"model": word, "a": 1}) == {"model": word, "a": 1}
    assert pin_option({"a": 1}) == {"a": 1}


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("models/none", "model `models/none`: no such folder; give a folder, a digest"),
        ("models:/m@champion", "this process has no registry"),
        ("0123456789abcdef", "this process has no registry"),
        ("models", None),
    ],
)
def test_what_names_nothing(model, name, said):
    if said is None:
        with pytest.raises(InputError, match=r"no model here \(config.json is missing\)"):
            keep_model(Path(name))
    else:
        with pytest.raises(InputError, match=said):
            pin(name)


def test_a_changed_file_in_the_cache_is_refused(model):
    digest = keep_model(model)
    (kept_models() / digest / "config.json").write_text(json.dumps({"kind": "showers", "width": 5}))
    for use in (located, pin, lambda name: open_model(name, "showers")):
        with pytest.raises(InputError, match=f"digest is [0-9a-f]{{64}}, expected {digest}"):
            use(digest)


def test_nothing_that_could_carry_code_is_kept(model):
    (model / "weights.pkl").write_bytes(b"cos\nsystem\n")
    kept = kept_models() / keep_model(model)
    assert {path.name for path in kept.iterdir()} == {"weights.safetensors", "config.json", "card.md"}


def test_a_model_in_parts_has_one_digest(repository, tmp_path):
    detector = Detector.model_validate(yaml.safe_load((repository / "configs/detectors/hgcal.yaml").read_text()))
    backend = Dnn(Dnn.Options(), detector)
    assert keep_model(RELEASE) == model_digest(RELEASE) == backend.model_digest
    again = Dnn(Dnn.Options(model=backend.model_digest), detector)
    assert again.model_digest == backend.model_digest and again.jet_model.folder.is_relative_to(tmp_path / "cache")


def test_the_plan_pins_the_digest_whatever_the_name(campaign, tmp_path):
    digest = model_digest(RELEASE)
    plan, _ = make_plan(campaign())
    assert (entry(plan)["options"]["model"], entry(plan)["model"]) == (digest, digest)
    assert entry(plan)["named"] == "models/cal"
    (tmp_path / "models/cal").rename(tmp_path / "models/other")
    renamed, _ = make_plan(campaign("models/other", events=20))
    assert renamed.lock["revision"] == 1 and entry(renamed)["digest"] == entry(plan)["digest"]


def test_a_model_trained_again_in_place_needs_a_new_revision(campaign, tmp_path):
    make_plan(campaign())
    shutil.rmtree(tmp_path / "models/cal/jets")
    with pytest.raises(InputError, match=r"changed since plan revision 1 in samples.a.calibrate"):
        make_plan(campaign(events=20))
    plan, _ = make_plan(campaign(events=20), new_revision=True)
    assert plan.lock["revision"] == 2 and entry(plan)["model"] == model_digest(tmp_path / "models/cal")


def test_registered_models_keep_their_version_until_a_new_revision(campaign, tmp_path, monkeypatch):
    fetched = []

    def find(name):
        fetched.append(name)
        return tmp_path / "models/cal"

    monkeypatch.setattr(model_pins, "_registry", find)
    first, _ = make_plan(campaign("models:/calibration@champion"))
    shutil.rmtree(tmp_path / "models/cal/jets")
    more, _ = make_plan(campaign("models:/calibration@champion", events=20))
    assert fetched == ["models:/calibration@champion"] and entry(more) == entry(first)
    new, _ = make_plan(campaign("models:/calibration@champion", events=20), new_revision=True)
    assert len(fetched) == 2 and entry(new)["model"] != entry(first)["model"]


def test_a_model_gone_from_the_cache_comes_back_or_is_named(campaign, tmp_path, monkeypatch):
    path = campaign()
    monkeypatch.setattr("gen2reco.campaign.model_pins._shipped", lambda: [])  # the model is a copy of one that ships
    digest = entry(plan_of(path, driver=True))["model"]
    shutil.rmtree(tmp_path / "cache")
    plan_of(path, driver=True)
    assert located(digest).is_dir()
    shutil.rmtree(tmp_path / "cache")
    with pytest.raises(InputError, match=rf"model {digest}: is not in .*; plan the campaign again, or let"):
        planned_job(Path("results/pinned/plan.lock.json"), "calibrate", "a", 0, Path("o"), None, 1)
    shutil.rmtree(tmp_path / "models/cal/jets")
    with pytest.raises(InputError, match=f"model `models/cal`: its digest is [0-9a-f]{{64}}, the plan pins {digest}"):
        plan_of(path, driver=True)


def test_a_job_refuses_another_content_than_was_planned(campaign):
    plan, _ = make_plan(campaign("release"))
    lock = plan.folder / "plan.lock.json"
    entry(plan)["model"] = "0" * 64
    write_lock(lock, {**plan.lock, "checksum": checksum(plan.lock)})
    with pytest.raises(InputError, match=r"a\.calibrate was planned with model 0{64}, here it is [0-9a-f]{64};"):
        planned_job(lock, "calibrate", "a", 0, Path("o"), None, 1)


@pytest.mark.parametrize(
    ("model", "said"),
    [
        ("models/none", "model `models/none`: no such folder"),
        ("nowhere", "nowhere"),
        ("models/m", "no model here"),
        ("models:/cal", "this process has no registry"),
    ],
)
def test_a_missing_or_strange_model_is_named_with_its_place(campaign, model, said, tmp_path):
    (tmp_path / "models/m").mkdir(parents=True)
    path = campaign(model)
    for look in (lambda: make_plan(path), lambda: draft(Loaded.of(path))):
        with pytest.raises(InputError, match=r"c.yaml: samples.a.calibrate: ") as caught:
            look()
        assert said in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "results").exists()
