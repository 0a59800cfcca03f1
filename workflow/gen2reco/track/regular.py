"""Files taken only if they are what they seem: regular, below their folder through no link, and not too large."""

import os
import stat
from pathlib import Path


class NotTaken(ValueError):
    """Why a file is left where it is, in a few words without its path."""


def check(path: Path, root: Path, most: int) -> None:
    """Check that a file below `root` is regular, reached through no link, and of at most so many bytes.

    Raises NotTaken, also if it does not exist.
    """
    path, root = path.absolute(), root.absolute()
    if ".." in path.parts or not path.is_relative_to(root):
        raise NotTaken("lies outside")
    for place in (path, *path.parents):
        if place == root:
            break
        if place.is_symlink():
            raise NotTaken("is a link" if place == path else "is reached through a link")
    try:
        found = path.stat()
    except (OSError, ValueError) as error:
        raise NotTaken(f"cannot be read ({getattr(error, 'strerror', None) or 'no such file'})") from None
    if not stat.S_ISREG(found.st_mode):
        raise NotTaken("is no regular file")
    if found.st_size > most:
        raise NotTaken(f"is larger than {most / 2**20:g} MiB")


def read(path: Path, root: Path, most: int) -> bytes:
    """The content of such a file. Raises NotTaken."""
    check(path, root, most)
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC), "rb") as file:
            content = file.read(most + 1)
    except OSError as error:
        raise NotTaken(f"cannot be read ({error.strerror})") from None
    if len(content) > most:
        raise NotTaken(f"is larger than {most / 2**20:g} MiB")
    return content
