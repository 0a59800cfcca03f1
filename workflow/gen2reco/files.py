"""Read regular files only, and write files whole or not at all."""

import errno
import hashlib
import json
import os
import stat
import uuid
from collections.abc import Collection, Iterator
from contextlib import contextmanager, suppress
from itertools import count
from pathlib import Path

from gen2reco.errors import InfrastructureError, InputError

MAX_TEXT = 16 << 20
_KINDS = {stat.S_IFIFO: "a pipe", stat.S_IFSOCK: "a socket", stat.S_IFCHR: "a device", stat.S_IFBLK: "a device"}


def regular_file(path: Path | str) -> Path:
    """The path of a regular file, or of a link to one. Raises InputError for anything else: reading a pipe or a device
    may never end."""
    try:
        mode = Path(path).stat().st_mode
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; check the path") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if stat.S_ISDIR(mode):
        raise InputError(f"{path}: is a folder, not a file; check the path")
    if not stat.S_ISREG(mode):
        raise InputError(f"{path}: is {_kind(mode)}, expected a regular file; save its content to one first")
    return Path(path)


def read_text(path: Path | str, limit: int = MAX_TEXT) -> str:
    """The UTF-8 text of a regular file of at most `limit` bytes. Raises InputError."""
    try:
        with regular_file(path).open("rb") as file:
            data = file.read(limit + 1)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
    if len(data) > limit:
        raise InputError(f"{path}: over {limit >> 20} MiB, expected a small text file")
    try:
        return data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise InputError(f"{path}: cannot be read as text: {error}") from None


def new_folder(wanted: Path) -> Path:
    """Make a folder of that name, or, where something has it, of the first free one that ends in _2, _3 and so on.
    Two processes never get the same one. Raises InfrastructureError when the disk refuses."""
    for number in count(1):
        folder = wanted if number == 1 else wanted.with_name(f"{wanted.name}_{number}")
        try:
            folder.mkdir(parents=True)
            return folder
        except FileExistsError:
            continue
        except OSError as error:
            raise InfrastructureError(f"{folder}: cannot be made: {error.strerror or error}") from None
    raise AssertionError("numbers do not end")


def check_output(path: Path | str, own: Collection[str] = ()) -> None:
    """Check that a file may be written at `path`: nothing exists there, or a regular file.

    A `.json`, the name of a sidecar, may replace only a JSON object, or a list of objects, with the keys `own`; without
    such keys it is refused. Raises InputError.
    """
    path = Path(path)
    present = _check_target(path)
    if path.is_symlink() and not path.resolve().parent.is_dir():
        raise InputError(f"{path}: is a link to {os.readlink(path)}, whose folder does not exist; make it")  # noqa: PTH115
    if path.suffix.lower() != ".json":
        return
    if not own:
        raise InputError(f"{path}: ends in `.json`, the name of a sidecar; choose another name for the output")
    if present and not _holds(path, own):
        raise InputError(f"{path}: no file of gen2reco, would be overwritten; move it, or choose another name")


def check_folder(path: Path | str) -> None:
    """Raises InputError where `path` exists and is no folder."""
    if Path(path).exists() and not Path(path).is_dir():
        raise InputError(f"{path}: is no folder, expected a new or an existing one for the output")


@contextmanager
def whole(path: Path, what: str = "") -> Iterator[Path]:
    """Yield a temporary name in the folder of `path` (of its target, for a link), unique to this attempt. When the
    block succeeds the file is renamed to `path`; when it fails the file is removed.

    Raises InputError where `path` is no regular file, and InfrastructureError, whose text `what` begins, where the
    folder or the disk refuses.
    """
    _check_target(path)
    target = _target(path)
    temporary = target.with_name(f".{target.name[:50]}.{os.getpid()}-{uuid.uuid4().hex[:8]}.tmp")
    try:
        yield temporary
        put_in_place(temporary, path)
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise InfrastructureError(f"{path}: {what}cannot be written: {reason}") from None
    finally:
        with suppress(OSError):
            temporary.unlink()


def put_in_place(file: Path, path: Path) -> None:
    """Rename a finished file to `path`, or to its target for a link, on the same disk. Its data are synchronised to the
    disk before, the folder after. Raises OSError."""
    target = _target(path)
    _to_disk(file)
    file.replace(target)
    with suppress(OSError):  # some filesystems take no folder
        _to_disk(target.parent)


def _target(path: Path) -> Path:
    """`path`, or the file it links to: a rename would replace the link."""
    return path.resolve() if path.is_symlink() else path


def _to_disk(path: Path) -> None:
    number = os.open(path, os.O_RDONLY)
    try:
        os.fsync(number)
    finally:
        os.close(number)


def _check_target(path: Path) -> bool:
    """Whether a file exists at `path`. Raises InputError where it is not regular, and InfrastructureError where the
    folder cannot be searched."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return False
    except (OSError, ValueError) as error:
        bad_name = isinstance(error, ValueError) or error.errno in (errno.ENAMETOOLONG, errno.ELOOP)
        kind = InputError if bad_name else InfrastructureError
        raise kind(f"{path}: cannot be written: {getattr(error, 'strerror', None) or error}") from None
    if not stat.S_ISREG(mode):
        raise InputError(f"{path}: is {_kind(mode)}, expected a new or regular file as output; choose another name")
    return True


def _kind(mode: int) -> str:
    return "a folder" if stat.S_ISDIR(mode) else _KINDS.get(stat.S_IFMT(mode), "no regular file")


def _holds(path: Path, own: Collection[str]) -> bool:
    """Whether a file is a JSON object with these keys, or a list that begins with one."""
    try:
        found = json.loads(read_text(path))
    except (InputError, ValueError, RecursionError):
        return False
    first = found[0] if isinstance(found, list) and found else found
    return isinstance(first, dict) and set(own) <= set(first)


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically. Raises InfrastructureError when the folder or disk refuses."""
    with whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def file_digest(path: Path | str) -> str:
    """The sha256 (hex) of a file's bytes. Raises InputError where it is no regular file, OSError as `open` does."""
    path = Path(path)
    with (regular_file(path) if path.exists() else path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
