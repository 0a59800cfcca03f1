"""CLUE3D, trackster shapes and linking against their definitions, pair by pair in plain Python."""

from typing import NamedTuple

import numpy as np
import pytest
from cluster_showers import DETECTOR, GEOMETRY, NO_TRACKS

from gen2reco.cluster.compiled_kernels import load
from gen2reco.cluster.iterations import Fragments, Tracks, clue3d
from gen2reco.cluster.layers import LayerClusters
from gen2reco.cluster.linking import link
from gen2reco.cluster.tracksters import measure
from gen2reco.config.clustering import Iteration, Linking

F = np.float32
FACE = DETECTOR.front_face


def clusters_of(rows: list[tuple]) -> LayerClusters:
    """Layer clusters of rows (event, layer, x, y, side, energy, time, size), in the order of the reconstruction."""
    rows = sorted(rows, key=lambda row: (row[0], row[4], row[1]))
    event, layer, x, y, side, energy, time, size = (np.array(column) for column in zip(*rows))
    z = side * GEOMETRY.z[layer - 1]
    return LayerClusters(event, layer, x.astype(float), y.astype(float), z, energy.astype(float), time, size)


def blobs(seed: int, n: int = 12, lattice: bool = False) -> LayerClusters:
    """Clouds of layer clusters along lines from the origin in two events and both endcaps, close and overlapping."""
    rng, rows = np.random.default_rng(seed), []
    for _ in range(n):
        event, side = int(rng.integers(2)), int(rng.choice([-1, 1]))
        start = rng.normal([700, 100], 40)
        for layer in range(int(rng.integers(1, 12)), int(rng.integers(14, 48))):
            scale = GEOMETRY.z[layer - 1] / GEOMETRY.z[0]
            for _ in range(int(rng.integers(0, 3))):
                x, y = start * scale + rng.normal(0, 18, 2)
                energy = rng.exponential(0.6) + 0.01
                if lattice:
                    x, y, energy = round(x / 30) * 30, round(y / 30) * 30, 0.25
                rows.append((event, layer, x, y, side, energy, rng.choice([-1.0, 0.3]), int(rng.integers(1, 6))))
    return clusters_of(rows)


def brute_clue3d(c: LayerClusters, how: Iteration) -> np.ndarray:
    """Label of each layer cluster by the definition, -1 for none; labels are numbers of seeds."""
    n = len(c)
    z = np.abs(c.z).astype(F)
    u, v, energy = (c.x / np.abs(c.z)).astype(F), (c.y / np.abs(c.z)).astype(F), c.energy.astype(F)

    def apart(i, j):
        """Square of the distance of j, moved along its line from the origin onto the layer of i."""
        du, dv = (u[j] - u[i]) * z[i], (v[j] - v[i]) * z[i]
        return du * du + dv * dv

    together = (c.event[:, None] == c.event) & ((c.z[:, None] > 0) == (c.z > 0))
    layers = np.abs(c.layer[:, None] - c.layer)
    density, higher, far = np.zeros(n, F), np.full(n, -1), np.full(n, np.inf)
    for i in range(n):
        sibling = [j for j in range(n) if together[i, j] and 0 < layers[i, j] <= how.sibling_layers]
        within = [j for j in sibling if apart(i, j) <= F(how.density_radius) ** 2]
        density[i] = energy[i] + F(how.kernel) * sum(float(energy[j]) for j in within)
    reach = F(how.seed_distance) * F(how.outlier_factor)
    depth = max(how.sibling_layers, int(how.seed_layers * how.outlier_factor))
    for i in range(n):
        above = [
            j
            for j in range(n)
            if together[i, j] and (density[j], j) > (density[i], i) and layers[i, j] <= depth and j != i
        ]
        found = [(apart(i, j), layers[i, j], -density[j], -j) for j in above if apart(i, j) <= reach * reach]
        if found:
            best = min(found)
            higher[i], far[i] = -best[3], np.sqrt(best[0])
    label = np.full(n, -1)
    alone = (higher < 0) | (far > how.seed_distance) | (layers[np.arange(n), higher] > how.seed_layers)
    seed = alone & (density >= F(how.min_density)) & (energy >= F(how.min_self_density) * density)
    for i in sorted(range(n), key=lambda i: (density[i], i), reverse=True):
        label[i] = i if seed[i] else label[higher[i]] if higher[i] >= 0 else -1
    return label


