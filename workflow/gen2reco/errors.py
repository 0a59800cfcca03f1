"""The errors with which a command ends; the command line prints one line and exits with the error's code."""

import errno
import re
from collections.abc import Iterable, Iterator
from contextlib import contextmanager

_MEMORY = re.compile(r"[^\n]*(?:failed to map segment|an(?:no|')t allocate memory|bad_alloc|out of memory)[^\n]*", re.I)
MOST_IN_A_LINE = 5
_MACHINE = {getattr(errno, name) for name in ["ENOMEM", "ENOSPC", "EDQUOT", "EIO", "EMFILE", "ENFILE", "ESTALE"]}


class Gen2recoError(Exception):
    """Base of all errors that a user sees without a traceback."""

    exit_code = 1

    @property
    def lines(self) -> list[str]:
        """The message, a line for each mistake."""
        return [" ".join(str(self).split())]


class InputError(Gen2recoError):
    """The user's input is wrong. The message names file, field, value, what was expected and what to do."""

    exit_code = 2


class InputErrors(InputError):
    """Several mistakes, each a whole message; as text the first of them stand one after the other."""

    def __init__(self, messages: Iterable[str]):
        self.messages = list(messages)
        more = len(self.messages) - MOST_IN_A_LINE
        super().__init__("; ".join(self.messages[:MOST_IN_A_LINE]) + (f"; and {more} more" if more > 0 else ""))

    @property
    def lines(self) -> list[str]:
        """The messages, each once."""
        return list(dict.fromkeys(" ".join(message.split()) for message in self.messages))


class Mistakes:
    """Collects the InputErrors of independent checks, so that all of them are told at once."""

    def __init__(self) -> None:
        self.lines: list[str] = []

    @contextmanager
    def caught(self, what: str = "") -> Iterator[None]:
        """Keep the InputErrors of the block, each prefixed with what it is about."""
        try:
            yield
        except InputError as error:
            self.lines += [f"{what}: {line}" if what else line for line in error.lines]

    def tell(self) -> None:
        """Raises InputError where there was one mistake, InputErrors where there were several."""
        if self.lines:
            raise InputErrors(self.lines) if len(self.lines) > 1 else InputError(self.lines[0])


class InfrastructureError(Gen2recoError):
    """The machine failed (disk, memory, device). Exits with EX_TEMPFAIL, which profiles retry."""

    exit_code = 75


@contextmanager
def about(what: str) -> Iterator[None]:
    """Prefix the message of any Gen2recoError of the block with what it is about, such as a file and a field."""
    try:
        yield
    except InputErrors as error:
        raise InputErrors(f"{what}: {line}" for line in error.lines) from None
    except Gen2recoError as error:
        raise type(error)(f"{what}: {error}") from None


def classified(error: BaseException) -> Gen2recoError | None:
    """Any exception as a Gen2recoError; None for a fault of this code, which is shown with its traceback.

    Exhausted memory (of Python, numpy, Arrow, torch, C++, or a library that cannot be mapped), full disks and other
    failures of the machine become InfrastructureErrors, also where a reader reported a bad file because of them.
    """
    cause: BaseException | None = error
    while cause is not None:
        if said := _memory(cause):
            return InfrastructureError(f"{said}; ask for more memory, or lower the batch or chunk size or --workers")
        if isinstance(cause, OSError) and cause.errno in _MACHINE:
            own = isinstance(error, Gen2recoError)
            return InfrastructureError(str(error) if own else f"{_where(cause)}{cause.strerror}")
        cause = cause.__cause__ or cause.__context__
    if isinstance(error, Gen2recoError):
        return error
    if isinstance(error, OSError):
        return InfrastructureError(f"{_where(error)}{error.strerror or error}")
    if isinstance(error, EOFError) and "marshal" in str(error):
        return InfrastructureError(
            f"a compiled module of a library is cut off ({first_line(error)}), as a full disk leaves it; delete the "
            "`__pycache__` folders of gen2reco and its environment"
        )
    if isinstance(error, ImportError) and not str(error.name or "").startswith("gen2reco"):
        return InfrastructureError(f"a library cannot be loaded: {first_line(error)}; is the environment complete?")
    return None


def first_line(error: BaseException) -> str:
    """The first line of an error's message, or its type where it has none."""
    return (str(error).strip() or type(error).__name__).splitlines()[0]


def _memory(error: BaseException) -> str:
    """The message for an error that means exhausted memory; empty for others."""
    if isinstance(error, Gen2recoError):
        return ""
    named = any(kind.__name__ in ("MemoryError", "OutOfMemoryError") for kind in type(error).__mro__)
    found = _MEMORY.search(str(error)) if isinstance(error, (OSError, ImportError, RuntimeError, SystemError)) else None
    if not (named or found):
        return ""
    detail = (found[0] if found else str(error)).strip().partition("\n")[0]
    return f"out of memory ({detail[:200]})" if detail else "out of memory"


def _where(error: OSError) -> str:
    return f"{error.filename}: " if error.filename else ""
