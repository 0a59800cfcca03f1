"""Addresses of tracking servers: read by one parser, and their credentials never shown, however odd they are."""

import html
import json
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from urllib.parse import quote, quote_plus

import pytest
from click.testing import CliRunner
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gen2reco.commands.track import track
from gen2reco.errors import InfrastructureError, InputError
from gen2reco.track.address import parse, tracking_address
from gen2reco.track.secrets import scrub, scrub_file, scrub_value, shown_command
from gen2reco.track.server import connect, explain, reachable
from gen2reco.track.spool import Spool


@pytest.mark.parametrize(
    ("uri", "shown", "host", "port"),
    [
        ("http://h:5000", "http://h:5000", "h", 5000),
        ("HTTPS://me:pw@h/mlflow/", "https://***@h/mlflow/", "h", 443),
        ("http://token@[::1]:1", "http://***@[::1]:1", "::1", 1),
        ("postgresql://me:p/a?s#s w@h/db", "postgresql://***@h/db", "h", 5432),
        ("postgresql+psycopg2://u:p%40@h:1/d?sslmode=require", "postgresql+psycopg2://***@h:1/d", "h", 1),
        ("postgresql:///db?host=/run", "postgresql:///db", "", 5432),
    ],
)
def test_servers(uri, shown, host, port):
    address = parse(uri)
    assert (str(address), address.host, address.port, address.path) == (shown, host, port, None)


@pytest.mark.parametrize(
    ("uri", "path", "opened"),
    [
        ("sqlite:////p/x.db", "/p/x.db", "sqlite:////p/x.db"),
        ("sqlite:////p/x.db?timeout=60", "/p/x.db", "sqlite:////p/x.db?timeout=60"),
        ("sqlite:////p/a b#ü%20'.db", "/p/a b#ü%20'.db", "sqlite:////p/a b#ü%20'.db"),
        ("sqlite:////p/a?b/x.db", "/p/a?b/x.db", "sqlite+pysqlite:///file:/p/a%3Fb/x.db?uri=true"),
        ("sqlite:////p/?.db?timeout=6", "/p/?.db", "sqlite+pysqlite:///file:/p/%3F.db?timeout=6&uri=true"),
        (
            "sqlite:///file:/p/a%3F.db?uri=true&mode=rw",
            "/p/a?.db",
            "sqlite+pysqlite:///file:/p/a%3F.db?mode=rw&uri=true",
        ),
        ("sqlite:///x.db", str(Path.cwd() / "x.db"), f"sqlite:///{Path.cwd()}/x.db"),
    ],
)
def test_sqlite_files(uri, path, opened):
    address = parse(uri)
    assert (str(address.path), address.uri) == (path, opened)


def test_the_default_lies_beside_the_results_whatever_their_name(tmp_path, monkeypatch):
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)
    assert tracking_address(tmp_path / "a?b").path == tmp_path / "a?b" / "mlflow.db"
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://h:1")
    assert str(tracking_address(tmp_path)) == "http://h:1"
    assert str(tracking_address(tmp_path, "http://other:1")) == "http://other:1"


@pytest.mark.parametrize(
    ("uri", "said"),
    [
        ("ftp://host", "expected http(s)://HOST:PORT"),
        ("nonsense", "expected http(s)://HOST:PORT"),
        ("postgres://h/d", "postgresql://HOST/NAME"),
        ("sqlite://", "in memory"),
        ("sqlite:///", "in memory"),
        ("sqlite:///:memory:", "in memory"),
        ("sqlite:///file:x?mode=memory&uri=true", "in memory"),
        ("sqlite://x.db", "3 or 4 slashes"),
        ("sqlite:////p/x.db?timeut=3", "unknown parameter; known: cache"),
        ("http://me:pa/ss@h", "%2F %23 %3F %40"),
        ("http://h:5000/;token=pa", "%2F %23 %3F %40"),
        ("http://me:12/ss@h", "%2F %23 %3F %40"),
        ("http://me:12#ss@h", "%2F %23 %3F %40"),
        ("http://me:p@ss@h", "%2F %23 %3F %40"),
        ("http://me:p ss@h", "%2F %23 %3F %40"),
        ("http://h:5000?token=ss", "%2F %23 %3F %40"),
        ("http://h:99999", "cannot be read"),
        ("http://[::1", "cannot be read"),
        ("http://", "HOST:PORT/PATH"),
        ("postgresql://me:p@ss@h/d", "%2F %23 %3F %40"),
        ("postgresql://me:p@h:ss/d", "cannot be read"),
        ("postgresql://me:12/ss@h/d", "%2F %23 %3F %40"),
        ("postgresql://h:5432/d?password=a@ss@b", "%2F %23 %3F %40"),
        ("postgresql://h/d?password=a@ss", "%2F %23 %3F %40"),
        ("sqlite:////p/\0.db", "cannot be read"),
    ],
)
def test_what_is_no_address_is_one_line_that_quotes_nothing(uri, said):
    with pytest.raises(InputError) as caught:
        parse(uri)
    assert said in str(caught.value) and "\n" not in str(caught.value)
    assert "ss@" not in str(caught.value) and "=ss" not in str(caught.value)