def canonical(label: np.ndarray) -> list[int]:
    """Labels numbered by their first member, so that partitions compare."""
    names: dict[int, int] = {}
    return [-1 if one < 0 else names.setdefault(int(one), len(names)) for one in label]


HOW = {
    "as shipped": {},
    "wide and dense": {"density_radius": 40.0, "kernel": 0.5, "min_density": 2.0, "seed_distance": 60.0},
    "one layer apart": {"sibling_layers": 1, "seed_layers": 1, "outlier_factor": 1.0, "min_density": 0.2},
    "near seeds only": {"seed_distance": 12.0, "outlier_factor": 4.0, "min_density": 0.1},
    "own energy counts": {"min_self_density": 0.6, "min_density": 0.1, "kernel": 0.8},
    "deep followers": {"sibling_layers": 2, "seed_layers": 3, "outlier_factor": 3.0},
}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("how", HOW)
def test_clue3d_is_its_definition(how, seed):
    c, iteration = blobs(seed), Iteration(name="x", **HOW[how])
    found, n = clue3d(c, iteration)
    expected = brute_clue3d(c, iteration)
    assert canonical(found) == canonical(expected)
    assert n == len(set(expected.tolist()) - {-1}) > 1 and found.max() == n - 1


@pytest.mark.parametrize("seed", range(6))
def test_ties_of_clue3d_are_broken_as_defined(seed):
    """On a lattice of equal energies: of neighbours as far away on as near a layer, the denser one, then the later."""
    c, iteration = blobs(seed, lattice=True), Iteration(name="x", density_radius=31.0, seed_distance=31.0)
    found, n = clue3d(c, iteration)
    expected = brute_clue3d(c, iteration)
    assert canonical(found) == canonical(expected) and n == len(set(expected.tolist()) - {-1})
    for k in range(n):
        mine = found == k
        assert len(set(c.event[mine])) == len(set(np.sign(c.z[mine]))) == 1


@pytest.mark.parametrize("first", [-20.0, 20.0])
@pytest.mark.parametrize("middle", [5, 6, 4])
def test_between_two_equal_seeds_the_later_one_is_followed(first, middle):
    """Seeds of one energy on layer 5, 20 mm to either side of a weak layer cluster: by the order of the table."""
    rows = [
        (0, 5, first, 0.0, 1, 3.0, -1.0, 2),
        (0, 5, -first, 0.0, 1, 3.0, -1.0, 2),
        (0, middle, 0.0, 0.0, 1, 0.1, -1.0, 2),
    ]
    c = clusters_of([(event, layer, x, y + 700.0, *rest) for event, layer, x, y, *rest in rows])
    found, n = clue3d(c, Iteration(name="x", density_radius=10.0, seed_distance=25.0, min_density=0.5))
    assert n == 2
    assert found[c.energy < 1] == found[c.energy > 1][1] != found[c.energy > 1][0]


def test_a_group_without_layer_clusters_hides_none_of_those_after_it():
    """Two layer clusters in the last of four groups, nothing in the others."""
    f, i, n = np.float32, np.int32, 2
    u, z, energy = np.array([0.2, 0.3], f), np.full(n, 3300, f), np.array([2.0, 1.0], f)
    density, higher, label, counts = np.empty(n, f), np.empty(n, i), np.empty(n, i), np.full(4, 9, i)
    load("clue3d").cluster_endcaps(
        u, np.zeros(n, f), z, np.array([3, 3], i), energy, np.array([0, 0, 0, 0, n]), f(20), 5, f(0.2), f(0.5), f(0.1),
        f(40), 5, f(2), density, higher, label, counts,
    )  # fmt: skip
    assert counts.tolist() == [0, 0, 0, 2] and label.tolist() == [0, 1] and density.tolist() == [2.0, 1.0]


