"""What the calibration network sees of each candidate: named features, its layer clusters as points, its track.

Energies are in GeV, lengths in mm, depths in interaction lengths before the scaling stated at each name. Raise
`VERSION` when the meaning of any column changes: weights are pinned to it.
"""

from dataclasses import dataclass
from functools import cached_property

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from gen2reco.calibrate.candidates import Candidates, flat_index
from gen2reco.calibrate.objects import Summary, take
from gen2reco.events.geometry import Geometry

VERSION = "calibration-features/1"
LOG_WEIGHT = 4.0
"""w_i = max(0, LOG_WEIGHT + ln(E_i / E)): weights of the barycentre (Awes et al., NIM A311 (1992) 130)."""
DENSITIES = (2.0, 5.0, 12.0, 30.0, 80.0)
"""MIP per cell; the share of the energy above each tells electromagnetic from hadronic parts of a shower."""
QUANTILES = (0.1, 0.5, 0.9)
NEAR = (100.0, 200.0)
"""mm on the face; the energy of other candidates within each is a feature."""
LEAK_LAYERS = 4

POINT_NAMES = (
    "layer",  # over the number of layers
    "depth",  # interaction lengths / 10
    "log_energy",  # ln E
    "log_share",  # ln(E / energy of the candidate)
    "log_density",  # ln(MIP per cell)
    "log_size",  # ln(cells)
    "radius",  # ln(1 + distance from the axis / 10 mm)
    "timed",  # 1 where there is a time
    "time",  # ns, within 0 ... 5
    "loose",  # 1 where no trackster used it
)
TRACK_NAMES = (
    "has_track",
    "log_momentum",  # ln(1 + p)
    "log_energy_over_momentum",  # ln(E/p), within -5 ... 3
    "log_em_energy_over_momentum",
    "track_distance",  # ln(1 + distance of the barycentre from the track's line / 10 mm)
)


def names(geometry: Geometry) -> tuple[str, ...]:
    """Names of the columns of `Inputs.calorimeter`."""
    return (
        "log_energy",  # ln of the sum of layer-cluster energies
        *(f"share_{layer}" for layer in range(1, geometry.n_layers + 1)),  # of the energy, by layer
        "em_share",
        "leak_share",  # in the last LEAK_LAYERS layers
        "loose_share",  # in clusters that no trackster used
        "depth_mean",
        "depth_std",
        "first_depth",
        "last_depth",
        *(f"depth_{int(100 * q)}" for q in QUANTILES),  # where that part of the energy is in front
        "radius_em",  # energy-weighted distance from the axis in each section, ln(1 + r / 10 mm)
        "radius_had",
        "radius_std",
        *(f"dense_{int(d)}" for d in DENSITIES),
        "log_clusters",
        "log_cells",
        "largest_share",  # of the largest layer cluster
        "log_tracksters",
        "leading_share",  # of the leading trackster
        "timed_share",
        "time_mean",
        "time_std",
        *(f"near_{int(r)}" for r in NEAR),  # ln(1 + energy of other candidates within / energy)
        "abs_eta",
        "eigenvalue_ratio_2",
        "eigenvalue_ratio_3",
        "axis_cosine",  # between the leading trackster's axis and the direction from the origin
    )


@dataclass(frozen=True)
class Inputs:
    """Network inputs of n candidates with m points in all, those of a candidate together, in falling energy."""

    calorimeter: NDArray[np.float32]
    """(n, len(names(geometry)))"""
    track: NDArray[np.float32]
    """(n, len(TRACK_NAMES))"""
    points: NDArray[np.float32]
    """(m, len(POINT_NAMES))"""
    place: NDArray[np.float32]
    """(m, 2): x and y on the plane of the face from the barycentre, mm."""
    offsets: NDArray[np.int64]
    """(n + 1,): the points of candidate i are offsets[i] ... offsets[i + 1] - 1."""
    centre: NDArray[np.float64]
    """(n, 3): log-weighted barycentre on the plane of the face, mm; of the track where there are no points."""

    def __len__(self) -> int:
        return len(self.calorimeter)


@dataclass(frozen=True)
class _Points:
    """The layer clusters that belong to candidates, sorted by candidate and falling energy."""

    owner: NDArray[np.int64]
    layer: NDArray[np.int64]
    position: NDArray[np.float64]
    energy: NDArray[np.float64]
    size: NDArray[np.float64]
    time: NDArray[np.float64]
    loose: NDArray[np.bool_]
    n: int

    def total(self, values: NDArray) -> NDArray[np.float64]:
        """Sum of values (m,) over the points of each candidate: (n,)."""
        return np.bincount(self.owner, values, self.n)

    @cached_property
    def sum(self) -> NDArray[np.float64]:
        """Energy of each candidate, 1 where it has none."""
        total = self.total(self.energy)
        return np.where(total > 0, total, 1.0)

    @cached_property
    def share(self) -> NDArray[np.float64]:
        """Each point's part of its candidate's energy."""
        return self.energy / self.sum[self.owner]

    def mean(self, values: NDArray) -> NDArray[np.float64]:
        """Energy-weighted mean of values over the points of each candidate, 0 where it has none."""
        return self.total(self.share * values)

    def std(self, values: NDArray) -> NDArray[np.float64]:
        """Energy-weighted standard deviation."""
        return np.sqrt(self.mean((values - self.mean(values)[self.owner]) ** 2))

    @cached_property
    def offsets(self) -> NDArray[np.int64]:
        """First point of each candidate, and the end: (n + 1,)."""
        return np.concatenate([[0], np.cumsum(np.bincount(self.owner, minlength=self.n))])


