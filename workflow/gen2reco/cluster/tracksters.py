"""Properties of each trackster: energy, barycentre, principal axes, time and the shape variables of the record.

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

from gen2reco.cluster.layers import LayerClusters
from gen2reco.detector.geometry import Geometry
from gen2reco.events.schemas import NO_TIME


def measure(
    clusters: LayerClusters, label: NDArray, n: int, geometry: Geometry, axes: bool = True
) -> dict[str, NDArray]:
    """Properties of the tracksters 0..n-1 by their record names, and `event`: arrays (n,).

    label: (n_clusters,) the trackster of each layer cluster, -1 for none; every trackster has at least one. The
    principal axes are left out if not `axes`.
    """
    from gen2reco.cluster.compiled_kernels import load

    label = np.ascontiguousarray(label, np.int64)
    per_layer, sums = np.zeros((n, geometry.n_layers)), np.zeros((n, 13))
    counts = np.zeros((n, 3), np.int64)
    counts[:, 1] = geometry.n_layers + 1
    c = clusters
    load("shapes").accumulate(label, c.layer, c.x, c.y, c.z, c.energy, c.time, per_layer, sums, counts)
    energy, centre, timed = sums[:, 0], sums[:, 1:4], sums[:, 5]
    event = np.zeros(n, np.int64)
    event[label[label >= 0]] = c.event[label >= 0]
    values = {
        "event": event,
        "energy": energy,
        **{axis: centre[:, k] for k, axis in enumerate("xyz")},
        "eta": np.arcsinh(centre[:, 2] / np.maximum(np.hypot(centre[:, 0], centre[:, 1]), 1e-9)),
        "phi": np.arctan2(centre[:, 1], centre[:, 0]),
        "time": np.where(timed > 0, sums[:, 4] / np.where(timed > 0, timed, 1.0), NO_TIME),
        "sigma_r": np.sqrt(sums[:, 12]),
        "sigma_z": np.sqrt(sums[:, 11]),
        "energy_em": per_layer[:, geometry.electromagnetic].sum(axis=1),
        "energy_had": per_layer[:, ~geometry.electromagnetic].sum(axis=1),
        "first_layer": counts[:, 1],
        "last_layer": counts[:, 2],
        "shower_max": per_layer.argmax(axis=1) + 1,
        "n_layer_clusters": counts[:, 0],
    }
    return {**values, **_principal(sums[:, 6:12], centre, counts[:, 0])} if axes else values


def _principal(covariance: NDArray, centre: NDArray, size: NDArray) -> dict[str, NDArray]:
    """Eigenvalues, largest first, and the first axis turned outwards, of (n, 6) covariances xx, xy, xz, yy, yz, zz."""
    values, vectors = np.linalg.eigh(covariance[:, [0, 1, 2, 1, 3, 4, 2, 4, 5]].reshape(-1, 3, 3))
    pointing = centre / np.linalg.norm(centre, axis=1)[:, None]
    axis = vectors[:, :, 2]
    axis = np.where((axis * pointing).sum(axis=1)[:, None] < 0, -axis, axis)
    axis = np.where((size < 3)[:, None], pointing, axis)
    found = {f"eigenvalue_{k + 1}": np.maximum(values[:, 2 - k], 0.0) for k in range(3)}
    return found | {f"axis_{name}": axis[:, k] for k, name in enumerate("xyz")}
