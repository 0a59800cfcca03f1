"""Candidates, jets and the plain sums: nothing counted twice, nothing lost, empty events welcome."""

import awkward as ak
import numpy as np
import pytest
from calibrate_events import DETECTOR, FACE, event, particle, shower, table, track

from gen2reco.calibrate import candidates as cand
from gen2reco.calibrate.jets import gen_jets, object_jets
from gen2reco.calibrate.objects import object_pdg
from gen2reco.calibrate.raw import Raw
from gen2reco.events import records
from gen2reco.events.truth import ParticleProperties, Properties
from gen2reco.run.stage import Chunk


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


def test_a_track_whose_shower_was_merged_is_no_candidate_of_its_own():
    far = (2.0, 0.72, 20.0)  # its barycentre is too far from the track for a match, its front layers are not
    both = {name: [*shower(*far)[name], *shower(2.0, 0.52, 4.0, range(1, 5))[name]] for name in shower(*far)}
    merged = event([far], tracks=[track(2.0, 0.52, 9.0)], particles=[TRACKED])
    rows = [dict(zip(both, row)) for row in zip(*both.values())]
    merged["layer_clusters"], merged["cluster_trackster"] = rows, [0] * len(rows)
    made = build(merged)
    assert made.counts.tolist() == [1] and made.track.tolist() == [0]
    merged["cluster_trackster"] = [0] * 10 + [-1] * 4
    assert build(merged).track.tolist() == [-1, 0]


def test_a_track_alone_gathers_the_clusters_of_a_crossing_muon():
    made = build(event([], loose=[(2.0, 0.5, 1.0, range(1, 48))], tracks=[track(2.0, 0.5, 30.0)], particles=[TRACKED]))
    assert (made.of_cluster == 0).all()


def crowd(seed):
    """An event in which most showers overlap with others."""
    rng = np.random.default_rng(seed)

    def some(n, low):
        return [(rng.uniform(2.0, 2.3), rng.uniform(0, 0.4), low + rng.exponential(5)) for _ in range(n)]

    lines = [track(*one) for one in some(12, 1.0)]
    return event(some(25, 1.0), [(*one, range(3, 40, 6)) for one in some(30, 0.1)], lines, [TRACKED])


def off_line(points, at, direction):
    step = (points[:, 2] - at[2]) / direction[2]
    return np.hypot(*(points[:, :2] - at[:2] - step[:, None] * direction[:2]).T)


@pytest.mark.parametrize("seed", range(5))
def test_candidates_are_those_of_plain_loops(seed):
    one = crowd(seed)
    made = build(event([]), one, crowd(seed + 100))
    at = {k: np.array([[t[c] for c in "xyz"] for t in one[k]]) for k in ("tracksters", "tracks", "layer_clusters")}
    at = {k: v.astype(np.float32).astype(float) for k, v in at.items()}
    momentum = np.array([[t[c] for c in ("px", "py", "pz")] for t in one["tracks"]], np.float32).astype(float)
    n, energy = len(one["tracksters"]), np.array([t["energy"] for t in one["tracksters"]], np.float32)
    flat = at["tracksters"][:, :2] * FACE / at["tracksters"][:, 2:]
    leader = np.full(n, -1)
    for i in np.argsort(-energy, kind="stable"):
        if leader[i] < 0:
            leader[(leader < 0) & (np.hypot(*(flat - flat[i]).T) <= cand.TRACKSTER_RADIUS)] = i
    count = made.counts[1]
    assert (made.trackster[:count][made.of_trackster[:n]] == leader).all()
    owner = np.array(one["cluster_trackster"])
    tracked = made.track[:count] >= 0
    axes = [(at["tracks"][t], momentum[t]) if t >= 0 else (at["tracksters"][i],) * 2
            for i, t in zip(made.trackster[:count], made.track[:count])]  # fmt: skip
    loose = np.flatnonzero(owner < 0)
    distance = np.stack([off_line(at["layer_clusters"][loose], *axis) for axis in axes], axis=1)
    wanted = np.where(distance.min(axis=1) <= cand.LOOSE_RADIUS, distance.argmin(axis=1), -1)
    assert (made.of_cluster[loose] == wanted).all() and tracked.sum() > 3
    used = np.flatnonzero(owner >= 0)
    assert (made.of_cluster[used] == made.of_trackster[owner[used]]).all()


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
    made = run_raw([event(showers, tracks=tracks, particles=[TRACKED])])
    objects = made.objects[0]
    assert made.object_track[0].tolist() == [0 if tracks else -1] and ak.num(made.tracks)[0] == len(tracks)
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


@pytest.mark.parametrize(
    ("code", "stated", "members"),
    [
        (1000022, None, [1]),
        (52, None, [1]),
        (4900111, None, [1]),
        (9000005, None, [1]),
        (21, None, [0, 1]),
        (1000015, None, [0, 1]),
        (-1009213, None, [0, 1]),
        (9000005, {"charge": 1.0}, [0, 1]),
        (9000005, {"charge": 0.0}, [1]),
        (1000022, {"charge": 0.0, "coloured": True}, [0, 1]),
    ],
)
def test_generator_jets_hold_what_is_visible(code, stated, members):
    base = {"name": "X", "charge": 0.0, "coloured": False, "visible": True}
    own = Properties({} if stated is None else {code: ParticleProperties(**base | stated)})
    found = gen_jets(ak.Array([[particle(code, 2.0, 0.5, 500.0), particle(22, 2.0, 0.5, 80.0)]]), own)
    assert sorted(found.constituents[0, 0].tolist()) == members


def test_the_calibration_takes_the_generators_properties():
    """A declared charged particle is in the generator's jets, where the file's facts say so."""
    stated = {"name": "X", "charge": 1.0, "coloured": False, "visible": True}
    events = table([event([], particles=[particle(9000005, 2.0, 0.5, 80.0)])])
    for story, number in (({}, 0), ({"generate": {"info": {"particle_properties": {"9000005": stated}}}}, 1)):
        backend = Raw(Raw.Options(), DETECTOR)
        backend.accept(story)
        made = records.awkward(backend.run(Chunk(0, 1, 0, 1), events).table)
        assert ak.num(made.gen_jets).tolist() == [number]


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
