"""The fused model: symmetry of its features, assignments and their energies, pairs and back, its domain, bad input."""

import json
import shutil
import subprocess
import sys

import awkward as ak
import numpy as np
import pyarrow as pa
import pytest
from face_particles import events_of, particle

from gen2reco.calibrate import candidates as cand
from gen2reco.config.block import load_block
from gen2reco.config.detector import Detector
from gen2reco.detector.propagate import propagate
from gen2reco.detector.tracks import make_tracks
from gen2reco.errors import InputError
from gen2reco.events import records
from gen2reco.events.schemas import IDENTITIES
from gen2reco.flow.recipes import Training
from gen2reco.flow.training_data import DataFiles
from gen2reco.flow.trainings import make_model
from gen2reco.flow.warm_start import Parent
from gen2reco.fuse.assignment import ELECTROMAGNETIC, HADRONIC, TRACKED, Assignment
from gen2reco.fuse.domain import Domain
from gen2reco.fuse.fused import RELEASE
from gen2reco.fuse.fused_config import SPECIES, DomainConfig, FeatureConfig, FusedSizes
from gen2reco.fuse.fused_model import FusedModel
from gen2reco.fuse.fused_recipe import FusedRecipe
from gen2reco.fuse.fused_trainer import FusedTrainer
from gen2reco.fuse.fused_training import vocabulary
from gen2reco.fuse.inputs import N_NEIGHBOURS, entering, features_of
from gen2reco.fuse.object_numbers import N_CODES, Items, configurations, kinds_of, numbers_of, object_columns
from gen2reco.fuse.pairs import load_pairs
from gen2reco.run.runner import Job
from gen2reco.run.runner import run as run_job
from gen2reco.run.sidecar import read_sidecar
from gen2reco.run.stage import Chunk, make_backend

CODES = (22, 11, -11, 13, 211, -211, 321, 130, 2112, -2112, 2212, -2212)

RINGS = FeatureConfig().rings


@pytest.fixture(scope="module")
def detector(request) -> Detector:
    return load_block(request.config.rootpath / "configs/detectors/hgcal.yaml", Detector)


@pytest.fixture(scope="module")
def fused(detector):
    """The release model, events outside its domain kept."""
    backend = make_backend("fuse", "fused", {"outside": "keep"}, detector)
    backend.prepare()
    return backend


def crowd(n: int, seed: int, turn: float = 0.0, flip: bool = False) -> list[dict]:
    """Many particles, some close together, in both endcaps."""
    rng = np.random.default_rng(seed)
    eta, phi = 2.0 + rng.normal(0, 0.25, n), rng.normal(0, 0.3, n) + turn
    side = np.where(rng.random(n) < 0.7, 1, -1) * (-1 if flip else 1)
    energy = np.exp(rng.uniform(0.5, 4, n))
    return [particle(int(rng.choice(CODES)), *row) for row in zip(energy, np.clip(eta, 1.6, 2.9) * side, phi)]


def inputs(lists: list[list[dict]], detector: Detector):
    particles = records.awkward(events_of(lists)).particles
    face = propagate(particles, detector)
    e = entering(face, make_tracks(face, particles, detector, np.random.default_rng(0)))
    return e, features_of(e, FeatureConfig())


def run(backend, lists: list[list[dict]], seed: int = 3):
    made = backend.run(Chunk(0, seed, 0, len(lists)), events_of(lists))
    records.check(made.table, "objects", "objects")
    return records.awkward(made.table), made.info


def test_neighbours_are_those_of_most_weight_and_rings_hold_their_energy(detector):
    e, t = inputs([crowd(60, 1), crowd(3, 2)], detector)
    rings = np.expm1(t.own[:, -1 - 2 * len(RINGS) : -1].astype(float)).reshape(len(e), len(RINGS), 2)
    sets = 2 * e.event + (e.side > 0)
    for i in range(len(e)):
        others = np.flatnonzero((sets == sets[i]) & (np.arange(len(e)) != i))
        d = np.hypot(*(e.position[others] - e.position[i]).T)
        weight = e.energy[others] / (d + 20) ** 2
        expected = others[np.argsort(-weight, kind="stable")][:N_NEIGHBOURS]
        assert t.neighbours[i][t.neighbours[i] >= 0].tolist() == expected.tolist()
        assert np.isclose(rings[i, :, 0].sum(), e.energy[others][d < RINGS[-1]].sum(), rtol=1e-4, atol=1e-3)
        assert np.isclose(
            rings[i, 0, 1], e.energy[others][(d < RINGS[0]) & e.is_a("photon", "electron")[others]].sum(), atol=1e-3
        )


