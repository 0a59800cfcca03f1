"""Which object or jet belongs to which true particle or jet: pairs close in direction, and the best of them."""

import numpy as np
from numpy.typing import NDArray

from gen2reco.validate.flat_lists import FlatList
from gen2reco.validate.true_particles import CHARGED, ELECTRON, MUON, FaceState, vertex_direction

Directions = tuple[NDArray, NDArray, NDArray]
"""Row (event), eta and phi of entries: each (n,)."""


def close_pairs(first: Directions, second: Directions, radius: float) -> tuple[NDArray, NDArray, NDArray]:
    """All pairs of the same row within the eta-phi distance: indices into both, and the distance."""
    from scipy.spatial import cKDTree

    points, others = (np.stack([50.0 * row, eta, phi], axis=1) for row, eta, phi in (first, second))
    if not len(points) or not len(others):
        return np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros(0)
    around = [others + np.array([0, 0, turn]) for turn in (-2 * np.pi, 0.0, 2 * np.pi)]
    pairs = cKDTree(points).sparse_distance_matrix(cKDTree(np.concatenate(around)), radius, output_type="ndarray")
    return pairs["i"], pairs["j"] % len(others), pairs["v"]


def objects_close_to(
    particles: FlatList, objects: FlatList, face: FaceState, chosen: NDArray, radius: float
) -> tuple[NDArray, NDArray]:
    """Pairs (index in `chosen`, object) within the radius of a particle's direction at the face or at its vertex.

    Objects of the calorimeter alone lie where the particle enters, those with a track along its momentum.
    """
    eta, phi = vertex_direction(particles)
    row, of_objects = particles.row[chosen], (objects.row, objects["eta"], objects["phi"])
    pairs = [
        close_pairs((row, *direction), of_objects, radius)
        for direction in ((face.eta[chosen], face.phi[chosen]), (eta[chosen], phi[chosen]))
    ]
    i, j = (np.concatenate([found[k] for found in pairs]) for k in (0, 1))
    unique = np.unique(i * max(len(objects.row), 1) + j)
    return unique // max(len(objects.row), 1), unique % max(len(objects.row), 1)


def of_the_other_charge(objects: FlatList, close: NDArray, kind: NDArray) -> NDArray[np.bool_]:
    """Which objects `close` (n,) to particles of a kind (n,) are the charged part of a trackster for neutral particles,
    or the neutral part for charged ones; objects that have their trackster to themselves are neither."""
    charged = np.isin(np.abs(objects["pdg"]), (11, 13, 211))
    trackster = objects["trackster"].astype(np.int64)
    key = np.where(trackster >= 0, objects.row * (trackster.max(initial=0) + 1) + trackster, -1)
    _, part, parts = np.unique(key, return_inverse=True, return_counts=True)
    shared = (key >= 0) & (parts[part] > 1)
    return shared[close] & (charged[close] == ~np.isin(kind, (ELECTRON, MUON, CHARGED)))


def best_partner(index: NDArray, partner: NDArray, cost: NDArray, n: int) -> NDArray[np.int64]:
    """Of each of n entries the partner of least cost among the pairs (index, partner); -1 where there is none: (n,)."""
    order = np.lexsort((cost, index))
    own, first = np.unique(index[order], return_index=True)
    best = np.full(n, -1)
    best[own] = partner[order][first]
    return best


def of_partner(values: NDArray, partner: NDArray) -> NDArray[np.float64]:
    """Values (m,) of the partners (n,), NaN where there is none."""
    return np.append(values.astype(np.float64), np.nan)[partner]
