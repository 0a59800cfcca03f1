"""The generators as backends: ranges of the gun, chunks of their own, the same bytes again, weights and failures."""

import gzip
from pathlib import Path

import awkward as ak
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gen2reco.config.process import process_from
from gen2reco.errors import InputError
from gen2reco.events import records
from gen2reco.events.truth import Properties
from gen2reco.generate import lhe_shower, pythia8, pythia_engine
from gen2reco.run.runner import Job, run
from gen2reco.run.stage import Chunk, make_backend

REPOSITORY = Path(__file__).parents[2]
DATA = REPOSITORY / "tests" / "data"
EE = {"process": process_from(REPOSITORY / "configs/processes/ee_qq_91.yaml").model_dump()}
GUN = {"kind": "gun", "species": [22], "energy": [5.0, 100.0], "abs_eta": [1.7, 2.8]}


def shoot(seed=1, events=500, **fields):
    backend = make_backend("generate", "gun", {"process": {**GUN, **fields}})
    backend.prepare()
    result = backend.run(Chunk(0, seed, 10, 10 + events))
    records.check(result.table, "particles", "gun")
    return result.table, records.awkward(result.table).particles


def eta(p):
    return ak.to_numpy(ak.flatten(np.arcsinh(p.pz / np.hypot(p.px, p.py))))


@settings(max_examples=15, deadline=None)
@given(
    seed=st.integers(0, 2**63 - 1),
    low=st.floats(1.5, 50),
    factor=st.floats(1, 100),
    eta_low=st.floats(0, 3),
    width=st.floats(0, 2),
    spectrum=st.sampled_from(["flat", "log"]),
    pdg=st.sampled_from([22, 11, -13, 211, 130, 2212, -2112]),
)
def test_gun_keeps_its_ranges(seed, low, factor, eta_low, width, spectrum, pdg):
    ranges = {"energy": [low, low * factor], "abs_eta": [eta_low, eta_low + width]}
    _, p = shoot(seed, 50, species=[pdg], spectrum=spectrum, **ranges)
    energy = ak.to_numpy(ak.flatten(p.energy))
    assert (energy >= low * (1 - 1e-6)).all() and (energy <= low * factor * (1 + 1e-6)).all()
    assert (abs(eta(p)) >= eta_low - 1e-4).all() and (abs(eta(p)) <= eta_low + width + 1e-4).all()
    assert ak.all(p.pdg == pdg)


@pytest.mark.parametrize(("spectrum", "mean"), [("flat", 52.5), ("log", 95 / np.log(20))])
def test_gun_spectra(spectrum, mean):
    _, p = shoot(events=4000, spectrum=spectrum)
    energy = ak.to_numpy(ak.flatten(p.energy))
    assert abs(energy.mean() - mean) < 4 * energy.std() / 4000**0.5


@pytest.mark.parametrize(("pdg", "mass"), [(22, 0), (211, 0.13957), (2212, 0.93827)])
def test_gun_is_on_the_mass_shell(pdg, mass):
    _, p = shoot(species=[pdg], energy=[2.0, 3.0])
    p = ak.values_astype(p, np.float64)
    np.testing.assert_allclose(ak.flatten(p.energy**2 - p.px**2 - p.py**2 - p.pz**2), mass**2, atol=2e-4)


@pytest.mark.parametrize(("side", "shares"), [("plus", (1, 1)), ("minus", (0, 0)), ("both", (0.4, 0.6))])
def test_gun_sides(side, shares):
    _, p = shoot(side=side, particles=2)
    forward = ak.to_numpy(p.pz > 0)
    assert (forward[:, 0] == forward[:, 1]).all()
    assert shares[0] <= forward[:, 0].mean() <= shares[1]


def test_gun_species_are_equally_frequent():
    _, p = shoot(species=[22, 211, 130], events=3000)
    counts = [int(ak.sum(p.pdg == pdg)) for pdg in (22, 211, 130)]
    assert sum(counts) == 3000 and all(abs(count - 1000) < 130 for count in counts)


def test_gun_points_at_the_origin_or_not():
    _, p = shoot()
    assert ak.all(p.vx == 0) and ak.all(p.time == 0)
    _, p = shoot(radius=[50, 300], vertex_z=[100, 1000])
    radius = ak.flatten(np.hypot(p.vx, p.vy))
    assert ak.min(radius) >= 50 - 1e-3 and ak.max(radius) <= 300 + 1e-3
    assert ak.all(p.vz * p.pz > 0)
    flight = np.sqrt(p.vx**2 + p.vy**2 + p.vz**2) / 299.792458
    np.testing.assert_allclose(ak.flatten(p.time), ak.flatten(flight), rtol=1e-5)


def test_close_by_gun():
    _, p = shoot(particles=3, start_z=3195.0, separation=[30.0, 300.0])
    assert ak.all(abs(abs(p.vz) - 3195) < 1e-2)
    x, y = ak.to_numpy(p.vx), ak.to_numpy(p.vy)
    distance = np.hypot(x[:, 1:] - x[:, :1], y[:, 1:] - y[:, :1])
    assert distance.min() >= 30 - 1e-2 and distance.max() <= 300 + 1e-2
    np.testing.assert_allclose(ak.flatten(p.vx / p.vz), ak.flatten(p.px / p.pz), atol=1e-4)
    assert np.mean((abs(eta(p)) > 1.65) & (abs(eta(p)) < 2.85)) > 0.99


