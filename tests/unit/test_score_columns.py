"""What the scores say of each particle and trackster: shares, places and distances of neighbours, by hand."""

import numpy as np
import pyarrow as pa
import pytest
from test_cluster_chain import FACE

from gen2reco.cluster.trackster_scores import score
from gen2reco.events import records
from gen2reco.events.truth import incident_energy

TRACKSTER = dict.fromkeys((f.name for f in records.SCHEMAS["clusters"].field("tracksters").type.value_type), 1.0)


def photon(energy, x, y, side=1, pdg=22, vertex=(0.0, 0.0, 0.0)):
    """A particle that flies from its vertex to (x, y) on the face of one side."""
    step = np.array([x, y, side * FACE]) - vertex
    p = energy * step / np.linalg.norm(step)
    names = ("pdg", "px", "py", "pz", "energy", "vx", "vy", "vz", "time")
    return dict(zip(names, (pdg, *p, energy, *vertex, 0.0)))


def event_of(particles, deposited, tracksters, links, tracks=()):
    """One event: tracksters as (iteration, energy, eta), links as (trackster, particle, r2s, s2r, shared)."""
    fields = ("trackster", "particle", "reco_to_sim", "sim_to_reco", "shared_energy")
    rows = [TRACKSTER | dict(zip(("iteration", "energy", "eta"), one)) for one in tracksters]
    return {
        "particles": list(particles),
        "tracks": list(tracks),
        "tracksters": rows,
        "associations": [dict(zip(fields, link)) for link in links],
        "deposited": list(deposited),
    }


def table(*events) -> pa.Table:
    schema = records.SCHEMAS["clusters"]
    kinds = {field.name: field.type for field in schema} | {"deposited": pa.large_list(pa.float32())}
    empty = {name: pa.array([[]] * len(events)) for name in ("layer_clusters", "hit_cluster", "cluster_trackster")}
    columns = {name: pa.array([one[name] for one in events], kinds[name]) for name in events[0]}
    return records.table(
        "clusters", {"event": np.arange(len(events)), "weight": np.ones(len(events)), **empty, **columns}
    )


FIRST = event_of(
    [photon(10.0, 600, 0), photon(20.0, 600, 80), photon(0.5, 600, 20), photon(30.0, 600, 0, -1), photon(9.0, 700, 0)],
    [10.0, 16.0, 0.4, 30.0, 0.0],
    [(0, 12.0, 2.3), (1, 15.0, 2.4), (0, 29.0, -2.3)],
    [
        (0, 0, 0.1, 0.1, 6.0),
        (0, 1, 0.5, 0.9, 4.0),
        (1, 1, 0.0, 0.1, 8.0),
        (1, 0, 0.8, 0.9, 1.0),
        (2, 3, 0.0, 0.0, 29.0),
        (1, 2, 0.9, 0.9, 0.3),
    ],
)
SECOND = event_of(
    [photon(10.0, 0, 900, vertex=(0.0, 40.0, 100.0)), photon(2.0, 30, 900, pdg=2112)],
    [10.0, 1.0],
    [(0, 11.0, 2.0)],
    [(0, 0, 0.0, 0.1, 9.0), (0, 1, 0.9, 0.2, 0.5)],
)


@pytest.fixture(scope="module")
def scores():
    return score(table(FIRST, SECOND), FACE)


def test_particles_that_leave_nothing_are_left_out(scores):
    particles, tracksters = scores
    assert particles.event.tolist() == [0, 0, 0, 0, 1, 1] and particles.pdg.tolist() == [22] * 5 + [2112]
    assert tracksters.event.tolist() == [0, 0, 0, 1] and tracksters.energy.tolist() == [12.0, 15.0, 29.0, 11.0]
    assert tracksters.eta == pytest.approx([2.3, 2.4, -2.3, 2.0])
    assert particles.energy == pytest.approx([10.0, 20.0, 0.5, 30.0, 10.0, incident_energy([2112], [2.0])[0]])
    assert particles.counted.tolist() == [True, True, False, True, True, False]


def test_shares_of_the_energy_in_the_hits(scores):
    particles, _ = scores
    assert particles.best_share == pytest.approx([0.6, 0.5, 0.75, 29 / 30, 0.9, 0.5])
    assert particles.clustered == pytest.approx([0.7, 0.75, 0.75, 29 / 30, 0.9, 0.5])


def test_places_and_neighbours_on_the_face(scores):
    """Neighbours are of the same event and side, above 1 GeV, and not what left nothing: not the one at 700 mm."""
    particles, tracksters = scores
    at = [(600, 0, 1), (600, 80, 1), (600, 20, 1), (600, 0, -1), (0, 900, 1), (30, 900, 1)]
    assert particles.eta == pytest.approx([np.arcsinh(side * FACE / np.hypot(x, y)) for x, y, side in at], abs=1e-5)
    assert particles.distance == pytest.approx([80, 80, 20, np.inf, 30, 30], rel=1e-4)
    assert tracksters.distance == pytest.approx([80, 80, np.inf, 30], rel=1e-4)


def test_what_becomes_of_each_by_its_best_partner(scores):
    """Trackster 0 is linked to particles 0 and 1, trackster 1 to 1 alone, for a score of 0.8 is too much."""
    particles, tracksters = scores
    assert tracksters.merge.tolist() == [True, False, False, False] and not tracksters.fake.any()
    assert not tracksters.surplus.any()
    assert particles.absorbed.tolist() == [False, False, True, False, False, True]
    assert particles.split.tolist() == [True, True, False, False, False, False]


def test_a_charged_particle_is_where_its_track_enters():
    fields = ("px", "py", "pz", "x", "y", "z", "charge", "particle")
    track = dict(zip(fields, (0.0, 0.0, 9.0, 650.0, 30.0, FACE, 1, 1)))
    bent = event_of([photon(9.0, 600, 30), photon(9.0, 600, 0, pdg=211)], [9.0, 9.0], [], [], [track])
    particles, _ = score(table(bent), FACE)
    assert particles.distance == pytest.approx([50.0, 50.0], rel=1e-4)
    assert particles.eta[1] == pytest.approx(np.arcsinh(FACE / np.hypot(650, 30)), abs=1e-5)
