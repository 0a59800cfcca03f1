"""plan.lock.json is input too: edits by hand, and locks that somebody else made."""

import copy
import json
import os
from pathlib import Path

import pytest
from test_places import tiny

from gen2reco.campaign.job import planned_job
from gen2reco.campaign.plan import ensure_plan, lock_of, make_plan, read_plan
from gen2reco.campaign.plan_lock import checksum
from gen2reco.errors import InputError

LOCK = Path("results/tiny/plan.lock.json")


@pytest.fixture
def lock(tmp_path, repository, monkeypatch):
    """The lock of the tiny campaign, in its working folder; returns a copy of its content."""
    monkeypatch.chdir(tmp_path)
    return copy.deepcopy(make_plan(tiny(repository, tmp_path))[0].lock)


def sample(change):
    return lambda lock: change(lock["samples"]["a"])


def stage(**changes):
    return sample(lambda entry: entry["stages"]["generate"].update(changes))


def long_chain(lock):
    entry = lock["samples"]["a"]
    lock["samples"] = {f"s{n}": {**entry, "like": f"s{n + 1}" if n < 5000 else None} for n in range(5001)}


MADE_UP = {
    "no shard size": (sample(lambda a: a.update(shard_events=0)), "`samples.a.shard_events` = 0"),
    "a negative shard size": (sample(lambda a: a.update(shard_events=-10)), "`samples.a.shard_events` = -10"),
    "shards without end": (sample(lambda a: a.update(events=10**12, shard_events=1)), "shards; expected at most"),
    "events as text": (sample(lambda a: a.update(events="20")), "`samples.a.events` = '20'"),
    "events as a fraction": (sample(lambda a: a.update(events=20.5)), "`samples.a.events` = 20.5"),
    "a sample's name that is a path": (
        lambda lock: lock["samples"].update({"../../x": lock["samples"]["a"]}),
        "lower-case letters, digits and underscores",
    ),
    "an owner that is a path": (stage(owner="../a"), "`samples.a.stages.generate.owner` = '../a'"),
    "an owner that is no sample": (stage(owner="b"), "`b` owns no such files"),
    "a campaign's name that is a path": (lambda lock: lock.update(name="/tmp/x"), "`name` = '/tmp/x'"),
    "a stage that is a path": (
        sample(lambda a: a["stages"].update({"../x": a["stages"]["generate"]})),
        "expected some of generate",
    ),
    "no generator": (sample(lambda a: a.update(stages={"simulate": a["stages"]["generate"]})), "expected some of"),
    "another device": (stage(device="tpu"), "`samples.a.stages.generate.device` = 'tpu'"),
    "a digest that is none": (stage(digest="0"), "`samples.a.stages.generate.digest` = '0'"),
    "chunks of nothing": (stage(chunk_events=0), "`samples.a.stages.generate.chunk_events` = 0"),
    "like itself": (sample(lambda a: a.update(like="a")), "is like itself"),
    "too many samples": (long_chain, "at most 1000 items"),
    "a comparison of nothing": (lambda lock: lock["compare"][0].update(reference="b"), "compares `b`"),
    "another seed": (lambda lock: lock.update(seed=-1), "`seed` = -1"),
    "a detector without layers": (lambda lock: lock["detector"].pop("name"), "`detector.name` is missing"),
    "an unknown key": (lambda lock: lock.update(run="rm"), "unknown key `run`"),
    "a missing key": (lambda lock: lock.pop("files"), "`files` is missing"),
    "samples as a list": (lambda lock: lock.update(samples=[1]), "`samples` = [1]"),
    "another version": (lambda lock: lock.update(version=1), "plan version 1, expected 2"),
}


def refused(text, message):
    LOCK.write_text(text)
    for read in (lambda: read_plan(LOCK), lambda: ensure_plan("tiny.yaml"), lambda: make_plan("tiny.yaml")):
        with pytest.raises(InputError) as caught:
            read()
        assert message in str(caught.value) and "\n" not in str(caught.value) and len(str(caught.value)) < 700
        assert str(LOCK) in str(caught.value) and LOCK.read_text() == text


@pytest.mark.parametrize("case", MADE_UP)
def test_a_lock_that_somebody_else_made_is_checked(lock, case):
    change, message = MADE_UP[case]
    change(lock)
    refused(json.dumps({**lock, "checksum": checksum(lock)}), message)


@pytest.mark.parametrize("change", [MADE_UP["another seed"][0], lambda lock: lock.update(failed_shards=1.0)])
def test_a_lock_edited_by_hand_is_refused(lock, change):
    change(lock)
    refused(json.dumps(lock), "was edited since it was written; restore it")


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("", "damaged"),
        ("{", "damaged"),
        ("[]", "found list"),
        ("[" * 100_000, "damaged"),
        ('{"version": NaN}', "NaN is no number"),
        ('{"version": 2, "version": 2}', "a key stands twice"),
        ("{}", "plan version None"),
        ('{"version": 2}', "was edited"),
    ],
)
def test_what_is_no_lock_is_one_line(lock, text, message):
    refused(text, message)


@pytest.mark.parametrize("make", [lambda: LOCK.mkdir(), lambda: os.mkfifo(LOCK), lambda: LOCK.symlink_to("/dev/zero")])
def test_a_lock_that_is_no_file(lock, make):
    LOCK.unlink()
    make()
    with pytest.raises(InputError, match=r"plan\.lock\.json: is a"):
        ensure_plan("tiny.yaml")


@pytest.mark.parametrize("name", ["../x", "", "a b", "x" * 65, None, 5, ["a"]])
def test_the_name_of_a_campaign_is_checked_wherever_it_becomes_a_path(tmp_path, name):
    (tmp_path / "c.yaml").write_text(f"name: {json.dumps(name)}\n")
    with pytest.raises(InputError, match=r"c.yaml: `name`"):
        lock_of(tmp_path / "c.yaml")


@pytest.mark.parametrize(("sample", "shard"), [("../a", 0), ("b", 0), ("a", 2), ("a", 10**9)])
def test_a_job_of_no_shard_is_refused(lock, sample, shard):
    with pytest.raises(InputError):
        planned_job(LOCK, "generate", sample, shard, Path("o.parquet"), None, 1)
