"""Read, write and check the records: Parquet files of one row an event with fixed writer settings."""

import itertools
import os
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from itertools import chain
from pathlib import Path

import awkward as ak
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq

from gen2reco.errors import InputError, first_line
from gen2reco.events.arrow import array, leaves, lists, no_lists, numbers, structs
from gen2reco.events.checks import check_values, distinct
from gen2reco.events.provenance import PROVENANCE_KEY, story_of
from gen2reco.events.record_columns import fitted, record_with, schema_of, table_of
from gen2reco.events.schemas import COLUMNS, OPTIONAL, SCHEMAS, VERSIONS
from gen2reco.files import regular_file, whole

SCHEMA_KEY = "gen2reco.schema"
ROWS = 250
"""Events that are read at once."""
GROUP_ROWS, GROUP_BYTES = 500, 1 << 25
"""Size of a row group, in events and in memory: as large as is quick to pass over, for each takes a kB a column."""
_WRITER = {
    "compression": "zstd",
    "compression_level": 1,
    "use_dictionary": False,
    "version": "2.6",
    "store_schema": True,
}
_BUFFER = 1 << 18  # bytes of each column that are read ahead


def table(record: str, columns: Mapping[str, "ak.Array | np.ndarray | pa.Array"]) -> pa.Table:
    """Columns as a table of the record: field order and types cast to the schema. Raises InputError on a mismatch."""
    schema = schema_of(record, list(columns))
    return table_of(columns, schema)


def empty(record: str, optional: Iterable[str] = ()) -> pa.Table:
    """A valid table of no events, with some of the record's optional columns."""
    schema = schema_of(record, [*COLUMNS[record], *optional])
    return pa.table([pa.nulls(0, field.type) for field in schema], schema=schema)


def awkward(events: pa.Table) -> ak.Array:
    """A table as an awkward array of events, without copying buffers, options dropped."""
    return ak.from_arrow(events.combine_chunks(), highlevel=True)


def check(events: pa.Table, record: str, source: str) -> None:
    """Check a table: the record's columns and types, no value missing, finite numbers, energies >= 0, |p| <= E,
    indices and lengths in range, no event twice. Raises InputError naming `source` and the first bad event."""
    check_values(fitted(events, record, source), record, source)


def write(path: Path | str, events: pa.Table, record: str, metadata: Mapping[str, str] | None = None) -> None:
    """Write one record file atomically. Raises InfrastructureError when the folder or disk refuses."""
    write_stream(path, iter([events]), record, metadata)


def write_stream(
    path: Path | str, tables: Iterator[pa.Table], record: str, metadata: Mapping[str, str] | None = None
) -> None:
    """Write tables as one file, in row groups of at most `GROUP_ROWS` events: temporary name, then an atomic rename.

    Nothing is left on failure. Raises InputError for a table that is not of the record, InfrastructureError when the
    folder or disk refuses.
    """
    with whole(Path(path)) as temporary:
        groups = _grouped(fitted(events, record, path) for events in tables)
        first = next(groups, empty(record))
        extra = {SCHEMA_KEY: f"{record}/{VERSIONS[record]}", **(metadata or {})}
        with pq.ParquetWriter(temporary, first.schema.with_metadata(extra), **_WRITER) as writer:
            for events in chain([first], groups):
                if events.schema != first.schema:
                    names = set(events.schema.names) ^ set(first.schema.names)
                    raise InputError(f"{path}: column `{min(names)}` is in some tables and not in others")
                writer.write_table(events, row_group_size=GROUP_ROWS)


def read(path: Path | str, record: str | None = None, columns: list[str] | None = None) -> pa.Table:
    """Read a record file. Raises InputError if it is missing, damaged, of another record or schema version."""
    source = Source(path, record, columns)
    return source.slice(0, source.num_rows)


