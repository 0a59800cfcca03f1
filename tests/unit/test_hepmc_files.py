"""HepMC files of others: any order of lines as pyhepmc writes them, runs put together, units, decayed final states."""

import gzip
from pathlib import Path

import numpy as np
import pyhepmc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gen2reco.errors import InputError
from gen2reco.events.hepmc import HepmcFile
from gen2reco.run.stage import Chunk, make_backend

CASES = Path(__file__).parents[1] / "data" / "cases" / "hepmc"
HEAD, FOOT = "HepMC::Version 3.02.05\nHepMC::Asciiv3-START_EVENT_LISTING\n", "HepMC::Asciiv3-END_EVENT_LISTING\n\n"
GEV = pyhepmc.Units.GEV, pyhepmc.Units.MM
MEV = pyhepmc.Units.MEV, pyhepmc.Units.CM


def backend(path):
    made = make_backend("generate", "hepmc", {"process": {"kind": "hepmc", "file": str(path)}})
    made.prepare()
    return made


def generate(path, stop):
    made = backend(path)
    return made, made.run(Chunk(0, 1, 0, stop), None)


@st.composite
def trees(draw):
    """A decay tree in pyhepmc, its particles and vertices added in any order, and what holds it in memory."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))

    def particle(status):
        p = rng.normal(size=3)
        return pyhepmc.GenParticle((*p, float(np.linalg.norm(p))), int(rng.choice([22, 211, -13, 1000022])), status)

    loose = [particle(4), particle(4)]
    particles, vertices = list(loose), []
    for _ in range(draw(st.integers(1, 8))):
        incoming = [loose.pop(rng.integers(len(loose))) for _ in range(min(len(loose), draw(st.integers(1, 3))))]
        placed = len(incoming) > 1 or draw(st.booleans())
        vertex = pyhepmc.GenVertex(tuple(10 * rng.normal(size=4))) if placed else pyhepmc.GenVertex()
        for p in incoming:
            p.status = 4 if p.status == 4 else 2
            vertex.add_particle_in(p)
        for p in (fresh := [particle(1) for _ in range(draw(st.integers(1, 3)))]):
            vertex.add_particle_out(p)
        loose, particles, vertices = loose + fresh, particles + fresh, [*vertices, vertex]
    event = pyhepmc.GenEvent(*draw(st.sampled_from([GEV, MEV])))
    if draw(st.booleans()):
        for at in rng.permutation(len(particles)):
            event.add_particle(particles[at])
    for at in rng.permutation(len(vertices)):
        event.add_vertex(vertices[at])
    event.weights = [1.0]
    return event, (particles, vertices)


def final(event):
    """Final particles with their production vertices as pyhepmc has them in memory, sorted."""
    rows = []
    for p in event.particles:
        if p.status == 1:
            at = p.production_vertex.position
            rows.append([p.pid, p.momentum.px, p.momentum.pz, p.momentum.e, at.x, at.y, at.z, at.t])
    energy, length = 1e-3 ** (event.momentum_unit == MEV[0]), 10.0 ** (event.length_unit == MEV[1])
    return np.array(sorted(rows)) * [1, *[energy] * 3, *[length] * 4]


@pytest.mark.parametrize("kind", ["hepmc3", "hepmc2"])
@given(made=st.lists(trees(), min_size=1, max_size=3))
@settings(max_examples=40, deadline=None, derandomize=True)
def test_what_pyhepmc_writes_is_read(tmp_path_factory, kind, made):
    path = tmp_path_factory.getbasetemp() / f"tree.{kind}"
    with pyhepmc.open(path, "w", format=kind) as file:
        for event, _ in made:
            file.write(event)
    read = HepmcFile(path).events(0, len(made)).columns["particles"].to_pylist()
    names = ("pdg", "px", "pz", "energy", "vx", "vy", "vz", "time")
    for (event, _), particles in zip(made, read):
        found = np.array(sorted([p[name] for name in names] for p in particles)) * [*[1] * 7, 299.792458]
        assert found == pytest.approx(final(event), rel=1e-5, abs=1e-5)


PHOTONS = ("P 3 -1 22 3 0 4 5 0 1", "P 4 -1 22 -3 0 4 5 0 1")
BEAMS = ("P 1 0 2212 0 0 6500 6500 0 4", "P 2 0 2212 0 0 -6500 6500 0 4")


def one(*lines, vertices=1, particles=4, weights="1", number=0, extra=()):
    return "\n".join([f"E {number} {vertices} {particles}", "U GEV MM", f"W {weights}", *extra, *lines, ""])


EVENT = one(*BEAMS, "V -1 0 [1,2]", *PHOTONS)


@pytest.mark.parametrize(
    ("text", "born"),
    [
        (EVENT, 0),
        (one("V -1 0 [1,2] @ 0 0 1 2", *BEAMS, *PHOTONS), 1),  # the vertex first
        (one(*PHOTONS, *BEAMS, "V -1 0 [2,1] @ 0 0 1 2"), 1),  # the vertex last
        (one(*reversed(PHOTONS), "V -1 0 [1,2] @ 0 0 1 2", *reversed(BEAMS)), 1),
        (one("P 1 2 22 3 0 4 5 0 1", "P 2 0 111 0 0 8 10 0 2", "P 3 2 22 -3 0 4 5 0 1", particles=3), 0),
        (one("P 1 -1 22 3 0 4 5 0 1", "P 2 -1 22 -3 0 4 5 0 1", particles=2), 0),  # a vertex without a line
        (one("V -1 0 [] @ 0 0 1 2", "P 1 -1 22 3 0 4 5 0 1", "P 2 -1 22 -3 0 4 5 0 1", particles=2), 1),
        (one("P 1 0 22 3 0 4 5 0 1", "P 2 0 22 -3 0 4 5 0 1", vertices=0, particles=2), 0),  # no vertices at all
        (EVENT.replace("E 0 1 4", "E 0 3 4"), 0),  # vertices without outgoing particles, of which nothing is written
        (EVENT.replace("E 0 1 4", "E 0 1 4 @ 0 0 1 2"), 1),  # the event's own place
        (EVENT.replace("W 1", "A 0 x \nA 0 y abc\\\nA 1 z\nA 0 alphaQCD 0.1\nW 1"), 0),  # attributes, some empty
        (EVENT.replace("\n", "\r\n"), 0),
        (EVENT.replace(" ", "  "), 0),
        (EVENT.replace("W 1\n", ""), 0),
        (EVENT.replace("U GEV MM", "U MEV CM").replace(" 4 5 ", " 4e3 5e3 ").replace("3 0 4e3", "3e3 0 4e3"), 0),
    ],
)
def test_valid_ways_to_write_two_photons(tmp_path, text, born):
    (tmp_path / "x.hepmc").write_bytes((HEAD + text + EVENT + FOOT).encode())
    first, second = HepmcFile(tmp_path / "x.hepmc").events(0, 2).columns["particles"].to_pylist()
    for p in first:
        assert [p["pdg"], abs(p["px"]), p["pz"], p["energy"]] == pytest.approx([22, 3, 4, 5])
    assert [p["vz"] for p in first] == [born] * 2 and [p["vz"] for p in second] == [0, 0]


def test_an_event_is_read_the_same_wherever_a_range_starts(tmp_path):
    """Units, weights and the event's place are its own, not those of the event before."""
    odd = EVENT.replace("E 0 1 4", "E 0 1 4 @ 0 0 1 2").replace("U GEV MM", "U MEV CM").replace("W 1", "W 7")
    bare = EVENT.replace("U GEV MM\n", "").replace("W 1\n", "")
    (tmp_path / "x.hepmc").write_text(HEAD + odd + bare + FOOT)
    file = HepmcFile(tmp_path / "x.hepmc")
    both, alone = file.events(0, 2), file.events(1, 2)
    assert both.weights.tolist() == [[7.0], [1.0]]
    assert both.columns["particles"][1] == alone.columns["particles"][0]
    assert alone.columns["particles"][0][0].as_py()["energy"] == 5.0


