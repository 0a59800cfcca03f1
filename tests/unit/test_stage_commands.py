"""Stages from the command line: outputs that may not be replaced, failures with their reason, one line each."""

import json
import os
import re
import socket
import subprocess
import sys
from pathlib import Path

import pytest
import yaml
from toys import Hits, Inline, job

from gen2reco import cli
from gen2reco.commands import stages
from gen2reco.errors import InputError
from gen2reco.events import records
from gen2reco.run.runner import run
from gen2reco.run.sidecar import read_sidecar
from gen2reco.run.stage import Result, failure_reasons


@pytest.fixture
def command(monkeypatch, capsys, tmp_path):
    """Run a command in this process; returns (exit code, what it said on standard error)."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(cli, "_leave", sys.exit)  # which ends at once where another test has loaded Geant4

    def call(*words):
        monkeypatch.setattr(sys, "argv", ["gen2reco", *map(str, words)])
        with pytest.raises(SystemExit) as left:
            cli.main()
        return left.value.code, capsys.readouterr().err

    return call


@pytest.fixture
def gun(tmp_path):
    """A process file of single photons."""
    path = tmp_path / "gun.yaml"
    path.write_text(yaml.safe_dump({"kind": "gun", "species": [22], "energy": [5.0, 50.0]}))
    return path


class Lossy(Inline):
    """Loses the first event of each chunk."""

    def run(self, chunk, events):
        result = super().run(chunk, events)
        return Result(
            result.table.slice(1), {**result.info, "failure_reasons": {f"code {chunk.index % 2}\n unknown": 1}}
        )

    def notices(self, facts):
        return [f"{facts['made']} events by the toy,\nwhich is no physics"]


def test_a_stage_by_hand_that_fails_says_why_and_the_next_refuses_its_output(command, monkeypatch, tmp_path):
    backends = {"generate": Lossy, "simulate": Hits}
    monkeypatch.setattr(stages, "make_backend", lambda stage, *_: backends[stage](backends[stage].Options()))
    code, said = command("generate", "p.parquet", "--events", 10)
    reasons = "4 of 10 events cannot be processed: code 0 unknown (2); code 1 unknown (2)"
    assert code == 2 and said.endswith(f"error: p.parquet: written empty: {reasons}; mend the input and run it again\n")
    assert "\n10 events by the toy, which is no physics\n" in said and said.count("cannot be processed") == 1
    facts = read_sidecar(tmp_path / "p.parquet")
    assert [facts[name] for name in ("status", "events_in", "events_out", "events_failed")] == ["failed", 10, 0, 4]
    assert facts["failure_reasons"] == {"code 0 unknown": 2, "code 1 unknown": 2}
    assert records.read("p.parquet", "particles").num_rows == 0
    for words in (("simulate", "p.parquet", "h.parquet"), ("publish", "p.parquet", "p.hepmc")):
        code, said = command(*words)
        assert code == 2 and f"p.parquet: its status is `failed`: {reasons}" in said and "Traceback" not in said
    assert command("publish", "--planned", "p.parquet", "p.hepmc")[0] == 0
    assert sorted(p.name for p in tmp_path.iterdir()) == ["p.hepmc", "p.json", "p.parquet"]


def test_reasons_are_bounded():
    infos = [{"failure_reasons": {f"reason {i} {'x' * 999}": i}} for i in range(1, 31)]
    found = failure_reasons([*infos, {}])
    assert len(found) == 21 and found["other reasons"] == sum(range(1, 11)) and max(map(len, found)) == 300
    assert next(iter(found.values())) == 30


def test_an_event_file_that_pythia_cannot_shower_names_the_code(command, repository):
    code, said = command(
        "generate", "u.parquet", "--backend", "lhe", "--process", repository / "tests/data/cases/lhe/unknown.lhe",
        "--events", 1,
    )  # fmt: skip
    assert code == 2 and "9000005" in said


def blocked(name):
    """Put something at `out.parquet`, or its sidecar, that is not to be replaced; returns the output."""
    path = Path("out.parquet")
    if name == "pipe":
        os.mkfifo(path)
    elif name == "socket":
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(str(path))
    elif name == "folder":
        path.mkdir()
    elif name == "device":
        path = Path(os.ttyname(os.openpty()[1]))
    elif name == "link to a device":
        path.symlink_to(os.ttyname(os.openpty()[1]))
    elif name == "link to a folder":
        path.symlink_to("/tmp")
    elif name == "broken link":
        path.symlink_to("/nowhere/out.parquet")
    elif name == "sidecar":
        path.with_suffix(".json").write_text('{"name": "not ours"}')
    elif name == "sidecar folder":
        path.with_suffix(".json").mkdir()
    else:
        path = Path(name)
    return path


OUTPUTS = ["device", "pipe", "socket", "folder", "link to a device", "link to a folder"]
OUTPUTS += ["broken link", "sidecar", "sidecar folder", "out.json", "out.JSON", ".", "/", "", "x" * 300, "gun.yaml"]


@pytest.mark.parametrize("name", OUTPUTS)
def test_outputs_that_may_not_be_replaced_are_one_line(command, gun, tmp_path, name):
    output = blocked(name)
    before = {path: path.lstat() for path in tmp_path.rglob("*")}
    code, said = command("generate", output, "--process", gun, "--events", 5)
    error = said[said.index("gen2reco: error: ") :]
    assert code == 2 and error.count("\n") == 1 and "Traceback" not in said
    after = {path: path.lstat() for path in tmp_path.rglob("*")}
    assert {p: (s.st_mode, s.st_ino) for p, s in before.items()} == {p: (s.st_mode, s.st_ino) for p, s in after.items()}


@pytest.mark.parametrize("events", [10**12, 10**20])
def test_events_without_end_are_one_line(command, gun, events):
    code, said = command("generate", "out.parquet", "--process", gun, "--events", events)
    assert code == 2 and "chunks; expected at most 1000000" in said and not Path(".partial").exists()


def test_our_own_files_and_links_to_files_are_replaced(command, gun, tmp_path):
    for _ in range(2):
        assert command("generate", "out.parquet", "--process", gun, "--events", 5)[0] == 0
    (tmp_path / "link.parquet").symlink_to("out.parquet")
    (tmp_path / "new.parquet").symlink_to("made.parquet")
    for name in ("link.parquet", "new.parquet"):
        assert command("generate", name, "--process", gun, "--events", 6)[0] == 0
        assert (tmp_path / name).is_symlink() and records.read(name, "particles").num_rows == 6


def test_a_small_stage_loads_neither_pandas_nor_torch(gun, tmp_path):
    code = f"""
