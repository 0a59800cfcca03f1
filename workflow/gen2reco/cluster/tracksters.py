"""What is known of each trackster: energy, barycentre, principal axes, time and the shape variables of the record.

`energy`: sum over its layer clusters, GeV. `x y z`: energy-weighted barycentre, mm; `eta phi` its direction from the
origin. `time`: energy-weighted mean of the layer clusters that have one, else -1. `eigenvalue_1..3`: of the
energy-weighted covariance of the positions, largest first, mm²; `axis_*`: unit vector of the first, pointing away
from the origin, or the barycentre's direction where fewer than three layer clusters make no axis. `sigma_r`:
energy-weighted root mean square distance from the line through the origin and the barycentre, mm. `sigma_z`: that of z,
mm. `energy_em`, `energy_had`: energy in electromagnetic and hadronic layers, GeV. `first_layer`, `last_layer`,
`shower_max` (the layer of most energy) and `n_layer_clusters` are counts kept as float32.
"""

import numpy as np
from numpy.typing import NDArray

from gen2reco.cluster.layers import NO_TIME, LayerClusters
from gen2reco.events.geometry import Geometry


def measure(clusters: LayerClusters, label: NDArray, n: int, geometry: Geometry) -> dict[str, NDArray]:
    """Properties of the tracksters 0..n-1 by their record names, and `event`: arrays (n,).

    label: (n_clusters,) the trackster of each layer cluster, -1 for none; every trackster has at least one.
    """
    mine = label >= 0
    of, own = label[mine], clusters.take(mine)
    weight = own.energy
    energy = np.bincount(of, weight, n)
    position = np.column_stack([own.x, own.y, own.z])
    centre = np.column_stack([np.bincount(of, weight * position[:, a], n) / energy for a in range(3)])
    radius = np.linalg.norm(centre, axis=1)
    pointing = centre / radius[:, None]
    values, axis = _principal(of, position - centre[of], weight, n, pointing)
    offset = position - (position * pointing[of]).sum(axis=1)[:, None] * pointing[of]
    timed = weight * (own.time != NO_TIME)
    norm = np.bincount(of, timed, n)
    per_layer = energy_per_layer(clusters, label, n, geometry.n_layers)
    event = np.zeros(n, np.int64)
    event[of] = own.event
    first, last = np.full(n, geometry.n_layers + 1), np.zeros(n, np.int64)
    np.minimum.at(first, of, own.layer)
    np.maximum.at(last, of, own.layer)
    return {
        "event": event,
        "energy": energy,
        "x": centre[:, 0],
        "y": centre[:, 1],
        "z": centre[:, 2],
        "eta": np.arcsinh(centre[:, 2] / np.maximum(np.hypot(centre[:, 0], centre[:, 1]), 1e-9)),
        "phi": np.arctan2(centre[:, 1], centre[:, 0]),
        "time": np.where(norm > 0, np.bincount(of, timed * own.time, n) / np.where(norm > 0, norm, 1.0), NO_TIME),
        "sigma_r": np.sqrt(np.bincount(of, weight * (offset**2).sum(axis=1), n) / energy),
        "sigma_z": np.sqrt(np.bincount(of, weight * (own.z - centre[of, 2]) ** 2, n) / energy),
        "eigenvalue_1": values[:, 0],
        "eigenvalue_2": values[:, 1],
        "eigenvalue_3": values[:, 2],
        "axis_x": axis[:, 0],
        "axis_y": axis[:, 1],
        "axis_z": axis[:, 2],
        "energy_em": per_layer[:, geometry.electromagnetic].sum(axis=1),
        "energy_had": per_layer[:, ~geometry.electromagnetic].sum(axis=1),
        "first_layer": first,
        "last_layer": last,
        "shower_max": per_layer.argmax(axis=1) + 1,
        "n_layer_clusters": np.bincount(of, minlength=n),
    }


def energy_per_layer(clusters: LayerClusters, label: NDArray, n: int, n_layers: int) -> NDArray[np.float64]:
    """Energy of each trackster in each layer, GeV: (n, n_layers), layer 1 first."""
    mine = label >= 0
    flat = label[mine] * n_layers + clusters.layer[mine] - 1
    return np.bincount(flat, clusters.energy[mine], n * n_layers).reshape(n, n_layers)


def _principal(
    of: NDArray, offset: NDArray, weight: NDArray, n: int, pointing: NDArray
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Eigenvalues (n, 3), largest first, of the weighted covariance, and the first axis (n, 3), turned outwards."""
    norm = np.bincount(of, weight, n)
    covariance = np.empty((n, 3, 3))
    for a in range(3):
        for b in range(a, 3):
            covariance[:, a, b] = np.bincount(of, weight * offset[:, a] * offset[:, b], n) / norm
            covariance[:, b, a] = covariance[:, a, b]
    values, vectors = np.linalg.eigh(covariance)
    axis = vectors[:, :, 2]
    axis = np.where((axis * pointing).sum(axis=1)[:, None] < 0, -axis, axis)
    few = np.bincount(of, minlength=n) < 3
    return np.maximum(values[:, ::-1], 0.0), np.where(few[:, None], pointing, axis)
