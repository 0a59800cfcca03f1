"""Shards of a plan: none repeats another, none depends on how long it is, extension keeps sizes, damage is found."""

import json
import os
import shutil
import time
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
import yaml
from toys import Inline, job

from gen2reco.batch.status import verify_sample
from gen2reco.batch.steps import stage_step
from gen2reco.campaign.job import planned_job
from gen2reco.campaign.made import Made
from gen2reco.campaign.plan import Plan, make_plan
from gen2reco.campaign.rates import known_rates
from gen2reco.errors import Gen2recoError
from gen2reco.events import records
from gen2reco.files import file_digest
from gen2reco.run.runner import run
from gen2reco.run.seeds import chunk_seed
from gen2reco.run.sidecar import read_sidecar, sidecar_path
from gen2reco.run.stage import Chunk

LOCK = Path("results/shards/plan.lock.json")


@pytest.fixture
def plan(tmp_path, repository, monkeypatch):
    """Plan so many gun events in an empty working folder, in shards of 10 where no size is given; returns the plan."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("GEN2RECO_RATES", str(tmp_path / "rates.json"))
    known_rates.cache_clear()

    def make(events: int, shard_events: int | None = 10, seed: int = 1) -> Plan:
        gun = {"kind": "gun", "species": [22], "energy": [5, 100]}
        sample = {"events": events, "generate": {"backend": "gun", "process": gun, "chunk_events": 5}}
        sample |= {"shard_events": shard_events} if shard_events else {}
        campaign = {"name": "shards", "seed": seed, "detector": str(repository / "configs/detectors/hgcal.yaml")}
        (tmp_path / "c.yaml").write_text(yaml.safe_dump({**campaign, "samples": {"a": sample, "b": sample}}))
        return make_plan(tmp_path / "c.yaml")[0]

    yield make
    known_rates.cache_clear()


def energies(made: Plan, sample: str, shard: int) -> list[float]:
    """Make a planned shard as a job of Snakemake does; returns the energies of its particles."""
    file = made.file(sample, "generate", shard)
    file.parent.mkdir(parents=True, exist_ok=True)
    run(planned_job(LOCK, "generate", sample, shard, file, None, 1))
    return records.awkward(records.read(file)).particles.energy[:, 0].tolist()


def test_no_two_shards_of_a_campaign_hold_the_same_events(plan):
    made = plan(30)
    drawn = {(sample, shard): energies(made, sample, shard) for sample in "ab" for shard in range(3)}
    assert len({energy for values in drawn.values() for energy in values}) == 60
    facts = [read_sidecar(made.file(sample, "generate", shard)) for sample, shard in drawn]
    assert [(one["sample"], one["shard"]) for one in facts] == list(drawn)
    numbers = [records.read(made.file("a", "generate", shard))["event"].to_pylist() for shard in range(3)]
    assert [number for one in numbers for number in one] == list(range(30))


def test_a_planned_job_is_seeded_by_what_the_plan_names(plan):
    """The file of a shard is that of its seed, sample, stage, shard and chunks, whoever makes it."""
    made = plan(20, seed=77)
    file = made.file("b", "generate", 1)
    values = energies(made, "b", 1)
    gun = planned_job(LOCK, "generate", "b", 1, file, None, 1).backend
    gun.prepare()
    chunks = [Chunk(i, chunk_seed(77, "b", "generate", 1, i), 10 + 5 * i, 15 + 5 * i) for i in range(2)]
    alone = pa.concat_tables([gun.run(chunk).table for chunk in chunks])
    assert records.awkward(alone).particles.energy[:, 0].tolist() == values


@pytest.mark.parametrize(("short", "long"), [(25, 50), (21, 22), (1, 30), (27, 27)])
def test_a_run_is_the_beginning_of_a_longer_one(tmp_path, short, long):
    """The last chunk too, which the longer run fills: events do not depend on how many follow."""
    tables = []
    for events in (short, long):
        run(job(tmp_path, Inline, events=range(events), chunk_events=5))
        tables.append(records.read(tmp_path / "out.parquet").replace_schema_metadata())
    assert tables[0].equals(tables[1].slice(0, short))


def test_shards_of_an_extended_sample_stay_and_the_short_one_grows(plan):
    before = plan(25)
    first = [energies(before, "a", shard) for shard in range(3)]
    after = plan(50)
    assert after.lock["revision"] == 1 and after.shards("a") == 5
    second = [energies(after, "a", shard) for shard in range(5)]
    assert (
        second[:2] == first[:2]
        and second[2][:5] == first[2]
        and len({energy for one in second for energy in one}) == 50
    )


def test_a_measured_rate_sizes_new_samples_and_leaves_planned_ones(plan, tmp_path):
    """The rate of the generator is ten times slower at the second plan: a new sample would get smaller shards."""

    def rate(seconds: float) -> None:
        (tmp_path / "rates.json").write_text(json.dumps({"generate/gun/cpu": {"cpu_seconds": seconds}}))
        known_rates.cache_clear()

    rate(10.0)
    planned = plan(1000, None).samples["a"]["shard_events"]
    rate(100.0)
    extended = plan(2000, None).samples["a"]
    assert (extended["events"], extended["shard_events"]) == (2000, planned)
    shutil.rmtree("results")
    assert 0 < plan(2000, None).samples["a"]["shard_events"] < planned / 5


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def state(**changes):
    """Change facts of a sidecar."""

    def change(file: Path, made: Plan) -> None:
        facts = json.loads(sidecar_path(file).read_text())
        sidecar_path(file).write_text(json.dumps(facts | changes))

    return change


def neighbour(file: Path, made: Plan) -> None:
    """The file and sidecar of another shard in place of its own."""
    other = made.file("a", "generate", 2)
    shutil.copy(other, file)
    shutil.copy(sidecar_path(other), sidecar_path(file))


def cut(file: Path, made: Plan) -> None:
    """The events of half a shard, with a sidecar that agrees with them."""
    run(planned_job(LOCK, "generate", "a", 1, file, None, 1))
    half = records.read(file).slice(0, 5)
    records.write(file, half, "particles")
    state(sha256=file_digest(file), events_in=5, events_out=5)(file, made)


DAMAGE = {
    "a flipped bit in the middle": (lambda file, made: flip(file, file.stat().st_size // 2), "its bytes are not those"),
    "a flipped first bit": (lambda file, made: flip(file, 0), "its bytes are not those"),
    "a flipped last bit": (lambda file, made: flip(file, -1), "its bytes are not those"),
    "a byte too many": (lambda file, made: file.write_bytes(file.read_bytes() + b"\0"), "its bytes are not those"),
    "no file": (lambda file, made: file.unlink(), "its bytes are not those"),
    "no sidecar": (lambda file, made: sidecar_path(file).unlink(), "no such file"),
    "another shard": (neighbour, "`shard` = 2, the plan 1"),
    "half a shard": (cut, "of 5 events, planned are 10"),
    "a wrong count of rows": (state(events_out=9), "holds 10 events, its sidecar counts 9"),
    "another configuration": (state(config_digest="0" * 64), "`config_digest`"),
    "another sample": (state(sample="b"), "`sample` = b, the plan a"),
}


@pytest.mark.parametrize("damage", DAMAGE)
def test_verify_finds_damage_and_names_the_file(plan, damage):
    made, (act, words) = plan(30), DAMAGE[damage]
    for shard in range(3):
        energies(made, "a", shard)
    whole = {"sample": "a", "shards": 3, "failed": 0, "failed_shards": []}
    assert verify_sample(made, "a") == whole
    act(made.file("a", "generate", 1), made)
    with pytest.raises(Gen2recoError, match=words) as found:
        verify_sample(made, "a")
    assert "00001" in str(found.value) and "\n" not in str(found.value)
    energies(made, "a", 1)
    assert verify_sample(made, "a") == whole


def stage_states(made, sample, stage):
    """Shards of a stage by state, the failed ones, the rate in events/s and the seconds left."""
    step = stage_step(made, Made(made), sample, stage)
    told = {"failed_shards": step.failed, "events_per_second": step.rate, "seconds_left": step.seconds_left}
    return {**step.states, **told}


@pytest.mark.parametrize(("failed", "allowed", "fine"), [(1, 0.34, True), (2, 0.34, False), (1, 0.33, False)])
def test_verify_counts_failed_shards_against_the_tolerance(plan, failed, allowed, fine):
    made = plan(30)
    made.lock["failed_shards"] = allowed
    for shard in range(3):
        energies(made, "a", shard)
        if shard < failed:
            state(status="failed")(made.file("a", "generate", shard), made)
    assert stage_states(made, "a", "generate")["failed_shards"] == list(range(failed))
    if fine:
        assert verify_sample(made, "a")["failed_shards"] == list(range(failed))
        return
    with pytest.raises(Gen2recoError, match=f"{failed} of 3 shards failed"):
        verify_sample(made, "a")


def test_the_state_of_a_stage_counts_shards_and_tells_rate_and_end(plan):
    """Of seven shards of ten events: three done in 8 s each, one failed, one at work; two more wait for it."""
    made = plan(70)
    for shard in range(4):
        energies(made, "a", shard)
        changes = {"status": "failed" if shard == 3 else "ok", "wall_seconds": 8.0}
        state(**changes)(made.file("a", "generate", shard), made)
    partial = made.file("a", "generate", 4).parent / ".partial" / "00004.parquet-0123456789abcdef"
    partial.mkdir(parents=True)
    found = stage_states(made, "a", "generate")
    assert found == {"done": 3, "failed": 1, "running": 1, "waiting": 2, "failed_shards": [3],
                     "events_per_second": 30 / 24, "seconds_left": 3 * 8.0}  # fmt: skip
    long_ago = time.time() - 901
    os.utime(partial, (long_ago, long_ago))
    idle = stage_states(made, "a", "generate")
    assert ("running" in idle, idle["waiting"], idle["seconds_left"]) == (False, 3, 24.0)
    nothing = stage_states(made, "b", "generate")
    assert nothing == {"waiting": 7, "failed_shards": [], "events_per_second": None, "seconds_left": None}


def test_seeds_of_chunks_are_even_and_independent():
    """Bits of 4000 neighbouring seeds are set half of the time, each bit apart from the others."""
    seeds = np.array([chunk_seed(1, "a", "generate", shard, chunk) for shard in range(80) for chunk in range(50)])
    bits = (seeds[:, None] >> np.arange(63)) & 1
    assert np.abs(bits.mean(axis=0) - 0.5).max() < 5 * 0.5 / np.sqrt(len(seeds))
    assert np.abs(np.corrcoef(bits.T) - np.eye(63)).max() < 6 / np.sqrt(len(seeds))
