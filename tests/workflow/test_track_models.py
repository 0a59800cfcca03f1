"""The registry: what a reference means, what is refused, when a candidate becomes the champion. No server needed."""

import json
import re
import shutil
from functools import partial
from types import SimpleNamespace

import pytest
from click.testing import CliRunner
from mlflow import MlflowClient
from track_campaign import campaign, model_folder, sidecar

from gen2reco.commands.track import models
from gen2reco.errors import Gen2recoError, InputError
from gen2reco.run.evaluations import evaluation
from gen2reco.run.model_folder import model_digest
from gen2reco.track import registry, releases
from gen2reco.track.modelfiles import files_of
from gen2reco.track.promote import Criterion, compare, first_champion, read_criteria
from gen2reco.track.registry import register, resolve
from gen2reco.track.releases import shipped_models
from gen2reco.track.sync import sync


@pytest.fixture(autouse=True)
def own_cache(monkeypatch, tmp_path):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("GEN2RECO_CACHE", str(tmp_path / "cache"))


def verdict(candidate, champion=None, **criterion):
    def found(value):
        return {"sample": {"digest": "d"}, "metrics": {"m": {"value": value[0], "uncertainty": value[1]}}}

    (one,) = compare(found(candidate), champion and found(champion), [Criterion(metric="m", **criterion)])
    return one.holds, one.better


@pytest.mark.parametrize(
    ("candidate", "champion", "criterion", "expected"),
    [
        ((0.05, 0.01), (0.10, 0.01), {}, (True, True)),
        ((0.10, 0.01), (0.10, 0.01), {}, (True, False)),
        ((0.12, 0.01), (0.10, 0.01), {"sigmas": 2}, (True, False)),
        ((0.14, 0.01), (0.10, 0.01), {"sigmas": 2}, (False, False)),
        ((0.1001, 0.0), (0.10, 0.0), {"sigmas": 0}, (False, False)),
        ((0.14, 0.01), (0.10, 0.01), {"better": "higher"}, (True, True)),
        ((0.05, 0.01), (0.10, 0.01), {"better": "higher"}, (False, False)),
        ((0.05, 0.01), (0.10, 0.01), {"limit": 0.04}, (False, True)),
        ((0.05, 0.01), None, {"limit": 0.06}, (True, False)),
        ((0.05, 0.01), None, {"limit": 0.04}, (False, False)),
        ((float("nan"), 0.01), (0.10, 0.01), {}, (False, False)),
        ((0.05, None), None, {"limit": 0.06}, (True, False)),
    ],
)
def test_a_criterion(candidate, champion, criterion, expected):
    assert verdict(candidate, champion, **criterion) == expected


def judged(events="d", error=0.01, name="m", own=None):
    return {"sample": {"digest": events}, "metrics": {name: {"value": 0.1, "uncertainty": error, "sample": own}}}


@pytest.mark.parametrize(
    ("candidate", "champion", "said"),
    [
        (judged("d"), judged("e"), "was measured on different events (d and e)"),
        (judged("d", own="e"), judged("d"), "was measured on different events (e and d)"),
        (judged(None), judged(None), "the candidate's evaluation does not say on which events `m` was measured"),
        (judged("d"), judged(None), "the champion's evaluation does not say on which events `m` was measured"),
        (judged(error=None), judged(), "`m` of the candidate has no uncertainty"),
        (judged(), judged(error=float("nan")), "`m` of the champion has no uncertainty"),
        (judged(), judged(error=-1.0), "`m` of the champion has no uncertainty"),
        (judged(name="n"), judged(), "the candidate's evaluation has no metric `m`; known: n"),
        (judged(), judged(name="n"), "the champion's evaluation has no metric `m`; known: n"),
    ],
)
def test_evaluations_must_be_of_the_same_events_with_errors(candidate, champion, said):
    with pytest.raises(InputError, match=re.escape(said)):
        compare(candidate, champion, [Criterion(metric="m")])


