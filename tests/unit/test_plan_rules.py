"""What a job may ask of its plan, and when a plan is made, kept or refused."""

import json
from pathlib import Path

import pytest
import yaml

from gen2reco.campaign import plan as plans
from gen2reco.campaign.job import planned_device, planned_job
from gen2reco.campaign.plan import (
    VARIABLE,
    check_release,
    ensure_plan,
    job_plan,
    lock_of,
    make_plan,
    of_driver,
    read_plan,
)
from gen2reco.campaign.plan_lock import checksum
from gen2reco.errors import InfrastructureError, InputError
from gen2reco.paths import record_file

LOCK = Path("results/rules/plan.lock.json")


@pytest.fixture
def campaign(tmp_path, repository, monkeypatch):
    """A campaign file of 25 gun events in shards of 10, and a second sample like it, in an empty working folder."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(VARIABLE, raising=False)
    gun = {"kind": "gun", "species": [22], "energy": [5, 100]}
    (tmp_path / "gun.yaml").write_text(yaml.safe_dump(gun))
    chain = {
        "generate": {"backend": "gun", "process": "gun.yaml", "chunk_events": 5},
        "simulate": {"backend": "geant4"},
    }
    samples = {"a": {"events": 25, "shard_events": 10, **chain}, "b": {"like": "a", "events": 20}}
    data = {"name": "rules", "detector": str(repository / "configs/detectors/hgcal.yaml"), "samples": samples}
    path = tmp_path / "c.yaml"
    path.write_text(yaml.safe_dump(data))
    return path


def test_ranges_of_shards(campaign):
    made, written = make_plan(campaign)
    assert written and lock_of(campaign) == LOCK and LOCK.is_file()
    assert (made.shards("a"), made.shards("b")) == (3, 2)
    assert [made.events("a", shard) for shard in range(3)] == [range(10), range(10, 20), range(20, 25)]
    assert [made.events("b", shard) for shard in range(2)] == [range(10), range(10, 20)]
    assert made.stages("b") == ["generate", "simulate"] and {made.owner("b", stage) for stage in made.stages("b")} == {
        "a"
    }
    assert made.file("b", "simulate", 1) == record_file(LOCK.parent, "a", "simulate", 1)
    assert made.choice("b", "generate")["chunk_events"] == 5 and made.detector.name == "hgcal"
    assert read_plan(LOCK).lock == made.lock


def test_the_same_campaign_is_planned_once(campaign):
    first, _ = make_plan(campaign)
    before = LOCK.stat().st_mtime_ns, LOCK.read_bytes()
    again, written = make_plan(campaign)
    assert not written and again.lock == first.lock
    assert ensure_plan(campaign).lock == first.lock and (LOCK.stat().st_mtime_ns, LOCK.read_bytes()) == before


@pytest.mark.parametrize("change", ["campaign", "process", "gone"])
def test_a_plan_is_made_anew_when_a_file_it_read_has_changed(campaign, tmp_path, monkeypatch, change):
    make_plan(campaign)
    made = []
    monkeypatch.setattr(plans, "make_plan", lambda file: (made.append(file) or read_plan(LOCK), True))
    ensure_plan(campaign)
    assert made == []
    if change == "campaign":
        campaign.write_text(campaign.read_text() + "\n")
    elif change == "process":
        (tmp_path / "gun.yaml").write_text((tmp_path / "gun.yaml").read_text() + "\n")
    else:
        (tmp_path / "gun.yaml").unlink()
    ensure_plan(campaign)
    assert made == [campaign]


def test_a_campaign_of_the_same_name_elsewhere_is_refused_until_the_first_is_gone(campaign, tmp_path):
    make_plan(campaign)
    other = tmp_path / "other.yaml"
    other.write_text(campaign.read_text())
    with pytest.raises(
        InputError, match=r"holds the results of another campaign .*c\.yaml.*give .*other\.yaml another"
    ):
        make_plan(other)
    with pytest.raises(InputError, match="another campaign"):
        ensure_plan(other)
    campaign.unlink()
    assert make_plan(other)[1] and read_plan(LOCK).lock["campaign_file"] == str(other)


@pytest.mark.parametrize(
    ("stated", "fine", "own"),
    [(None, True, False), ("rules:{digest}", True, True), ("rules:0000", False, True), ("others:0000", True, False),
     ("rules2:0000", True, False), ("rules", False, False)],
)  # fmt: skip
def test_a_job_has_the_plan_of_its_driver(campaign, monkeypatch, stated, fine, own):
    made = make_plan(campaign)[0]
    if stated is not None:
        monkeypatch.setenv(VARIABLE, stated.format(digest=made.lock["digest"]))
    assert of_driver(made) == own
    if fine:
        assert job_plan(LOCK).lock == made.lock
        return
    words = r"planned anew since the driver of this job started \([0-9]{0,4} then, now [0-9a-f]{12}\); nothing was made"
    with pytest.raises(InfrastructureError, match=words):
        job_plan(LOCK)


@pytest.mark.parametrize(
    ("sample", "stage", "shard", "words"),
    [
        ("z", "generate", 0, "no stage `generate` of a sample `z`; known samples: a, b"),
        ("a", "cluster", 0, "no stage `cluster` of a sample `a`"),
        ("a", "generate", 3, "sample `a` has 3 shards; there is no shard 3"),
        ("b", "generate", 2, "sample `b` has 2 shards; there is no shard 2"),
        ("a", "generate", None, "there is no shard None"),
    ],
)
def test_jobs_that_no_plan_knows_are_refused(campaign, sample, stage, shard, words):
    make_plan(campaign)
    with pytest.raises(InputError, match=words):
        planned_job(LOCK, stage, sample, shard, Path("out.parquet"), None, 1)


def test_a_planned_job_has_all_its_settings_from_the_plan(campaign):
    made = make_plan(campaign)[0]
    one = planned_job(LOCK, "generate", "b", 1, Path("out.parquet"), None, 4)
    assert (one.sample, one.shard, one.events, one.chunk_events, one.workers) == ("a", 1, range(10, 20), 5, 4)
    assert (one.seed, one.failed_events_allowed) == (made.lock["seed"], made.lock["failed_events"])
    choice = made.choice("b", "generate")
    assert one.facts == {"config_digest": choice["digest"], "plan_digest": made.lock["digest"]}
    assert one.backend.name == "gun" and planned_device(LOCK, "generate", "b") == "cpu"
    one.confirm()


def edited(change) -> None:
    """Change the lock, with a checksum that fits."""
    lock = json.loads(LOCK.read_text())
    change(lock)
    LOCK.write_text(json.dumps({**lock, "checksum": checksum(lock)}))


def test_a_release_finishes_only_what_it_would_make_alike(campaign):
    make_plan(campaign)
    check_release(read_plan(LOCK))

    def older(lock):
        for sample in lock["samples"].values():
            sample["stages"]["simulate"]["version"] += 1

    edited(older)
    plan = read_plan(LOCK)
    check_release(plan, "generate")
    for only in (None, "simulate"):
        with pytest.raises(InputError, match=r"a\.simulate was planned with version 3 of `geant4`, this release has"):
            check_release(plan, only)


def test_a_job_whose_shard_changed_while_it_ran_has_no_place(campaign):
    """More events leave the first shard as it is; the last, short one grows."""
    make_plan(campaign)
    first, last = (planned_job(LOCK, "generate", "a", shard, Path("out.parquet"), None, 1) for shard in (0, 2))
    data = yaml.safe_load(campaign.read_text())
    data["samples"]["a"]["events"] = 50
    campaign.write_text(yaml.safe_dump(data))
    make_plan(campaign)
    first.confirm()
    with pytest.raises(InfrastructureError, match="planned anew while this job ran"):
        last.confirm()


def test_the_minutes_of_a_job_are_those_of_its_own_stages_and_events(campaign, monkeypatch):
    """One second an event and stage, two stages, shards of ten; what is another sample's is no job; 4 events of 10."""
    from gen2reco.campaign import rates, summary

    assert all(row["cpu_hours"] >= 0 for row in summary.estimate(make_plan(campaign)[0]))  # by the rates known
    monkeypatch.setattr(rates, "job_cost", lambda *_: rates.JobCost(1.0, 0.0, 0.0, 0.0, "measured"))
    data = yaml.safe_load(campaign.read_text())
    data["samples"]["raw"] = {"like": "a", "cluster": {"backend": "clue"}}
    data["samples"]["few"] = {**data["samples"]["a"], "events": 4}
    campaign.write_text(yaml.safe_dump(data))
    made = make_plan(campaign)[0]
    rows = {row["sample"]: row for row in summary.estimate(made)}
    assert {name: 60 * row["job_minutes"] for name, row in rows.items()} == pytest.approx(
        {"a": 20, "b": 0, "raw": 10, "few": 8}
    )
    assert {name: row["jobs"] for name, row in rows.items()} == {"a": 6, "b": 0, "raw": 3, "few": 2}