class Shape(NamedTuple):
    """What linking asks of a group of layer clusters."""

    event: int
    energy: float
    em: float
    centre: np.ndarray
    axis: np.ndarray
    width: float
    first: int
    last: int
    top: int


def shape_of(c: LayerClusters, mine: np.ndarray) -> Shape:
    energy, at = c.energy[mine], np.stack([c.x, c.y, c.z], axis=1)[mine]
    centre = energy @ at / energy.sum()
    line = centre / np.linalg.norm(centre)
    off = at - np.outer(at @ line, line)
    axis = line
    if mine.sum() >= 3:
        vectors = np.linalg.svd(np.sqrt(energy)[:, None] * (at - centre), full_matrices=False)[2]
        axis = vectors[0] * np.sign(vectors[0] @ line)
    layer = c.layer[mine]
    per_layer = np.array([energy[layer == k].sum() for k in range(1, GEOMETRY.n_layers + 1)])
    em = energy[GEOMETRY.electromagnetic[layer - 1]].sum()
    width = np.sqrt(energy @ (off**2).sum(axis=1) / energy.sum())
    first = int(layer.min()), int(layer.max()), int(per_layer.argmax()) + 1
    return Shape(int(c.event[mine][0]), float(energy.sum()), float(em), centre, axis, float(width), *first)


@pytest.mark.parametrize("seed", range(3))
def test_shapes_are_the_sums_they_say(seed):
    c = blobs(seed + 10, 6)
    label = np.random.default_rng(seed).integers(-1, 3, len(c)) + 3 * (2 * c.event + (c.z > 0))
    label = np.where(label % 3 == 2, -1, label)
    label[[0, -1]] = 99, 100  # of one layer cluster each
    label = np.unique(label, return_inverse=True)[1] - 1
    found = measure(c, label, label.max() + 1, GEOMETRY)
    for k in range(label.max() + 1):
        s = shape_of(c, label == k)
        assert [found[name][k] for name in "xyz"] == pytest.approx(s.centre)
        assert [found[f"axis_{name}"][k] for name in "xyz"] == pytest.approx(s.axis, abs=1e-6)
        own = (s.event, s.energy, s.em, s.width, s.first, s.last, s.top, s.energy - s.em)
        names = ("event", "energy", "energy_em", "sigma_r", "first_layer", "last_layer", "shower_max", "energy_had")
        assert [found[name][k] for name in names] == pytest.approx(own)
        at, share = np.stack([c.x, c.y, c.z], axis=1)[label == k], c.energy[label == k] / s.energy
        spread = np.sort(np.linalg.eigvalsh((at - s.centre).T @ (share[:, None] * (at - s.centre))))[::-1]
        assert [found[f"eigenvalue_{i}"][k] for i in (1, 2, 3)] == pytest.approx(
            np.maximum(spread, 0), rel=1e-6, abs=1e-6
        )
        eta, phi = np.arcsinh(s.centre[2] / np.hypot(*s.centre[:2])), np.arctan2(s.centre[1], s.centre[0])
        across = np.sqrt(share @ (at[:, 2] - s.centre[2]) ** 2)
        names = ("eta", "phi", "sigma_z", "n_layer_clusters")
        assert [found[name][k] for name in names] == pytest.approx([eta, phi, across, (label == k).sum()])
        timed = (label == k) & (c.time >= 0)
        mean = np.average(c.time[timed], weights=c.energy[timed]) if timed.any() else -1.0
        assert found["time"][k] == pytest.approx(mean)


