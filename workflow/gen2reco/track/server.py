"""The connection to an MLflow server, and its failures in one line each, without credentials."""

import os
import socket
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

from gen2reco.errors import Gen2recoError, InfrastructureError, InputError
from gen2reco.track.address import Address, tracking_address
from gen2reco.track.database import prepare
from gen2reco.track.secrets import scrub

if TYPE_CHECKING:
    from mlflow import MlflowClient

ARTIFACTS = "mlflow.artifacts"
_QUIET = {
    "MLFLOW_DISABLE_TELEMETRY": "true",
    "MLFLOW_HTTP_REQUEST_MAX_RETRIES": "3",
    "MLFLOW_HTTP_REQUEST_TIMEOUT": "60",
    "MLFLOW_ENABLE_ARTIFACTS_PROGRESS_BAR": "false",
    "MLFLOW_SUPPRESS_PRINTING_URL_TO_STDOUT": "true",
    "GIT_PYTHON_REFRESH": "quiet",
}
_AWAY = (502, 503, 504)
"""What a proxy answers when it cannot reach the server."""


class Deleted(Gen2recoError):
    """The run was deleted while it was being written."""


def reachable(address: Address, seconds: float = 3.0) -> bool:
    """Whether something answers at the address, through the proxies of the environment as MLflow goes; needs no mlflow.

    Files always do. A server that accepts the connection and then is slow counts as reachable.
    """
    if address.remote:
        return _answers(address.uri, seconds)
    if not address.host:
        return True
    try:
        socket.create_connection((address.host, address.port), seconds).close()
    except (OSError, ValueError):
        return False
    return True


def _answers(uri: str, seconds: float) -> bool:
    import requests

    try:
        with requests.get(uri, timeout=seconds, allow_redirects=False, stream=True) as answer:
            return answer.status_code not in _AWAY
    except (requests.exceptions.SSLError, requests.exceptions.ReadTimeout):
        return True
    except (requests.RequestException, OSError, ValueError):
        return False


def connect(address: Address, upgrade: bool = False) -> "MlflowClient":
    """A client of the server; a database that it opens directly is made if it is missing, and migrated if `upgrade`.

    Raises InfrastructureError if it cannot be reached, InputError for wrong credentials or another MLflow's database.
    """
    if not reachable(address):
        raise InfrastructureError(
            f"tracking server {address}: cannot be reached{_proxy(address)}; start it, check the address, or sync "
            "later: nothing is lost, the results keep their own story"
        )
    for name, value in _QUIET.items():
        os.environ.setdefault(name, value)
    with explained(address):
        from mlflow import MlflowClient

        _quiet_logs()
        if address.remote:
            _knock(address)
        else:
            prepare(address, upgrade)
        client = MlflowClient(address.uri, registry_uri=address.uri)
        client.search_experiments(max_results=1)
    return client


def _proxy(address: Address) -> str:
    """Which proxy of the environment is between, for a message."""
    if not address.remote:
        return ""
    from requests.utils import get_environ_proxies, select_proxy

    found = select_proxy(address.uri, get_environ_proxies(address.uri))
    return f" through the proxy {scrub(found)}" if found else ""


def _knock(address: Address) -> None:
    """Send one request, to distinguish refused credentials from other failures."""
    from mlflow.tracking._tracking_service.utils import get_default_host_creds
    from mlflow.utils.rest_utils import http_request

    path = "/api/2.0/mlflow/experiments/search?max_results=1"
    answer = http_request(get_default_host_creds(address.uri), path, "GET", max_retries=1, raise_on_status=False)
    if answer.status_code in (401, 403):
        raise _refused(f"tracking server {address}")
    if answer.status_code == 407:
        raise InputError(f"tracking server {address}: the proxy of the environment wants a login; check http(s)_proxy")
    if answer.status_code == 404:
        raise InputError(f"tracking server {address}: something answers there, but it is no MLflow; check the address")