PIECE = st.text("abcdefghijkmnpqrstuvwxyz23456789", min_size=5, max_size=5).map(lambda text: f"Q{text}Z")
PASSWORD = st.lists(PIECE, min_size=1, max_size=3).flatmap(
    lambda pieces: st.sampled_from(["/", "#", "?", "@", " ", ":", "&", "%", "'", '"', "<", "\\", "ü", "=", "+"]).map(
        lambda mark: (mark.join(pieces), pieces)
    )
)
FORMS = [
    "http://me:{}@127.0.0.1:9",
    "http://{}@127.0.0.1:9/x",
    "https://me:{}@127.0.0.1:9",
    "http://me:{}@127.0.0.1:nine",
    "http:/me:{}@127.0.0.1:9",
    "http://127.0.0.1:9?token={}",
    "http://127.0.0.1:9/?api_key={}&x=1",
    "postgresql://me:{}@127.0.0.1:9/db",
    "postgresql://127.0.0.1:9/db?password={}",
    "mysql+pymysql://me:{}@127.0.0.1:9/db",
    "sqlite:////dev/null/me:{}@h/x.db",
    "sqlite://me:{}@h/x.db",
    "sqlite:////tmp/x.db?password={}",
    "me:{}@host",
    "{}",
]


@settings(
    max_examples=120, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(PASSWORD, st.sampled_from(FORMS), st.sampled_from([str, quote, quote_plus]))
def test_no_password_reaches_the_terminal_or_the_receipt(tmp_path, capfd, caplog, password, form, written):
    """Whatever the address: a campaign goes on, and says why its tracking waits."""
    secret, pieces = password
    uri, results = form.format(written(secret)), tmp_path / "results" / "pilot"
    results.mkdir(parents=True, exist_ok=True)
    receipt = results / "tracked.json"
    arguments = ["sync", str(results), "--uri", uri]
    alone = CliRunner().invoke(track, arguments)
    waiting = CliRunner().invoke(track, [*arguments, "--receipt", str(receipt)])
    assert alone.exception is not None and waiting.exit_code == 0, (alone, waiting)
    assert json.loads(receipt.read_text())["status"] == "waiting"
    heard = capfd.readouterr()
    told = "".join((str(alone.exception), alone.output, waiting.output, receipt.read_text(), *heard, caplog.text))
    told += shown_command(["track", "sync", "--uri", uri, f"--uri={uri}"]) + scrub_value(uri) if "://" in uri else ""
    assert "\n" not in str(alone.exception)
    assert not [piece for piece in pieces if piece in told], (uri, told)


@settings(max_examples=150, deadline=None, derandomize=True)
@given(PASSWORD, st.sampled_from(FORMS[:3] + FORMS[7:10]))
def test_no_password_is_left_in_what_libraries_complain(password, form):
    secret, pieces = password
    address = parse(form.format(quote(secret, safe="")))
    spellings = (str, repr, json.dumps, quote, quote_plus, html.escape)
    for spelling in spellings:
        errors = [f"failed: {spelling(address.uri)}", f"FATAL: password {spelling(secret)} refused", spelling(secret)]
        for error in map(ValueError, errors):
            told = str(explain(error, address))
            assert not [piece for piece in pieces if piece in told] and "\n" not in told, told


@settings(
    max_examples=100, deadline=None, derandomize=True, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(PASSWORD, st.sampled_from([form for form in FORMS if "://" in form]), st.sampled_from([str, quote]))
def test_no_password_reaches_the_spool_or_a_crate(tmp_path, password, form, written):
    """As a setting, a label, the source of data, and in the JSON and YAML that an export copies."""
    secret, pieces = password
    uri = form.format(written(secret))
    with Spool(tmp_path, "any", live=False) as log:
        log.params({"uri": uri, "net": {"password": secret}})
        log.tags({"where": f"--uri={uri}"})
        log.dataset("d", "1", source=uri)
    told = (
        log.path.read_text()
        + scrub_file(json.dumps({"a": [{"uri": uri}], "password": secret}).encode(), ".json").decode()
    )
    told += scrub_file(f"a: 1\nuri: {uri}\nb: 2\n".encode(), ".yaml").decode()
    log.path.unlink()
    assert "a: 1\nuri: " in told and told.endswith("\nb: 2\n")
    assert not [piece for piece in pieces if piece in told], told


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("see https://me:pa/ss?@host/x, or ask", "see https://***@host/x, or ask"),
        ("at http://me:pa ss@host now", "at http://***@host now"),
        ("http://localhost:5000 is away; write to me@x.org", "http://***@x.org"),
        ("the server http://localhost:5000 is away; write to me@x.org", None),
        ("GET /x?token=abc&y=1 HTTP", "GET /x?token=*** HTTP"),
        ("password=abc host=h", "password=*** host=h"),
        ("password: abc  # of the server", "password: ***  # of the server"),
        ("gen2reco --password abc sync", "gen2reco --password *** sync"),
        ("max_tokens: 512, a token count", None),
        ("Authorization: Token abcdef", "Authorization: Token ***"),
        ("to?next=http%3A%2F%2Fme%3Apa%40h%2F", "to?next=http%3A%2F%2F***%40h%2F"),
        ('{"password": "a b", "tokens": 512, "n": "x"}', '{"password": "***", "tokens": 512, "n": "x"}'),
        ("Authorization: Bearer abc.def", "Authorization: Bearer ***"),
        ("<svg xmlns='http://www.w3.org/2000/svg'><style>@media", None),
        ("max_tokens=512 is text", "max_tokens=512 is text"),
    ],
)
def test_texts_are_struck(text, shown):
    struck = scrub_value(text) if text.startswith("http") else scrub(text)
    assert struck == (text if shown is None else shown)


