"""Compile numba kernels once a machine kind: a cache that any number of jobs may fill at the same time.

numba's own on-disk cache lets two processes overwrite each other's index. Here every kernel has explicit signatures
and compiles when its module is imported, into a private folder that one atomic rename publishes under a name made
of the kernels' sources, numba's version and the CPU. A published folder is only ever read.
"""

import functools
import hashlib
import importlib
import importlib.util
import platform
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from types import ModuleType

from gen2reco.caches import cache_folder
from gen2reco.errors import InfrastructureError

_caching = False


def compiled(signatures: list, fastmath: bool = False) -> Callable[[Callable], Callable]:
    """Decorator: compile a kernel at import for these signatures alone, cached when loaded by `load`."""
    from numba import njit

    return njit(signatures, cache=_caching, fastmath=fastmath)


@functools.cache
def load(module: str, sources: tuple[str, ...] = ()) -> ModuleType:
    """Import a module of kernels, compiled code taken from the shared cache or put there.

    sources: names of the modules in its folder that its compiled code also comes from.
    """
    from numba.core import config

    global _caching
    folder = cache_folder() / "numba" / f"{module.rpartition('.')[2]}-{_key(module, sources)}"
    building = None if folder.is_dir() else _private(folder)
    previous = config.CACHE_DIR
    try:
        _caching = folder.is_dir() or building is not None
        if _caching:
            config.CACHE_DIR = str(building or folder)
        loaded = importlib.import_module(module)
    except OSError as error:
        if building is not None:
            shutil.rmtree(building, ignore_errors=True)
        reason = error.strerror or error
        raise InfrastructureError(
            f"{folder}: compiled kernels cannot be kept: {reason}; free some space, or let GEN2RECO_CACHE name another"
        ) from None
    finally:
        config.CACHE_DIR, _caching = previous, False
    if building is not None:
        _publish(building, folder)
    return loaded


def _private(folder: Path) -> Path | None:
    """A folder of this process's own, next to the published one; None where nothing can be written."""
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


def _key(module: str, sources: tuple[str, ...]) -> str:
    """Digest of all that compiled code depends on; numba itself also checks the sources' times and paths."""
    import llvmlite
    import llvmlite.binding as llvm
    import numba

    parts = [numba.__version__, llvmlite.__version__, platform.python_version(), llvm.get_host_cpu_name()]
    parts.append(llvm.get_host_cpu_features().flatten())
    spec = importlib.util.find_spec(module)
    assert spec and spec.origin, f"{module} is a module of this package"
    own = Path(spec.origin)
    for source in (own, *(own.with_name(f"{name}.py") for name in sources)):
        status = source.stat()
        parts += [str(source.resolve()), str(status.st_mtime_ns), hashlib.sha256(source.read_bytes()).hexdigest()]
    return hashlib.sha256("\n".join(parts).encode()).hexdigest()[:16]
