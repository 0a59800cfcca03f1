"""Features, network, corrections: symmetries that must hold, planted errors that must be found, models refused."""

from dataclasses import replace

import awkward as ak
import numpy as np
import pytest
import torch
from calibrate_events import DETECTOR, FACE, GEOMETRY, event, particle, table, track

from gen2reco.calibrate import candidates as cand
from gen2reco.calibrate import dnn as dnn_module
from gen2reco.calibrate.corrections import Corrections, Predicted, fit_closure, fit_temperature, fit_width
from gen2reco.calibrate.dnn import RELEASE, Dnn
from gen2reco.calibrate.export import INPUTS, example_inputs, export_onnx
from gen2reco.calibrate.features import CROWDING, LOG_WEIGHT, POINT_NAMES, TRACK_NAMES, VERSION, make_inputs, names
from gen2reco.calibrate.network import CalibrationNetwork, Sizes, energy_loss, moments
from gen2reco.calibrate.objects import summarise
from gen2reco.calibrate.predict import KIND, load_network, predict
from gen2reco.calibrate.targets import make_targets
from gen2reco.errors import InputError
from gen2reco.events import records
from gen2reco.events.schemas import IDENTITIES
from gen2reco.events.truth import incident_energy
from gen2reco.run.model_folder import open_model, save_model
from gen2reco.run.stage import Chunk

SIZES = Sizes(
    calorimeter=len(names(GEOMETRY)), track=len(TRACK_NAMES), points=len(POINT_NAMES), point_width=8, width=16
)


def network(seed=1, trained=True):
    torch.manual_seed(seed)
    made = CalibrationNetwork(SIZES)
    if trained:
        for layer in (made.per_point, made.energy):
            torch.nn.init.normal_(layer.weight, std=0.3)
    return made.eval()


def inputs_of(*events):
    data = records.awkward(table(list(events)))
    candidates = cand.build(data, FACE)
    return make_inputs(data, candidates, summarise(data, candidates, GEOMETRY), GEOMETRY), candidates, data


def busy(turn=0.0, side=1):
    showers = [(side * 2.0, 0.5 + turn, 50.0, range(3, 30)), (side * 2.1, 0.6 + turn, 5.0), (-side * 1.8, turn, 9.0)]
    loose = [(side * 2.0, 0.52 + turn, 1.0, range(30, 40))]
    given = particle(211, side * 2.0, 0.5 + turn, 60.0)
    return event(showers, loose, [track(side * 2.0, 0.5 + turn, 60.0)], [given])


@pytest.mark.parametrize("other", [busy(turn=1.3), busy(side=-1)])
def test_features_do_not_see_rotations_and_mirrors(other):
    one, two = inputs_of(busy())[0], inputs_of(other)[0]
    order = np.argsort(-one.calorimeter[:, 0]), np.argsort(-two.calorimeter[:, 0])
    for name in ("calorimeter", "track"):
        assert np.allclose(getattr(one, name)[order[0]], getattr(two, name)[order[1]], atol=2e-4)


def test_feature_columns_have_their_names():
    made, candidates, _ = inputs_of(busy(), event([]))
    assert made.calorimeter.shape == (len(candidates), len(names(GEOMETRY)))
    assert made.track.shape[1] == len(TRACK_NAMES) and made.points.shape[1] == len(POINT_NAMES)
    assert len(set(names(GEOMETRY))) == len(names(GEOMETRY)) and names(GEOMETRY)[CROWDING] == "near_200"
    columns = dict(zip(names(GEOMETRY), made.calorimeter[np.argmax(made.calorimeter[:, 0])]))
    shares = [columns[f"share_{layer}"] for layer in range(1, GEOMETRY.n_layers + 1)]
    assert sum(shares) == pytest.approx(1.0, abs=1e-5)
    assert columns["log_energy"] == pytest.approx(np.log(51.0), abs=1e-5)
    assert columns["loose_share"] == pytest.approx(1 / 51.0, abs=1e-5)
    assert columns["abs_eta"] == pytest.approx(2.0, abs=1e-3)


