"""Rates learned from finished shards: what a larger run costs, how chunks are sized, and what is a guess."""

import json
from pathlib import Path

import pytest
import yaml

from gen2reco.campaign import rates
from gen2reco.campaign.job import planned_job
from gen2reco.campaign.learn_rates import _whole, keep, learn
from gen2reco.campaign.plan import make_plan
from gen2reco.campaign.rates import JobCost, chunk_events, job_cost, known_rates, merged, rate_keys
from gen2reco.campaign.summary import estimate
from gen2reco.run.runner import run
from gen2reco.run.sidecar import sidecar_path

LOCK = Path("results/learned/plan.lock.json")


@pytest.fixture
def plan(tmp_path, repository, monkeypatch):
    """Plan so many gun events in an empty working folder with rates of its own; returns the plan."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GEN2RECO_RATES", str(tmp_path / "rates.json"))
    known_rates.cache_clear()

    def make(**sample):
        gun = {"kind": "gun", "species": [22], "energy": [5, 100]}
        sample = {"generate": {"backend": "gun", "process": gun}, **sample}
        campaign = {"name": "learned", "detector": str(repository / "configs/detectors/hgcal.yaml")}
        (tmp_path / "c.yaml").write_text(yaml.safe_dump({**campaign, "samples": {"a": sample}}))
        return make_plan(tmp_path / "c.yaml")[0]

    yield make
    known_rates.cache_clear()


def make_all(plan) -> tuple[float, int]:
    """Make all shards as Snakemake does; returns CPU seconds without start-up, and bytes on disk."""
    spent, size = 0.0, 0
    for shard in range(plan.shards("a")):
        file = plan.file("a", "generate", shard)
        file.parent.mkdir(parents=True, exist_ok=True)
        facts = run(planned_job(LOCK, "generate", "a", shard, file, None, 1))
        spent += facts["cpu_seconds"] - facts["startup_seconds"]
        size += file.stat().st_size + sidecar_path(file).stat().st_size
    return spent, size


def test_a_larger_run_costs_what_was_planned_by_a_smaller_one(plan):
    gun = {"backend": "gun", "chunk_events": 500, "process": {"kind": "gun", "species": [22], "energy": [5, 100]}}
    small = plan(events=4000, shard_events=2000, generate=gun)
    assert estimate(small)[0]["basis"] == {"generate": "guess"}
    make_all(small)
    make_all(small)  # anew, by code that is warm
    (key,) = learn(small, "a")
    assert key == rate_keys({"generate": small.choice("a", "generate")}, "generate", small.detector.digest())[0]
    LOCK.unlink()
    large = plan(events=30000, shard_events=10000, generate=gun)
    row = estimate(large)[0]
    cost = job_cost({"generate": large.choice("a", "generate")}, "generate", large.detector.digest())
    assert row["basis"] == {"generate": "measured"}
    assert 3600 * row["cpu_hours"] == pytest.approx(cost.seconds(30000, 3))
    spent, size = make_all(large)
    assert 1e9 * row["gigabytes"] == pytest.approx(size, rel=0.15)
    assert 0.4 < 30000 * cost.per_event / spent < 2.5  # tenths of a second, on a machine with other work


def test_jobs_that_were_resumed_or_taken_teach_nothing(plan):
    assert _whole([(10, 5.0), (10, 6.0), (10, 1.0), (20, 11.0)]) == [(10, 5.0), (10, 6.0), (20, 11.0)]
    made = plan(events=2000, shard_events=1000)
    make_all(made)
    for shard in range(2):
        file = sidecar_path(made.file("a", "generate", shard))
        file.write_text(json.dumps({**json.loads(file.read_text()), "taken_from": "elsewhere"}))
    assert learn(made, "a") == {} and not rates.rates_file().exists()


def test_the_rate_of_another_process_detector_or_device_is_only_similar(plan):
    made = plan(events=100)
    stages, detector = {"generate": made.choice("a", "generate")}, made.detector.digest()
    keep({rate_keys(stages, "generate", detector)[0]: {"cpu_seconds": 0.5, "bytes": 7.0, "events": 10}})
    assert job_cost(stages, "generate", detector) == JobCost(0.5, rates.START_SECONDS, 7.0, 0.0, "measured")
    assert job_cost(stages, "generate", "another").basis == "similar"
    entry = stages["generate"]
    other = {"generate": {**entry, "options": {"process": {**entry["options"]["process"], "species": [11]}}}}
    assert job_cost(other, "generate", detector).basis == "similar"
    on_gpu = {"generate": {**entry, "device": "cuda"}}
    assert job_cost(on_gpu, "generate", detector) == JobCost(1.0, rates.START_SECONDS, 50_000.0, 0.0, "guess")


def test_a_rate_measured_again_is_the_mean_of_both():
    once, again = {"cpu_seconds": 1.0, "bytes": 5.0, "events": 100}, {"cpu_seconds": 2.0, "events": 100}
    assert merged(None, again) == again
    assert merged(once, again)["cpu_seconds"] == 1.5
    assert merged({**once, "events": 10**9}, again)["cpu_seconds"] == 1.5
    assert merged({**once, "events": 1}, again)["cpu_seconds"] == pytest.approx(2.0, abs=0.02)


@pytest.mark.parametrize(
    ("seconds", "size", "most", "expected"),
    [(0.29, 100, 10**6, 200), (0.001, 100, 10**6, 50_000), (0.001, 30_000, 10**6, 1000), (7.0, 100, 10**6, 5),
     (300.0, 100, 10**6, 1), (0.29, 100, 130, 100)],
)  # fmt: skip
def test_a_chunk_lasts_about_a_minute(monkeypatch, seconds, size, most, expected):
    stages = {"generate": {}, "simulate": {}}
    monkeypatch.setattr(rates, "job_cost", lambda *_: JobCost(seconds, 0, size, 0, "measured"))
    assert chunk_events(stages, "simulate", "", 20, most) == expected
    monkeypatch.setattr(rates, "job_cost", lambda *_: JobCost(seconds, 0, size, 0, "similar"))
    assert chunk_events(stages, "simulate", "", 20, most) == 20


def test_measured_rates_size_new_chunks_and_leave_stated_and_planned_ones(plan):
    before = plan(events=10**6)
    sizes = {name: before.samples["a"][name] for name in ("shard_events",)}
    assert before.choice("a", "generate")["chunk_events"] == 1000
    key = rate_keys({"generate": before.choice("a", "generate")}, "generate", before.detector.digest())[0]
    keep({key: {"cpu_seconds": 1.0, "startup_seconds": 1.0, "bytes": 7.0, "events": 10}})
    after = plan(events=2 * 10**6)
    assert (
        after.choice("a", "generate")["chunk_events"] == 1000
        and after.samples["a"]["shard_events"] == sizes["shard_events"]
    )
    LOCK.unlink()
    anew = plan(events=10**6)
    assert (anew.choice("a", "generate")["chunk_events"], anew.samples["a"]["shard_events"]) == (50, 2650)
    LOCK.unlink()
    stated = {
        "generate": {
            "backend": "gun",
            "chunk_events": 30,
            **{"process": anew.choice("a", "generate")["options"]["process"]},
        }
    }
    assert plan(events=10**6, **stated).choice("a", "generate")["chunk_events"] == 30
