"""HepMC files: both versions read, HepMC3 written, and broken files that must not crash the reader."""

import gzip
import json
import os
import resource
import signal

import numpy as np
import pyarrow as pa
import pyhepmc
import pytest

from gen2reco.errors import InputError
from gen2reco.events import records
from gen2reco.events.hepmc import HepmcFile
from gen2reco.events.hepmc_export import write_hepmc
from gen2reco.run.stage import Chunk, make_backend

MEV, CM = pyhepmc.Units.MEV, pyhepmc.Units.CM


def event(run, number, hard=(21, 21, 23, 23), units=(pyhepmc.Units.GEV, pyhepmc.Units.MM)):
    """e+e- → u ubar → three particles: two photons born at x = 3 mm, a pion whose vertex has no position."""
    px = np.array([0, 0, 0, 0, 1, -1, 0.5, 0.5, -1.0])
    pz, energy = np.array([45, -45, 45, -45, 0, 0, 0, 0, 0.0]), np.array([45, 45, 45, 45, 1, 1, 0.5, 0.5, 1.01])
    pid = np.array([11, -11, 11, -11, 2, -2, 22, 22, -211], np.int32)
    parents = np.array([[0, 0], [0, 0], [1, 1], [2, 2], [3, 4], [3, 4], [5, 5], [5, 5], [6, 6]])
    vx, none = np.array([0, 0, 0, 0, 0, 0, 3, 3, 0.0]), np.zeros(9)
    made = pyhepmc.GenEvent(run)
    place = {"vx": vx, "vy": none, "vz": none, "vt": vx / 2}
    status = np.array([4, 4, *hard, 1, 1, 1], np.int32)
    made.from_hepevt(number, px, none, pz, energy, none, pid, status, parents=parents, **place, fortran=True)
    made.run_info, made.weights = run, [1.5, 3.0]
    made.cross_section = pyhepmc.GenCrossSection()
    made.cross_section.set_cross_section(10.0, 1.0)
    made.particles[4].attributes["flow1"] = 501
    made.particles[5].attributes["flow2"] = 501
    made.set_units(*units)
    return made


def write(path, kind, count=3, **given):
    run = pyhepmc.GenRunInfo()
    run.weight_names = ["nominal", "up"]
    with pyhepmc.open(path, "w", format=kind) as file:
        for number in range(count):
            file.write(event(run, number, **given))
    return path


@pytest.fixture(scope="module")
def texts(tmp_path_factory):
    folder = tmp_path_factory.mktemp("hepmc")
    return {kind: write(folder / kind, kind).read_text() for kind in ("hepmc3", "hepmc2")}


@pytest.mark.parametrize("suffix", ["", ".gz"])
@pytest.mark.parametrize("kind", ["hepmc3", "hepmc2"])
@pytest.mark.parametrize("units", [(pyhepmc.Units.GEV, pyhepmc.Units.MM), (MEV, CM)])
def test_reading(tmp_path, kind, suffix, units):
    file = HepmcFile(write(tmp_path / f"x.hepmc{suffix}", kind, units=units))
    read = file.events(1, 3)
    assert (len(file), read.weight_names, read.section) == (3, ("nominal", "up"), (10.0, 1.0))
    assert read.weights.tolist() == [[1.5, 3.0]] * 2
    particles, partons = read.columns["particles"][1].as_py(), read.columns["partons"][1].as_py()
    assert [p["pdg"] for p in particles] == [22, 22, -211]
    assert [p["vx"] for p in particles] == pytest.approx([3, 3, 0])
    assert [p["time"] for p in particles] == pytest.approx([1.5 / 299.792458] * 2 + [0])
    assert [p["energy"] for p in particles] == pytest.approx([0.5, 0.5, 1.01])
    assert [(p["pdg"], p["status"]) for p in partons] == [(11, 21), (-11, 21), (2, 23), (-2, 23)]
    assert [(p["color"], p["anticolor"]) for p in partons] == [(0, 0), (0, 0), (501, 0), (0, 501)]


