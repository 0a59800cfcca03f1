"""The reports of a campaign as tracking takes them: their metrics, and their files, figures one by one among them."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path

from pydantic import TypeAdapter, ValidationError

from gen2reco.track import spool
from gen2reco.track.files_read import Row, first_mistake
from gen2reco.track.regular import NotTaken, check, read

REPORT = "report"
_SUFFIXES = {".html", ".json", ".png", ".svg", ".pdf", ".md", ".txt", ".csv"}
_LARGEST, _LARGEST_METRICS = 2**28, 2**26
"""Bytes."""
_ROWS = TypeAdapter(list[Row])


def metrics_of(results: Path) -> Iterator[tuple[str, float, int, int]]:
    """Metrics `reference/stage/sample/name` with their uncertainties and floors: (key, value, ms since 1970, step)."""
    for path in sorted((results / REPORT).rglob("metrics.json")):
        try:
            found = json.loads(read(path, results, _LARGEST_METRICS))
            rows = _ROWS.validate_python(found.get("metrics") if isinstance(found, dict) else found)
        except ValidationError as error:
            _warn(path, f"damaged metrics, left out: {first_mistake(error)}")
            continue
        except (NotTaken, ValueError, RecursionError) as error:
            _warn(path, f"damaged metrics, left out: {error}")
            continue
        time = path.stat().st_mtime_ns // 10**6
        group = "/".join(path.relative_to(results / REPORT).parts[:-1])
        for row in rows:
            parts = (group, row.stage, row.samples[-1] if row.samples else "", row.name)
            key = "/".join(part for part in parts if part)
            for suffix, value in (("", row.value), (".uncertainty", row.uncertainty), (".floor", row.floor)):
                if value is not None:
                    yield key + suffix, value, time, 0


def files_of(results: Path) -> Iterator[tuple[Path, str]]:
    """The files of the reports, each with its folder; links, odd kinds and giants are left out with a line."""
    for path in sorted((results / REPORT).rglob("*")):
        hidden = any(part.startswith(".") for part in path.relative_to(results).parts)
        if path.suffix not in _SUFFIXES or hidden or path.is_dir():
            continue
        try:
            check(path, results, _LARGEST)
        except NotTaken as error:
            _warn(path, f"left out: {error}")
            continue
        yield path, spool.safe_path("/".join(path.parent.relative_to(results).parts))


def _warn(path: Path, what: str) -> None:
    logging.getLogger(__name__).warning("%s: %s", path, what)
