"""What the calibration network sees of each candidate: named features, its layer clusters as points, its track.

Energies are in GeV, lengths in mm, depths in interaction lengths before the scaling stated at each name. Raise
`VERSION` when the meaning of any column changes: weights are pinned to it.
"""

from dataclasses import dataclass
from types import ModuleType

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from gen2reco import jit
from gen2reco.calibrate.candidates import APART, Candidates
from gen2reco.calibrate.objects import Summary, take
from gen2reco.detector.geometry import Geometry
from gen2reco.events.lists import columns

VERSION = "calibration-features/2"
LOG_WEIGHT = 4.0
"""w_i = max(0, LOG_WEIGHT + ln(E_i / E)): weights of the barycentre (Awes et al., NIM A311 (1992) 130)."""
DENSITIES = (2.0, 5.0, 12.0, 30.0, 80.0)
"""MIP per cell; the share of the energy above each separates electromagnetic from hadronic parts of a shower."""
QUANTILES = (0.1, 0.5, 0.9)
NEAR = (100.0, 200.0)
"""mm on the face; the energy of other candidates within each is a feature."""
CROWDING = -5
"""Column of the last of them."""
LEAK_LAYERS = 4
MAX_POINTS = 48
"""Layer clusters of a candidate that are inputs of the network one by one: those of most energy."""
_SUMS = 9
"""Columns of the sums over a candidate's layer clusters before those of `DENSITIES`."""

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
    """Network inputs of n candidates and m points: at most `MAX_POINTS` of each, of most energy, in falling energy."""

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


def make_inputs(events: ak.Array, candidates: Candidates, plain: Summary, geometry: Geometry) -> Inputs:
    """Features, points and track of every candidate of `clusters` events."""
    n, face, owner = len(candidates), geometry.detector.front_face, candidates.of_cluster
    clusters = columns(events.layer_clusters, ("x", "y", "z", "energy", "time", "layer", "size"))
    offsets = np.concatenate([[0], np.cumsum(np.bincount(owner[owner >= 0], minlength=n))]).astype(np.int64)
    order = np.empty(offsets[-1], np.int64)
    _kernels().in_order(owner, clusters["energy"], offsets, order)
    track = take(events.tracks, candidates.track, candidates.event, ("x", "y", "z", "px", "py", "pz"))
    centre, by_layer = np.zeros((n, 3)), np.zeros((n, geometry.n_layers))
    sums = np.zeros((n, _SUMS + len(DENSITIES)))
    counts = np.diff(offsets)
    kept = np.concatenate([[0], np.cumsum(np.minimum(counts, MAX_POINTS))])
    place, points = (np.empty((kept[-1], k), np.float32) for k in (2, len(POINT_NAMES)))
    _kernels().showers(
        offsets,
        order,
        kept,
        *clusters.values(),
        columns(events, ("cluster_trackster",))["cluster_trackster"],
        geometry.gev_per_mip.astype(np.float64),
        geometry.depth_lambda.astype(np.float64),
        geometry.electromagnetic.astype(bool),
        np.array(DENSITIES),
        float(face),
        LOG_WEIGHT,
        np.stack([track["x"], track["y"], track["z"]], axis=1),
        centre,
        place,
        points,
        by_layer,
        sums,
    )
    largest = np.exp(np.append(points[:, 3], -np.inf)[np.where(counts > 0, kept[:-1], -1)])
    calorimeter = _calorimeter(events, candidates, counts, largest, by_layer, sums, centre, geometry)
    barycentre = centre * (by_layer @ geometry.z / face)[:, None]
    return Inputs(calorimeter, _track(candidates, plain, track, barycentre), points, place, kept, centre)


def _kernels() -> ModuleType:
    return jit.load("gen2reco.calibrate.kernels.feature_sums")


