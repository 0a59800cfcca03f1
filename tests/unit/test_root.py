"""The ROOT ntuple: branches, indices, matching, chunks, and that the field's tools open it."""

import awkward as ak
import numpy as np
import pyarrow as pa
import pytest
import uproot

from gen2reco.errors import InfrastructureError
from gen2reco.events import records, root
from gen2reco.events.schemas import IDENTITIES


def particle(pdg=22, px=0.0, py=3.0, pz=4.0, energy=5.0):
    return {"pdg": pdg, "px": px, "py": py, "pz": pz, "energy": energy, "vx": 1.0, "vy": 2.0, "vz": 3.0, "time": 0.0}


def candidate(energy, eta=2.0, phi=0.1, pdg=22):
    shares = {f"p_{name}": 1.0 if name == "photon" else 0.0 for name in IDENTITIES}
    energies = {"energy_raw": 0.9 * energy, "energy": energy, "energy_sigma": 1.0}
    return {"pdg": pdg, **shares, **energies, "eta": eta, "phi": phi, "trackster": 0}


def jet(eta, phi, constituents=()):
    return {"pt": 30.0, "eta": eta, "phi": phi, "mass": 4.0, "constituents": list(constituents)}


def objects(*rows):
    names = ("particles", "objects", "jets", "gen_jets")
    columns = {"event": np.arange(len(rows)) + 7, "weight": np.full(len(rows), -0.5)}
    schema = records.SCHEMAS["objects"]
    lists = {name: pa.array([row[i] for row in rows], schema.field(name).type) for i, name in enumerate(names)}
    return records.table("objects", {**columns, **lists})


FULL = (
    [particle(), particle(pdg=-211, px=1.0, py=0.0, pz=0.0, energy=1.01)],
    [candidate(50.0), candidate(20.0), candidate(5.0)],
    [jet(2.0, 3.1, [2, 0]), jet(-2.0, 0.0, [1])],
    [jet(1.0, 0.0), jet(2.1, -3.1)],
)
EMPTY = ([], [], [], [])


@pytest.fixture
def tree(tmp_path):
    path = tmp_path / "events.root"
    root.write_root(objects(FULL, EMPTY), path, shard=3)
    with uproot.open(path) as file:
        yield file["Events"]


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
        ("nGenPart", [2, 0]),
        ("nPFCand", [3, 0]),
        ("Jet_nConstituents", [[2, 1], []]),
        ("Jet_genJetIdx", [[1, -1], []]),  # across the turn of phi; none
        ("PFCand_jetIdx", [[0, 1, 0], []]),
        ("PFCand_pPhoton", [[1, 1, 1], []]),
        ("PFCand_pChargedHadron", [[0, 0, 0], []]),
        ("GenPart_pdgId", [[22, -211], []]),
        ("GenPart_genPartIdxMother", [[-1, -1], []]),
    ],
)
def test_branches(tree, branch, expected):
    assert tree[branch].array().tolist() == expected


@pytest.mark.parametrize(("branch", "expected"), [("pt", [3.0, 1.0]), ("mass", [0.0, 0.1418]), ("vz", [3.0, 3.0])])
def test_particle_kinematics(tree, branch, expected):
    assert tree[f"GenPart_{branch}"].array()[0].tolist() == pytest.approx(expected, abs=1e-3)


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


@pytest.mark.filterwarnings("ignore::RuntimeWarning")  # collections of NanoAOD that are not written
def test_coffea_opens_it(tmp_path):
    nanoevents = pytest.importorskip("coffea.nanoevents")
    path = tmp_path / "nano.root"
    root.write_root(objects(FULL, EMPTY, FULL), path)
    events = nanoevents.NanoEventsFactory.from_root(
        {str(path): "Events"}, schemaclass=nanoevents.NanoAODSchema, mode="eager"
    ).events()
    assert ak.num(events.Jet).tolist() == [2, 0, 2]
    assert events.Jet.matched_gen.eta[0].tolist() == pytest.approx([2.1, None])
    assert events.GenPart.mass[0].tolist() == pytest.approx([0, 0.1418], abs=1e-3)
