"""Read, write and check the records: Parquet files of one row an event with fixed writer settings."""

from collections.abc import Iterator, Mapping
from pathlib import Path

import awkward as ak
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
import pyarrow.parquet as pq

from gen2reco.campaign.whole import whole
from gen2reco.errors import InputError
from gen2reco.events.schemas import COLUMNS, INDICES, OPTIONAL, SCHEMAS, VERSION

SCHEMA_KEY = "gen2reco.schema"
_WRITER = {
    "compression": "zstd",
    "compression_level": 1,
    "use_dictionary": False,
    "version": "2.6",
    "store_schema": True,
}


def schema_of(record: str, names: list[str]) -> pa.Schema:
    """The schema of a record with those of its optional columns that are in `names`. Raises InputError if unknown."""
    kinds = {**COLUMNS[record], **OPTIONAL[record]}
    required = list(COLUMNS[record])
    extra = [name for name in OPTIONAL[record] if name in names]
    unknown = sorted(set(names) - set(kinds))
    missing = [name for name in required if name not in names]
    if unknown or missing:
        problem = f"unknown column `{unknown[0]}`" if unknown else f"column `{missing[0]}` is missing"
        raise InputError(f"not a {record}/{VERSION} record: {problem}; expected {', '.join(required)}")
    return pa.schema([pa.field(name, kinds[name], nullable=False) for name in required + extra])


def table(record: str, columns: Mapping[str, "ak.Array | np.ndarray | pa.Array"]) -> pa.Table:
    """Columns as a table of the record: field order and types cast to the schema. Raises InputError on a mismatch."""
    schema = schema_of(record, list(columns))
    return pa.table([_cast(name, columns[name], schema.field(name).type) for name in schema.names], schema=schema)


def array(values: np.ndarray | list) -> pa.Array:
    """Values as an Arrow array; numbers without `pyarrow.array`, which imports pandas at its first numpy array."""
    if not (isinstance(values, np.ndarray) and values.ndim == 1 and values.dtype.kind in "iuf"):
        return pa.array(values)
    values = np.ascontiguousarray(values)
    return pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), len(values), [None, pa.py_buffer(values)])


def structs(offsets: np.ndarray, fields: Mapping[str, np.ndarray]) -> pa.Array:
    """Flat columns as one list of structs per event. `offsets`: (n_events + 1,) into the columns."""
    inner = pa.StructArray.from_arrays([array(column) for column in fields.values()], list(fields))
    return pa.ListArray.from_arrays(array(np.asarray(offsets, np.int32)), inner)


def empty(record: str) -> pa.Table:
    """A valid table of no events."""
    schema = SCHEMAS[record]
    return pa.table([pa.nulls(0, field.type) for field in schema], schema=schema)


def awkward(events: pa.Table) -> ak.Array:
    """A table as an awkward array of events, without copying buffers, options dropped."""
    return ak.from_arrow(events.combine_chunks(), highlevel=True)


def write(path: Path | str, events: pa.Table, record: str, metadata: Mapping[str, str] | None = None) -> None:
    """Write one record file atomically. Raises InfrastructureError when the folder or disk refuses."""
    write_stream(path, iter([events]), record, metadata)


def write_stream(
    path: Path | str, tables: Iterator[pa.Table], record: str, metadata: Mapping[str, str] | None = None
) -> None:
    """Write tables as row groups of one file: temporary name, then an atomic rename; nothing is left on failure."""
    with whole(Path(path)) as temporary:
        first = next(tables, None)
        first = empty(record) if first is None else first
        extra = {SCHEMA_KEY: f"{record}/{VERSION}", **(metadata or {})}
        schema = schema_of(record, first.schema.names).with_metadata(extra)
        with pq.ParquetWriter(temporary, schema, **_WRITER) as writer:
            writer.write_table(first.cast(schema))
            for events in tables:
                writer.write_table(events.cast(schema))


def read(path: Path | str, record: str | None = None, columns: list[str] | None = None) -> pa.Table:
    """Read a record file. Raises InputError if it is missing, damaged, of another record or schema version."""
    path = Path(path)
    with open_file(path, record) as file:
        try:
            events = file.read(columns=columns)
        except (pa.ArrowException, OSError) as error:
            raise InputError(f"{path}: damaged Parquet file: {_first_line(error)}") from None
    if columns is None and record is not None:
        events = _cast_table(events, record, path)
    return events


def open_file(path: Path | str, record: str | None = None) -> pq.ParquetFile:
    """Open a record file, its declared schema checked. Raises InputError."""
    path = Path(path)
    if not path.is_file():
        raise InputError(f"{path}: {'is a folder, not a file' if path.is_dir() else 'no such file'}; check the path")
    if path.stat().st_size == 0:
        raise InputError(f"{path}: empty file; expected a Parquet record")
    try:
        file = pq.ParquetFile(path)
    except (pa.ArrowException, OSError) as error:
        raise InputError(f"{path}: not a readable Parquet file: {_first_line(error)}") from None
    declared = metadata(file).get(SCHEMA_KEY)
    if record is not None and declared is not None and declared != f"{record}/{VERSION}":
        raise InputError(f"{path}: holds `{declared}`, expected `{record}/{VERSION}`; remake it with this version")
    return file


