"""The ROOT ntuple: branches, indices, matching, chunks, and that the field's tools open it."""

import json
import re

import awkward as ak
import numpy as np
import pyarrow as pa
import pytest
import uproot

from gen2reco.errors import InfrastructureError, InputError
from gen2reco.events import ntuple, records, root, schemas
from gen2reco.events.publish import publish_file
from gen2reco.events.schemas import IDENTITIES


def particle(pdg=22, px=0.0, py=3.0, pz=4.0, energy=5.0):
    return {"pdg": pdg, "px": px, "py": py, "pz": pz, "energy": energy, "vx": 1.0, "vy": 2.0, "vz": 3.0, "time": 0.0}


def candidate(energy, eta=2.0, phi=0.1, pdg=22):
    shares = {f"p_{name}": 1.0 if name == "photon" else 0.0 for name in IDENTITIES}
    energies = {"energy_raw": 0.9 * energy, "energy": energy, "energy_sigma": 1.0}
    return {"pdg": pdg, **shares, **energies, "eta": eta, "phi": phi, "trackster": 0}


def jet(eta, phi, constituents=()):
    return {"pt": 30.0, "eta": eta, "phi": phi, "mass": 4.0, "constituents": list(constituents)}


def track(particle, px=0.0, py=2.0, x=0.0, y=9.0):
    return {"px": px, "py": py, "pz": 5.0, "x": x, "y": y, "z": 3210.0, "charge": -1, "particle": particle}


def parton(status, pdg=1, px=0.0, energy=50.0):
    names = {"pdg": pdg, "status": status, "px": px, "py": 0.0, "pz": 0.0, "energy": energy, "mass": 0.0}
    return names | {"color": 0, "anticolor": 0}


def objects(*rows, linked=True):
    names = ("particles", "objects", "jets", "gen_jets", "tracks", "object_track", "object_particle")
    columns = {"event": np.arange(len(rows)) + 7, "weight": np.full(len(rows), -0.5)}
    kinds = schemas.COLUMNS["objects"] | schemas.OPTIONAL["objects"]
    lists = {
        name: pa.array([row[i] for row in rows], kinds[name]) for i, name in enumerate(names[: 7 if linked else 4])
    }
    return records.table("objects", {**columns, **lists})


FULL = (
    [
        particle(),
        particle(pdg=-211, px=1.0, py=0.0, pz=0.0, energy=1.01),
        particle(pdg=12, px=8.0, py=6.0, energy=11.0),
    ],
    [candidate(50.0), candidate(20.0, pdg=-11), candidate(5.0, pdg=11, phi=0.1 - np.pi)],
    [jet(2.0, 3.1, [2, 0]), jet(-2.0, 0.0, [1])],
    [jet(1.0, 0.0), jet(2.1, -3.1)],
    [track(1), track(0)],
    [-1, 1, 0],
    [0, -1, 1],
)
EMPTY = ([], [], [], [], [], [], [])
HARD = [parton(21), parton(21), parton(22, 23, energy=100.0), parton(23, px=40.0), parton(24, -1, px=-40.0)]


def with_partons(table, lists):
    field = pa.field("partons", schemas.PARTON, nullable=False)
    return table.append_column(field, pa.array(lists, field.type))


@pytest.fixture(scope="module")
def file(tmp_path_factory):
    path = tmp_path_factory.mktemp("ntuple") / "events.root"
    generated = root.Generated(5, 2.5, 1.25, 40.0, 0.5, 0.25, 14000.0)
    root.write_root(with_partons(objects(FULL, EMPTY), [HARD, []]), path, 3, generated)
    with uproot.open(path) as opened:
        yield opened


@pytest.fixture(scope="module")
def tree(file):
    return file["Events"]


def test_it_is_a_ttree_with_nanoaod_names(tree):
    assert tree.classname == "TTree"
    assert {"nJet", "Jet_pt", "Jet_genJetIdx", "GenPart_pdgId", "PFCand_energySigma", "genWeight"} <= set(tree.keys())


@pytest.mark.parametrize(
    ("branch", "expected"),
    [
        ("run", [1, 1]),
        ("luminosityBlock", [4, 4]),
        ("event", [7, 8]),
        ("genWeight", [-0.5, -0.5]),
        ("nJet", [2, 0]),
        ("nGenPart", [8, 0]),
        ("nPFCand", [3, 0]),
        ("Jet_nConstituents", [[2, 1], []]),
        ("Jet_genJetIdx", [[1, -1], []]),  # across the turn of phi; none
        ("PFCand_jetIdx", [[0, 1, 0], []]),
        ("PFCand_pPhoton", [[1, 1, 1], []]),
        ("PFCand_pChargedHadron", [[0, 0, 0], []]),
        ("GenPart_pdgId", [[1, 1, 23, 1, -1, 22, -211, 12], []]),
        ("GenPart_status", [[21, 21, 22, 23, 24, 1, 1, 1], []]),
        ("GenPart_genPartIdxMother", [[-1, -1, 0, 2, 2, -1, -1, -1], []]),
        ("PFCand_genPartIdx", [[5, -1, 6], []]),
        ("PFCand_trackIdx", [[-1, 1, 0], []]),
        ("Track_genPartIdx", [[6, 5], []]),
        ("Track_charge", [[-1, -1], []]),
        ("Photon_pfCandIdx", [[0], []]),
        ("Electron_pfCandIdx", [[1, 2], []]),
        ("Electron_charge", [[1, -1], []]),
        ("Electron_genPartIdx", [[-1, 6], []]),
        ("Electron_jetIdx", [[1, 0], []]),
        ("Jet_electronIdx1", [[1, 0], []]),
        ("Jet_electronIdx2", [[-1, -1], []]),
        ("Jet_muonIdx1", [[-1, -1], []]),
        ("nTau", [0, 0]),
    ],
)
def test_branches(tree, branch, expected):
    assert tree[branch].array().tolist() == expected