@contextmanager
def explained(address: Address) -> Iterator[None]:
    """Turn whatever MLflow and the libraries below it raise inside into one clear error."""
    try:
        yield
    except (Gen2recoError, MemoryError):
        raise
    except Exception as error:
        raise explain(error, address) from None


_LOST = ("Max retries", "Connection aborted", "Connection broken", "Connection reset", "IncompleteRead")
"""What HTTP libraries say of a server that is away, or that went in the middle of a reply."""


def explain(error: Exception, address: Address) -> Gen2recoError:
    """The error of a server as one of ours, in one line, without credentials."""
    where, text = f"tracking server {address}", scrub(str(error), *address.secrets)
    code = getattr(error, "error_code", "")
    status = getattr(error, "get_http_status_code", lambda: 0)()
    line = next((part.strip() for part in text.splitlines() if part.strip()), type(error).__name__)[:300]
    if "must be in the 'active'" in text or "must be in 'active'" in text or "not in active" in text.lower():
        return Deleted(f"{where}: {line}")
    if "file is not a database" in text:
        return InputError(f"{where}: is no SQLite database; give another file")
    if status in (401, 403) or code in ("UNAUTHENTICATED", "PERMISSION_DENIED") or _mentions(text, "401", "403"):
        return _refused(where)
    if "Connection" in type(error).__name__ or any(words in text for words in _LOST):
        return InfrastructureError(f"{where}: went away ({line}); sync again: what is there already stays single")
    return InfrastructureError(f"{where}: {line}")


def _refused(where: str) -> InputError:
    return InputError(
        f"{where}: credentials are missing or refused; set MLFLOW_TRACKING_TOKEN, or MLFLOW_TRACKING_USERNAME "
        "and MLFLOW_TRACKING_PASSWORD"
    )


def _mentions(text: str, *codes: str) -> bool:
    return any(f"error code {code}" in text or f"{code} Client Error" in text for code in codes)


def experiment_id(client: "MlflowClient", name: str, address: Address, results: Path) -> str:
    """The experiment of that name, made if it is missing. Raises InputError if someone deleted it."""
    from mlflow.exceptions import MlflowException

    place = None if address.remote else (results.absolute().parent / ARTIFACTS / name).as_uri()
    found = client.get_experiment_by_name(name)
    if found is None:
        try:
            kind = {"mlflow.experimentKind": "custom_model_development"}
            return client.create_experiment(name, artifact_location=place, tags=kind)
        except MlflowException as error:
            if error.error_code != "RESOURCE_ALREADY_EXISTS":
                raise
        return experiment_id(client, name, address, results)  # another process made it meanwhile
    if found.lifecycle_stage != "active":
        raise InputError(
            f"tracking server {address}: experiment `{name}` was deleted there; restore it with "
            f"`mlflow experiments restore -x {found.experiment_id}`, or give the campaign another name"
        )
    return found.experiment_id


def serve(results: Path, host: str, port: int, uri: str | None = None) -> None:
    """Replace this process by MLflow's UI on the database that `sync` writes, on the loopback address by default."""
    address = tracking_address(results, uri)
    if address.remote:
        raise InputError(
            f"tracking server {address}: open it in a browser; for the local database unset MLFLOW_TRACKING_URI"
        )
    connect(address)
    artifacts = (results.absolute() / ARTIFACTS).as_uri()
    command = [sys.executable, "-m", "mlflow", "server", "--artifacts-destination", artifacts]
    command += ["--host", host, "--port", str(port), "--workers", "1"]
    environment = {**os.environ, **_QUIET, "MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}
    environment["MLFLOW_BACKEND_STORE_URI"] = address.uri  # arguments are for all to see
    print(f"open http://{host}:{port} in a browser; stop with Ctrl-C", file=sys.stderr)
    sys.stderr.flush()
    os.execve(sys.executable, command, environment)


def _quiet_logs() -> None:
    """What MLflow and Alembic log besides what they raise may quote an address."""
    import logging

    for name in ("mlflow", "alembic", "sqlalchemy", "urllib3"):
        logging.getLogger(name).setLevel(logging.CRITICAL)