def make_inputs(events: ak.Array, candidates: Candidates, plain: Summary, geometry: Geometry) -> Inputs:
    """Features, points and track of every candidate of `clusters` events."""
    points = _points(events, candidates)
    face = geometry.detector.front_face
    track_names = ("x", "y", "z", "px", "py", "pz")
    track = take(events.tracks, candidates.track, candidates.event, track_names)
    projected = points.position[:, :2] * (face / np.abs(points.position[:, 2:]))
    side = np.sign(np.where(points.total(points.energy) > 0, points.mean(points.position[:, 2]), track["z"]))
    weight = np.maximum(0.0, LOG_WEIGHT + np.log(np.maximum(points.share, 1e-9)))
    norm = points.total(weight)
    centre = np.stack([points.total(weight * projected[:, i]) / np.where(norm > 0, norm, 1.0) for i in (0, 1)], axis=1)
    centre = np.where((norm > 0)[:, None], centre, np.stack([track["x"], track["y"]], axis=1))
    place = projected - centre[points.owner]
    radius = np.hypot(place[:, 0], place[:, 1]) * np.abs(points.position[:, 2]) / face
    centre = np.column_stack([centre, np.where(side == 0, 1.0, side) * face])
    density = points.energy / geometry.gev_per_mip[points.layer - 1] / np.maximum(points.size, 1.0)
    return Inputs(
        _calorimeter(events, candidates, points, radius, density, centre, geometry).astype(np.float32),
        _track(candidates, plain, track, points, centre).astype(np.float32),
        _point_columns(points, radius, density, geometry).astype(np.float32),
        place.astype(np.float32),
        points.offsets,
        centre,
    )


def _points(events: ak.Array, candidates: Candidates) -> _Points:
    clusters = ak.flatten(events.layer_clusters)
    energy = ak.to_numpy(clusters.energy).astype(np.float64)
    order = np.lexsort((-energy, candidates.of_cluster))
    order = order[np.searchsorted(candidates.of_cluster[order], 0) :]
    column = {name: ak.to_numpy(clusters[name])[order] for name in ("x", "y", "z", "size", "time", "layer")}
    return _Points(
        candidates.of_cluster[order],
        column["layer"].astype(np.int64),
        np.stack([column[name].astype(np.float64) for name in ("x", "y", "z")], axis=1),
        energy[order],
        column["size"].astype(np.float64),
        column["time"].astype(np.float64),
        ak.to_numpy(ak.flatten(events.cluster_trackster))[order] < 0,
        len(candidates),
    )


def _calorimeter(
    events: ak.Array,
    candidates: Candidates,
    points: _Points,
    radius: NDArray,
    density: NDArray,
    centre: NDArray,
    geometry: Geometry,
) -> NDArray[np.float64]:
    """The columns of `names(geometry)`."""
    n, n_layers = points.n, geometry.n_layers
    by_layer = np.bincount(points.owner * n_layers + points.layer - 1, points.share, n * n_layers).reshape(n, n_layers)
    depth = geometry.depth_lambda[points.layer - 1]
    hit = by_layer > 0
    first, last = np.argmax(hit, axis=1), n_layers - 1 - np.argmax(hit[:, ::-1], axis=1)
    em = geometry.electromagnetic
    em_share = by_layer[:, em].sum(axis=1)
    cumulative = np.cumsum(by_layer, axis=1)
    in_em = em[points.layer - 1]
    timed = points.time > -0.5
    timed_share = points.mean(timed)
    late = np.clip(points.time, 0.0, 5.0) * timed
    time_mean = points.mean(late) / np.maximum(timed_share, 1e-6)
    per_time = np.where(timed_share > 0, timed_share, 1.0)
    time_std = np.sqrt(points.mean(timed * (late - time_mean[points.owner]) ** 2) / per_time)
    counts = np.diff(points.offsets)
    largest = np.append(points.share, 0.0)[np.where(counts > 0, points.offsets[:-1], -1)]
    columns = [
        np.log(points.sum),
        *by_layer.T,
        em_share,
        by_layer[:, -LEAK_LAYERS:].sum(axis=1),
        points.mean(points.loose),
        points.mean(depth),
        points.std(depth),
        geometry.depth_lambda[first],
        geometry.depth_lambda[last],
        *(geometry.depth_lambda[np.minimum((cumulative < q).sum(axis=1), n_layers - 1)] for q in QUANTILES),
        np.log1p(points.mean(radius * in_em) / np.maximum(em_share, 1e-6) / 10),
        np.log1p(points.mean(radius * ~in_em) / np.maximum(1 - em_share, 1e-6) / 10 * (em_share < 1)),
        np.log1p(points.std(radius) / 10),
        *(points.mean(density > d) for d in DENSITIES),
        np.log1p(counts),
        np.log1p(points.total(points.size)),
        largest,
        np.log1p(np.bincount(candidates.of_trackster, minlength=n)),
        take(events.tracksters, candidates.trackster, candidates.event, ("energy",))["energy"] / points.sum,
        timed_share,
        time_mean,
        time_std,
        *_neighbours(candidates.event, centre, points),
        np.arcsinh(np.abs(centre[:, 2]) / np.maximum(np.hypot(centre[:, 0], centre[:, 1]), 1.0)),
        *_shape(events, candidates),
    ]
    return np.stack(columns, axis=1)


