"""What `status` and `watch` say of a campaign: every step to the last, stale ones, the driver, logs of what failed; and
shards that another campaign has made."""

import json
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest
import yaml
from click.testing import CliRunner

from gen2reco.batch.driver import end_driver
from gen2reco.batch.status import driver_line
from gen2reco.batch.steps import all_steps, complete
from gen2reco.campaign.exclusive import hold
from gen2reco.campaign.job import planned_job
from gen2reco.campaign.made import Made
from gen2reco.campaign.plan import Plan, make_plan
from gen2reco.cli import cli
from gen2reco.run.runner import run
from gen2reco.run.sidecar import read_sidecar, sidecar_path

GUN = {"kind": "gun", "species": [22], "energy": [5, 100]}


@pytest.fixture
def plan(tmp_path, repository, monkeypatch):
    """Plan a campaign of 25 gun events in shards of 10 in an empty working folder; returns the plan."""
    monkeypatch.chdir(tmp_path)

    def make(name="steps", new_revision=False, seed=1, **sample) -> Plan:
        chain = {"generate": {"backend": "gun", "process": GUN, "chunk_events": 5}}
        samples = {"a": {"events": 25, "shard_events": 10, **chain, **sample}}
        campaign = {"name": name, "seed": seed, "detector": str(repository / "configs/detectors/hgcal.yaml")}
        Path(f"{name}.yaml").write_text(yaml.safe_dump({**campaign, "samples": samples}))
        return make_plan(f"{name}.yaml", new_revision)[0]

    return make


def make_shard(plan: Plan, shard: int) -> dict:
    file = plan.file("a", "generate", shard)
    file.parent.mkdir(parents=True, exist_ok=True)
    job = planned_job(plan.folder / "plan.lock.json", "generate", "a", shard, file, None, 1)
    job.planned = True
    return run(job)


def command(*arguments: str):
    found = CliRunner().invoke(cli, list(arguments))
    return found.exit_code, found.output


def states(plan: Plan) -> dict[str, Counter]:
    return {step.name: +step.states for step in all_steps(plan, Made(plan))}


def write(file: Path) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text("{}")


def test_status_follows_every_step_to_the_last(plan):
    made = plan()
    assert states(made) == {
        name: {"waiting": n} for name, n in {"generate": 3, "verify": 1, "report": 1, "track": 1}.items()
    }
    for shard in range(3):
        make_shard(made, shard)
    assert states(made)["generate"] == {"done": 3}
    code, said = command("status", "steps.yaml")
    assert code == 3 and "complete: no, 3 of 6 jobs are left" in said and "no driver since" in said
    Path(os.environ["GEN2RECO_RATES"]).write_text("damaged")
    code, said = command("verify", "results/steps/plan.lock.json", "a", "results/steps/a/verified.json")
    assert code == 0 and "no rates were learned" in said
    for file in ("report/a/metrics.json", "tracked.json"):
        assert not complete(all_steps(made, Made(made)))
        write(made.folder / file)
    code, said = command("status", "steps.yaml")
    assert code == 0 and "complete: yes" in said and "driver" not in said
    sidecar = sidecar_path(made.file("a", "generate", 1))
    os.utime(sidecar, (later := (made.folder / "tracked.json").stat().st_mtime + 5, later))
    assert states(made) == {
        "generate": {"done": 3},
        "verify": {"stale": 1},
        "report": {"done": 1},
        "track": {"done": 1},
    }
    assert command("status", "steps.yaml")[0] == 3


def test_a_changed_plan_makes_what_was_made_before_stale(plan):
    before = plan()
    for shard in range(3):
        make_shard(before, shard)
    longer = plan(events=40)
    assert states(longer)["generate"] == {"done": 2, "stale": 1, "waiting": 1}  # the short shard grows
    other = plan(events=40, seed=2, new_revision=True)
    assert states(other)["generate"] == {"stale": 3, "waiting": 1}
    Path("steps.yaml").write_text(Path("steps.yaml").read_text() + "\n")
    assert "stale plan: steps.yaml changed since it was made" in command("status", "steps.yaml")[1]


