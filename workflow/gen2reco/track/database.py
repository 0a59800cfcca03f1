"""A tracking database that MLflow opens directly: created whole, and migrated to a newer schema only on request.

MLflow's own client migrates an older database in silence as soon as it opens it; so its schema is checked before.
"""

import fcntl
import os
import shutil
import sqlite3
import stat
import sys
import uuid
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

from gen2reco.errors import InfrastructureError, InputError
from gen2reco.track.address import Address, of_file

if TYPE_CHECKING:
    from sqlalchemy.engine import Engine


def prepare(address: Address, upgrade: bool = False) -> None:
    """Make sure that the database exists and has the schema of the MLflow installed; one process at a time.

    With `upgrade` an older one is migrated: an SQLite file is copied first; of others a dump is the user's own.
    Raises InputError for an older database without `upgrade`, one of a newer MLflow, or one that is not MLflow's.
    """
    from sqlalchemy import create_engine

    with alone(address, ".lock"):
        if address.path and not _is_file(address, address.path):
            _make(address.path)
        engine = create_engine(address.uri)
        try:
            _bring_up_to_date(address, engine, upgrade)
        finally:
            engine.dispose()


def _bring_up_to_date(address: Address, engine: "Engine", upgrade: bool) -> None:
    from mlflow.store.db import utils

    found, latest = _schema(engine), utils._get_latest_schema_revision()
    if found in (latest, ""):
        return
    if found is None:
        raise InputError(f"{address}: a database of something else than MLflow; give one of its own")
    if found not in _known_schemas():
        raise InputError(f"{address}: made by a newer MLflow (schema {found}); update mlflow here, or give another one")
    if not upgrade:
        copy = "a copy is kept in its folder" if address.path else "dump it first: no copy is made"
        raise InputError(
            f"{address}: made by an older MLflow (schema {found}, here {latest}), which could not open it any more; "
            f"`gen2reco track sync … --upgrade` brings it up to date; {copy}"
        )
    kept = f"as it was: {_copy(address, address.path, found)}" if address.path else "a dump is yours to have made"
    utils._upgrade_db(engine)
    print(f"{address}: upgraded from schema {found} to {latest}; {kept}", file=sys.stderr)


def _schema(engine: "Engine") -> str | None:
    """The revision of the tables; empty if there are none, None if they are not MLflow's."""
    from mlflow.store.db import utils
    from sqlalchemy import inspect

    tables = {name for name in inspect(engine).get_table_names() if not name.startswith("alembic_")}
    if not tables:
        return ""
    if not {"experiments", "runs"} <= tables:
        return "" if engine.dialect.name != "sqlite" else None
    return utils._get_schema_version(engine)


def _known_schemas() -> set[str]:
    from alembic.script import ScriptDirectory
    from mlflow.store.db import utils

    return {step.revision for step in ScriptDirectory.from_config(utils._get_alembic_config("")).walk_revisions()}


def _make(path: Path) -> None:
    """Make an SQLite file with MLflow's tables, whole before it appears."""
    from mlflow.store.db import utils
    from sqlalchemy import create_engine

    draft = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
    engine = create_engine(of_file(draft).uri)
    try:
        utils._initialize_tables(engine)
        engine.dispose()
        draft.replace(path)
    finally:
        engine.dispose()
        draft.unlink(missing_ok=True)


def _copy(address: Address, path: Path, schema: str) -> str:
    """Copy an SQLite file as it is now, to the disk; copies that exist already stay. Returns the name of the copy."""
    numbers = (f"{path.name}.{schema}{f'.{n}' if n else ''}.backup" for n in range(10_000))
    copy = next(place for place in map(path.with_name, numbers) if not os.path.lexists(place))
    draft = path.with_name(f".{copy.name}.{uuid.uuid4().hex}.tmp")
    try:
        with closing(sqlite3.connect(path, isolation_level=None)) as source:
            source.execute("BEGIN IMMEDIATE")
            _copy_pages(source, path, draft)
        with draft.open("rb") as file:
            os.fsync(file.fileno())
        draft.replace(copy)
    except (OSError, sqlite3.Error) as error:
        raise InfrastructureError(
            f"{copy}: cannot be written: {error}; nothing was upgraded; make room first"
        ) from None
    finally:
        draft.unlink(missing_ok=True)
    return copy.name


def _copy_pages(source: sqlite3.Connection, path: Path, draft: Path) -> None:
    """The same bytes, while nobody may write; by SQLite itself where some of them are in its write-ahead log."""
    log = path.with_name(f"{path.name}-wal")
    if not log.exists() or not log.stat().st_size:
        shutil.copyfile(path, draft)
        return
    with closing(sqlite3.connect(draft)) as target:
        source.backup(target)


def _is_file(address: Address, path: Path) -> bool:
    """Whether there is an SQLite file. Raises InputError for a folder, pipe or device of that name."""
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return False
    except OSError as error:
        raise InfrastructureError(f"{address}: cannot be opened: {error.strerror or error}") from None
    if not stat.S_ISREG(mode):
        raise InputError(f"{address}: {'is a folder' if stat.S_ISDIR(mode) else 'is no file'}; give a file")
    return True


def alone(address: Address, ending: str = ".sync.lock") -> AbstractContextManager[bool | None]:
    """Hold the lock next to an SQLite file; nothing for other databases and servers. Raises InputError as `prepare`."""
    if address.path is None:
        return nullcontext()
    _is_file(address, address.path)
    return locked(address.path.with_name(address.path.name + ending))


@contextmanager
def locked(path: Path, wait: bool = True) -> Iterator[bool]:
    """Hold a lock file; yields whether it is held (never, where the folder is read-only or knows no locks)."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK, 0o644)
    except OSError:
        yield False
        return
    try:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            held = True
        except OSError:
            held = False
        yield held
    finally:
        os.close(file)
