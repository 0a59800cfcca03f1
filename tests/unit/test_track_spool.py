"""The spool: nothing lost, nothing twice, nothing torn, nothing secret, whatever happens to the writers."""

import json
import multiprocessing
import os
import shutil
import signal
import subprocess
import sys
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gen2reco.errors import InputError
from gen2reco.track import spool
from gen2reco.track.runs import Point, top_run, training_run
from gen2reco.track.spool import Spool, read
from gen2reco.track.sync import _key

TOP = top_run(Path("nowhere"), {"name": "pilot", "revision": 1})


def told(folder, key="showers"):
    return training_run(folder, TOP, key, read(folder)[key])


def test_a_training_tells_its_story(tmp_path):
    with Spool(tmp_path, "showers", live=False) as log:
        log.params({"lr": 0.1, "net": {"width": 64, "empty": {}}})
        log.metrics({"loss": 0.5}, 3)
        log.dataset("photons", "d1", events=10)
    run = told(tmp_path)
    assert run.params == {"lr": "0.1", "net.width": "64", "net.empty": "{}"}
    assert [(p.key, p.value, p.step) for p in run.points] == [("loss", 0.5, 3)]
    assert [(d.name, d.digest, d.facts) for d in run.datasets] == [("photons", "d1", '{"events": 10}')]
    assert run.status == "FINISHED"
    assert (run.key, run.parent) == ("pilot/1/training/showers", "pilot/1")


@pytest.mark.parametrize(
    ("ends", "status"),
    [
        (["FINISHED"], "FINISHED"),
        (["FAILED"], "FAILED"),
        (["KILLED", "FINISHED"], "FINISHED"),
        ([None], "RUNNING"),
        (["FAILED", None], "RUNNING"),
    ],
)
def test_status_follows_the_attempts(tmp_path, ends, status):
    for step, end in enumerate(ends):
        log = Spool(tmp_path, "showers", live=False)
        log.metrics({"loss": 1.0}, step)
        if end:
            log.end(end)
        time.sleep(0.002)
    run = told(tmp_path)
    assert (run.status, run.tags["gen2reco.attempts"]) == (status, str(len(ends)))


def test_how_an_attempt_ends_is_told(tmp_path):
    for error, status in ((ValueError, "FAILED"), (KeyboardInterrupt, "KILLED")):
        with pytest.raises(error), Spool(tmp_path, status.lower(), live=False) as log:
            log.metrics({"loss": 1.0})
            raise error
        assert told(tmp_path, status.lower()).status == status


def test_a_resumed_training_tells_each_step_once_and_the_first_stays(tmp_path):
    for attempt, steps in enumerate((range(6), range(4, 9))):
        log = Spool(tmp_path, "showers", live=False)
        log.params({"lr": 0.1, "attempt": attempt})
        for step in steps:
            log.metrics({"loss": attempt + step / 10}, step)
        time.sleep(0.002)
    run = told(tmp_path)
    assert [(p.step, p.value) for p in run.points] == [(s, s / 10) for s in range(6)] + [(6, 1.6), (7, 1.7), (8, 1.8)]
    assert run.params["attempt"] == "0"


def test_torn_lines_and_rubbish_are_left_out(tmp_path):
    log = Spool(tmp_path, "showers", live=False)
    for step in range(3):
        log.metrics({"loss": 1.0}, step)
    lines = log.path.read_bytes()
    rubbish = [
        b'{"attempt": "x", "n": 1}',
        b"[1]",
        b"\xff\xfe",
        b"{" * 5000,
        b'{"attempt":1,"n":2,"t":3,"kind":"params"}',
    ]
    rubbish += [b'{"attempt":"x","n":9,"t":3,"kind":"metrics","step":1,"values":{"a":"b"}}']
    log.path.write_bytes(lines[:-7] + b"\n" + b"\n".join(rubbish) + b"\n" + lines.splitlines()[2] + b"\n" + b'{"att')
    assert [event["step"] for event in read(tmp_path)["showers"]] == [0, 1, 2]


def test_copies_of_a_spool_tell_nothing_twice(tmp_path):
    with Spool(tmp_path, "showers", live=False) as log:
        log.metrics({"loss": 1.0}, 1)
    once = read(tmp_path)
    shutil.copy(log.path, log.path.with_name("showers.copied.jsonl"))
    shutil.copy(log.path, log.path.with_name("showers.half.jsonl"))
    os.truncate(log.path.with_name("showers.half.jsonl"), 60)
    assert read(tmp_path) == once


def write_steps(folder, worker, steps):
    log = Spool(folder, "showers", live=False)
    for step in range(steps):
        log.metrics({f"loss{worker}": float(step)}, step)


def test_eight_processes_at_once_lose_nothing(tmp_path):
    context = multiprocessing.get_context("fork")
    workers = [context.Process(target=write_steps, args=(tmp_path, n, 200)) for n in range(8)]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()
    points = told(tmp_path).points
    assert sorted((p.key, p.step) for p in points) == sorted((f"loss{n}", s) for n in range(8) for s in range(200))