def test_features_are_the_sums_they_say():
    made, candidates, data = inputs_of(busy(), event([(2.2, 0.4, 30.0, range(1, 48)), (2.2, 0.5, 20.0)]))
    flat = {name: ak.to_numpy(ak.flatten(data.layer_clusters[name])) for name in ("x", "y", "z", "energy", "layer")}
    columns = dict(zip(names(GEOMETRY), made.calorimeter.T))
    for k in range(len(candidates)):
        mine = candidates.of_cluster == k
        x, y, z, energy, layer = (flat[name][mine].astype(float) for name in flat)
        share, layer = energy / energy.sum(), layer.astype(int) - 1
        u, v = x * FACE / abs(z), y * FACE / abs(z)
        weight = np.maximum(0, LOG_WEIGHT + np.log(share))
        centre = np.array([weight @ u, weight @ v]) / weight.sum()
        radius = np.hypot(u - centre[0], v - centre[1]) * abs(z) / FACE
        em = GEOMETRY.electromagnetic[layer]
        wanted = {
            "depth_mean": share @ GEOMETRY.depth_lambda[layer],
            "dense_5": share @ (energy / GEOMETRY.gev_per_mip[layer] / 3 > 5),
            "log_clusters": np.log1p(mine.sum()),
            "log_cells": np.log1p(3 * mine.sum()),
            "em_share": share @ em,
            "largest_share": share.max(),
            "radius_em": np.log1p(share @ (radius * em) / max(share @ em, 1e-6) / 10),
        }
        assert {name: columns[name][k] for name in wanted} == pytest.approx(wanted, rel=1e-4, abs=1e-4)
        assert made.centre[k, :2] == pytest.approx(centre, abs=1e-2)
        points = made.points[made.offsets[k] : made.offsets[k + 1]]
        assert len(points) == mine.sum() and (np.diff(points[:, 2]) <= 0).all()
        assert np.exp(points[:, 2]) == pytest.approx(np.sort(energy)[::-1], rel=1e-4)


def test_no_candidates_no_rows():
    made, candidates, _ = inputs_of(event([]), event([]))
    assert len(made) == len(candidates) == 0 and made.offsets.tolist() == [0]
    assert len(predict(network(), made).log_ratio) == 0


def test_true_energies_are_shared_out_and_none_is_lost():
    particles = [particle(22, 2.0, 0.5, 50.0), particle(2112, 2.0, 1.5, 30.0)]
    associations = [
        {"trackster": 0, "particle": 0, "reco_to_sim": 0.0, "sim_to_reco": 0.0, "shared_energy": 30.0},
        {"trackster": 1, "particle": 0, "reco_to_sim": 0.0, "sim_to_reco": 0.0, "shared_energy": 10.0},
        {"trackster": 1, "particle": 1, "reco_to_sim": 0.0, "sim_to_reco": 0.0, "shared_energy": 20.0},
    ]
    one = event([(2.0, 0.5, 30.0), (2.0, 1.5, 30.0)], particles=particles, associations=associations)
    _, candidates, data = inputs_of(event([]), one)
    targets = make_targets(data, candidates)
    neutron = incident_energy([2112], [30.0])[0]
    assert targets.energy.tolist() == pytest.approx([37.5, 12.5 + neutron], rel=1e-5)
    assert targets.identity.tolist() == [0, 4] and targets.particle.tolist() == [0, 1]
    assert targets.purity[1] == pytest.approx(neutron / (12.5 + neutron), rel=1e-5)


def test_an_untrained_network_gives_the_plain_sum():
    made = inputs_of(busy())[0]
    assert np.allclose(predict(network(trained=False), made).log_ratio, 0.0, atol=1e-5)


def test_padding_and_order_of_points_do_not_matter():
    net = network()
    x = example_inputs(net, 4, 9)
    wider = [*x[:2], *(torch.cat([part, torch.zeros_like(part)], 1) for part in x[2:])]
    turned = [*x[:2], *(part.flip(1) for part in x[2:])]
    for other in (wider, turned):
        assert all(torch.allclose(a, b, atol=1e-4) for a, b in zip(net(*x), net(*other)))


def test_energy_and_direction_do_not_see_the_track():
    net = network()
    x = example_inputs(net, 4, 9)
    one, two = net(*x), net(x[0], x[1] + 1, *x[2:])
    assert all(torch.equal(a, b) for a, b in zip(one[1:], two[1:]))
    assert not torch.allclose(one.logits, two.logits)


def test_mixture_moments_and_likelihood():
    answer = network()(*example_inputs(network(), 5, 6))
    mean, sigma = moments(answer)
    grid = torch.linspace(-40, 40, 80001)
    density = torch.stack([torch.exp(-energy_loss(answer, x.expand(5))) for x in grid]) / np.sqrt(2 * np.pi)
    step = float(grid[1] - grid[0])
    assert torch.allclose(density.sum(0) * step, torch.ones(5), atol=1e-3)
    found = (density * grid[:, None]).sum(0) * step
    assert torch.allclose(found, mean, atol=1e-2)
    assert torch.allclose(((density * (grid[:, None] - found) ** 2).sum(0) * step).sqrt(), sigma, rtol=2e-2)


