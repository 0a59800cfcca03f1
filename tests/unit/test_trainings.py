"""The contract of trainings: what cards say of data, which files are trained on, lookup, and a training of a plugin."""

import json
import re
import shlex
import subprocess
import sys

import awkward as ak
import numpy as np
import pytest
from calibrate_events import DETECTOR, event, particle, table
from click.testing import CliRunner

from gen2reco.cli import cli
from gen2reco.config.block import Block
from gen2reco.errors import InputError
from gen2reco.events import records
from gen2reco.events.provenance import PROVENANCE_KEY
from gen2reco.flow.training_data import DataFiles, find_files
from gen2reco.flow.trainings import Trained, Trainer, make_model, trainer_class
from gen2reco.run.model_folder import open_model
from gen2reco.run.training_kind import known_trainings

GUN = {"generate": {"backend": "gun", "version": 1}}
GEANT4 = {**GUN, "simulate": {"backend": "geant4", "version": 2, "info": {"physics": "FTFP_BERT"}}}
SOFT = {"fallback_reasons": {"energies below 0.5 GeV": {"count": 3, "energy": 1.5}}}
LEARNED = {**GUN, "simulate": {"backend": "ml", "version": 4, "model": "f80d", "info": SOFT}}


def hits(folder, sample, shard, story):
    """An empty hits file of that provenance."""
    path = folder / sample / "simulate" / f"{shard:05d}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    records.write(path, records.empty("hits"), "hits", {PROVENANCE_KEY: json.dumps(story)} if story else {})
    return path


def test_a_card_says_by_whom_the_data_were_made(tmp_path):
    alike = DataFiles([hits(tmp_path, "photons", 0, GEANT4), hits(tmp_path, "pions", 0, GEANT4)], digest="abc")
    assert alike.made_by("simulate") == "`geant4`"
    assert alike.card().splitlines()[2:] == [
        "- `photons`, `pions` (2 files, 0 events): generate by `gun` (version 1); simulate by `geant4` (version 2, "
        "FTFP_BERT).",
        "",
        "Digest of the content: `abc`.",
    ]


def test_a_card_says_where_data_differ_fell_back_or_failed(tmp_path):
    paths = [hits(tmp_path, name, 0, story) for name, story in (("a", GEANT4), ("b", LEARNED), ("c", LEARNED))]
    facts = {
        "status": "ok",
        "stage": "simulate",
        "sha256": "0" * 64,
        "events_in": 9,
        "events_out": 7,
        "events_failed": 2,
    }
    paths[2].with_suffix(".json").write_text(json.dumps(facts))
    files = DataFiles(paths)
    assert files.made_by("simulate") == "`ml` and `geant4`"
    card = files.card()
    assert (
        "- `b`, `c` (2 files, 0 events): generate by `gun` (version 1); simulate by `ml` (version 4, model `f80d`)."
        in card
    )
    assert "simulate by `geant4`" in card and "**Several provenances**" in card
    assert "simulate by `ml` left 6 (3 GeV) to its fallback, because of energies below 0.5 GeV." in card
    assert "**Failed**: 2 events" in card and "Unknown" not in card


def test_a_card_says_what_is_unknown(tmp_path):
    half = {"cluster": {"backend": "clue", "version": 3}}
    paths = [hits(tmp_path, "a", 0, None), hits(tmp_path, "b", 0, half), hits(tmp_path, "c", 0, {"generate": {}})]
    files = DataFiles(paths)
    assert files.made_by("simulate") == "an unknown backend"
    card = files.card()
    assert "**Unknown provenance**: `a` (1 file, 0 events)" in card and "**Several provenances**" in card
    assert "`b` (1 file, 0 events): unknown before cluster; cluster by `clue` (version 3)." in card
    assert "`c` (1 file, 0 events): generate by an unknown backend." in card


def test_data_of_one_detector_are_trained_on(tmp_path):
    def story(**change):
        detector = DETECTOR.model_dump(mode="json") | change
        return {"simulate": {"backend": "geant4", "detector": detector}}

    one, same = hits(tmp_path, "a", 0, story()), hits(tmp_path, "b", 0, story())
    other, unknown = hits(tmp_path, "c", 0, story(name="other")), hits(tmp_path, "d", 0, GUN)
    assert DataFiles([one, same]).detector == DETECTOR
    with pytest.raises(InputError, match=r"a/simulate.* and .*c/simulate.* were made with different detectors"):
        _ = DataFiles([one, other]).detector
    with pytest.raises(InputError, match=r"d/simulate.* does not say with which detector"):
        _ = DataFiles([one, unknown]).detector


