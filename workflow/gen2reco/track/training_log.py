"""A training as a run of its campaign: settings, data with digests, curves, and the model that it registers."""

import json
import os
import sys
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from gen2reco.config.block import digest
from gen2reco.files import file_digest
from gen2reco.track.shards import Shards, shards_of
from gen2reco.track.spool import Spool

Watch = Callable[[int, dict[str, float]], None]


class TrainingLog:
    """Logs one training as a run of its campaign; a context manager, by which the run ends FINISHED, FAILED or KILLED.

    `results`: the campaign's results folder, of which the training becomes a run. The run is named after the model
    folder, or by `run`, and its settings, so that one that is resumed goes on in it. Of torchrun's processes only the
    first logs.
    """

    def __init__(self, results: Path, name: str, output: Path, settings: dict[str, Any], run: str = ""):
        self.name, self.output = name, output
        key = "".join(c if c.isalnum() and c.isascii() else "_" for c in run or output.resolve().name)[:80]
        self.first = int(os.environ.get("RANK", "0")) == 0
        self.spool = Spool(results, f"{key}-{digest(settings)[:8]}") if self.first else None
        self._log("params", {"training": name, **settings})

    def data(self, paths: Iterable[Path], context: str = "training") -> str:
        """Log record files as data sets, one a sample and stage; returns the digest of all."""
        found = [(name, *facts) for name, facts in sorted(contents(paths).items())]
        for name, content, events in found:
            self._log("dataset", name, content, context, name, events=events)
        return digest([content for _, content, _ in found])

    def watch(self, part: str = "") -> Watch:
        """A function that prints losses and logs them, under the part's name."""

        def log(step: int, numbers: dict[str, float]) -> None:
            line = ", ".join(f"{name} {value:.4f}" for name, value in numbers.items())
            print(f"{part or self.name} step {step}: {line}", file=sys.stderr, flush=True)
            self._log("metrics", {f"{part}/{k}" if part else k: v for k, v in numbers.items()}, step)

        return log

    def progress(self, part: str, step: int, numbers: dict[str, float]) -> None:
        """Print and log the losses of one of several parts."""
        self.watch(part)(step, numbers)

    def evaluated(self, metrics: Iterable[dict]) -> None:
        """Log held-out metrics {name, value, uncertainty}."""
        rows = list(metrics)
        self._log("metrics", {f"held_out/{row['name']}": row["value"] for row in rows})
        errors = {f"held_out/{row['name']}.uncertainty": row.get("uncertainty") for row in rows}
        self._log("metrics", {name: value for name, value in errors.items() if value is not None})

    def report(self, folder: Path) -> None:
        """Keep the pages of a report with the run."""
        for path in sorted(folder.glob("*.html")):
            self._log("artifact", path, "held_out")

    def made(self) -> None:
        """Have the model folder registered as a new version, the candidate, by the next sync."""
        self._log("model", self.name, self.output)

    def __enter__(self) -> "TrainingLog":
        return self

    def __exit__(self, *error: Any) -> None:
        if self.spool:
            self.spool.__exit__(*error)

    def _log(self, what: str, *given: Any, **named: Any) -> None:
        if self.spool:
            getattr(self.spool, what)(*given, **named)


def contents(paths: Iterable[Path]) -> dict[str, tuple[str, int]]:
    """`sample/stage` (or the name of a lone file) → digest of its content, as its campaign states it, and events."""
    folders: dict[Path, list[Path]] = {}
    for path in paths:
        folders.setdefault(path.parent, []).append(path)
    found = {}
    for folder, files in folders.items():
        shards = shards_of(folder.parent.parent, folder.parent.name, folder.name)
        used = {int(path.stem): path for path in files if path.stem.isdecimal()}
        if shards and len(used) == len(files) and used.keys() <= shards.facts.keys():
            some = Shards(shards.sample, shards.stage, {number: shards.facts[number] for number in used})
            found[f"{shards.sample}/{shards.stage}"] = (some.content(), int(some.total("events_out")))
        else:
            found |= {str(path): (file_digest(path), _events(path)) for path in files}
    return found


def _events(path: Path) -> int:
    try:
        return int(json.loads(path.with_suffix(".json").read_text(encoding="utf-8"))["events_out"])
    except (OSError, ValueError, KeyError, TypeError):
        return 0
