"""Records: round trips, strictness, one clear line for each kind of damage."""

import os

import awkward as ak
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gen2reco.errors import InfrastructureError, InputError
from gen2reco.events import records
from gen2reco.events.publish import publish_file
from gen2reco.events.schemas import COLUMNS, OPTIONAL, SCHEMAS
from gen2reco.files import write_text

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


@settings(max_examples=25, deadline=None, derandomize=True)
@given(
    sizes=st.lists(st.integers(0, 7), min_size=1, max_size=5),
    spans=st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), max_size=6),
    page=st.integers(1, 4),
)
def test_any_slices_of_a_source_are_those_of_the_table(tmp_path_factory, sizes, spans, page):
    count = sum(sizes)
    table = particles([[{**PHOTON, "vx": float(i)}] * (i % 3) for i in range(count)])
    path = tmp_path_factory.mktemp("source") / "x.parquet"
    with pq.ParquetWriter(path, table.schema) as writer:
        for start, size in zip(np.cumsum([0, *sizes]), sizes):
            writer.write_table(table.slice(start, size))
    source = records.Source(path, "particles")
    assert source.num_rows == count
    for start, stop in spans:
        assert source.slice(start, stop).equals(table.slice(start, max(stop - start, 0)).combine_chunks())
    assert pa.concat_tables([table.slice(0, 0), *source.tables(page)]).equals(table)


def test_children_read_a_source_of_their_own(tmp_path):
    records.write(tmp_path / "x.parquet", particles([[PHOTON]] * 9), "particles")
    source = records.Source(tmp_path / "x.parquet")
    source.slice(0, 4)
    child = os.fork()
    if not child:
        os._exit(source.slice(4, 9)["event"].to_pylist() != [4, 5, 6, 7, 8])
    assert os.waitpid(child, 0)[1] == 0
    assert source.slice(4, 9)["event"].to_pylist() == [4, 5, 6, 7, 8]


def test_row_groups_are_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "GROUP_ROWS", 4)
    tables = (particles([[PHOTON]] * n) for n in (1, 2, 1, 9, 1))
    records.write_stream(tmp_path / "x.parquet", tables, "particles")
    file = pq.ParquetFile(tmp_path / "x.parquet").metadata
    assert [file.row_group(i).num_rows for i in range(file.num_row_groups)] == [4, 4, 4, 1, 1]


def test_reading_holds_a_row_group_and_not_the_file(tmp_path, monkeypatch):
    monkeypatch.setattr(records, "GROUP_ROWS", 1)
    held = 50_000
    empty = records.empty("hits")
    hit = {field.name: 1 for field in empty.schema.field("hits").type.value_type}
    one = empty.schema.empty_table().to_pydict() | {"event": [0], "weight": [1.0]}
    one |= {name: [[]] for name in ("particles", "tracks", "contributions")} | {"hits": [[hit] * held]}
    row = pa.Table.from_pydict(one, empty.schema)
    events = [row.set_column(0, empty.schema.field("event"), pa.array([i])) for i in range(30)]
    records.write_stream(tmp_path / "h.parquet", iter(events), "hits")
    del events
    before, source = pa.total_allocated_bytes(), records.Source(tmp_path / "h.parquet", "hits")
    for start in (0, 1, 20):
        part = source.slice(start, start + 2)
        assert part["event"].to_pylist() == [start, start + 1]
        assert pa.total_allocated_bytes() - before < 12 * row.nbytes  # 87 when all groups are opened at once
    assert [part.num_rows for part in source.tables()] == [1] * 30


def test_tables_of_one_file_have_the_same_columns(tmp_path):
    tables = iter([particles(), particles(weights=[[1.0], [2.0]])])
    with pytest.raises(InputError, match="column `weights` is in some tables and not in others"):
        records.write_stream(tmp_path / "x.parquet", tables, "particles")
    assert list(tmp_path.iterdir()) == []


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


def cluster_columns(**changed):
    columns = {name: [[]] for name in COLUMNS["clusters"]} | {"event": [0], "weight": [1.0]}
    return records.table("clusters", {**columns, **changed})


@pytest.mark.parametrize(
    ("record", "table", "message"),
    [
        ("particles", lambda: particles(event=[3, 3]), "event number 3 is there 2 times"),
        ("particles", lambda: particles(weights=[[1.0], [1.0, 2.0]]), "event 1: `weights` holds 2 values, expected 1"),
        ("particles", lambda: particles(weight=[1.0, np.nan]), "event 1: `weight` = nan"),
        ("particles", lambda: particles([[{**PHOTON, "energy": 3.7}]]), "event 0: .*momentum 3.741657 GeV, energy 3.7"),
        ("clusters", lambda: cluster_columns(cluster_trackster=[[0]]), "`cluster_trackster` points outside"),
        ("clusters", lambda: cluster_columns(cluster_trackster=[[-1]]), "holds 1 values, .* the 0 of `layer_clusters`"),
        ("clusters", lambda: cluster_columns(deposited=[[1.0]]), "event 0: `deposited` holds 1 values"),
        (
            "clusters",
            lambda: cluster_columns(deposited=[[-1.0]]),
            "event 0: `deposited` = -1.0, expected an energy >= 0",
        ),
        ("hits", particles, "unknown column `partons`"),
    ],
)
def test_records_that_contradict_themselves_are_refused(tmp_path, record, table, message):
    with pytest.raises(InputError, match=message):
        records.check(table(), record, "f.parquet")


@pytest.mark.parametrize("scale", [1e-3, 1.0, 1e3, 6500.0])
def test_rounding_of_files_is_no_contradiction(scale):
    rng = np.random.default_rng(1)
    p = rng.normal(size=(1000, 3)) * scale
    light = np.linalg.norm(p, axis=1)
    for rounded in (np.float32, lambda x: np.array([f"{v:.5e}" for v in x.ravel()], float).reshape(x.shape)):
        columns = dict(zip(("px", "py", "pz", "energy"), [*rounded(p).T, rounded(light)]))
        rest = {name: np.zeros(1000) for name in ("vx", "vy", "vz", "time")}
        fields = {"pdg": np.full(1000, 22), **columns, **rest}
        table = records.table("particles", {**_bare(1), "particles": records.structs([0, 1000], fields)})
        records.check(table, "particles", "f.parquet")


def _bare(events):
    return {"event": np.arange(events), "weight": np.ones(events), "partons": records.no_lists(events)}


def test_a_number_that_comes_again_later_is_found(tmp_path):
    tables = (particles([[PHOTON]] * 200, event=np.arange(200) + start) for start in (0, 200, 399))
    records.write_stream(tmp_path / "x.parquet", tables, "particles")
    with pytest.raises(InputError, match=r"x\.parquet: event number 399 is there 2 times"):
        records.Source(tmp_path / "x.parquet").check()


@pytest.mark.parametrize("suffix", ["hepmc", "hepmc.gz"])
def test_what_is_not_valid_is_not_published(tmp_path, suffix):
    records.write(tmp_path / "x.parquet", particles([[{**PHOTON, "px": np.nan}]]), "particles")
    with pytest.raises(InputError, match=r"event 0: `particles\.px` = nan"):
        publish_file(tmp_path / "x.parquet", tmp_path / f"out.{suffix}")
    assert [file.name for file in tmp_path.iterdir()] == ["x.parquet"]


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
        with pytest.raises(InfrastructureError, match=r"file/x.*cannot be written: Not a directory"):
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
