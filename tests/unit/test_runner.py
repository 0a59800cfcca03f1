"""The runner: same bytes however it is run, nothing half written, errors as one line."""

import faulthandler
import os
import signal
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from toys import Inline, Toy, job

from gen2reco.errors import Gen2recoError, InfrastructureError, InputError
from gen2reco.events import records
from gen2reco.files import file_digest
from gen2reco.run import forks
from gen2reco.run.runner import Interrupted, run
from gen2reco.run.sidecar import read_sidecar
from gen2reco.run.stage import Result


@pytest.mark.parametrize(("cls", "workers"), [(Toy, 1), (Toy, 2), (Inline, 1)])
def test_bytes_do_not_depend_on_how_it_runs(tmp_path, cls, workers):
    (tmp_path / "a").mkdir()
    facts = run(job(tmp_path, cls, workers=workers))
    reference = run(job(tmp_path / "a"))
    assert facts["sha256"] == reference["sha256"]
    assert facts["made"] == facts["events_out"] == 10
    assert facts.items() <= read_sidecar(tmp_path / "out.parquet").items()
    assert sorted(p.name for p in tmp_path.glob("*")) == ["a", "out.json", "out.parquet"]


def test_another_seed_or_sample_gives_other_events(tmp_path):
    digests = set()
    for given in ({}, {"sample": "b"}, {"shard": 1}):
        digests.add(run(job(tmp_path, **given))["sha256"])
    assert len(digests) == 3


def test_a_job_told_to_stop_in_its_last_chunk_ends_well(tmp_path, capfd):
    class Late(Inline):
        def run(self, chunk, events):
            if chunk.index == 3:
                os.kill(os.getpid(), signal.SIGUSR1)
            return super().run(chunk, events)

    assert run(job(tmp_path, Late))["events_out"] == 10
    assert capfd.readouterr().err.startswith("SIGUSR1: stops after the chunk at work\n")


def test_forked_chunks_leave_stopping_to_the_job(tmp_path, capfd):
    class Signalled(Toy):
        def run(self, chunk, events):
            os.kill(os.getpid(), signal.SIGTERM)
            return super().run(chunk, events)

    assert run(job(tmp_path, Signalled))["events_out"] == 10
    assert "stops" not in capfd.readouterr().err


def test_a_stopped_job_keeps_its_chunks_and_goes_on(tmp_path):
    class Stopped(Inline):
        def run(self, chunk, events):
            if chunk.index == 1:
                os.kill(os.getpid(), signal.SIGTERM)
            return super().run(chunk, events)

    with pytest.raises(Interrupted, match="SIGTERM after 2 of 4 chunks"):
        run(job(tmp_path, Stopped))
    assert not (tmp_path / "out.parquet").exists()
    made = []

    class Counted(Inline):
        def run(self, chunk, events):
            made.append(chunk.index)
            return super().run(chunk, events)

    first = run(job(tmp_path, Counted))
    assert made == [2, 3]
    (tmp_path / "quiet").mkdir()
    assert run(job(tmp_path / "quiet"))["sha256"] == first["sha256"]


def die(number):
    def act():
        faulthandler.disable()
        os.kill(os.getpid(), number)

    return act


def throw(error):
    def act():
        raise error

    return act


@pytest.mark.parametrize(
    ("failure", "error", "text"),
    [
        (die(signal.SIGKILL), InfrastructureError, r"chunk 0 \(events 0 to 2\) died of SIGKILL \(Killed\), sent by"),
        (die(signal.SIGSEGV), InfrastructureError, r"chunk 0 .* died of SIGSEGV .*its engine crashed"),
        (die(signal.SIGABRT), InfrastructureError, r"chunk 0 .* died of SIGABRT .*its engine crashed"),
        (lambda: os._exit(3), InfrastructureError, r"chunk 0 .* ended without a word, exit code 3"),
        (throw(InputError("bad card")), InputError, r"bad card"),
        (throw(MemoryError()), InfrastructureError, r"out of memory; ask for more"),
        (throw(OSError(28, "No space left", "x")), InfrastructureError, r"x: No space left"),
        (throw(ValueError("odd")), Gen2recoError, r"chunk 0: ValueError: odd"),
        (throw(KeyboardInterrupt()), Gen2recoError, r"chunk 0: KeyboardInterrupt"),
    ],
)
def test_a_failing_child_is_one_clear_error_of_its_class(tmp_path, failure, error, text):
    class Failing(Toy):
        def run(self, chunk, events):
            failure()

    with pytest.raises(error, match=text) as caught:
        run(job(tmp_path, Failing))
    assert type(caught.value) is error
    assert ("out of memory" in str(caught.value)) == ("out of memory" in text)
    assert not list(tmp_path.iterdir())


def test_a_child_that_the_kernel_killed_for_memory_is_told_so(tmp_path, monkeypatch):
    counts = iter([3, 4])
    monkeypatch.setattr(forks, "_oom_kills", lambda: next(counts))

    class Greedy(Toy):
        def run(self, chunk, events):
            os.kill(os.getpid(), signal.SIGKILL)

    with pytest.raises(InfrastructureError, match=r"SIGKILL.*out of memory"):
        run(job(tmp_path, Greedy))


