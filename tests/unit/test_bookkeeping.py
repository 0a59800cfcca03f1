"""Sidecars and plans by hand: what is counted, what identifies a file's bytes, what counts as a change of a plan."""

import copy
import json
import platform
import time

import pytest
from toys import Hits, Inline, hits_of, job

from gen2reco import __version__
from gen2reco.campaign.draft import changes
from gen2reco.config.block import Block
from gen2reco.errors import InputError
from gen2reco.events import records
from gen2reco.files import file_digest
from gen2reco.run.runner import Job, run
from gen2reco.run.sidecar import check_rows, check_source, failure, is_whole, read_sidecar, sidecar_path, write_sidecar
from gen2reco.run.stage import Result


class Counting(Inline):
    """Chunks of ten events, of each of which some are lost and some vetoed; each says what it spent."""

    class Options(Block):
        """How many."""

        lost: int = 0
        """Events lost a chunk."""
        vetoed: int = 0
        """Events vetoed a chunk."""

    def run(self, chunk, events):
        made = super().run(chunk, events)
        kept = made.table.slice(self.options.lost + self.options.vetoed)
        reasons = {"failure_reasons": {"no luck": self.options.lost}} if self.options.lost else {}
        facts = {"events_vetoed": self.options.vetoed, "network_evaluations": 2 * kept.num_rows, **reasons}
        return Result(kept, {**made.info, **facts})


def counting(folder, lost=0, vetoed=0, **given):
    made = job(folder, Inline, events=range(40), chunk_events=10, **given)
    made.backend = Counting(Counting.Options(lost=lost, vetoed=vetoed))
    return made


@pytest.mark.parametrize(
    ("lost", "vetoed", "allowed", "status"),
    [(0, 0, 0.0, "ok"), (0, 3, 0.0, "ok"), (1, 0, 0.0, "failed"), (1, 0, 0.1, "ok"), (1, 0, 0.099, "failed"),
     (2, 3, 0.2, "ok"), (2, 3, 0.19, "failed"), (10, 0, 1.0, "ok")],
)  # fmt: skip
def test_events_are_in_out_failed_or_vetoed(tmp_path, lost, vetoed, allowed, status):
    """Of forty events in four chunks; a failed shard has no events, but counts what failed."""
    facts = run(counting(tmp_path, lost, vetoed, failed_events_allowed=allowed))
    kept = 40 - 4 * (lost + vetoed)
    out = kept if status == "ok" else 0
    assert (facts["status"], facts["events_in"], facts["events_failed"], facts["events_out"]) == (
        status,
        40,
        4 * lost,
        out,
    )
    assert facts["events_vetoed"] == 4 * vetoed and facts["network_evaluations"] == 2 * kept
    assert facts.get("failure_reasons", {}) == ({"no luck": 4 * lost} if lost else {})
    assert records.read(tmp_path / "out.parquet").num_rows == out
    assert is_whole(tmp_path / "out.parquet") == (status == "ok")


@pytest.mark.parametrize("isolate", [True, False])
def test_the_start_up_is_apart(tmp_path, isolate):
    """What `prepare` takes, and what the first event takes where chunks are made in the process of the job."""

    def work(seconds):
        end = time.process_time() + seconds
        while time.process_time() < end:
            pass

    class Slow(Hits):
        warm = False

        def prepare(self):
            work(0.1)

        def run(self, chunk, events):
            work(0.0 if self.warm else 0.2)
            self.warm = True
            return super().run(chunk, events)

    Slow.isolate = isolate
    run(job(tmp_path))
    facts = run(Job(Slow(Slow.Options()), tmp_path / "hits.parquet", seed=5, source=tmp_path / "out.parquet"))
    assert facts["startup_seconds"] == pytest.approx(0.1 if isolate else 0.3, abs=0.05)
    assert facts["startup_seconds"] < facts["cpu_seconds"] and facts["events_out"] == 10


