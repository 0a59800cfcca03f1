"""Jets and the whole training on toy showers: matching, neutral starts, a usable model, resumed alike."""

import json

import awkward as ak
import numpy as np
import pytest
import torch
from calibrate_events import DETECTOR, event, particle, table, track

from gen2reco.calibrate.calibration_recipe import CalibrationRecipe
from gen2reco.calibrate.calibration_trainer import CalibrationTrainer
from gen2reco.calibrate.dnn import Dnn
from gen2reco.calibrate.jet_features import CONSTITUENT_NAMES, JET_NAMES, MAX_CONSTITUENTS, jet_inputs
from gen2reco.calibrate.jet_network import JetNetwork, JetSizes, scales
from gen2reco.calibrate.jet_training import flat_places, match
from gen2reco.calibrate.jets import object_jets
from gen2reco.errors import InputError
from gen2reco.events import records
from gen2reco.events.provenance import PROVENANCE_KEY
from gen2reco.events.schemas import IDENTITIES
from gen2reco.flow.training_data import DataFiles
from gen2reco.flow.trainings import make_model
from gen2reco.flow.warm_start import Parent
from gen2reco.run.model_folder import model_digest, open_model
from gen2reco.run.stage import Chunk


def points(*given):
    return [{"eta": eta, "phi": phi} for eta, phi in given]


def test_jets_match_when_each_is_the_others_nearest():
    true = ak.Array([points((2.0, 0.0), (2.1, 0.05), (-2.0, 3.1)), points(), points((2.0, 0.0))])
    found = ak.Array([points((2.02, 0.0), (-2.0, -3.1)), points((2.0, 0.0)), points((2.3, 0.0))])
    assert match(true, found).tolist() == [[0, -1, 1], [], [-1]]


def test_an_event_without_jets_has_no_match():
    jets = ak.Array([points(), points((2.0, 0.0), (2.5, 0.0)), points((-2.0, 1.0))])
    assert flat_places(ak.Array([[-1], [1, -1], []]), jets).tolist() == [-1, 1, -1]
    assert flat_places(ak.Array([[], [], [0]]), jets).tolist() == [2]


def objects(*given):
    base = {"energy_sigma": 1.0, "energy_raw": 9.0, **{f"p_{name}": 0.2 for name in IDENTITIES}}
    return [{"energy": e, "eta": eta, "phi": phi, **base} for e, eta, phi in given]


def jets_of():
    made = ak.Array([objects((300.0, 2.0, 3.1), (100.0, 2.05, -3.1), (50.0, -2.5, 1.0)), objects((200.0, -1.8, 0.0))])
    momentum = ak.Array([[0.0, 99.0, 0.0], [0.0]])
    tracks = ak.Array([[{"pt": 25.0, "eta": 2.05, "phi": -3.1}], [{"pt": 9.0, "eta": 2.0, "phi": 0.0}]])
    jets = object_jets(made)
    return jets, jet_inputs(jets, made, momentum, tracks)


def test_jet_inputs_have_their_names_and_wrap_around():
    jets, inputs = jets_of()
    assert inputs.jet.shape == (ak.sum(ak.num(jets)), len(JET_NAMES))
    assert inputs.constituents.shape[1:] == (MAX_CONSTITUENTS, len(CONSTITUENT_NAMES))
    assert np.isfinite(inputs.jet).all() and np.isfinite(inputs.constituents).all()
    leading = dict(zip(JET_NAMES, inputs.jet[0]))
    assert np.exp(leading["log_constituents"]) == pytest.approx(2, abs=1e-5) and leading["width"] < 0.1
    assert leading["track_pt_share"] == pytest.approx(25.0 / jets.pt[0, 0], rel=1e-4)
    assert np.exp(inputs.constituents[0, :2, 0]).sum() == pytest.approx(1.0, abs=1e-3)


