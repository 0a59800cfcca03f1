"""Half-made work is checked before it is believed: chunks, kept files, inputs and their sidecars."""

import json
import os
import shutil
import signal
from pathlib import Path

import pyarrow.parquet as pq
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from toys import Inline, Toy, hits_of, job

from gen2reco import files as files
from gen2reco.errors import InfrastructureError, InputError
from gen2reco.files import file_digest
from gen2reco.run import chunks as chunk_files
from gen2reco.run.runner import Interrupted, run
from gen2reco.run.sidecar import is_whole, read_sidecar


@pytest.fixture(scope="module", autouse=True)
def quick_disk():
    """No waiting for the disk, which `test_files` looks at."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(files.os, "fsync", lambda number: None)
        yield


class Stopped(Inline):
    """Receives a signal to stop in its third chunk."""

    def run(self, chunk, events):
        if chunk.index == 2:
            os.kill(os.getpid(), signal.SIGTERM)
        return super().run(chunk, events)


class Counted(Inline):
    """Tells which chunks it made."""

    made: list[int] = []

    def run(self, chunk, events):
        Counted.made.append(chunk.index)
        return super().run(chunk, events)


@pytest.fixture(scope="module")
def quiet(tmp_path_factory):
    """The digest of the file that an undisturbed job makes."""
    return run(job(tmp_path_factory.mktemp("quiet")))["sha256"]


def stop(folder: Path, **given) -> list[Path]:
    """Leave a job with three of its four chunks done; returns their files."""
    folder.mkdir(exist_ok=True)
    with pytest.raises(Interrupted, match="after 3 of 4 chunks"):
        run(job(folder, Stopped, **given))
    return sorted(folder.glob(".partial/*/[0-9]*.parquet"))


def go_on(folder: Path) -> tuple[str, list[int]]:
    """Start the job again; returns the digest of its file and the chunks that were made."""
    Counted.made = []
    facts = run(job(folder, Counted))
    assert (facts["events_out"], facts["made"]) == (10, 10)
    assert sorted(path.name for path in folder.iterdir() if path.name != "other") == ["out.json", "out.parquet"]
    return facts["sha256"], Counted.made


def flip(path: Path, at: int) -> None:
    data = bytearray(path.read_bytes())
    data[at] ^= 1
    path.write_bytes(data)


def foreign(folder: Path, path: Path) -> None:
    """The same chunk of a job of another seed, under the name it has there."""
    shutil.copy(stop(folder / "other", seed=6)[0], path.parent)
    path.unlink()


def swapped(path: Path, other: Path) -> None:
    """The bytes of another chunk under a name with their digest."""
    shutil.copy(other, path.with_name(path.stem.rpartition("-")[0] + "-" + other.stem.rpartition("-")[2] + ".parquet"))
    path.unlink()


HARM = {
    "nothing": (lambda folder, a, b: None, [3]),
    "removed": (lambda folder, a, b: a.unlink(), [0, 3]),
    "cut off": (lambda folder, a, b: os.truncate(a, a.stat().st_size // 2), [0, 3]),
    "empty": (lambda folder, a, b: os.truncate(a, 0), [0, 3]),
    "a byte flipped": (lambda folder, a, b: flip(a, 200), [0, 3]),
    "the last byte flipped": (lambda folder, a, b: flip(a, -1), [0, 3]),
    "another's bytes": (lambda folder, a, b: shutil.copy(b, a), [0, 3]),
    "another's bytes and digest": (lambda folder, a, b: swapped(a, b), [0, 3]),
    "of another job": (lambda folder, a, b: foreign(folder, a), [0, 3]),
    "a folder": (lambda folder, a, b: (a.unlink(), a.mkdir()), [0, 3]),
    "a pipe": (lambda folder, a, b: (a.unlink(), os.mkfifo(a)), [0, 3]),
    "a link to nowhere": (lambda folder, a, b: (a.unlink(), a.symlink_to("nowhere")), [0, 3]),
}


@pytest.mark.parametrize("harm", HARM)
def test_a_chunk_is_made_again_unless_it_is_what_it_claims(tmp_path, quiet, harm):
    act, again = HARM[harm]
    first, second, _ = stop(tmp_path)
    act(tmp_path, first, second)
    assert go_on(tmp_path) == (quiet, again)


@settings(max_examples=8, deadline=None, derandomize=True)
@given(st.data())
def test_no_damage_to_a_chunk_reaches_the_file(tmp_path_factory, quiet, data):
    folder = tmp_path_factory.mktemp("damage")
    path = stop(folder)[1]
    content = path.read_bytes()
    start = data.draw(st.integers(0, len(content) - 1))
    new = data.draw(st.binary(max_size=8))
    damaged = content[:start] + new + content[start + data.draw(st.integers(0, 8)) :]
    path.write_bytes(damaged)
    assert go_on(folder) == (quiet, [3] if damaged == content else [1, 3])


def test_a_chunk_lost_before_the_merge_is_made_again(tmp_path, quiet):
    class Losing(Counted):
        def summary(self, infos):
            if len(Counted.made) == 4:
                os.truncate(next(tmp_path.glob(".partial/*/00001-*.parquet")), 100)
            return super().summary(infos)

    Counted.made = []
    assert run(job(tmp_path, Losing))["sha256"] == quiet
    assert Counted.made == [0, 1, 2, 3, 1]


def test_a_disk_that_loses_chunks_for_ever_is_one_line(tmp_path):
    class Losing(Inline):
        def summary(self, infos):
            os.truncate(next(tmp_path.glob(".partial/*/00001-*.parquet")), 100)
            return super().summary(infos)

    with pytest.raises(InfrastructureError, match="finished chunks were lost 4 times; check the disk"):
        run(job(tmp_path, Losing))
    assert not (tmp_path / "out.parquet").exists()


@pytest.mark.parametrize("inside", ["chunk", "file"])
def test_a_job_killed_inside_a_write_leaves_the_old_file_and_goes_on(tmp_path, quiet, inside):
    old = run(job(tmp_path, seed=6))["sha256"]
    write, calls = pq.ParquetWriter.write_table, []

    def killed(self, table, **given):
        calls.append(1)
        write(self, table, **given)
        if len(calls) == {"chunk": 2, "file": 5}[inside]:
            os.kill(os.getpid(), signal.SIGKILL)

    if (child := os.fork()) == 0:
        pq.ParquetWriter.write_table = killed
        try:
            run(job(tmp_path, Inline))
        finally:
            os._exit(0)
    assert os.WTERMSIG(os.waitpid(child, 0)[1]) == signal.SIGKILL
    assert file_digest(tmp_path / "out.parquet") == read_sidecar(tmp_path / "out.parquet")["sha256"] == old
    for litter in tmp_path.glob(".out*.tmp"):
        litter.unlink()
    digest, made = go_on(tmp_path)
    assert digest == quiet and made == {"chunk": [1, 2, 3], "file": []}[inside]


@pytest.mark.parametrize("harm", ["nothing", "bytes", "facts", "counts", "another's", "half of it"])
def test_a_kept_file_is_brought_back_only_if_it_is_this_job_s(tmp_path, quiet, harm):
    run(job(tmp_path, planned=True))
    folder = next(tmp_path.glob(".partial/*"))
    file, facts = folder / "done-0-10.parquet", folder / "done-0-10.json"
    for name in ("out.parquet", "out.json"):
        (tmp_path / name).unlink()
    if harm == "bytes":
        flip(file, 300)
    elif harm == "facts":
        facts.write_text("[" * 10_000)
    elif harm == "counts":
        facts.write_text(json.dumps({**json.loads(facts.read_text()), "events_out": 99}))
    elif harm == "half of it":
        facts.unlink()
    elif harm == "another's":
        (tmp_path / "other").mkdir()
        run(job(tmp_path / "other", planned=True, seed=6))
        for path in (tmp_path / "other").glob(".partial/*/done*"):
            shutil.copy(path, folder)
    Counted.made = []
    assert run(job(tmp_path, Counted, planned=True))["sha256"] == quiet
    assert Counted.made == ([] if harm == "nothing" else [0, 1, 2, 3])
    assert is_whole(tmp_path / "out.parquet") and read_sidecar(tmp_path / "out.parquet")["events_out"] == 10


def test_a_file_in_the_place_of_the_chunks_is_no_dead_end(tmp_path, quiet):
    folder = stop(tmp_path)[0].parent
    shutil.rmtree(folder)
    folder.write_text("")
    assert run(job(tmp_path))["sha256"] == quiet


def test_an_input_is_compared_with_its_sidecar(tmp_path):
    source, output = tmp_path / "out.parquet", tmp_path / "hits.parquet"
    run(job(tmp_path))
    whole, facts = source.read_bytes(), read_sidecar(source)
    assert run(hits_of(source, output))["events_out"] == 10
    output.unlink()
    for at in range(4, len(whole), 397):
        flip(source, at)
        with pytest.raises(InputError, match=r"out.parquet: its bytes are not those that .*out.json tells"):
            run(hits_of(source, output))
        source.write_bytes(whole)
    source.with_suffix(".json").write_text(json.dumps({**facts, "status": "failed", "events_failed": 10}))
    with pytest.raises(InputError, match="its status is `failed`: 10 of 10 events cannot be processed"):
        run(hits_of(source, output))
    assert not output.exists()
    assert run(hits_of(source, output, planned=True))["events_out"] == 10
    source.with_suffix(".json").unlink()
    assert run(hits_of(source, output))["events_out"] == 10


def test_two_files_do_not_share_a_sidecar(tmp_path):
    run(job(tmp_path))
    with pytest.raises(InputError, match="its sidecar would replace that of the input"):
        run(hits_of(tmp_path / "out.parquet", tmp_path / "out.hits"))


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)
FACTS = {"status": "ok", "stage": "generate", "sha256": "0" * 64, "events_in": 3, "events_out": 3}
NAMES = [*FACTS, "events_failed", "wall_seconds", "failure_reasons", "peak_memory_mb"]


@settings(max_examples=25, deadline=None, derandomize=True)
@given(st.dictionaries(st.sampled_from(NAMES), JSON, max_size=3), JSON)
def test_whatever_a_sidecar_holds_is_facts_or_one_line(tmp_path_factory, odd, other):
    path = tmp_path_factory.getbasetemp() / "facts.json"
    for content in ({**FACTS, **odd}, other):
        path.write_text(json.dumps(content))
        try:
            facts = read_sidecar(path.with_suffix(".parquet"))
        except InputError as error:
            assert "\n" not in str(error) and str(path) in str(error)
        else:
            assert set(FACTS) <= set(facts) and facts["events_in"] >= 0 and facts["status"] in ("ok", "failed")


def test_a_shard_cut_off_chunk_by_chunk_ends_in_the_same_bytes(tmp_path, quiet, monkeypatch):
    """Two jobs at once: each finds chunks of the other's, or makes them itself."""
    made = []
    write = chunk_files.ChunkFiles.write

    def twin(self, chunk, result):
        if not made:
            made.append(chunk)
            run(job(tmp_path, Toy))
        write(self, chunk, result)

    monkeypatch.setattr(chunk_files.ChunkFiles, "write", twin)
    assert run(job(tmp_path, Inline))["sha256"] == quiet
    assert sorted(path.name for path in tmp_path.iterdir()) == ["out.json", "out.parquet"]
