"""From hits to the clusters record on made-up showers whose truth is known."""

import json

import awkward as ak
import numpy as np
import pyarrow as pa
import pytest
from cluster_showers import DETECTOR, GEOMETRY, NO_TRACKS, events_of, shower

from gen2reco.cluster.association import associate, energy_shares
from gen2reco.cluster.iterations import Tracks, iterate
from gen2reco.cluster.layers import Hits, cluster_layers
from gen2reco.cluster.linking import link
from gen2reco.cluster.trackster_scores import counts, score
from gen2reco.cluster.tracksters import measure
from gen2reco.config.block import load_block
from gen2reco.config.clustering import Clustering, Iteration
from gen2reco.detector.geometry import encode
from gen2reco.errors import InputError
from gen2reco.events import records
from gen2reco.run.stage import Chunk, make_backend

FACE = DETECTOR.front_face


def run(table: pa.Table, **options) -> pa.Table:
    backend = make_backend("cluster", "clue", options, DETECTOR)
    backend.prepare()
    return backend.run(Chunk(0, 1, 0, len(table)), table).table


@pytest.fixture(scope="module")
def two_showers():
    rng = np.random.default_rng(5)
    pairs = [(150.0, -1), (200.0, 1), (300.0, 1)]
    return events_of([[shower(rng, 30, 600, 300), shower(rng, 50, 600 + d, 300, side=s)] for d, s in pairs])


def test_two_showers_are_two_tracksters(two_showers):
    """Apart by 15 cm and more, on one side or on both: two objects, each matched to its particle."""
    found = run(two_showers)
    records.check(found, "clusters", "test")
    assert ak.num(records.awkward(found).tracksters).tolist() == [2, 2, 2]
    particles, tracksters = score(found, FACE)
    assert particles.counted.all()
    assert particles.efficiency.all()
    assert particles.purity.all()
    assert not (particles.split.any() or tracksters.fake.any() or tracksters.merge.any() or tracksters.surplus.any())
    np.testing.assert_allclose(particles.distance, [np.inf, np.inf, 200, 200, 300, 300], rtol=0.05)
    data = records.awkward(found)
    np.testing.assert_allclose(data["tracksters"]["energy"][:, 0], 50, rtol=0.03)
    assert ak.all(abs(data["tracksters"]["time"] - 1.5) < 1e-6)


def test_every_event_stands_alone(two_showers):
    """An event's clusters do not depend on those beside it."""
    together = run(two_showers)
    for k in range(len(two_showers)):
        assert run(two_showers.slice(k, 1)).equals(together.slice(k, 1))


def test_torch_makes_the_same_record(two_showers):
    """The backend on a torch device (here the CPU's tensors) writes what the compiled one writes."""
    backend = make_backend("cluster", "clue", {}, DETECTOR)
    backend.device = "cpu:0"
    assert backend.run(Chunk(0, 1, 0, 3), two_showers).table.equals(run(two_showers))


def test_order_of_hits_does_not_matter(two_showers):
    data = records.awkward(two_showers)
    turned = {name: data[name] for name in ("event", "weight", "particles")}
    number = ak.num(data["hits"])
    columns = {
        **turned,
        "tracks": two_showers["tracks"],
        "hits": data["hits"][:, ::-1],
        "contributions": ak.with_field(data["contributions"], number - 1 - data["contributions"]["hit"], "hit"),
    }
    one = records.awkward(run(two_showers))
    other = records.awkward(run(records.table("hits", columns)))
    np.testing.assert_allclose(*(ak.flatten(d["tracksters"]["energy"]) for d in (one, other)), rtol=1e-4)
    assert ak.all(ak.num(one["layer_clusters"]) == ak.num(other["layer_clusters"]))


def test_energy_is_kept(two_showers):
    """Layer clusters sum their hits, tracksters their layer clusters; shares of particles add up to the deposits."""
    found = records.awkward(run(two_showers))
    hits = records.awkward(two_showers)["hits"]
    in_cluster = ak.sum(hits["energy"][found["hit_cluster"] >= 0], axis=1)
    np.testing.assert_allclose(ak.sum(found["layer_clusters"]["energy"], axis=1), in_cluster, rtol=1e-5)
    claimed = ak.sum(found["layer_clusters"]["energy"][found["cluster_trackster"] >= 0], axis=1)
    np.testing.assert_allclose(ak.sum(found["tracksters"]["energy"], axis=1), claimed, rtol=1e-5)
    np.testing.assert_allclose(ak.sum(found["deposited"], axis=1), ak.sum(hits["energy"], axis=1), rtol=1e-5)
    assert ak.all(ak.sum(found["associations"]["shared_energy"], axis=1) <= ak.sum(found["deposited"], axis=1) + 1e-3)


