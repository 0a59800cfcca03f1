"""Whatever types a Parquet file holds: every reader of records gives the record, or one line."""

import datetime
import decimal

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gen2reco.errors import InfrastructureError, InputError, classified
from gen2reco.events import record_columns, records
from gen2reco.events.publish import publish_file
from gen2reco.events.schemas import COLUMNS
from gen2reco.events.show import show_file
from gen2reco.run.runner import provenance
from gen2reco.validate.samples import open_sample

NOW = datetime.datetime(2020, 1, 1)
ONE = {"pdg": 22, "px": 0.0, "py": 0.0, "pz": 1.0, "energy": 1.0, "vx": 0.0, "vy": 0.0, "vz": 0.0, "time": 0.0}


class Odd(pa.ExtensionType):
    """An extension type that nobody registered."""

    def __init__(self):
        super().__init__(pa.float64(), "gen2reco.odd")

    def __arrow_ext_serialize__(self):
        return b""

    @classmethod
    def __arrow_ext_deserialize__(cls, storage, serialized):
        return cls()


FOREIGN = {
    "null": pa.nulls(2),
    "bool": pa.array([True, False]),
    "decimal": pa.array([decimal.Decimal("1.5")] * 2),
    "decimal256": pa.array([decimal.Decimal("1.5")] * 2, pa.decimal256(40, 2)),
    "dictionary": pa.array(["a", "b"]).dictionary_encode(),
    "dictionary of numbers": pa.array([1.0, 2.0]).dictionary_encode(),
    "timestamp": pa.array([NOW] * 2),
    "timestamp with zone": pa.array([NOW] * 2, pa.timestamp("us", "UTC")),
    "date": pa.array([NOW.date()] * 2),
    "time": pa.array([NOW.time()] * 2),
    "duration": pa.array([1, 2], pa.duration("ms")),
    "string": pa.array(["1", "x"]),
    "large string": pa.array(["1", "2"], pa.large_string()),
    "string view": pa.array(["1", "2"], pa.string_view()),
    "binary": pa.array([b"\xff", b""]),
    "fixed binary": pa.array([b"ab", b"cd"], pa.binary(2)),
    "numbers with null": pa.array([1.0, None]),
    "list of numbers": pa.array([[1.0], []]),
    "list of null": pa.array([[None], []]),
    "list with null": pa.array([[1.0], None]),
    "list of strings": pa.array([["x"], []]),
    "fixed size list": pa.array([[1.0, 2.0]] * 2, pa.list_(pa.float64(), 2)),
    "list view": pa.array([[1.0], [2.0]], pa.list_view(pa.float64())),
    "large list view": pa.array([[1.0], [2.0]], pa.large_list_view(pa.float64())),
    "map": pa.array([[("pdg", 1)], []], pa.map_(pa.string(), pa.int32())),
    "struct": pa.array([{"pdg": 1}, {"pdg": 2}]),
    "list of structs, fields missing": pa.array([[{"pdg": 22}], []]),
    "list of structs, one too many": pa.array([[{**ONE, "spin": 1}], []]),
    "list of structs, a null": pa.array([[None, ONE], []]),
    "list of structs, a null field": pa.array([[{**ONE, "px": None}], []]),
    "list of structs, a string field": pa.array([[{**ONE, "px": "x"}], []]),
    "list of structs, a nested field": pa.array([[{**ONE, "px": [1.0]}], []]),
    "list of lists": pa.array([[[1.0]], []]),
    "extension": pa.ExtensionArray.from_storage(Odd(), pa.array([1.0, 2.0])),
    "extension in a list": pa.ListArray.from_arrays(
        pa.array([0, 1, 2], pa.int32()), pa.ExtensionArray.from_storage(Odd(), pa.array([1.0, 2.0]))
    ),
    "too large to convert": pa.array([2**64 - 1, 0], pa.uint64()),
    "uint8": pa.array([1, 0], pa.uint8()),
    "float16": pa.array(np.array([1, 0], np.float16)),
    "fractions": pa.array([0.5, 1.5]),
    "not a number": pa.array([np.nan, np.inf]),
    "all at 0": pa.array([0, 0]),
}
SAME = {"dictionary of numbers", "extension"}  # numbers once they are read
FITS = {
    "event": {*SAME, "uint8", "float16"},
    "weight": {*SAME, "uint8", "float16", "fractions", "all at 0"},
}


def table(record):
    columns = {name: [[], []] for name in COLUMNS[record]} | {"event": [0, 1], "weight": [1.0, 1.0]}
    return records.table(record, {**columns, "particles": pa.array([[ONE], []])})


