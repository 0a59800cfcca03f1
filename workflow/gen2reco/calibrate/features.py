"""What the calibration network sees of each candidate: named features, its layer clusters as points, its track.

Energies are in GeV, lengths in mm, depths in interaction lengths before the scaling stated at each name. Raise
`VERSION` when the meaning of any column changes: weights are pinned to it.
"""

from dataclasses import dataclass
from functools import cached_property

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from gen2reco.calibrate.candidates import Candidates
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
    """The layer clusters that belong to candidates, sorted by candidate and falling energy; all (m,) float32."""

    owner: NDArray[np.int64]
    layer: NDArray[np.int64]
    x: NDArray[np.float32]
    y: NDArray[np.float32]
    z: NDArray[np.float32]
    energy: NDArray[np.float32]
    size: NDArray[np.float32]
    time: NDArray[np.float32]
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
    def share(self) -> NDArray[np.float32]:
        """Each point's part of its candidate's energy."""
        return self.energy / self.sum.astype(np.float32)[self.owner]

    def mean(self, values: NDArray) -> NDArray[np.float64]:
        """Energy-weighted mean of values over the points of each candidate, 0 where it has none."""
        return self.total(self.share * values)

    @cached_property
    def offsets(self) -> NDArray[np.int64]:
        """First point of each candidate, and the end: (n + 1,)."""
        return np.concatenate([[0], np.cumsum(np.bincount(self.owner, minlength=self.n))])

    @cached_property
    def timed(self) -> NDArray[np.bool_]:
        """Whether each point has a time."""
        return self.time > -0.5

    @cached_property
    def late(self) -> NDArray[np.float32]:
        """Times held within 0 ... 5 ns, 0 for none."""
        return np.clip(self.time, 0.0, 5.0) * self.timed


def make_inputs(events: ak.Array, candidates: Candidates, plain: Summary, geometry: Geometry) -> Inputs:
    """Features, points and track of every candidate of `clusters` events."""
    points = _points(events, candidates)
    face = np.float32(geometry.detector.front_face)
    track = take(events.tracks, candidates.track, candidates.event, ("x", "y", "z", "px", "py", "pz"))
    scale = face / np.abs(points.z)
    u, v = points.x * scale, points.y * scale
    weight = np.maximum(0.0, np.float32(LOG_WEIGHT) + np.log(np.maximum(points.share, 1e-9)))
    norm = points.total(weight)
    per = np.where(norm > 0, norm, 1.0)
    centre = np.stack([points.total(weight * u) / per, points.total(weight * v) / per], axis=1)
    centre = np.where((norm > 0)[:, None], centre, np.stack([track["x"], track["y"]], axis=1))
    place = np.empty((len(u), 2), np.float32)
    place[:, 0] = u - centre[:, 0].astype(np.float32)[points.owner]
    place[:, 1] = v - centre[:, 1].astype(np.float32)[points.owner]
    radius = np.sqrt(place[:, 0] ** 2 + place[:, 1] ** 2) / scale
    first = np.append(points.z, 0.0)[np.where(norm > 0, points.offsets[:-1], -1)]
    centre = np.column_stack([centre, np.sign(np.where(norm > 0, first, track["z"])) * face])
    density = points.energy / geometry.gev_per_mip.astype(np.float32)[points.layer - 1] / points.size
    calorimeter, mean_depth = _calorimeter(events, candidates, points, radius, density, centre, geometry)
    return Inputs(
        calorimeter,
        _track(candidates, plain, track, centre * (mean_depth / face)[:, None]),
        _point_columns(points, radius, density, geometry),
        place,
        points.offsets,
        centre,
    )


def _points(events: ak.Array, candidates: Candidates) -> _Points:
    clusters = ak.flatten(events.layer_clusters)
    energy = ak.to_numpy(clusters.energy)
    owned = np.flatnonzero(candidates.of_cluster >= 0)
    order = owned[np.argsort(candidates.of_cluster[owned] * 1.0e6 - energy[owned], kind="stable")]
    column = {name: ak.to_numpy(clusters[name])[order] for name in ("x", "y", "z", "time")}
    return _Points(
        candidates.of_cluster[order],
        ak.to_numpy(clusters.layer)[order].astype(np.int64),
        **column,
        energy=energy[order],
        size=np.maximum(ak.to_numpy(clusters["size"])[order], 1).astype(np.float32),
        loose=ak.to_numpy(ak.flatten(events.cluster_trackster))[order] < 0,
        n=len(candidates),
    )


