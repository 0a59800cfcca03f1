"""Errors have their class: what the machine did is retried, what a user did is not, and our own faults stay visible."""

import errno
import re
import sys

import numpy as np
import pyarrow as pa
import pytest

from gen2reco import cli
from gen2reco.errors import Gen2recoError, InfrastructureError, InputError, classified


class OutOfMemoryError(RuntimeError):
    """As torch names its own."""


def arrow():
    pa.allocate_buffer(1 << 60)


def numpy():
    np.empty(1 << 58)


def raising(error):
    def act():
        raise error

    return act


def mistaken(cause):
    """A reader that takes any failure for a bad file."""

    def act():
        try:
            raise cause
        except Exception as error:
            raise InputError(f"x.parquet: damaged: {error}") from None

    return act


MAPPED = "libtorch_cpu.so: failed to map segment from shared object"
CPU = "[enforce fail at alloc_cpu.cpp:1] DefaultCPUAllocator: can't allocate memory: you tried to allocate 8 bytes."


@pytest.fixture(autouse=True)
def plain_exit(monkeypatch):
    """Leave by SystemExit, also where another test has loaded Geant4."""
    monkeypatch.setattr(cli, "_leave", sys.exit)


@pytest.mark.parametrize(
    ("act", "kind", "text"),
    [
        (raising(MemoryError()), InfrastructureError, "out of memory; ask for more"),
        (raising(MemoryError("std::bad_alloc")), InfrastructureError, r"out of memory \(std::bad_alloc\)"),
        (numpy, InfrastructureError, r"out of memory \(Unable to allocate"),
        (arrow, InfrastructureError, r"out of memory \(malloc of size"),
        (raising(OutOfMemoryError("CUDA out of memory. Tried")), InfrastructureError, "CUDA out of memory"),
        (raising(RuntimeError(CPU)), InfrastructureError, "can't allocate memory"),
        (raising(ImportError(MAPPED)), InfrastructureError, "failed to map segment"),
        (raising(ImportError(f"IMPORTANT:\n\nread this\n{MAPPED}\n")), InfrastructureError, MAPPED),
        (raising(OSError(MAPPED)), InfrastructureError, "failed to map segment"),
        (raising(OSError(errno.ENOMEM, "Cannot allocate memory")), InfrastructureError, "out of memory"),
        (raising(OSError(errno.ENOSPC, "No space left", "/cache/x.nbi")), InfrastructureError, "/cache/x.nbi: No spa"),
        (raising(PermissionError(errno.EACCES, "Permission denied", "/x")), InfrastructureError, "/x: Permission"),
        (raising(ModuleNotFoundError("No module named 'onnx'", name="onnx")), InfrastructureError, "'onnx'"),
        (raising(EOFError("marshal data too short")), InfrastructureError, "delete the `__pycache__` folders"),
        (raising(EOFError()), None, ""),
        (mistaken(MemoryError()), InfrastructureError, "out of memory"),
        (mistaken(OSError(errno.EIO, "Input/output error")), InfrastructureError, "x.parquet: damaged: .*Input/output"),
        (mistaken(ValueError("no Parquet")), InputError, "x.parquet: damaged: no Parquet"),
        (raising(InputError("card")), InputError, "card"),
        (raising(Gen2recoError("bytes")), Gen2recoError, "bytes"),
        (raising(ValueError("ours")), None, ""),
        (raising(RuntimeError("ours")), None, ""),
        (raising(ImportError("cannot import name", name="gen2reco.x")), None, ""),
    ],
)
def test_every_error_has_its_class_and_code(act, kind, text, monkeypatch, capsys):
    with pytest.raises(Exception) as caught:
        act()
    known = classified(caught.value)
    assert type(known) is (kind or type(None))
    monkeypatch.setattr(cli.cli, "main", lambda **_: act())
    if kind is None:
        with pytest.raises(type(caught.value)):
            cli.main()
        return
    with pytest.raises(SystemExit) as left:
        cli.main()
    line = capsys.readouterr().err
    assert left.value.code == kind.exit_code
    assert re.search(text, line) and line.startswith("gen2reco: error: ") and line.count("\n") == 1


def test_ctrl_c_is_one_line(monkeypatch, capsys):
    monkeypatch.setattr(cli.cli, "main", lambda **_: raising(KeyboardInterrupt())())
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert left.value.code == 130 and capsys.readouterr().err == "gen2reco: interrupted\n"


def test_a_small_address_space_is_told_before_libraries_end_the_process(monkeypatch, capsys):
    monkeypatch.setattr(cli.resource, "getrlimit", lambda _: (200 << 20, -1))
    monkeypatch.setattr(sys, "argv", ["gen2reco", "show", "x.parquet"])
    with pytest.raises(SystemExit) as left:
        cli.main()
    assert left.value.code == 75 and "limited to 200 MiB" in capsys.readouterr().err
