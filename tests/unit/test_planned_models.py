"""Models of a campaign in its plan: what is refused, what decides their digests, and receipts."""

import copy
import json
import shutil

import pytest
import yaml
from click.testing import CliRunner

from gen2reco.campaign.job import planned_job
from gen2reco.campaign.mistakes import check_campaign
from gen2reco.campaign.model_pins import restore_models
from gen2reco.campaign.model_receipts import finished_model, kept_digest, write_receipt
from gen2reco.campaign.plan import Plan, make_plan, read_plan
from gen2reco.campaign.plan_lock import checksum
from gen2reco.cli import cli
from gen2reco.errors import InputError
from gen2reco.paths import made_model, trained_file
from gen2reco.run.model_folder import save_model
from repository import REPOSITORY

CHAIN = {
    "generate": {"backend": "gun", "process": {"kind": "gun", "species": [22], "energy": [5, 100]}},
    "simulate": {"backend": "geant4", "keep_deposits": True},
}
SHOWERS = {"train": "showers", "recipe": "recipe.yaml", "data": ["photons", "pions"], "held_out": ["held_out"]}
CAMPAIGN = {
    "name": "made",
    "detector": "detector.yaml",
    "samples": {
        "photons": {"events": 20, "shard_events": 10, **CHAIN},
        "pions": {"events": 10, "shard_events": 10, **CHAIN},
        "held_out": {"events": 10, "shard_events": 10, **CHAIN},
        "learned": {"like": "photons", "simulate": {"backend": "ml", "model": "my_showers"}},
    },
    "models": {"my_showers": SHOWERS},
}


