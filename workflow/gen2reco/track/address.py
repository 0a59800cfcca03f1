"""Where to track: one parser for the addresses of MLflow servers and databases, which never shows their credentials."""

import os
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING
from urllib.parse import parse_qsl, quote, unquote, urlencode, urlsplit

from gen2reco.errors import InputError
from gen2reco.track.secrets import STRUCK, credentials, without_user

if TYPE_CHECKING:
    from sqlalchemy.engine import URL

DATABASE = "mlflow.db"
PORTS = {"postgresql": 5432, "mysql": 3306, "mssql": 1433}
_SCHEMES = ("http", "https", "sqlite", *PORTS)
_EXPECTED = "expected http(s)://HOST:PORT, sqlite:///FILE or postgresql://HOST/NAME; give --uri or MLFLOW_TRACKING_URI"
_ESCAPED = (
    "write / # ? @ % and blanks in a password as %2F %23 %3F %40 %25 %20, or set MLFLOW_TRACKING_USERNAME and "
    "MLFLOW_TRACKING_PASSWORD"
)
_FILE_PARAMETERS = {"mode", "cache", "immutable", "nolock", "psow", "vfs"}
_SQLITE_PARAMETERS = _FILE_PARAMETERS | {
    *("timeout", "isolation_level", "detect_types", "check_same_thread", "cached_statements", "uri")
}


@dataclass(frozen=True)
class Address:
    """A tracking server or database. Its text is what may be shown; `uri` is for MLflow alone."""

    shown: str
    uri: str = field(repr=False)
    path: Path | None = None
    """The file of an SQLite database."""
    host: str = ""
    port: int = 0

    def __str__(self) -> str:
        return self.shown

    @property
    def remote(self) -> bool:
        """Whether a server is spoken to by HTTP; else a database is opened directly."""
        return self.uri.startswith("http")

    @property
    def secrets(self) -> list[str]:
        """What must not be shown of the address."""
        return [*credentials(self.uri), *([self.uri] if self.path is None else [])]


def tracking_address(results: Path | str, given: str | None = None) -> Address:
    """Where to track: as given, else MLFLOW_TRACKING_URI, else `mlflow.db` in the folder that holds all results.

    Raises InputError for an address that cannot be read, of which nothing but a known scheme is shown.
    """
    found = given or os.environ.get("MLFLOW_TRACKING_URI")
    return parse(found) if found else of_file(Path(results).absolute() / DATABASE)


def parse(text: str) -> Address:
    """Read an address. Raises InputError for one that could be read in two ways, such as a password with a bare @."""
    scheme = text.partition("://")[0].lower().strip() if "://" in text else ""
    kind = scheme.partition("+")[0]
    if kind not in _SCHEMES:
        raise InputError(f"tracking address: {_EXPECTED}")
    reason = "it cannot be read"
    try:
        if text.isprintable():
            return {"http": _server, "https": _server, "sqlite": _sqlite}.get(kind, _database)(text.strip())
    except _Unclear as error:
        reason = str(error)
    except InputError:
        raise
    except Exception:  # whatever urllib and SQLAlchemy raise, it may quote the password
        pass
    raise InputError(f"tracking address {kind}://{STRUCK}: {reason}; {_ESCAPED}; {_EXPECTED}")


def of_file(path: Path, parameters: dict[str, str] | None = None, scheme: str = "sqlite") -> Address:
    """The address of an SQLite file, whatever characters its path holds."""
    name, given = str(path.absolute()), dict(parameters or {})
    if "?" in name or given.keys() & _FILE_PARAMETERS:
        name, given["uri"] = f"file:{quote(name)}", "true"
        scheme = "sqlite+pysqlite"  # of `sqlite:///file:…` MLflow would make a folder
    query = f"?{urlencode(given)}" if given else ""
    return Address(f"sqlite:///{without_user(str(path))}", f"{scheme}:///{name}{query}", path.absolute())


class _Unclear(ValueError):
    """An address that could be read in two ways; the reason quotes no part of it."""


def _server(text: str) -> Address:
    parts = urlsplit(text)
    odd = parts.query or parts.fragment or set("@;") & set(parts.path) or parts.netloc.count("@") > 1
    if odd or not parts.hostname or re.search(r"[\s\\]", text):
        raise _Unclear("where its password ends is not clear, or it holds more than HOST:PORT/PATH")
    port = parts.port or {"http": 80, "https": 443}[parts.scheme]
    shown = f"{parts.scheme}://{without_user(parts.netloc)}{parts.path}"
    return Address(shown, parts.geturl(), host=parts.hostname, port=port)


def _database(text: str) -> Address:
    """As SQLAlchemy reads it, which takes `/ ? #` in a password; but not where it could as well be HOST:PORT/…@…"""
    from sqlalchemy.engine import make_url

    url = make_url(text)
    rest = text.partition("://")[2]
    if rest.count("@") > 1 or re.match(r"[^:@/?#]*(:\d*)?[/?#].*@", rest) or re.search(r"\s", url.host or ""):
        raise _Unclear("where its password ends is not clear")
    user = f"{STRUCK}@" if url.username is not None else ""
    port = f":{url.port}" if url.port else ""
    shown = f"{url.drivername}://{user}{url.host or ''}{port}/{url.database or ''}"
    return Address(shown, text, host=url.host or "", port=url.port or PORTS[url.drivername.partition("+")[0]])


def _sqlite(text: str) -> Address:
    url = _sqlite_url(text)
    if url.host or url.username is not None or url.port:
        raise InputError(
            "tracking address: expected sqlite:///RELATIVE.db or sqlite:////ABSOLUTE.db, with 3 or 4 slashes"
        )
    name, parameters = url.database or "", {key: str(value) for key, value in url.query.items()}
    if name.startswith("file:") and parameters.get("uri", "").lower() in ("true", "1", "yes", "on", "y", "t"):
        name = unquote(urlsplit(name).path)
    if name in ("", ":memory:") or parameters.get("mode") == "memory":
        raise InputError("tracking address sqlite://: a database in memory is gone at once; give sqlite:///FILE")
    parameters.pop("uri", None)
    return of_file(Path(name), parameters, url.drivername)


def _sqlite_url(text: str) -> "URL":
    """As SQLAlchemy reads it; but a `?` that no parameters follow belongs to the path."""
    from sqlalchemy.engine import make_url

    before, mark, query = text.rpartition("?")
    parameters = parse_qsl(query, keep_blank_values=True) if mark else []
    if "?" not in before and all(name in _SQLITE_PARAMETERS for name, _ in parameters):
        return make_url(text)
    if not all(name in _SQLITE_PARAMETERS for name, _ in parameters):
        if "=" in query:
            raise InputError(
                f"tracking address sqlite:///…: unknown parameter; known: {', '.join(sorted(_SQLITE_PARAMETERS))}; "
                "a path with `?` and `=` in it is written sqlite:///file:/PATH?uri=true with %3F and %3D"
            )
        before, parameters = text, []
    scheme, _, rest = before.partition("://")
    if not rest.startswith("/"):
        return make_url(before)
    return make_url(f"{scheme}://").set(database=rest[1:], query=dict(parameters))
