"""Files in and out: regular ones only, the whole of them or none, on the disk before a rename says so."""

import json
import os
import signal
import socket
from pathlib import Path

import pytest

from gen2reco import files as files
from gen2reco.commands.validate import _folder
from gen2reco.errors import InfrastructureError, InputError
from gen2reco.files import check_folder, check_output, new_folder, read_text, regular_file, whole


@pytest.fixture
def odd(tmp_path):
    """A file of each kind that is no regular one, by name; each is looked at again at the end."""
    made = {"folder": tmp_path / "folder", "pipe": tmp_path / "pipe", "socket": tmp_path / "socket"}
    made["folder"].mkdir()
    os.mkfifo(made["pipe"])
    with socket.socket(socket.AF_UNIX) as server:
        server.bind(str(made["socket"]))
    made |= {"null": Path("/dev/null"), "zero": Path("/dev/zero")}
    for name in list(made):
        made[f"link to {name}"] = tmp_path / f"link_{name}"
        made[f"link to {name}"].symlink_to(made[name])
    made["loop"] = tmp_path / "loop"
    made["loop"].symlink_to(made["loop"])
    kinds = {name: path.lstat().st_mode for name, path in made.items()}
    yield made
    assert {name: path.lstat().st_mode for name, path in made.items()} == kinds


ODD = [f"{link}{kind}" for link in ("", "link to ") for kind in ("folder", "pipe", "socket", "null", "zero")] + ["loop"]


@pytest.mark.parametrize("kind", ODD)
@pytest.mark.parametrize("use", [regular_file, read_text, check_output, lambda path: whole(path).__enter__()])
def test_only_regular_files_are_read_and_replaced(odd, kind, use):
    with pytest.raises(InputError) as error:
        use(odd[kind])
    assert str(odd[kind]) in str(error.value) and "\n" not in str(error.value)


@pytest.mark.parametrize("name", ["missing", "x" * 300, "nul\0l", "file/below"])
def test_names_that_hold_no_file_are_one_line(tmp_path, name):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match=r"no such file|cannot be read"):
        read_text(f"{tmp_path}/{name}")


def test_a_link_to_a_regular_file_is_one(tmp_path):
    (tmp_path / "file").write_text("text")
    (tmp_path / "link").symlink_to("file")
    assert read_text(tmp_path / "link") == "text"
    check_output(tmp_path / "link")


def test_texts_are_bounded_and_utf8(tmp_path):
    (tmp_path / "large").write_bytes(b"x" * 101)
    (tmp_path / "latin").write_bytes(b"\xe9")
    with pytest.raises(InputError, match="small text file"):
        read_text(tmp_path / "large", limit=100)
    with pytest.raises(InputError, match="as text"):
        read_text(tmp_path / "latin")


OWN = ("status", "sha256")


@pytest.mark.parametrize(
    ("content", "own", "problem"),
    [
        (None, (), "ends in `.json`"),
        (None, OWN, None),
        ('{"status": 1, "sha256": 2, "more": 3}', OWN, None),
        ('[{"status": 1, "sha256": 2}]', OWN, None),
        ('{"name": "package"}', OWN, "no file of gen2reco"),
        ("[]", OWN, "no file of gen2reco"),
        ("not json", OWN, "no file of gen2reco"),
        ("[" * 100_000, OWN, "no file of gen2reco"),
        ("", OWN, "no file of gen2reco"),
    ],
)
@pytest.mark.parametrize("suffix", [".json", ".JSON"])
def test_a_json_is_replaced_only_where_it_is_ours(tmp_path, content, own, problem, suffix):
    path = tmp_path / f"facts{suffix}"
    if content is not None:
        path.write_text(content)
    if problem is None:
        return check_output(path, own)
    with pytest.raises(InputError, match=problem):
        check_output(path, own)


def test_a_folder_is_expected_where_files_go(tmp_path, odd):
    check_folder(tmp_path)
    check_folder(tmp_path / "new")
    for kind in ("pipe", "null", "link to zero"):
        with pytest.raises(InputError, match="is no folder"):
            check_folder(odd[kind])


@pytest.mark.parametrize("number", [signal.SIGKILL, signal.SIGTERM, None])
def test_a_write_that_is_killed_inside_leaves_the_old_file_whole(tmp_path, number):
    path = tmp_path / "out.json"
    path.write_text("old")
    if (child := os.fork()) == 0:
        try:
            with whole(path) as temporary:
                temporary.write_text("half")
                os.kill(os.getpid(), number) if number else 1 / 0
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    assert path.read_text() == "old"
    if number is None:
        assert [p.name for p in tmp_path.iterdir()] == ["out.json"]


def test_data_are_on_the_disk_before_the_rename_and_the_name_after(tmp_path, monkeypatch):
    path, told = tmp_path / "out", []
    sync, rename = os.fsync, Path.replace

    def fsync(number):
        told.append(Path(f"/proc/self/fd/{number}").readlink())
        sync(number)

    def replace(self, target):
        told.append("rename")
        rename(self, target)

    monkeypatch.setattr(files.os, "fsync", fsync)
    monkeypatch.setattr(Path, "replace", replace)
    with whole(path) as temporary:
        temporary.write_text("text")
    assert told == [temporary, "rename", tmp_path] and json.dumps(path.read_text()) == '"text"'


def test_a_folder_that_refuses_is_the_machine_s_fault(tmp_path):
    with (
        pytest.raises(InfrastructureError, match="missing/out: cannot be written: No such file"),
        whole(tmp_path / "missing/out") as temporary,
    ):
        temporary.write_text("text")


def test_a_new_folder_is_never_one_that_something_has(tmp_path):
    (tmp_path / "a_2").touch()
    assert [new_folder(tmp_path / "a").name for _ in range(3)] == ["a", "a_3", "a_4"]
    with pytest.raises(InfrastructureError, match="cannot be made: Not a directory"):
        new_folder(tmp_path / "a_2/b")


def test_a_report_without_a_name_gets_a_folder_of_its_own(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for wanted in ("validation_hits_my_run", "validation_hits_my_run_2"):
        with _folder(None, [Path("x/hits.parquet"), Path("my run")]) as folder:
            assert folder == Path(wanted) and folder.is_dir()
            (folder / "report.html").touch()
    with pytest.raises(InputError), _folder(None, [Path("bad")]) as folder:
        raise InputError("nothing written")
    assert not folder.exists()