@pytest.mark.parametrize("change", [{"turn": 1.3}, {"turn": -2.9}])
def test_features_do_not_depend_on_the_azimuth(detector, change):
    (_, a), (_, b) = (inputs([crowd(40, 5, **given)], detector) for given in ({}, change))
    assert np.allclose(a.own, b.own, atol=2e-2) and np.allclose(a.pair, b.pair, atol=2e-2)


def test_features_do_not_depend_on_the_order_of_particles(detector):
    some = [p | {"pdg": 22} for p in crowd(40, 6)]
    order = np.random.default_rng(0).permutation(len(some))
    (e, a), (f, b) = inputs([some], detector), inputs([[some[i] for i in order]], detector)
    place = np.argsort(order[f.particle])[np.argsort(np.argsort(e.particle))]
    assert np.allclose(a.own, b.own[place], atol=1e-5)


def test_particles_are_decided_after_their_more_energetic_neighbours(detector):
    e, t = inputs([crowd(80, 7)], detector)
    rounds = Assignment(e.energy, t.neighbours, np.zeros((1, N_CODES), np.float32)).rounds()
    for i in range(len(e)):
        harder = [j for j in t.neighbours[i] if j >= 0 and e.energy[j] > e.energy[i]]
        assert all(rounds[j] < rounds[i] for j in harder) and (rounds[i] == 0) == (not harder)


@pytest.mark.parametrize("seed", range(5))
def test_energy_of_the_particles_is_shared_out_whole(detector, seed):
    e, t = inputs([crowd(60, seed)], detector)
    codes = np.zeros((3, N_CODES), np.float32)
    codes[1, 0] = codes[2, 8] = 1
    rng = np.random.default_rng(seed)
    places = (t.neighbours >= 0).sum(1)
    fate = np.where(rng.random(len(e)) < 0.5, rng.integers(0, 3, len(e)), 3 + rng.integers(0, 99, len(e)) % places)
    c = Assignment(e.energy, t.neighbours, codes)
    taker = c.taker(fate)
    rank = np.argsort(np.argsort(-e.energy, kind="stable"))
    fate = np.where((taker >= 0) & (rank[taker] > rank), 0, fate)  # taken by harder ones alone: no circles
    assert np.isclose(c.groups(fate).sum(), e.energy.sum())
    assert (c.groups(fate)[c.taker(fate) >= 0] <= e.energy.sum()).all()


def test_codes_of_objects_by_kind():
    assert (ELECTROMAGNETIC, HADRONIC, TRACKED) == ([0, 1, 5, 6], [3, 4, 8, 9], [5, 6, 7, 8, 9])


def test_the_vocabulary_holds_what_is_common_and_shortens_the_rest():
    given = [()] * 50 + [(0,)] * 20 + [(8,)] * 20 + [(8, 3)] * 12 + [(8, 3, 4)] * 2 + [(2, 0)]
    known, choice = vocabulary(given, 10)
    assert known == [(), (0,), (8,), (8, 3)]
    assert [known[c] for c in choice[-3:]] == [(8, 3), (8, 3), ()]


def test_configurations_put_tracked_objects_first_then_the_most_energetic():
    order, made = configurations(np.array([2, 0, 2, 2]), np.array([3, 0, 8, 0]), np.array([9.0, 1.0, 2.0, 4.0]), 3)
    assert order.tolist() == [1, 2, 0, 3] and made == [(0,), (), (8, 0, 3)]
    assert kinds_of((8, 0, 3)) == [8, N_CODES, N_CODES + 3]


@pytest.fixture(scope="module")
def chain(detector, tmp_path_factory):
    """A sample folder of learned showers, clustered and calibrated: 60 events of 40 particles."""
    folder = tmp_path_factory.mktemp("chain")
    source = folder / "generate/00000.parquet"
    source.parent.mkdir()
    records.write(source, events_of([crowd(40, seed) for seed in range(60)]), "particles")
    for stage, backend in (("simulate", "ml"), ("cluster", "clue"), ("calibrate", "dnn")):
        output = folder / stage / "00000.parquet"
        output.parent.mkdir()
        run_job(Job(make_backend(stage, backend, {}, detector), output, 1, source, sample="x"))
        source = output
    return folder