@pytest.mark.parametrize(
    ("kind", "hard", "expected"),
    [
        ("hepmc2", (3, 3, 3, 3), 4),
        ("hepmc3", (3, 3, 3, 3), 0),
        ("hepmc3", (2, 2, 2, 2), 0),
        ("hepmc2", (3, 3, 23, 23), 2),
    ],
)
def test_which_particles_are_the_hard_process(tmp_path, kind, hard, expected):
    read = HepmcFile(write(tmp_path / "x.hepmc", kind, hard=hard)).events(0, 1)
    assert len(read.columns["partons"][0]) == expected


def test_a_vertex_without_position_takes_its_mothers(tmp_path, texts):
    text = texts["hepmc3"].replace("V -3 0 [3,4]\n", "V -3 0 [3,4] @ 1.0 2.0 3.0 299.792458\n")
    (tmp_path / "x.hepmc").write_text(text)
    pion = HepmcFile(tmp_path / "x.hepmc").events(0, 1).columns["particles"][0].as_py()[2]
    assert [pion[name] for name in ("vx", "vy", "vz", "time")] == pytest.approx([1, 2, 3, 1])


def test_exhausted_says_how_many_it_held(tmp_path, texts):
    (tmp_path / "x.hepmc").write_text(texts["hepmc3"])
    with pytest.raises(InputError, match=r"x\.hepmc: exhausted: it holds 3 events, but event 3"):
        HepmcFile(tmp_path / "x.hepmc").events(2, 4)


@pytest.mark.parametrize(
    ("kind", "old", "new", "match"),
    [
        ("hepmc3", "V -3 0 [3,4]", "V -3 0 [3,44]", r"event 0 .*broken line `V -3 0 \[3,44\]`"),
        ("hepmc3", "V -3 0 [3,4]", "V -99 0 [3,4]", "broken line `V -99"),
        ("hepmc3", "V -3 0 [3,4]", "V -x 0 [3,4]", "broken line `V -x"),
        ("hepmc3", "V -3 0 [3,4]", "V -3 0 [" + 99999 * "1", "broken line `V -3"),
        ("hepmc3", "V -3 0 [3,4]", "V -3 0 [3,4]" + 99999 * " " + "x", "broken line `V -3"),
        ("hepmc3", "P 9 6 -211", "P 9 6 -211" + 99999 * "1", "broken line `P 9"),
        ("hepmc3", "W 1.5", "W " + 99999 * "1.5 " + "x", "broken line `W"),
        ("hepmc2", "V -3 0 0 0 0 0 0 2 0", "V -3 0 0 0 0 0 0 2 0 " + 99999 * "1 " + "x", "broken line `V -3"),
        ("hepmc3", "P 7 -4 22", "P 7 -44 22", "broken line `P 7 -44"),
        ("hepmc3", "P 7 -4 22", "P 7 7 22", "holds 6 vertices"),
        ("hepmc3", "P 4 2 -11", "P 4 9 -11", "own ancestor"),
        ("hepmc3", "V -3 0 [3,4]", "V -3 0 [3,4,5]", "particle 5 ends at two vertices"),
        ("hepmc3", "P 9 6 -211", "P 8 6 -211", "broken line `P 8"),
        ("hepmc3", "P 9 6 -211", "P 9 6 -99999999999", "broken line"),
        ("hepmc3", "P 9 6 -211", "P 9 6 -9999999999", "no 32-bit integers"),
        ("hepmc3", "U GEV MM", "U TEV MM", "broken line `U TEV"),
        ("hepmc3", "U GEV MM", "W 1 2", "two lines of weights"),
        ("hepmc3", "W 1.5", "W 2.5 1.5", r"has 3 weights, expected 2 \(nominal, up\)"),
        ("hepmc3", "E 0 5 9", "E 0 4 9", "holds 5 vertices"),
        ("hepmc3", "P 7 -4 22", "P 7 -4 photon", "broken line"),
        ("hepmc3", "E 0 5 9", "E 0 5 900000000", "holds 9 of its 900000000 particles"),
        ("hepmc3", "E 0 5 9", "E 0 900000000 9", "broken line `E 0 900000000"),
        ("hepmc3", "A 5 flow1 501", "A 5 flow1 red", "broken attribute"),
        ("hepmc2", "V -3 0 0 0 0 0 0 2 0", "V -3 0 0 0 0 0 0 3 0", "broken line `V -4"),
        ("hepmc2", "V -3 0 0 0 0 0 0 2 0", "V -3 0 0 0 0 0 0 2 900000000", "broken line"),
        ("hepmc2", " 10001 10003 0 2 ", " 10001 10003 900000000 2 ", "broken line `E 0"),
        ("hepmc2", " 0 0 -4 1 1 501", " 0 0 -4 900000000 1 501", "broken line"),
    ],
)
def test_broken_lines_are_named(tmp_path, texts, kind, old, new, match):
    assert old in texts[kind]
    (tmp_path / "x.hepmc").write_text(texts[kind].replace(old, new, 1))
    with pytest.raises(InputError, match=match) as caught:
        HepmcFile(tmp_path / "x.hepmc").events(0, 3)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize("kind", ["hepmc3", "hepmc2"])
