"""Checks of the result of a chunk before it is written."""

import json
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np

from gen2reco.errors import Gen2recoError, InputError, classified, first_line
from gen2reco.events import records
from gen2reco.events.arrow import numbers
from gen2reco.run.stage import Backend, Chunk, Result
from gen2reco.run.stage_table import STAGES

if TYPE_CHECKING:
    import pyarrow as pa

_MISFITS = (ArithmeticError, LookupError, RuntimeError, TypeError, ValueError)


@contextmanager
def blamed(backend: Backend) -> Iterator[None]:
    """Raises InputError naming the model, where a learned backend fails on the numbers or shapes of its input."""
    try:
        yield
    except _MISFITS as error:
        if backend.model_digest is None or classified(error) is not None:
            raise
        reason = f"{type(error).__name__}: {first_line(error)}"
        raise InputError(
            f"{name_of(backend)} fails on these events: {reason}; check or train the model again"
        ) from error


def checked(backend: Backend, chunk: Chunk, events: "pa.Table | None", result: Result) -> Result:
    """The result of a chunk, after checking that it is a valid record of the chunk's events.

    Raises InputError where values are no valid record, and Gen2recoError where rows, counts and event numbers differ.
    """
    who = f"{name_of(backend)}, events {chunk.start} to {chunk.stop - 1}"
    records.check(result.table, STAGES[backend.stage].writes, who)
    check_plain(result.info, who)
    rows, vetoed = result.table.num_rows, int(result.info.get("events_vetoed", 0))
    failed = chunk.stop - chunk.start - rows - vetoed
    if failed < 0 or int(result.info.get("events_failed", failed)) != failed:
        counts = f"{result.info.get('events_failed', 0)} failed and {vetoed} vetoed"
        raise Gen2recoError(f"{who}: {rows} rows made, {counts}: the counts do not add up; report it")
    made = numbers(result.table["event"])
    if not (_generated(made, chunk) if events is None else _taken(made, numbers(events["event"]))):
        raise Gen2recoError(f"{who}: its rows have other event numbers than the chunk; report it")
    return result


def check_plain(info: dict, who: str) -> None:
    """Raises InputError for facts that JSON cannot represent: NaN, infinity, objects."""
    try:
        json.dumps(info, allow_nan=False)
    except (TypeError, ValueError, RecursionError) as error:
        raise InputError(f"{who}: its facts are not plain and finite: {first_line(error)}; remake its input") from None


def _generated(made: np.ndarray, chunk: Chunk) -> bool:
    inside = (made >= chunk.start) & (made < chunk.stop)
    return bool(inside.all() and (np.diff(made) > 0).all())


def _taken(made: np.ndarray, given: np.ndarray) -> bool:
    """Whether the event numbers are those of the input, in its order, without those of failed events."""
    return np.array_equal(made, given if len(made) == len(given) else given[np.isin(given, made)])


def name_of(backend: Backend) -> str:
    """A backend's stage, name and model, for messages."""
    model = f" (model {backend.model_digest[:12]})" if backend.model_digest else ""
    return f"{backend.stage} backend `{backend.name}`{model}"