import sys
from gen2reco import cli
sys.argv = ["gen2reco", "generate", "out.parquet", "--process", {str(gun)!r}, "--events", "5"]
try:
    cli.main()
except SystemExit as left:
    print(left.code, {{"pandas", "torch", "mlflow", "numba"}} & {{*sys.modules}})
"""
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True)
    assert done.stdout == "0 set()\n", done.stderr


WRITERS = {
    "publish": ("publish", "p.parquet", "OUT"),
    "validate": ("validate", "p.parquet", "--out", "OUT"),
    "tune": ("tune", "cluster", "p.parquet", "--output", "OUT"),
    "export-model": ("export-model", "model", "OUT"),
    "verify": ("verify", "plan.lock.json", "sample", "OUT"),
    "docs": ("docs", "OUT"),
    "train": ("train", "showers", "data", "OUT"),
    "calibration": ("train", "calibration", "data", "OUT"),
    "receipt": ("track", "sync", "results", "--receipt", "OUT"),
    "export": ("export", "results", "OUT"),
}
FOLDERS = ("validate", "docs", "train", "calibration", "export")


@pytest.mark.parametrize("name", WRITERS)
def test_every_command_that_writes_keeps_off_devices_and_pipes(command, tmp_path, name):
    run(job(tmp_path, Inline))
    (tmp_path / "out.parquet").rename(tmp_path / "p.parquet")
    odd = [blocked("device"), blocked("pipe")] + ([] if name in FOLDERS else [tmp_path])
    for output in odd:
        kind = output.lstat().st_mode
        code, said = command(*(output if word == "OUT" else word for word in WRITERS[name]))
        error = said[said.index("gen2reco: error: ") :]
        assert code == 2 and error.count("\n") == 1 and output.lstat().st_mode == kind
        assert name == "export" or str(output) in error


@pytest.mark.parametrize(
    ("name", "file"),
    [
        ("verify", "out.json"),
        ("receipt", "out.json"),
        ("tune", "out.json"),
        ("publish", "out.json"),
        ("export-model", "out.json"),
        ("validate", "out.json/metrics.json"),
        ("docs", "out.json/campaign.schema.json"),
        ("train", "out.json/config.json"),
        ("calibration", "out.json/jets/evaluation.json"),
    ],
)
def test_no_command_overwrites_a_json_that_is_not_its_own(command, tmp_path, name, file):
    run(job(tmp_path, Inline))
    (tmp_path / "out.parquet").rename(tmp_path / "p.parquet")
    (tmp_path / "out.json").unlink()
    path = tmp_path / file
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text('{"name": "theirs", "version": 1}')
    code, said = command(*("out.json" if word == "OUT" else word for word in WRITERS[name]))
    assert code == 2 and "gen2reco: error: " in said and "Traceback" not in said
    assert json.loads(path.read_text())["name"] == "theirs"


def test_ctrl_c_in_a_terminal_is_one_line(tmp_path, repository):
    words = ["generate", "out.parquet", "--process", repository / "configs/processes/pp_dijet_endcap.yaml"]
    code = f"""
