"""One process at a time changes a campaign: commands against a campaign that another process holds, and jobs of a plan
that was made anew meanwhile."""

import fcntl
import json
import os
import shutil
from pathlib import Path
from types import SimpleNamespace

import pytest
import yaml
from click.testing import CliRunner

from gen2reco.batch.driver import campaign_of, guard, plan_of, plan_of_workflow
from gen2reco.batch.status import failed_files, verify_sample
from gen2reco.campaign.exclusive import hold, hold_until_exit
from gen2reco.campaign.job import planned_job
from gen2reco.campaign.plan import VARIABLE, ensure_plan, job_plan, make_plan
from gen2reco.campaign.plan_lock import checksum, write_lock
from gen2reco.cli import cli
from gen2reco.errors import InfrastructureError, InputError
from gen2reco.run.runner import run
from gen2reco.validate.samples import open_sample


@pytest.fixture
def campaign(tmp_path, repository, monkeypatch):
    """The tiny campaign of the cases, planned, its first shard made; returns a function that changes its file."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv(VARIABLE, raising=False)
    shutil.copy(repository / "tests/data/cases/yaml/gun.yaml", tmp_path)
    text = (repository / "tests/data/cases/yaml/tiny.yaml").read_text()
    data = yaml.safe_load(text.replace("DETECTOR", str(repository / "configs/detectors/hgcal.yaml")))

    def write(**changes):
        sample = {**data["samples"]["a"], **changes.pop("a", {})}
        (tmp_path / "tiny.yaml").write_text(yaml.safe_dump({**data, **changes, "samples": {"a": sample}}))
        return "tiny.yaml"

    make_plan(write())
    make(0)
    return write


def job(shard):
    output = f"results/tiny/a/generate/{shard:05d}.parquet"
    return planned_job("results/tiny/plan.lock.json", "generate", "a", shard, output, None, 1)


def make(shard):
    Path("results/tiny/a/generate").mkdir(parents=True, exist_ok=True)
    return run(job(shard))


@pytest.fixture
def held(campaign):
    """The campaign while another process holds it: the lock is of an open file, so this process may play both."""
    with Path("results/tiny/.driver").open("a+b") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        signed = {"what": "a driver", "process": os.getpid(), "host": os.uname().nodename, "since": "today"}
        file.write(json.dumps(signed).encode())
        file.flush()
        yield campaign


def state(folder):
    return {
        path: (path.stat().st_mtime_ns, path.stat().st_size)
        for path in sorted(folder.rglob("*"))
        if path.is_file() and path.name != ".driver"
    }


COMMANDS = {
    "plan": ({}, ["plan", "tiny.yaml"]),
    "plan of more events": ({"a": {"events": 50}}, ["plan", "tiny.yaml"]),
    "a new revision": ({"seed": 9}, ["plan", "--new-revision", "tiny.yaml"]),
    "recover": ({}, ["recover", "tiny.yaml"]),
    "submit": ({}, ["submit", "tiny.yaml", "--profile", "default", "--driver", "detached"]),
    "submit of more events": (
        {"a": {"events": 50}},
        ["submit", "tiny.yaml", "--profile", "default", "--driver", "here"],
    ),
}


@pytest.mark.parametrize("command", COMMANDS)
def test_a_held_campaign_is_left_alone_and_its_holder_named(held, tmp_path, monkeypatch, command):
    monkeypatch.setattr("gen2reco.batch.driver.run_snakemake", lambda *_: pytest.fail("Snakemake was started"))
    changes, arguments = COMMANDS[command]
    held(**changes)
    sidecar = tmp_path / "results/tiny/a/generate/00000.json"
    sidecar.write_text(sidecar.read_text().replace('"ok"', '"failed"'))
    before = state(tmp_path)
    error = CliRunner().invoke(cli, arguments).exception
    assert isinstance(error, InfrastructureError) and "\n" not in str(error)
    assert f"a driver (process {os.getpid()} on " in str(error) and "holds this campaign" in str(error)
    assert state(tmp_path) == before


def test_what_only_looks_needs_no_hold(held, tmp_path):
    before = state(tmp_path)
    assert ensure_plan("tiny.yaml").folder.name == "tiny"
    assert plan_of("tiny.yaml", driver=True).folder.name == "tiny"
    assert CliRunner().invoke(cli, ["status", "tiny.yaml"]).exit_code == 3
    assert CliRunner().invoke(cli, ["check", "tiny.yaml"]).exit_code == 0
    assert state(tmp_path) == before


class Workflow:
    """Snakemake's workflow, as far as it is guarded."""

    def __init__(self):
        self.done = []

    def execute(self, executor_plugin=None):
        self.done.append("execute")

    def delete_output(self, only_temp=False, dryrun=False):
        self.done.append("delete_output")

    def unlock(self):
        self.done.append("unlock")

    cleanup_metadata = cleanup_shadow = unlock