CTRL_C = """
import os, signal, time
from pathlib import Path
from toys import Toy, job
from gen2reco.run.runner import run

class Slow(Toy):
    def run(self, chunk, events):
        if chunk.index == 0:
            os.kill(os.getppid(), signal.SIGINT)
        os.kill(os.getpid(), signal.SIGINT)
        time.sleep(60)

signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run in the background
try:
    run(job(Path.cwd(), Slow, workers=2))
except KeyboardInterrupt:
    try:
        os.waitpid(-1, os.WNOHANG)
    except ChildProcessError:
        print("interrupted, no child is left")
"""


def test_ctrl_c_ends_the_job_and_its_children(tmp_path):
    done = subprocess.run(
        [sys.executable, "-c", CTRL_C],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.pathsep.join([str(Path(__file__).parent), *filter(None, sys.path)])},
        capture_output=True,
        text=True,
        start_new_session=True,
        timeout=50,
    )
    assert done.stdout == "interrupted, no child is left\n", done.stderr
    assert "Traceback" not in done.stderr and not list(tmp_path.iterdir())


def test_too_many_failed_events_give_a_valid_empty_shard(tmp_path):
    class Lossy(Inline):
        def run(self, chunk, events):
            result = super().run(chunk, events)
            return Result(result.table.slice(1), {"events_failed": 1})

    facts = run(job(tmp_path, Lossy, failed_events_allowed=0.5))
    assert records.read(tmp_path / "out.parquet", "particles").num_rows == 6
    assert [facts[k] for k in ("status", "events_in", "events_out", "events_failed")] == ["ok", 10, 6, 4]
    facts = run(job(tmp_path, Lossy, failed_events_allowed=0.1))
    assert records.read(tmp_path / "out.parquet", "particles").num_rows == 0
    assert [facts[k] for k in ("status", "events_in", "events_out", "events_failed")] == ["failed", 10, 0, 4]


def given(numbers, weights=None):
    columns = {"event": np.array(numbers, np.int64), "partons": [[]] * len(numbers), "particles": [[]] * len(numbers)}
    return records.table("particles", {**columns, "weight": np.ones(len(numbers)) if weights is None else weights})


@pytest.mark.parametrize(
    ("result", "error", "problem"),
    [
        (Result(given([0, 1, 2]), {}), None, ""),
        (Result(given([0, 2]), {}), None, ""),
        (Result(given([0, 2]), {"events_vetoed": 1}), None, ""),
        (Result(given([0, 2]), {"events_failed": 0}), Gen2recoError, "2 rows made, 0 failed and 0 vetoed"),
        (Result(given([0, 1, 2]), {"events_vetoed": 1}), Gen2recoError, "3 rows made, 0 failed and 1 vetoed"),
        (Result(given([0, 1, 3]), {}), Gen2recoError, "other event numbers"),
        (Result(given([1, 0, 2]), {}), Gen2recoError, "other event numbers"),
        (Result(given([0, 1, 2]), {"cross_section_pb": np.nan}), InputError, "`toy`.*facts are not plain and finite"),
        (Result(given([0, 1, 2]), {"made": np.int64(3)}), InputError, "`toy`.*facts are not plain and finite"),
        (Result(given([0, 1, 2], np.array([1, np.nan, 1])), {}), InputError, "`toy`.*event 1: `weight` = nan"),
        (Result(given([0, 1, 2], np.array([1, 1, np.inf])), {}), InputError, "`toy`.*event 2: `weight` = inf"),
    ],
)
def test_what_a_backend_makes_is_checked_before_it_is_written(tmp_path, result, error, problem):
    class Given(Inline):
        def run(self, chunk, events):
            return result

    task = replace(job(tmp_path, Given, failed_events_allowed=1.0), events=range(3))
    if error is None:
        rows = result.table.num_rows
        vetoed = result.info.get("events_vetoed", 0)
        facts = run(task)
        assert [facts["events_out"], facts["events_failed"]] == [rows, 3 - rows - vetoed]
        return
    with pytest.raises(error, match=problem):
        run(task)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("where", ["prepare", "run"])
def test_a_model_that_does_not_fit_is_named(tmp_path, where):
    class Learned(Inline):
        model_digest = "0123456789abcdef"

        def prepare(self):
            if where == "prepare":
                raise ValueError("weights of shape (3,), expected (4,)")

        def run(self, chunk, events):
            raise RuntimeError("mat1 and mat2 shapes cannot be multiplied (3x4 and 5x6)\nat line 3")

    with pytest.raises(InputError, match=r"generate backend `toy` \(model 0123456789ab\).*shape") as caught:
        run(job(tmp_path, Learned))
    assert "\n" not in str(caught.value) and not list(tmp_path.iterdir())


@pytest.mark.parametrize("what", ["removed", "changed in place", "extended"])
def test_a_kept_file_is_brought_back_unless_it_is_another(tmp_path, what):
    class Counted(Inline):
        runs = 0

        def run(self, chunk, events):
            Counted.runs += 1
            return super().run(chunk, events)

    first = run(job(tmp_path, Counted, planned=True))
    output, again = tmp_path / "out.parquet", job(tmp_path, Counted, planned=True)
    made = Counted.runs
    if what == "removed":
        output.unlink()
        (tmp_path / "out.json").unlink()
    elif what == "changed in place":
        os.truncate(output, 100)
    else:
        again.events = range(12)
    second = run(again)
    assert (Counted.runs == made) == (what == "removed")
    assert (second["sha256"] == first["sha256"]) == (what != "extended")
    assert read_sidecar(output)["sha256"] == second["sha256"] == file_digest(output)
    assert not list(tmp_path.glob(".partial/*/[0-9]*.parquet"))
