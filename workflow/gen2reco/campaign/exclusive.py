"""Let one process at a time change a campaign: it plans, starts jobs or removes files while it holds the lock
`.driver`.

The lock is an flock of that file, released whenever the process ends; the content of the file names the holder.
"""

import atexit
import errno
import fcntl
import json
import os
import platform
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from datetime import datetime
from pathlib import Path
from typing import IO

from gen2reco.errors import InfrastructureError
from gen2reco.paths import make_folder

HOLD_FILE, DRIVER, UNKNOWN = ".driver", "a driver", "another process"
_held: dict[Path, IO[bytes]] = {}


@contextmanager
def hold(folder: Path, what: str) -> Iterator[None]:
    """Hold the campaign of a results folder while the block runs; the folder is made if needed, `what` names the
    holder.

    Raises InfrastructureError that names who holds it. A block that fails leaves no new folder behind.
    """
    key, new = folder.absolute(), [place for place in (folder, *folder.parents) if not place.exists()]
    if key in _held:
        yield
        return
    _held[key] = _take(folder, what)
    try:
        yield
    except BaseException:
        _undo(new)
        raise
    finally:
        _release(key)


def _undo(new: list[Path]) -> None:
    """Remove the folders that were made for the lock, if nothing else is in them."""
    with suppress(OSError):
        if new and [file.name for file in new[0].iterdir()] == [HOLD_FILE]:
            (new[0] / HOLD_FILE).unlink()
        for place in new:
            place.rmdir()


def hold_until_exit(folder: Path, wait: float = 60.0) -> None:
    """Hold the campaign as its driver until this process ends; a holder that is no driver is waited for, `wait`
    seconds.

    Raises InfrastructureError if another driver holds it.
    """
    start, key, waits = time.monotonic(), folder.absolute(), ""
    while key not in _held:
        try:
            _held[key] = _take(folder, DRIVER)
            atexit.register(_release, key)
        except HeldError as error:
            patience = 0.0 if error.holder.startswith(DRIVER) else 1.0 if error.holder == UNKNOWN else wait
            if time.monotonic() - start > patience:
                raise
            if error.holder not in (UNKNOWN, waits):
                waits = error.holder
                print(f"{folder}: waiting for {waits}", file=sys.stderr, flush=True)
            time.sleep(0.1)


class HeldError(InfrastructureError):
    """Another process holds the campaign."""

    def __init__(self, folder: Path, holder: str):
        super().__init__(f"{folder}: {holder} holds this campaign; nothing was changed; wait for it or stop it")
        self.holder = holder


def _take(folder: Path, what: str) -> IO[bytes]:
    make_folder(folder)
    path = folder / HOLD_FILE
    while True:
        try:
            file = path.open("ab+")
        except OSError as error:
            raise InfrastructureError(f"{path}: cannot be written: {error.strerror}; see to the folder") from None
        try:
            fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
            if os.path.samestat(os.fstat(file.fileno()), path.stat()):
                _sign(file, what)
                return file
        except FileNotFoundError:  # its last holder removed the folder
            make_folder(folder)
        except OSError as error:
            file.close()
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                raise HeldError(folder, _holder(path)) from None
            raise InfrastructureError(
                f"{path}: cannot be locked: {error.strerror}; results must lie on a filesystem with locks"
            ) from None
        file.close()


def _sign(file: IO[bytes], what: str) -> None:
    file.truncate(0)
    signed = {"what": what, "process": os.getpid(), "host": platform.node(), "since": f"{datetime.now():%F %T}"}
    file.write(json.dumps(signed).encode() + b"\n")
    file.flush()


def _release(key: Path) -> None:
    file = _held.pop(key, None)
    if file is None:
        return
    with suppress(OSError):
        file.truncate(0)
    file.close()


def _holder(path: Path) -> str:
    """The holder that the file names, unless that process has ended."""
    signed, alive = last_holder(path.parent)
    if not alive or not signed["what"]:
        return UNKNOWN
    return "{what} (process {process} on {host} since {since})".format(**signed)


def last_holder(folder: Path) -> tuple[dict[str, str], bool]:
    """Who holds a campaign, or did when its process was killed: (`what`, `process`, `host` and `since`, whether it is
    alive); ({}, False) where the last holder gave it back."""
    path = folder / HOLD_FILE
    try:
        read = json.loads(path.read_bytes()[:1000])
        signed = {key: str(read[key]) for key in ("what", "process", "host", "since")}
    except (OSError, ValueError, KeyError, TypeError):
        return {}, False
    try:
        if signed["host"] != platform.node():
            return signed, _is_locked(path)
        os.kill(int(signed["process"]), 0)
    except PermissionError:
        pass  # another user's
    except (OSError, ValueError, OverflowError):
        return signed, False
    return signed, True


def _is_locked(path: Path) -> bool:
    try:
        with path.open("rb") as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except OSError:
        return True
    return False