def _calorimeter(
    events: ak.Array,
    candidates: Candidates,
    counts: NDArray,
    largest: NDArray,
    by_layer: NDArray,
    sums: NDArray,
    centre: NDArray,
    geometry: Geometry,
) -> NDArray[np.float32]:
    """The columns of `names(geometry)`; `sums` as `kernels.features.showers` fills them."""
    energy, radius, radius_em, radius2, timed, time, time2, loose, cells = sums[:, :_SUMS].T
    n_layers, depth = geometry.n_layers, geometry.depth_lambda
    hit = by_layer > 0
    first, last = np.argmax(hit, axis=1), n_layers - 1 - np.argmax(hit[:, ::-1], axis=1)
    em_share = by_layer[:, geometry.electromagnetic].sum(axis=1)
    cumulative = np.cumsum(by_layer, axis=1)
    mean_depth = by_layer @ depth
    per_time = np.where(timed > 0, timed, 1.0)
    found = [
        np.log(energy),
        *by_layer.T,
        em_share,
        by_layer[:, -LEAK_LAYERS:].sum(axis=1),
        loose,
        mean_depth,
        np.sqrt(np.maximum(by_layer @ depth**2 - mean_depth**2, 0.0)),
        depth[first],
        depth[last],
        *(depth[np.minimum((cumulative < q).sum(axis=1), n_layers - 1)] for q in QUANTILES),
        np.log1p(radius_em / np.maximum(em_share, 1e-6) / 10),
        np.log1p(np.maximum(radius - radius_em, 0.0) / np.maximum(1 - em_share, 1e-3) / 10),
        np.log1p(np.sqrt(np.maximum(radius2 - radius**2, 0.0)) / 10),
        *sums[:, _SUMS:].T,
        np.log1p(counts),
        np.log1p(cells),
        largest,
        np.log1p(np.bincount(candidates.of_trackster, minlength=len(counts))),
        take(events.tracksters, candidates.trackster, candidates.event, ("energy",))["energy"] / energy,
        timed,
        time / per_time,
        np.sqrt(np.maximum(time2 / per_time - (time / per_time) ** 2, 0.0)),
        *_neighbours(candidates.event, centre, np.where(counts > 0, energy, 0.0)),
        np.arcsinh(np.abs(centre[:, 2]) / np.maximum(np.hypot(centre[:, 0], centre[:, 1]), 1.0)),
        *_shape(events, candidates),
    ]
    return _filled(found)


def _filled(found: list[NDArray]) -> NDArray[np.float32]:
    """Columns (n,) side by side."""
    return np.ascontiguousarray(np.array([np.asarray(column, np.float32) for column in found]).T)


def _neighbours(event: NDArray, centre: NDArray, energy: NDArray) -> NDArray[np.float64]:
    """ln(1 + energy of other candidates within each distance of `NEAR` / own energy): (len(NEAR), n)."""
    key = (2 * event + (centre[:, 2] > 0)) * APART + centre[:, 0]
    near = np.zeros((len(key), len(NEAR)))
    order = np.argsort(key, kind="stable")
    _kernels().near_energy(key, np.ascontiguousarray(centre[:, 1]), order, energy, np.array(NEAR), near)
    own = np.where(energy > 0, energy, 1.0)
    return np.log1p(np.minimum(near / own[:, None], 1e3)).T


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
    both = has & (mean[:, 2] != 0)
    step = (mean[:, 2] - track["z"]) / np.where(has, track["pz"], 1.0)
    off = np.hypot(mean[:, 0] - track["x"] - step * track["px"], mean[:, 1] - track["y"] - step * track["py"])
    found = [
        np.ones(len(has)),
        np.log1p(momentum),
        np.clip(np.log(np.maximum(plain.energy, 1e-6) / momentum), -5.0, 3.0),
        np.clip(np.log(np.maximum(plain.em_energy, 1e-6) / momentum), -5.0, 3.0),
        np.log1p(np.where(both, off, 0.0) / 10),
    ]
    return _filled(found) * has[:, None]