@pytest.mark.parametrize(
    ("fields", "match"),
    [
        ({"species": [9999999]}, "9999999, which is no particle"),
        ({"species": [2212], "energy": [0.5, 1]}, "expected above 0.9383"),
    ],
)
def test_gun_refuses(fields, match):
    with pytest.raises(InputError, match=match):
        shoot(**fields)


def test_event_numbers_are_those_of_the_chunk():
    assert shoot(events=3)[0]["event"].to_pylist() == [10, 11, 12]


@pytest.fixture(scope="module")
def ee():
    backend = make_backend("generate", "pythia8", EE)
    backend.prepare()
    return backend


def test_same_seed_same_events_other_seed_other_events(ee):
    first, again, other = (ee.run(Chunk(0, seed, 0, 5)).table for seed in (5, 5, 6))
    assert first.equals(again)
    assert not first["particles"].equals(other["particles"])


def test_a_chunk_does_not_depend_on_those_before(ee, tmp_path):
    """Two chunks in one process, and each in a fork: the same bytes with any number of workers and any order."""
    files = []
    for name, workers in (("a", 1), ("b", 2)):
        job = Job(make_backend("generate", "pythia8", EE), tmp_path / f"{name}.parquet", 7, events=range(9))
        job.chunk_events, job.workers = 4, workers
        run(job)
        files.append((tmp_path / f"{name}.parquet").read_bytes())
    assert files[0] == files[1]
    table = records.read(tmp_path / "a.parquet", "particles")
    assert table["event"].to_pylist() == list(range(9))
    assert len({str(event) for event in table["particles"].to_pylist()}) == 9


def test_all_63_bits_of_a_seed_count(ee):
    draws = []
    for seed in (1, 1 + 900_000_000, 1 + 2 * 900_000_000, 2**62 + 1):
        pythia_engine.reseed(ee._pythia, seed)
        draws.append([ee._pythia.rndm.flat() for _ in range(1000)])
    assert len({tuple(d) for d in draws}) == 4
    assert all(abs(np.mean(d) - 0.5) < 4 / 12**0.5 / 1000**0.5 for d in draws)


def test_particles_follow_the_schema_and_are_physical(ee):
    table = ee.run(Chunk(0, 1, 0, 20)).table
    assert table.schema.equals(records.SCHEMAS["particles"])
    records.check(table, "particles", "pythia8")


def test_facts_of_a_shard_are_those_of_its_chunks():
    infos = [
        {"events_accepted": 10, "hard_processes_tried": 100, "cross_section_pb": 10.0, "cross_section_error_pb": 3.0},
        {"events_accepted": 10, "hard_processes_tried": 300, "cross_section_pb": 14.0, "cross_section_error_pb": 4.0},
    ]
    same = {
        "sqrt_s": 14000.0,
        "beams": [],
        "weight_names": ["w"],
        "filter_tried": 40,
        "filter_passed": 10,
        "sum_of_weights": 9.5,
    }
    total = pythia8.merged([info | same for info in infos])
    assert (total["events_accepted"], total["sum_of_weights"], total["filter_efficiency"]) == (20, 19.0, 0.25)
    assert total["cross_section_pb"] == pytest.approx(13.0)
    assert total["cross_section_error_pb"] == pytest.approx(np.hypot(0.75, 3.0))


def test_particles_of_other_properties_are_listed_by_code():
    common = ["Beams:eCM = 13000.", "HiggsSM:gg2H = on", "130:tau0 = 2998."]
    new = ["9000005:new = a0 a0 1 0 0 20. 0 0 0 0", "9000005:isVisible = off", "25:onMode = off"]
    infos = []
    for lines in ([*common, *new, "25:addChannel = 1 1. 100 9000005 9000005"], common):
        backend = make_backend("generate", "pythia8", {"process": {"kind": "pythia8", "settings": lines, "mpi": False}})
        backend.prepare()
        infos.append(backend.run(Chunk(0, 1, 0, 8)).info)
    own, kaons = (info["particle_properties"] for info in infos)
    expected = {"name": "a0", "charge": 0.0, "coloured": False, "visible": False, "mass": 20.0, "lifetime": 0.0}
    assert own["9000005"] == expected
    assert set(own) <= {"130", "9000005"}
    assert list(kaons) == ["130"]
    assert kaons["130"]["lifetime"] == pytest.approx(10.0, rel=1e-3)
    assert pythia8.merged(infos)["particle_properties"] == own | kaons
    properties = Properties.of({"generate": {"info": infos[0]}})
    assert properties.unseen([9000005, -9000005, 22]).tolist() == [True, True, False]


def test_ordinary_events_list_no_properties(ee):
    assert "particle_properties" not in ee.run(Chunk(0, 5, 0, 5)).info


