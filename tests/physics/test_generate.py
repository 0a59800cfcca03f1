"""Generated events against what is known: LEP multiplicity and flavours, conservation, the filter, LHE round trip."""

from pathlib import Path

import awkward as ak
import numpy as np
import pytest

from gen2reco.config.process import process_from
from gen2reco.events import records
from gen2reco.events.lhe import LheEvent, LheRun, write_clean
from gen2reco.events.truth import charge
from gen2reco.run.stage import Chunk, make_backend

PROCESSES = Path(__file__).parents[2] / "configs" / "processes"


def generate(process, events, seed=11):
    backend = make_backend("generate", process["kind"], {"process": process})
    backend.prepare()
    result = backend.run(Chunk(0, seed, 0, events))
    records.check(result.table, "particles", process["kind"])
    return records.awkward(result.table), backend.summary([result.info])


def shipped(name, **changes):
    return process_from(PROCESSES / f"{name}.yaml").model_dump() | changes


@pytest.fixture(scope="module")
def ee():
    return generate(shipped("ee_qq_91"), 2000)


def charges(particles):
    return ak.unflatten(charge(ak.flatten(particles.pdg)), ak.num(particles))


def test_charged_multiplicity_is_that_of_lep(ee):
    """LEP mean 20.76 ± 0.16 charged particles an event, K0S and hyperons decayed; Pythia8 gives 20.57 ± 0.04 here."""
    multiplicity = ak.to_numpy(ak.sum(charges(ee[0].particles) != 0, axis=1))
    error = multiplicity.std() / len(multiplicity) ** 0.5
    assert abs(multiplicity.mean() - 20.76) < 3 * np.hypot(error, 0.16)
    assert 5.5 < multiplicity.std() < 7.5


def test_flavours_are_those_of_the_z(ee):
    """Branching fractions of Z → q qbar among hadronic decays: u, c 17.2 %, d, s 22 %, b 21.6 %."""
    partons = ee[0].partons
    flavour = ak.to_numpy(ak.flatten(partons.pdg[(partons.status == 23) & (partons.pdg > 0)]))
    for pdg, share in {1: 0.218, 2: 0.173, 3: 0.218, 4: 0.173, 5: 0.216}.items():
        found = (flavour == pdg).mean()
        assert abs(found - share) < 4 * (share / len(flavour)) ** 0.5 + 0.005, pdg


def test_cross_section_at_the_peak(ee):
    """Hadronic Born-level peak with a running width and no initial-state radiation: about 41.4 nb."""
    assert ee[1]["cross_section_pb"] == pytest.approx(41.4e3, rel=0.02)
    assert (ee[1]["sqrt_s"], ee[1]["sum_of_weights"], ee[1]["filter_efficiency"]) == (pytest.approx(91.2), 2000, 1.0)


def test_conservation(ee):
    p = ee[0].particles
    for name, total in {"px": 0, "py": 0, "pz": 0, "energy": 91.2}.items():
        np.testing.assert_allclose(ak.sum(ak.values_astype(p[name], np.float64), axis=1), total, atol=1e-4)
    assert ak.all(ak.sum(charges(p), axis=1) == 0)


def test_colour_flow_connects_the_hard_partons(ee):
    hard = ee[0].partons[ee[0].partons.status == 23]
    assert ak.all(ak.num(hard) == 2)
    quark, anti = hard[hard.pdg > 0], hard[hard.pdg < 0]
    assert ak.all(quark.color == anti.anticolor) and ak.all(quark.color > 0) and ak.all(quark.anticolor == 0)


def test_decay_vertices_follow_lifetimes(ee):
    """Photons of pi0 come from within nanometres of their mother; pions of K0S from centimetres."""
    p = ee[0].particles
    distance = np.sqrt(p.vx**2 + p.vy**2 + p.vz**2)
    flight = distance / 299.792458
    assert ak.all(p.time >= flight * (1 - 1e-3) - 1e-6)
    pions = ak.to_numpy(ak.flatten(distance[abs(p.pdg) == 211]))
    assert 0.05 < (pions > 10).mean() < 0.2  # from K0S and hyperons, decay lengths of centimetres
    assert (pions < 1e-6).mean() > 0.3


def test_dijets_have_a_hard_parton_in_the_endcap():
    events, facts = generate(shipped("pp_dijet_endcap", mpi=False), 60)
    hard = events.partons[events.partons.status == 23]
    pt = np.hypot(hard.px, hard.py)
    inside = (abs(np.arcsinh(hard.pz / pt)) >= 1.6) & (abs(np.arcsinh(hard.pz / pt)) <= 2.8) & (pt >= 30)
    assert ak.all(ak.any(inside, axis=1))
    assert ak.all(ak.num(hard) == 2)
    assert 0.3 < facts["filter_efficiency"] < 0.65
    assert facts["filter_passed"] == 60 and facts["events_accepted"] == 60
    incoming = events.partons[events.partons.status == 21]
    np.testing.assert_allclose(ak.sum(hard.energy, axis=1), ak.sum(incoming.energy, axis=1), rtol=1e-6)
    np.testing.assert_allclose(ak.sum(events.particles.energy, axis=1), 14000, rtol=1e-4)
    assert ak.all(ak.sum(charges(events.particles), axis=1) == 2)


def test_multiparton_interactions_double_the_particles():
    counts = {
        mpi: ak.to_numpy(ak.num(generate(shipped("pp_dijet_endcap", mpi=mpi), 25)[0].particles))
        for mpi in (True, False)
    }
    assert counts[True].mean() > 1.5 * counts[False].mean()


def test_top_pairs():
    events, _ = generate(shipped("pp_ttbar", mpi=False), 10)
    assert ak.all(ak.sum(abs(events.partons.pdg) == 6, axis=1) == 2)
    assert ak.all(ak.any(abs(events.partons.pdg) == 24, axis=1))


def test_hard_processes_written_to_a_file_shower_to_the_same_physics(tmp_path, ee):
    """Pythia8's own hard processes, through an LHE file and back: the same partons, multiplicity within statistics."""
    events, n = ee[0], 600
    path, run = tmp_path / "ee.lhe", LheRun((11, -11), (45.6, 45.6), (0, 0, 0, 0), 3, ((41.4e3, 50.0, 1.0, 221),))
    write_clean(path, run, [as_lhe(partons) for partons in events.partons[:n]])
    showered, from_file = generate({"kind": "lhe", "file": str(path)}, n)
    assert from_file["cross_section_pb"] == pytest.approx(41.4e3)
    for name in ("pdg", "status", "px", "py", "pz", "energy"):
        np.testing.assert_allclose(
            ak.flatten(showered.partons[name]), ak.flatten(events.partons[:n][name]), rtol=1e-6, atol=1e-6
        )
    old, new = (ak.to_numpy(ak.sum(charges(e.particles) != 0, axis=1)) for e in (events, showered))
    error = np.hypot(old.std() / len(old) ** 0.5, new.std() / n**0.5)
    assert abs(old.mean() - new.mean()) < 4 * error


def as_lhe(partons):
    """Our partons (incoming, Z, outgoing) as an LHE event."""
    status = {21: -1, 22: 2, 23: 1}
    mothers = {21: (0, 0), 22: (1, 2), 23: (3, 3)}
    rows = [
        [
            *(p["pdg"], status[p["status"]], *mothers[p["status"]], p["color"], p["anticolor"]),
            *(p[name] for name in ("px", "py", "pz", "energy", "mass")),
            *(0, 9),
        ]
        for p in partons.to_list()
    ]
    return LheEvent(221, 1.0, 91.2, 1 / 128, 0.118, np.array(rows, float))
