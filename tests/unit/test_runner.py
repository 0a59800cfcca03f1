"""The runner: same bytes however it is run, nothing half written, errors as one line."""

import os
import signal

import numpy as np
import pytest

from gen2reco.campaign.runner import Interrupted, Job, run
from gen2reco.campaign.sidecar import file_digest, read_sidecar
from gen2reco.campaign.stage import Backend, Result
from gen2reco.errors import InfrastructureError, InputError
from gen2reco.events import records


class Toy(Backend):
    """Makes empty events whose weights are random."""

    name, stage, isolate = "toy", "generate", True
    chunk_events = 3

    def run(self, chunk, events):
        rng = np.random.default_rng(chunk.seed)
        numbers = np.arange(chunk.start, chunk.stop)
        columns = {"event": numbers, "weight": rng.random(len(numbers)), "partons": [[]] * len(numbers)}
        return Result(records.table("particles", {**columns, "particles": columns["partons"]}), {"made": len(numbers)})


class Inline(Toy):
    isolate = False


def job(folder, cls=Toy, **given):
    return Job(cls(cls.Options()), folder / "out.parquet", seed=5, events=range(10), **given)


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


@pytest.mark.parametrize(
    ("failure", "error", "text"),
    [
        (lambda: os.kill(os.getpid(), signal.SIGKILL), InfrastructureError, "chunk 0 .events 0 to 2. died of SIGKILL"),
        (lambda: (_ for _ in ()).throw(InputError("bad card")), InputError, "bad card"),
    ],
)
def test_a_failing_child_is_one_clear_error(tmp_path, failure, error, text):
    class Failing(Toy):
        def run(self, chunk, events):
            failure()

    with pytest.raises(error, match=text):
        run(job(tmp_path, Failing))
    assert not (tmp_path / "out.parquet").exists()


def test_too_many_failed_events_give_a_valid_empty_shard(tmp_path):
    class Lossy(Inline):
        def run(self, chunk, events):
            result = super().run(chunk, events)
            return Result(result.table.slice(1), {"events_failed": 1})

    assert run(job(tmp_path, Lossy, failed_events_allowed=0.5))["status"] == "ok"
    assert records.read(tmp_path / "out.parquet", "particles").num_rows == 6
    assert run(job(tmp_path, Lossy, failed_events_allowed=0.1))["status"] == "failed"
    assert records.read(tmp_path / "out.parquet", "particles").num_rows == 0


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
