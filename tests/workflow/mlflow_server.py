"""Real MLflow servers for tests, on SQLite or PostgreSQL, on the loopback address, each in a folder of its own."""

import os
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import time
import urllib.error
import urllib.request
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

PASSWORD = "tests-only"


def need(program: str) -> str:
    """The path of a program; without it the test is skipped loudly, and fails where CI=true."""
    found = shutil.which(program)
    if found is None and os.environ.get("CI") == "true":
        pytest.fail(f"{program} is not installed")
    if found is None:
        pytest.skip(f"{program} IS NOT INSTALLED: this is not tested here")
    return found


def free_port() -> int:
    """A port that nothing listens on now."""
    with socket.socket() as listener:
        listener.bind(("127.0.0.1", 0))
        return listener.getsockname()[1]


class PostgreSQL:
    """A PostgreSQL server in a folder; as root it runs as another user, as it insists."""

    def __init__(self, folder: Path):
        initdb = next(iter(sorted(Path("/usr/lib/postgresql").glob("*/bin/initdb"))), None) or Path(need("initdb"))
        self.bin, self.port, self.log = initdb.parent, free_port(), folder / "postgres.log"
        self.folder = Path(tempfile.mkdtemp(prefix="gen2reco-postgres-"))  # pytest's own folders are closed to others
        folder.mkdir(parents=True, exist_ok=True)
        self.user = {}
        if os.geteuid() == 0:
            need("runuser")
            shutil.chown(self.folder, "postgres")
            self.user = {"user": "postgres"}
        data = self.folder / "data"
        self._run("initdb", "-D", data, "-A", "trust", "-U", "mlflow", "--no-sync")
        options = f"-p {self.port} -c listen_addresses=127.0.0.1 -k {self.folder} -c fsync=off"
        self._run("pg_ctl", "-D", data, "-w", "-t", "60", "-l", self.folder / "log", "-o", options, "start")
        self._run("createdb", "-h", "127.0.0.1", "-p", self.port, "-U", "mlflow", "mlflow")
        self.uri = f"postgresql://mlflow@127.0.0.1:{self.port}/mlflow"

    def stop(self) -> None:
        """Stop the server."""
        if (self.folder / "data" / "postmaster.pid").exists():
            self._run("pg_ctl", "-D", self.folder / "data", "-m", "immediate", "stop")
        shutil.rmtree(self.folder, ignore_errors=True)

    def _run(self, program: str, *arguments: object) -> None:
        command = [str(self.bin / program), *map(str, arguments)]
        with self.log.open("a") as log:
            subprocess.run(command, check=True, stdout=log, stderr=log, cwd="/", timeout=120, **self.user)


class MLflow:
    """An MLflow server; `kill` and `start` it again on the same port and database."""

    def __init__(self, folder: Path, database: str | None = None, *extra: str, **environment: str):
        self.folder, self.port, self.extra, self.environment = folder, free_port(), extra, environment
        folder.mkdir(parents=True, exist_ok=True)
        self.database = database or f"sqlite:///{folder / 'server.db'}"
        self.artifacts = folder / "artifacts"
        self.uri = f"http://127.0.0.1:{self.port}"
        self.process = None

    def start(self) -> "MLflow":
        """Start it and wait until it answers."""
        command = [sys.executable, "-m", "mlflow", "server", "--backend-store-uri", self.database, "--workers", "1"]
        command += ["--artifacts-destination", str(self.artifacts), "--host", "127.0.0.1", "--port", str(self.port)]
        quiet = {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
        environment = {k: v for k, v in os.environ.items() if not k.startswith("MLFLOW_")} | quiet | self.environment
        with (self.folder / "server.log").open("a") as log:
            self.process = subprocess.Popen(
                [*command, *self.extra], stdout=log, stderr=log, env=environment, start_new_session=True
            )
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and self.process.poll() is None:
            try:
                urllib.request.urlopen(f"{self.uri}/health", timeout=2).close()
                return self
            except OSError:
                time.sleep(0.3)
        raise RuntimeError((self.folder / "server.log").read_text()[-3000:])

    def kill(self) -> None:
        """Kill it at once, with all its workers."""
        if self.process and self.process.poll() is None:
            os.killpg(self.process.pid, signal.SIGKILL)
        if self.process:
            self.process.wait()


class Proxy(ThreadingHTTPServer):
    """A web proxy on loopback that brings every request to one server, whatever host it is for."""

    def __init__(self, to: str):
        super().__init__(("127.0.0.1", 0), _Forwarding)
        self.to, self.asked, self.uri = to, [], f"http://joe:hunter22@127.0.0.1:{self.server_port}"

    def __enter__(self) -> "Proxy":
        threading.Thread(target=self.serve_forever, args=(0.02,), daemon=True).start()
        return self

    def __exit__(self, *_: object) -> None:
        self.shutdown()
        self.server_close()


class _Forwarding(BaseHTTPRequestHandler):
    def do_GET(self) -> None:
        self.server.asked.append(self.path)
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0)) or None
        headers = {k: v for k, v in self.headers.items() if k.lower() == "content-type"}
        url = f"{self.server.to}/{self.path.split('/', 3)[3]}"
        request = urllib.request.Request(url, body, headers, method=self.command)
        try:
            with urllib.request.build_opener(urllib.request.ProxyHandler({})).open(request, timeout=60) as answer:
                status, content = answer.status, answer.read()
        except urllib.error.HTTPError as error:
            status, content = error.code, error.read()
        self.send_response(status)
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    do_POST = do_PUT = do_PATCH = do_DELETE = do_GET

    def log_message(self, *_: object) -> None:
        pass