def test_cut_in_mid_event(tmp_path, texts, kind):
    end = texts[kind].rindex("P ")
    (tmp_path / "x.hepmc").write_text(texts[kind][:end])
    with pytest.raises(InputError, match=r"event 2 .*(cut off|broken)"):
        HepmcFile(tmp_path / "x.hepmc").events(0, 3)


@pytest.mark.parametrize(
    ("content", "match"),
    [
        (b"", "empty file"),
        (b"hello", "is no HepMC3 or HepMC2"),
        (b"HepMC::HEPEVT-START_EVENT_LISTING", "is no HepMC3 or HepMC2 .*found: HepMC::HEPEVT"),
        (b"HepMC::Asciiv3-START_EVENT_LISTING HepMC::IO_GenEvent-START_EVENT_LISTING", "IO_GenEvent"),
        (gzip.compress(b"x" * 99)[:-9], "gzip stream has no end"),
    ],
)
def test_what_is_no_hepmc(tmp_path, content, match):
    (tmp_path / "x.hepmc").write_bytes(content)
    with pytest.raises(InputError, match=match):
        HepmcFile(tmp_path / "x.hepmc")


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        ("P 9 6 -211 -1.0000000000000000e+00", "P 9 6 -211 nan", "`particles.px` = nan, expected a finite number"),
        ("1.0100000000000000e+00", "-1.0100000000000000e+00", "`particles.energy` = -1.0.*, expected an energy >= 0"),
    ],
)
def test_unphysical_values_are_refused_by_the_backend(tmp_path, texts, old, new, match):
    assert old in texts["hepmc3"]
    path = tmp_path / "x.hepmc"
    path.write_text(new.join(texts["hepmc3"].rsplit(old, 1)))
    backend = make_backend("generate", "hepmc", {"process": {"kind": "hepmc", "file": str(path)}})
    backend.prepare()
    assert backend.run(Chunk(0, 1, 0, 2), None).table["event"].to_pylist() == [0, 1]
    with pytest.raises(InputError, match=rf"x\.hepmc: event 2: {match}"):
        backend.run(Chunk(1, 1, 2, 3), None)


