"""Records: round trips, strictness, one clear line for each kind of damage."""

import awkward as ak
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gen2reco.campaign.sidecar import write_text
from gen2reco.errors import InfrastructureError, InputError
from gen2reco.events import records
from gen2reco.events.schemas import COLUMNS, OPTIONAL, SCHEMAS

PHOTON = {"pdg": 22, "px": 1.0, "py": 2.0, "pz": 3.0, "energy": 4.0, "vx": 0.0, "vy": 0.0, "vz": 0.0, "time": 0.0}


def particles(rows=((PHOTON,), ()), **changed):
    columns = {"event": np.arange(len(rows)), "weight": np.ones(len(rows)), "partons": [[] for _ in rows]}
    return records.table("particles", {**columns, "particles": ak.Array([list(r) for r in rows]), **changed})


@pytest.mark.parametrize("record", COLUMNS)
def test_empty_record_round_trip(tmp_path, record):
    path = tmp_path / "empty.parquet"
    records.write(path, records.empty(record), record)
    assert records.read(path, record).schema.equals(SCHEMAS[record])
    assert records.record_of(path) == record


@settings(max_examples=25, deadline=None)
@given(counts=st.lists(st.integers(0, 4), max_size=6), start=st.integers(0, 3))
def test_round_trip_and_slices(tmp_path_factory, counts, start):
    table = particles([[{**PHOTON, "energy": float(i)} for i in range(n)] for n in counts])
    part = table.slice(min(start, len(counts)))
    path = tmp_path_factory.mktemp("records") / "x.parquet"
    records.write(path, part, "particles")
    again = records.read(path, "particles")
    assert again.equals(part)
    assert ak.num(records.awkward(again).particles).to_list() == counts[min(start, len(counts)) :]


@pytest.mark.parametrize("record", COLUMNS)
def test_version_1_is_read_and_converted(tmp_path, record):
    path = tmp_path / "old.parquet"
    columns = {name: [[]] for name in COLUMNS[record]} | {"event": [0], "weight": [1.0]}
    new = records.table(record, {**columns, "particles": ak.Array([[{**PHOTON, "px": 0.1}]])})
    numbers = pa.struct([(name, pa.int32() if name == "pdg" else pa.float32()) for name in PHOTON])
    old = new.set_column(new.schema.get_field_index("particles"), "particles", new["particles"].cast(pa.list_(numbers)))
    pq.write_table(old.replace_schema_metadata({"gen2reco.schema": f"{record}/1"}), path)
    assert records.record_of(path) == record
    for table in (records.read(path, record), records.read(path, record, ["particles"]), records.read(path)):
        assert table["particles"].type == SCHEMAS[record].field("particles").type
        assert records.awkward(table)["particles"].px.tolist() == [[np.float32(0.1)]]


def test_momenta_are_kept_to_the_last_digit(tmp_path):
    exact = {**PHOTON, "px": 0.1, "py": 1 / 3, "pz": 3000.1, "energy": 3000.2}
    records.write(tmp_path / "x.parquet", particles([[exact]]), "particles")
    particle = records.awkward(records.read(tmp_path / "x.parquet")).particles[0, 0].tolist()
    assert particle == exact


@pytest.mark.parametrize("column", ["energy", "pdg"])
def test_awkward_sorts_what_it_reads_itself(tmp_path, column):
    records.write(tmp_path / "x.parquet", particles([[PHOTON, {**PHOTON, "pdg": 11, "energy": 4.5}]]), "particles")
    assert ak.sort(ak.from_parquet(tmp_path / "x.parquet")["particles"][column]).tolist() in ([[4.0, 4.5]], [[11, 22]])


def test_field_order_and_width_are_fitted():
    shuffled = ak.Array([[dict(reversed(PHOTON.items()))]])
    table = particles(rows=[(PHOTON,)], particles=shuffled, event=np.arange(1, dtype=np.int16))
    assert table.equals(particles(rows=[(PHOTON,)]))