def test_numbers_of_the_chains_objects_give_them_back(chain, detector):
    pairs, digest = load_pairs([chain / "calibrate/00000.parquet"], detector)
    assert digest == make_backend("calibrate", "dnn", {}, detector).model_digest
    assert not pairs.reference.any()
    objects = records.awkward(records.read(chain / "calibrate/00000.parquet")).objects
    columns, _ = object_columns(pairs.items, pairs.entering, detector, FeatureConfig().object_offset)
    assert len(pairs.items) == ak.sum(ak.num(objects))
    event = pairs.entering.event[pairs.items.owner]
    order = np.lexsort((pairs.energy, event))
    flat = {name: ak.to_numpy(ak.flatten(objects[ak.argsort(objects.energy)][name])) for name in objects.fields}
    for name, tolerance in {"energy": 1e-4, "eta": 2e-3, "phi": 2e-3, "energy_sigma": 1e-2}.items():
        assert np.allclose(columns[name][order], flat[name], rtol=tolerance, atol=tolerance), name
    for name in IDENTITIES:
        assert np.allclose(columns[f"p_{name}"][order], flat[f"p_{name}"], atol=1e-4), name


@pytest.mark.parametrize("energy", [0.3, 20.0, 403.0, 2000.0])
def test_energies_of_all_sizes_are_kept(detector, energy):
    e, _ = inputs([[particle(22, energy, 2.0)]], detector)
    flat = {"energy": energy, "energy_raw": 0.9 * energy, "energy_sigma": 0.05 * energy, "eta": 2.0, "phi": 0.4}
    flat |= {f"p_{name}": float(name == "photon") for name in IDENTITIES}
    flat = {name: np.array([value]) for name, value in flat.items()}
    none = np.zeros(1, np.int64)
    items = Items(none, none, numbers_of(e, none, none, flat, FeatureConfig.of(detector)))
    columns, _ = object_columns(items, e, detector, FeatureConfig().object_offset)
    for name in ("energy", "energy_raw", "energy_sigma", "eta", "phi"):
        assert np.isclose(columns[name][0], flat[name][0], rtol=1e-4), name


def test_pairs_of_other_events_are_refused(chain, detector, tmp_path):
    shutil.copytree(chain, tmp_path / "x")
    clusters = records.read(tmp_path / "x/cluster/00000.parquet")
    records.write(tmp_path / "x/cluster/00000.parquet", clusters.slice(0, 40), "clusters")
    with pytest.raises(InputError, match="not made of"):
        load_pairs([tmp_path / "x/calibrate/00000.parquet"], detector)


def test_a_training_resumes_and_its_model_runs(chain, detector, tmp_path):
    short = Training(steps=6, batch=32, checkpoint_every=2)
    recipe = FusedRecipe(
        choice=short, marginals=short, teacher=short, student=short, pairs=200, evaluations=2, rarest=3
    )
    files = DataFiles([chain / "calibrate/00000.parquet"])
    made = [make_model(FusedTrainer, recipe, files, tmp_path / name)[0] for name in ("a", "b")]
    (tmp_path / "b.partial/student/done.safetensors").unlink()
    again = make_model(FusedTrainer, recipe, files, tmp_path / "b")[0]
    assert made[0].digest == made[1].digest == again.digest
    still = short.model_copy(update={"steps": 0})
    parent = Parent(tmp_path / "a", made[0].digest)
    stayed = recipe.model_copy(update={**dict.fromkeys(("choice", "marginals", "teacher"), still), "rarest": 30})
    warm = make_model(FusedTrainer, stayed, files, tmp_path / "warm", parent=parent)[0]
    before, after = made[0].weights(), warm.weights()
    assert all(np.array_equal(before[k], after[k]) for k in after if k.startswith(("choice", "teacher", "objects.enc")))
    assert warm.config["configurations"] == made[0].config["configurations"]
    backend = make_backend("fuse", "fused", {"model": str(tmp_path / "a"), "outside": "keep"}, detector)
    backend.prepare()
    objects, info = run(backend, [crowd(40, 1)])
    assert info["network_evaluations"] == 1 and len(objects) == 1


def test_same_seed_same_bytes_whatever_the_workers(fused, detector, tmp_path):
    source = tmp_path / "particles.parquet"
    records.write(source, events_of([crowd(30, seed) for seed in range(6)]), "particles")
    for workers in (1, 2):
        run_job(Job(fused, tmp_path / f"{workers}.parquet", 5, source, sample="x", chunk_events=2, workers=workers))
    assert (tmp_path / "1.parquet").read_bytes() == (tmp_path / "2.parquet").read_bytes()
    assert read_sidecar(tmp_path / "1.parquet")["network_evaluations"] == 6