def test_spikes_are_counted_and_left_out_where_asked(two_showers):
    """One more cell of 300 MIP inside a shower's reach: counted, and gone from the layer clusters with the option."""
    data = records.awkward(two_showers)
    layer = 20
    x, y, z = (float(value[0]) for value in GEOMETRY.position(np.array([encode(1, layer, 66, 0)], np.uint64)))
    spike = {"cell": int(encode(1, layer, 66, 0)), "layer": layer, "x": x, "y": y, "z": z, "time": 0.0}
    spike["energy"] = 300 * float(GEOMETRY.gev_per_mip[layer - 1])
    more = ak.Array([[spike], [], []])
    more = ak.with_field(more, ak.values_astype(more.cell, np.uint64), "cell")
    columns = {name: data[name] for name in ("event", "weight", "particles", "contributions")}
    hits = ak.concatenate([data.hits, more[data.hits.fields]], axis=1)
    table = records.table("hits", {**columns, "tracks": two_showers["tracks"], "hits": hits})
    found = {}
    for clean in (False, True):
        backend = make_backend("cluster", "clue", {"clean_spikes": clean}, DETECTOR)
        result = backend.run(Chunk(0, 1, 0, 3), table)
        found[clean] = records.awkward(result.table)
        assert result.info["spikes"] == 1 and np.isclose(result.info["spikes_energy"], spike["energy"], rtol=1e-5)
        (line,) = backend.notices(result.info)
        assert "are spikes" in line and ("left out" in line) == clean
    lost = ak.sum(found[False].layer_clusters.energy, axis=1) - ak.sum(found[True].layer_clusters.energy, axis=1)
    np.testing.assert_allclose(lost, [spike["energy"], 0, 0], atol=1e-3)
    assert found[True].hit_cluster[0, -1] == -1 and found[False].hit_cluster[0, -1] >= 0
    before = records.awkward(run(two_showers))
    assert ak.all(found[True].layer_clusters.energy == before.layer_clusters.energy)


def test_empty_events_and_single_hits():
    cell = (np.array([encode(1, 5, 60, 30)], np.uint64).ravel(), np.array([5.0]))
    found = run(events_of([[], [cell], []]))
    data = records.awkward(found)
    assert ak.num(data["layer_clusters"]).tolist() == [0, 1, 0]
    assert ak.num(data["tracksters"]).tolist() == [0, 0, 0]
    assert data["cluster_trackster"].tolist() == [[], [-1], []]
    nothing = run(events_of([[], []]))
    assert ak.num(records.awkward(nothing)["hit_cluster"]).tolist() == [0, 0]
    assert run(events_of([[], []]).slice(0, 0)).num_rows == 0


def test_unknown_layer_is_refused(two_showers):
    data = records.awkward(two_showers)
    columns = {name: data[name] for name in ("event", "weight", "particles", "contributions")}
    hits = ak.with_field(data["hits"], ak.values_astype(data["hits"]["layer"] + 40, np.int16), "layer")
    wrong = records.table("hits", {**columns, "tracks": two_showers["tracks"], "hits": hits})
    with pytest.raises(InputError, match=r"hits\.layer.*1 to 47"):
        run(wrong)


@pytest.mark.parametrize(("field", "value"), [("energy", np.nan), ("energy", -1.0), ("x", np.inf), ("time", np.nan)])
def test_bad_hits_are_refused_at_the_rim(two_showers, field, value, tmp_path):
    """The record's check, which the runner applies to what a stage reads, names the column and the event."""
    data = records.awkward(two_showers)
    values = ak.to_numpy(ak.flatten(data["hits"][field])).copy()
    values[3] = value
    hits = ak.with_field(data["hits"], ak.unflatten(values, ak.num(data["hits"])), field)
    columns = {name: data[name] for name in ("event", "weight", "particles", "contributions")}
    wrong = records.table("hits", {**columns, "tracks": two_showers["tracks"], "hits": hits})
    with pytest.raises(InputError, match=rf"event 0: `hits\.{field}`"):
        records.check(wrong, "hits", "hits.parquet")


