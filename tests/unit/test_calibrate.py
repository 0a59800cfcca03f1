"""Candidates, jets and the plain sums: nothing counted twice, nothing lost, empty events welcome."""

from pathlib import Path

import awkward as ak
import numpy as np
import pytest

from gen2reco.calibrate import candidates as cand
from gen2reco.calibrate.jets import gen_jets, object_jets
from gen2reco.calibrate.objects import object_pdg
from gen2reco.calibrate.raw import Raw
from gen2reco.campaign.config import load_block
from gen2reco.campaign.detector import Detector
from gen2reco.campaign.stage import Chunk
from gen2reco.events import records, schemas
from gen2reco.events.geometry import Geometry

DETECTOR = load_block(Path(__file__).parents[2] / "configs/detectors/hgcal.yaml", Detector)
GEOMETRY = Geometry(DETECTOR)
FACE = DETECTOR.front_face


def shower(eta, phi, energy, layers=range(5, 15)):
    """Layer clusters along a straight line from the origin, sharing `energy`."""
    z = np.sign(eta) * GEOMETRY.z[np.array(layers) - 1]
    r = z / np.sinh(eta)
    share = np.full(len(z), energy / len(z))
    return {
        "layer": np.array(layers),
        "x": r * np.cos(phi),
        "y": r * np.sin(phi),
        "z": z,
        "energy": share,
        "time": 0 * z,
        "size": np.full(len(z), 3),
    }


def event(showers, loose=(), tracks=(), particles=()):
    """One event of tracksters (eta, phi, energy), loose showers, tracks and particles, as plain lists."""
    clusters, owner, tracksters = [], [], []
    for i, given in enumerate([*showers, *loose]):
        columns = shower(*given)
        rows = [dict(zip(columns, row)) for row in zip(*columns.values())]
        clusters += rows
        owner += [i if i < len(showers) else -1] * len(rows)
        if i < len(showers):
            at = {name: float(np.mean(columns[name])) for name in "xyz"}
            shapes = dict.fromkeys(schemas.SHAPES, 0.0)
            eta, phi, energy = given[:3]
            tracksters.append(dict(iteration=0, energy=energy, eta=eta, phi=phi, time=0.0, **at, **shapes))
    return {
        "event": 0,
        "weight": 1.0,
        "particles": list(particles),
        "tracks": list(tracks),
        "layer_clusters": clusters,
        "hit_cluster": [],
        "tracksters": tracksters,
        "cluster_trackster": owner,
        "associations": [],
    }


def track(eta, phi, momentum, charge=1):
    """A straight track from the origin, at the face."""
    direction = np.array([np.cos(phi), np.sin(phi), np.sinh(eta)]) / np.cosh(eta)
    p, at = momentum * direction, direction * FACE / abs(direction[2])
    return dict(zip(("px", "py", "pz", "x", "y", "z"), [*p, *at]), charge=charge, particle=0)


def particle(pdg, eta, phi, energy):
    pt = energy / np.cosh(eta)
    p = {"px": pt * np.cos(phi), "py": pt * np.sin(phi), "pz": pt * np.sinh(eta)}
    return dict(pdg=pdg, **p, energy=energy, vx=0.0, vy=0.0, vz=0.0, time=0.0)


def table(events):
    for number, one in enumerate(events):
        one["event"] = number
    columns = {name: [one[name] for one in events] for name in events[0]}
    return records.table("clusters", {name: ak.Array(v) if any(map(np.size, v)) else v for name, v in columns.items()})


def build(*events):
    return cand.build(records.awkward(table(list(events))), FACE)


TRACKED = particle(211, 2.0, 0.5, 20.0)


def test_small_tracksters_join_the_larger_one_near_them():
    close, far = (2.0, 0.53, 5.0), (2.0, 1.5, 3.0)
    made = build(event([close, (2.0, 0.5, 50.0), far, (-2.0, 0.5, 1.0)]), event([]), event([far]))
    assert made.counts.tolist() == [3, 0, 1]
    assert made.trackster.tolist() == [1, 2, 3, 0]
    assert made.of_trackster.tolist() == [0, 0, 1, 2, 3]


def test_a_chain_of_tracksters_does_not_run_away():
    step = 50.0 / (FACE / np.sinh(2.0))
    made = build(event([(2.0, k * step, 50.0 - k) for k in range(6)]))
    assert made.counts.tolist() == [3]
    assert made.of_trackster.tolist() == [0, 0, 1, 1, 2, 2]