@pytest.fixture
def plan(tmp_path, repository, monkeypatch):
    """Plan the campaign after a change, in a folder and with a cache of its own; returns the lock."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GEN2RECO_CACHE", str(tmp_path / "cache"))
    (tmp_path / "detector.yaml").write_text((repository / "configs/detectors/hgcal.yaml").read_text())
    (tmp_path / "recipe.yaml").write_text("teacher: {steps: 3}\n")

    def make(change=lambda data: None, new_revision=False):
        data = copy.deepcopy(CAMPAIGN)
        change(data)
        (tmp_path / "c.yaml").write_text(yaml.safe_dump(data, sort_keys=False))
        return make_plan("c.yaml", new_revision)[0].lock

    return make


def model(**changes):
    return lambda data: data["models"]["my_showers"].update(changes)


def named(name):
    return lambda data: data["models"].update({name: SHOWERS})


def circle(data):
    """Two models, each trained on what the other one makes."""
    data["samples"]["again"] = {"like": "pions", "simulate": {"backend": "ml", "model": "second"}}
    data["models"]["second"] = {**SHOWERS, "data": ["learned"]}
    data["models"]["my_showers"] = {**SHOWERS, "data": ["photons", "again"]}


def earlier(**start):
    """A model that is trained first, and the other one started from it."""

    def change(data):
        data["models"]["first"] = {**SHOWERS, "data": ["photons"], "held_out": []}
        model(data=["pions"], **{"from": {"model": "first", **start}})(data)

    return change


def of_another_training(data):
    data["samples"]["photons"]["cluster"] = {"backend": "clue"}
    data["models"]["cal"] = {"train": "calibration", "data": ["photons"]}
    model(**{"from": "cal"})(data)


REFUSED = {
    "an unknown training": (model(train="shower"), "no training `shower`; known: calibration, generation, showers"),
    "an unknown key": (model(varied={}), "unknown key `models.my_showers.varied`"),
    "no data": (model(data=[]), "`models.my_showers.data` = []"),
    "an unknown sample": (
        model(data=["photon"]),
        "`models.my_showers` names no sample `photon`; known: photons, pions",
    ),
    "an unknown held-out sample": (model(held_out=["x"]), "`models.my_showers` names no sample `x`"),
    "judged on its data": (model(held_out=["pions"]), "`pions` stands twice in `data` and `held_out`"),
    "judged on two": (
        lambda d: (d["samples"].update(more=d["samples"]["pions"]), model(held_out=["held_out", "more"])(d)),
        "is judged on one sample",
    ),
    "data without the record": (
        lambda d: d["samples"]["pions"].pop("simulate"),
        "models.my_showers: sample `pions` makes no hits, which training `showers` reads",
    ),
    "held-out events with the seeds of data": (
        lambda d: d["samples"].update(held_out={"like": "pions", "simulate": {"backend": "geant4", "chunk_events": 7}}),
        "held-out sample `held_out` has the generate files of `pions`, which is trained on",
    ),
    "a recipe of another training": (
        lambda d: model(recipe="detector.yaml")(d),
        "models.my_showers: detector.yaml: unknown key",
    ),
    "a recipe that is missing": (model(recipe="none.yaml"), "none.yaml"),
    "a model by the name of a shipped one": (named("release"), "a shipped model has this name"),
    "a model by the name of a shipped generator": (named("ee_qq_91"), "a shipped model has this name"),
    "a model whose name is a digest": (named("abcdef012345"), "or it could be a digest"),
    "a model by the name of a folder": (named("report"), "the campaign itself uses this name"),
    "a path": (named("../x"), "lower-case letters, digits and underscores"),
    "another device": (model(device="tpu"), "`models.my_showers.device` = 'tpu'"),
    "a model of another stage": (
        lambda d: (
            d["samples"]["learned"].update(cluster={"backend": "clue"}, calibrate={"backend": "dnn"})
            or d["samples"]["learned"]["calibrate"].update(model="my_showers")
        ),
        "samples.learned.calibrate: model `my_showers` is of training `showers`, whose models do `simulate`",
    ),
    "a model of its own output": (model(data=["learned"]), "samples.learned -> models.my_showers -> samples.learned"),
    "a circle of two models": (circle, "a model and its own training data"),
    "a start from itself": (model(**{"from": "my_showers"}), "held-out events or earlier model"),
    "a start from no model": (model(**{"from": "other"}), "models.my_showers: from: there is no model `other`; name"),
    "a start from no folder": (model(**{"from": "no/where"}), "model `no/where`: no such folder"),
    "a start from another training": (of_another_training, "from: `cal` is of training `calibration`, expected `show"),
    "a replay of no data": (
        model(**{"from": {"model": "release", "replay": 0.3}}),
        "from: `replay` needs the data of `release`, which the campaign does not make; list samples",
    ),
    "data that are not replayed": (model(**{"from": {"model": "x", "data": ["pions"]}}), "state it as `replay`"),
    "a replay of all": (earlier(replay=1), "`models.my_showers.from.replay` = 1"),
    "a replay without the record": (
        lambda d: (
            d["samples"]["pions"].pop("simulate"),
            earlier(replay=0.3, data=["pions"])(d),
            model(data=["photons"])(d),
        ),
        "from: sample `pions` makes no hits",
    ),
    "held-out events of the earlier model's data": (
        lambda d: (d["samples"].update(held_out={"like": "photons", "simulate": {"backend": "geant4"}}), earlier()(d)),
        "held-out sample `held_out` has the generate files of `photons`, which is trained on",
    ),
    "a family without members": (model(vary={"teacher.steps": []}), "expected lists of values that make 1 to 100"),
    "two members alike": (model(vary={"teacher.steps": [1, "1"]}), "two members would be named `my_showers_1`"),
    "a member of another recipe": (model(vary={"teacher.steps": [-1]}), "recipe.yaml, with teacher.steps = -1: `teac"),
    "a member by a key that is none": (model(vary={"start.x": [1]}), "unknown key `start.x`"),
    "no process": (model(gpus=0), "`models.my_showers.gpus` = 0"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_made_is_one_line(plan, case):
    change, message = REFUSED[case]
    with pytest.raises(InputError) as caught:
        plan(change)
    text = str(caught.value)
    assert message in text and text.startswith("c.yaml: ") and "\n" not in text and len(text) < 1500


def test_the_plan_holds_training_data_and_users(plan):
    lock = plan()
    entry, stage = lock["models"]["my_showers"], lock["samples"]["learned"]["stages"]["simulate"]
    assert entry["recipe"]["teacher"]["steps"] == 3 and list(entry["data"]) == ["photons", "pions"]
    assert (stage["made"], stage["model"], stage["owner"]) == ("my_showers", entry["digest"], "learned")
    assert "models" not in plan(lambda d: (d.pop("models"), d["samples"].pop("learned")), new_revision=True)


def test_check_and_plan_tell_of_the_models(plan):
    plan()
    said = {word: CliRunner().invoke(cli, [word, "c.yaml"]).output for word in ("check", "plan")}
    assert "model my_showers: showers of photons, pions" in said["check"]
    assert "unknown: never trained" in " ".join(said["plan"].split())


def test_a_model_that_starts_from_another_comes_after_it(plan, tmp_path):
    """The plan holds what is replayed; other replay is another model, another name of the parent is not."""
    lock = plan(earlier(replay=0.3))
    first, child = (lock["models"][name] for name in ("first", "my_showers"))
    assert child["parent"] == {
        "model": "first", "digest": first["digest"], "made": True, "replay": 0.3, "data": first["data"],
    }  # fmt: skip
    assert plan(earlier(replay=0.2), new_revision=True)["models"]["my_showers"]["digest"] != child["digest"]
    cold = plan(earlier(), new_revision=True)["models"]["my_showers"]
    assert cold["parent"]["data"] == {} and cold["digest"] != plan(new_revision=True)["models"]["my_showers"]["digest"]
    shipped = plan(model(**{"from": "release"}), new_revision=True)["models"]["my_showers"]
    folder = tmp_path / "cache/models" / shipped["parent"]["digest"]
    assert (folder / "weights.safetensors").is_file() and not shipped["parent"]["made"]
    by_digest = plan(model(**{"from": folder.name}), new_revision=True)["models"]["my_showers"]
    assert by_digest["digest"] == shipped["digest"]
    shutil.rmtree(folder)
    restore_models(plan(model(**{"from": "release"}), new_revision=True))
    assert folder.is_dir()


CAMPAIGNS = sorted((REPOSITORY / "configs/campaigns").glob("*.yaml"))


@pytest.mark.parametrize("path", CAMPAIGNS, ids=lambda path: path.stem)
def test_every_campaign_of_the_repository_is_checked_without_a_mistake(path):
    assert check_campaign(path).campaign.name == path.stem


def test_a_family_is_a_model_and_a_sample_a_member(plan):
    def family(data):
        model(vary={"teacher.steps": [3, 4], "families": [["hadron"]]})(data)
        data["compare"] = [{"reference": "photons", "candidates": ["learned"]}]

    lock = plan(family)
    names = ["my_showers_3_hadron", "my_showers_4_hadron"]
    assert list(lock["models"]) == names
    assert [lock["models"][name]["recipe"]["teacher"]["steps"] for name in names] == [3, 4]
    assert lock["models"][names[0]]["recipe"]["families"] == ["hadron"]
    assert lock["compare"][0]["candidates"] == ["learned_3_hadron", "learned_4_hadron"]
    used = [lock["samples"][name]["stages"]["simulate"]["made"] for name in lock["compare"][0]["candidates"]]
    assert used == names


def digests(lock):
    entry = lock["models"]["my_showers"]
    return entry["digest"], entry["judging"], lock["samples"]["learned"]["stages"]["simulate"]["digest"]


CHANGES = {
    "nothing": (lambda d, f: None, (True, True, True)),
    "a comment in the recipe": (
        lambda d, f: (f / "recipe.yaml").write_text("# few\nteacher: {steps: 3}\n"),
        (True, True, True),
    ),
    "its device": (lambda d, f: model(device="cuda")(d), (True, True, True)),
    "its processes": (lambda d, f: model(gpus=2)(d), (False, False, False)),
    "the recipe": (lambda d, f: (f / "recipe.yaml").write_text("teacher: {steps: 4}\n"), (False, False, False)),
    "more data": (lambda d, f: d["samples"]["photons"].update(events=30), (False, False, False)),
    "other data": (lambda d, f: d["samples"]["pions"]["simulate"].update(chunk_events=7), (False, False, False)),
    "other held-out events": (lambda d, f: d["samples"]["held_out"].update(events=20), (True, False, True)),
    "a stage after the data": (
        lambda d, f: d["samples"]["pions"].update(cluster={"backend": "clue"}),
        (True, True, True),
    ),
}


@pytest.mark.parametrize("case", CHANGES)
def test_content_decides_what_is_made_again(plan, tmp_path, case):
    change, same = CHANGES[case]
    before = digests(plan())
    after = digests(plan(lambda data: change(data, tmp_path), new_revision=True))
    assert tuple(a == b for a, b in zip(before, after)) == same


def test_a_change_of_the_training_needs_a_new_revision(plan):
    plan()
    with pytest.raises(InputError, match=r"changed since plan revision 1 in samples.learned.simulate, models.my_show"):
        plan(lambda d: d["samples"]["photons"].update(events=30))


def test_a_model_whose_data_use_a_model_comes_after_it(plan):
    def second(data):
        data["models"] = {"second": {**SHOWERS, "data": ["learned"]}, **data["models"]}

    first = plan(second)["models"]["second"]["digest"]
    assert (
        first
        != plan(lambda d: (second(d), model(data=["photons"])(d)), new_revision=True)["models"]["second"]["digest"]
    )


EDITS = {
    "a model that is none": (lambda m: m.clear(), "`my_showers` is no such model"),
    "another digest": (lambda m: m["my_showers"].update(digest="0" * 64), "`my_showers` is no such model"),
    "data that are no sample": (
        lambda m: m["my_showers"]["data"].update(x="0" * 64),
        "models.my_showers: `x` is no sam",
    ),
    "a path": (lambda m: m.update({"../x": m["my_showers"]}), "lower-case letters"),
    "an unknown key": (lambda m: m["my_showers"].update(run="rm"), "unknown key `models.my_showers.run`"),
}


@pytest.mark.parametrize("case", EDITS)
def test_a_lock_that_somebody_else_made_is_checked(plan, tmp_path, case):
    lock = copy.deepcopy(plan())
    change, message = EDITS[case]
    change(lock["models"])
    path = tmp_path / "results/made/plan.lock.json"
    path.write_text(json.dumps({**lock, "checksum": checksum(lock)}))
    with pytest.raises(InputError) as caught:
        read_plan(path)
    assert message in str(caught.value)


def test_an_unfinished_model_is_one_line_and_a_finished_one_is_found_by_its_receipt(plan, tmp_path):
    lock = plan()
    folder, digest = tmp_path / "results/made", lock["models"]["my_showers"]["digest"]
    with pytest.raises(InputError, match="model `my_showers` is not trained yet; run the campaign to train it"):
        planned_job(folder / "plan.lock.json", "simulate", "learned", 0, tmp_path / "x.parquet", None, 1)
    made = save_model(made_model(folder, "my_showers"), "showers", {}, {}, {}, "# Toy")
    facts = {"model": "my_showers", "planned": digest, "model_digest": made.digest, "kinds": {"": "showers"}}
    write_receipt(trained_file(folder, "my_showers"), {**facts, "wall_seconds": 1.0, "cpu_seconds": 1.0})
    assert kept_digest(folder, "my_showers", digest) == made.digest
    assert (tmp_path / "cache/models" / made.digest / "config.json").is_file()
    with pytest.raises(InputError, match="was trained by an earlier plan"):
        finished_model(folder, "my_showers", "0" * 64)
    trained_file(folder, "my_showers").write_text("{}")
    with pytest.raises(InputError, match=r"trained.json: no receipt, delete it"):
        Plan(folder, lock) and finished_model(folder, "my_showers", digest)


def test_the_campaign_of_the_docs_is_planned(repository, tmp_path, monkeypatch):
    text = (repository / "docs/trainings.md").read_text().partition("## Models of a campaign")[2]
    folder = tmp_path / "configs/campaigns"
    folder.mkdir(parents=True)
    for name in ("detectors", "models"):
        (tmp_path / "configs" / name).symlink_to(repository / "configs" / name)
    (folder / "my_showers.yaml").write_text(text.partition("```yaml\n")[2].partition("```")[0])
    monkeypatch.chdir(tmp_path)
    lock = make_plan("configs/campaigns/my_showers.yaml")[0].lock
    assert list(lock["models"]["showers_one"]["data"]) == ["photons", "pions"]
    assert lock["samples"]["learned"]["stages"]["simulate"]["made"] == "showers_one"
    assert lock["compare"] == [{"reference": "held_out", "candidates": ["learned"]}]