def test_the_entry_to_normalise_by(file, tmp_path):
    expected = {"run": 1, "genEventCount": 5, "genEventSumw": 2.5, "genEventSumw2": 1.25, "crossSection": 40.0,
                "crossSectionError": 0.5, "filterEfficiency": 0.25, "sqrtS": 14000.0}  # fmt: skip
    assert file["Runs"].arrays().to_list() == [expected]
    root.write_root(objects(FULL, EMPTY, FULL), tmp_path / "own.root")
    own = uproot.open(tmp_path / "own.root")["Runs"]
    assert [own[name].array()[0] for name in ("genEventCount", "genEventSumw", "genEventSumw2")] == [3, -1.5, 0.75]


def test_every_branch_says_what_it_is_and_its_unit(file):
    for tree in (file["Events"], file["Runs"]):
        for branch in tree.branches:
            assert not branch.title.startswith(branch.name) and "/" not in branch.title[-2:], branch.name
            assert not branch.name.endswith(("pt", "mass")) or "GeV" in branch.title
    assert "pb" in file["Runs"]["crossSection"].title


def test_missing_transverse_momentum(tree):
    pt = 65 / np.cosh(2.0)  # 50 + 20 - 5
    assert tree["MET_pt"].array().tolist() == pytest.approx([pt, 0])
    assert tree["MET_phi"].array()[0] == pytest.approx(0.1 - np.pi)
    assert tree["MET_sumEt"].array().tolist() == pytest.approx([75 / np.cosh(2.0), 0])
    assert tree["GenMET_pt"].array().tolist() == pytest.approx([10, 0])
    assert tree["GenMET_phi"].array()[0] == pytest.approx(np.arctan2(6, 8))


@pytest.mark.parametrize(
    ("partons", "expected"),
    [
        (HARD[:2] + HARD[3:], [-1, -1, 0, 0]),  # no resonance
        ([*HARD[:3], parton(23, px=40.0)], [-1, -1, 0, 0]),  # one that is not all of what comes out
        ([HARD[2], *HARD[2:]], [-1, -1, -1, -1]),  # two, and nothing comes in
        ([], []),
    ],
)
def test_mothers_of_partons(partons, expected):
    found = ntuple.mothers(ak.from_arrow(with_partons(pa.table({"event": [0, 1]}), [partons, HARD])).partons)
    assert found.to_list() == [expected, [-1, -1, 0, 2, 2]]


def test_tracks_are_turned_back_to_the_beam_line(tree):
    assert tree["Track_pt"].array()[0].tolist() == [2, 2]
    assert tree["Track_phi"].array()[0].tolist() == pytest.approx([np.pi / 2] * 2, abs=1e-6)


def test_what_the_record_lacks_is_no_branch(tmp_path):
    root.write_root(objects(FULL, linked=False), tmp_path / "old.root")
    names = set(uproot.open(tmp_path / "old.root")["Events"].keys())
    assert not {"nTrack", "PFCand_trackIdx", "PFCand_genPartIdx", "Jet_area", "Electron_genPartIdx"} & names
    table = objects(FULL, EMPTY, linked=False)
    area = pa.field("jet_area", schemas.OPTIONAL["objects"]["jet_area"], nullable=False)
    areas = pa.array([[0.5, 0.5], []], area.type)
    root.write_root(table.append_column(area, areas), tmp_path / "area.root")
    assert uproot.open(tmp_path / "area.root")["Events/Jet_area"].array().tolist() == [[0.5, 0.5], []]


def particles(numbers, weights):
    columns = {"event": np.array(numbers), "weight": np.array(weights), "partons": [HARD[: n % 4] for n in numbers]}
    columns["partons"] = pa.array(columns["partons"], schemas.PARTON)
    return records.table("particles", columns | {"particles": records.no_lists(len(numbers))})


