"""Files that we write, read by somebody else's reader: HepMC3 by pyhepmc, Parquet by duckdb, LHE by pylhe, ROOT by
uproot and coffea; every tree, list and cross index followed."""

import json
from pathlib import Path

import awkward as ak
import duckdb
import lhe_files
import numpy as np
import pyarrow as pa
import pyhepmc
import pylhe
import pytest
import uproot
from face_particles import events_of, particle

from gen2reco.events import records, root
from gen2reco.events.hepmc_export import write_hepmc
from gen2reco.events.lhe import LheFile, write_clean
from gen2reco.events.schemas import IDENTITIES, SCHEMAS

C_LIGHT = 299.792458


def of_particles(lists: list[list[dict]]) -> dict:
    """The columns that all records share, of events of these particles."""
    made = events_of(lists)
    return {name: made[name] for name in ("event", "weight", "particles")}


def structs(record: str, column: str):
    return SCHEMAS[record].field(column).type


# --- HepMC3 by pyhepmc

BEAMS = [[11, 45.0, 0.000511], [-11, 45.0, 0.000511]]


def parton(pdg, status, px=0.0, py=0.0, pz=0.0, energy=0.0, color=0, anticolor=0):
    mass = np.sqrt(max(energy**2 - px**2 - py**2 - pz**2, 0.0))
    names = ("pdg", "status", "px", "py", "pz", "energy", "mass", "color", "anticolor")
    return dict(zip(names, (pdg, status, px, py, pz, energy, mass, color, anticolor)))


def final(pdg, px, py, pz, vertex=(0.0, 0.0, 0.0), time=0.0):
    row = {"pdg": pdg, "px": px, "py": py, "pz": pz, "energy": np.sqrt(px**2 + py**2 + pz**2) + 0.1}
    return row | dict(zip(("vx", "vy", "vz"), vertex)) | {"time": time}


INCOMING = [parton(11, 21, pz=45, energy=45), parton(-11, 21, pz=-45, energy=45)]
QUARKS = [parton(2, 23, 30, 0, 20, 45, 501, 0), parton(-2, 23, -30, 0, -20, 45, 0, 501)]
Z = [parton(23, 22, 0, 0, 0, 90)]
OFF_BALANCE = [parton(23, 22, 5, 0, 0, 60)]
PIONS = [final(211, 1, 0, 2), final(-211, 3, 1, -4)]
DISPLACED = [final(22, 1, 0, 2, (1, 2, 3), 0.02), final(22, 2, 0, 1, (1, 2, 3), 0.02), final(13, 4, 4, 4, (0, 0, 9), 1)]

TREES = {  # partons, particles, beams; expected: parents' codes of each particle by its own code
    "a resonance": (
        INCOMING + Z + QUARKS,
        PIONS,
        BEAMS,
        {11: [(), (11, -11)], -11: [(), (11, -11)], 23: [(11, -11)], 2: [(23,)], -2: [(23,)], 211: [(2, -2)],
         -211: [(2, -2)]},
    ),
    "no resonance": (
        INCOMING + QUARKS,
        PIONS,
        BEAMS,
        {11: [(), (11, -11)], -11: [(), (11, -11)], 2: [(11, -11)], -2: [(11, -11)], 211: [(2, -2)], -211: [(2, -2)]},
    ),
    "a resonance that is not all": (
        INCOMING + OFF_BALANCE + QUARKS,
        PIONS,
        BEAMS,
        {11: [(), (11, -11)], -11: [(), (11, -11)], 23: [(11, -11)], 2: [(11, -11)], -2: [(11, -11)], 211: [(2, -2)],
         -211: [(2, -2)]},
    ),
    "two resonances": (
        [*INCOMING, parton(24, 22, 10, 0, 0, 50), parton(-24, 22, -10, 0, 0, 40), *QUARKS],
        PIONS,
        BEAMS,
        {11: [(), (11, -11)], -11: [(), (11, -11)], 24: [(11, -11)], -24: [(11, -11)], 2: [(11, -11)],
         -2: [(11, -11)], 211: [(2, -2)], -211: [(2, -2)]},
    ),
    "no beams": (
        INCOMING + QUARKS,
        PIONS,
        [],
        {11: [()], -11: [()], 2: [(11, -11)], -2: [(11, -11)], 211: [(2, -2)], -211: [(2, -2)]},
    ),
    "displaced": (
        INCOMING + Z + QUARKS,
        PIONS + DISPLACED,
        BEAMS,
        {11: [(), (11, -11)], -11: [(), (11, -11)], 23: [(11, -11)], 2: [(23,)], -2: [(23,)], 211: [(2, -2)],
         -211: [(2, -2)], 0: [(2, -2), (2, -2)], 22: [(0,), (0,)], 13: [(0,)]},
    ),
}  # fmt: skip


