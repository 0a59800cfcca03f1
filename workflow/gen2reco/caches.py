"""Folders for caches of gen2reco and of its libraries, for users with and without a home folder or a name."""

import os
import pwd
import stat
import tempfile
from pathlib import Path

from gen2reco.errors import InfrastructureError


def cache_folder() -> Path:
    """Where derived data is kept between campaigns (models, compiled kernels, tables, rates): `GEN2RECO_CACHE`, else
    `gen2reco` in `XDG_CACHE_HOME`, in `~/.cache`, or, without a home to write in, in a temporary folder of this user.
    Raises InfrastructureError where the last is another user's."""
    if given := os.environ.get("GEN2RECO_CACHE"):
        return Path(os.path.expanduser(given)).absolute()  # noqa: PTH111 - Path's own fails without a home
    return (_xdg_cache() or _home_cache("gen2reco") or _temporary()) / "gen2reco"


def settle() -> None:
    """Set the environment variables by which libraries find a home, a user name and a cache, where these are
    missing."""
    try:
        pwd.getpwuid(os.getuid())
    except KeyError:
        os.environ.setdefault("LOGNAME", str(os.getuid()))
    if not _is_folder(os.environ.get("HOME", "")):
        os.environ["HOME"] = str(_home() or _temporary())
    if _home_cache() is None:
        cache = os.environ["XDG_CACHE_HOME"] = str(_xdg_cache() or _temporary())
        os.environ.setdefault("MPLCONFIGDIR", f"{cache}/matplotlib")


def _xdg_cache() -> Path | None:
    """XDG_CACHE_HOME, if it is an absolute path (XDG Base Directory Specification 0.8)."""
    given = os.environ.get("XDG_CACHE_HOME", "")
    return _own(given) if given.startswith("/") else None


def _home() -> Path | None:
    """The user's home folder, None where it does not exist."""
    given = os.environ.get("HOME", "")
    if _is_folder(given):
        return _own(given)
    try:
        known = pwd.getpwuid(os.getuid()).pw_dir
    except KeyError:
        return None
    return Path(known) if _is_folder(known) else None


def _is_folder(given: str) -> bool:
    return given.startswith("/") and os.path.isdir(given)  # noqa: PTH112 - Path's fails where it may not look


def _home_cache(holds: str = "") -> Path | None:
    """`~/.cache`, if it can be written or made, or already holds the folder `holds`; else None."""
    cache = (_home() or Path("/nowhere")) / ".cache"
    if holds and _is_folder(f"{cache}/{holds}"):
        return cache
    deepest = next(place for place in (cache, *cache.parents) if _is_folder(str(place)))
    return cache if deepest != Path("/") and os.access(deepest, os.W_OK) else None


def _own(given: str) -> Path:
    """A folder named in the environment; made safely where it is the temporary one, which another machine may have
    set."""
    return _temporary() if Path(given) == _place() else Path(given)


def _place() -> Path:
    return Path(tempfile.gettempdir()) / f"gen2reco-{os.getuid()}"


def _temporary() -> Path:
    """A folder of this user in the temporary folder. Raises InfrastructureError where another user can write in it."""
    folder = _place()
    try:
        folder.mkdir(mode=0o700, exist_ok=True)
        status = folder.lstat()
    except OSError as error:
        raise InfrastructureError(f"{folder}: cannot be made: {error.strerror}; set HOME or GEN2RECO_CACHE") from None
    if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.getuid() or status.st_mode & 0o022:
        raise InfrastructureError(f"{folder}: is not a folder of this user alone; set HOME or GEN2RECO_CACHE")
    return folder
