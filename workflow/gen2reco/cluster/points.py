"""The public call of CLUE: density clustering of weighted points in two or three dimensions."""

from collections.abc import Sequence

import numpy as np
from numpy.typing import ArrayLike, NDArray

from gen2reco.cluster.clusters import Clusters
from gen2reco.errors import InputError


def clue(
    coordinates: ArrayLike,
    weights: ArrayLike,
    *,
    density_radius: float,
    min_density: float,
    outlier_distance: float | None = None,
    seeding_distance: float | None = None,
    period: Sequence[float | None] | None = None,
    device: str | None = None,
) -> Clusters:
    """Cluster weighted points by energy: CLUE, Rovere et al., Front. Big Data 3 (2020) 591315.

    coordinates: (n, 2) or (n, 3), taken as float32; weights: (n,) >= 0. Distances are in the coordinates' unit and
    default to the density radius. `period`: per axis the period of a cyclic coordinate, None for a plain one, as in
    `period=(None, 2 * math.pi)` for (eta, phi). `device`: None for the compiled CPU code, or a torch device.
    Raises InputError for shapes that do not match and for values that are not finite, negative or out of range.
    """
    points, weights = check_points(coordinates, weights)
    outlier = density_radius if outlier_distance is None else outlier_distance
    seeding = density_radius if seeding_distance is None else seeding_distance
    lengths = {"density_radius": density_radius, "outlier_distance": outlier, "seeding_distance": seeding}
    for name, value in {**lengths, "min_density": min_density}.items():
        if not np.isfinite(value) or value < 0 or (name == "density_radius" and value == 0):
            raise InputError(f"clue: `{name}` = {value}, expected a finite number above zero")
    periods = _periods(period, points.shape[1])
    if periods is not None:
        points = fold(points, periods)
    common = (points, weights, np.array([0, len(points)]), density_radius, np.array([min_density]), outlier, seeding)
    if device is not None:
        from gen2reco.cluster import torch_points

        return torch_points.clue_groups(*common, periods, device)[0]
    from gen2reco.cluster import numba_points

    return numba_points.clue_groups(*common, periods)[0]


def check_points(coordinates: ArrayLike, weights: ArrayLike) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Both as float32 arrays (n, d), (n,). Raises InputError if they do not fit each other or hold bad values."""
    try:
        points, weights = np.asarray(coordinates, np.float32), np.asarray(weights, np.float32)
    except (TypeError, ValueError) as error:
        raise InputError(f"clue: coordinates and weights must be numbers: {error}") from None
    if points.ndim != 2 or points.shape[1] not in (2, 3):
        raise InputError(f"clue: `coordinates` has shape {points.shape}, expected (n, 2) or (n, 3)")
    if weights.shape != points.shape[:1]:
        raise InputError(f"clue: `weights` has shape {weights.shape}, expected ({len(points)},) as `coordinates` has")
    if len(points) >= 2**31 - 1:
        raise InputError(f"clue: {len(points)} points, expected fewer than 2^31; split them")
    for name, bad in (("coordinates", ~np.isfinite(points).all(axis=1)), ("weights", ~np.isfinite(weights))):
        if bad.any():
            at = int(np.argmax(bad))
            value = (points if name == "coordinates" else weights)[at]
            raise InputError(f"clue: `{name}`[{at}] = {value}, expected finite numbers that fit float32")
    if (weights < 0).any():
        at = int(np.argmax(weights < 0))
        raise InputError(f"clue: `weights`[{at}] = {weights[at]}, expected a number >= 0")
    return points, weights


def fold(points: NDArray[np.float32], periods: NDArray[np.float32]) -> NDArray[np.float32]:
    """Cyclic coordinates moved into [-period/2, period/2]."""
    folded = points.copy()
    for axis, period in enumerate(periods):
        if np.isfinite(period):
            turns = np.round(points[:, axis].astype(np.float64) / period)
            half = period / np.float32(2)
            folded[:, axis] = np.clip((points[:, axis] - turns * period).astype(np.float32), -half, half)
    return folded


def _periods(period: Sequence[float | None] | None, axes: int) -> NDArray[np.float32] | None:
    if period is None:
        return None
    if len(period) != axes:
        raise InputError(f"clue: `period` has {len(period)} entries, expected one for each of {axes} coordinates")
    values = np.array([np.inf if p is None else p for p in period], np.float32)
    if not (values > 0).all():
        raise InputError(
            f"clue: `period` = {tuple(period)}, expected numbers above zero, or None for a plain coordinate"
        )
    return None if np.isinf(values).all() else values
