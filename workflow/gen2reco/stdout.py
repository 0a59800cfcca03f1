"""Libraries that print to standard output by themselves, kept off it."""

import ctypes
import os
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from types import ModuleType


@contextmanager
def redirected(to: int) -> Iterator[None]:
    """Send what Python and C++ print to the file descriptor `to`; what was printed before goes where it did."""
    _flush()
    kept = os.dup(1)
    os.dup2(to, 1)
    try:
        yield
    finally:
        _flush()
        os.dup2(kept, 1)
        os.close(kept)


@contextmanager
def quiet() -> Iterator[None]:
    """Keep what Python and C++ print off standard output."""
    with Path(os.devnull).open("wb") as nowhere, redirected(nowhere.fileno()):
        yield


@cache
def fastjet() -> ModuleType:
    """The fastjet module, its banner, which comes with the first jets, printed to nowhere."""
    import fastjet

    with quiet():
        definition = fastjet.JetDefinition(fastjet.antikt_algorithm, 1.0)
        fastjet.ClusterSequence([fastjet.PseudoJet(1.0, 0.0, 0.0, 1.0)], definition)
    return fastjet


def _flush() -> None:
    sys.stdout.flush()
    ctypes.CDLL(None).fflush(None)
