"""The limits of TICL's scores, each just below and just above: which side counts."""

import pytest
from test_cluster_chain import FACE, score_table

from gen2reco.cluster.trackster_scores import counts, score


def passed(associations, n_tracksters=2, deposited=(10.0, 20.0), energies=(10.0, 20.0)) -> dict[str, int]:
    """How many particles or tracksters each rate counts, of two photons of 10 and 20 GeV."""
    found = counts(*score(score_table(associations, n_tracksters, list(deposited), list(energies)), FACE))
    return {name: one.passed for name, one in found.items()}


def one(shared=9.0, reco_to_sim=0.0, sim_to_reco=0.1, trackster=0, particle=0):
    return trackster, particle, reco_to_sim, sim_to_reco, shared


LIMITS = {  # rate: how the association looks for a number, then numbers on the side that counts, and on the other
    "efficiency": (lambda v: [one(shared=v)], (5.0, 5.1), (4.9, 0.0)),
    "purity": (lambda v: [one(sim_to_reco=v)], (0.0, 0.19), (0.2, 0.21, 0.39, 0.41)),
    "duplicate": (lambda v: [one(shared=5.0), one(4.0, 0.0, v, 1)], (0.19,), (0.2, 0.21, 0.39)),
    "split": (lambda v: [one(shared=8.0), one(v, 0.0, 0.9, 1)], (1.0, 1.1), (0.99, 0.5)),
    "fake": (lambda v: [one(), one(5.0, v, 0.3, 1, 1)], (0.6, 0.61), (0.59, 0.41, 0.39)),
    "merge": (lambda v: [one(9.0, 0.1), one(5.0, v, 0.3, 0, 1)], (0.59, 0.41), (0.6, 0.61)),
}


@pytest.mark.parametrize("rate", LIMITS)
def test_each_limit_counts_on_its_side(rate):
    make, inside, outside = LIMITS[rate]
    assert [passed(make(value))[rate] for value in inside] == [1] * len(inside)
    assert [passed(make(value))[rate] for value in outside] == [0] * len(outside)


@pytest.mark.parametrize(
    ("energy", "share", "counted"),
    [(5.1, 1.0, True), (4.9, 1.0, False), (10.0, 0.71, True), (10.0, 0.69, False), (10.0, 1.0, True)],
)
def test_particles_count_above_5_gev_and_70_per_cent(energy, share, counted):
    particles, _ = score(score_table([], 0, [share * energy, 50.0], [energy, 50.0]), FACE)
    assert particles.counted.tolist() == [counted, True]


def test_one_particle_may_be_many_things_at_once():
    """Its energy in halves, both pure: efficient by one of them, twice pure, split, and one trackster too many."""
    found = passed([one(5.0, 0.0, 0.15, 0), one(4.9, 0.0, 0.18, 1)])
    own = {"efficiency": 1, "purity": 1, "duplicate": 1, "split": 1, "surplus": 1}
    assert found == dict.fromkeys(found, 0) | own


@pytest.mark.parametrize(("first", "second", "absorbed"), [(9.0, 8.9, [False, True]), (8.9, 9.0, [True, False])])
def test_absorbed_is_the_one_of_less_energy_in_a_shared_trackster(first, second, absorbed):
    table = score_table([one(first), one(second, particle=1)], 1, [10.0, 20.0], [10.0, 20.0])
    particles, tracksters = score(table, FACE)
    assert particles.absorbed.tolist() == absorbed and tracksters.surplus.tolist() == [False]
