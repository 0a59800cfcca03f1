"""Chunks in which nothing reaches the front face, or what does is unheard of, through every stage behind generate."""

import time

import awkward as ak
import numpy as np
import pytest
from face_particles import events_of, particle

from gen2reco.config.block import load_block
from gen2reco.config.detector import Detector
from gen2reco.errors import InputError
from gen2reco.events import records
from gen2reco.run.sidecar import read_sidecar
from gen2reco.run.stage import Backend, Chunk, Result, make_backend
from gen2reco.simulate.learned_showers import Learned

EDGES = {
    "no events": [],
    "an empty event": [[]],
    "empty events": [[], []],
    "neutrinos": [[particle(14, 50.0, 2.0), particle(-12, 3.0, -2.0)]],
    "barrel": [[particle(22, 20.0, 0.5)], [particle(211, 20.0, -0.3)]],
    "beam pipe": [[particle(2212, 6000.0, 9.0)]],
    "one soft photon": [[particle(22, 0.05, 2.0)]],
    "one that turns back": [[particle(211, 0.2, 2.0)]],
    "one among none": [[], [particle(22, 20.0, 2.0)], []],
    "unseen": [[particle(code, 100.0, 2.0) for code in (1000022, 1000039, 12, 52)]],
    "unheard of": [[particle(code, 100.0, 2.0) for code in (9000005, 99999999, 21, 2)]],
}


@pytest.fixture(scope="module")
def detector(request) -> Detector:
    return load_block(request.config.rootpath / "configs/detectors/hgcal.yaml", Detector)


@pytest.fixture(scope="module")
def backends(detector) -> dict[str, Backend]:
    given = {
        "simulate": ("ml", {"outside": "nearest"}),
        "cluster": ("clue", {}),
        "calibrate": ("dnn", {}),
        "raw": ("raw", {}),
        "fuse": ("fused", {"outside": "keep"}),
    }
    made = {key: make_backend("calibrate" if key == "raw" else key, *how, detector) for key, how in given.items()}
    for backend in made.values():
        backend.prepare()
    return made


def run(backend: Backend, events, record: str) -> Result:
    made = backend.run(Chunk(0, 3, 0, len(events)), events)
    records.check(made.table, record, backend.stage)
    return made


@pytest.mark.parametrize("edge", EDGES)
def test_every_stage_makes_a_valid_record(backends, edge):
    events = events_of(EDGES[edge]) if EDGES[edge] else records.empty("particles")
    hits = run(backends["simulate"], events, "hits").table
    clusters = run(backends["cluster"], hits, "clusters").table
    for table in (
        run(backends["calibrate"], clusters, "objects").table,
        run(backends["raw"], clusters, "objects").table,
        run(backends["fuse"], events, "objects").table,
    ):
        assert table["event"].equals(events["event"])
        few = edge in ("one among none", "one soft photon")
        assert few or not ak.any(ak.num(records.awkward(table.select(["objects"])).objects))


@pytest.mark.parametrize("stage", ["simulate", "fuse"])
def test_events_of_every_kind_by_hand_with_geant4_as_fallback(stage, gen2reco, repository, tmp_path):
    lists = [event for edge in EDGES.values() for event in edge] + [[particle(13, 900.0, 2.0)]]
    records.write(tmp_path / "in.parquet", events_of(lists), "particles")
    backend = {"simulate": "ml", "fuse": "fused"}[stage]
    more = ["--backend", backend, "--detector", repository / "configs/detectors/hgcal.yaml"]
    done = gen2reco(stage, "in.parquet", "out.parquet", *more)
    assert done.returncode == 0, done.stderr
    assert records.read(tmp_path / "out.parquet").num_rows == len(lists)
    assert "not simulated: " in done.stderr and "99999999" in done.stderr
    said = {"simulate": "1 of 7 particles", "fuse": "1 of 15 events"}[stage]
    assert said in done.stderr and "because of" in done.stderr
    facts = read_sidecar(tmp_path / "out.parquet")
    assert (facts if stage == "simulate" else facts["chain"])["physics"].startswith("Geant4 ")


