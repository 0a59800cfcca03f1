"""How much commands tell on the terminal: `-q` for what may not be missed alone, `-v` for more."""

import sys

QUIET, NORMAL, VERBOSE = -1, 0, 1
_level = NORMAL


def tell_at_most(level: int) -> None:
    """Set how much is told from now on."""
    global _level
    _level = level


def tells(at: int = NORMAL) -> bool:
    """Whether lines of this level are told."""
    return _level >= at


def say(*lines: str, at: int = NORMAL) -> None:
    """Tell lines on standard error, at this level and those above."""
    if tells(at) and lines:
        print(*lines, sep="\n", file=sys.stderr, flush=True)