def test_a_sidecar_says_who_made_what_of_what(tmp_path, monkeypatch):
    monkeypatch.setenv("SLURM_JOB_ID", "17")
    run(job(tmp_path, sample="b", shard=3, facts={"config_digest": "x"}))
    facts = read_sidecar(tmp_path / "out.parquet")
    stated = {"stage": "generate", "backend": "toy", "sample": "b", "shard": 3, "seed": 5, "device": "cpu"}
    stated |= {"model_digest": None, "config_digest": "x", "host": platform.node(), "code_version": __version__}
    assert facts.items() >= (stated | {"slurm_job_id": "17", "sha256": file_digest(tmp_path / "out.parquet")}).items()
    assert 0 < facts["wall_seconds"] < 60 and 0 <= facts["cpu_seconds"] < 60 and 10 < facts["peak_memory_mb"] < 50_000
    story = records.Source(tmp_path / "out.parquet").story["generate"]
    own = {"backend": "toy", "version": 1, "seed": 5, "sample": "b", "shard": 3, "chunk_events": 3, "model": None}
    assert story.items() >= (own | {"info": {"made": 10}}).items()


def test_sidecars_and_stories_are_sorted_text_with_one_fact_a_line(tmp_path):
    """So that files of equal facts are equal bytes, and a person finds a fact by its name."""
    write_sidecar(tmp_path / "plain.parquet", {"b": 1, "a": {"d": 2, "c": [3]}})
    lines = (tmp_path / "plain.json").read_text().split("\n")
    facts = [line for line in lines if line.startswith(' "')]
    assert facts == sorted(facts) and lines[:3] == ["{", ' "a": {', '  "c": ['] and lines[-2:] == ["}", ""]
    run(job(tmp_path, Inline))
    text = records.Source(tmp_path / "out.parquet").metadata["gen2reco.provenance"]
    assert text == json.dumps(json.loads(text), sort_keys=True)


def identity(folder, **given) -> str:
    folder.mkdir(exist_ok=True)
    options = given.pop("options", {})
    made = counting(folder, **options, **given)
    return run(made)["made_by"]


def test_what_identifies_the_bytes_of_a_file(tmp_path):
    """Seed, sample, shard, chunk size and options do; where it lies, how many events follow and who works do not."""
    base = identity(tmp_path / "a")
    same = [identity(tmp_path / "b"), identity(tmp_path / "c", workers=2), identity(tmp_path / "d", facts={"x": 1})]
    longer = counting(tmp_path / "d")
    longer.events = range(50)
    assert {base, *same, run(longer)["made_by"]} == {base}
    others = [{"seed": 6}, {"sample": "z"}, {"shard": 1}, {"options": {"vetoed": 1}}]
    found = [identity(tmp_path / f"o{i}", **other) for i, other in enumerate(others)]
    smaller = counting(tmp_path / "d")
    smaller.chunk_events = 20
    found.append(run(smaller)["made_by"])
    assert len({base, *found}) == 6


def test_the_input_identifies_what_is_made_of_it(tmp_path):
    made_by = set()
    for name, seed in (("a", 1), ("b", 2), ("c", 1)):
        (tmp_path / name).mkdir()
        run(job(tmp_path / name, seed=seed))
        made_by.add(run(hits_of(tmp_path / name / "out.parquet", tmp_path / name / "hits.parquet"))["made_by"])
    assert len(made_by) == 2
    facts = read_sidecar(tmp_path / "a/hits.parquet")
    assert (facts["stage"], facts["events_in"], facts["events_out"], facts["seed"]) == ("simulate", 10, 10, 5)


@pytest.mark.parametrize(
    ("facts", "line"),
    [
        ({"events_in": 9}, "0 of 9 events cannot be processed"),
        ({"events_in": 9, "events_failed": 2}, "2 of 9 events cannot be processed"),
        ({"events_in": 9, "events_failed": 2, "failure_reasons": {}}, "2 of 9 events cannot be processed"),
        (
            {"events_in": 9, "events_failed": 3, "failure_reasons": {"late": 2, "odd": 1}},
            "3 of 9 events cannot be processed: late (2); odd (1)",
        ),
    ],
)
def test_a_failure_is_told_with_its_reasons(facts, line):
    assert failure(facts) == line


def test_a_source_is_what_its_sidecar_says(tmp_path):
    path = tmp_path / "out.parquet"
    run(job(tmp_path))
    facts, digest = read_sidecar(path), file_digest(path)
    assert check_source(path) == digest and is_whole(path)
    check_rows(path, facts)
    with pytest.raises(InputError, match="holds 10 events, its sidecar counts 11"):
        check_rows(path, {**facts, "events_out": 11})
    write_sidecar(path, {**facts, "status": "failed", "events_failed": 4})
    with pytest.raises(InputError, match="`failed`: 4 of 10 events"):
        check_source(path)
    assert check_source(path, failed=True) == digest and not is_whole(path)
    write_sidecar(path, {**facts, "sha256": "0" * 64})
    for failed in (False, True):
        with pytest.raises(InputError, match="its bytes are not those"):
            check_source(path, failed)
    sidecar_path(path).unlink()
    assert check_source(path) == digest and not is_whole(path)
    with pytest.raises(InputError, match=r"out\.json: no such file"):
        read_sidecar(path)


