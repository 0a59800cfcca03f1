"""Energy that a track does not explain: split off, nothing lost, and jets are calibrated as before."""

import awkward as ak
import numpy as np
from calibrate_events import DETECTOR

from gen2reco.calibrate.excess import REACH, Split, accompanied, exceeds, split
from gen2reco.calibrate.jets import object_jets
from gen2reco.calibrate.objects import Summary, object_pdg
from gen2reco.events.schemas import IDENTITIES
from gen2reco.validate.flat_lists import flatten
from gen2reco.validate.observe.object_matching import of_the_other_charge

CHARGED, ELECTRON, NEUTRAL = (IDENTITIES.index(name) for name in ("charged_hadron", "electron", "neutral_hadron"))


def plain(momentum, charge=None):
    n, momentum = len(momentum), np.array(momentum, float)
    eta, phi = np.full(n, 2.0), 0.01 * np.arange(n)
    charge = np.sign(momentum).astype(int) if charge is None else np.array(charge)
    return Summary(np.ones(n), np.ones(n), np.ones(n, int), eta, phi, momentum, charge)


def made(energy, momentum, identity, event, n_events=None, charge=None, alone=False) -> Split:
    """Objects of candidates side by side at eta = 2; the calorimeter sees them 0.02 to the right of their tracks."""
    summary, identity = plain(momentum, charge), np.array(identity, int)
    columns = {
        "pdg": object_pdg(identity, summary.charge),
        **{f"p_{name}": np.where(identity == i, 0.9, 0.025) for i, name in enumerate(IDENTITIES)},
        "energy_raw": 0.8 * np.array(energy),
        "energy": np.array(energy, float),
        "energy_sigma": 0.1 * np.array(energy),
        "eta": summary.eta,
        "phi": summary.phi,
        "trackster": np.arange(len(identity), dtype=np.int32),
    }
    direction, event = (summary.eta, summary.phi + 0.02), np.array(event, int)
    near = np.full(len(event), not alone)
    return split(columns, summary, DETECTOR.tracker, direction, event, n_events or event.max(initial=-1) + 1, near)


def test_only_what_the_track_does_not_explain_is_split_off():
    energy = [30.0, 24.0, 5.0, 30.0, 30.0]  # 5 GeV is two standard deviations of a hadron of 20 GeV
    identity = np.array([CHARGED, CHARGED, CHARGED, ELECTRON, NEUTRAL])
    found = exceeds(np.array(energy), identity, plain([20.0, 20.0, 20.0, 20.0, 0.0]))
    assert found.tolist() == [True, False, False, False, False]


def test_energy_is_shared_out_and_the_rest_is_neutral():
    found = made([50.0, 20.0, 40.0], [20.0, 20.0, 10.0], [CHARGED] * 3, [0, 0, 2], 3, charge=[-1, 1, 1])
    assert ak.num(found.objects).tolist() == [3, 0, 2]
    assert found.of.tolist() == [0, 1, 0, 2, 2] and found.left_over.tolist() == [False, False, True, False, True]
    first = found.objects[0]
    assert first.energy.tolist() == [20.0, 20.0, 30.0] and first.pdg.tolist()[:2] == [-211, 211]
    assert abs(first.pdg[2]) in (22, 130) and first.p_charged_hadron[2] == 0 and first.p_photon[0] == 0
    assert np.allclose(first.phi, [0.0, 0.01, 0.02]) and first.trackster.tolist() == [0, 1, 0]
    assert first.energy_sigma[0] < 0.5 < 5 < first.energy_sigma[2]
    for name in ("energy", "energy_raw"):
        assert np.allclose(ak.sum(found.objects[name], axis=1), ak.sum(found.whole[name], axis=1))
    total = sum(ak.to_numpy(ak.flatten(found.objects[f"p_{name}"])) for name in IDENTITIES)
    assert np.allclose(total, 1.0)


def test_what_is_alone_stays_whole():
    places = np.array([[0, 0, 2], [0.8 * REACH, 0, 2], [2 * REACH, 0, 2], [0, 0, 3], [0, 0, 4]])
    tracks = np.array([[30, 0, 3], [2 * REACH, 0.9 * REACH, 2], [50, 0, 5]])
    own = np.array([-1, -1, -1, 0, -1])
    assert accompanied(places, tracks, own).tolist() == [True, True, True, False, False]
    assert accompanied(places[3:], tracks, own[[0, 0]]).tolist() == [True, False]
    assert accompanied(places[:0], tracks, own[:0]).tolist() == []
    assert not made([50.0], [20.0], [CHARGED], [0], alone=True).left_over.any()


def test_no_candidates_give_no_objects():
    found = made([], [], [], [], 2)
    assert ak.num(found.objects).tolist() == [0, 0] and len(found.of) == 0


def test_the_jet_calibration_sees_both_parts_of_a_candidate_as_one():
    found = made([60.0, 25.0, 9.0, 60.0], [20.0, 25.0, 0.0, 0.0], [CHARGED] * 2 + [NEUTRAL] * 2, [0, 0, 0, 1])
    assert found.left_over.sum() == 1
    none = ak.Array([[{"pt": 1.0, "eta": 2.0, "phi": 0.0}]] * 2)[:, :0]
    jets, before = object_jets(found.objects), object_jets(found.whole)
    assert ak.flatten(ak.num(jets.constituents, axis=2)).tolist() == [4, 1]
    assert ak.flatten(ak.num(before.constituents, axis=2)).tolist() == [3, 1]
    inputs = found.jet_inputs(jets, none)
    assert inputs.mask.sum(1).tolist() == [3, 1]
    assert np.isclose(inputs.constituents[0, :3, 1].max(), np.log(60.0), atol=1e-5)
    parts = ak.Array([[[0], [3]], [[0]]])  # the parts of the first candidate in two jets
    apart = ak.with_field(ak.concatenate([jets[:1, [0, 0]], jets[1:]]), parts, "constituents")
    inputs = found.jet_inputs(apart, none)
    assert np.allclose(np.exp(inputs.constituents[:, 0, 1]), [20.0, 40.0, 60.0], rtol=1e-5)


def test_parts_of_a_trackster_are_matched_by_charge():
    objects = made([60.0, 25.0], [20.0, 0.0], [CHARGED, NEUTRAL], [0, 0]).objects
    flat, every, charged = flatten(objects), np.arange(3), np.full(3, CHARGED)
    assert flat["energy"].tolist() == [20.0, 25.0, 40.0]
    assert of_the_other_charge(flat, every, charged).tolist() == [False, False, True]
    assert of_the_other_charge(flat, every, np.full(3, NEUTRAL)).tolist() == [True, False, False]