def test_events_without_particles_in_the_endcaps_have_no_objects(fused):
    objects, info = run(fused, [[], [particle(22, 20.0, 0.5)], [particle(22, 50.0, 2.0)], [particle(14, 50.0, 2.0)]])
    assert ak.num(objects.objects).tolist()[:2] == [0, 0] and ak.num(objects.objects).tolist()[3] == 0
    assert ak.num(objects.objects)[2] >= 1 and info["particles_at_face"] == 1


def test_objects_are_numbers_that_make_sense(fused):
    made, _ = run(fused, [crowd(60, seed) for seed in range(8)])
    objects = made.objects
    total = sum(objects[f"p_{name}"] for name in IDENTITIES)
    assert ak.all(abs(total - 1) < 1e-4) and ak.all(objects.energy > 0) and ak.all(objects.energy_sigma > 0)
    left_over = made.object_particle < 0  # what tracks left over comes last
    assert ak.all(left_over[:, :-1] <= left_over[:, 1:]) and ak.all(objects.trackster == -1)
    assert ak.all(abs(objects.eta) > 1.3) and ak.all(abs(objects.eta) < 3.2)
    own, tracked = made.particles[made.object_particle], made.object_track >= 0
    assert ak.any(tracked) and ak.all(made.tracks.particle[made.object_track[tracked]] == made.object_particle[tracked])
    assert ak.all((own.pz * np.sinh(objects.eta) > 0)[~left_over]) and ak.all(abs(own.pdg[tracked]) != 22)


