"""Linking measures only pairs that lie near each other; the choice is that of measuring all."""

import numpy as np
import pytest

from gen2reco.cluster import linking
from gen2reco.config.clustering import Linking


def fragments(n: int, seed: int) -> dict[str, np.ndarray]:
    """Fragments of two events and both endcaps, crowded so that each has several leaders within reach."""
    rng = np.random.default_rng(seed)
    side = rng.choice([-1.0, 1.0], n)
    energy = rng.exponential(10.0, n)
    return {
        "event": rng.integers(0, 2, n),
        **{name: rng.normal(0.0, 300.0, n) for name in "xy"},
        "z": side * rng.uniform(3200.0, 5000.0, n),
        "energy": np.round(energy, 1),
        "energy_em": energy * rng.uniform(0.8, 1.0, n),
        "sigma_r": rng.uniform(10.0, 60.0, n),
        "first_layer": rng.integers(1, 30, n),
        "tracked": rng.random(n) < 0.2,
        **{f"axis_{name}": rng.normal(0.0, 0.2, n) for name in "xy"},
        "axis_z": np.where(rng.random(n) < 0.05, 0.0, side),
    }


@pytest.mark.parametrize("reach", [linking._close, linking._reach])
def test_leaders_are_those_of_all_pairs(reach):
    shape, config = fragments(300, 1), Linking()
    found = linking._leaders(shape, reach, config)
    rank = np.argsort(np.lexsort((-shape["energy"], shape["event"] * 2 + (shape["z"] > 0))))
    expected = np.full(300, -1)
    for i in range(300):
        others = np.flatnonzero(
            (shape["event"] == shape["event"][i]) & (shape["z"] * shape["z"][i] > 0) & (rank < rank[i])
        )
        others = others[np.argsort(rank[others])]
        one = np.full(len(others), i)
        score = linking._distance(shape, one, others) / np.maximum(reach(shape, one, others, config), 1e-9)
        if len(score) and score.min() < 1.0:
            expected[i] = others[score.argmin()]
    assert (found == expected).all() and 50 < (found >= 0).sum() < 300
