"""The local spool: the events of a training, appended line by line; needs no server, no lock and no mlflow.

Each process writes its own file `<results>/.spool/<run>.<attempt>.jsonl` by single appends, so concurrent jobs cannot
mix and a kill leaves at most one torn line, which the reader skips. Events carry (attempt, number): copies of a file
add nothing twice.
"""

import json
import logging
import os
import re
import shutil
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gen2reco.errors import InputError
from gen2reco.files import file_digest
from gen2reco.track.regular import NotTaken, check
from gen2reco.track.secrets import scrub_value

FOLDER, FILES = ".spool", "files"
RUN_KEY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]{0,99}")
FINISHED, FAILED, KILLED = "FINISHED", "FAILED", "KILLED"
MAX_LINE, MAX_SPOOL, MAX_FILE = 2**20, 2**28, 2**32
"""Bytes of a line, of what is read of one process's lines, and of a file kept in the spool."""
_UNSAFE = re.compile(r"[^A-Za-z0-9_.-]+")


class Spool:
    """Records one training run; `run_key` names it, the same in every attempt of the same training.

    Used as a context manager it also records how the attempt ended. Nothing it does can stop a training: a full disk is
    one warning. With `live`, a background process brings the curves to the server of MLFLOW_TRACKING_URI meanwhile.
    """

    def __init__(self, folder: Path | str, run_key: str, live: bool = True):
        if not RUN_KEY.fullmatch(run_key):
            raise InputError(f"training `{run_key}`: expected at most 100 letters, digits, `_` and `-`; rename it")
        self.root, self.key, self._unwatched = Path(folder) / FOLDER, run_key, live
        self.attempt = f"{time.time_ns() // 10**6:x}-{uuid.uuid4().hex[:12]}"
        self.path = self.root / f"{run_key}.{self.attempt}.jsonl"
        self._count, self._file, self._torn, self._warned = 0, -1, False, False
        self._watcher: subprocess.Popen | None = None

    def params(self, values: Mapping[str, Any]) -> None:
        """Settings of the run: nested mappings become dotted names; the first value recorded of a name stays."""
        self._append("params", values={k: scrub_value(str(v), k) for k, v in flatten(values)})

    def tags(self, values: Mapping[str, Any]) -> None:
        """Labels of the run; later ones replace earlier ones."""
        self._append("tags", values={k: scrub_value(str(v), k) for k, v in flatten(values)})

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Numbers at a step; of a name and step recorded again (a resumed training) the first stays."""
        self._append("metrics", step=int(step), values={str(k): float(v) for k, v in values.items()})
        if self._unwatched:
            self._unwatched, self._watcher = False, watch(self.root.parent, self.key)

    def dataset(self, name: str, digest: str, context: str = "training", source: str = "", **facts: Any) -> None:
        """A data set that the run uses: its content digest, where it lies, and plain facts (events, range)."""
        self._append("dataset", name=name, digest=digest, context=context, source=scrub_value(str(source)), facts=facts)

    def artifact(self, path: Path | str, folder: str = "") -> None:
        """A file to keep with the run as it is now; `folder` groups it. Raises InputError if it is no file."""
        source = Path(path)
        if not source.is_file():
            raise InputError(f"{path}: no such file; an artifact of a run is one file")
        self._append("artifact", file=self._keep(source), folder=safe_path(folder))

    def model(self, name: str, folder: Path | str) -> None:
        """A model folder to register as a new version of `name`, candidate for its place."""
        from gen2reco.track.modelfiles import files_of

        try:
            files = {place: self._keep(path) for place, path in files_of(Path(folder), name).items()}
        except InputError as error:
            self._warn(error)
        else:
            self._append("model", name=name, files=files)

    def end(self, status: str = FINISHED) -> None:
        """How this attempt ended."""
        self._append("end", status=status)
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        if self._watcher and self._watcher.stdin:
            self._watcher.stdin.close()

    def __enter__(self) -> "Spool":
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        self.end(FINISHED if kind is None else FAILED if issubclass(kind, Exception) else KILLED)

    def _keep(self, path: Path) -> str | None:
        """Copy a file into the spool under its digest; returns its path in the spool."""
        try:
            kept = f"{file_digest(path)}/{_UNSAFE.sub('_', path.name).lstrip('.')[-100:] or 'file'}"
            target = self.root / FILES / kept
            if not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                temporary = target.with_name(f".{uuid.uuid4().hex}.tmp")
                shutil.copyfile(path, temporary)
                temporary.replace(target)
            return kept
        except OSError as error:
            self._warn(error)
            return None

    def _append(self, kind: str, **content: Any) -> None:
        event = {"attempt": self.attempt, "n": self._count, "t": time.time_ns() // 10**6, "kind": kind, **content}
        self._count += 1
        try:
            line = json.dumps(event, separators=(",", ":"), default=str).encode() + b"\n"
            if len(line) > MAX_LINE:
                raise ValueError(f"{kind} of {len(line)} bytes, more than {MAX_LINE}")
            if self._file < 0:
                self.root.mkdir(parents=True, exist_ok=True)
                self._file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
            line = b"\n" + line if self._torn else line
            self._torn = os.write(self._file, line) != len(line)
        except OSError as error:
            self._torn = True
            self._warn(error)
        except (TypeError, ValueError, RecursionError) as error:
            self._warn(error)

    def _warn(self, error: Exception) -> None:
        if not self._warned:
            logging.getLogger(__name__).warning("%s: tracking is incomplete: %s; the run goes on", self.path, error)
        self._warned = True


def watch(folder: Path, run_key: str) -> subprocess.Popen | None:
    """Start `live_sync` in the background if MLFLOW_TRACKING_URI names a server; None if it does not, or cannot start.

    The process ends when its standard input, a pipe held by the caller, is closed.
    """
    if not os.environ.get("MLFLOW_TRACKING_URI", "").startswith(("http://", "https://")):
        return None
    command = [sys.executable, "-m", "gen2reco.track.live_sync", str(folder), run_key]
    pipe, null = subprocess.PIPE, subprocess.DEVNULL
    try:
        return subprocess.Popen(command, stdin=pipe, stdout=null, stderr=null, start_new_session=True)
    except OSError:
        return None


def read(folder: Path | str, run_key: str | None = None) -> dict[str, list[dict]]:
    """All events spooled under a results folder, by run key: each once, in order of time.

    Lines torn by a kill, and those that no spool of ours would hold, are left out: the latter are
    counted in a warning. Files that are links, or are reached through one, are not read.
    """
    root, known = Path(folder) / FOLDER, set()
    runs: dict[str, list[dict]] = {}
    for path in sorted(root.glob(f"{run_key or '*'}.*.jsonl")):
        key = path.name.partition(".")[0]
        try:
            check(path, Path(folder), 2**62)
        except NotTaken:
            continue
        if not RUN_KEY.fullmatch(key):
            continue
        for event in _events(path):
            identity = (key, event["attempt"], event["n"])
            if identity not in known:
                known.add(identity)
                runs.setdefault(key, []).append(event)
    for events in runs.values():
        events.sort(key=lambda e: (e["t"], e["attempt"], e["n"]))
    return runs


def spooled_file(folder: Path | str, name: str | None) -> Path | None:
    """The file kept in the spool as `digest/name`; None if it is missing, is a link, or is not of that content."""
    if name is None:
        return None
    path = Path(folder) / FOLDER / FILES / name
    try:
        check(path, Path(folder), MAX_FILE)
        return path if file_digest(path) == path.parent.name else None
    except (NotTaken, OSError):
        return None


def flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """{"a": {"b": 1}} → ("a.b", 1)."""
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def safe_path(folder: str) -> str:
    """A relative path of plain names, whatever was given: no root, no `..`, no odd characters, not deep, not long."""
    parts = (_UNSAFE.sub("_", part).lstrip(".")[:100] for part in str(folder).replace("\\", "/").split("/"))
    return "/".join([part for part in parts if part][:8])


def _events(path: Path) -> Iterator[dict]:
    """The whole, well-formed events of one file."""
    from pydantic import ValidationError

    from gen2reco.track.files_read import EVENT

    lines = skipped = size = 0
    with path.open("rb") as file:
        while (line := file.readline(MAX_LINE)) and (size := size + len(line)) <= MAX_SPOOL:
            if (not line.endswith(b"\n") and len(line) < MAX_LINE) or not line.strip():
                continue  # the last line, torn or being written; the end of a torn one
            lines += 1
            try:
                yield EVENT.validate_json(line).model_dump()
            except ValidationError:
                skipped += 1
    if skipped or size > MAX_SPOOL:
        rest = f", and all beyond {MAX_SPOOL} bytes" if size > MAX_SPOOL else ""
        message = "%s: %d of %d lines are no events of a spool, left out%s"
        logging.getLogger(__name__).warning(message, path, skipped, lines, rest)
