"""Files of showers against each other with the metrics of CaloChallenge (arXiv:2410.21611), whatever made them.

High-level features are those of the challenge: energy of the shower and of each layer, centre and width in x and y of
each layer, and how much of a layer is hit. Classifiers are gradient-boosted trees, not the challenge's network: their
AUCs compare with each other, not with its tables. Every number stands beside its floor, that of the reference against
itself.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gen2reco.detector.geometry import nearest_plane
from gen2reco.errors import InputError
from gen2reco.exchange.opening import open_showers
from gen2reco.exchange.point_files import PointFile
from gen2reco.exchange.voxel_binning import Binning, read_binning
from gen2reco.exchange.voxel_files import VoxelFile, check_unit, voxelise
from gen2reco.statistics import distances, frechet
from gen2reco.statistics.bootstrap import Units
from gen2reco.statistics.classifiers import two_sample_auc
from gen2reco.statistics.manifold import overlap_measured
from gen2reco.statistics.measured import Measured

STEP = 500
"""Showers that are read at once."""
MOST = 20_000
"""Showers of a file that are looked at."""
LOW = 2000
"""Showers of each file that the classifier of voxels sees."""
BINS, RESAMPLES = 40, 50
HIT, RARE = 1e-5, 0.01
"""GeV from which a cell counts as hit, and the share of showers below which a voxel is left to the sums."""
FEWEST = 200
SCALE = 100.0
"""mm of centres and widths, as in the challenge."""
_LOG_FLOOR = 1e-11
"""GeV beneath logarithms."""


@dataclass(frozen=True)
class Features:
    """Features of n showers of k layers; all but the first two (n, k). Of empty layers centres and widths are 0."""

    incident: NDArray
    """(n,) GeV."""
    response: NDArray
    """(n,)"""
    layers: NDArray
    """GeV."""
    centre_x: NDArray
    centre_y: NDArray
    width_x: NDArray
    width_y: NDArray
    hits: NDArray
    """Cells hit."""
    voxels: NDArray | None = None
    """(n, voxels) over the incident energy."""

    @property
    def high_level(self) -> NDArray[np.float32]:
        """(n, 1 + 5 k) as the classifier of the challenge takes them."""
        shapes = (self.centre_x, self.centre_y, self.width_x, self.width_y)
        columns = [np.log10(self.incident)[:, None], np.log10(self.layers + _LOG_FLOOR), *(s / SCALE for s in shapes)]
        return np.hstack(columns).astype(np.float32)

    @property
    def moments(self) -> NDArray[np.float32]:
        """(n, 9) numbers of whole showers, for distances: response, mean and width of the depth, widths and centres by
        energy, hits, and the largest layer's share."""
        total = np.maximum(self.layers.sum(1), _LOG_FLOOR)
        number = np.arange(self.layers.shape[1])
        depth = self.layers @ number / total
        spread = np.sqrt(np.maximum(self.layers @ number**2 / total - depth**2, 0.0))
        wide = [(self.layers * w).sum(1) / total / SCALE for w in (self.width_x, self.width_y)]
        off = [(self.layers * c).sum(1) / total / SCALE for c in (self.centre_x, self.centre_y)]
        most = self.layers.max(1) / total
        parts = [self.response, depth, spread, *wide, *off, np.log(self.hits.sum(1) + 1), most]
        return np.stack(parts, axis=1).astype(np.float32)


def compare(reference: Path, candidate: Path, binning: Path | None, seed: int = 1) -> list[dict]:
    """Metrics {metric, value, uncertainty, floor, showers} of two files of one kind. Raises InputError."""
    grid = None if binning is None else read_binning(binning)
    files = [open_showers(path, grid) for path in (reference, candidate)]
    planes = _planes([file for file in files if isinstance(file, PointFile)], grid)
    a, b = (_checked(_together([*_parts(file, grid, planes)]), file.path) for file in files)
    if min(len(a.incident), len(b.incident)) < FEWEST:
        raise InputError(
            f"{len(a.incident)} and {len(b.incident)} showers, expected at least {FEWEST} in each file to compare"
        )
    return [
        {"metric": name, "value": m.value, "uncertainty": m.uncertainty, "floor": m.floor, "showers": n}
        for name, m, n in _metrics(a, b, seed)
    ]


def _planes(files: list[PointFile], grid: Binning | None) -> NDArray[np.float64]:
    """Depths of the layers, mm: as files of points state them, else all at which they have points. Raises InputError
    where they cannot be those of the binning."""
    stated = [file.planes for file in files if file.planes is not None]
    if stated:
        found = stated[0]
        if any(len(other) != len(found) or not np.allclose(other, found) for other in stated):
            raise InputError(
                f"{files[1].path}: layers at other depths than in {files[0].path}; showers of two geometries"
            )
    else:
        depths = (np.round(file.read(some).points[:, 2], 1) for file in files for some in _steps(len(file)))
        found = np.unique(np.concatenate([np.zeros(0), *depths]))
    if files and grid is not None and len(found) != grid.n_layers:
        raise InputError(
            f"{files[0].path}: points at {len(found)} depths, the binning has {grid.n_layers} layers; give another one"
        )
    return found


