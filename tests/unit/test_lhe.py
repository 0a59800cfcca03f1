"""Les Houches event files: four dialects read, one written, ranges, and files that are broken."""

import gzip
import time
from pathlib import Path

import lhe_files
import numpy as np
import pylhe
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gen2reco.errors import InputError
from gen2reco.events import event_files
from gen2reco.events.lhe import LheFile, write_clean

DATA = Path(__file__).parents[1] / "data"
DIALECTS = ("madgraph_merged", "powheg", "sherpa", "whizard")
POWHEG = (DATA / "powheg.lhe").read_text()


def read(path, start=0, stop=None):
    file = LheFile(path)
    return file.run, list(file.events(start, len(file) if stop is None else stop))


@pytest.mark.parametrize(
    ("name", "beams", "strategy", "section", "extra", "blocks"),
    [
        ("madgraph_merged", (2212, 2212), -4, 1199.0, {"1001": 1199.0, "1002": 1301.0}, ["slha", "MGRunCard", "MGGen"]),
        ("powheg", (2212, 2212), -4, 1200.0, {"0": -240.0}, []),
        ("sherpa", (2212, 2212), 3, 25.0, {"MUR0.5_MUF0.5_PDF303400": 1.1}, []),
        ("whizard", (11, -11), 3, 0.7279, {}, []),
    ],
)
def test_dialects(name, beams, strategy, section, extra, blocks):
    run, events = read(DATA / f"{name}.lhe")
    assert (run.beams, run.strategy, run.processes[0][0], len(events)) == (beams, strategy, section, 3)
    assert events[1].weights == extra
    assert [block for block in blocks if any(kept.startswith(f"<{block}") for kept in run.blocks)] == blocks


@pytest.mark.parametrize("name", DIALECTS)
def test_every_dialect_becomes_the_same_shape(name):
    for event in read(DATA / f"{name}.lhe")[1]:
        rows = event.particles
        assert rows[:2, 1].tolist() == [-1, -1]
        assert rows[0, 8] > 0 > rows[1, 8]
        assert (rows[:2, 2:4] == 0).all()
        assert (rows[2:, 2] > 0).all() and (rows[2:, 2:4] <= len(rows)).all()
        assert not np.isin(rows[:, 1], -9).any()
        final, incoming = rows[rows[:, 1] == 1], rows[rows[:, 1] == -1]
        np.testing.assert_allclose(final[:, 6:10].sum(0), incoming[:, 6:10].sum(0), atol=1e-6)
        colours = (
            np.sort(np.concatenate([final[:, 4], incoming[:, 5]])),
            np.sort(np.concatenate([final[:, 5], incoming[:, 4]])),
        )
        np.testing.assert_array_equal(*colours)
        assert rows[:, 4:6].max() == 0 or rows[:, 4:6].max() > 500


def test_signed_weights_and_fortran_numbers():
    assert [event.weight for event in read(DATA / "powheg.lhe")[1]] == [1200.0, -1200.0, 1200.0]


def test_merging_needs_what_the_header_and_the_event_tag_say():
    run, events = read(DATA / "madgraph_merged.lhe")
    assert any("ickkw" in block and "CDATA" not in block for block in run.blocks)
    assert "npLO" in events[0].attributes and events[0].scales.startswith("<scales pt_clust_1")


ROWS = ("id", "status", "mother1", "mother2", "color1", "color2", "px", "py", "pz", "e", "m", "lifetime", "spin")


@pytest.mark.parametrize("name", [*DIALECTS, "cases/lhe/tau", "cases/lhe/zjets", "cases/lhe/pwg"])
def test_written_clean_it_reads_the_same_here_and_in_pylhe(tmp_path, name):
    run, events = read(DATA / f"{name}.lhe")
    write_clean(tmp_path / "clean.lhe", run, events)
    again, same = read(tmp_path / "clean.lhe")
    assert (again.beams, again.energies, again.pdf, again.strategy, again.processes) == (
        *(run.beams, run.energies, run.pdf, run.strategy, run.processes),
    )
    others = list(pylhe.LHEFile.fromfile(str(tmp_path / "clean.lhe")).events)
    assert len(others) == len(same) == len(events)
    for a, b, other in zip(events, same, others, strict=True):
        info = other.eventinfo
        assert (a.process, a.weight, a.scale) == (b.process, b.weight, b.scale) == (info.pid, info.weight, info.scale)
        np.testing.assert_array_equal(a.particles, b.particles)
        np.testing.assert_array_equal(a.particles, [[getattr(p, row) for row in ROWS] for p in other.particles])


