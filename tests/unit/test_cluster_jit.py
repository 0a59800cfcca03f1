"""The cache of compiled kernels: filled by several processes at once, read by all, never needed."""

import errno
import importlib
import os
import subprocess
import sys
from pathlib import Path

import numba  # noqa: F401 - which imports modules by the function that a test replaces
import pytest

from gen2reco import jit
from gen2reco.errors import InfrastructureError

CALL = (
    "from gen2reco import jit; m = jit.load('small_kernel'); print(m.twice(21), sum(m.twice.stats.cache_hits.values()))"
)
HERE = str(Path(__file__).parent)


def start(cache):
    path = os.pathsep.join(filter(None, [os.environ.get("PYTHONPATH"), HERE]))
    environment = {**os.environ, "GEN2RECO_CACHE": str(cache), "PYTHONPATH": path}
    return subprocess.Popen([sys.executable, "-c", CALL], env=environment, stdout=subprocess.PIPE, text=True)


def test_processes_fill_the_cache_at_once(tmp_path):
    """All compile or load without harm, one folder is published, and the next process only reads it."""
    together = [start(tmp_path) for _ in range(3)]
    assert [process.wait(300) for process in together] == [0, 0, 0]
    folders = list((tmp_path / "numba").iterdir())
    assert len(folders) == 1
    assert not folders[0].name.startswith(".")
    before = sorted((p, p.stat().st_mtime_ns) for p in folders[0].rglob("*"))
    later = start(tmp_path)
    assert later.communicate(timeout=300)[0].strip() == "42 1"
    assert sorted((p, p.stat().st_mtime_ns) for p in folders[0].rglob("*")) == before


@pytest.mark.parametrize("cache", ["/proc/nowhere", "/dev/null"])
def test_without_a_place_to_write_kernels_still_compile(cache):
    process = start(cache)
    assert process.communicate(timeout=300)[0].strip() == "42 0"
    assert process.returncode == 0


def test_a_full_cache_disk_is_one_line_and_leaves_nothing(tmp_path, monkeypatch):
    def full(module):
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setenv("GEN2RECO_CACHE", str(tmp_path))
    monkeypatch.setattr(importlib, "import_module", full)
    with pytest.raises(InfrastructureError, match=r"kernels cannot be kept: No space left .*GEN2RECO_CACHE"):
        jit.load.__wrapped__("small_kernel")
    assert not list((tmp_path / "numba").iterdir())