def test_particles_add_partons_and_the_weights_of_lost_events(tmp_path):
    story = {"generate": {"info": {"events_accepted": 4, "sum_of_weights": 7.0, "cross_section_pb": 3.0}}}
    facts = {records.PROVENANCE_KEY: json.dumps(story)}
    lost, made, out = tmp_path / "o.parquet", tmp_path / "p.parquet", tmp_path / "n.root"
    records.write(lost, objects(FULL, EMPTY, FULL).take(pa.array([0, 2])), "objects", facts)  # events 7, 9
    records.write(made, particles([9, 8, 7, 6], [1.0, 2.0, 1.0, 3.0]), "particles")
    counts = ("genEventCount", "genEventSumw", "genEventSumw2", "crossSection")

    def published(*given):
        told = publish_file(lost, out, 0, *given)
        with uproot.open(out) as file:
            return told, [file["Runs"][name].array()[0] for name in counts], file["Events/nGenPart"].array().tolist()

    assert published(made) == ((2, []), [4, 7.0, 15.0, 3.0], [3 + 3, 1 + 3])
    (count, (line,)), found, _ = published()
    assert count == 2 and found == pytest.approx([4, 7.0, np.nan, 3.0], nan_ok=True) and "2 of 4" in line
    records.write(lost, objects(), "objects", facts)
    assert published(made)[1] == [0, 0, 0, 3.0]  # a shard that failed whole
    records.write(made, particles([8], [1.0]), "particles")
    records.write(lost, objects(FULL), "objects")
    with pytest.raises(InputError, match=r"p\.parquet: has no event 7; give the particles"):
        publish_file(lost, out, 0, made)
    with pytest.raises(InputError, match="--particles goes with objects alone"):
        publish_file(made, tmp_path / "x.hepmc", 0, made)


@pytest.mark.parametrize(("branch", "expected"), [("pt", [3.0, 1.0]), ("mass", [0.0, 0.1418]), ("vz", [3.0, 3.0])])
def test_particle_kinematics(tree, branch, expected):
    assert tree[f"GenPart_{branch}"].array()[0, 5:7].tolist() == pytest.approx(expected, abs=1e-3)


def test_candidates_transverse_momentum(tree):
    assert tree["PFCand_pt"].array()[0].tolist() == pytest.approx(np.array([50, 20, 5]) / np.cosh(2.0), rel=1e-6)


def test_chunks_do_not_show(tmp_path):
    table = objects(*[FULL, EMPTY, FULL, FULL, EMPTY])
    root.write_root(table, tmp_path / "one.root")
    root.write_root((table.slice(start, 2) for start in range(0, 7, 2)), tmp_path / "many.root")
    one, many = (uproot.open(tmp_path / name)["Events"].arrays() for name in ("one.root", "many.root"))
    assert ak.array_equal(one, many)


def test_no_events_is_a_valid_file(tmp_path):
    root.write_root(objects(), tmp_path / "none.root")
    assert uproot.open(tmp_path / "none.root")["Events"].num_entries == 0


def test_a_folder_that_is_none(tmp_path):
    (tmp_path / "file").touch()
    with pytest.raises(InfrastructureError, match=r"file/such\.root.*cannot be written"):
        root.write_root(objects(FULL), tmp_path / "file" / "such.root")


def test_failure_leaves_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(root, "branches", lambda *_: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        root.write_root(objects(FULL), tmp_path / "x.root")
    assert not list(tmp_path.iterdir())


def test_the_histogram_of_the_tutorial(tmp_path, repository):
    """Two files of 3 and 1 generated events at 40 pb and 20: 35 pb over a sum of weights of 2, of which an event has
    two jets and a weight of -1/2."""
    for shard, generated in enumerate([root.Generated(3, 1.5, 1.0, 40.0), root.Generated(1, 0.5, 1.0, 20.0)]):
        root.write_root(objects((FULL, EMPTY)[shard]), tmp_path / f"{shard}.root", shard, generated)
    (code,) = re.findall(r"```python\n(import numpy.*?)```", (repository / "docs/tutorial.md").read_text(), re.S)
    found = {}
    exec(code.replace("results/quickstart/dijets/publish", str(tmp_path)), found)
    mass = np.sqrt(2 * 30 * 30 * (np.cosh(4.0) - np.cos(3.1)))
    assert found["mass"].tolist() == pytest.approx([mass])
    assert np.sum(found["per_gev"]) * 20 == pytest.approx(-0.5 * 35 / 2) and found["per_gev"][int(mass // 20)] != 0
    assert np.sum(found["error"]) * 20 == pytest.approx(0.5 * 35 / 2)


@pytest.mark.filterwarnings("error")
def test_coffea_opens_it_without_a_warning(tmp_path):
    nanoevents = pytest.importorskip("coffea.nanoevents")
    path = tmp_path / "nano.root"
    root.write_root(objects(FULL, EMPTY, FULL), path)
    events = nanoevents.NanoEventsFactory.from_root(
        {str(path): "Events"}, schemaclass=nanoevents.NanoAODSchema, mode="eager"
    ).events()
    assert ak.num(events.Jet).tolist() == [2, 0, 2]
    assert events.Jet.matched_gen.eta[0].tolist() == pytest.approx([2.1, None])
    assert events.GenPart.mass[0, :2].tolist() == pytest.approx([0, 0.1418], abs=1e-3)
    assert events.Electron.matched_gen.pdgId[0].tolist() == [None, -211]
    assert (
        "jets" in events.Jet.layout.content.parameters["__doc__"]
        and "GeV" in events.Jet.pt.layout.content.parameters["__doc__"]
    )