def particles_table(rows: list[tuple[list, list]], weights=None) -> pa.Table:
    columns = {
        "event": np.arange(len(rows)) + 40,
        "weight": np.arange(len(rows)) + 0.5,
        "partons": pa.array([partons for partons, _ in rows], structs("particles", "partons")),
        "particles": pa.array([particles for _, particles in rows], structs("particles", "particles")),
    }
    return records.table("particles", columns | ({} if weights is None else {"weights": weights}))


def exported(folder: Path, table: pa.Table, info: dict, suffix: str = "") -> list:
    path = folder / f"x.hepmc{suffix}"
    story = {"generate": {"info": info}}
    write_hepmc(table, path, {"gen2reco.provenance": json.dumps(story)})
    with pyhepmc.open(str(path)) as file:
        return list(file)


def parents(event) -> dict[int, list[tuple]]:
    """Codes of the parents of each particle, by its own code."""
    found: dict[int, list[tuple]] = {}
    for one in event.particles:
        found.setdefault(one.pid, []).append(tuple(sorted((p.pid for p in one.parents), reverse=True)))
    return {pid: sorted(codes) for pid, codes in found.items()}


def sorted_codes(expected: dict) -> dict:
    return {pid: sorted(tuple(sorted(one, reverse=True)) for one in codes) for pid, codes in expected.items()}


@pytest.mark.parametrize("tree", TREES)
@pytest.mark.parametrize("suffix", ["", ".gz"])
def test_the_tree_of_a_hepmc_event_has_the_right_parents(tmp_path, tree, suffix):
    partons, particles, beams, expected = TREES[tree]
    table = particles_table([(partons, particles), ([], particles)])
    first, second = exported(tmp_path, table, {"beams": beams}, suffix)
    assert parents(first) == sorted_codes(expected)
    assert (first.event_number, second.event_number) == (40, 41)
    assert {p.pid for p in second.particles if p.status == 1} == {row["pdg"] for row in particles}
    assert all(p.production_vertex is None or p.production_vertex.id <= 0 for p in first.particles)


@pytest.mark.parametrize("tree", TREES)
def test_particles_of_a_hepmc_event_are_those_of_the_record(tmp_path, tree):
    partons, particles, beams, _ = TREES[tree]
    (event,) = exported(tmp_path, particles_table([(partons, particles)]), {"beams": beams})
    assert str(event.momentum_unit).endswith("GEV") and str(event.length_unit).endswith("MM")
    rows = [p for p in event.particles if p.status == 1]
    assert len(rows) == len(particles)
    for given in particles:
        near = [p for p in rows if p.pid == given["pdg"] and abs(p.momentum.px - given["px"]) < 1e-6]
        (one,) = near
        assert [one.momentum.py, one.momentum.pz, one.momentum.e] == pytest.approx(
            [given["py"], given["pz"], given["energy"]], rel=1e-6
        )
        at = one.production_vertex.position
        assert [at.x, at.y, at.z, at.t] == pytest.approx(
            [given["vx"], given["vy"], given["vz"], C_LIGHT * given["time"]], rel=1e-5, abs=1e-5
        )
    hard = [p for p in event.particles if p.status in (21, 22, 23)]
    assert sorted((p.pid, p.status) for p in hard) == sorted((p["pdg"], p["status"]) for p in partons)
    lines = [{name: value.astype(int) for name, value in p.attributes.items()} for p in hard]
    colours = {(p.pid, own.get("flow1"), own.get("flow2")) for p, own in zip(hard, lines) if abs(p.pid) == 2}
    assert colours == {(2, 501, None), (-2, None, 501)}
    for beam, one in zip(beams, (p for p in event.particles if p.status == 4)):
        assert (one.pid, one.momentum.e) == (beam[0], pytest.approx(beam[1]))
    assert [np.sign(p.momentum.pz) for p in event.particles if p.status == 4] == [1, -1][: len(beams)]


def test_momentum_is_kept_where_what_decayed_is_unknown(tmp_path):
    """The stand-in of two photons of one birthplace has their sum, that of the muon its own."""
    (event,) = exported(tmp_path, particles_table([(INCOMING + QUARKS, PIONS + DISPLACED)]), {"beams": BEAMS})
    unknown = [p for p in event.particles if p.pid == 0]
    assert sorted(p.momentum.px for p in unknown) == pytest.approx([3.0, 4.0])
    for one in unknown:
        assert one.status == 2 and one.momentum.px == pytest.approx(sum(c.momentum.px for c in one.children))