def plugin(dry):
    return SimpleNamespace(common_settings=SimpleNamespace(dryrun_exec=dry))


@pytest.mark.parametrize(
    ("change", "given", "changes"),
    [
        ("execute", {"executor_plugin": plugin(False)}, True),
        ("execute", {"executor_plugin": plugin(True)}, False),
        ("delete_output", {"only_temp": True}, True),
        ("delete_output", {"dryrun": True}, False),
        ("unlock", {}, True),
        ("cleanup_metadata", {}, True),
    ],
)
def test_snakemake_holds_a_campaign_before_it_changes_it(held, capsys, change, given, changes):
    workflow = Workflow()
    guard(workflow, plan_of("tiny.yaml", driver=True))
    if not changes:
        getattr(workflow, change)(**given)
        assert workflow.done == [change]
        return
    with pytest.raises(SystemExit) as caught:
        getattr(workflow, change)(**given)
    assert caught.value.code == 75 and workflow.done == []
    assert capsys.readouterr().err.count("\n") == 1


def test_a_driver_waits_for_who_only_plans(campaign, tmp_path, monkeypatch):
    folder = tmp_path / "results/tiny"
    waits = []

    def passes(seconds):
        waits.append(seconds)
        os.close(fd)

    fd = os.open(folder / ".driver", os.O_RDWR | os.O_TRUNC)
    fcntl.flock(fd, fcntl.LOCK_EX)
    os.write(fd, json.dumps({"what": "planning", "process": 1, "host": "elsewhere", "since": "now"}).encode())
    monkeypatch.setattr("gen2reco.campaign.exclusive.time.sleep", passes)
    monkeypatch.setattr("gen2reco.campaign.exclusive._held", {})
    hold_until_exit(folder)
    assert len(waits) == 1


def test_a_driver_of_a_plan_made_anew_meanwhile_does_not_start(campaign, monkeypatch, capsys):
    monkeypatch.setattr("gen2reco.campaign.exclusive._held", {})
    workflow = Workflow()
    guard(workflow, plan_of("tiny.yaml", driver=True))
    make_plan(campaign(a={"events": 50}))
    with pytest.raises(SystemExit):
        workflow.execute(executor_plugin=plugin(False))
    assert "was planned anew just now" in capsys.readouterr().err and workflow.done == []


def test_a_failed_plan_leaves_nothing(campaign, tmp_path):
    with pytest.raises(InputError), hold(tmp_path / "results2/other", "planning"):
        raise InputError("no")
    assert not (tmp_path / "results2").exists()


def test_a_job_of_another_plan_than_its_driver_s_is_refused(campaign, monkeypatch):
    plan = ensure_plan("tiny.yaml")
    monkeypatch.setenv(VARIABLE, f"tiny:{plan.lock['digest']}")
    assert job_plan("results/tiny/plan.lock.json") == plan
    make_plan(campaign(a={"events": 50}))
    with pytest.raises(InfrastructureError, match="planned anew since the driver of this job started"):
        job(0)
    monkeypatch.setenv(VARIABLE, "other:0")
    assert job(0)


@pytest.mark.parametrize(("changes", "kept"), [({"a": {"events": 50}}, True), ({"seed": 9}, False)])
def test_a_job_that_ends_after_a_new_plan_puts_no_file_of_the_old_one_there(campaign, tmp_path, changes, kept):
    late = job(1)
    make_plan(campaign(**changes), new_revision=True)
    if kept:
        assert run(late)["status"] == "ok"
        return
    with pytest.raises(InfrastructureError, match="planned anew while this job ran"):
        run(late)
    assert not (tmp_path / "results/tiny/a/generate/00001.parquet").exists()


def test_files_of_another_configuration_are_refused_and_made_again(campaign, tmp_path):
    make(1)
    assert verify_sample(ensure_plan("tiny.yaml"), "a")["shards"] == 2
    plan, _ = make_plan(campaign(seed=9), new_revision=True)
    with pytest.raises(InputError, match=r"00000.parquet: its sidecar has `config_digest`"):
        verify_sample(plan, "a")
    assert failed_files(plan)[0] == [f"results/tiny/a/generate/0000{n}.parquet" for n in (0, 1)]
    make(0)
    make(1)
    assert verify_sample(plan, "a")["failed"] == 0
    for suffix in ("parquet", "json"):
        shutil.copy(
            tmp_path / f"results/tiny/a/generate/00000.{suffix}", tmp_path / f"results/tiny/a/generate/00001.{suffix}"
        )
    with pytest.raises(InputError, match=r"00001.parquet: its sidecar has `shard` = 0, the plan 1"):
        verify_sample(plan, "a")


