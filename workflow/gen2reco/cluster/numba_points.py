"""CLUE in each group of points by compiled code on the CPU."""

import numpy as np
from numpy.typing import NDArray

from gen2reco.cluster.clusters import Clusters
from gen2reco.cluster.compiled_kernels import load


def clue_groups(
    points: NDArray[np.float32],
    weights: NDArray[np.float32],
    offsets: NDArray[np.int64],
    density_radius: float,
    min_density: NDArray,
    outlier_distance: float,
    seeding_distance: float,
    periods: NDArray[np.float32] | None = None,
    method: int = 0,
) -> tuple[Clusters, NDArray[np.int32]]:
    """CLUE in each group of points offsets[g]:offsets[g + 1] with its own `min_density`; all else in common.

    Labels and nearest highers count from zero in each group. Returns them and the number of clusters per group.
    `method`: 0 chooses between tiles (1) and the tree (2); both give the same result.
    """
    n, groups = len(points), len(offsets) - 1
    density, seed = np.empty(n, np.float32), np.empty(n, np.bool_)
    higher, label, counts = np.empty(n, np.int32), np.empty(n, np.int32), np.empty(groups, np.int32)
    x, y = np.ascontiguousarray(points[:, 0]), np.ascontiguousarray(points[:, 1])
    z = np.ascontiguousarray(points[:, 2]) if points.shape[1] == 3 else None
    period = None if periods is None else tuple(np.float32(p) for p in [*periods, np.inf][:3])
    kernel = "cyclic" if period is not None else "plain" if z is None else "plain3"
    load(kernel).cluster_groups(
        x, y, z, np.ascontiguousarray(weights), np.ascontiguousarray(offsets, np.int64), np.float32(density_radius),
        np.ascontiguousarray(min_density, np.float32), np.float32(outlier_distance), np.float32(seeding_distance),
        period, method, density, higher, seed, label, counts,
    )  # fmt: skip
    return Clusters(label, seed, density, higher), counts