def flat_hits(cells, energies, time=0.0):
    cells = np.asarray(cells, np.uint64)
    x, y, z = GEOMETRY.position(cells)
    layer = (cells >> np.uint64(32)).astype(int) & 0xFF
    energies = np.asarray(energies, float)
    return Hits(np.zeros(len(cells), int), layer, x, y, z, energies, np.full(len(cells), time))


def test_layer_cluster_positions_are_log_weighted():
    """Two cells of energies 9 to 1: weights 2.9 + ln 0.9 and 2.9 + ln 0.1."""
    hits = flat_hits([encode(1, 10, 50, 50), encode(1, 10, 51, 50)], [0.9, 0.1])
    clusters, label = cluster_layers(hits, GEOMETRY, Clustering().layers)
    weight = 2.9 + np.log([0.9, 0.1])
    assert label.tolist() == [0, 0]
    np.testing.assert_allclose(clusters.x, np.average([505.0, 515.0], weights=weight))
    np.testing.assert_allclose(clusters.y, 505.0)
    assert clusters.size.tolist() == [2]


@pytest.mark.parametrize("layer", [1, 20, 40])
@pytest.mark.parametrize(("sigmas", "clustered"), [(6.8, False), (7.2, True)])
def test_seeds_need_a_multiple_of_the_noise(layer, sigmas, clustered):
    """The same number of noise widths in every layer, whatever a MIP weighs there."""
    noise = DETECTOR.digitisation.noise * GEOMETRY.gev_per_mip[layer - 1]
    hits = flat_hits([encode(-1, layer, 50, 50)], [sigmas * noise])
    config = Clustering().layers.model_copy(update={"min_density": 7.0})
    _, label = cluster_layers(hits, GEOMETRY, config)
    assert (label[0] >= 0) == clustered


def reconstructed(*showers, config=None):
    config = config or Clustering()
    cells, energies = (np.concatenate(part) for part in zip(*showers))
    cell, at = np.unique(cells, return_inverse=True)
    clusters, _ = cluster_layers(flat_hits(cell, np.bincount(at, energies)), GEOMETRY, config.layers)
    return clusters, iterate(clusters, NO_TRACKS, GEOMETRY, config)


def test_iterations_mask_what_they_claim():
    """No layer cluster is claimed twice, and each iteration keeps to its own layers and sizes."""
    rng = np.random.default_rng(2)
    config = Clustering()
    clusters, fragments = reconstructed(
        shower(rng, 40, 700, 0), shower(rng, 60, 900, 200, first=20, last=45, width=60), config=config
    )
    assert fragments.n >= 2
    names = [config.iterations[k].name for k in fragments.iteration]
    assert {"em", "hadronic"} <= set(names)
    for k, name in enumerate(names):
        mine = clusters.take(fragments.label == k)
        assert len(mine) >= config.iterations[fragments.iteration[k]].min_layer_clusters
        if name == "em":
            assert mine.layer.max() <= 26
        if name == "mip":
            assert mine.size.max() <= 2
    alone = Clustering(iterations=config.iterations[1:])
    assert iterate(clusters, NO_TRACKS, GEOMETRY, alone).iteration.max(initial=0) <= 2


def test_tracks_gather_crossing_particles():
    """A MIP-like trail too faint for a seed of its own is one trackster along its track."""
    layers = np.arange(1, 48, 3)
    scale = GEOMETRY.z[layers - 1] / GEOMETRY.z[0]
    cells = encode(1, layers, GEOMETRY.index(500 * scale), GEOMETRY.index(400 * scale))
    hits = flat_hits(cells, GEOMETRY.gev_per_mip[layers - 1])
    only_tracks = Clustering(iterations=[Iteration(name="track", seeding="tracks")])
    clusters, _ = cluster_layers(hits, GEOMETRY, only_tracks.layers)
    face = DETECTOR.front_face
    start = np.array([500.0, 400.0]) * face / GEOMETRY.z[0]
    track = Tracks(np.array([0]), *(np.array([float(v)]) for v in (*start, face, *start, face)))
    found = iterate(clusters, track, GEOMETRY, only_tracks)
    assert found.n == 1
    assert (found.label == 0).all()
    backwards = Tracks(np.array([0]), *(np.array([float(v)]) for v in (*start, -face, *start, -face)))
    assert iterate(clusters, backwards, GEOMETRY, only_tracks).n == 0
    assert iterate(clusters, NO_TRACKS, GEOMETRY, only_tracks).n == 0