WORSE = {"response": 0.08, "seed": 9}
FIRST = {
    "nothing to judge by": (None, {}, False, "no model of its kind ships), and `promotion` states no `limit`; state"),
    "a limit": (None, {"limit": 0.06}, False, (True, "no model of its kind ships); judged by the limits of bias")),
    "a limit that fails": (None, {"limit": 0.04}, False, (False, "judged by the limits of bias")),
    "first": (
        None,
        {},
        True,
        (True, "no champion to compare with (no model of its kind ships); not judged, by --first"),
    ),
    "first, a limit that fails": (None, {"limit": 0.04}, True, (False, "judged by the limits of bias, by --first")),
    "better than what ships": (WORSE, {}, False, (True, "compared with the shipped `showers`")),
    "worse than what ships": ({"seed": 9, "response": 0.01}, {}, False, (False, "compared with the shipped `showers`")),
    "no gain on what ships": ({"seed": 9}, {}, False, (False, "compared with the shipped `showers`")),
    "first, but one ships": (WORSE, {}, True, "--first, but there is the shipped `showers`; leave --first out"),
    "other events": (
        {"seed": 9, "sample": "others"},
        {},
        False,
        "the shipped `showers` cannot serve: promotion: `bias` of",
    ),
    "first, other events": ({"seed": 9, "sample": "others"}, {}, True, (True, "measured on different events")),
    "what ships itself": ({}, {}, False, "the shipped `showers` is this model itself), and `promotion` states"),
    "first, what ships itself": ({}, {}, True, (True, "is this model itself); not judged, by --first")),
    "not judged": (
        {"seed": 9, "judged": False},
        {},
        False,
        "the shipped `showers` has no evaluation.json), and `promotion` sta",
    ),
    "first, not judged": (
        {"seed": 9, "judged": False},
        {},
        True,
        (True, "has no evaluation.json); not judged, by --first"),
    ),
}


@pytest.mark.parametrize("case", FIRST)
def test_a_first_champion(tmp_path, monkeypatch, case):
    ships, criterion, first, expected = FIRST[case]
    monkeypatch.setattr(releases, "PACKAGE", tmp_path)
    if ships is not None:
        folder = model_folder(tmp_path / "simulate/release", **{k: v for k, v in ships.items() if k != "judged"})
        if "judged" in ships:
            (folder / "evaluation.json").unlink()
    new = resolve(str(model_folder(tmp_path / "new")))
    if isinstance(expected, str):
        with pytest.raises(InputError, match=re.escape(expected)):
            first_champion(new, [Criterion(metric="bias", **criterion)], first)
    else:
        decision = first_champion(new, [Criterion(metric="bias", **criterion)], first)
        assert decision.promoted == expected[0] and expected[1] in decision.note


@pytest.mark.parametrize(
    ("text", "error"),
    [
        ("name: a", "`promotion` is missing"),
        ("promotion: []", "promotion"),
        ("promotion: [{metric: a, beter: lower}]", "did you mean `better`"),
        ("promotion: [{metric: a, better: smaller}]", "better"),
        ("promotion: [{metric: a, sigmas: -1}]", "sigmas"),
    ],
)
def test_criteria_files_with_mistakes(tmp_path, text, error):
    (tmp_path / "c.yaml").write_text(text)
    with pytest.raises(InputError, match=error):
        read_criteria(tmp_path / "c.yaml")


def test_a_folder_is_its_own_reference(tmp_path):
    folder = model_folder(tmp_path / "m")
    found = resolve(str(folder))
    assert found.path == folder and len(found.digest) == 64
    (folder / "weights.safetensors").write_bytes(b"x" * 100)
    assert resolve(str(folder)).digest != found.digest


def test_a_cached_digest_is_checked_and_needs_no_server(tmp_path):
    folder = model_folder(tmp_path / "m")
    digest = resolve(str(folder)).digest
    cached = tmp_path / "cache" / "models" / digest
    shutil.copytree(folder, cached)
    for reference in (digest, digest[:12], f"sha256:{digest}"):
        assert resolve(reference, "http://127.0.0.1:9").path == cached
        assert resolve(reference, "http://me:no/address@h").path == cached
    (cached / "config.json").write_text(json.dumps({"kind": "showers", "width": 5}))
    with pytest.raises(InputError, match=f"digest is [0-9a-f]{{64}}, expected {digest}"):
        resolve(digest, "http://127.0.0.1:9")


