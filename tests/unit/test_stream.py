"""Event files of text: regular, bounded in header, event and expansion, indexed in a time linear in their size."""

import gzip
import os
import re
import time

import pytest

from gen2reco.errors import InputError
from gen2reco.events import event_files
from gen2reco.events.event_files import index_events

EVENT = re.compile(rb"^E ", re.MULTILINE)


def file_of(tmp_path, content, name="events.txt"):
    path = tmp_path / name
    path.write_bytes(content)
    return path


def test_header_and_events_are_found(tmp_path):
    for name, content in (("plain", b"head\nE 1\nE 22\nend"), ("packed", gzip.compress(b"head\nE 1\nE 22\nend"))):
        file = index_events(file_of(tmp_path, content, name), EVENT, footer=b"end")
        assert (file.header(), len(file), file.events(0, 1), file.events(1, 2)) == (b"head\n", 2, b"E 1\n", b"E 22\n")


@pytest.mark.parametrize(
    ("content", "problem"),
    [
        (b"", "empty file"),
        (b"h" * 101 + b"\nE 1\n", "header of 0 MiB"),
        (b"h" * 101, "header of 0 MiB"),
        (b"E 1\nE " + b"2" * 1001 + b"\nE 3\n", r"event 1 \(counted from 0\) of 0 MiB"),
        (b"E 1\nE " + b"2" * 1001, r"event 1 \(counted from 0\) of 0 MiB"),
        (gzip.compress(b"E 1\n" + b"0" * 3000), "expands to over"),
        (gzip.compress(b"E 1\n")[:-4], "cut off"),
    ],
)
def test_files_without_bound_are_one_line(tmp_path, monkeypatch, content, problem):
    for name, limit in {"MAX_HEADER": 100, "MAX_EVENT": 1000, "SMALL": 2000, "MAX_EXPANSION": 10}.items():
        monkeypatch.setattr(event_files, name, limit)
    path = file_of(tmp_path, content)
    with pytest.raises(InputError, match=problem) as caught:
        index_events(path, EVENT)
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_bomb_is_found_while_it_expands(tmp_path, monkeypatch):
    monkeypatch.setattr(event_files, "SMALL", 4 << 20)
    written = []
    monkeypatch.setattr(
        event_files.tempfile,
        "TemporaryFile",
        lambda make=event_files.tempfile.TemporaryFile: written.append(make()) or written[0],
    )
    with pytest.raises(InputError, match="more than 200 times its size"):
        index_events(file_of(tmp_path, gzip.compress(bytes(64 << 20))), EVENT)
    assert written[0].tell() <= 4 << 20


@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "missing"])
def test_only_regular_files_are_opened(tmp_path, kind):
    path = tmp_path / "events"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind == "device":
        path.symlink_to("/dev/zero")
    elif kind == "folder":
        path.mkdir()
    with pytest.raises(InputError, match=r"expected a regular file|is a folder|no such file"):
        index_events(path, EVENT)


def test_indexing_is_linear(tmp_path):
    path = file_of(tmp_path, b"<" * (8 << 20) + b"\nE 1\n" + b"E" * (8 << 20))
    start = time.process_time()
    assert len(index_events(path, EVENT)) == 1
    assert time.process_time() - start < 2
