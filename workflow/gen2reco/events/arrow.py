"""Arrow columns: made of flat arrays, fitted to a type, laid flat again. All lists are large ones (64-bit offsets)."""

from collections.abc import Iterator, Mapping

import awkward as ak
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc


def array(values: np.ndarray | list) -> pa.Array:
    """Values as an Arrow array; numbers without `pyarrow.array`, which imports pandas at its first numpy array."""
    if not (isinstance(values, np.ndarray) and values.ndim == 1 and values.dtype.kind in "iuf"):
        return pa.array(values)
    values = np.ascontiguousarray(values)
    return pa.Array.from_buffers(pa.from_numpy_dtype(values.dtype), len(values), [None, pa.py_buffer(values)])


def lists(offsets: np.ndarray, values: "np.ndarray | pa.Array") -> pa.LargeListArray:
    """Flat values as one list per event. `offsets`: (n_events + 1,) into the values."""
    values = values if isinstance(values, pa.Array) else array(values)
    return pa.LargeListArray.from_arrays(array(np.asarray(offsets, np.int64)), values)


def structs(offsets: np.ndarray, fields: Mapping[str, np.ndarray]) -> pa.LargeListArray:
    """Flat columns as one list of structs per event. `offsets`: (n_events + 1,) into the columns."""
    return lists(offsets, pa.StructArray.from_arrays([array(column) for column in fields.values()], list(fields)))


def no_lists(events: int) -> pa.LargeListArray:
    """An empty list for each event, which fits any column of lists."""
    return lists(np.zeros(events + 1), pa.nulls(0))


def arrow(values: "ak.Array | np.ndarray | pa.Array | pa.ChunkedArray | list") -> pa.Array:
    """Values of any of these kinds as one Arrow array."""
    if isinstance(values, ak.Array):
        return ak.to_arrow(values, list_to32=False, extensionarray=False)
    if isinstance(values, pa.ChunkedArray):
        return values.combine_chunks()
    return values if isinstance(values, pa.Array) else array(values)


def is_lists(kind: pa.DataType) -> bool:
    """Whether the type is one of lists that can be converted to large ones."""
    return pa.types.is_list(kind) or pa.types.is_large_list(kind) or pa.types.is_fixed_size_list(kind)


def fit(values: pa.Array, kind: pa.DataType) -> pa.Array:
    """Cast nested arrays to `kind`, struct fields matched by name and put in order, numbers to numbers alone.

    Raises TypeError where the types differ in nature or a value is missing (null), ArrowException where it overflows.
    """
    if values.null_count:
        raise TypeError("missing (null) values")
    if pa.types.is_null(values.type):
        return pa.nulls(0, kind)
    if pa.types.is_large_list(kind):
        return _fit_lists(values, kind)
    if pa.types.is_struct(kind):
        return _fit_structs(values, kind)
    if values.type != kind and not (_is_number(kind) and _is_number(values.type)):
        raise TypeError(f"holds {values.type}")
    return values.cast(kind)


def numbers(column: "pa.Array | pa.ChunkedArray") -> np.ndarray:
    """A column of numbers without missing values as an array, uint8 for bool; pyarrow's own way imports pandas."""
    column = column.combine_chunks() if isinstance(column, pa.ChunkedArray) else column
    return np.from_dlpack(column.cast(pa.uint8()) if pa.types.is_boolean(column.type) else column)


def leaves(name: str, column: pa.Array) -> Iterator[tuple[str, np.ndarray, np.ndarray]]:
    """Yield (label, flat values (n,), their places by row (rows + 1,)) of the numeric leaves of a column.

    The values of row i are `values[places[i] : places[i + 1]]`.
    """
    places = np.arange(len(column) + 1)
    while pa.types.is_large_list(column.type):
        offsets = numbers(column.offsets)
        places, column = (offsets - offsets[0])[places], column.flatten()
    if pa.types.is_struct(column.type):
        for field, child in zip(column.type, column.flatten()):
            for label, values, inner in leaves(f"{name}.{field.name}", child):
                yield label, values, inner[places]
    else:
        yield name, numbers(column), places


def _is_number(kind: pa.DataType) -> bool:
    return pa.types.is_integer(kind) or pa.types.is_floating(kind)


def _fit_lists(values: pa.Array, kind: pa.DataType) -> pa.Array:
    if not is_lists(values.type):
        raise TypeError(f"holds {values.type}, expected lists")
    if not pa.types.is_large_list(values.type):
        values = values.cast(pa.large_list(values.type.value_type))
    offsets, inner = values.offsets, fit(values.flatten(), kind.value_type)
    start = offsets[0].as_py() if len(offsets) else 0
    return pa.LargeListArray.from_arrays(pc.subtract(offsets, start) if start else offsets, inner, type=kind)


def _fit_structs(values: pa.Array, kind: pa.DataType) -> pa.Array:
    if not pa.types.is_struct(values.type):
        raise TypeError(f"holds {values.type}, expected fields {', '.join(field.name for field in kind)}")
    names, wanted = [field.name for field in values.type], [field.name for field in kind]
    if sorted(names) != sorted(wanted):
        missing, extra = sorted({*wanted} - {*names}), sorted({*names} - {*wanted})
        raise TypeError(f"fields missing: {missing}, not in the record: {extra}")
    children = [fit(values.field(field.name), field.type) for field in kind]
    return pa.StructArray.from_arrays(children, fields=list(kind))