def test_loose_clusters_join_the_nearest_axis_or_none():
    made = build(event([(2.0, 0.5, 50.0), (2.0, 0.62, 20.0)], loose=[(2.0, 0.61, 1.0), (2.5, -2.0, 1.0)]))
    per_shower = made.of_cluster.reshape(4, -1)
    assert (per_shower == np.array([0, 1, 1, -1])[:, None]).all()


def test_tracks_match_once_and_stay_alone_where_nothing_is_near():
    one = event(
        [(2.0, 0.5, 18.0)],
        tracks=[track(2.0, 0.51, 5.0), track(2.0, 0.5, 20.0), track(-2.2, 1.0, 3.0, -1)],
        particles=[TRACKED],
    )
    made = build(event([]), one)
    assert made.counts.tolist() == [0, 2]
    assert made.track.tolist() == [1, 2]
    assert made.trackster.tolist() == [0, -1]


def test_a_track_alone_gathers_the_clusters_of_a_crossing_muon():
    made = build(event([], loose=[(2.0, 0.5, 1.0, range(1, 48))], tracks=[track(2.0, 0.5, 30.0)], particles=[TRACKED]))
    assert (made.of_cluster == 0).all()


def run_raw(events):
    backend = Raw(Raw.Options(), DETECTOR)
    made = backend.run(Chunk(0, 1, 0, len(events)), table(events)).table
    records.check(made, "objects", "test")
    return records.awkward(made)


@pytest.mark.parametrize(
    ("showers", "tracks", "pdg"),
    [
        ([(2.0, 0.5, 20.0)], [], 22),
        ([(2.0, 0.5, 20.0)], [track(2.0, 0.5, 20.0, -1)], 11),
        ([(2.0, 0.5, 20.0)], [track(2.0, 0.5, 20.0, 1)], -11),
        ([(2.0, 0.5, 20.0, range(20, 40))], [], 130),
        ([(2.0, 0.5, 20.0, range(20, 40))], [track(2.0, 0.5, 20.0, -1)], -211),
        ([(2.0, 0.5, 1.0, range(1, 48))], [track(2.0, 0.5, 20.0, -1)], 13),
    ],
)
def test_raw_identities(showers, tracks, pdg):
    objects = run_raw([event(showers, tracks=tracks, particles=[TRACKED])]).objects[0]
    assert objects.pdg.tolist() == [pdg]
    assert objects.energy[0] == pytest.approx(showers[0][2], rel=1e-5)
    assert abs(objects.phi[0] - 0.5) < 1e-5


def test_raw_loses_and_doubles_no_energy():
    rng = np.random.default_rng(3)
    events = [
        event(np.column_stack([rng.uniform(1.7, 2.8, n), rng.uniform(-3, 3, n), rng.exponential(10, n) + 1]).tolist())
        for n in (0, 1, 30, 60)
    ]
    out = run_raw(events)
    wanted = [sum(t["energy"] for t in one["tracksters"]) for one in events]
    assert ak.sum(out.objects.energy_raw, axis=1).tolist() == pytest.approx(wanted, rel=1e-5)


def test_only_empty_events_are_fine():
    out = run_raw([event([]), event([])])
    assert ak.num(out.objects).tolist() == ak.num(out.jets).tolist() == ak.num(out.gen_jets).tolist() == [0, 0]


def test_jets_point_to_their_constituents_and_leave_neutrinos_out():
    particles = ak.Array(
        [[particle(12, 2.0, 0.5, 500.0), particle(22, 2.0, 0.5, 80.0), particle(211, 2.1, 0.6, 90.0)], []]
    )
    found = gen_jets(particles)
    assert found.constituents.tolist() == [[[1, 2]], []]
    assert found.pt[0, 0] == pytest.approx(np.hypot(*(ak.sum(particles[c][0, 1:]) for c in ("px", "py"))), rel=1e-6)
    objects = ak.Array([[], [{"energy": 100.0, "eta": -2.0, "phi": 3.1}, {"energy": 50.0, "eta": -2.0, "phi": -3.1}]])
    found = object_jets(objects)
    assert sorted(found.constituents[1, 0].tolist()) == [0, 1]
    assert abs(abs(found.phi[1, 0]) - np.pi) < 0.05 and found.eta[1, 0] == pytest.approx(-2.0, abs=1e-3)


def test_soft_particles_make_no_jet():
    assert gen_jets(ak.Array([[particle(22, 2.0, 0.5, 1.0)]])).pt.tolist() == [[]]


def test_codes_follow_the_charge():
    assert object_pdg(np.array([0, 1, 2, 3, 3, 4]), np.array([0, -1, 1, 1, -1, 0])).tolist() == [
        22,
        11,
        -13,
        211,
        -211,
        130,
    ]