def test_a_file_without_end_is_read_to_its_last_line(tmp_path):
    (tmp_path / "x.hepmc").write_text(HEAD + EVENT + FOOT + HEAD + EVENT + EVENT)
    assert len(HepmcFile(tmp_path / "x.hepmc")) == 3
    (tmp_path / "x.hepmc").write_text((HEAD + EVENT + EVENT)[:-1])
    with pytest.raises(InputError, match=r"event 1 \(counted from 0\): is cut off in its last line"):
        HepmcFile(tmp_path / "x.hepmc").events(0, 2)


def run(names=(), section="10.0 1.0", kind="hepmc3", weights=2):
    """The text of a run of two events."""
    made = pyhepmc.GenRunInfo()
    made.weight_names = list(names)
    event = pyhepmc.GenEvent(made)
    momenta = np.array([[0, 0, 3, -3.0], [0, 0, 0, 0], [65, -65, 4, 4], [65, 65, 5, 5.0]])
    codes, status = np.array([2212, 2212, 22, 22], np.int32), np.array([4, 4, 1, 1], np.int32)
    parents = np.array([[0, 0], [0, 0], [1, 2], [1, 2]])
    event.from_hepevt(0, *momenta, np.zeros(4), codes, status, parents=parents, fortran=True)
    event.run_info, event.weights = made, [float(i) for i in range(1, weights + 1)]
    if section:
        event.cross_section = pyhepmc.GenCrossSection()
        event.cross_section.set_cross_section(*map(float, section.split()))
    from io import BytesIO

    with pyhepmc.open(file := BytesIO(), "w", format=kind) as out:
        out.write(event)
        out.write(event)
    return file.getvalue()