def answers(log_energy, sigma, crowding=0.0, logits=None):
    n = len(log_energy)
    logits = np.zeros((n, 5)) if logits is None else logits
    return Predicted(logits, np.zeros(n), sigma, np.zeros((n, 2)), log_energy, np.zeros(n) + crowding)


@pytest.mark.parametrize("n", [0, 1, 11, 12, 13, 25, 40, 200])
def test_closures_of_few_candidates_stay_near_the_data(n):
    rng = np.random.default_rng(n)
    true = rng.uniform(2, 100, n)
    found = np.polyval(fit_closure(0.9 * true, true), np.log(np.array([2.0, 20.0, 100.0]) / 20))
    assert found == pytest.approx(np.log(0.9) if n >= 12 else 0.0, abs=0.02)


def test_widths_follow_the_crowd():
    """Pulls that are wider in a crowd get uncertainties as much larger; those of a single particle keep theirs."""
    rng = np.random.default_rng(4)
    crowding, x = rng.choice([0.0, 1.5], 20000), rng.uniform(-2, 2, 20000)
    pull = rng.normal(size=len(x)) * np.where(crowding > 0, 1.8, 1.1)
    columns = np.stack([np.ones(len(x)), x, crowding], axis=1)
    scale = np.exp(columns @ fit_width(pull, columns, np.full(len(x), 1 / len(x))))
    for crowd in (0.0, 1.5):
        covered = np.abs(pull / scale)[crowding == crowd] < 1
        assert covered.mean() == pytest.approx(0.6827, abs=0.015)


def test_temperatures_make_probabilities_frequencies():
    rng = np.random.default_rng(6)
    logits, hot = rng.normal(size=(30000, 5)) * 2, rng.random(30000) < 0.5
    p = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    identity = (p.cumsum(axis=1) > rng.random((len(p), 1))).argmax(axis=1)
    columns = np.stack([np.ones(len(p)), hot], axis=1)
    overconfident = logits * np.where(hot, 3.0, 1.0)[:, None]
    found = fit_temperature(overconfident, identity, columns, np.full(len(p), 1 / len(p)))
    assert np.exp(found) == pytest.approx([1.0, 3.0], rel=0.1)
    few = fit_temperature(overconfident[:0], identity[:0], columns[:0], np.zeros(0))
    assert (few == 0).all() and (fit_width(np.zeros(0), columns[:0], np.zeros(0)) == 0).all()


def test_closure_takes_a_planted_response_off():
    rng = np.random.default_rng(1)
    true = np.exp(rng.uniform(np.log(2), np.log(200), 4000))
    measured = true * 0.9 * (true / 20) ** 0.03 * rng.normal(1, 0.05, len(true))
    closure = np.stack([fit_closure(measured, true)] * 2)
    limits = np.log(np.array([2.0, 200.0]) / 20)
    fitted = replace(Corrections.none(), closure=closure, closure_range=limits)
    answer = answers(np.log(measured), np.full(len(true), 0.05))
    energy, _ = fitted.energy(measured, answer)
    for low, high in ((5, 20), (20, 60), (60, 150)):
        inside = (true > low) & (true < high)
        assert np.mean(energy[inside] / true[inside]) == pytest.approx(1.0, abs=0.006)


@pytest.fixture
def folder(tmp_path):
    return write_model(tmp_path / "objects")


def write_model(folder, **pinned):
    made, _, _ = inputs_of(busy())
    values = np.hstack([made.calorimeter, made.track])
    config = {
        "sizes": SIZES.model_dump(mode="json"),
        "corrections": Corrections.none().as_json(),
        "valid_range": {"low": (values.min(0) - 0.01).tolist(), "high": (values.max(0) + 0.01).tolist()},
    }
    pinned = {"features": VERSION, "geometry": DETECTOR.geometry_digest, "clustering": "c" * 64, **pinned}
    weights = {name: value.numpy() for name, value in network().state_dict().items()}
    return save_model(folder, KIND, config, pinned, weights, "# Test").folder


def backend(folder):
    return Dnn(Dnn.Options(model=str(folder.parent)), DETECTOR)