def _calorimeter(
    events: ak.Array,
    candidates: Candidates,
    points: _Points,
    radius: NDArray,
    density: NDArray,
    centre: NDArray,
    geometry: Geometry,
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """The columns of `names(geometry)`, and the mean |z| of each candidate, mm."""
    n, n_layers = points.n, geometry.n_layers
    by_layer = np.bincount(points.owner * n_layers + points.layer - 1, points.share, n * n_layers).reshape(n, n_layers)
    depth = geometry.depth_lambda
    hit = by_layer > 0
    first, last = np.argmax(hit, axis=1), n_layers - 1 - np.argmax(hit[:, ::-1], axis=1)
    em_share = by_layer[:, geometry.electromagnetic].sum(axis=1)
    cumulative = np.cumsum(by_layer, axis=1)
    mean_depth = by_layer @ depth
    radius_mean, radius_em = points.mean(radius), points.mean(radius * geometry.electromagnetic[points.layer - 1])
    timed_share = points.mean(points.timed)
    per_time = np.where(timed_share > 0, timed_share, 1.0)
    time_mean = points.mean(points.late) / per_time
    counts = np.diff(points.offsets)
    columns = [
        np.log(points.sum),
        *by_layer.T,
        em_share,
        by_layer[:, -LEAK_LAYERS:].sum(axis=1),
        points.mean(points.loose),
        mean_depth,
        np.sqrt(np.maximum(by_layer @ depth**2 - mean_depth**2, 0.0)),
        depth[first],
        depth[last],
        *(depth[np.minimum((cumulative < q).sum(axis=1), n_layers - 1)] for q in QUANTILES),
        np.log1p(radius_em / np.maximum(em_share, 1e-6) / 10),
        np.log1p(np.maximum(radius_mean - radius_em, 0.0) / np.maximum(1 - em_share, 1e-3) / 10),
        np.log1p(np.sqrt(np.maximum(points.mean(radius**2) - radius_mean**2, 0.0)) / 10),
        *(points.mean(density > d) for d in DENSITIES),
        np.log1p(counts),
        np.log1p(points.total(points.size)),
        np.append(points.share, 0.0)[np.where(counts > 0, points.offsets[:-1], -1)],
        np.log1p(np.bincount(candidates.of_trackster, minlength=n)),
        take(events.tracksters, candidates.trackster, candidates.event, ("energy",))["energy"] / points.sum,
        timed_share,
        time_mean,
        np.sqrt(np.maximum(points.mean(points.late**2) / per_time - time_mean**2, 0.0)),
        *_neighbours(candidates.event, centre, points),
        np.arcsinh(np.abs(centre[:, 2]) / np.maximum(np.hypot(centre[:, 0], centre[:, 1]), 1.0)),
        *_shape(events, candidates),
    ]
    return _filled(columns, n), by_layer @ geometry.z


def _filled(columns: list[NDArray], n: int) -> NDArray[np.float32]:
    """Columns (n,) side by side."""
    table = np.empty((n, len(columns)), np.float32)
    for i, column in enumerate(columns):
        table[:, i] = column
    return table


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


def _track(candidates: Candidates, plain: Summary, track: dict, mean: NDArray) -> NDArray[np.float32]:
    """The columns of `TRACK_NAMES`, zeros where there is no track; mean: (n, 3) barycentre, 0 where there is none."""
    has = candidates.track >= 0
    momentum = np.where(has, plain.momentum, 1.0)
    seen = has & (mean[:, 2] != 0)
    step = (mean[:, 2] - track["z"]) / np.where(has, track["pz"], 1.0)
    off = np.hypot(mean[:, 0] - track["x"] - step * track["px"], mean[:, 1] - track["y"] - step * track["py"])
    columns = [
        np.ones(len(has)),
        np.log1p(momentum),
        np.clip(np.log(np.maximum(plain.energy, 1e-6) / momentum), -5.0, 3.0),
        np.clip(np.log(np.maximum(plain.em_energy, 1e-6) / momentum), -5.0, 3.0),
        np.log1p(np.where(seen, off, 0.0) / 10),
    ]
    return _filled(columns, len(has)) * has[:, None]


def _point_columns(points: _Points, radius: NDArray, density: NDArray, geometry: Geometry) -> NDArray[np.float32]:
    """The columns of `POINT_NAMES`."""
    per_layer = np.stack([np.arange(1, geometry.n_layers + 1) / geometry.n_layers, geometry.depth_lambda / 10])
    columns = [
        *per_layer.astype(np.float32)[:, points.layer - 1],
        np.log(np.maximum(points.energy, 1e-6)),
        np.log(np.maximum(points.share, 1e-6)),
        np.log(np.maximum(density, 1e-3)),
        np.log(points.size),
        np.log1p(radius / 10),
        points.timed,
        points.late,
        points.loose,
    ]
    return _filled(columns, len(radius))