def test_secrets_of_the_environment_are_struck(monkeypatch):
    monkeypatch.setenv("MLFLOW_TRACKING_PASSWORD", "hunt er/22")
    monkeypatch.setenv("https_proxy", "http://joe:s3cret99@proxy:3128")
    told = scrub(f"hunt er/22 {quote('hunt er/22', safe='')} s3cret99 proxy")
    assert told == "*** *** *** proxy"
    assert scrub_value("abc", "net.password") == "***" and scrub_value("512", "token") == "512"


def test_a_long_text_is_struck_in_no_time():
    assert len(scrub("a://b:" * 100_000)) and len(scrub("token" * 100_000))


class Proxy(BaseHTTPRequestHandler):
    """Answers for whatever server is asked for, and says 502 for `gone`."""

    def do_GET(self):
        """Serve."""
        self.server.asked.append(self.path)
        self.send_response(502 if "gone" in self.path else 200)
        self.end_headers()

    def log_message(self, *_):
        """Quiet."""


@pytest.fixture
def proxy(monkeypatch):
    for name in ("http_proxy", "https_proxy", "no_proxy", "all_proxy"):
        monkeypatch.delenv(name, raising=False)
        monkeypatch.delenv(name.upper(), raising=False)
    server = HTTPServer(("127.0.0.1", 0), Proxy)
    server.asked = []
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield server
    server.shutdown()


def test_a_file_that_is_no_database_is_an_error_of_the_address(tmp_path):
    (tmp_path / "x.db").write_text("text")
    with pytest.raises(InputError, match="is no SQLite database"):
        connect(parse(f"sqlite:///{tmp_path}/x.db"))


@pytest.mark.parametrize("variable", ["http_proxy", "HTTP_PROXY", "all_proxy"])
def test_a_server_behind_a_proxy_is_reached_through_it(proxy, monkeypatch, variable):
    address = parse("http://mlflow.invalid:5000")
    assert not reachable(address)
    monkeypatch.setenv(variable, f"http://127.0.0.1:{proxy.server_port}")
    assert reachable(address) and proxy.asked == ["http://mlflow.invalid:5000/"]
    assert not reachable(parse("http://gone.invalid:5000"))


@pytest.mark.parametrize("variable", ["no_proxy", "NO_PROXY"])
def test_a_server_that_no_proxy_serves_is_reached_directly(proxy, monkeypatch, variable):
    monkeypatch.setenv("http_proxy", "http://127.0.0.1:9")
    address = parse(f"http://127.0.0.1:{proxy.server_port}")
    assert not reachable(address)
    monkeypatch.setenv(variable, "127.0.0.1")
    assert reachable(address)


@pytest.mark.parametrize(
    "words",
    [
        "HTTPConnectionPool(host='h', port=80): Max retries exceeded with url: /api",
        "('Connection aborted.', RemoteDisconnected('Remote end closed connection without response'))",
        "('Connection broken: IncompleteRead(0 bytes read, 861 more expected)', IncompleteRead(0 bytes read))",
        "[Errno 104] Connection reset by peer",
    ],
)
def test_a_server_that_goes_in_the_middle_of_anything_is_synced_again(words):
    error = explain(Exception(f"API request to http://h failed with exception {words}"), parse("http://h"))
    assert isinstance(error, InfrastructureError) and "sync again" in str(error)