@pytest.mark.parametrize(
    ("reference", "text"),
    [
        ("models:/showers", "expected models:/NAME@ALIAS or models:/NAME/VERSION"),
        ("models:/../x@y", "expected models:/NAME@ALIAS"),
        ("nothing/here", "no such folder; give a folder, a digest"),
        ("abc", "no such folder"),
    ],
)
def test_references_that_mean_nothing(tmp_path, reference, text):
    with pytest.raises(InputError, match=text):
        resolve(reference, None, tmp_path)


def call(results, *arguments):
    """`gen2reco models …` in this process, which has imported mlflow already; returns (exit code, output or error)."""
    done = CliRunner().invoke(models, [*map(str, arguments), "--results", str(results)])
    known = isinstance(done.exception, (Gen2recoError, SystemExit, type(None)))
    assert known, done.exc_info
    return done.exit_code, done.output or str(done.exception)


def test_the_life_of_a_model(tmp_path):
    """Register, promote, lose, win; all on the database beside the results."""
    (tmp_path / "c.yaml").write_text("promotion:\n- {metric: bias, sigmas: 1}\n- {metric: auc, limit: 0.7}\n")
    good, worse, best = (model_folder(tmp_path / f"m{n}", seed=n, response=r) for n, r in enumerate((0.05, 0.08, 0.01)))
    run = partial(call, tmp_path / "results")
    promote = ("promote", "showers", "--campaign", tmp_path / "c.yaml")
    assert "not in the registry" in run(*promote)[1]
    for _ in range(2):
        assert run("register", "showers", good)[1].startswith("models:/showers/1  ")
    (tmp_path / "no_limit.yaml").write_text("promotion:\n- {metric: bias, sigmas: 1}\n")
    code, text = run("promote", "showers", "--campaign", tmp_path / "no_limit.yaml")
    assert code == 1 and "promote the model with --first" in text and "\n" not in text
    code, text = run(*promote, "--first")
    assert code == 0 and "candidate is champion now" in text and "by --first" in text
    assert "champion already" in run(*promote)[1]
    run("register", "showers", worse)
    assert "but there is the champion, version 1; leave --first out" in run(*promote, "--first")[1]
    code, text = run(*promote)
    assert code == 1 and "fails" in text and "champion stays" in text
    run("register", "showers", best)
    assert "candidate is champion now" in run(*promote)[1]
    rows = [line for line in run("list")[1].splitlines() if "showers" in line]
    assert len(rows) == 3 and "candidate, champion" in rows[2] and "champion" not in rows[0]
    found = resolve("models:/showers@champion", None, tmp_path / "results")
    assert found.digest == resolve(str(best)).digest and found.digest in rows[2]
    with pytest.raises(InputError, match="not in the registry"):
        resolve("models:/showers/9", None, tmp_path / "results")
    (good / "weights.pkl").write_bytes(b"cos\nsystem\n")
    code, text = run("register", "showers", good)
    assert code and "weights.pkl is refused" in text


@pytest.mark.parametrize(
    ("name", "said"),
    [("Showers", "lower-case"), ("../x", "lower-case"), ("x" * 101, "at most 100"), ("", "lower-case")],
)
def test_model_names_are_plain(tmp_path, name, said):
    with pytest.raises(InputError, match=said):
        register(model_folder(tmp_path / "m"), name, "http://127.0.0.1:9")


@pytest.mark.parametrize("link", ["weights.safetensors", "card.md", "jets"])
def test_no_link_is_registered(tmp_path, link):
    folder = model_folder(tmp_path / "m")
    (folder / link).unlink(missing_ok=True)
    model_folder(tmp_path / "other")
    (folder / link).symlink_to(tmp_path / "other" / (link if link != "jets" else ""))
    with pytest.raises(InputError, match=f"{link}: is a link"):
        register(folder, "showers", "http://127.0.0.1:9")


