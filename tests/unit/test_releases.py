"""Models that ship: one is replaced by a made and judged model or stays as it is, and states what it was made of."""

import json
import re
import shutil
from pathlib import Path

import numpy as np
import pytest
from click.testing import CliRunner

from gen2reco.campaign.model_receipts import write_receipt
from gen2reco.campaign.plan import make_plan
from gen2reco.cli import cli
from gen2reco.config.block import load_block
from gen2reco.errors import InfrastructureError, InputError
from gen2reco.run.evaluations import save_evaluation
from gen2reco.run.model_folder import model_digest, save_model
from gen2reco.run.training_kind import TRAININGS, training_kind
from gen2reco.track import releases
from repository import REPOSITORY

SHIPPED = REPOSITORY / "workflow/gen2reco"


@pytest.fixture
def package(tmp_path, monkeypatch):
    """A copy of the shipped showers and calibration, in place of the package's."""
    for room in ("simulate", "calibrate"):
        shutil.copytree(SHIPPED / room / "release", tmp_path / "package" / room / "release")
    monkeypatch.setattr(releases, "PACKAGE", tmp_path / "package")
    return tmp_path / "package"


def made(folder: Path, kinds: dict[str, str], judged: bool = True) -> Path:
    """The folder of a made model, judged on held-out events."""
    for part, kind in kinds.items():
        save_model(folder / part, kind, {}, {}, {"w": np.arange(4.0)}, "# Card")
    if judged:
        save_evaluation(folder, "held_out", "d" * 64, [{"name": "auc", "value": 0.6, "uncertainty": 0.01}])
    return folder


def content(folder: Path) -> dict[str, bytes]:
    return {path.relative_to(folder).as_posix(): path.read_bytes() for path in folder.rglob("*") if path.is_file()}


SHOWERS, CALIBRATION = {"": "showers"}, {"objects": "calibration", "jets": "jet_calibration"}


@pytest.mark.parametrize(
    ("name", "room", "kinds"), [("showers", "simulate", SHOWERS), ("calibration", "calibrate", CALIBRATION)]
)
def test_a_judged_model_replaces_what_ships(package, tmp_path, name, room, kinds):
    folder, target = made(tmp_path / "new", kinds), package / room / "release"
    (folder / "notes.txt").write_text("not of the model")
    before = model_digest(target)
    done = CliRunner().invoke(cli, ["release", name, "--from", str(folder)])
    assert done.exit_code == 0, done.exception
    assert done.stdout.splitlines() == [str(target), f"before {before}", f"after  {model_digest(folder)}"]
    assert content(target) == {k: v for k, v in content(folder).items() if k != "notes.txt"}
    assert [path.name for path in target.parent.iterdir()] == ["release"]


