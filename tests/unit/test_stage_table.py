"""The table of stages: its order, what a sample may hold, what may be announced, and what it costs."""

import json

import pytest

from gen2reco.campaign.campaign import Sample
from gen2reco.cli import COMMANDS
from gen2reco.events import records
from gen2reco.run import stage_table
from gen2reco.run.stage_table import RECORDS, STAGES, Stage, chains_to, clash, exclude, gap, in_order
from gen2reco.validate.samples import open_sample


def stage(name, reads, writes):
    return Stage(name, reads, writes, "some", help="Does something.", step="Something.")


FURTHER = [
    stage("readout", "hits", "hits"),
    stage("quick", "particles", "clusters"),
    stage("tag", "objects", "objects"),
    stage("pile", "particles", "particles"),
]


@pytest.fixture
def further(monkeypatch):
    """The table with stages of installed packages."""
    monkeypatch.setattr(stage_table, "_announced", lambda: FURTHER)
    before, with_further = dict(STAGES), stage_table._table()
    STAGES.clear()
    STAGES.update(with_further)
    yield
    STAGES.clear()
    STAGES.update(before)


def test_each_stage_reads_what_one_before_it_writes():
    made = [None]
    for found in STAGES.values():
        assert found.reads in made
        made.append(found.writes)
    assert tuple(dict.fromkeys(made[1:])) == RECORDS


def test_further_stages_come_after_those_that_make_their_record(further):
    order = ["generate", "pile", "simulate", "readout", "cluster", "quick", "calibrate", "fuse", "tag"]
    assert list(STAGES) == order == in_order(order[::-1])
    assert {name: found.spans for name, found in STAGES.items() if found.spans} == {
        "quick": ("simulate", "cluster"),
        "fuse": ("simulate", "cluster", "calibrate"),
    }
    assert chains_to("clusters") == [("quick",), ("simulate", "cluster")]
    assert chains_to("objects") == [("fuse",), ("simulate", "cluster", "calibrate")]


SAMPLES = {
    "generate": None,
    "generate pile": None,
    "generate pile simulate readout cluster calibrate tag": None,
    "generate quick calibrate": None,
    "generate fuse tag": None,
    "": "`generate` names no backend",
    "fuse": "`generate` names no backend",
    "generate calibrate": "`simulate` has no backend but `calibrate` has one",
    "generate simulate calibrate": "`cluster` has no backend but `calibrate` has one",
    "generate quick tag": "`calibrate` has no backend but `tag` has one",
    "generate readout": "`simulate` has no backend but `readout` has one",
    "generate simulate fuse": "`fuse` spans simulate to calibrate",
    "generate quick cluster": "`quick` spans simulate to cluster",
    "generate quick fuse": "`quick` spans simulate to cluster",
    "generate quick readout calibrate": "`quick` spans simulate to cluster",
}


@pytest.mark.parametrize("names", SAMPLES)
def test_the_stages_of_a_sample_follow_one_upon_the_other(further, names):
    found = clash(names.split()) or gap(names.split())
    assert found == SAMPLES[names] if SAMPLES[names] is None else found.startswith(SAMPLES[names])


def test_a_stage_excludes_what_it_spans_and_nothing_else(further):
    excluded = {one: {other for other in STAGES if other != one and exclude(one, other)} for one in STAGES}
    assert excluded["fuse"] == {"simulate", "readout", "cluster", "quick", "calibrate"}
    assert excluded["quick"] == {"simulate", "readout", "cluster", "fuse"}
    assert excluded["tag"] == excluded["pile"] == excluded["generate"] == set()


def test_the_names_of_commands_and_keys_are_taken():
    commands = {name.replace("-", "_") for name in COMMANDS.keys() - STAGES.keys()}
    assert commands | (Sample.model_fields.keys() - STAGES.keys()) <= stage_table.TAKEN


REFUSED = {
    "expected a Stage named `tag`": ("tag", stage("tags", "objects", "objects")),
    "expected a Stage named `tagged`": ("tagged", "objects"),
    "its name is taken": ("fuse", stage("fuse", "particles", "objects")),
    "its name is taken, or": ("events", stage("events", "objects", "objects")),
    "or holds other than": ("Tag", stage("Tag", "objects", "objects")),
    "reads None and writes hits, expected two of": ("some", stage("some", None, "hits")),
    "writes tags, expected two of": ("some", stage("some", "objects", "tags")),
    "reads hits and writes particles: a backend": ("some", stage("some", "hits", "particles")),
    "reads hits and writes clusters: a backend": ("some", stage("some", "hits", "clusters")),
}


@pytest.mark.parametrize("message", REFUSED)
def test_what_cannot_be_a_stage_is_left_out_with_a_line(monkeypatch, capsys, message):
    class Entry:
        name, value = REFUSED[message][0], "package:STAGE"

        def load(self):
            return REFUSED[message][1]

    monkeypatch.setattr(stage_table, "entry_points", lambda group: [Entry()])
    assert list(stage_table._announced()) == []
    (line,) = capsys.readouterr().err.splitlines()
    assert line.startswith(f"gen2reco: stage `{Entry.name}` (package:STAGE) is left out: ") and message in line


def test_a_sample_is_what_its_last_stage_made_and_costs_what_all_took(further, tmp_path):
    table = records.table("objects", {name: [] for name in records.SCHEMAS["objects"].names})
    for name in ("calibrate", "tag"):
        (tmp_path / name).mkdir()
        records.write(tmp_path / name / "00000.parquet", table, "objects")
        facts = {"status": "ok", "stage": name, "sha256": "0" * 64, "events_in": 5, "events_out": 0, "cpu_seconds": 2.0}
        (tmp_path / name / "00000.json").write_text(json.dumps({**facts, "device": "cpu"}))
    sample = open_sample(tmp_path)
    assert sample.shards == {"objects": [tmp_path / "tag/00000.parquet"]}
    assert {stage: cost.seconds_per_event for stage, cost in sample.costs.items()} == {"calibrate": 0.4, "tag": 0.4}