@pytest.mark.parametrize(
    ("changed", "message"),
    [
        ({"particles": ak.Array([[{"pdg": 22}], []])}, "fields missing"),
        ({"particles": ak.Array([[{**PHOTON, "spin": 1}], []])}, "spin"),
        ({"weight": ["a", "b"]}, "column `weight` does not fit"),
        ({"weight": pa.array([1.0, None])}, "missing .null. values"),
        ({"colour": np.ones(2)}, "unknown column `colour`"),
    ],
)
def test_wrong_columns_are_refused(changed, message):
    with pytest.raises(InputError, match=message):
        particles(**changed)


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("energy", -1.0, "event 0: `particles.energy` = -1.0, expected an energy >= 0"),
        ("energy", np.nan, "event 0: `particles.energy` = nan, expected a finite number"),
        ("px", np.inf, "event 0: `particles.px` = inf, expected a finite number"),
    ],
)
def test_bad_values_name_event_and_field(field, value, message):
    table = particles(rows=[({**PHOTON, field: value},)])
    with pytest.raises(InputError, match=message):
        records.check(table, "particles", "f.parquet")


def test_an_index_outside_its_column_is_refused():
    columns = {name: [[]] for name in ("particles", "objects", "jets", "gen_jets")}
    jet = {"pt": 1.0, "eta": 0.0, "phi": 0.0, "mass": 0.0, "constituents": [0]}
    table = records.table("objects", {**columns, "event": [0], "weight": [1.0], "jets": ak.Array([[jet]])})
    with pytest.raises(InputError, match=r"`jets\.constituents` points outside `objects`"):
        records.check(table, "objects", "f.parquet")


def damage(kind, path):
    records.write(path, particles(), "particles")
    if kind == "missing":
        path.unlink()
    elif kind == "empty":
        path.write_bytes(b"")
    elif kind == "truncated":
        path.write_bytes(path.read_bytes()[:-20])
    elif kind == "text":
        path.write_text("hello\n" * 20)
    elif kind == "folder":
        path.unlink()
        path.mkdir()
    elif kind == "version":
        pq.write_table(particles().replace_schema_metadata({"gen2reco.schema": "particles/3"}), path)
    elif kind == "other":
        records.write(path, records.empty("hits"), "hits")


@pytest.mark.parametrize(
    ("kind", "message"),
    [
        ("missing", "no such file"),
        ("empty", "empty file"),
        ("truncated", "not a readable Parquet file"),
        ("text", "not a readable Parquet file"),
        ("folder", "is a folder"),
        ("version", "holds `particles/3`, expected `particles/2`"),
        ("other", "holds `hits/2`, expected `particles/2`"),
    ],
)
def test_damaged_files_give_one_line(tmp_path, kind, message):
    path = tmp_path / "x.parquet"
    damage(kind, path)
    with pytest.raises(InputError, match=message) as caught:
        records.read(path, "particles")
    assert str(path) in str(caught.value) and "\n" not in str(caught.value)


def test_a_file_without_metadata_is_accepted_by_its_columns(tmp_path):
    path = tmp_path / "x.parquet"
    pq.write_table(particles().replace_schema_metadata(None), path)
    assert records.record_of(path) == "particles"
    assert records.read(path, "particles").equals(particles())


def test_a_failed_write_leaves_nothing(tmp_path):
    def tables():
        yield particles()
        raise OSError(28, "No space left on device")

    with pytest.raises(InfrastructureError, match="No space left"):
        records.write_stream(tmp_path / "x.parquet", tables(), "particles")
    assert list(tmp_path.iterdir()) == []


def test_a_folder_that_is_a_file_is_one_clear_line(tmp_path):
    (tmp_path / "file").write_text("kept")
    for write in (lambda p: records.write(p, particles(), "particles"), lambda p: write_text(p, "text")):
        with pytest.raises(InputError, match=r"file/x.*cannot be written: Not a directory"):
            write(tmp_path / "file" / "x")
    assert (tmp_path / "file").read_text() == "kept"


def test_same_events_same_bytes(tmp_path):
    for name in "ab":
        records.write(tmp_path / name, particles(), "particles", {"k": "v"})
    assert (tmp_path / "a").read_bytes() == (tmp_path / "b").read_bytes()


def test_optional_columns_are_known():
    assert set(OPTIONAL) == set(COLUMNS)
    table = particles(weights=ak.Array([[1.0, 2.0], []]))
    assert table.schema.names[-1] == "weights"