def _parts(file: PointFile | VoxelFile, grid: Binning | None, planes: NDArray) -> Iterator[Features]:
    for some in _steps(len(file)):
        if isinstance(file, VoxelFile):
            rows = file.voxels(some)
            shower, voxel = np.nonzero(rows)
            layer, off = file.binning.layer[voxel], file.binning.centre[voxel]
            yield _features(file.energy[some], shower, layer, off, rows[shower, voxel], file.binning.n_layers, rows)
        else:
            showers = file.read(some)
            layer, energy = nearest_plane(showers.points[:, 2], planes), showers.points[:, 3].astype(np.float64)
            binned = None if grid is None else voxelise(showers, grid, planes)[0]
            given = (showers.energy, showers.owner, layer, showers.about_axis(), energy)
            yield _features(*given, len(planes), binned)


def _steps(n: int) -> Iterator[NDArray]:
    return (np.arange(start, min(start + STEP, n, MOST)) for start in range(0, min(n, MOST), STEP))


def _features(
    incident: NDArray, shower: NDArray, layer: NDArray, off: NDArray, energy: NDArray, k: int, rows: NDArray | None
) -> Features:
    n = len(incident)
    key = shower * k + layer

    def summed(weight: NDArray | None) -> NDArray:
        return np.bincount(key, weight, n * k).reshape(n, k).astype(np.float64)

    layers = summed(energy)
    safe = np.where(layers > 0, layers, 1.0)
    centres = [summed(energy * off[:, i]) / safe for i in (0, 1)]
    squares = [summed(energy * off[:, i] ** 2) / safe for i in (0, 1)]
    widths = [np.sqrt(np.maximum(s - c**2, 0.0)) for s, c in zip(squares, centres)]
    hits = summed((energy > HIT).astype(float))
    relative = None if rows is None else (rows / incident[:, None]).astype(np.float32)
    shapes = dict(zip(("centre_x", "centre_y", "width_x", "width_y"), (*centres, *widths)))
    return Features(incident, layers.sum(1) / incident, layers, **shapes, hits=hits, voxels=relative)


def _together(parts: list[Features]) -> Features:
    if not parts:
        raise InputError("a file without showers; expected some")
    names = [name for name in Features.__annotations__ if getattr(parts[0], name) is not None]
    return Features(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})


def _checked(features: Features, path: Path) -> Features:
    check_unit(features.layers, features.incident, path)
    return features


def _metrics(a: Features, b: Features, seed: int) -> Iterator[tuple[str, Measured, int]]:
    n = min(len(a.incident), len(b.incident))
    yield "separation power, E / incident E", _separation(a.response, b.response, seed), n
    for name, label in _SHAPES.items():
        found = [_separation(*pair, seed) for pair in _hit_layers(getattr(a, name), getattr(b, name))]
        if found:
            yield f"separation power, {label}, mean of {len(found)} layers", _mean(found), n
    yield "classifier AUC, high-level features", *_auc(a.high_level, b.high_level, seed, n)
    if a.voxels is not None and b.voxels is not None:
        often = ((a.voxels > 0).mean(0) > RARE) | ((b.voxels > 0).mean(0) > RARE)
        low = [
            np.hstack([np.log10(incident)[:, None], voxels[:, often]])
            for incident, voxels in ((a.incident, a.voxels), (b.incident, b.voxels))
        ]
        yield "classifier AUC, voxels", *_auc(low[0], low[1], seed, LOW)
    x, y = a.moments, b.moments
    for label, distance in (("FPD", frechet.frechet_physics_distance), ("KPD", frechet.kernel_physics_distance)):
        measured, used = frechet.with_floor(distance, x, y, seed)
        yield f"{label}, moments of the shower", measured, used
    shares, used = overlap_measured(x, y, seed=seed)
    for name, measured in shares.items():
        yield f"{name}, moments of the shower", measured, used


_SHAPES = {
    "layers": "layer energies",
    "centre_x": "centres along",
    "centre_y": "centres across",
    "width_x": "widths along",
    "width_y": "widths across",
    "hits": "hits",
}


def _hit_layers(a: NDArray, b: NDArray) -> Iterator[tuple[NDArray, NDArray]]:
    for k in range(a.shape[1]):
        if np.ptp(np.concatenate([a[:, k], b[:, k]])) > 0:
            yield a[:, k], b[:, k]


def _separation(a: NDArray, b: NDArray, seed: int) -> Measured:
    low, high = np.quantile(np.concatenate([a, b]), [0.001, 0.999])
    edges = np.linspace(low, high if high > low else low + 1.0, BINS + 1)
    first, second = (Units(x, np.ones(len(x)), at + np.arange(len(x))) for x, at in ((a, 0), (b, len(a))))
    return distances.separation_measured(first, second, edges, RESAMPLES, np.random.default_rng(seed))


def _mean(found: list[Measured]) -> Measured:
    value, error, floor, spread = (float(np.mean(column)) for column in zip(*found))
    return Measured(value, error, floor, spread)


def _auc(a: NDArray, b: NDArray, seed: int, most: int) -> tuple[Measured, int]:
    return two_sample_auc(a, b, np.arange(len(a)), len(a) + np.arange(len(b)), most=most, seed=seed)