def test_events_that_fail_are_counted_by_the_engine_s_own_reason(monkeypatch):
    monkeypatch.setattr(lhe_shower, "_check_codes", lambda *_: None)
    process = {"kind": "lhe", "file": str(DATA / "cases" / "lhe" / "unknown.lhe"), "mpi": False}
    backend = make_backend("generate", "lhe", {"process": process})
    backend.prepare()
    ((reason, events),) = backend.run(Chunk(0, 1, 0, 3)).info["failure_reasons"].items()
    assert events == 3
    assert "unknown particle code" in reason and "9000005" in reason


def test_a_filter_that_passes_nothing_ends(monkeypatch):
    monkeypatch.setattr(pythia8, "HOPELESS", 200)
    process = {**EE["process"], "filter": {"pt_min": 1000.0}}
    backend = make_backend("generate", "pythia8", {"process": process})
    backend.prepare()
    with pytest.raises(InputError, match="none of 200 hard processes has a parton"):
        backend.run(Chunk(0, 1, 0, 5))


def test_shower_variations_become_weights():
    bands = ["UncertaintyBands:doVariations = on", "UncertaintyBands:List = {up fsr:muRfac=0.5, down fsr:muRfac=2.0}"]
    process = {**EE["process"], "settings": [*EE["process"]["settings"], *bands]}
    backend = make_backend("generate", "pythia8", {"process": process})
    backend.prepare()
    result = backend.run(Chunk(0, 1, 0, 6))
    weights = np.array(result.table["weights"].to_pylist())
    assert weights.shape == (6, len(result.info["weight_names"])) and weights.shape[1] >= 3
    assert (weights[:, 0] == result.table["weight"].to_numpy()).all()
    assert len(np.unique(weights[:, 1:])) > 3


@pytest.mark.parametrize(
    ("name", "energy", "weights", "names"),
    [
        ("madgraph_merged", 13000, [1199.0] * 3, ["1001", "1002"]),
        ("powheg", 13000, [1200.0, -1200.0, 1200.0], ["0"]),
        ("sherpa", 13000, [1.0] * 3, ["MUR0.5_MUF0.5_PDF303400"]),
        ("whizard", 500, [1.0] * 3, []),
    ],
)
def test_every_dialect_is_showered(name, energy, weights, names):
    process = {"kind": "lhe", "file": str(DATA / f"{name}.lhe"), "mpi": False}
    backend = make_backend("generate", "lhe", {"process": process})
    backend.prepare()
    result = backend.run(Chunk(0, 1, 0, 3))
    assert result.table["weight"].to_pylist() == pytest.approx(weights)
    assert result.info["weight_names"][1:] == names
    total = ak.to_numpy(ak.sum(records.awkward(result.table).particles.energy, axis=1))
    np.testing.assert_allclose(total, energy, rtol=1e-4)
    if names:
        assert len(result.table["weights"][0]) == 1 + len(names)


def test_lhe_chunks_cover_the_file_and_an_exhausted_one_fails(tmp_path):
    path = tmp_path / "x.lhe.gz"
    path.write_bytes(gzip.compress((DATA / "whizard.lhe").read_bytes()))
    backend = make_backend("generate", "lhe", {"process": {"kind": "lhe", "file": str(path)}})
    sidecar = run(Job(backend, tmp_path / "o.parquet", 1, events=range(3), chunk_events=2))
    assert (sidecar["events_out"], sidecar["cross_section_pb"]) == (3, pytest.approx(0.7279))
    assert sidecar["cross_section_error_pb"] == pytest.approx(0.0011)
    assert records.read(tmp_path / "o.parquet", "particles")["event"].to_pylist() == [0, 1, 2]
    with pytest.raises(InputError, match="exhausted: it holds 3 events"):
        run(Job(backend, tmp_path / "o2.parquet", 1, events=range(4), chunk_events=2))


def test_matching_veto_leaves_no_row_and_is_no_failure():
    lines = ["JetMatching:merge = on", "JetMatching:setMad = off", "JetMatching:nJetMax = 0", "JetMatching:qCut = 5."]
    process = {"kind": "lhe", "file": str(DATA / "madgraph_merged.lhe"), "settings": lines}
    backend = make_backend("generate", "lhe", {"process": process})
    backend.prepare()
    result = backend.run(Chunk(0, 1, 0, 3))
    assert result.info["events_vetoed"] == 3 - result.table.num_rows
    assert result.info["events_failed"] == 0
    assert isinstance(result.table, pa.Table)


def test_no_cross_section_and_no_particles_are_said():
    """Pythia8 makes low-energy events without integrating a cross section."""
    process = {"kind": "pythia8", "settings": ["Beams:eCM = 10.", "LowEnergyQCD:all = on"]}
    backend = make_backend("generate", "pythia8", {"process": process})
    backend.prepare()
    facts = backend.summary([backend.run(Chunk(index=0, start=0, stop=2, seed=1)).info])
    assert facts["cross_section_pb"] == 0 and facts["events_without_particles"] == 0
    assert backend.notices(facts) == ["Pythia8 gives no cross section for this process: 0 pb stands for unknown"]
