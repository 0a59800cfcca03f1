"""What the fused model's choice is conditioned on, column by column, by hand."""

import numpy as np
import pytest

from gen2reco.events.schemas import IDENTITIES
from gen2reco.fuse.assignment import N_ASSIGNED, N_TAKEN, Assignment
from gen2reco.fuse.fused_config import N_CODES
from gen2reco.fuse.inputs import N_NEIGHBOURS, Features

CONFIGURATIONS = (
    {},
    {"photon": 1},
    {"electron": 0, "muon": 1},
    {"charged_hadron": 1, "tracked charged_hadron": 1, "neutral_hadron": 3},
    {"tracked electron": 1, "photon": 1},
    {"tracked muon": 1},
    {"neutral_hadron": 1},
)
"""Objects of each kind that a particle may have."""
COLUMNS = {  # of each of them: own objects, electromagnetic, hadronic, tracked ones, two at most
    0: (0, 0, 0, 0),
    1: (1, 1, 0, 0),
    2: (1, 0, 0, 0),
    3: (2, 0, 2, 1),
    4: (2, 2, 0, 1),
    5: (1, 0, 0, 1),
    6: (1, 0, 1, 0),
}


def codes() -> np.ndarray:
    """(n_configurations, N_CODES): a code is an identity, or beyond those one with the particle's track."""
    table = np.zeros((len(CONFIGURATIONS), N_CODES), np.float32)
    for row, objects in zip(table, CONFIGURATIONS):
        for name, number in objects.items():
            tracked = name.startswith("tracked ")
            row[IDENTITIES.index(name.removeprefix("tracked ")) + tracked * len(IDENTITIES)] += number
    return table


ENERGY = np.array([10.0, 40.0, 5.0, 20.0])
NEIGHBOURS = np.full((4, N_NEIGHBOURS), -1, np.int32)
NEIGHBOURS[0, :3], NEIGHBOURS[1, :2], NEIGHBOURS[2, :1], NEIGHBOURS[3, :2] = [3, 1, 2], [0, 3], [0], [1, 0]
CROWD = Assignment(ENERGY, NEIGHBOURS, codes())
INPUTS = Features(
    np.arange(12, dtype=np.float32).reshape(4, 3),
    100 + np.arange(4 * N_NEIGHBOURS * 2, dtype=np.float32).reshape(4, N_NEIGHBOURS, 2),
    NEIGHBOURS,
    np.zeros(4),
)
BY = len(CONFIGURATIONS)
"""Beyond the configurations: taken by the object of the first neighbour, of the second ..."""


def of(particle: int, assigned: list[int], earlier: bool) -> tuple[np.ndarray, np.ndarray]:
    """Own and neighbours' columns of one particle, those of its inputs checked and left out."""
    own, pair = CROWD.features(INPUTS, np.array(assigned), np.array([particle]), earlier)
    assert own[0, :-N_TAKEN].tolist() == INPUTS.own[particle].tolist()
    assert pair[0, :, N_ASSIGNED:].tolist() == INPUTS.pair[particle].tolist()
    return own[0, -N_TAKEN:], pair[0, :, :N_ASSIGNED]


@pytest.mark.parametrize("configuration", COLUMNS)
def test_columns_of_a_neighbours_own_objects(configuration):
    """Of particle 0: its first neighbour (3) and second (1) are harder, its third (2) softer."""
    _, pair = of(0, [0, configuration, 0, 0], earlier=False)
    assert pair[1].tolist() == [1, *COLUMNS[configuration], 0, 0]
    assert pair[0].tolist() == pair[2].tolist() == [1, *COLUMNS[0], 0, 0]
    assert (pair[3:] == 0).all(), "no neighbour, nothing known"


@pytest.mark.parametrize("earlier", [False, True])
def test_only_harder_neighbours_are_known_when_a_particle_is_decided(earlier):
    _, pair = of(0, [1, 2, 3, 4], earlier)
    assert pair[0].tolist() == [1, *COLUMNS[4], 0, 0] and pair[1].tolist() == [1, *COLUMNS[2], 0, 0]
    assert pair[2].tolist() == ([0] * 7 if earlier else [1, *COLUMNS[3], 0, 0])


def test_taken_by_another_and_taken_by_this_particle():
    """Particle 3 goes to 1, its first neighbour; particle 2 to 0: of 0, one is taken by another, one by itself."""
    _, pair = of(0, [1, 1, BY, BY], earlier=False)
    assert pair[0].tolist() == [1, 0, 0, 0, 0, 1, 0]
    assert pair[2].tolist() == [1, 0, 0, 0, 0, 1, 1]
    assert CROWD.taker(np.array([1, 1, BY, BY])).tolist() == [-1, -1, 0, 1]
    assert CROWD.taker(np.array([BY + 1, 0, BY, BY + 1])).tolist() == [1, -1, 0, 0]


@pytest.mark.parametrize(
    ("assigned", "earlier", "number", "energy"),
    [
        ([1, 1, BY, BY + 1], False, 2, 25.0),
        ([1, 1, BY, BY + 1], True, 1, 20.0),
        ([1, 1, BY, BY], False, 1, 5.0),
        ([1, 1, BY, BY], True, 0, 0.0),
        ([1, 1, 1, 1], False, 0, 0.0),
    ],
)
def test_what_a_particles_objects_take(assigned, earlier, number, energy):
    """Of particle 0, 10 GeV: number and share of the energies of those that its objects took, harder ones alone."""
    own, _ = of(0, assigned, earlier)
    assert own == pytest.approx([np.log1p(number), np.log1p(energy / 10.0)])


def test_energies_of_those_taken_go_to_the_end_of_the_chain():
    assert CROWD.groups(np.array([1, 1, BY, BY])).tolist() == [15.0, 60.0, 0.0, 0.0]
    assert CROWD.groups(np.array([BY + 1, 1, BY, BY])).tolist() == [0.0, 75.0, 0.0, 0.0]


def test_particles_are_decided_by_falling_energy():
    assert CROWD.order.tolist() == [1, 3, 0, 2] and CROWD.rank.tolist() == [2, 0, 3, 1]
    tied = Assignment(np.array([3.0, 3.0, 9.0]), NEIGHBOURS[:3], codes())
    assert tied.order.tolist() == [2, 0, 1]