def read_in_every_way(path, record, folder):
    """What each reader says, None where it reads the file."""
    suffix = {"objects": "root", "particles": "hepmc"}.get(record, "root")
    readers = {
        "read": lambda: records.read(path, record),
        "read a column": lambda: records.read(path, record, ["event"]),
        "read unnamed": lambda: records.read(path),
        "open": lambda: records.open_file(path, record).close(),
        "which": lambda: records.record_of(path),
        "check": lambda: records.Source(path, record).check(),
        "show": lambda: show_file(path),
        "publish": lambda: publish_file(path, folder / f"out.{suffix}"),
        "sample": lambda: list(open_sample(path).events(record, list(COLUMNS[record]), 10)),
    }
    said = {}
    for name, reader in readers.items():
        try:
            reader()
        except InputError as error:
            said[name] = str(error)
        else:
            said[name] = None
    return said


@pytest.mark.parametrize("record", COLUMNS)
@pytest.mark.parametrize("name", FOREIGN)
def test_types_of_columns(tmp_path, capsys, record, name):
    for column in ("event", "weight", "particles", list(COLUMNS[record])[-1]):
        good = table(record)
        bad = good.set_column(good.schema.get_field_index(column), column, FOREIGN[name])
        path = tmp_path / "x.parquet"
        pq.write_table(bad.replace_schema_metadata({"gen2reco.schema": f"{record}/2"}), path)
        said = read_in_every_way(path, record, tmp_path)
        for reader, line in said.items():
            assert line is None or ("\n" not in line and str(tmp_path) in line), (column, reader, line)
        if name in FITS.get(column, ()):
            assert said["read"] is None and said["check"] is None, column
        elif column in ("event", "weight", "particles"):
            assert said["check"] is not None, column
        assert [file.name for file in tmp_path.iterdir() if not file.name.startswith("out.")] == ["x.parquet"]


@pytest.mark.parametrize(
    ("names", "message"),
    [
        (["event", "weight", "partons"], "column `particles` is missing"),
        (["event", "weight", "particles", "partons", "event"], "column `event` is there twice"),
        (["event", "weight", "particles", "partons", "extra"], "unknown column `extra`"),
        ([], "column `event` is missing"),
    ],
)
def test_columns_that_are_not_the_records(tmp_path, names, message):
    path, good = tmp_path / "x.parquet", table("particles")
    columns = [good[name] if name in good.schema.names else good["weight"] for name in names]
    pq.write_table(pa.table(columns, names=names, metadata={"gen2reco.schema": "particles/2"}), path)
    with pytest.raises(InputError, match=message):
        records.read(path, "particles")
    said = read_in_every_way(path, "particles", tmp_path)
    assert all("\n" not in line for line in said.values() if line)


DAMAGED = """{
[]
1
"x"
{"generate": 1}
{"generate": {"info": []}}
{"generate": {"backend": 3}}
{"generate": {"info": {"beams": [1]}}}
{"generate": {"info": {"cross_section_pb": "x"}}}
{"generate": {"info": {"cross_section_pb": NaN}}}
{"generate": {"info": {"weight_names": 7}}}
{"simulate": {"detector": "hgcal"}}"""


@pytest.mark.parametrize("text", [*DAMAGED.splitlines(), "[" * 100_000])
def test_damaged_metadata_is_one_line(tmp_path, text):
    path = tmp_path / "x.parquet"
    records.write(path, table("particles"), "particles", {records.PROVENANCE_KEY: text})
    for reader in (lambda: records.Source(path).story, lambda: show_file(path), lambda: provenance(path)):
        with pytest.raises(InputError, match=r"x\.parquet: its metadata .* is damaged") as caught:
            reader()
        assert "\n" not in str(caught.value)


def test_metadata_of_any_bytes(tmp_path, capsys):
    path = tmp_path / "x.parquet"
    odd = {
        b"\xff": b"\xfe",
        b"gen2reco.schema": b"particles/2",
        records.PROVENANCE_KEY: '{"a\\u001b[2J": {"info": {"b": 1}}}',
    }
    pq.write_table(table("particles").replace_schema_metadata(odd), path)
    show_file(path)
    assert "\x1b" not in capsys.readouterr().out


@pytest.mark.parametrize("error", [pa.ArrowMemoryError("malloc of size 64 failed"), MemoryError()])
def test_memory_that_runs_out_is_the_machines_fault(tmp_path, monkeypatch, error):
    path = tmp_path / "x.parquet"
    records.write(path, table("particles"), "particles")

    def fail(*_given, **_named):
        raise error

    monkeypatch.setattr(pq.ParquetFile, "iter_batches", fail)
    with pytest.raises(MemoryError) as caught:
        records.read(path, "particles")
    assert isinstance(classified(caught.value), InfrastructureError)
    monkeypatch.setattr(record_columns, "fit", fail)
    with pytest.raises(MemoryError):
        records.write(path, table("particles"), "particles")