def test_weights_and_cross_section_of_a_hepmc_file(tmp_path):
    weights = pa.array([[1.0, 2.0, -3.0], [4.0, 5.0, 6.0]], pa.large_list(pa.float64()))
    facts = {"cross_section_pb": 12.5, "cross_section_error_pb": 0.5, "weight_names": ["nominal", "up", "down"]}
    table = particles_table([(INCOMING + QUARKS, PIONS)] * 2, weights)
    first, second = exported(tmp_path, table, facts)
    assert first.run_info.weight_names == ["nominal", "up", "down"]
    assert (list(first.weights), list(second.weights)) == ([1.0, 2.0, -3.0], [4.0, 5.0, 6.0])
    assert second.cross_section.xsec() == 12.5 and second.cross_section.xsec_err() == 0.5


# --- Parquet by duckdb


def hits_table() -> pa.Table:
    """Two events and an empty one, with two particles, two hits and three contributions."""
    base = of_particles([[particle(), particle(11, phi=1.0)], [], [particle(211)]])
    names = ("cell", "layer", "x", "y", "z", "energy", "time")
    hits = [dict(zip(names, ((1 << 40) + i, i + 1, 1.5 * i, -i, 3210.0, 0.1 + i, -1.0))) for i in range(2)]
    shares = [dict(zip(("hit", "particle", "energy"), row)) for row in ((0, 1, 0.1), (1, 0, 0.4), (1, 1, 0.7))]
    track = {"px": 1.0, "py": 2.0, "pz": 3.0, "x": 4.0, "y": 5.0, "z": 3200.0, "charge": -1, "particle": 1}
    lists = {"hits": [hits, [], hits[:1]], "contributions": [shares, [], []], "tracks": [[track], [], []]}
    return records.table("hits", base | {name: pa.array(rows, structs("hits", name)) for name, rows in lists.items()})


def test_duckdb_reads_a_record_as_it_was_written(tmp_path):
    path = tmp_path / "hits.parquet"
    table = hits_table()
    records.write(path, table, "hits")
    found = duckdb.sql(f"SELECT * FROM '{path}' ORDER BY event").fetchall()
    names = [row[0] for row in duckdb.sql(f"DESCRIBE SELECT * FROM '{path}'").fetchall()]
    assert names == table.schema.names
    for at, row in enumerate(found):
        assert dict(zip(names, row)) == table.slice(at, 1).to_pylist()[0]


def test_duckdb_follows_hits_and_particles_of_contributions(tmp_path):
    """Indices count from 0 within the event; contributions add up to each hit, and to each particle."""
    path = tmp_path / "hits.parquet"
    records.write(path, hits_table(), "hits")
    rows = duckdb.sql(
        f"""WITH flat AS (SELECT event, particles, hits, unnest(contributions) AS c FROM '{path}')
        SELECT event, hits[c.hit + 1].energy, particles[c.particle + 1].pdg, sum(c.energy)
        FROM flat GROUP BY ALL ORDER BY 2, 3"""
    ).fetchall()
    assert [row[:1] + row[2:3] for row in rows] == [(100, 11), (100, 11), (100, 22)]
    assert [row[1] for row in rows] == pytest.approx([0.1, 1.1, 1.1]) and rows[1][3] + rows[2][3] == pytest.approx(1.1)


@pytest.mark.parametrize("record", SCHEMAS)
def test_duckdb_knows_the_type_of_every_column(tmp_path, record):
    """Unsigned cells, signed charges, double weights; lists are lists in files without events too."""
    schema = SCHEMAS[record]
    path = tmp_path / "empty.parquet"
    records.write(path, schema.empty_table(), record)
    kinds = {"int64": "BIGINT", "uint64": "UBIGINT", "int32": "INTEGER", "int16": "SMALLINT", "int8": "TINYINT",
             "double": "DOUBLE", "float": "FLOAT", "bool": "BOOLEAN", "string": "VARCHAR"}  # fmt: skip

    def kind(of: pa.DataType) -> str:
        if pa.types.is_large_list(of):
            return kind(of.value_type) + "[]"
        if pa.types.is_struct(of):
            return "STRUCT(" + ", ".join(f"{f.name} {kind(f.type)}" for f in of) + ")"
        return kinds[str(of)]

    found = {row[0]: row[1].replace('"', "") for row in duckdb.sql(f"DESCRIBE SELECT * FROM '{path}'").fetchall()}
    assert found == {field.name: kind(field.type) for field in schema}


# --- LHE by pylhe