@pytest.mark.parametrize("kind", ["hepmc3", "hepmc2"])
@pytest.mark.parametrize("names", [("nominal", "up"), ()])
def test_runs_that_agree_are_read_together(tmp_path, kind, names):
    first, second = run(names, kind=kind), run(names, "10.5 1.0", kind=kind)
    for name, content in (("x", first + second), ("x.gz", gzip.compress(first) + gzip.compress(second))):
        (tmp_path / name).write_bytes(content)
        file = HepmcFile(tmp_path / name)
        read = file.events(1, 4)
        assert (len(file), read.weight_names, read.section[0]) == (4, names or ("0", "1"), 10.5)
        assert read.weights.tolist() == [[1.0, 2.0]] * 3


@pytest.mark.parametrize("kind", ["hepmc3", "hepmc2"])
@pytest.mark.parametrize(
    ("other", "match"),
    [
        ({"names": ("nominal", "down")}, r"names change at event 2 .*from \(nominal, up\) to \(nominal, down\)"),
        ({"names": ("up", "nominal")}, "names change at event 2"),
        ({"names": ("a", "b", "c"), "weights": 3}, "names change at event 2"),
        (
            {"names": ("nominal", "up"), "section": "30.0 3.0"},
            r"10 pb \(event 1, counted from 0\) and 30 pb \(event 3\)",
        ),
    ],
)
def test_runs_that_differ_are_refused(tmp_path, kind, other, match):
    (tmp_path / "x.hepmc").write_bytes(run(("nominal", "up"), kind=kind) + run(kind=kind, **other))
    with pytest.raises(InputError, match=match) as caught:
        HepmcFile(tmp_path / "x.hepmc").events(0, 4)
    assert "\n" not in str(caught.value)


def test_weights_without_names_must_have_one_number(tmp_path):
    (tmp_path / "x.hepmc").write_bytes(run() + run(weights=3))
    with pytest.raises(InputError, match=r"event 0 \(counted from 0\): has 2 weights, expected 3"):
        HepmcFile(tmp_path / "x.hepmc").events(0, 4)


@pytest.mark.parametrize("kind", ["hepmc3", "hepmc2"])
def test_names_of_weights_hold_blanks(tmp_path, kind):
    names = ("muR=0.5 muF=2", "nominal")
    (tmp_path / "x.hepmc").write_bytes(run(names, kind=kind))
    assert HepmcFile(tmp_path / "x.hepmc").events(0, 2).weight_names == names


def test_decayed_particles_of_final_status_are_not_counted_twice():
    made, result = generate(CASES / "decayed.hepmc3", 3)
    energy = [sum(p["energy"] for p in event) for event in result.table["particles"].to_pylist()]
    assert energy == pytest.approx([37.625] * 3, abs=0.01)
    assert {p["pdg"] for event in result.table["particles"].to_pylist() for p in event} == {211, -211}
    assert result.info["decayed_particles_of_final_status"] == 2
    assert made.notices(result.info)[0].startswith("2 particles of final status")


