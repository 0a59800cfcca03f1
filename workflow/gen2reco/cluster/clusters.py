"""The result of CLUE: a label for each point."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class Clusters:
    """Labels, seeds, densities and nearest highers of points: arrays (n_points,)."""

    labels: NDArray[np.int32]
    """Cluster number from 0, seeds numbered in the order of the points; -1 for outliers and their followers."""
    is_seed: NDArray[np.bool_]
    density: NDArray[np.float32]
    """Own weight plus half the weight of the others within the density radius."""
    nearest_higher: NDArray[np.int32]
    """Index of the nearest point of higher density within the search distance, -1 if there is none."""

    @property
    def n_clusters(self) -> int:
        return int(self.labels.max(initial=-1)) + 1