REFUSED = {
    "unknown name": ("shower", SHOWERS, None, "no shipped model `shower`; known: calibration, showers"),
    "no model": ("showers", {}, None, "no model here"),
    "another kind": ("showers", {"": "fused"}, None, "a model of kind fused, expected showers"),
    "a part missing": ("calibration", {"objects": "calibration"}, None, "expected calibration in `objects`, jet_cal"),
    "parts of another kind": ("showers", CALIBRATION, None, "expected showers; give the folder of such a model"),
    "not judged": ("showers", SHOWERS, "evaluation.json", "is not judged"),
    "no card": ("showers", SHOWERS, "card.md", "card.md: is missing"),
    "no card of a part": ("calibration", CALIBRATION, "jets/card.md", "jets/card.md: is missing"),
    "no weights": ("showers", SHOWERS, "weights.safetensors", "weights.safetensors: is missing"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_is_refused_leaves_what_ships(package, tmp_path, case):
    name, kinds, removed, said = REFUSED[case]
    folder = made(tmp_path / "new", kinds, judged=bool(kinds))
    if removed:
        (folder / removed).unlink()
    before = content(package)
    with pytest.raises(InputError, match=re.escape(said)):
        releases.release(name, folder)
    assert content(package) == before


@pytest.mark.parametrize(
    ("file", "text", "said"),
    [
        ("weights.safetensors", "no weights", "damaged weights"),
        ("evaluation.json", '{"sample": {}, "metrics": []}', "is not judged"),
        ("evaluation.json", "{}", "damaged evaluation"),
        ("config.json", "{}", "`kind` is missing"),
    ],
)
def test_damaged_models_leave_what_ships(package, tmp_path, file, text, said):
    folder = made(tmp_path / "new", SHOWERS)
    (folder / file).write_text(text)
    before = content(package)
    with pytest.raises(InputError, match=said):
        releases.release("showers", folder)
    assert content(package) == before


@pytest.mark.parametrize(
    ("fails", "real"), [("shutil.copyfile", shutil.copyfile), ("pathlib.Path.rename", Path.rename)]
)
def test_a_full_disk_leaves_what_ships(package, tmp_path, monkeypatch, fails, real):
    folder, before, done = made(tmp_path / "new", SHOWERS), content(package), []

    def second_fails(*given):
        done.append(given)
        if len(done) == 2:
            raise OSError(28, "No space left on device")
        return real(*given)

    monkeypatch.setattr(fails, second_fails)
    with pytest.raises(InfrastructureError, match="cannot be written: No space left"):
        releases.release("showers", folder)
    assert content(package) == before


@pytest.mark.parametrize("renames", [0, 1, 2])
def test_a_killed_release_is_put_back(package, tmp_path, renames):
    """Killed before, between and after the two renames; the next release finds what ships, whole."""
    room, folder = package / "simulate", made(tmp_path / "new", SHOWERS)
    shutil.copytree(folder, room / ".release.new.12345678")
    if renames:
        (room / "release").rename(room / ".release.old.87654321")
    if renames == 2:
        (room / ".release.new.12345678").rename(room / "release")
    expected = content(folder if renames == 2 else SHIPPED / "simulate/release")
    with pytest.raises(InputError, match="no model here"):
        releases.release("showers", package)
    assert content(room / "release") == expected and [path.name for path in room.iterdir()] == ["release"]


def campaign_model(results: Path, **judged) -> Path:
    """The folder of a model that a campaign made, with its receipts."""
    home = results / "c/models/m"
    digest = model_digest(made(home / "model", SHOWERS))
    common = {"model": "m", "planned": "a" * 64, "model_digest": digest}
    spent = {"wall_seconds": 7200.0, "cpu_seconds": 3600.0, "device": "cpu"}
    write_receipt(home / "trained.json", {**common, "kinds": SHOWERS, **spent})
    write_receipt(home / "judged.json", {**common, "metrics": 1, "note": "", **judged})
    return home


@pytest.mark.parametrize("place", ["", "model"])
def test_the_card_of_a_campaigns_model_names_the_plan(package, tmp_path, place):
    releases.release("showers", campaign_model(tmp_path) / place)
    card = (package / "simulate/release/card.md").read_text()
    assert card.endswith(
        f"\n\nPlanned (digest `{'a' * 64}`): model `m` of the campaign `c`; trained on cpu in 1 CPU hours, 2 hours.\n"
    )


def test_a_folder_named_model_needs_no_campaign(package):
    """`/model` has no folder two above it."""
    assert releases._made(Path("/model")) == (Path("/model"), "")


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"note": "not judged: no held-out sample"}, "is not judged (not judged: no held-out sample)"),
        ({"model_digest": "b" * 64}, "is not judged"),
        (None, "is not judged (no receipt)"),
        ("another", "its receipt says"),
    ],
)
def test_a_campaigns_model_is_that_of_its_receipts(package, tmp_path, change, said):
    home = campaign_model(tmp_path, **(change if isinstance(change, dict) else {}))
    if change is None:
        (home / "judged.json").unlink()
    elif change == "another":
        save_model(home / "model", "showers", {"width": 9}, {}, {"w": np.ones(2)}, "# Card")
    before = content(package)
    with pytest.raises(InputError, match=re.escape(said)):
        releases.release("showers", home)
    assert content(package) == before


STATES_NOTHING = ["calibration", "fused"]
"""Shipped models whose cards state no recipe and no plan, so that no file of the repository gives them again. This list
may only shrink: a model that is released from a campaign leaves it."""
RECIPE = re.compile(r"^Recipe \(digest `([0-9a-f]{64})`\)", re.M)
PLANNED = re.compile(r"^Planned \(digest `([0-9a-f]{64})`\): model `(\w+)` of the campaign `(\w+)`", re.M)


def cards(folder: Path) -> list[str]:
    return [(folder / part / "card.md").read_text() for part in releases.kinds_of(folder)]