@pytest.mark.parametrize(("status", "expected"), [(1, [211, -211]), (2, [310])])
def test_what_ends_in_nothing_final_is_final(tmp_path, status, expected):
    text = (CASES / "decayed.hepmc3").read_text()
    (tmp_path / "x").write_text(
        text.replace("-01 1\nE", f"-01 {status}\nE").replace("e-01 1\nP 5", f"e-01 {status}\nP 5")
    )
    found = HepmcFile(tmp_path / "x").events(1, 2).columns["particles"][0].as_py()
    assert [p["pdg"] for p in found] == expected


@pytest.mark.parametrize(
    ("codes", "refused"),
    [
        ((2, -2), True),
        ((22, 21), True),
        ((22, 92), True),
        ((211, 21), False),
        ((22, 13), False),
        ((22, 9000005), False),
    ],
)
def test_parton_level_files_are_refused(tmp_path, codes, refused):
    text = EVENT
    for line, code in zip(PHOTONS, codes):
        text = text.replace(line, line.replace(" 22 ", f" {code} "))
    (tmp_path / "x.hepmc").write_text(HEAD + EVENT + text + FOOT)
    if refused:
        with pytest.raises(InputError, match=r"event 1 ends in partons \(PDG code .*--backend lhe") as caught:
            generate(tmp_path / "x.hepmc", 2)
        assert "\n" not in str(caught.value)
    else:
        made, result = generate(tmp_path / "x.hepmc", 2)
        assert result.info["unknown_particles"] == ({"9000005": 1} if 9000005 in codes else {})
        assert made.notices(result.info) == (
            ["PDG codes that no table holds: 1 of 9000005"] if 9000005 in codes else []
        )


@pytest.mark.parametrize(
    ("old", "new", "match"),
    [
        ("3 0 4 5 0 1", "3 0 4 1 0 1", r"`particles\.energy`.*momentum 5 GeV, energy 1 GeV.*expected \|p\| <= E"),
        ("3 0 4 5 0 1", "3 0 4 -5 0 1", "expected an energy >= 0"),
        ("3 0 4 5 0 1", "3 0 4 inf 0 1", "expected a finite number"),
        ("3 0 4 5 0 1", "3 0 4 1e999 0 1", "expected a finite number"),
        ("[1,2]", "[1,2] @ 0 0 nan 0", "expected a finite number"),
        ("[1,2]", "[1,2] @ 0 0 0 1e60", "expected a finite number"),  # ct of a record in 32 bits
    ],
)
def test_unphysical_numbers_are_refused(tmp_path, old, new, match):
    (tmp_path / "x.hepmc").write_text(HEAD + EVENT + EVENT.replace(old, new) + FOOT)
    with pytest.raises(InputError, match=rf"x\.hepmc: event 1: .*{match}"):
        generate(tmp_path / "x.hepmc", 2)


@pytest.mark.parametrize(
    ("case", "match"),
    [
        ("partons.hepmc3", r"event 0 ends in partons \(PDG code 21, g\)"),
        ("concatenated_weight_names.hepmc3", r"names change at event 3 .*from \(nominal, up\) to \(nominal, down\)"),
    ],
)
def test_cases_that_are_refused(case, match):
    with pytest.raises(InputError, match=match):
        generate(CASES / case, 3)


def test_a_file_that_states_no_cross_section_has_none(tmp_path):
    """Not one of 0 pb, which would be published; a stated one is the last that the file states."""
    source = tmp_path / "a.hepmc"
    for text, expected in ((EVENT, None), (EVENT.replace("W 1", "W 1\nA 0 GenCrossSection 7 1 -1 -1"), (7.0, 1.0))):
        source.write_text(HEAD + text + FOOT)
        backend = make_backend("generate", "hepmc", {"process": {"kind": "hepmc", "file": str(source)}})
        backend.prepare()
        facts = backend.summary([backend.run(Chunk(index=0, start=0, stop=1, seed=1)).info])
        assert (("cross_section_pb" in facts) and (facts["cross_section_pb"], facts["cross_section_error_pb"])) == (
            expected or False
        )