def brute_link(c: LayerClusters, fragment: np.ndarray, tracks: Tracks, how: Linking) -> list[tuple[int, float, set]]:
    """The tracksters in order: (event, energy, set of layer clusters), by the definition of `link`."""
    groups = [{k} for k in range(fragment.max() + 1)]

    def points_at(s: Shape) -> bool:
        for t in range(len(tracks)):
            along = (s.centre[2] - tracks.z[t]) / tracks.pz[t]
            x, y = tracks.x[t] + along * tracks.px[t], tracks.y[t] + along * tracks.py[t]
            same = tracks.event[t] == s.event and tracks.z[t] * s.centre[2] > 0
            if same and np.hypot(x - s.centre[0], y - s.centre[1]) < how.track_distance:
                return True
        return False

    def em(s: Shape) -> bool:
        return s.em >= how.em_fraction * s.energy and s.width <= how.em_width

    def off(s: Shape, leader: Shape) -> float:
        """From the leader's line from the origin, or from its axis, whichever is less, in the plane of s."""
        line = leader.centre[:2] * s.centre[2] / leader.centre[2]
        step = (s.centre[2] - leader.centre[2]) / leader.axis[2]
        axis = leader.centre[:2] + step * leader.axis[:2]
        return min(np.hypot(*(s.centre[:2] - line)), np.hypot(*(s.centre[:2] - axis)))

    def reach(s: Shape, leader: Shape, tracked: bool, step: int) -> float:
        if em(s) and s.first <= how.photon_layer and not tracked and s.energy >= how.photon_fraction * leader.energy:
            return how.photon_distance
        if step == 0:
            return how.close_distance
        found = how.em_distance if em(s) else how.had_distance
        if not tracked and s.energy < how.halo_fraction * leader.energy:
            found = max(found, how.halo_distance)
        if not tracked and s.first > how.late_layer:
            found = max(found, how.em_reach if em(leader) else how.late_distance)
        return found

    for step in (0, 1):
        shapes = [shape_of(c, np.isin(fragment, list(group))) for group in groups]
        leader = {}
        for i, s in enumerate(shapes):
            scores = [
                (off(s, other) / max(reach(s, other, points_at(s), step), 1e-9), -other.energy, j)
                for j, other in enumerate(shapes)
                if other.event == s.event and other.centre[2] * s.centre[2] > 0 and other.energy > s.energy
            ]
            if scores and min(scores)[0] < 1:
                leader[i] = min(scores)[2]

        def end(i: int, leader=leader) -> int:
            return end(leader[i]) if i in leader else i

        joined: dict[int, set] = {}
        for i, group in enumerate(groups):
            joined.setdefault(end(i), set()).update(group)
        groups = list(joined.values())

    masks = [np.isin(fragment, list(group)) for group in groups]
    shapes = [shape_of(c, mine) for mine in masks]
    members = [set(np.flatnonzero(mine).tolist()) for mine in masks]
    for i in np.flatnonzero(fragment < 0):
        found = []
        for k, s in enumerate(shapes):
            scale = c.z[i] / s.centre[2]
            distance = np.hypot(c.x[i] - scale * s.centre[0], c.y[i] - scale * s.centre[1])
            limit = how.em_reach if em(s) else how.attach_distance
            if s.event == c.event[i] and scale > 0 and distance < limit:
                found.append((distance, k))
        if found:
            members[min(found)[1]].add(int(i))
    out = []
    for mine in members:
        s = shape_of(c, np.isin(np.arange(len(c)), list(mine)))
        if s.energy >= how.min_energy or points_at(s):
            out.append((s.event, s.energy, mine))
    return sorted(out, key=lambda one: (one[0], -one[1]))


