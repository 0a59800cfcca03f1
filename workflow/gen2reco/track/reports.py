"""The reports of a campaign as tracking takes them: their metrics, and their files, figures one by one among them."""

import json
import logging
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from pydantic import TypeAdapter, ValidationError

from gen2reco.track import spool
from gen2reco.track.files_read import Answers, Decided, Row, first_mistake
from gen2reco.track.regular import NotTaken, check, read

REPORT = "report"
_SUFFIXES = {".html", ".json", ".png", ".svg", ".pdf", ".md", ".txt", ".csv"}
_LARGEST, _LARGEST_METRICS = 2**28, 2**26
"""Bytes."""
_ROWS = TypeAdapter(list[Row])
METRICS, ANSWERS = "metrics.json", "verdict.json"
MOST = 12
"""Metrics of reports that a campaign's run shows; all of them are in the tables that it keeps, `metrics.csv`."""
_ORDER = ("no", "cannot tell", "yes")


class Told(NamedTuple):
    """One report: its folder below that of reports, when it was written (ms since 1970), its answers."""

    group: str
    time: int
    answers: Answers

    def of(self, candidate: str) -> str:
        """The answers for a candidate in one line, `no: jets; yes: photons`; empty where there are none."""
        found: dict[str, list[str]] = {}
        for one in self.answers.uses:
            if one.candidate == candidate:
                found.setdefault(one.answer, []).append(one.use.replace("_", " "))
        return "; ".join(f"{answer}: {', '.join(found[answer])}" for answer in sorted(found, key=_place))

    @property
    def candidates(self) -> list[str]:
        """The candidates, each once."""
        return list(dict.fromkeys(one.candidate for one in self.answers.uses))


def told(results: Path) -> list[Told]:
    """The answers of all reports."""
    found = []
    for path, plain in _read_all(results, ANSWERS, "answers"):
        try:
            answers = Answers.model_validate(plain)
        except ValidationError as error:
            _warn(path, f"damaged answers, left out: {first_mistake(error)}")
            continue
        found.append(Told(_group(path, results), path.stat().st_mtime_ns // 10**6, answers))
    return found


def headline_metrics(results: Path, reports: list[Told]) -> list[tuple[str, float, int, int]]:
    """At most MOST metrics `reference/stage/sample/name`, each with its uncertainty: (key, value, ms since 1970, step).

    The numbers that decide the answers, what is not `yes` first; of reports without answers, their headlines.
    """
    deciding = [(t, one) for t in reports for one in t.answers.uses if one.decided_by.value is not None]
    deciding.sort(key=lambda pair: _place(pair[1].answer))
    found = [(f"{t.group}/{one.decided_by.stage}/{one.candidate}", one.decided_by, t.time) for t, one in deciding]
    answered = {t.group for t in reports}
    for path, plain in _read_all(results, METRICS, "metrics"):
        if (group := _group(path, results)) not in answered:
            rows = [row for row in _rows(path, plain) if row.value is not None]
            time = path.stat().st_mtime_ns // 10**6
            for row in [row for row in rows if row.headline] or rows:
                place = "/".join(part for part in (group, row.stage, row.samples[-1] if row.samples else "") if part)
                found.append((place, Decided(metric=row.name, value=row.value, uncertainty=row.uncertainty), time))
    return [
        point for place, number, time in found[:MOST] for point in _points(f"{place}/{number.metric}", number, time)
    ]


def _points(key: str, number: Decided, time: int) -> Iterator[tuple[str, float, int, int]]:
    for suffix, value in (("", number.value), (".uncertainty", number.uncertainty)):
        if value is not None:
            yield key + suffix, value, time, 0


def _place(answer: str) -> int:
    return _ORDER.index(answer) if answer in _ORDER else len(_ORDER)


def _group(path: Path, results: Path) -> str:
    return "/".join(path.relative_to(results / REPORT).parts[:-1])


def _read_all(results: Path, name: str, what: str) -> Iterator[tuple[Path, object]]:
    """The files of that name in the reports, parsed; a damaged one is left out with a line."""
    for path in sorted((results / REPORT).rglob(name)):
        try:
            yield path, json.loads(read(path, results, _LARGEST_METRICS))
        except (NotTaken, ValueError, RecursionError) as error:
            _warn(path, f"damaged {what}, left out: {error}")


def _rows(path: Path, plain: object) -> list[Row]:
    try:
        return _ROWS.validate_python(plain.get("metrics") if isinstance(plain, dict) else plain)
    except ValidationError as error:
        _warn(path, f"damaged metrics, left out: {first_mistake(error)}")
        return []


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