@pytest.mark.parametrize(
    ("file", "content", "said"),
    [
        ("config.json", b"{", "config.json: damaged model"),
        ("config.json", b"{}", "`kind` is missing"),
        ("config.json", None, "no model here"),
        ("weights.safetensors", b"no", "damaged weights"),
        ("weights.safetensors", None, "weights.safetensors: cannot be read"),
    ],
)
def test_no_damaged_model_is_registered(tmp_path, file, content, said):
    path = model_folder(tmp_path / "m") / file
    path.unlink() if content is None else path.write_bytes(content)
    with pytest.raises(InputError, match=said) as caught:
        register(tmp_path / "m", "showers", "http://127.0.0.1:9")
    assert str(tmp_path / "m") in str(caught.value)


def test_only_files_of_known_names_are_registered(tmp_path, caplog):
    folder = model_folder(tmp_path / "m")
    (folder / "notes.txt").write_text("private")
    (folder / ".env").write_text("private")
    (folder / "checkpoints").mkdir()
    (folder / "checkpoints" / "config.json").write_text("{}")
    found = files_of(folder, "showers")
    assert set(found) == {"weights.safetensors", "config.json", "card.md", "evaluation.json"}
    assert [record.getMessage() for record in caplog.records] == [f"{folder}: not registered: notes.txt"]


@pytest.mark.parametrize(
    "text",
    ["[]", "{}", '{"sample": {}, "metrics": [{"name": 1, "value": 2}]}', "{" * 10_000, '{"sample": {"digest": 1}'],
)
def test_damaged_evaluations_are_one_line(tmp_path, text):
    (tmp_path / "evaluation.json").write_text(text)
    with pytest.raises(InputError, match="damaged evaluation") as caught:
        evaluation(tmp_path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("digest", [None, "", "../../models", "/etc", "0" * 63])
def test_a_version_without_a_digest_of_ours_is_refused(digest):
    """Whatever a server says: it becomes no path."""
    version = SimpleNamespace(tags={"gen2reco.digest": digest} if digest is not None else {}, source="file:///nowhere")
    with pytest.raises(InputError, match="was not registered by gen2reco"):
        registry._download(None, version, "models:/showers/1")


def test_a_shipped_model_that_a_campaign_uses_is_the_first_champion(tmp_path):
    """Registered by the sync, named on the runs that used it, left alone by the next sync; pages have descriptions."""
    results, uri = campaign(tmp_path / "results", shards=1), f"sqlite:///{tmp_path / 'results' / 'mlflow.db'}"
    digest = model_digest(shipped_models()["calibration"])
    for sample in ("photons", "pions"):
        sidecar(results, sample, "calibrate", 0, model_digest=digest)
    sync(results, uri)
    client = MlflowClient(uri)
    champion = client.get_model_version_by_alias("calibration", "champion")
    assert champion.tags["gen2reco.digest"] == digest
    assert [model.name for model in client.search_registered_models()] == ["calibration"]
    assert "candidate" not in client.get_registered_model("calibration").aliases
    assert "models:/calibration@champion" in client.get_registered_model("calibration").description
    experiment = client.get_experiment_by_name("pilot")
    runs = {run.data.tags["gen2reco.key"]: run for run in client.search_runs([experiment.experiment_id])}
    assert runs["pilot/1/photons/calibrate"].data.tags["gen2reco.model_version"] == "calibration/1"
    page = f"#/experiments/{experiment.experiment_id}/runs/{runs['pilot/1'].info.run_id}"
    link = f"[photons]({page}/artifacts/report/photons/report.html)"
    assert link in experiment.tags["mlflow.note.content"]
    note = runs["pilot/1"].data.tags["mlflow.note.content"]
    assert link in note and "| photons | pions | photons | no | response  0.98  ± 0.01 |" in note
    assert "0 written" in sync(results, uri)
