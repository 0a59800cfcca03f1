"""Compile the numba kernels once a machine kind: a cache that any number of jobs may fill at the same time.

numba's own on-disk cache lets two processes overwrite each other's index. Here every kernel has explicit signatures
and compiles when its module is imported, into a private folder that one atomic rename publishes under a name made
of the kernels' sources, numba's version and the CPU. A published folder is only ever read.
"""

import functools
import hashlib
import importlib
import os
import platform
import shutil
import tempfile
from pathlib import Path
from types import ModuleType

_SOURCES = {
    "plain": ("plain", "groups", "tree", "tiles"),
    "cyclic": ("cyclic", "groups", "tree", "tiles"),
    "tracksters": ("tracksters", "tiles"),
    "shapes": ("shapes",),
}
"""Kernel module: the modules in `kernels/` that its compiled code comes from."""
_caching = False


def compiled(signatures: list):
    """Decorator: compile a kernel at import for these signatures alone, cached when loaded by `load`."""
    from numba import njit

    return njit(signatures, cache=_caching)


@functools.cache
def load(name: str) -> ModuleType:
    """Import gen2reco.cluster.kernels.<name>, compiled code taken from the shared cache or put there."""
    from numba.core import config

    global _caching
    folder = cache_root() / f"{name}-{_key(name)}"
    building = None if folder.is_dir() else _private(folder)
    previous = config.CACHE_DIR
    try:
        _caching = folder.is_dir() or building is not None
        if _caching:
            config.CACHE_DIR = str(building or folder)
        module = importlib.import_module(f"gen2reco.cluster.kernels.{name}")
    finally:
        config.CACHE_DIR, _caching = previous, False
    if building is not None:
        _publish(building, folder)
    return module


def cache_root() -> Path:
    """Where compiled kernels live: GEN2RECO_CACHE, or ~/.cache/gen2reco, and numba/ in it."""
    return Path(os.environ.get("GEN2RECO_CACHE") or Path.home() / ".cache" / "gen2reco") / "numba"


def _private(folder: Path) -> Path | None:
    """A folder of this process's own beside the published one; None where nothing can be written."""
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        return Path(tempfile.mkdtemp(prefix=f".{folder.name}-", dir=folder.parent))
    except OSError:
        return None


def _publish(building: Path, folder: Path) -> None:
    try:
        building.rename(folder)
    except OSError:  # another process was first: its folder holds the same code
        shutil.rmtree(building, ignore_errors=True)


@functools.cache
def _key(name: str) -> str:
    """Digest of all that compiled code depends on; numba itself also checks the sources' times and paths."""
    import llvmlite
    import llvmlite.binding as llvm
    import numba

    parts = [numba.__version__, llvmlite.__version__, platform.python_version(), llvm.get_host_cpu_name()]
    parts.append(llvm.get_host_cpu_features().flatten())
    for source in (Path(__file__).parent / "kernels" / f"{part}.py" for part in _SOURCES[name]):
        status = source.stat()
        parts += [str(source.resolve()), str(status.st_mtime_ns), hashlib.sha256(source.read_bytes()).hexdigest()]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