def recipes() -> set[str]:
    """The digests of the recipes in the repository, each as a recipe of the training that its name starts with."""
    files = [(name, path) for name in TRAININGS for path in (REPOSITORY / "configs/models").glob(f"{name}*.yaml")]
    return {load_block(path, training_kind(name).Recipe).digest() for name, path in files}


def campaign_digests() -> dict[tuple[str, str], str]:
    """(campaign, model) → the digest of its training, recipe and data, as the repository's campaigns plan them now."""
    found = {}
    for path in sorted((REPOSITORY / "configs/campaigns").glob("release_*.yaml")):
        lock = make_plan(path)[0].lock
        found |= {(lock["name"], name): entry["digest"] for name, entry in lock.get("models", {}).items()}
    return found


def test_releases_that_read_geant4_share_their_showers(tmp_path, monkeypatch):
    """What has one name in several of them is made once: same events, options and seeds, in shards of one size."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GEN2RECO_CACHE", str(tmp_path / "cache"))
    first, *others = (
        make_plan(REPOSITORY / f"configs/campaigns/release_{name}.yaml")[0].lock["samples"]
        for name in ("showers", "calibration", "fused")
    )
    for other in others:
        shared = {name for name in {*first, *other} if name in first and name in other}
        assert {"photons", "pions", "kaons", "nucleons", "electrons", "muons", "held_out_dijets"} <= shared
        for name in shared:
            both = [sample[name]["stages"]["simulate"]["digest"] for sample in (first, other)]
            assert both[0] == both[1] and first[name]["shard_events"] == other[name]["shard_events"], name
    calibration, fused = others
    assert calibration["dijets"]["stages"]["cluster"]["digest"] == fused["dijets"]["stages"]["cluster"]["digest"]
    assert "dijets" not in first, "the calibration is trained on them"


def test_which_shipped_models_state_what_they_were_made_of():
    states = {
        name: all(RECIPE.search(card) and PLANNED.search(card) for card in cards(folder))
        for name, folder in releases.shipped_models().items()
    }
    assert sorted(name for name, stated in states.items() if not stated) == STATES_NOTHING


def disagreements(folder: Path, recipes: set[str], planned: dict[tuple[str, str], str]) -> list[str]:
    """What the cards of a model state that the files of the repository do not."""
    found = []
    for card in cards(folder):
        found += [f"recipe {stated}" for stated in RECIPE.findall(card) if stated not in recipes]
        found += [
            f"plan {stated} of {name}"
            for stated, model, name in PLANNED.findall(card)
            if planned.get((name, model)) != stated
        ]
        found += [
            f"no file {name}" for name in re.findall(r"`(configs/[^`]+)`", card) if not (REPOSITORY / name).is_file()
        ]
    return found


def test_what_the_cards_state_is_in_the_repository(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GEN2RECO_CACHE", str(tmp_path / "cache"))
    held = recipes(), campaign_digests()
    made = {
        "showers_release",
        "generator_ee",
        "generator_pp",
        "generator_minbias",
        "calibration_release",
        "fused_release",
    }
    assert {name for _, name in held[1]} == made
    found = {name: disagreements(folder, *held) for name, folder in releases.shipped_models().items()}
    assert {name: lines for name, lines in found.items() if lines} == {}


@pytest.mark.parametrize(
    ("recipe", "plan", "expected"),
    [
        ("a", "b", []),
        ("c", "b", ["recipe " + "c" * 64]),
        ("a", "c", ["plan " + "c" * 64 + " of release_showers"]),
    ],
)
def test_a_card_that_disagrees_is_found(tmp_path, recipe, plan, expected):
    """A guard of the comparison itself, as long as no card states anything."""
    folder = made(tmp_path / "m", SHOWERS)
    text = f"Recipe (digest `{recipe * 64}`): `{{}}`\n\nPlanned (digest `{plan * 64}`): model `m` of the campaign "
    (folder / "card.md").write_text(f"# Card\n\n{text}`release_showers`.\n")
    assert disagreements(folder, {"a" * 64}, {("release_showers", "m"): "b" * 64}) == expected


def test_the_recipe_of_a_card_is_read_as_trainings_write_it():
    """A guard of the pattern: the line that every training adds to its card."""
    from gen2reco.flow.trainings import _recipe_card

    recipe = training_kind("fused").Recipe()
    assert RECIPE.findall(_recipe_card(recipe)) == [recipe.digest()] and len(recipes()) >= 6
    assert json.loads(_recipe_card(recipe).partition(": `")[2][:-1]) == recipe.model_dump(mode="json")