@pytest.mark.parametrize("outside", ["keep", "ml", "geant4"])
def test_events_far_outside_are_counted_and_marked_or_sent_to_the_chain(tmp_path, outside):
    source, output = tmp_path / "particles.parquet", tmp_path / "objects.parquet"
    hard = [particle(13, 3000.0, 2.2)]
    records.write(source, events_of([[particle(22, 30.0, 2.0)], hard, []]), "particles")
    command = [sys.executable, "-m", "gen2reco.cli", "fuse", source, output, "--option", f"outside={outside}"]
    done = subprocess.run(list(map(str, command)), capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    made, facts = records.awkward(records.read(output, "objects")), read_sidecar(output)
    assert facts[f"events_outside_to_{outside}"] == 1 and facts["events_outside_by_hardest"] == 1
    assert made.event.tolist() == [100, 101, 102] and not ak.any(made.out_of_range[0])
    if outside == "keep":
        assert ak.all(made.out_of_range[1]) and ak.all(made.objects.trackster[1] == -1)
    else:
        assert ak.any(made.objects.trackster[1] >= 0)


def test_events_far_outside_are_refused_if_so_asked(detector):
    backend = make_backend("fuse", "fused", {"outside": "refuse"}, detector)
    backend.prepare()
    with pytest.raises(InputError, match=r"event 101: outside .*9000 GeV of one particle, more than 506"):
        run(backend, [[particle(22, 30.0, 2.0)], [particle(22, 9000.0, 2.2)]])


def test_the_domain_tells_blown_up_and_lost_energy():
    stated = {"largest": dict.fromkeys(("particles", "energy", "hardest", "density"), 10.0), "edges": [1, 10, 100]}
    domain = Domain.of(DomainConfig(**stated, response=[(0.0, 3.0), (0.5, 1.5)]))
    outside = domain.response_outside(np.array([5.0, 50.0, 50.0, 50.0, 0.5]), np.array([0.0, 0.0, 50.0, 90.0, 9.0]))
    assert outside.tolist() == [False, True, False, True, False]


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda c: c["pins"].update(calibration="0" * 64), "calibration is .* trained behind calibration 0000"),
        (lambda c: c["pins"].update(geometry="0" * 64), "trained at 47 layers of 10 mm; detector"),
        (lambda c: c.update(kind="showers"), "expected `fused`"),
        (lambda c: c["configurations"].pop(), "weights do not fit"),
    ],
)
def test_models_that_do_not_fit_are_refused(detector, tmp_path, change, message):
    shutil.copytree(RELEASE, tmp_path / "model")
    config = json.loads((tmp_path / "model/config.json").read_text())
    change(config)
    (tmp_path / "model/config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=message):
        make_backend("fuse", "fused", {"model": str(tmp_path / "model")}, detector).prepare()


@pytest.mark.parametrize("bad", [float("nan"), float("inf")])
def test_momenta_that_are_no_numbers_are_refused(fused, tmp_path, bad):
    table = events_of([[particle(22, 30.0, 2.0) | {"px": bad}]])
    with pytest.raises(InputError, match=r"px|particles"):
        records.write(tmp_path / "particles.parquet", table, "particles")
        run_job(Job(fused, tmp_path / "objects.parquet", 1, tmp_path / "particles.parquet", sample="x"))
    assert not (tmp_path / "objects.parquet").exists()


def test_the_detector_is_the_models_own_where_none_is_given(detector):
    assert make_backend("fuse", "fused", {}).detector.geometry_digest == detector.geometry_digest


def test_links_to_neighbours_that_are_not_there_have_no_chance(detector):
    import torch

    e, t = inputs([[particle(22, 30.0, 2.0)]], detector)
    model = FusedModel([(), (0,)], FusedSizes(), FeatureConfig())
    c = Assignment(e.energy, t.neighbours, model.codes)
    own, pair = c.features(t, np.zeros(1, np.int64), np.arange(1), earlier=True)
    own = np.concatenate([own[:, :-2], np.ones((1, 1), np.float32), own[:, -2:]], 1)
    chance = model.choice(torch.from_numpy(own), torch.from_numpy(pair)).softmax(1)
    assert chance[0, 2:].sum() == 0


def test_objects_follow_the_candidates_of_the_chain(chain, detector):
    data = records.awkward(records.read(chain / "cluster/00000.parquet"))
    pairs, _ = load_pairs([chain / "calibrate/00000.parquet"], detector)
    tracked = pairs.items.kind % N_CODES >= len(IDENTITIES)
    assert abs(tracked.sum() - (cand.build(data, detector.front_face).track >= 0).sum()) <= 1
    own = np.bincount(pairs.items.owner, minlength=len(pairs.entering))
    assert (own[pairs.taken >= 0] == 0).all() and [len(c) for c in pairs.configurations] == own.tolist()


def test_a_table_with_rows_replaced_keeps_its_order(fused):
    from gen2reco.fuse.fused import _replaced

    a, b = (pa.table({"event": range(lo, lo + n)}) for lo, n in ((0, 5), (10, 2)))
    assert _replaced(a, np.array([1, 3]), b)["event"].to_pylist() == [0, 10, 2, 11, 4]


def test_the_release_keeps_its_own_species(fused, detector, monkeypatch):
    """Its config names none: those of its time hold, whatever is distinguished since."""
    monkeypatch.setitem(SPECIES, "hyperon", "neutral")
    again = make_backend("fuse", "fused", {"outside": "keep"}, detector)
    again.prepare()
    lists = [crowd(30, 1), crowd(20, 2)]
    assert ak.to_list(run(again, lists)[0].objects) == ak.to_list(run(fused, lists)[0].objects)


def test_species_that_a_model_does_not_name_are_taken_as_broader_ones(detector):
    e, t = inputs([[particle(pdg, 20.0, 2.0) for pdg in (22, 211, 321, -2212, 130, 2112)]], detector)
    config = FeatureConfig(species=["pion", "photon", "neutral"])
    own = features_of(e, config).own
    assert own.shape[1] == config.size == t.own.shape[1] - 7
    assert own[:, :3].argmax(1).tolist() == [1, 0, 0, 0, 2, 2] and (own[:, :3].sum(1) == 1).all()
    assert (own[:, 3:] == t.own[:, 10:]).all()


def test_a_model_of_other_species_and_scales(detector, tmp_path):
    """Weights of the release without one input for species, as a model that names fewer would have them."""
    from safetensors.numpy import load_file, save_file

    shutil.copytree(RELEASE, tmp_path / "model")
    config = json.loads((tmp_path / "model/config.json").read_text())
    config["features"] = {"species": FeatureConfig().species[:9], "front_face": 3100.0}
    (tmp_path / "model/config.json").write_text(json.dumps(config))
    weights = load_file(tmp_path / "model/weights.safetensors")
    for name in weights:
        if name.endswith(("encoder.own.weight", "encoder.seen.weight")):
            weights[name] = np.ascontiguousarray(np.delete(weights[name], 9, axis=1))
    save_file(weights, tmp_path / "model/weights.safetensors")
    other = make_backend("fuse", "fused", {"model": str(tmp_path / "model"), "outside": "keep"}, detector)
    other.prepare()
    assert other.config.features.front_face == 3100.0
    assert ak.num(run(other, [crowd(30, 1)])[0].objects)[0] > 0


def test_radii_go_with_the_face(detector):
    made = FeatureConfig.of(detector.model_copy(update={"front_face": 1600.0}))
    assert (made.front_face, made.radius, made.rings) == (1600.0, (350.0, 175.0), FeatureConfig().rings)
    assert FeatureConfig.of(detector) == FeatureConfig()
    with pytest.raises(ValueError, match="rising"):
        FeatureConfig(rings=[40.0, 20.0])