def made(n_particles=4, partons=True, weights=True):
    """Two events with particles at and away from the origin."""
    rng = np.random.default_rng(1)
    place = [(0, 0, 0, 0), (1, 2, 3, 0.5), (1, 2, 3, 0.5), (0, 0, 7, 0.1)]
    particles = [
        {"pdg": 22, **dict(zip(("px", "py", "pz", "energy"), map(float, rng.normal(size=4) ** 2)))}
        | dict(zip(("vx", "vy", "vz", "time"), map(float, place[i % 4])))
        for i in range(n_particles)
    ]
    keys = ("pdg", "status", "px", "py", "pz", "energy", "mass", "color", "anticolor")
    hard = [(21, 21, 0, 0, 5, 5, 0, 101, 102), (21, 21, 0, 0, -5, 5, 0, 102, 103), (25, 22, 0, 0, 0, 10, 10, 0, 0)]
    hard = [dict(zip(keys, row)) for row in [*hard, (5, 23, 3, 0, 0, 5, 4, 104, 0), (-5, 23, -3, 0, 0, 5, 4, 0, 104)]]
    schema = records.SCHEMAS["particles"]
    columns = {
        "event": [3, 4],
        "weight": [-0.5, 2.0],
        "partons": pa.array([hard if partons else [], []], schema.field("partons").type),
        "particles": pa.array([particles, []] if n_particles else [[], []], schema.field("particles").type),
    }
    if weights:
        columns["weights"] = pa.array([[-0.5, 1.0], [2.0, 3.0]], pa.list_(pa.float64()))
    return records.table("particles", columns)


@pytest.mark.parametrize("partons", [True, False])
@pytest.mark.parametrize("name", ["x.hepmc", "x.hepmc.gz"])
def test_written_events_read_the_same(tmp_path, name, partons):
    table = made(partons=partons).slice(0, 1)
    write_hepmc(table, tmp_path / name)
    read = HepmcFile(tmp_path / name).events(0, 1)
    assert read.weights.tolist() == [[-0.5, 1.0]]
    assert read.columns["partons"].to_pylist() == table["partons"].to_pylist()
    expected, found = table["particles"][0].as_py(), read.columns["particles"][0].as_py()
    order = sorted(range(4), key=lambda i: expected[i]["px"]), sorted(range(4), key=lambda i: found[i]["px"])
    for i, j in zip(*order):
        assert found[j] == pytest.approx(expected[i], rel=1e-6)
        assert all(found[j][name] == expected[i][name] for name in ("px", "py", "pz", "energy"))
    with pyhepmc.open(tmp_path / name) as file:
        (theirs,) = file
    last = sorted((p.momentum.px, p.pid, p.momentum.pz, p.momentum.e) for p in theirs.particles if p.status == 1)
    assert last == [(p["px"], p["pdg"], p["pz"], p["energy"]) for p in (expected[i] for i in order[0])]


def test_beams_and_cross_section_come_from_the_metadata(tmp_path):
    beams = [[2212, 6500.0, 0.938], [2212, 6500.0, 0.938]]
    info = {"beams": beams, "cross_section_pb": 7.0, "cross_section_error_pb": 1.0, "weight_names": ["a", "b"]}
    write_hepmc(made(), tmp_path / "x.hepmc", {"gen2reco.provenance": json.dumps({"generate": {"info": info}})})
    with pyhepmc.open(tmp_path / "x.hepmc") as file:
        first = file.read()
    assert [(p.pid, p.momentum.e) for p in first.beams] == [(2212, 6500.0)] * 2
    assert (first.cross_section.xsec(), first.weight_names) == (7.0, ["a", "b"])
    assert first.event_number == 3


PARENTS = {21: (2212, 2212), 25: (21, 21), 5: (25,), -5: (25,), 0: (5, -5), 22: {(5, -5), (0,)}}