def test_killed_in_the_midst_it_keeps_what_was_told(tmp_path):
    context = multiprocessing.get_context("fork")
    worker = context.Process(target=write_steps, args=(tmp_path, 0, 10**9))
    worker.start()
    while not any(file.stat().st_size > 10_000 for file in tmp_path.rglob("*.jsonl")):
        time.sleep(0.01)
    os.kill(worker.pid, signal.SIGKILL)
    worker.join()
    steps = [event["step"] for event in read(tmp_path)["showers"]]
    assert steps == list(range(len(steps)))
    assert told(tmp_path).status == "RUNNING"


@pytest.mark.parametrize(
    ("given", "kept"),
    [
        ("figures", "figures"),
        ("../../etc", "etc"),
        ("/a//b/", "a/b"),
        ("a\\..\\b", "a/b"),
        ("ä b/.hidden", "_b/hidden"),
        ("", ""),
    ],
)
def test_artifact_folders_are_plain(given, kept):
    assert spool.safe_path(given) == kept


def test_artifacts_are_kept_as_they_were(tmp_path):
    file = tmp_path / "loss curve.svg"
    file.write_text("first")
    with Spool(tmp_path, "showers", live=False) as log:
        log.artifact(file, "figures")
        file.write_text("second")
        with pytest.raises(InputError, match=r"nothing\.svg: no such file"):
            log.artifact(tmp_path / "nothing.svg")
    ((path, folder),) = told(tmp_path).artifacts
    assert (path.read_text(), path.name, folder) == ("first", "loss_curve.svg", "figures")


@pytest.mark.parametrize("name", ["../../plan.lock.json", "/etc/passwd", "nothing/there", 5, None])
def test_a_forged_spool_cannot_name_files_outside(tmp_path, name):
    (tmp_path / "plan.lock.json").write_text("{}")
    log = Spool(tmp_path, "showers", live=False)
    log.metrics({"loss": 1.0})
    log._append("artifact", file=name, folder="")
    log._append("model", name="m", files=[name])
    run = told(tmp_path)
    assert run.artifacts == run.models == []


def test_linked_files_are_not_followed_out_of_the_spool(tmp_path):
    secret = tmp_path / "secret"
    secret.write_text("x")
    (tmp_path / ".spool" / "files" / "d").mkdir(parents=True)
    (tmp_path / ".spool" / "files" / "d" / "f").symlink_to(secret)
    assert spool.spooled_file(tmp_path, "d/f") is None


def test_no_credential_reaches_the_spool(tmp_path, monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_TOKEN", "very-secret-token")
    with Spool(tmp_path, "showers", live=False) as log:
        log.params({"uri": "http://me:passw0rd@host:1", "token": "Bearer very-secret-token"})
        log.tags({"where": "very-secret-token"})
        log.dataset("d", "1", source="https://u:p@host/d")
    text = log.path.read_text()
    assert "secret" not in text and "passw0rd" not in text and "u:p@" not in text
    assert "http://***@host:1" in text


def test_a_full_disk_is_one_warning(tmp_path, monkeypatch, caplog):
    def full(*_):
        raise OSError(28, "No space left on device")

    log = Spool(tmp_path, "showers", live=False)
    log.metrics({"loss": 1.0}, 0)
    with monkeypatch.context() as broken:
        broken.setattr(os, "write", full)
        log.metrics({"loss": 1.0}, 1)
        log.metrics({"loss": 1.0}, 2)
    log.metrics({"loss": 1.0}, 3)
    log.end()
    assert len(caplog.records) == 1 and "No space left" in caplog.text and "goes on" in caplog.text
    assert [p.step for p in told(tmp_path).points] == [0, 3]


@pytest.mark.parametrize("key", ["", "a/b", "../a", "a.b", "a b", "-a"])
def test_names_are_plain(tmp_path, key):
    with pytest.raises(InputError, match="letters, digits"):
        Spool(tmp_path, key)


def test_numbers_of_any_kind(tmp_path):
    import numpy as np

    with Spool(tmp_path, "showers", live=False) as log:
        log.metrics({"a": np.float32(0.5), "b": True, "c": float("nan"), "d": float("inf")}, np.int64(4))
    values = {p.key: p.value for p in told(tmp_path).points}
    assert values["a"] == 0.5 and values["b"] == 1.0 and values["c"] != values["c"] and values["d"] == float("inf")
    assert isinstance(told(tmp_path).points[0], Point)


def test_a_spool_imports_no_mlflow(tmp_path):
    code = (
        "import sys; from gen2reco.track.spool import Spool\n"
        f"with Spool({str(tmp_path)!r}, 'a') as s: s.metrics({{'x': 1.0}})\n"
        "print(json.dumps([m for m in ('mlflow', 'numpy', 'torch', 'pyarrow', 'requests') if m in sys.modules]))"
    )
    environment = {k: v for k, v in os.environ.items() if k != "MLFLOW_TRACKING_URI"}
    done = subprocess.run(
        [sys.executable, "-c", "import json\n" + code], capture_output=True, text=True, check=True, env=environment
    )
    assert json.loads(done.stdout) == []


GOOD = {"attempt": "a", "n": 1, "t": 2}
FOREIGN = [
    {"kind": "metrics", "step": 1, "values": {"loss": 1.0}, "n": -1},
    {"kind": "metrics", "step": 1, "values": {"loss": 1.0}, "t": 10**400},
    {"kind": "metrics", "step": 1, "values": {"loss": 1.0}, "attempt": "../a"},
    {"kind": "metrics", "step": 10**20, "values": {"loss": 1.0}},
    {"kind": "metrics", "step": 1.5, "values": {"loss": 1.0}},
    {"kind": "metrics", "step": 1, "values": {"loss": True}},
    {"kind": "metrics", "step": 1, "values": {"": 1.0}},
    {"kind": "metrics", "step": 1, "values": {"loss": 1.0}, "more": 1},
    {"kind": "params", "values": {"a": 1}},
    {"kind": "params", "values": {"a": "\0"}},
    {"kind": "params", "values": {"a": "\ud800"}},
    {"kind": "tags", "values": {"a": {"b": "c"}}},
    {"kind": "dataset", "name": "d", "digest": None, "context": "training"},
    {"kind": "artifact", "file": "../../x", "folder": ""},
    {"kind": "model", "name": "../x", "files": {}},
    {"kind": "model", "name": "x" * 101, "files": {}},
    {"kind": "end", "status": "DONE"},
    {"kind": "other"},
    {"kind": "params", "values": json.loads('{"a":' * 90 + "1" + "}" * 90)},
]


@pytest.mark.parametrize("event", FOREIGN)
def test_foreign_lines_are_left_out_and_counted(tmp_path, caplog, event):
    log = Spool(tmp_path, "showers", live=False)
    log.metrics({"loss": 1.0}, 7)
    with log.path.open("a") as file:
        file.write(json.dumps(GOOD | event) + "\n")
    assert [found["step"] for found in read(tmp_path)["showers"]] == [7]
    assert [record.getMessage() for record in caplog.records] == [
        f"{log.path}: 1 of 2 lines are no events of a spool, left out"
    ]


LEAF = st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5)
ANY = st.recursive(
    LEAF, lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3)
)
KINDS = st.sampled_from(["params", "tags", "metrics", "dataset", "artifact", "model", "end"])
FIELDS = st.dictionaries(
    st.sampled_from(
        ["values", "step", "name", "digest", "context", "source", "facts", "file", "folder", "files", "status"]
    ),
    ANY,
)


