"""Databases and servers that a sync meets: older and foreign schemas, odd paths, links, proxies, servers that stall."""

import hashlib
import json
import os
import socket
import time

import pytest
import sqlalchemy
from click.testing import CliRunner
from track_campaign import campaign

from gen2reco.commands import track as commands
from gen2reco.errors import InfrastructureError, InputError
from gen2reco.track import server as track_server
from gen2reco.track.address import of_file
from gen2reco.track.database import prepare
from gen2reco.track.sync import sync

SCHEMA_OF_2_22 = "0584bdc529eb"


@pytest.fixture(autouse=True)
def quick(monkeypatch, tmp_path):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "1")
    monkeypatch.chdir(tmp_path)


def small(folder, name="pilot"):
    return campaign(folder, name, shards=1, samples=("photons",))


@pytest.fixture(scope="module")
def old_database(tmp_path_factory):
    """The bytes of an SQLite database as MLflow 2.22 makes it, by Alembic's own steps up to that version."""
    from alembic import command
    from mlflow.store.db import utils

    path = tmp_path_factory.mktemp("old") / "old.db"
    engine = sqlalchemy.create_engine(f"sqlite:///{path}")
    utils.InitialBase.metadata.create_all(engine)
    config = utils._get_alembic_config(str(engine.url))
    with engine.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, SCHEMA_OF_2_22)
    engine.dispose()
    return path.read_bytes()


def test_an_older_database_is_migrated_only_when_that_is_wanted_and_kept(tmp_path, old_database, capfd):
    results, path = small(tmp_path / "results"), tmp_path / "old.db"
    path.write_bytes(old_database)
    for _ in range(2):
        with pytest.raises(
            InputError, match=rf"made by an older MLflow \(schema {SCHEMA_OF_2_22}.*--upgrade"
        ) as caught:
            sync(results, f"sqlite:///{path}")
        assert path.read_bytes() == old_database and "\n" not in str(caught.value)
    earlier = path.with_name(f"old.db.{SCHEMA_OF_2_22}.backup")
    earlier.write_text("an earlier one")
    assert "5 written" in sync(results, f"sqlite:///{path}", upgrade=True)
    copy = path.with_name(f"old.db.{SCHEMA_OF_2_22}.1.backup")
    assert copy.read_bytes() == old_database and copy.name in capfd.readouterr().err
    assert earlier.read_text() == "an earlier one"
    assert "0 written" in sync(results, f"sqlite:///{path}")


@pytest.fixture(scope="module")
def new_database(tmp_path_factory):
    """The bytes of a database of this MLflow."""
    path = tmp_path_factory.mktemp("new") / "mlflow.db"
    prepare(of_file(path))
    return path.read_bytes()


def test_the_embedded_database_is_not_migrated_either(tmp_path, old_database):
    results, path = small(tmp_path / "results"), tmp_path / "results" / "mlflow.db"
    path.write_bytes(old_database)
    with pytest.raises(InputError, match="--upgrade"):
        sync(results)
    with pytest.raises(InputError, match="--upgrade"):
        track_server.serve(results.parent, "127.0.0.1", 1)
    done = CliRunner().invoke(commands.track, ["sync", "results/pilot", "--receipt", "tracked.json"])
    assert done.exit_code == 0 and json.loads((tmp_path / "tracked.json").read_text())["status"] == "waiting"
    assert hashlib.sha256(path.read_bytes()).digest() == hashlib.sha256(old_database).digest()


@pytest.mark.parametrize(
    ("statement", "said"),
    [
        ("update alembic_version set version_num = 'ffffffffffff'", "made by a newer MLflow"),
        ("drop table experiments", "something else than MLflow"),
    ],
)
def test_databases_of_others_are_left_alone(tmp_path, old_database, statement, said):
    results, path = small(tmp_path / "results"), tmp_path / "x.db"
    path.write_bytes(old_database)
    engine = sqlalchemy.create_engine(f"sqlite:///{path}")
    with engine.begin() as connection:
        connection.execute(sqlalchemy.text("pragma foreign_keys = off"))
        connection.execute(sqlalchemy.text(statement))
    engine.dispose()
    before = path.read_bytes()
    for upgrade in (False, True):
        with pytest.raises(InputError, match=said):
            sync(results, f"sqlite:///{path}", upgrade=upgrade)
    assert path.read_bytes() == before