import os, signal, sys
signal.signal(signal.SIGINT, signal.default_int_handler)  # ignored where the tests run in the background
from gen2reco import cli
from gen2reco.run import forks
start = forks._start
def started(make, chunk):
    if chunk.index == 1:
        os.killpg(0, signal.SIGINT)
    return start(make, chunk)
forks._start = started
sys.argv = ["gen2reco", *{list(map(str, words))}, "--workers", "2", "--events", "100", "--chunk-events", "50"]
cli.main()
"""
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, start_new_session=True, timeout=60
    )
    assert done.returncode == 130 and done.stderr.splitlines()[1:] == ["", "gen2reco: interrupted"]
    assert not list(tmp_path.iterdir())


READERS = {
    "process": ("generate", "x.parquet", "--process", "IN.yaml"),
    "card": ("generate", "x.parquet", "--process", "IN.cmnd"),
    "lhe": ("generate", "x.parquet", "--process", "IN.lhe"),
    "lhe.gz": ("generate", "x.parquet", "--process", "IN.lhe.gz"),
    "hepmc": ("generate", "x.parquet", "--process", "IN.hepmc"),
    "file of a process": ("generate", "x.parquet", "--process", "lhe.yaml"),
    "record": ("cluster", "IN.parquet", "x.parquet"),
    "detector": ("generate", "x.parquet", "--process", "gun.yaml", "--detector", "IN.yaml"),
    "show": ("show", "IN.parquet"),
    "publish": ("publish", "IN.parquet", "x.root"),
    "validate": ("validate", "IN.parquet"),
    "settings": ("validate", "gun.parquet", "--settings", "IN.yaml"),
    "check": ("check", "IN.yaml"),
    "plan": ("plan", "IN.yaml"),
    "lock": ("verify", "IN.json", "sample", "x.json"),
    "planned": ("generate", "x.parquet", "--plan", "IN.json", "--sample", "a", "--shard", "0"),
    "recipe": ("train", "fused", "data", "model", "--model", "IN.yaml"),
    "tune": ("tune", "cluster", "IN.parquet", "--output", "x.yaml"),
}


@pytest.mark.timeout(60)
@pytest.mark.parametrize("kind", ["device", "pipe", "link to a device"])
@pytest.mark.parametrize("name", READERS)
def test_every_reader_refuses_what_may_never_end(command, gun, tmp_path, name, kind):
    """A pipe that nobody writes to, or a device: one line in bounded time, and nothing left behind."""
    run(job(tmp_path, Inline))
    (tmp_path / "out.parquet").rename(tmp_path / "gun.parquet")
    (tmp_path / "out.json").unlink()
    words = READERS[name]
    suffix = next((word[2:] for word in words if word.startswith("IN")), ".lhe")
    source = blocked(kind)
    if kind != "device":
        source = source.rename(tmp_path / f"IN{suffix}")
    else:
        (tmp_path / f"IN{suffix}").symlink_to("/dev/zero")
    (tmp_path / "lhe.yaml").write_text("{kind: lhe, file: IN.lhe}")
    before = sorted(path.name for path in tmp_path.iterdir())
    code, said = command(*words)
    assert code == 2 and "Traceback" not in said
    assert said[said.index("gen2reco: error: ") :].count("\n") == 1
    assert sorted(path.name for path in tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("options", "problem"),
    [
        (["process"], "expected KEY=VALUE"),
        (["a.b=1", "a=2"], "`a` is given twice"),
        (["a=1", "a.b=2"], "`a` has a value already"),
        (["a.b=1", "a.b=1"], "`a.b` is given twice"),
        (["a={b: 1, b: 2}"], "b"),
        (["a=0100"], "0100"),
        (["a=10:00"], "10:00"),
        ([f"{'a.' * 5000}b=1"], "at most 10 blocks"),
        ([f"a={'[' * 5000}"], "deep"),
        (["a=" + "[" * 60 + "]" * 60], "deep"),
        (["a=!!python/object/apply:os.system [ls]"], "python"),
        (["=1"], "unknown key"),
        (["energy=.nan"], "unknown key|energy"),
    ],
)
def test_options_are_read_as_strictly_as_files(command, gun, tmp_path, options, problem):
    given = [word for option in options for word in ("--option", option)]
    code, said = command("generate", "x.parquet", "--backend", "gun", "--process", gun, *given)
    error = said[said.index("gen2reco: error: ") :]
    assert code == 2 and error.count("\n") == 1 and re.search(problem, error) and len(error) < 500
    assert not (tmp_path / "x.parquet").exists()


def test_options_of_events_in_and_out_may_not_be_one_file(tmp_path):
    with pytest.raises(InputError, match="input and output are the same file"):
        stages._check_apart(tmp_path / "a", None, tmp_path / "b", f"{tmp_path}/../{tmp_path.name}/a")