def test_objects_are_valid_and_strange_ones_flagged(folder):
    dnn = backend(folder)
    dnn.prepare()
    strange = event([(2.9, 0.5, 5000.0)])
    made = dnn.run(Chunk(0, 1, 0, 3), table([busy(), event([]), strange]))
    records.check(made.table, "objects", "test")
    out = records.awkward(made.table)
    assert ak.num(out.objects).tolist() == [3, 0, 1] == ak.num(out.out_of_range).tolist()
    assert out.out_of_range[0].tolist() == [False] * 3 and out.out_of_range[2].tolist() == [True]
    assert made.info["objects_out_of_range"] == 1 and made.info["network_evaluations"] == 4
    chances = np.stack([ak.to_numpy(ak.flatten(out.objects[f"p_{name}"])) for name in IDENTITIES], axis=1)
    assert (chances >= 0).all() and np.allclose(chances.sum(axis=1), 1.0, atol=1e-5)
    flat = {name: ak.to_numpy(ak.flatten(out.objects[name])) for name in out.objects.fields}
    assert np.abs(flat["pdg"]).tolist() == np.array([22, 11, 13, 211, 130])[chances.argmax(axis=1)].tolist()
    assert np.sort(flat["energy_raw"]).tolist() == pytest.approx([5.0, 9.0, 51.0, 5000.0], rel=1e-4)
    assert (flat["energy"] > 0).all() and (flat["energy_sigma"] > 0).all()
    at = {5.0: (2.1, 0.6), 9.0: (-1.8, 0.0), 51.0: (2.0, 0.5), 5000.0: (2.9, 0.5)}
    for raw, eta, phi in zip(flat["energy_raw"], flat["eta"], flat["phi"]):
        assert (eta, phi) == pytest.approx(min(at.items(), key=lambda one: abs(one[0] - raw))[1], abs=0.06)


def test_areas_are_added_to_what_is_there(folder):
    """Optional columns and no other change, empty events included; the pins do not hang on the cleaning of spikes."""
    events, found = table([busy(), event([])]), {}
    for areas in (False, True):
        dnn = Dnn(Dnn.Options(model=str(folder.parent), jet_areas=areas), DETECTOR)
        dnn.prepare()
        found[areas] = dnn.run(Chunk(0, 1, 0, 2), events).table
    records.check(found[True], "objects", "test")
    assert found[True].select(found[False].column_names).equals(found[False])
    assert set(found[True].column_names) - set(found[False].column_names) == {"rho", "jet_area", "jet_pt_corrected"}
    made = {"backend": "clue", "version": 3, "options": {"clustering": {}}}
    cleaned = made | {"options": {"clustering": {}, "clean_spikes": True}}
    assert dnn_module.pins(DETECTOR, {"cluster": made}) == dnn_module.pins(DETECTOR, {"cluster": cleaned})


def test_chunks_do_not_change_the_answer(folder):
    dnn = backend(folder)
    dnn.prepare()
    events = [busy(turn=0.3 * k) for k in range(6)]
    whole = records.awkward(dnn.run(Chunk(0, 1, 0, 6), table(events)).table).objects.energy
    parts = [records.awkward(dnn.run(Chunk(0, 1, k, k + 1), table([events[k]])).table).objects.energy for k in range(6)]
    assert np.allclose(ak.to_numpy(ak.flatten(whole)), ak.to_numpy(ak.flatten(ak.concatenate(parts))), rtol=1e-5)


STORY = {"cluster": {"backend": "clue", "version": 1, "options": {}}}


@pytest.mark.parametrize(
    ("pinned", "story", "text"),
    [
        ({}, STORY, f"clustering is [0-9a-f]{{64}}.*trained behind clustering {'c' * 64}"),
        ({"features": "calibration-features/0"}, {}, f"features is {VERSION}.*calibration-features/0"),
        ({"geometry": "d" * 64}, {}, f"trained at geometry {'d' * 64}.*has geometry {DETECTOR.geometry_digest}"),
    ],
)
def test_models_trained_behind_something_else_are_refused(tmp_path, pinned, story, text):
    with pytest.raises(InputError, match=text):
        backend(write_model(tmp_path / "objects", **pinned)).accept(story)


def test_input_of_unknown_making_is_let_pass(folder):
    backend(folder).accept({})


def test_no_model_is_one_clear_line(tmp_path):
    with pytest.raises(InputError, match="no model here"):
        backend(tmp_path / "nothing" / "objects")


@pytest.mark.parametrize("which", ["random", "release"])
def test_onnx_gives_the_same_numbers(folder, tmp_path, which):
    runtime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnx")
    folder = folder if which == "random" else RELEASE / "objects"
    export_onnx(folder, tmp_path / "net.onnx")
    session = runtime.InferenceSession(str(tmp_path / "net.onnx"))
    net = load_network(open_model(folder, KIND))
    for n, points in ((1, 1), (40, 23)):
        x = example_inputs(net, n, points, seed=n)
        with torch.inference_mode():
            wanted = net(*x)
        found = session.run(None, {name: part.numpy() for name, part in zip(INPUTS, x)})
        for a, b in zip(wanted, found):
            assert np.allclose(a.numpy(), b, rtol=1e-5, atol=1e-5)