def fragments_of(c: LayerClusters, seed: int) -> Fragments:
    """Fragments by rough places and depths, a fifth of the layer clusters in none, numbered by event."""
    rng = np.random.default_rng(seed)
    place = np.floor(np.arctan2(c.y, c.x) * 12).astype(int) + 100 * (c.layer // 9)
    key = (c.event * 2 + (c.z > 0)) * 10_000 + place + 50
    label = np.unique(key, return_inverse=True)[1]
    label[rng.random(len(c)) < 0.2] = -1
    used = np.unique(label[label >= 0])
    label = np.where(label >= 0, np.searchsorted(used, label), -1)
    return Fragments(label, np.zeros(len(used), int))


def tracks_at(c: LayerClusters, label: np.ndarray, seed: int) -> Tracks:
    """Straight tracks at a third of the fragments, others back to back with them, or of the other event."""
    rng, rows = np.random.default_rng(seed), []
    for k in range(label.max() + 1):
        s = shape_of(c, label == k)
        kind = rng.integers(6)
        if kind > 2:
            continue
        direction = s.centre / abs(s.centre[2]) * (1 if kind != 1 else -1)
        at = direction * FACE + [*rng.normal(0, 8, 2), 0]
        rows.append((s.event if kind != 2 else 1 - s.event, *(20 * direction), *at))
    columns = [np.array(column) for column in zip(*sorted(rows, key=lambda row: row[0]))]
    return Tracks(columns[0].astype(int), *(column.astype(float) for column in columns[1:]))


LINKING = {
    "as shipped": {},
    "only strong ones": {"min_energy": 8.0, "attach_distance": 20.0, "em_reach": 10.0},
    "short reach": {"close_distance": 12.0, "had_distance": 20.0, "em_distance": 15.0, "halo_distance": 40.0},
    "everything is early": {"late_layer": 47, "halo_fraction": 0.0, "photon_layer": 47, "em_width": 200.0},
    "photons": {"photon_layer": 20, "photon_fraction": 0.1, "photon_distance": 60.0, "em_fraction": 0.5},
    "tracks are wide": {"track_distance": 120.0, "min_energy": 30.0, "late_distance": 300.0},
}


@pytest.mark.parametrize("seed", range(4))
@pytest.mark.parametrize("how", LINKING)
def test_linking_is_its_definition(how, seed):
    c, config = blobs(seed + 20, 8), Linking(**LINKING[how])
    fragments = fragments_of(c, seed)
    tracks = tracks_at(c, fragments.label, seed) if seed else NO_TRACKS
    label, of_fragment = link(c, fragments, tracks, GEOMETRY, config)
    expected = brute_link(c, fragments.label, tracks, config)
    found = [set(np.flatnonzero(label == k).tolist()) for k in range(label.max() + 1)]
    assert found == [mine for _, _, mine in expected]
    for fragment, k in enumerate(of_fragment):
        assert set(label[fragments.label == fragment]) == {k}


def soft(event, side, energy, layers=range(20, 24), at=(700.0, 100.0)):
    """A faint straight trail that points at the origin."""
    scale = [GEOMETRY.z[layer - 1] / GEOMETRY.z[0] for layer in layers]
    share = energy / len(layers)
    return [(event, k, at[0] * s, at[1] * s, side, share, -1.0, 2) for k, s in zip(layers, scale)]


@pytest.mark.parametrize(
    ("sign", "event", "aside", "kept"),
    [((1, 1), 0, 0.0, True), ((1, -1), 0, 0.0, False), ((-1, -1), 0, 0.0, False), ((1, 1), 1, 0.0, False),
     ((1, 1), 0, 10.0, True), ((1, 1), 0, 30.0, False)],
    ids=["through it", "mirrored", "back to back", "of another event", "near", "past it"],
)  # fmt: skip
def test_a_soft_trackster_stays_where_a_track_points_at_it(sign, event, aside, kept):
    """Of 0.2 GeV, below the smallest energy of 0.5 GeV; signs are those of the track's x and y, and of its z: the line
    of one that flies back to back leads through the trackster too, but backwards."""
    c = clusters_of(soft(0, 1, 0.2) + soft(1, 1, 5.0, at=(-700.0, 0.0)))
    fragments = Fragments(c.event.copy(), np.zeros(2, int))
    slope, side = sign[0] * np.array([700.0, 100.0]) / GEOMETRY.z[0], sign[1]
    at = (slope[0] * FACE + aside, slope[1] * FACE, side * FACE)
    track = Tracks(np.array([event]), *(np.array([float(value)]) for value in (*slope, side, *at)))
    label, _ = link(c, fragments, track, GEOMETRY, Linking())
    assert (label[c.event == 0] >= 0).all() == kept and (label[c.event == 1] == int(kept)).all()