@pytest.mark.parametrize("beams", [[], [[2212, 6500.0, 0.938], [2212, 6500.0, 0.938]]])
@pytest.mark.parametrize("middle", [22, 23])
def test_mothers_of_the_file_read_back(tmp_path, beams, middle):
    """Beams → incoming partons → Higgs → its quarks → final particles; those born elsewhere by an unknown particle."""
    table = made(9)
    partons = [
        [p | {"status": middle} if p["pdg"] == 25 else p for p in event] for event in table["partons"].to_pylist()
    ]
    table = table.set_column(2, table.schema.field("partons"), pa.array(partons, table.schema.field("partons").type))
    story = {"generate": {"info": {"beams": beams, "weight_names": ["a", "b"]}}}
    write_hepmc(table, tmp_path / "x.hepmc", {"gen2reco.provenance": json.dumps(story)})
    with pyhepmc.open(tmp_path / "x.hepmc") as file:
        event = file.read()
    parents = {
        p.id: tuple(q.pid for q in p.production_vertex.particles_in) for p in event.particles if p.production_vertex
    }
    expected = PARENTS if middle == 22 else PARENTS | dict.fromkeys((5, -5), (21, 21)) | {0: (25, 5, -5)}
    for particle in event.particles:
        found = parents.get(particle.id, ())
        if particle.status == 4 or (particle.pid == 21 and not beams):
            assert found == ()
        elif particle.status == 1:
            at = particle.production_vertex.position
            assert found == ((0,) if at.z else expected[0])
            assert (at.x, at.y, at.z) in {(0, 0, 0), (1, 2, 3), (0, 0, 7)}
        else:
            assert found == expected[particle.pid]
    born = sorted(p.production_vertex.position.z for p in event.particles if p.status == 1)
    assert born == sorted(p["vz"] for p in table["particles"][0].as_py())


@pytest.mark.parametrize(
    ("names", "by_pyhepmc", "by_us"),
    [
        (["nominal", "muR=2"], ["nominal", "muR=2"], ("nominal", "muR=2")),
        (["a b", "c\\d"], ["a\xa0b", "c\\d"], ("a b", "c\\d")),
        (["same", "same"], ["same", "same#1"], ("same", "same#1")),
        (["", "x"], ["0", "x"], ("0", "x")),
    ],
)
def test_names_of_weights_go_round(tmp_path, names, by_pyhepmc, by_us):
    story = {"gen2reco.provenance": json.dumps({"generate": {"info": {"weight_names": names}}})}
    write_hepmc(made(), tmp_path / "x.hepmc", story)
    with pyhepmc.open(tmp_path / "x.hepmc") as file:
        assert file.read().weight_names == by_pyhepmc
    assert HepmcFile(tmp_path / "x.hepmc").events(0, 2).weight_names == by_us


def test_same_bytes_again(tmp_path):
    for name in ("a.hepmc.gz", "b.hepmc.gz"):
        write_hepmc(made(), tmp_path / name)
    assert (tmp_path / "a.hepmc.gz").read_bytes() == (tmp_path / "b.hepmc.gz").read_bytes()


@pytest.mark.parametrize("kind", ["hepmc3", "hepmc2"])
def test_no_damage_crashes_the_reader(tmp_path, texts, kind):
    """A hundred damaged files, read in a child with 10 s and 4 GiB: values, or one clear line, never a crash."""
    child = os.fork()
    if child == 0:
        signal.alarm(60)
        resource.setrlimit(resource.RLIMIT_AS, (4 << 30, 4 << 30))
        os._exit(0 if all(survives(tmp_path / "x.hepmc", texts[kind], seed) for seed in range(100)) else 1)
    assert os.waitpid(child, 0)[1] == 0


def survives(path, text, seed):
    rng, damaged = np.random.default_rng(seed), list(text)
    for at in rng.integers(120, len(text), rng.integers(1, 5)):
        damaged[at] = rng.choice(["", damaged[at] * 2, *"0159 -.eEPVA[],\n"])
    path.write_text("".join(damaged))
    try:
        file = HepmcFile(path)
        file.events(0, len(file))
    except InputError as error:
        return "\n" not in str(error)
    except Exception:
        return False
    return True