@settings(max_examples=20, deadline=None, derandomize=True)
@given(st.lists(st.floats(allow_nan=False, allow_infinity=False), min_size=6, max_size=6))
def test_all_floats_are_passed_on_as_they_are(tmp_path_factory, numbers):
    px, py, pz, energy, lifetime, spin = numbers
    rows = [[px, py, pz, abs(energy), 0.0, lifetime, spin], [-px, -py, pz, abs(energy), 0.0, lifetime, spin]]
    event = lhe_files.event()
    for colours, sign, new in (("511 514", "", rows[0]), ("514 513", "-", rows[1])):
        event = event.replace(f"{colours} {sign}120.0 0. 0. 120.0 0. 0 9", f"{colours} {' '.join(map(repr, new))}")
    folder = tmp_path_factory.mktemp("floats")
    run, events = read(lhe_files.written(folder, lhe_files.lhe([event])))
    write_clean(folder / "clean.lhe", run, events)
    (particles,) = (event.particles for event in read(folder / "clean.lhe")[1])
    assert particles[2:, 6:].tolist() == rows


def test_spins_of_taus_stay():
    assert [event.particles[2, 12] for event in read(DATA / "cases" / "lhe" / "tau.lhe")[1]] == [-0.147] * 4


@pytest.mark.parametrize(
    ("tail", "kept"),
    [
        ("#scaleShowers 12.5 30.\n", "#scaleShowers 12.5 30."),
        ("#pdf 1 2 0.1 0.2 91. 0.5 0.6\n#aMCatNLO 1 5\n", "#pdf 1 2 0.1 0.2 91. 0.5 0.6"),
        ("# 10. 20.\n# made by me\n", "# 10. 20."),
        ("#pdf 1 2\n#scaleShowers 1 x\n#rwgt 1 2\n", ""),
        ("<scales muf='91.2' mur=\"80\"\n pt_clust_1='1'/>\n", '<scales muf="91.2" mur="80" pt_clust_1="1"></scales>'),
    ],
)
def test_lines_that_change_a_shower_are_kept(tmp_path, tail, kept):
    path = lhe_files.written(tmp_path, lhe_files.lhe([lhe_files.event(tail=tail, tag=" npLO = ' 1 ' x='<'")]))
    run, (event,) = read(path)
    assert event.scales == kept and event.attributes == ' npLO=" 1 " x=" "' and run.version == "3.0"
    write_clean(tmp_path / "clean.lhe", run, [event])
    assert read(tmp_path / "clean.lhe")[1][0].scales == kept


@pytest.mark.parametrize("suffix", [".lhe", ".lhe.gz"])
def test_any_range(tmp_path, suffix):
    path = tmp_path / f"x{suffix}"
    path.write_bytes(gzip.compress(POWHEG.encode()) if suffix.endswith("gz") else POWHEG.encode())
    energies = [event.particles[0, 9] for event in read(path)[1]]
    for start in range(4):
        for stop in range(start, 4):
            assert [event.particles[0, 9] for event in read(path, start, stop)[1]] == energies[start:stop]


def test_an_event_in_a_header_comment_does_not_count(tmp_path):
    (tmp_path / "x.lhe").write_text(POWHEG.replace("numevts 3", "<event> 5 </event>"))
    assert len(LheFile(tmp_path / "x.lhe")) == 3


def test_no_events_is_valid(tmp_path):
    (tmp_path / "x.lhe").write_text(POWHEG[: POWHEG.index(" <event>")] + "</LesHouchesEvents>\n")
    assert read(tmp_path / "x.lhe")[1] == []


def swap(old, new, count=1):
    assert old in POWHEG
    return POWHEG.replace(old, new, count)


@pytest.mark.parametrize(
    ("text", "match"),
    [
        ("", "empty file"),
        ("hello\n", "is no Les Houches event file"),
        ("<LesHouchesEvents>\n<event>\n", "has no <init>"),
        (POWHEG[:-200], r"event 2 \(counted from 0\) has no </event>; the file is cut off"),
        (swap("1.20000D+03  2.0", "1.20000D+03"), "<init> is incomplete"),
        (swap("-4      1\n", "-7      1\n"), "IDWTUP = -7"),
        (swap("1.20000D+03  2.0", "NaN 2.0"), "no number"),
        (swap("      4  10001", "      5  10001"), r"event 0 .* malformed; expected a line of 6 numbers"),
        (swap("      4  10001", "      four  10001"), "event 0 .* malformed"),
        (swap("1.2000000000D+02 ", "NaN "), "NaN or infinity"),
        (swap("1.2000000000D+02   0.0", "-1.2000000000D+02 0.0"), "energy -120, expected >= 0"),
        (swap("   -1    0    0", "    1    0    0"), "has 1 incoming particles"),
        (swap("    1    1    2", "    1    1   12"), "names a mother outside its 4 particles"),
        (swap("      4  10001", "      0  10001"), r"event 0 .* no particles \(NUP = 0\)"),
        (swap("      4  10001", "     1e9  10001"), "event 0 .* malformed"),
        (swap("      4  10001", "     inf  10001"), "event 0 .* malformed"),
        (swap("      4  10001", "      -4  10001"), "event 0 .* malformed"),
        (swap("    1    1    2", "  1.5    1    2"), "no whole number"),
        (swap("-4      1\n", "-4      inf\n"), "<init> is incomplete"),
        (swap("-4      1\n", "-4      0\n"), "<init> is incomplete"),
    ],
)
def test_broken_files_get_one_line(tmp_path, text, match):
    (tmp_path / "x.lhe").write_text(text)
    with pytest.raises(InputError, match=match) as caught:
        read(tmp_path / "x.lhe")
    assert "x.lhe" in str(caught.value) and "\n" not in str(caught.value)