def test_replayed_files_have_their_share(tmp_path):
    """Of the draws with weights, and of the members; all of the new data are among these."""
    source = np.array([0, 0, 0, 1, 1, 1, 1, 1, 1, 2])
    files = DataFiles([tmp_path / name for name in "abc"], replayed=1, replay=0.25)
    chance = files.chances(np.linspace(1, 2, 10), source)
    assert chance[source == 2].sum() / chance.sum() == pytest.approx(0.25)
    np.testing.assert_allclose(chance[:9] / chance[0], np.linspace(1, 2, 10)[:9])
    assert files.members(source).tolist() == [*range(9), 9, 9, 9]
    many = np.array([0, 0, 0, 1, 1, 1, *[2] * 40])
    assert files.members(many).tolist() == [*range(6), 6, 26]
    for none in (DataFiles(files.paths), DataFiles(files.paths, replayed=3, replay=0.25)):
        assert none.members(source).tolist() == [*range(10)] and none.chances(chance, source) is chance


def test_a_silent_fallback_in_the_data_is_refused_and_a_stated_one_is_not(tmp_path):
    stated = {**LEARNED, "simulate": {**LEARNED["simulate"], "options": {"outside": "geant4"}}}
    DataFiles([hits(tmp_path, "a", 0, GEANT4), hits(tmp_path, "b", 0, stated)]).check_made()
    path = hits(tmp_path, "c", 0, LEARNED)
    with pytest.raises(
        InputError, match=r"c/simulate.*: simulate by `ml` left 3 \(1.5 GeV\) to its fallback.*`outside`"
    ):
        make_model(Mean, Mean.Recipe(), DataFiles([path]), tmp_path / "m")
    assert not (tmp_path / "m").exists()


def test_held_out_samples_are_not_trained_on(tmp_path, monkeypatch):
    """The sample `held_out` and others, by whatever path they are named; files of unfinished jobs neither."""
    for sample in ("train", "held_out", "judged"):
        hits(tmp_path / "data", sample, 0, GUN)
    hits(tmp_path / "data", "train/simulate/.partial", 0, GUN)
    monkeypatch.chdir(tmp_path)
    source = tmp_path.relative_to(tmp_path) / "data"
    paths, judged = find_files(source, "simulate/*.parquet", [tmp_path / "data/judged"])
    assert paths == [source / "train/simulate/00000.parquet"]
    assert judged == [tmp_path / "data/judged", source / "held_out"]
    assert find_files(paths[0], "generate/*.parquet") == (paths, [])
    with pytest.raises(InputError, match=r"holds no records to train on \(generate/\*.parquet\)"):
        find_files(source, "generate/*.parquet")


def test_an_unknown_training_is_refused_with_the_known_ones():
    assert [trainer_class(name).name for name in known_trainings()] == list(known_trainings())
    with pytest.raises(
        InputError, match="there is no training `shower`; known: calibration, generation, showers, fused"
    ):
        trainer_class("shower")


HELP = """
import sys
from click.testing import CliRunner
from gen2reco.cli import cli
from gen2reco.flow.trainings import trainer_class
from gen2reco.run.training_kind import known_trainings
for words in ([], ["showers"]):
    done = CliRunner().invoke(cli, ["train", *words, "--help"])
    assert done.exit_code == 0 and "Train learned showers" in done.output, done.output
print([trainer_class(name).Recipe.__name__ for name in known_trainings()], [m for m in ("torch",) if m in sys.modules])
"""


def test_help_and_recipes_import_no_torch():
    done = subprocess.run([sys.executable, "-c", HELP], capture_output=True, text=True, timeout=60, check=False)
    names = ["CalibrationRecipe", "GenerationRecipe", "ShowerRecipe", "FusedRecipe"]
    assert done.stdout.strip() == f"{names} []", done.stderr


class Mean(Trainer):
    """Train the mean of the files' numbers of events."""

    name, record = "mean", "hits"

    class Recipe(Block):
        """How it is taken."""

        steps: int = 1
        """May change."""
        factor: float = 1.0
        """Multiplies the mean."""

    def load(self):
        return [records.Source(path, self.record).num_rows for path in self.files.paths]

    def train(self, data):
        yield Trained("mean", {}, {}, {"mean": np.array([self.recipe.factor * np.mean(data)])}, "# Mean")