def test_an_untrained_jet_network_leaves_jets_alone():
    inputs = jets_of()[1]
    torch.manual_seed(0)
    network = JetNetwork(JetSizes(jet=len(JET_NAMES), constituents=len(CONSTITUENT_NAMES))).eval()
    assert np.allclose(scales(network, inputs, np.zeros(1), np.array([-9.0, 9.0])), 1.0, atol=1e-5)
    planted = scales(network, inputs, np.array([np.log(0.8)]), np.array([-9.0, 9.0]))
    assert np.allclose(planted, 1.25, rtol=1e-5)


def toy_events(n, seed=5):
    """Photons in front, pions deep with a track, at 0.9 and 0.7 of their energy, one an event."""
    rng = np.random.default_rng(seed)
    made = []
    for k in range(n):
        energy, eta, phi = rng.uniform(10, 100), rng.uniform(1.8, 2.6), rng.uniform(-3, 3)
        pion = k % 2
        layers = range(20, 40) if pion else range(4, 14)
        measured = energy * (0.7 if pion else 0.9) * rng.normal(1, 0.03)
        link = {"trackster": 0, "particle": 0, "reco_to_sim": 0.0, "sim_to_reco": 0.0, "shared_energy": measured}
        tracks = [track(eta, phi, energy)] if pion else []
        given = particle(211 if pion else 22, eta, phi, energy)
        made.append(event([(eta, phi, measured, layers)], (), tracks, [given], [link]))
    return table(made)


def write_clusters(folder, name="a", **story):
    stage = {"backend": "clue", "version": 1, "options": {}, "detector": DETECTOR.model_dump(mode="json"), **story}
    path = folder / "toy" / "cluster" / f"{name}.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    records.write(path, toy_events(120), "clusters", {PROVENANCE_KEY: json.dumps({"cluster": stage})})
    return path


def settings(steps):
    sizes = {"point_width": 8, "width": 16, "dropout": 0.1}
    training = {"steps": steps, "batch": 32, "learning_rate": 3e-3, "warmup": 5, "average": 0.9, "checkpoint_every": 20}
    return CalibrationRecipe.model_validate({"objects": {**sizes, "training": training}})


def calibration(paths, output, recipe, held_out=None, watch=None):
    return make_model(CalibrationTrainer, recipe, DataFiles(paths, held_out or {}), output, watch=watch)


def test_one_call_makes_a_model_that_calibrates(tmp_path):
    path = write_clusters(tmp_path)
    made = calibration([path], tmp_path / "model", settings(120), {"again": [path]})
    assert [model.kind for model in made] == ["calibration"]  # guns make no jets
    dnn = Dnn(Dnn.Options(model=str(tmp_path / "model")), DETECTOR)
    assert dnn.model_digest == made[0].digest
    dnn.prepare()
    fresh = toy_events(60, seed=9)
    out = records.awkward(dnn.run(Chunk(0, 1, 0, 60), fresh).table)
    response = ak.to_numpy(out.objects.energy[:, 0] / out.particles.energy[:, 0])
    assert np.mean(response) == pytest.approx(1.0, abs=0.03) and np.std(response) < 0.06
    assert np.mean(ak.to_numpy(abs(out.objects.pdg[:, 0]) == abs(out.particles.pdg[:, 0]))) > 0.9
    card = (tmp_path / "model/objects/card.md").read_text()
    assert made[0].digest in card and made[0].pins["clustering"] in card and "again_photon_hadron_auc" in card


def test_a_resumed_training_gives_the_same_weights(tmp_path):
    path = write_clusters(tmp_path)
    whole = calibration([path], tmp_path / "whole", settings(40))[0]
    started = tmp_path / "parts.partial/objects"

    class Stopped(Exception):
        pass

    def stop(part, step, losses):
        if step == 20:
            raise Stopped

    with pytest.raises(Stopped):
        calibration([path], tmp_path / "parts", settings(40), watch=stop)
    assert (started / "checkpoint.safetensors").is_file()
    assert calibration([path], tmp_path / "parts", settings(40))[0].digest == whole.digest


