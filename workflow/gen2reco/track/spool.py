"""The local spool: what a training tells of itself, appended line by line; needs no server, no lock and no mlflow.

Each process writes its own file `<results>/.spool/<run>.<attempt>.jsonl` by single appends, so concurrent jobs cannot
mix and a kill leaves at most one torn line, which the reader skips. Events carry (attempt, number): copies of a file
tell nothing twice.
"""

import json
import logging
import os
import re
import time
import uuid
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from gen2reco.campaign.sidecar import file_digest
from gen2reco.errors import InputError
from gen2reco.track.secrets import scrub

FOLDER, FILES = ".spool", "files"
RUN_KEY = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_-]*")
FINISHED, FAILED, KILLED = "FINISHED", "FAILED", "KILLED"
MAX_LINE = 2**20
_UNSAFE = re.compile(r"[^A-Za-z0-9_.-]+")


class Spool:
    """Tells the story of one training run; `run_key` names it, the same in every attempt of the same training.

    Used as a context manager it also tells how the attempt ended. Nothing it does can stop a training: a full disk is
    one warning. With `live`, a background process brings the curves to the server of MLFLOW_TRACKING_URI meanwhile.
    """

    def __init__(self, folder: Path | str, run_key: str, live: bool = True):
        if not RUN_KEY.fullmatch(run_key):
            raise InputError(f"training `{run_key}`: expected letters, digits, `_` and `-` only; rename it")
        self.root, self.key, self.live = Path(folder) / FOLDER, run_key, live
        self.attempt = f"{time.time_ns() // 10**6:x}-{uuid.uuid4().hex[:12]}"
        self.path = self.root / f"{run_key}.{self.attempt}.jsonl"
        self._count, self._file, self._torn, self._warned, self._watcher = 0, -1, False, False, None

    def params(self, values: Mapping[str, Any]) -> None:
        """Settings of the run: nested mappings become dotted names; the first value told of a name stays."""
        self._tell("params", values={k: scrub(str(v)) for k, v in flatten(values)})

    def tags(self, values: Mapping[str, Any]) -> None:
        """Labels of the run; later ones replace earlier ones."""
        self._tell("tags", values={k: scrub(str(v)) for k, v in flatten(values)})

    def metrics(self, values: Mapping[str, float], step: int = 0) -> None:
        """Numbers at a step; of a name and step told again (a resumed training) the first stays."""
        self._tell("metrics", step=int(step), values={str(k): float(v) for k, v in values.items()})
        if self.live and self._watcher is None:
            from gen2reco.track.live import watch

            self._watcher = watch(self.root.parent, self.key)

    def dataset(self, name: str, digest: str, context: str = "training", source: str = "", **facts: Any) -> None:
        """A data set that the run uses: its content digest, where it lies, and plain facts (events, range)."""
        self._tell("dataset", name=name, digest=digest, context=context, source=scrub(str(source)), facts=facts)

    def artifact(self, path: Path | str, folder: str = "") -> None:
        """A file to keep with the run as it is now; `folder` groups it. Raises InputError if it is no file."""
        source = Path(path)
        if not source.is_file():
            raise InputError(f"{path}: no such file; an artifact of a run is one file")
        self._tell("artifact", file=self._keep(source), folder=safe_path(folder))

    def model(self, name: str, folder: Path | str) -> None:
        """A model folder to register as a new version of `name`, candidate for its place."""
        from gen2reco.campaign.models import model_files

        files = {place: self._keep(path) for place, path in model_files(Path(folder)).items()}
        self._tell("model", name=name, files=files)

    def end(self, status: str = FINISHED) -> None:
        """How this attempt ended."""
        self._tell("end", status=status)
        if self._file >= 0:
            os.close(self._file)
            self._file = -1
        if self._watcher:
            self._watcher.stdin.close()
            self._watcher = None

    def __enter__(self) -> "Spool":
        return self

    def __exit__(self, kind: type | None, *_: object) -> None:
        self.end(FINISHED if kind is None else FAILED if issubclass(kind, Exception) else KILLED)

    def _keep(self, path: Path) -> str | None:
        """Copy a file into the spool under its digest; returns its path in the spool."""
        try:
            kept = f"{file_digest(path)}/{_UNSAFE.sub('_', path.name).lstrip('.') or 'file'}"
            target = self.root / FILES / kept
            if not target.exists():
                target.parent.mkdir(parents=True, exist_ok=True)
                temporary = target.with_name(f".{uuid.uuid4().hex}.tmp")
                temporary.write_bytes(path.read_bytes())
                temporary.replace(target)
            return kept
        except OSError as error:
            self._warn(error)
            return None

    def _tell(self, kind: str, **content: Any) -> None:
        event = {"attempt": self.attempt, "n": self._count, "t": time.time_ns() // 10**6, "kind": kind, **content}
        self._count += 1
        line = json.dumps(event, separators=(",", ":"), default=str).encode() + b"\n"
        try:
            if self._file < 0:
                self.root.mkdir(parents=True, exist_ok=True)
                self._file = os.open(self.path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC, 0o644)
            line = b"\n" + line if self._torn else line
            self._torn = os.write(self._file, line) != len(line)
        except OSError as error:
            self._torn = True
            self._warn(error)

    def _warn(self, error: OSError) -> None:
        if not self._warned:
            logging.getLogger(__name__).warning("%s: tracking is incomplete: %s; the run goes on", self.path, error)
        self._warned = True


def read(folder: Path | str, run_key: str | None = None) -> dict[str, list[dict]]:
    """All events spooled under a results folder, by run key: each once, in order of time, torn lines left out."""
    root, runs, seen = Path(folder) / FOLDER, {}, set()
    for path in sorted(root.glob(f"{run_key or '*'}.*.jsonl")):
        key = path.name.partition(".")[0]
        if path.is_symlink() or not path.is_file() or not RUN_KEY.fullmatch(key):
            continue
        for event in _events(path):
            identity = (key, event["attempt"], event["n"])
            if identity not in seen:
                seen.add(identity)
                runs.setdefault(key, []).append(event)
    for events in runs.values():
        events.sort(key=lambda e: (e["t"], e["attempt"], e["n"]))
    return runs


def spooled_file(folder: Path | str, name: object) -> Path | None:
    """The file kept in the spool under that name; None if the name leads out of the spool or to nothing."""
    root = (Path(folder) / FOLDER / FILES).resolve()
    path = (root / str(name)).resolve()
    return path if path.is_relative_to(root) and path.is_file() else None


def flatten(values: Mapping[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """{"a": {"b": 1}} → ("a.b", 1)."""
    for key, value in values.items():
        if isinstance(value, Mapping) and value:
            yield from flatten(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def safe_path(folder: str) -> str:
    """A relative path of plain names, whatever was given: no root, no `..`, no odd characters."""
    parts = (_UNSAFE.sub("_", part).lstrip(".") for part in str(folder).replace("\\", "/").split("/"))
    return "/".join(part for part in parts if part)


def _events(path: Path) -> Iterator[dict]:
    """The whole, well-formed events of one file."""
    with path.open("rb") as file:
        while line := file.readline(MAX_LINE):
            if not line.endswith(b"\n"):
                continue
            try:
                event = json.loads(line)
                if _well_formed(event):
                    yield event
            except (ValueError, RecursionError):
                continue


def _well_formed(event: object) -> bool:
    if not isinstance(event, dict) or not all(isinstance(event.get(k), int) for k in ("n", "t")):
        return False
    if not all(isinstance(event.get(k), str) for k in ("attempt", "kind")):
        return False
    if event["kind"] == "metrics":
        numbers = event.get("values")
        return (
            isinstance(event.get("step"), int)
            and isinstance(numbers, dict)
            and all(isinstance(v, (int, float)) for v in numbers.values())
        )
    return event["kind"] not in ("params", "tags") or isinstance(event.get("values"), dict)