@pytest.mark.parametrize("stage", ["simulate", "fuse"])
def test_what_no_simulation_takes_leaves_nothing_and_is_named(backends, stage):
    lists = [[particle(code, 100.0, 2.0)] for code in (1000022, 1000039, 12, 9000005, 99999999, 21, 1000015, 1000993)]
    made = run(backends[stage], events_of(lists), {"simulate": "hits", "fuse": "objects"}[stage])
    column = {"simulate": "contributions", "fuse": "objects"}[stage]
    assert not ak.any(ak.num(records.awkward(made.table)[column]))
    assert set(made.info["not_simulated"]) == {"9000005", "99999999", "21", "1000015", "1000993"}
    assert made.info["not_simulated"]["1000015"]["energy_at_face"] == pytest.approx(100.0)
    assert made.info["fallback_reasons"] == {}
    (line,) = backends[stage].notices(backends[stage].summary([made.info]))
    assert line.startswith("not simulated: ") and "21" in line


@pytest.mark.parametrize("stage", ["simulate", "fuse"])
@pytest.mark.parametrize("energy", [6e2, 5e4, 2e5, 1e9, 1e30])
def test_energies_far_above_the_range_end_in_bounded_time_and_are_counted(backends, stage, energy):
    started, events = time.perf_counter(), events_of([[particle(211, energy, 2.0)]])
    made = run(backends[stage], events, {"simulate": "hits", "fuse": "objects"}[stage])
    assert time.perf_counter() - started < 20
    counted = [*made.info["not_simulated"].values(), *made.info["fallback_reasons"].values()]
    assert sum(one["energy"] for one in counted) == pytest.approx(energy, rel=0.01)


HARD = [[particle(13, 400.0, 2.0), particle(22, 500.0, -2.0)], [particle(3112, 20.0, 2.0)]]


@pytest.mark.parametrize(
    ("options", "lists", "refused"),
    [
        ({}, HARD, True),
        ({}, HARD[:1], False),
        ({"outside": "geant4"}, HARD, False),
        ({}, [*HARD, [particle()]], False),
        ({}, [[particle(energy=0.1)]] * 5, False),
    ],
)
def test_a_run_of_nothing_but_hard_particles_outside_is_refused_unless_asked_for(detector, options, lists, refused):
    backend = make_backend("simulate", "ml", options, detector)
    info = facts_without_showers(backend, lists)
    if refused:
        with pytest.raises(InputError, match=r"knows none of 3 particles, because of .*set `outside: geant4`"):
            backend.summary([info])
    else:
        counts = [one["count"] for one in backend.summary([info])["fallback_reasons"].values()]
        assert sum(counts) == info["particles_outside_to_geant4"]


@pytest.mark.parametrize(("outside", "refused"), [(None, True), ("geant4", False), ("keep", False)])
def test_a_run_of_nothing_but_events_outside_the_fused_models_domain_is_refused(detector, outside, refused):
    backend = make_backend("fuse", "fused", {} if outside is None else {"outside": outside}, detector)
    scores = np.array([[1.0, 9000.0, 9000.0, 10.0]] * 4)
    info = backend._facts(scores, backend.domain.inputs_outside(scores)[:, [0, 1, 2, 3, 3]])
    assert info["fallback_reasons"] == {"more than 2510 GeV at the front face": {"count": 4, "energy": 36000.0}}
    if refused:
        with pytest.raises(InputError, match=r"fuse: the model knows none of 4 events, because of more than 2510 GeV"):
            backend.summary([info])
    else:
        (line,) = backend.notices(backend.summary([info]) | {"events_in": 4})
        assert line.startswith("fuse: 4 of 4 events (3.6e+04 GeV at the front face)")


def facts_without_showers(backend: Learned, lists: list[list[dict]]) -> dict:
    """What the backend would count, its engines not set up."""
    from gen2reco.detector.propagate import enter
    from gen2reco.simulate.hits_record import face_facts
    from gen2reco.simulate.showers.incidence import incidence

    events = events_of(lists)
    at_face = enter(events, backend.detector)
    valid = backend.range.valid(incidence(at_face))
    return face_facts(events, at_face) | backend._facts(at_face[~valid], at_face[valid])
