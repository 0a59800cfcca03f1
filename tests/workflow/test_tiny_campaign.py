"""One tiny campaign end to end, and killed at random moments: the same bytes as the quiet run."""

import hashlib
import json
import os
import random
import signal
import subprocess
import time

import awkward as ak
import pytest
import uproot
import yaml
from tiny_campaign import TINY, digests, start

from gen2reco.events import records
from gen2reco.run.sidecar import read_sidecar
from repository import FULL, REPOSITORY

KILLED = REPOSITORY / "configs/campaigns/quickstart.yaml" if FULL else TINY
KILLS = 10


def test_every_stage_leaves_valid_files(quiet):
    plan = json.loads((quiet / "results/tiny/plan.lock.json").read_text())
    for sample, entry in plan["samples"].items():
        for stage, record in zip(entry["stages"], ("particles", "hits", "clusters", "objects")):
            for shard in range(2):
                file = quiet / f"results/tiny/{sample}/{stage}/{shard:05d}.parquet"
                table = records.read(file, record)
                records.check(table, record, str(file))
                facts = read_sidecar(file)
                assert facts["status"] == "ok" and facts["events_out"] == table.num_rows == entry["shard_events"]
                assert facts["sha256"] == hashlib.sha256(file.read_bytes()).hexdigest()
                assert facts["config_digest"] == entry["stages"][stage]["digest"]


def test_event_numbers_are_unique_and_kept_along_the_road(quiet):
    for sample, events in (("photons", 12), ("hadronic_z", 4)):
        for stage in ("generate", "simulate", "cluster", "calibrate"):
            files = sorted(quiet.glob(f"results/tiny/{sample}/{stage}/*.parquet"))
            numbers = [n for f in files for n in records.read(f, columns=["event"])["event"].to_pylist()]
            assert numbers == list(range(events))


def test_ntuples_report_and_story_are_there(quiet):
    with uproot.open(quiet / "results/tiny/photons/publish/00001.root") as file:
        events = file["Events"]
        assert events.num_entries == 6
        assert set(events["luminosityBlock"].array()) == {2}
        first = events["PFCand_genPartIdx"].array()[:, :1]
        assert ak.all(events["GenPart_pdgId"].array()[first] == 22) and file["Runs/genEventCount"].array() == [6]
    with uproot.open(quiet / "results/tiny/hadronic_z/publish/00000.root") as file:
        runs, events = file["Runs"].arrays()[0], file["Events"].arrays()
        assert runs.sqrtS == pytest.approx(91.2, abs=0.1) and runs.crossSection > 0
        hard = events.GenPart_status == 23
        mothers = events.GenPart_pdgId[events.GenPart_genPartIdxMother[hard]]
        assert ak.all(ak.sum(hard, axis=1) == 2) and ak.all(mothers == 23)
    for sample in ("photons", "hadronic_z"):
        assert (quiet / f"results/tiny/report/{sample}/report.html").stat().st_size > 10_000
        assert json.loads((quiet / f"results/tiny/report/{sample}/metrics.json").read_text())
    assert json.loads((quiet / "results/tiny/tracked.json").read_text())["status"] == "synced"


def test_nothing_unfinished_is_left(quiet):
    assert not [p for p in quiet.rglob("*") if p.name.startswith(".partial") or p.name.endswith(".tmp")]


@pytest.mark.parametrize("cores", [1, 2])
def test_killed_at_random_moments_gives_the_same_bytes(quiet, tmp_path, cores, tmp_path_factory):
    reference = quiet
    if KILLED != TINY:
        reference = tmp_path_factory.getbasetemp() / "quiet-full"
        if not reference.exists():
            reference.mkdir()
            assert start(reference, KILLED, 2).wait(timeout=1800) == 0
    samples = yaml.safe_load(KILLED.read_text())["samples"]
    targets = [f"results/{KILLED.stem}/{sample}/verified.json" for sample in samples]
    rng, kills = random.Random(cores), 0
    while kills < KILLS:
        run = start(tmp_path, KILLED, cores, *targets)
        try:
            run.wait(timeout=rng.uniform(1.0, 30.0 if FULL else 4.0))
            break
        except subprocess.TimeoutExpired:
            os.killpg(run.pid, signal.SIGKILL)
            run.wait()
            time.sleep(0.2)
            kills += 1
    assert start(tmp_path, KILLED, 2, *targets).wait(timeout=1800) == 0, (tmp_path / "driver.log").read_text()[-4000:]
    assert kills > 0
    assert digests(tmp_path) == digests(reference)
