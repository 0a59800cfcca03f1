"""Columns of a record: which it must and may have, and values fitted to their types."""

from collections.abc import Iterable, Mapping
from pathlib import Path

import awkward as ak
import numpy as np
import pyarrow as pa

from gen2reco.errors import InputError, first_line
from gen2reco.events.arrow import arrow, fit
from gen2reco.events.schemas import COLUMNS, OPTIONAL, VERSIONS


def schema_of(record: str, names: list[str]) -> pa.Schema:
    """The schema of a record with those of its optional columns that are in `names`. Raises InputError if unknown."""
    kinds = {**COLUMNS[record], **OPTIONAL[record]}
    required = list(COLUMNS[record])
    extra = [name for name in OPTIONAL[record] if name in names]
    unknown = sorted(set(names) - set(kinds))
    missing = [name for name in required if name not in names]
    double = [name for name in names if names.count(name) > 1]
    if unknown or missing or double:
        problem = f"unknown column `{unknown[0]}`" if unknown else f"column `{(double or missing)[0]}` is "
        problem += "" if unknown else "there twice" if double else "missing"
        raise InputError(f"not a {record}/{VERSIONS[record]} record: {problem}; expected {', '.join(required)}")
    return pa.schema([pa.field(name, kinds[name], nullable=False) for name in required + extra])


def record_with(names: Iterable[str]) -> str | None:
    """The record that has these columns; None if none has."""
    held = set(names)
    fitting = (one for one in reversed(COLUMNS) if set(COLUMNS[one]) <= held <= {*COLUMNS[one], *OPTIONAL[one]})
    return next(fitting, None)


def fitted(events: pa.Table, record: str, source: Path | str) -> pa.Table:
    """A table in the record's columns and types; nothing is copied where they are those already."""
    try:
        schema = schema_of(record, events.schema.names)
    except InputError as error:
        raise InputError(f"{source}: {error}") from None
    return table_of(events, schema, f"{source}: ")


def table_of(columns: "Mapping | pa.Table", schema: pa.Schema, begin: str = "") -> pa.Table:
    """Columns as a table of the schema. Raises InputError, which starts with `begin`, for one that does not fit."""
    return pa.table([_column(name, columns[name], schema, begin) for name in schema.names], schema=schema)


def _column(name: str, values: "ak.Array | np.ndarray | pa.Array", schema: pa.Schema, begin: str) -> pa.Array:
    kind = schema.field(name).type
    try:
        return fit(arrow(values), kind)
    except MemoryError:
        raise
    except (pa.ArrowException, TypeError, ValueError) as error:
        raise InputError(f"{begin}column `{name}` does not fit {_named(kind)}: {first_line(error)}") from None


def _named(kind: pa.DataType) -> str:
    return str(kind).replace("large_list", "list").replace("item: ", "").replace(" not null", "")