def record_of(path: Path | str) -> str:
    """Which record a file holds, by its metadata or else its columns. Raises InputError."""
    with open_file(path) as file:
        declared = metadata(file).get(SCHEMA_KEY)
        names = set(file.schema_arrow.names)
    if declared is not None:
        record, _, version = declared.partition("/")
        if record in COLUMNS and version == str(VERSION):
            return record
        raise InputError(f"{path}: unknown schema `{declared}`; known: {', '.join(f'{r}/{VERSION}' for r in COLUMNS)}")
    for record in reversed(COLUMNS):
        if set(COLUMNS[record]) <= names <= {*COLUMNS[record], *OPTIONAL[record]}:
            return record
    raise InputError(f"{path}: its columns ({', '.join(sorted(names))}) match no record")


def metadata(file: pq.ParquetFile) -> dict[str, str]:
    """The file's key-value metadata as text, Arrow's own entry left out."""
    raw = file.schema_arrow.metadata or {}
    return {key.decode(): value.decode() for key, value in raw.items()}


def check(events: pa.Table, record: str, source: str) -> None:
    """Check values: finite numbers, energies >= 0, indices in range. Raises InputError naming the first bad event."""
    for name in events.schema.names:
        column = events[name].combine_chunks()
        for label, values, parents in leaves(name, column):
            _check_leaf(label, values, parents, events, source)
    present = set(events.schema.names)
    for label, target, least in INDICES[record]:
        if label.partition(".")[0] in present and target in present:
            _check_index(label, target, least, events, source)


def _check_leaf(label: str, values: np.ndarray, parents: np.ndarray, events: pa.Table, source: str) -> None:
    if values.dtype.kind != "f":
        return
    bad = ~np.isfinite(values)
    what = "a finite number"
    if not bad.any() and label.rpartition(".")[2] == "energy" and not label.startswith("partons"):
        bad, what = values < 0, "an energy >= 0"
    if bad.any():
        at = int(np.argmax(bad))
        number = events["event"][int(parents[at])].as_py()
        raise InputError(
            f"{source}: event {number}: `{label}` = {values[at]}, expected {what}; remake or drop the event"
        )


def _check_index(label: str, target: str, least: int, events: pa.Table, source: str) -> None:
    array = awkward(events.select([label.partition(".")[0], target]))
    index = array[tuple(label.split("."))] if "." in label else array[label]
    bad = (index < least) | (index >= ak.num(array[target]))
    while bad.ndim > 1:
        bad = ak.any(bad, axis=-1)
    if ak.any(bad):
        at = int(np.argmax(ak.to_numpy(bad)))
        number = events["event"][at].as_py()
        raise InputError(f"{source}: event {number}: `{label}` points outside `{target}`; the file is inconsistent")


def leaves(name: str, column: pa.Array) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Yield (label, flat values, row of each value) of the numeric leaves of a column."""
    rows = np.arange(len(column))
    while pa.types.is_list(column.type):
        rows = rows[pc.list_parent_indices(column).to_numpy(zero_copy_only=False)]
        column = column.flatten()
    if pa.types.is_struct(column.type):
        for field, child in zip(column.type, column.flatten()):
            for label, values, inner in leaves(f"{name}.{field.name}", child):
                yield label, values, rows[inner]
    else:
        yield name, column.to_numpy(zero_copy_only=False), rows


def _cast(name: str, values: "ak.Array | np.ndarray | pa.Array", kind: pa.DataType) -> pa.Array:
    if isinstance(values, ak.Array):
        values = ak.to_arrow(values, list_to32=True, extensionarray=False)
    elif not isinstance(values, (pa.Array, pa.ChunkedArray)):
        values = array(values)
    if isinstance(values, pa.ChunkedArray):
        values = values.combine_chunks()
    try:
        return _fit(values, kind)
    except (pa.ArrowException, KeyError) as error:
        raise InputError(f"column `{name}` does not fit {kind}: {_first_line(error)}") from None


def _fit(values: pa.Array, kind: pa.DataType) -> pa.Array:
    """Cast nested arrays to `kind`, struct fields matched by name and put in order; no value may be missing."""
    if values.null_count and not pa.types.is_null(values.type):
        raise KeyError("missing (null) values")
    if pa.types.is_list(kind):
        if pa.types.is_null(values.type) or (
            pa.types.is_list(values.type) and pa.types.is_null(values.type.value_type)
        ):
            return pa.ListArray.from_arrays(
                array(np.zeros(len(values) + 1, np.int32)), pa.nulls(0, kind.value_type), type=kind
            )
        if pa.types.is_large_list(values.type):
            values = values.cast(pa.list_(values.type.value_type))
        offsets = values.offsets
        start = offsets[0].as_py() if len(offsets) else 0
        inner = _fit(values.flatten(), kind.value_type)
        return pa.ListArray.from_arrays(pc.subtract(offsets, start) if start else offsets, inner, type=kind)
    if pa.types.is_struct(kind):
        names = {field.name for field in values.type}
        missing = [field.name for field in kind if field.name not in names]
        extra = sorted(names - {field.name for field in kind})
        if missing or extra:
            raise KeyError(f"fields missing: {missing}, not in the record: {extra}")
        children = [_fit(values.field(field.name), field.type) for field in kind]
        return pa.StructArray.from_arrays(children, fields=list(kind))
    return values.cast(kind)


def _cast_table(events: pa.Table, record: str, path: Path) -> pa.Table:
    try:
        return table(record, {name: events[name] for name in events.schema.names})
    except InputError as error:
        raise InputError(f"{path}: {error}") from None


def _first_line(error: Exception) -> str:
    return (str(error) or type(error).__name__).splitlines()[0]