def test_pylhe_reads_what_we_hand_to_a_shower(tmp_path):
    weights = "<rwgt>\n<wgt id='up'>2.5</wgt>\n<wgt id='down'>-1.5</wgt>\n</rwgt>\n"
    text = lhe_files.lhe([lhe_files.event(1.0, energy=e, tail=weights) for e in (120.0, 250.0)])
    ours = LheFile(lhe_files.written(tmp_path, text))
    given = list(ours.events(0, 2))
    write_clean(tmp_path / "clean.lhe", ours.run, given)
    theirs = list(pylhe.LHEFile.fromfile(tmp_path / "clean.lhe").events)
    assert len(theirs) == 2
    for own, other in zip(given, theirs):
        names = ("id", "status", "mother1", "mother2", "color1", "color2", "px", "py", "pz", "e", "m")
        rows = np.array([[getattr(p, name) for name in names] for p in other.particles])
        assert rows == pytest.approx(own.particles[:, : rows.shape[1]])
        assert other.eventinfo.weight == pytest.approx(own.weight)


# --- ROOT by uproot and coffea


def candidate(energy, pdg, trackster):
    shares = {f"p_{name}": float(name == "photon") for name in IDENTITIES}
    return {"pdg": pdg, **shares, "energy_raw": energy, "energy": energy, "energy_sigma": 1.0, "eta": 2.0, "phi": 0.1,
            "trackster": trackster}  # fmt: skip


def jet(pt, eta, phi, constituents):
    return {"pt": pt, "eta": eta, "phi": phi, "mass": 1.0, "constituents": constituents}


def objects_table() -> pa.Table:
    """Three events whose jets and candidates are told apart by their numbers; in the second, nothing."""
    rows = [
        (
            [candidate(11, 22, 4), candidate(12, 130, -1), candidate(13, 211, 2), candidate(14, -13, 0)],
            [jet(50, 2.0, 0.1, [3, 1]), jet(40, -2.0, 3.1, [0])],
            [jet(39, -2.0, -3.1, [1]), jet(9, 0.0, 0.0, []), jet(51, 2.1, 0.2, [0])],
        ),
        ([], [], []),
        ([candidate(21, 22, 0)], [jet(30, 1.0, 1.0, [0])], [jet(30, -1.0, 1.0, [0])]),
    ]
    base = of_particles([[particle(), particle(211)], [], [particle()]])
    names = ("objects", "jets", "gen_jets")
    lists = {name: pa.array([row[i] for row in rows], structs("objects", name)) for i, name in enumerate(names)}
    return records.table("objects", base | lists)


@pytest.fixture(scope="module")
def ntuple(tmp_path_factory):
    path = tmp_path_factory.mktemp("root") / "events.root"
    root.write_root(objects_table(), path, shard=2)
    return path


def test_uproot_follows_every_index(ntuple):
    with uproot.open(ntuple) as file:
        tree = file["Events"].arrays()
    assert tree.luminosityBlock.tolist() == [3, 3, 3] and tree.event.tolist() == [100, 101, 102]
    for collection in ("Jet", "GenJet", "PFCand", "GenPart"):
        assert ak.num(tree[f"{collection}_pt"]).tolist() == tree[f"n{collection}"].tolist()
    matched = tree.GenJet_pt[tree.Jet_genJetIdx[tree.Jet_genJetIdx >= 0]]
    assert matched.tolist() == [[51, 39], [], []] and tree.Jet_genJetIdx.tolist() == [[2, 0], [], [-1]]
    owned = tree.PFCand_jetIdx >= 0
    owner = tree.Jet_pt[tree.PFCand_jetIdx[owned]]
    assert owner.tolist() == [[40, 50, 50], [], [30]]
    assert tree.PFCand_energy[owned].tolist() == [[11, 12, 14], [], [21]]
    assert tree.PFCand_tracksterIdx.tolist() == [[4, -1, 2, 0], [], [0]]
    owners = zip(tree.PFCand_jetIdx.tolist(), tree.nJet.tolist())
    counts = [[of_event.count(k) for k in range(n)] for of_event, n in owners]
    assert tree.Jet_nConstituents.tolist() == counts
    assert tree.PFCand_pdgId.tolist() == [[22, 130, 211, -13], [], [22]]
    assert ak.to_numpy(ak.flatten(tree.PFCand_pt)) == pytest.approx(np.array([11, 12, 13, 14, 21]) / np.cosh(2.0))


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # collections of NanoAOD that are not written
def test_coffea_follows_every_index(ntuple):
    nanoevents = pytest.importorskip("coffea.nanoevents")
    events = nanoevents.NanoEventsFactory.from_root(
        {str(ntuple): "Events"}, schemaclass=nanoevents.NanoAODSchema, mode="eager"
    ).events()
    assert events.Jet.matched_gen.pt.tolist() == [[51, 39], [], [None]]
    assert events.Jet[events.PFCand.jetIdx[events.PFCand.jetIdx >= 0]].pt.tolist() == [[40, 50, 50], [], [30]]
    assert events.GenPart.pdgId.tolist() == [[22, 211], [], [22]]
    assert ak.all(abs(events.GenPart.energy - 20.0) < 1e-3)