def test_a_path_with_odd_characters_is_one_database_and_no_stray_file(tmp_path):
    odd = tmp_path / "a?b #50% 'ü" / "results"
    results = small(odd)
    assert "5 written" in sync(results)
    assert "0 written" in sync(results, f"sqlite:///{odd}/mlflow.db?timeout=60")
    names = {"pilot", "mlflow.db", "mlflow.db.lock", "mlflow.db.sync.lock", "mlflow.artifacts"}
    assert {path.name for path in odd.iterdir()} == names and [p.name for p in tmp_path.iterdir()] == [odd.parent.name]
    client = track_server.connect(track_server.tracking_address(odd))
    (run,) = client.search_runs(["1"], "tags.`gen2reco.kind` = 'campaign'")
    assert {entry.path for entry in client.list_artifacts(run.info.run_id)} == {"plan", "report"}


@pytest.mark.parametrize("place", ["x.db", "plain/x.db", "pipe.db", "/dev/null", "/proc/x.db", f"{'x' * 300}.db"])
def test_broken_paths_are_one_line(tmp_path, place):
    results = small(tmp_path / "results")
    (tmp_path / "x.db").mkdir()
    (tmp_path / "plain").touch()
    os.mkfifo(tmp_path / "pipe.db")
    before = sorted(tmp_path.iterdir())
    with pytest.raises((InputError, InfrastructureError)) as caught:
        sync(results, f"sqlite:///{place}")
    assert "\n" not in str(caught.value) and "sqlite:///" in str(caught.value)
    assert sorted(tmp_path.iterdir()) == before


@pytest.mark.parametrize("given", ["", "option", "environment"])
def test_the_pages_show_the_database_that_sync_wrote(tmp_path, monkeypatch, given, new_database):
    """Also of a campaign whose folder is a link to another disk, and by an address of one's own."""
    results = small(tmp_path / "disk")
    (tmp_path / "results").mkdir()
    database = tmp_path / ("own.db" if given else "results/mlflow.db")
    database.write_bytes(new_database)
    (tmp_path / "results" / "pilot").symlink_to(results)
    uri = ["--uri", "sqlite:///own.db"] if given == "option" else []
    if given == "environment":
        monkeypatch.setenv("MLFLOW_TRACKING_URI", "sqlite:///own.db")
    started = []
    monkeypatch.setattr(os, "execve", lambda *command: started.append(command))
    for arguments in (["sync", "results/pilot"], ["ui"]):
        assert CliRunner().invoke(commands.track, [*arguments, *uri]).exception is None
    ((_, command, environment),) = started
    opened = environment["MLFLOW_BACKEND_STORE_URI"]
    assert opened == f"sqlite:///{database}" and opened not in command
    assert database.read_bytes() != new_database
    assert (tmp_path / "results/mlflow.artifacts").is_dir() and not (tmp_path / "disk/mlflow.artifacts").exists()


def test_a_server_that_stalls_holds_up_no_campaign(tmp_path, monkeypatch):
    results = small(tmp_path / "results")
    silent = socket.create_server(("127.0.0.1", 0))
    left = []
    monkeypatch.setattr(commands, "PATIENCE", 0.5)
    monkeypatch.setattr("gen2reco.run.runner.leave", left.append)
    monkeypatch.setattr(track_server, "reachable", lambda *_: True)
    arguments = ["sync", str(results), "--uri", f"http://127.0.0.1:{silent.getsockname()[1]}", "--receipt", "t.json"]
    started = time.monotonic()
    done = CliRunner().invoke(commands.track, arguments)
    silent.close()
    assert done.exception is None and left == [0] and time.monotonic() - started < 10
    receipt = json.loads((tmp_path / "t.json").read_text())
    assert receipt["status"] == "waiting" and "longer than 0.5 s" in receipt["message"]


def test_whatever_breaks_in_tracking_is_a_warning_of_the_campaign(tmp_path, monkeypatch):
    def broken(*_):
        raise KeyError("hunter2")

    monkeypatch.setattr("gen2reco.track.sync.campaign_runs", broken)
    done = CliRunner().invoke(commands.track, ["sync", str(small(tmp_path / "results")), "--receipt", "t.json"])
    assert done.exception is None and "hunter2" not in done.output
    assert json.loads((tmp_path / "t.json").read_text())["message"] == "broke off: KeyError"