def test_checkpoints_belong_to_their_data_and_recipe(tmp_path):
    one, other = hits(tmp_path, "a", 0, GUN), hits(tmp_path, "b", 0, GUN)

    def make(path=one, **recipe):
        return make_model(Mean, Mean.Recipe(**recipe), DataFiles([path]), tmp_path / "m", "# Given")

    first = make()
    assert [model.digest for model in make(steps=2)] == [model.digest for model in first]
    card = (tmp_path / "m/card.md").read_text()
    assert card.startswith("# Given\n\n## Training data\n\n- `a` (1 file") and Mean.Recipe(steps=2).digest() in card
    with pytest.raises(InputError, match=r"m.partial: its checkpoints are of another recipe; delete the folder"):
        make(factor=2.0)
    with pytest.raises(InputError, match=r"m.partial: its checkpoints are of another data"):
        make(other)


def test_a_model_is_judged_on_one_sample(command, tmp_path):
    for sample in ("train", "held_out", "other"):
        hits(tmp_path / "data", sample, 0, GEANT4)
    with pytest.raises(InputError, match=r"data/held_out: a model is judged on one sample, and that is data/other"):
        command("train", "showers", "data", "models/m", "--other", "data/other")
    assert not (tmp_path / "models").exists()


def plugin(repository, folder):
    """Install what docs/trainings.md prints; returns its commands."""
    text = (repository / "docs/trainings.md").read_text()
    code = re.search(r"```python\n(.*?)```", text, re.S)[1]
    assert len(code.splitlines()) <= 60
    (folder / "scale.py").write_text(code)
    info = folder / "scale-1.dist-info"
    info.mkdir()
    (info / "METADATA").write_text("Metadata-Version: 2.1\nName: scale\nVersion: 1\n")
    entries = re.findall(r'\[project.entry-points."(.*?)"\]\n(.*?)\n', text)
    (info / "entry_points.txt").write_text(
        "".join(f"[{group}]\n{line.replace(chr(34), '')}\n" for group, line in entries)
    )
    return [shlex.split(line) for line in re.search(r"```\n(gen2reco.*?)```", text, re.S)[1].splitlines()]


def photons(n, seed):
    """Photons of which the calorimeter measures 0.8 of the energy."""
    rng, made = np.random.default_rng(seed), []
    for _ in range(n):
        eta, phi, energy = rng.uniform(1.8, 2.6), rng.uniform(-3, 3), rng.uniform(10, 100)
        link = {"trackster": 0, "particle": 0, "reco_to_sim": 0.0, "sim_to_reco": 0.0, "shared_energy": 0.8 * energy}
        made.append(event([(eta, phi, 0.8 * energy)], (), (), [particle(22, eta, phi, energy)], [link]))
    return table(made)


@pytest.fixture
def command(tmp_path, monkeypatch):
    """Run a command in the test's folder and process, with packages there installed; returns its output."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(tmp_path)

    def call(*words):
        done = CliRunner().invoke(cli, [str(word) for word in words], catch_exceptions=False)
        assert done.exit_code == 0, done.output
        return done.output

    yield call
    sys.modules.pop("scale", None)


def test_the_example_training_runs(repository, command, tmp_path):
    """As printed: trained on one sample, judged on another, by a backend of the plugin's own, and used."""
    commands = plugin(repository, tmp_path)
    story = {"cluster": {"backend": "clue", "version": 3, "detector": DETECTOR.model_dump(mode="json")}}
    for seed, name in enumerate(("data/photons/cluster/00000", "data/held_out/cluster/00000", "clusters")):
        path = tmp_path / f"{name}.parquet"
        path.parent.mkdir(parents=True, exist_ok=True)
        records.write(path, photons(30, seed), "clusters", {PROVENANCE_KEY: json.dumps(story)})
    for sample in ("photons", "held_out"):
        output = tmp_path / f"data/{sample}/calibrate/00000.parquet"
        output.parent.mkdir()
        command("calibrate", f"data/{sample}/cluster/00000.parquet", output, "--backend", "raw")
    (tmp_path / "recipe.yaml").write_text("least_energy: 10.\n")
    for words in commands:
        command(*words[1:])
    assert "Of the package scale." in command("train", "--help")
    assert "Train the scale of the plain sums" in command("train", "scale", "--help")
    model = open_model(tmp_path / "models/scale", "scale")
    assert model.weights()["scale"][0] == pytest.approx(1.25, rel=0.02)
    assert "calibrate by `raw`" in (model.folder / "card.md").read_text()
    assert json.loads((model.folder / "evaluation.json").read_text())["sample"]["name"] == "held_out"
    objects = records.awkward(records.read(tmp_path / "objects.parquet", "objects")).objects
    np.testing.assert_allclose(ak.flatten(objects.energy), ak.flatten(objects.energy_raw) * 1.25, rtol=0.02)