def test_what_was_made_of_another_input_is_stale(plan):
    """By the bytes of the input, which a stage's own digest does not hold; of an earlier release, by its time."""
    made = plan(simulate={"backend": "geant4"})
    particles = make_shard(made, 0)
    file = sidecar_path(made.file("a", "simulate", 0))
    digest = made.choice("a", "simulate")["digest"]
    facts = {**particles, "stage": "simulate", "config_digest": digest, "source_sha256": particles["sha256"]}
    changes = [({}, "done"), ({"source_sha256": "0" * 64}, "stale"), ({"events_in": 9}, "stale")]
    changes += [({"source_sha256": None}, "done"), ({"source_sha256": None, "started": "2001"}, "stale")]
    for change, state in changes:
        write(file)
        write(file.with_suffix(".parquet"))
        known = {key: value for key, value in {**facts, **change}.items() if value is not None}
        file.write_text(json.dumps(known))
        assert Made(made).shard("a", "simulate", 0).state == state, change


def test_the_driver_is_alive_dead_or_was_never_there(plan):
    made = plan()
    (made.folder / ".driver").unlink()
    assert driver_line(made).startswith(
        "no driver yet; start it again: snakemake --cores all --config campaign=steps.yaml"
    )
    with hold(made.folder, "a driver"):
        assert driver_line(made).startswith(f"alive: a driver, process {os.getpid()} on ")
    assert driver_line(made).startswith("no driver since 20")
    script = "import sys, os, pathlib; from gen2reco.campaign.exclusive import hold_until_exit as hold"
    script += "; hold(pathlib.Path(sys.argv[1]))"
    for ending, words in (("; os._exit(1)", "driver not alive since 20"), ("", "no driver since 20")):
        subprocess.run([sys.executable, "-c", script + ending, str(made.folder)], check=not ending)
        assert driver_line(made).startswith(words)


def test_watch_shows_progress_time_left_and_the_end_of_the_log_of_what_failed(plan):
    made = plan()
    make_shard(made, 0)
    log = made.folder / "logs/generate/a-00001.log"
    log.parent.mkdir(parents=True)
    log.write_text("first\nsecond to last\ngen2reco: error: the disk is full\n")
    code, said = command("watch", "steps.yaml")
    assert code == 3 and "1/3" in said and "time left: " in said
    assert "failed: a generate 00001: the disk is full; the end of results/steps/logs/generate/a-00001.log:" in said
    assert "    second to last" in said


def test_a_stopped_driver_says_what_is_kept_and_how_to_go_on(plan, capsys, monkeypatch):
    made = plan()
    make_shard(made, 0)
    monkeypatch.setattr(sys, "argv", ["snakemake", "--cores", "2", "--config", "campaign=a b.yaml"])
    end_driver(made, failed=True)
    said = capsys.readouterr().err
    assert "complete: no, 5 of 6 jobs are left" in said and "kept in results/steps: all 1 finished shards" in said
    assert "go on with: snakemake --cores 2 --config 'campaign=a b.yaml'" in said


def test_the_same_shard_of_two_campaigns_is_made_once(plan):
    first = plan("one")
    facts = [make_shard(first, shard) for shard in range(3)]
    second = plan("two")
    taken = make_shard(second, 1)
    source, own = first.file("a", "generate", 1), second.file("a", "generate", 1)
    assert taken["taken_from"] == str(source) and own.read_bytes() == source.read_bytes()
    assert read_sidecar(own) == taken and taken["cpu_seconds"] == facts[1]["cpu_seconds"]
    assert taken["plan_digest"] == second.lock["digest"] and not own.samefile(source)
    assert Made(second).shard("a", "generate", 1).state == "done"
    assert "taken: a generate: 1 shards, made already in one" in command("status", "two.yaml")[1]
    assert not list(Path("results/two").rglob(".partial"))


@pytest.mark.parametrize("other", ["seed", "events", "place", "damaged", "failed"])
def test_what_is_not_the_same_is_made(plan, other):
    """Another seed; a shorter last shard; a shard of the same number and length at another place; bytes that changed;
    more failed events than the campaign tolerates."""
    first = plan("one", **({"shard_events": 5, "events": 10} if other == "place" else {}))
    shard = 2 if other == "events" else 1
    make_shard(first, shard)
    file = first.file("a", "generate", shard)
    if other == "damaged":
        file.write_bytes(file.read_bytes() + b"x")
    if other == "failed":
        facts = read_sidecar(file)
        sidecar_path(file).write_text(json.dumps({**facts, "events_failed": 1}))
    changed = {"seed": {"seed": 2}, "events": {"events": 30}, "place": {"events": 15}}
    facts = make_shard(plan("two", **changed.get(other, {})), shard)
    assert "taken_from" not in facts and facts["status"] == "ok"
