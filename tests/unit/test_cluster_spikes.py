"""Spikes: found by what lies around them, counted, left out where asked."""

import numpy as np
import pytest

from gen2reco.cluster.spikes import find_spikes
from gen2reco.detector.geometry import encode

SPIKE = (1, 9, 40, 5, 300.0)


def spikes(rows, event=None):
    """rows: side, layer, ix, iy, MIP."""
    side, layer, ix, iy, mip = np.array(rows, float).T
    event = np.zeros(len(rows), int) if event is None else np.array(event)
    return find_spikes(encode(side, layer.astype(int), ix.astype(int), iy.astype(int)), event, mip).tolist()


@pytest.mark.parametrize(
    ("other", "spike"),
    [
        ((1, 9, 41, 5, 20.0), False),  # beside it
        ((1, 10, 39, 4, 20.0), False),  # in the layer behind, across
        ((1, 8, 40, 5, 5.0), True),  # too little
        ((1, 11, 40, 5, 90.0), True),  # too deep
        ((1, 9, 42, 5, 90.0), True),  # too far
        ((-1, 9, 41, 5, 90.0), True),  # in the other endcap
    ],
)
def test_a_spike_has_next_to_nothing_around_it(other, spike):
    assert spikes([other, SPIKE]) == [False, spike]


def test_other_events_and_cells_of_few_mip_do_not_count():
    assert spikes([SPIKE, (1, 9, 41, 5, 90.0)], [0, 1]) == [True, False]
    assert spikes([(1, 9, 40, 5, 99.0)]) == [False]
    assert spikes([(1, 9, 40, 5, 1.0)] * 0 + [(1, 1, -9, -9, 500.0), (1, 47, 9, 9, 500.0)]) == [True, True]