def _neighbours(event: NDArray, centre: NDArray, points: _Points) -> list[NDArray[np.float64]]:
    """ln(1 + energy of other candidates within each distance of `NEAR` / own energy)."""
    from scipy.spatial import cKDTree

    if not points.n:
        return [np.zeros(0) for _ in NEAR]
    energy = points.total(points.energy)
    at = np.column_stack([(2 * event + (centre[:, 2] > 0)) * 1.0e5, centre[:, :2]])
    pairs = cKDTree(at).query_pairs(max(NEAR), output_type="ndarray")
    distance = np.linalg.norm(at[pairs[:, 0], 1:] - at[pairs[:, 1], 1:], axis=1)
    sums = []
    for reach in NEAR:
        a, b = pairs[distance <= reach].T
        other = np.bincount(a, energy[b], points.n) + np.bincount(b, energy[a], points.n)
        sums.append(np.log1p(np.minimum(other / points.sum, 1e3)))
    return sums


def _shape(events: ak.Array, candidates: Candidates) -> list[NDArray[np.float64]]:
    """Ratios of the leading trackster's eigenvalues to the largest, and how well its axis points to the origin."""
    wanted = ("eigenvalue_1", "eigenvalue_2", "eigenvalue_3", "axis_x", "axis_y", "axis_z", "x", "y", "z")
    t = take(events.tracksters, candidates.trackster, candidates.event, wanted)
    values = np.sort(np.stack([np.maximum(t[f"eigenvalue_{i}"], 0.0) for i in (1, 2, 3)]), axis=0)
    largest = np.where(values[2] > 0, values[2], 1.0)
    axis, at = (np.stack([t[p + c] for c in "xyz"]) for p in ("axis_", ""))
    norm = np.linalg.norm(axis, axis=0) * np.linalg.norm(at, axis=0)
    cosine = np.abs((axis * at).sum(axis=0)) / np.where(norm > 0, norm, 1.0)
    return [values[1] / largest, values[0] / largest, np.minimum(cosine, 1.0)]


def _track(
    candidates: Candidates, plain: Summary, track: dict, points: _Points, centre: NDArray
) -> NDArray[np.float64]:
    """The columns of `TRACK_NAMES`, zeros where there is no track."""
    has = candidates.track >= 0
    momentum = np.where(has, plain.momentum, 1.0)
    mean = np.stack([points.mean(points.position[:, i]) for i in range(3)])
    seen = has & (points.total(points.energy) > 0)
    step = (mean[2] - track["z"]) / np.where(has, track["pz"], 1.0)
    off = np.hypot(mean[0] - track["x"] - step * track["px"], mean[1] - track["y"] - step * track["py"])
    columns = [
        np.ones(len(has)),
        np.log1p(momentum),
        np.clip(np.log(np.maximum(plain.energy, 1e-6) / momentum), -5.0, 3.0),
        np.clip(np.log(np.maximum(plain.em_energy, 1e-6) / momentum), -5.0, 3.0),
        np.log1p(np.where(seen, off, 0.0) / 10),
    ]
    return np.stack(columns, axis=1) * has[:, None]


def _point_columns(points: _Points, radius: NDArray, density: NDArray, geometry: Geometry) -> NDArray[np.float64]:
    """The columns of `POINT_NAMES`."""
    timed = points.time > -0.5
    columns = [
        points.layer / geometry.n_layers,
        geometry.depth_lambda[points.layer - 1] / 10,
        np.log(np.maximum(points.energy, 1e-6)),
        np.log(np.maximum(points.share, 1e-6)),
        np.log(np.maximum(density, 1e-3)),
        np.log(np.maximum(points.size, 1.0)),
        np.log1p(radius / 10),
        timed,
        np.clip(points.time, 0.0, 5.0) * timed,
        points.loose,
    ]
    return np.stack(columns, axis=1)


__all__ = ["POINT_NAMES", "TRACK_NAMES", "VERSION", "Inputs", "flat_index", "make_inputs", "names"]
