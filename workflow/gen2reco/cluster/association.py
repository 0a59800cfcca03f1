"""TICL's association of tracksters and particles, from the energy that each particle left in each layer cluster.

Scores are sums over layer clusters, with E the energy of one and f the share of it that belongs to the object; hits in
no layer cluster count as layer clusters of their own, so what clustering lost is in the particle's denominator.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Shares:
    """Energy per (cell of the score, particle): a cell is a layer cluster, or a hit that is in none."""

    cell: NDArray[np.int64]
    """(n_shares,) 0..n_clusters-1 are layer clusters, those beyond single hits."""
    particle: NDArray[np.int64]
    """(n_shares,) number of the particle in the run of events."""
    energy: NDArray[np.float64]
    """(n_shares,) energy that the particle left there, GeV."""
    total: NDArray[np.float64]
    """(n_cells,) measured energy."""


@dataclass(frozen=True)
class Associations:
    """One entry a (trackster, particle) pair that shares energy, sorted by both, numbered over the run of events."""

    trackster: NDArray[np.int64]
    particle: NDArray[np.int64]
    reco_to_sim: NDArray[np.float64]
    """sum E^2 max(0, f_reco - f_sim)^2 / sum E^2 f_reco^2 over the trackster: 0 if all of it is the particle's."""
    sim_to_reco: NDArray[np.float64]
    """The same over the particle's energy, f_reco and f_sim exchanged: 0 if all of it is in the trackster."""
    shared_energy: NDArray[np.float64]
    """Energy of the particle in the trackster, GeV."""


def energy_shares(
    hit_label: NDArray, hit_energy: NDArray, cluster_energy: NDArray, hit: NDArray, particle: NDArray, energy: NDArray
) -> Shares:
    """From contributions (hit, particle, energy) to shares; `hit_label` is each hit's layer cluster or -1."""
    n = len(cluster_energy)
    alone = hit_label < 0
    cell_of_hit = np.where(alone, n + np.cumsum(alone) - 1, hit_label)
    total = np.concatenate([cluster_energy, hit_energy[alone]]).astype(np.float64)
    width = int(particle.max(initial=0)) + 1
    pair, inverse = np.unique(cell_of_hit[hit] * width + particle, return_inverse=True)
    shared = np.bincount(inverse, energy, len(pair)).astype(np.float64, copy=False)
    return Shares(pair // width, pair % width, shared, total)


def associate(cell_label: NDArray, shares: Shares) -> Associations:
    """Scores of all pairs; `cell_label` is the trackster of each layer cluster, -1 for none: (n_clusters,)."""
    label = np.concatenate([cell_label, np.full(len(shares.total) - len(cell_label), -1)])
    energy = shares.total[shares.cell]
    fraction = np.clip(shares.energy / np.where(energy > 0, energy, 1.0), 0.0, 1.0)
    particle_norm = np.bincount(shares.particle, (energy * fraction) ** 2)
    reco = np.bincount(label[label >= 0], shares.total[label >= 0] ** 2)
    inside = label[shares.cell] >= 0
    trackster, particle = label[shares.cell[inside]], shares.particle[inside]
    energy, fraction = energy[inside], fraction[inside]
    width = int(particle.max(initial=0)) + 1
    pair, inverse = np.unique(trackster * width + particle, return_inverse=True)
    trackster, particle = pair // width, pair % width
    covered = np.bincount(inverse, energy**2 * (1.0 - (1.0 - fraction) ** 2), len(pair))
    found = np.bincount(inverse, (energy * fraction) ** 2, len(pair))
    return Associations(
        trackster=trackster,
        particle=particle,
        reco_to_sim=_ratio_left(covered, reco[trackster] if len(pair) else covered),
        sim_to_reco=_ratio_left(found, particle_norm[particle] if len(pair) else found),
        shared_energy=np.bincount(inverse, shares.energy[inside], len(pair)).astype(np.float64, copy=False),
    )


def _ratio_left(part: NDArray, whole: NDArray) -> NDArray[np.float64]:
    return np.clip(1.0 - part / np.where(whole > 0, whole, 1.0), 0.0, 1.0)