def test_linking_joins_the_two_parts_of_one_shower():
    """A shower broken in the electromagnetic and the hadronic part is one trackster; a far one stays apart."""
    rng = np.random.default_rng(4)
    parts = [shower(rng, 20, 700, 0, 1, 20), shower(rng, 60, 700, 0, 27, 45, width=50), shower(rng, 30, 1000, 0, 1, 20)]
    config = Clustering()
    clusters, fragments = reconstructed(*parts, config=config)
    label, of_fragment = link(clusters, fragments, NO_TRACKS, GEOMETRY, config.linking)
    assert fragments.n > 2
    assert label.max() + 1 == 2
    assert set(of_fragment[of_fragment >= 0]) == {0, 1}
    energy = np.bincount(label[label >= 0], clusters.energy[label >= 0])
    np.testing.assert_allclose(energy, [80, 30], rtol=0.05)


def test_shapes_of_a_line_of_layer_clusters():
    """Equal energies along a line from the origin: the axis is that line, the widths across it vanish."""
    rng = np.random.default_rng(0)
    clusters, _ = reconstructed(shower(rng, 20, 600, 450, 5, 25, width=0.1))
    shape = measure(clusters, np.zeros(len(clusters), int), 1, GEOMETRY)
    axis = np.array([shape[f"axis_{a}"][0] for a in "xyz"])
    np.testing.assert_allclose(axis, np.array([600, 450, GEOMETRY.z[0]]) / np.hypot(750, GEOMETRY.z[0]), atol=0.03)
    assert shape["sigma_r"][0] < 6
    assert shape["eigenvalue_1"][0] > 50 * shape["eigenvalue_2"][0]
    assert (shape["first_layer"][0], shape["last_layer"][0]) == (5, 25)
    assert shape["energy_had"][0] == 0
    per_layer = np.bincount(clusters.layer, clusters.energy)
    np.testing.assert_allclose(per_layer.sum(), shape["energy"][0])
    assert per_layer.argmax() == shape["shower_max"][0]


def test_association_by_hand():
    """Two layer clusters of 3 and 1 GeV and one lost hit of 2 GeV; trackster 0 has the first, trackster 1 the second.

    Particle 0: 3 GeV in cluster 0, the lost hit. Particle 1: all of cluster 1.
    """
    shares = energy_shares(
        np.array([0, 1, -1]),
        np.array([3.0, 1.0, 2.0]),
        np.array([3.0, 1.0]),
        np.array([0, 1, 2]),
        np.array([0, 1, 0]),
        np.array([3.0, 1.0, 2.0]),
    )
    found = associate(np.array([0, 1]), shares)
    assert found.trackster.tolist() == [0, 1]
    np.testing.assert_allclose(found.reco_to_sim, [0, 0])
    np.testing.assert_allclose(found.sim_to_reco, [4 / 13, 0])
    np.testing.assert_allclose(found.shared_energy, [3, 1])
    merged = associate(np.array([0, 0]), shares)
    np.testing.assert_allclose(merged.reco_to_sim, [1 / 10, 9 / 10])
    assert len(associate(np.array([-1, -1]), shares).trackster) == 0


def score_table(associations, n_tracksters, deposited, energies):
    """A clusters table of one event that holds only what the scores read."""
    fields = [f.name for f in records.SCHEMAS["clusters"].field("tracksters").type.value_type]
    photon = {"pdg": 22, "px": 0.3, "py": 0.0, "pz": 1.0, "vx": 0.0, "vy": 0.0, "vz": 0.0, "time": 0.0}
    names = ("trackster", "particle", "reco_to_sim", "sim_to_reco", "shared_energy")
    return records.table(
        "clusters",
        {
            "event": [0],
            "weight": [1.0],
            "particles": pa.array([[{**photon, "energy": e, "px": 0.3 + 0.1 * k} for k, e in enumerate(energies)]]),
            "tracks": pa.array([[]]),
            "layer_clusters": pa.array([[]]),
            "hit_cluster": pa.array([[]]),
            "tracksters": pa.array([[dict.fromkeys(fields, 1.0) | {"iteration": 0}] * n_tracksters]),
            "cluster_trackster": pa.array([[]]),
            "associations": pa.array([[dict(zip(names, row)) for row in associations]]),
            "deposited": pa.array([deposited]),
        },
    )