@pytest.mark.parametrize("count", ["events_in", "events_out"])
def test_counts_that_are_not_the_file_s_are_refused(campaign, tmp_path, count):
    make(1)
    path = tmp_path / "results/tiny/a/generate/00001.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), count: 99}))
    with pytest.raises(InputError, match=r"00001\.parquet: .*99"):
        verify_sample(ensure_plan("tiny.yaml"), "a")


def test_a_sample_that_the_plan_does_not_know(campaign):
    with pytest.raises(InputError, match=r"results/tiny: no sample `\.\./a`; known: a"):
        verify_sample(ensure_plan("tiny.yaml"), "../a")


def test_files_of_an_earlier_plan_take_no_part_in_a_comparison(campaign, capsys):
    make(1)
    assert len(open_sample("results/tiny/a").shards["particles"]) == 2
    make_plan(campaign(a={"events": 10}), new_revision=True)
    assert len(open_sample("results/tiny/a").shards["particles"]) == 1
    assert "results/tiny/a/generate: 1 files of an earlier plan are left out" in capsys.readouterr().err


def test_a_release_with_another_version_of_a_backend_makes_nothing(campaign):
    plan = ensure_plan("tiny.yaml")
    plan.samples["a"]["stages"]["generate"]["version"] = 99
    write_lock(plan.folder / "plan.lock.json", {**plan.lock, "checksum": checksum(plan.lock)})
    with pytest.raises(InputError, match=r"a\.generate was planned with version 99 of `gun`, this release"):
        job(0)


def test_a_job_takes_the_plan_of_its_driver_whatever_the_campaign_file_says_by_now(campaign, tmp_path, monkeypatch):
    plan = ensure_plan("tiny.yaml")
    monkeypatch.setenv(VARIABLE, f"tiny:{plan.lock['digest']}")
    (tmp_path / "tiny.yaml").write_text("name: [")
    given = settings({"campaign": "tiny.yaml"})
    assert plan_of_workflow(SimpleNamespace(is_main_process=False, config_settings=given)) == plan
    with pytest.raises(InputError, match="not valid YAML"):
        plan_of_workflow(SimpleNamespace(is_main_process=True, config_settings=given))


def settings(config=(), files=(), args=()):
    return SimpleNamespace(config=dict(config), configfiles=list(files), config_args=list(args))


def test_the_campaign_that_snakemake_was_given(campaign, tmp_path):
    (tmp_path / "set.yaml").write_text("campaign: tiny.yaml\n")
    (tmp_path / "a #b.yaml").write_text("x: 1\n")
    assert campaign_of(settings()).endswith("quickstart.yaml")
    assert campaign_of(settings({"campaign": "x.yaml"})) == "x.yaml"
    assert campaign_of(settings(files=[tmp_path / "set.yaml"])) == "tiny.yaml"
    assert campaign_of(settings(files=[tmp_path / "tiny.yaml"])) == "tiny.yaml"
    assert campaign_of(settings({"campaign": "x.yaml"}, [tmp_path / "set.yaml"])) == "x.yaml"
    assert campaign_of(settings({"campaign": "a"}, args=["campaign=a #b.yaml"])) == "a #b.yaml"
    with pytest.raises(InputError, match="name several campaigns"):
        campaign_of(settings({"campaign": "b"}, args=["campaign=a", "campaign=b"]))


@pytest.mark.parametrize(
    ("config", "files", "message"),
    [
        ({"campain": "tiny.yaml"}, [], "--config: unknown key `campain`; did you mean `campaign`?"),
        ({"campaign": "tiny.yaml", "seed": 3}, [], "--config: unknown key `seed`; the only one is `campaign`"),
        ({}, ["set.yaml"], "unknown key `seed`"),
        ({"campaign": "x.yaml"}, ["tiny.yaml"], "name several campaigns"),
        ({}, ["tiny.yaml", "tiny.yaml"], "name several campaigns"),
        ({}, ["none.yaml"], "no such file"),
        ({}, ["misspelt.yaml"], "unknown key `campain`; did you mean `campaign`?"),
        ({"campaign": None}, [], "without a file"),
    ],
)
def test_anything_else_in_snakemake_s_configuration_is_refused(campaign, tmp_path, config, files, message):
    (tmp_path / "set.yaml").write_text("campaign: tiny.yaml\nseed: 3\n")
    (tmp_path / "misspelt.yaml").write_text("campain: tiny.yaml\n")
    with pytest.raises(InputError) as caught:
        campaign_of(settings(config, [tmp_path / file for file in files]))
    assert message in str(caught.value)