def test_a_warm_start_begins_with_the_earlier_network_and_replays_its_data(tmp_path):
    paths = [write_clusters(tmp_path), write_clusters(tmp_path, "b")]
    calibration(paths[:1], tmp_path / "first", settings(20))
    parent = Parent(tmp_path / "first", model_digest(tmp_path / "first"))
    files = DataFiles(paths, replayed=1, replay=0.3)

    def warm(name, recipe):
        return make_model(CalibrationTrainer, recipe, files, tmp_path / name, parent=parent)[0]

    still = warm("still", settings(0))
    before = open_model(tmp_path / "first/objects", "calibration").weights()
    assert all(np.array_equal(values, before[name]) for name, values in still.weights().items())
    assert still.config["parent"] == parent.digest and "30 % of each batch" in (still.folder / "card.md").read_text()
    wide = settings(0)
    wide = wide.model_copy(update={"objects": wide.objects.model_copy(update={"width": 24})})
    with pytest.raises(InputError, match=r"first/objects: cannot start .* its `sizes.width` is 16, here it is 24"):
        warm("wide", wide)
    with pytest.raises(InputError, match=r"still.partial: its checkpoints are of another parent"):
        calibration(paths, tmp_path / "still", settings(0))


def test_files_made_differently_are_refused(tmp_path):
    paths = [write_clusters(tmp_path), write_clusters(tmp_path, "b", version=2)]
    with pytest.raises(InputError, match=r"a.parquet was made with .*b.parquet with .*train on files made alike"):
        calibration(paths, tmp_path / "model", settings(1))


def jet_events(n, seed=8):
    """Two jets of six photons an event, at 0.8 of their energy."""
    rng, made = np.random.default_rng(seed), []
    for _ in range(n):
        axes = rng.uniform((1.8, -3), (2.5, 3), (2, 2)) * [[1, 1], [-1, 1]]
        spread = rng.normal(0, 0.12, (2, 6, 2))
        given = [(*at, e) for at, e in zip((axes[:, None] + spread).reshape(-1, 2), rng.uniform(20, 80, 12))]
        links = [
            {"trackster": i, "particle": i, "reco_to_sim": 0.0, "sim_to_reco": 0.0, "shared_energy": 0.8 * e}
            for i, (_, _, e) in enumerate(given)
        ]
        photons = [particle(22, *one) for one in given]
        made.append(event([(eta, phi, 0.8 * e) for eta, phi, e in given], (), (), photons, links))
    return table(made)


def test_jets_are_calibrated_behind_the_objects_and_start_from_earlier_ones(tmp_path):
    path = write_clusters(tmp_path, "jets")
    story = records.metadata(records.open_file(path))[PROVENANCE_KEY]
    records.write(path, jet_events(80), "clusters", {PROVENANCE_KEY: story})
    short = {"steps": 4, "batch": 16, "warmup": 1, "checkpoint_every": 2}
    data = {"objects": {"point_width": 8, "width": 16, "training": short}, "jets": {"training": short}}
    objects, jets = calibration([path], tmp_path / "model", CalibrationRecipe.model_validate(data))
    dnn = Dnn(Dnn.Options(model=str(tmp_path / "model")), DETECTOR)
    assert dnn.jet_model is not None and dnn.jet_model.digest == jets.digest
    assert jets.pins["objects"] == dnn.model.digest == objects.digest
    parent, short["steps"] = Parent(tmp_path / "model", model_digest(tmp_path / "model")), 0
    files = DataFiles([path, path], replayed=1, replay=0.5)
    recipe = CalibrationRecipe.model_validate(data)
    warm = make_model(CalibrationTrainer, recipe, files, tmp_path / "warm", parent=parent)
    for before, after in zip((objects, jets), warm):
        assert all(np.array_equal(values, before.weights()[name]) for name, values in after.weights().items())