class Source:
    """A record file, its schema checked once, its events read by runs of rows, never more than is wanted at once.

    Raises InputError if it is missing, damaged, of another record or schema version.
    """

    def __init__(self, path: Path | str, record: str | None = None, columns: list[str] | None = None):
        self.path, self._columns = Path(path), columns
        with open_file(path, record) as file, _reading(path):
            self.metadata = metadata(file)
            names = file.schema_arrow.names
            groups = [file.metadata.row_group(i).num_rows for i in range(file.metadata.num_row_groups)]
        self.record = record or _record_of(self.metadata, names, self.path)
        self._schema = self._expected(names)
        self.num_rows = sum(groups)
        """Events in the file."""
        self._starts = np.cumsum([0, *groups])
        self._forget()

    def slice(self, start: int, stop: int) -> pa.Table:
        """Events [start, stop), as far as there are. Quick where runs follow each other."""
        stop = min(stop, self.num_rows)
        start = min(start, stop)
        if os.getpid() != self._process or start < self._first or self._group(start) > self._group(self._next):
            self._forget(self._group(start), min(stop - start, ROWS))
        while self._next < stop and (part := next(self._stream, None)) is not None:
            self._parts.append(part)
            self._next += part.num_rows
            while self._parts and self._first + self._parts[0].num_rows <= start:
                self._first += self._parts.pop(0).num_rows
        parts = pa.concat_tables([self._schema.empty_table(), *self._parts])
        return parts.slice(start - self._first, stop - start).combine_chunks()

    def tables(self, rows: int = ROWS) -> Iterator[pa.Table]:
        """All events in order, at most `rows` at once, and no more than a row group, which is bounded in bytes."""
        for first, last in itertools.pairwise(self._starts.tolist()):
            for start in range(first, last, rows):
                yield self.slice(start, min(start + rows, last))

    @property
    def story(self) -> dict[str, dict]:
        """How the events were made: facts by stage."""
        return story_of(self.metadata, self.path)

    def check(self) -> "Source":
        """Check the values of all events; returns itself. Raises InputError naming the first bad one."""
        event, sizes = [np.empty(0, np.int64)], set()
        for events in self.tables():
            check_values(events, self.record, str(self.path))
            event.append(numbers(events["event"]))
            sizes |= {len(events["weights"][0])} if "weights" in events.schema.names else set()
        distinct(np.concatenate(event), str(self.path))
        if len(sizes) > 1:
            raise InputError(f"{self.path}: `weights` holds {' or '.join(map(str, sizes))} values, expected one number")
        return self

    def _group(self, row: int) -> int:
        return int(np.searchsorted(self._starts, row, side="right")) - 1

    def _forget(self, group: int = 0, rows: int = ROWS) -> None:
        """Begin again at a row group, to read by so many rows: the events kept are those of [_first, _next)."""
        self._process = os.getpid()
        self._parts: list[pa.Table] = []
        self._first = self._next = int(self._starts[min(group, len(self._starts) - 1)])
        self._stream = self._read_from(group, max(rows, 1))

    def _read_from(self, group: int, rows: int) -> Iterator[pa.Table]:
        groups = range(group, len(self._starts) - 1)
        with open_file(self.path, self.record, buffer_size=_BUFFER, pre_buffer=False) as file, _reading(self.path):
            for one in groups:  # of several at once all are decoded before the first batch
                for batch in file.iter_batches(rows, [one], self._schema.names, use_threads=False):
                    yield table_of({name: batch[name] for name in self._schema.names}, self._schema, f"{self.path}: ")

    def _expected(self, names: list[str]) -> pa.Schema:
        """The schema of what is read. Raises InputError for columns that are missing or unknown."""
        try:
            if self._columns is None:
                return schema_of(self.record, names)
            if wrong := [name for name in self._columns if names.count(name) != 1]:
                raise InputError(f"column `{wrong[0]}` is {'there twice' if wrong[0] in names else 'missing'}")
        except InputError as error:
            raise InputError(f"{self.path}: {error}") from None
        kinds = {**COLUMNS[self.record], **OPTIONAL[self.record]}
        return pa.schema([pa.field(name, kinds[name], nullable=False) for name in self._columns])


def open_file(path: Path | str, record: str | None = None, **options: object) -> pq.ParquetFile:
    """Open a record file, its declared schema checked. Raises InputError."""
    path = regular_file(path)
    with _reading(path, "not a readable Parquet file"):
        if path.stat().st_size == 0:
            raise InputError(f"{path}: empty file; expected a Parquet record")
        file = pq.ParquetFile(path, **options)
        declared = metadata(file).get(SCHEMA_KEY)
    if record is not None and declared is not None and not _known(declared, record):
        raise InputError(
            f"{path}: holds `{declared}`, expected `{record}/{VERSIONS[record]}`; give another file, or remake this one"
        )
    return file


def sizes(path: Path | str) -> dict[str, int]:
    """Bytes of a record file, `file_bytes`, and of them those that its events take, `event_bytes`."""
    with open_file(path) as file:
        groups = [file.metadata.row_group(number) for number in range(file.metadata.num_row_groups)]
    packed = sum(group.column(n).total_compressed_size for group in groups for n in range(group.num_columns))
    return {"file_bytes": Path(path).stat().st_size, "event_bytes": packed}


def record_of(path: Path | str) -> str:
    """Which record a file holds, by its metadata or else its columns. Raises InputError."""
    return Source(path).record


def metadata(file: pq.ParquetFile) -> dict[str, str]:
    """The file's key-value metadata as text, Arrow's own entry left out."""
    raw = file.schema_arrow.metadata or {}
    return {key.decode(errors="replace"): value.decode(errors="replace") for key, value in raw.items()}


def _record_of(facts: Mapping[str, str], names: list[str], path: Path) -> str:
    if (declared := facts.get(SCHEMA_KEY)) is not None:
        record = next((record for record in VERSIONS if _known(declared, record)), None)
        if record is None:
            known = ", ".join(f"{name}/{version}" for name, version in VERSIONS.items())
            raise InputError(f"{path}: unknown schema `{declared}`; known: {known}")
        return record
    if record := record_with(names):
        return record
    raise InputError(f"{path}: its columns ({', '.join(sorted(names))}) match no record")


def _known(declared: str, record: str) -> bool:
    """Whether a declared schema is a version of the record that can be read."""
    return declared in {f"{record}/{version}" for version in range(1, VERSIONS[record] + 1)}


def _grouped(tables: Iterator[pa.Table]) -> Iterator[pa.Table]:
    """Tables put together as long as they fit into a row group."""
    kept: list[pa.Table] = []
    for events in tables:
        rows, size = (sum(values) for values in zip(*((len(t), t.nbytes) for t in (*kept, events))))
        if kept and (rows > GROUP_ROWS or size > GROUP_BYTES or events.schema != kept[0].schema):
            yield pa.concat_tables(kept)
            kept = []
        kept.append(events)
    if kept:
        yield pa.concat_tables(kept)


@contextmanager
def _reading(path: Path | str, what: str = "damaged Parquet file") -> Iterator[None]:
    """Arrow's complaints about a file as InputError; memory that ran out stays a MemoryError."""
    try:
        yield
    except MemoryError:
        raise
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path}: {what}: {first_line(error)}") from None


__all__ = [
    "COLUMNS",
    "PROVENANCE_KEY",
    "ROWS",
    "SCHEMAS",
    "VERSIONS",
    "Source",
    "array",
    "awkward",
    "check",
    "empty",
    "leaves",
    "lists",
    "metadata",
    "no_lists",
    "open_file",
    "read",
    "record_of",
    "schema_of",
    "structs",
    "table",
    "write",
    "write_stream",
]  # fmt: skip