@settings(
    max_examples=150, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(KINDS, FIELDS)
def test_whatever_a_line_holds_a_run_can_be_told_of_it(tmp_path, kind, fields):
    log = Spool(tmp_path, "any", live=False)
    log.metrics({"loss": 1.0}, 7)
    with log.path.open("a") as file:
        file.write(json.dumps({**GOOD, "kind": kind, **fields}) + "\n")
    run = told(tmp_path, "any")
    assert ("loss", 7) in {(point.key, point.step) for point in run.points} and len(run.digest()) == 64
    shutil.rmtree(tmp_path / ".spool")


def test_a_spool_is_read_up_to_its_largest_size(tmp_path, monkeypatch, caplog):
    log = Spool(tmp_path, "showers", live=False)
    for step in range(10):
        log.metrics({"loss": 1.0}, step)
    monkeypatch.setattr(spool, "MAX_SPOOL", log.path.stat().st_size // 2)
    assert 3 < len(read(tmp_path)["showers"]) < 7 and "all beyond" in caplog.text


def test_what_is_too_long_or_no_json_is_one_warning(tmp_path, caplog):
    log = Spool(tmp_path, "showers", live=False)
    log.params({"a": "x" * 2**21})
    log.dataset("d", "1", facts={("a", "b"): 1})
    log.metrics({"loss": 1.0}, 7)
    assert [event["kind"] for event in read(tmp_path)["showers"]] == ["metrics"]
    assert len(caplog.records) == 1 and "2097" in caplog.text and "goes on" in caplog.text


def test_no_model_folder_stops_a_training(tmp_path, caplog):
    log = Spool(tmp_path, "showers", live=False)
    log.model("showers", tmp_path / "nowhere")
    assert "no such folder" in caplog.text and "goes on" in caplog.text


def test_a_kept_file_of_another_content_is_left_out(tmp_path):
    with Spool(tmp_path, "showers", live=False) as log:
        log.artifact(__file__)
    ((path, _),) = told(tmp_path).artifacts
    path.write_text("changed")
    assert told(tmp_path).artifacts == []


@pytest.mark.parametrize(
    ("name", "key"),
    [
        ("a/b.c d", "a/b.c d"),
        ("../../x", "x"),
        ("a/../b//./c/", "a/b/c"),
        ("ü:?", "___"),
        ("..", "unnamed"),
        ("", "unnamed"),
    ],
)
def test_names_in_mlflow_lead_nowhere(name, key):
    assert _key(name) == key and len(_key(name * 500)) <= 250
