"""Which MLflow server, is it there, and what its failures mean, in one line each."""

import fcntl
import os
import socket
import sys
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from gen2reco.errors import Gen2recoError, InfrastructureError, InputError
from gen2reco.track.secrets import scrub

if TYPE_CHECKING:
    from mlflow import MlflowClient

DATABASE, ARTIFACTS = "mlflow.db", "mlflow.artifacts"
_QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "60",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "GIT_PYTHON_REFRESH": "quiet",
}


class Deleted(Gen2recoError):
    """The run was deleted while it was being written."""


def tracking_uri(results: Path | str, given: str | None = None) -> str:
    """Where to track: as given, else MLFLOW_TRACKING_URI, else `mlflow.db` in the folder that holds all results."""
    found = given or os.environ.get("MLFLOW_TRACKING_URI")
    if not found:
        return f"sqlite:///{(Path(results).resolve() / DATABASE)}"
    if urlsplit(found).scheme.partition("+")[0] not in ("http", "https", "sqlite", "postgresql", "mysql", "mssql"):
        raise InputError(
            f"tracking URI `{scrub(found)}`: expected http(s)://HOST:PORT, sqlite:///FILE or postgresql://…; "
            "give --uri or set MLFLOW_TRACKING_URI"
        )
    return found


def reachable(uri: str, seconds: float = 3.0) -> bool:
    """Whether something listens at the address (plain files always do); needs no mlflow."""
    parts = urlsplit(uri)
    if parts.scheme.startswith("sqlite"):
        return True
    scheme = parts.scheme.partition("+")[0]
    port = parts.port or {"http": 80, "https": 443, "postgresql": 5432, "mysql": 3306, "mssql": 1433}[scheme]
    try:
        socket.create_connection((parts.hostname or "localhost", port), seconds).close()
    except OSError:
        return False
    return True


def connect(uri: str) -> "MlflowClient":
    """A client of the server, its tables made or brought up to date if it is a file of ours.

    Raises InfrastructureError if it cannot be reached, InputError for wrong credentials or a foreign database.
    """
    if not reachable(uri):
        raise InfrastructureError(
            f"tracking server {scrub(uri)}: cannot be reached; start it, check the address, or sync later: "
            "nothing is lost, the results keep their own story"
        )
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    with explained(uri):
        _quiet_logs()
        from mlflow import MlflowClient

        if uri.startswith("sqlite:///"):
            _migrate(uri)
        if uri.startswith("http"):
            _knock(uri)
        client = MlflowClient(uri, registry_uri=uri)
        client.search_experiments(max_results=1)
    return client


def _knock(uri: str) -> None:
    """Ask once, to tell refused credentials from other troubles."""
    from mlflow.tracking._tracking_service.utils import get_default_host_creds
    from mlflow.utils.rest_utils import http_request

    asked = "/api/2.0/mlflow/experiments/search?max_results=1"
    answer = http_request(get_default_host_creds(uri), asked, "GET", max_retries=1, raise_on_status=False)
    if answer.status_code in (401, 403):
        raise _refused(f"tracking server {scrub(uri)}")
    if answer.status_code == 404:
        raise InputError(
            f"tracking server {scrub(uri)}: something answers there, but it is no MLflow; check the address"
        )


@contextmanager
def explained(uri: str) -> Iterator[None]:
    """Turn whatever MLflow raises inside into one clear error."""
    import requests
    import sqlalchemy.exc
    from mlflow.exceptions import MlflowException

    try:
        yield
    except (MlflowException, sqlalchemy.exc.SQLAlchemyError, requests.RequestException, OSError) as error:
        raise explain(error, uri) from None


def explain(error: Exception, uri: str) -> Gen2recoError:
    """The error of a server as one of ours, in one line, without credentials."""
    where, text = f"tracking server {scrub(uri)}", scrub(str(error))
    code = getattr(error, "error_code", "")
    status = getattr(error, "get_http_status_code", lambda: 0)()
    line = next((part.strip() for part in text.splitlines() if part.strip()), type(error).__name__)[:300]
    if "must be in the 'active'" in text or "must be in 'active'" in text or "not in active" in text.lower():
        return Deleted(f"{where}: {line}")
    if status in (401, 403) or code in ("UNAUTHENTICATED", "PERMISSION_DENIED") or _mentions(text, "401", "403"):
        return _refused(where)
    if "out-of-date database schema" in text or "Can't locate revision" in text:
        return InputError(
            f"{where}: its database belongs to another version of MLflow; back it up and run `mlflow db upgrade`"
        )
    if "Connection" in type(error).__name__ or "Max retries" in text or "Connection aborted" in text:
        return InfrastructureError(f"{where}: went away ({line}); sync again: what is there already stays single")
    return InfrastructureError(f"{where}: {line}")


def _refused(where: str) -> InputError:
    return InputError(
        f"{where}: credentials are missing or refused; set MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME "
        "and MLFLOW_TRACKING_PASSWORD"
    )


def _mentions(text: str, *codes: str) -> bool:
    return any(f"error code {code}" in text or f"{code} Client Error" in text for code in codes)


def _migrate(uri: str) -> None:
    """Make a SQLite file whole before it appears, or upgrade ours; one process at a time."""
    from mlflow.store.db import utils

    path = Path(uri.removeprefix("sqlite:///"))
    with locked(path.with_name(path.name + ".lock")):
        if not path.exists():
            draft = path.with_name(f".{path.name}.{uuid.uuid4().hex}.tmp")
            engine = utils.create_sqlalchemy_engine_with_retry(f"sqlite:///{draft}")
            utils._initialize_tables(engine)
            engine.dispose()
            draft.replace(path)
        elif path.name == DATABASE:
            engine = utils.create_sqlalchemy_engine_with_retry(uri)
            if utils._get_schema_version(engine) != utils._get_latest_schema_revision():
                utils._upgrade_db(engine)
            engine.dispose()


@contextmanager
def locked(path: Path, wait: bool = True) -> Iterator[bool]:
    """Hold a lock file; yields whether it is held (never, where the folder is read-only or knows no locks)."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        file = path.open("w")
    except OSError:
        yield False
        return
    with file:
        try:
            fcntl.flock(file, fcntl.LOCK_EX | (0 if wait else fcntl.LOCK_NB))
            held = True
        except OSError:
            held = False
        yield held


def serve(results: Path, host: str, port: int) -> None:
    """Replace this process by MLflow's UI on the embedded database, on the loopback address by default."""
    uri = tracking_uri(results)
    if not uri.startswith("sqlite"):
        raise InputError(f"MLFLOW_TRACKING_URI is set: open {scrub(uri)} in a browser; unset it for the local database")
    connect(uri)
    artifacts = (results.resolve() / ARTIFACTS).as_uri()
    command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", uri]
    command += ["--artifacts-destination", artifacts, "--host", host, "--port", str(port), "--workers", "1"]
    environment = {**os.environ, **_QUIET, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    print(f"open http://{host}:{port} in a browser; stop with Ctrl-C", file=sys.stderr)
    sys.stderr.flush()
    os.execve(sys.executable, command, environment)


def _quiet_logs() -> None:
    import logging

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.ERROR)