def test_exhausted_says_how_many_it_held():
    with pytest.raises(InputError, match=r"powheg\.lhe: exhausted: it holds 3 events, but event 4"):
        read(DATA / "powheg.lhe", 2, 5)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (gzip.compress(POWHEG.encode())[:-20], "cut off: the gzip stream has no end"),
        (gzip.compress(POWHEG.encode())[:30] + b"\x00\xff" * 40, "damaged gzip stream|cut off"),
        (gzip.compress(b""), "empty file"),
    ],
)
def test_broken_gzip(tmp_path, content, match):
    (tmp_path / "x.lhe.gz").write_bytes(content)
    with pytest.raises(InputError, match=match):
        LheFile(tmp_path / "x.lhe.gz")


def test_expansion_is_bounded(tmp_path, monkeypatch):
    monkeypatch.setattr(event_files, "SMALL", 1000)
    (tmp_path / "x.lhe.gz").write_bytes(gzip.compress(bytes(10_000_000)))
    with pytest.raises(InputError, match="200 times its size; refused"):
        LheFile(tmp_path / "x.lhe.gz")


def test_missing_file(tmp_path):
    with pytest.raises(InputError, match="no such file"):
        LheFile(tmp_path / "none.lhe")


TOKENS = (
    *("<event>", "</event>", "<init>", "</init>", "<header>", "</LesHouchesEvents>", "<eventgroup>", "</eventgroup>"),
    *("<wgt id='1'>", "</wgt>", "<weights>", "<weight id=", "<initrwgt>", "<scales ", "<!--", "-->", "]]>", "<slha>"),
    *(
        "1e999",
        "nan",
        "-1",
        "1_0",
        "1.0D+3",
        "99999999999999999999",
        "\x00",
        "\ufeff",
        "\n",
        "#",
        "'",
        '"',
        "=",
        "<",
        ">",
    ),
    *("#new weight,a x", "trials='0'", "4 1 1. 1. 1. 1.\n"),
)
BASES = tuple((DATA / f"{name}.lhe").read_text() for name in (*DIALECTS, "cases/lhe/dup", "cases/lhe/groups"))


@st.composite
def spoiled(draw):
    """A file of a real program, pieces of it cut, doubled or replaced."""
    text = draw(st.sampled_from(BASES))
    for _ in range(draw(st.integers(1, 6))):
        low = draw(st.integers(0, len(text)))
        high = min(len(text), low + draw(st.sampled_from([0, 0, 1, 5, 40, 400])))
        text = text[:low] + draw(st.sampled_from([*TOKENS, text[low:high] * 2, text[:high]])) + text[high:]
    return text


@settings(max_examples=150, deadline=None, derandomize=True)
@given(
    st.one_of(spoiled().map(str.encode), st.binary(max_size=300), spoiled().map(lambda t: gzip.compress(t.encode())))
)
def test_whatever_comes_in_becomes_events_or_one_line(tmp_path_factory, data):
    path = tmp_path_factory.getbasetemp() / "whatever.lhe"
    path.write_bytes(data)
    try:
        file = LheFile(path)
        file.remarks(), file.incoming_energies(), file.nominal
        events = list(file.events(0, len(file)))
    except InputError as error:
        assert "whatever.lhe" in str(error) and "\n" not in str(error)
    else:
        assert all(np.isfinite(event.particles).all() and event.particles.shape[1] == 13 for event in events)
        write_clean(path, file.run, events)
        assert [event.weight for event in read(path)[1]] == [event.weight for event in events]


@pytest.mark.parametrize("place", ["header", "init", "tag", "tail", "weight"])
@pytest.mark.parametrize("piece", ["<init ", "<!--", "<wgt id='", '<weight id="', "\n", "a='", "a=", "<event", "x"])
def test_time_grows_with_the_length(tmp_path, place, piece):
    junk = piece * (500_000 // len(piece))
    text = {
        "header": lhe_files.lhe([lhe_files.event()], header=junk),
        "init": lhe_files.lhe([lhe_files.event()]).replace("</init>", junk + "</init>"),
        "tag": lhe_files.lhe([lhe_files.event(tag=" " + junk)]),
        "tail": lhe_files.lhe([lhe_files.event(tail=junk + "\n")]),
        "weight": lhe_files.lhe([lhe_files.event(tail=f"<rwgt><wgt id='1'>{junk}</wgt></rwgt>\n")]),
    }[place]
    path, started = lhe_files.written(tmp_path, text), time.process_time()
    try:
        file = LheFile(path)
        list(file.events(0, len(file)))
        file.remarks()
    except InputError as error:
        assert "\n" not in str(error)
    assert time.process_time() - started < 3