@pytest.mark.parametrize(
    ("associations", "n", "expected"),
    [
        ([(0, 0, 0.0, 0.1, 9.0), (1, 1, 0.0, 0.1, 18.0)], 2, {"efficiency": 2, "purity": 2}),
        ([(0, 0, 0.0, 0.1, 9.0)], 2, {"efficiency": 1, "purity": 1, "fake": 1, "surplus": 1}),
        (
            [(0, 0, 0.5, 0.1, 9.0), (0, 1, 0.4, 0.1, 18.0)],
            1,
            {"efficiency": 2, "purity": 2, "merge": 1, "absorbed": 1},
        ),
        ([(0, 0, 0.64, 0.1, 9.0), (0, 1, 0.36, 0.1, 18.0)], 1, {"efficiency": 2, "purity": 2, "absorbed": 1}),
        ([(0, 0, 0.0, 0.5, 4.0), (1, 0, 0.0, 0.6, 4.0)], 2, {"split": 1, "surplus": 1}),
        (
            [(0, 0, 0.0, 0.1, 5.0), (1, 0, 0.1, 0.15, 0.9)],
            2,
            {"efficiency": 1, "purity": 1, "duplicate": 1, "surplus": 1},
        ),
        ([(0, 0, 0.7, 0.5, 4.9)], 1, {"fake": 1}),
    ],
    ids=["perfect", "lost and fake", "merged", "swallowed", "split", "duplicate", "too impure"],
)
def test_rates_by_hand(associations, n, expected):
    """Two photons of 10 and 20 GeV, all of it deposited."""
    found = counts(*score(score_table(associations, n, [10.0, 20.0], [10.0, 20.0]), FACE))
    assert {name: one.passed for name, one in found.items() if one.passed} == expected
    assert found["efficiency"].tried == 2
    assert found["fake"].tried == n


def test_only_measurable_particles_count():
    """4 GeV is too little; 20 GeV of which half is in the hits was not measured; one never came."""
    table = score_table([], 0, [4.0, 10.0, 0.0, 9.0], [4.0, 20.0, 30.0, 10.0])
    particles, tracksters = score(table, FACE)
    assert particles.counted.tolist() == [False, False, True]
    assert counts(particles, tracksters)["efficiency"] == (0, 1)


def test_fragments_score_per_iteration(two_showers):
    """The first iteration finds photons, the others what is left of them."""
    found = run(two_showers)
    for k, _ in enumerate(Clustering().iterations):
        particles, fragments = score(found, FACE, iteration=k)
        assert len(fragments.event) == ak.sum(records.awkward(found)["fragments"]["iteration"] == k)
        assert particles.efficiency.mean() > 0.8 if k == 0 else not particles.efficiency.any()


def test_the_shipped_configuration_is_the_default(repository):
    """configs/clustering/hgcal.yaml spells out the defaults, and the option takes the file or the block."""
    shipped = load_block(repository / "configs/clustering/hgcal.yaml", Clustering)
    assert shipped == Clustering()
    by_file = make_backend(
        "cluster", "clue", {"clustering": str(repository / "configs/clustering/hgcal.yaml")}, DETECTOR
    )
    by_block = make_backend("cluster", "clue", {"clustering": json.loads(shipped.model_dump_json())}, DETECTOR)
    assert by_file.options.digest() == by_block.options.digest()


@pytest.mark.parametrize(
    ("options", "message"),
    [
        ({"clustering": {"linking": {"had_distanc": 3}}}, "had_distance"),
        ({"clustering": {"iterations": []}}, "iterations"),
        ({"clustering": {"iterations": [{"name": "a"}, {"name": "a"}]}}, "share a name"),
        ({"clustering": {"layers": {"density_radius": -1}}}, "density_radius"),
        ({"clustering": "nowhere.yaml"}, "nowhere.yaml"),
    ],
)
def test_bad_configurations_name_the_field(options, message):
    with pytest.raises(InputError, match=message):
        make_backend("cluster", "clue", options, DETECTOR)