WRONG = [
    {"status": "fine"}, {"sha256": "0" * 63}, {"sha256": "g" * 64}, {"events_in": -1}, {"events_in": "10"},
    {"events_in": 2**63}, {"events_out": 1.5}, {"events_failed": -1}, {"wall_seconds": -0.1}, {"wall_seconds": 1e12},
    {"cpu_seconds": -1.0}, {"peak_memory_mb": -1}, {"network_evaluations": -1}, {"failure_reasons": {"x": -1}},
    {"stage": "x" * 65},
]  # fmt: skip


@pytest.mark.parametrize("wrong", WRONG, ids=str)
def test_sidecars_that_are_none_are_refused(tmp_path, wrong):
    path = tmp_path / "out.parquet"
    run(job(tmp_path))
    facts = json.loads(sidecar_path(path).read_text())
    for edge in ({"events_in": 2**63 - 1}, {"wall_seconds": 0}, {"stage": "x" * 64}, {"events_failed": 0}):
        sidecar_path(path).write_text(json.dumps(facts | edge))
        assert read_sidecar(path) == facts | edge
    sidecar_path(path).write_text(json.dumps(facts | wrong))
    with pytest.raises(InputError, match=f"no sidecar of a stage, make the stage again.*{next(iter(wrong))}"):
        read_sidecar(path)


# --- changes of a plan


def lock(**samples) -> dict:
    """As much of a lock as is compared: {sample: (events, shard size, {stage: (digest, owner)})}."""
    entries = {
        name: {
            "events": events,
            "shard_events": size,
            "stages": {stage: {"digest": digest, "owner": owner} for stage, (digest, owner) in stages.items()},
        }
        for name, (events, size, stages) in samples.items()
    }
    return {"seed": 1, "samples": entries}


A = (100, 10, {"generate": ("d1", "a"), "simulate": ("d2", "a")})
B = (50, 10, {"generate": ("d1", "a"), "simulate": ("d3", "b")})

CHANGES = {
    "nothing": ({}, []),
    "more events": ({"a": (101, *A[1:])}, []),
    "fewer events": ({"a": (99, *A[1:])}, ["samples.a.events (smaller)"]),
    "another size": ({"a": (100, 11, A[2])}, ["samples.a.shard_events"]),
    "a new sample": ({"c": A}, []),
    "a sample less": ({"b": None}, ["samples.b (removed)"]),
    "another digest": ({"a": (100, 10, A[2] | {"simulate": ("d9", "a")})}, ["samples.a.simulate"]),
    "another owner": ({"b": (50, 10, B[2] | {"generate": ("d1", "b")})}, ["samples.b.generate"]),
    "a stage more": ({"b": (50, 10, B[2] | {"cluster": ("d4", "b")})}, ["samples.b.cluster"]),
    "a stage less": ({"a": (100, 10, {"generate": ("d1", "a")})}, ["samples.a.simulate"]),
    "several": (
        {"a": (10, 5, {"generate": ("x", "a")}), "b": None},
        ["samples.a.generate", "samples.a.simulate", "samples.a.events (smaller)", "samples.a.shard_events",
         "samples.b (removed)"],
    ),
}  # fmt: skip


@pytest.mark.parametrize("case", CHANGES)
def test_what_counts_as_a_change_of_a_plan(case):
    other, expected = CHANGES[case]
    new = {name: entry for name, entry in ({"a": A, "b": B} | other).items() if entry}
    assert changes(lock(a=A, b=B), lock(**new)) == expected
    reseeded = copy.deepcopy(lock(**new)) | {"seed": 2}
    assert changes(lock(a=A, b=B), reseeded) == ["seed", *expected]


def test_a_new_sample_hides_no_change_of_those_after_it():
    smaller = (B[0] - 1, *B[1:])
    assert changes(lock(b=B), lock(a=A, b=smaller)) == ["samples.b.events (smaller)"]
