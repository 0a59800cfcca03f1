"""Learned showers: conservation of what was drawn, symmetry, reproducibility, ranges and their rules, training."""

import json
import re
import shutil

import awkward as ak
import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from face_particles import events_of, particle
from pydantic import ValidationError

from gen2reco.config.block import load_block
from gen2reco.config.detector import Detector
from gen2reco.detector.geometry import Geometry, decode
from gen2reco.detector.propagate import propagate
from gen2reco.errors import InputError
from gen2reco.events import records
from gen2reco.events.provenance import PROVENANCE_KEY
from gen2reco.flow.recipes import Training
from gen2reco.flow.training_data import DataFiles
from gen2reco.flow.trainings import make_model
from gen2reco.flow.warm_start import Parent
from gen2reco.run.model_folder import open_model
from gen2reco.run.stage import Chunk, make_backend
from gen2reco.simulate.learned_showers import RELEASE
from gen2reco.simulate.showers import data, layer_model, shower_training
from gen2reco.simulate.showers.incidence import FAMILIES, Conditioning, Incidence, incidence
from gen2reco.simulate.showers.shower_config import ContextScales, NetworkSizes, ShowersConfig, ShowerSizes
from gen2reco.simulate.showers.shower_recipe import FamilyRecipe, LayersRecipe, ShowerRecipe
from gen2reco.simulate.showers.shower_trainer import ShowerTrainer
from gen2reco.simulate.showers.valid import FEW, Range, covered

RANGE = Range((22, 211, -211, 130, 2112), (0.5, 190.0), (0.09, 0.47))


@pytest.fixture(scope="module")
def detector(request) -> Detector:
    return load_block(request.config.rootpath / "configs/detectors/hgcal.yaml", Detector)


@pytest.fixture(scope="module")
def learned(detector):
    """The release model as a backend that takes what is outside as the nearest valid particle."""
    backend = make_backend("simulate", "ml", {"outside": "nearest", "keep_deposits": True}, detector)
    backend.prepare()
    return backend


def run(backend, lists: list[list[dict]], seed: int = 3):
    made = backend.run(Chunk(0, seed, 0, len(lists)), events_of(lists))
    records.check(made.table, "hits", "hits")
    return records.awkward(made.table), made.info


SPECIES = [pdg for family in FAMILIES.values() for pdg in family]


@pytest.mark.parametrize("pdg", SPECIES)
def test_every_species_showers(learned, pdg):
    hits, info = run(learned, [[particle(pdg, 30.0, eta)] for eta in np.linspace(1.6, 2.9, 40)])
    response = ak.sum(hits.deposits.energy, axis=1) / 30.0
    assert info["showers"] == info["network_evaluations"] == 40
    low, high = (0.005, 0.1) if pdg in FAMILIES["muon"] else (0.6, 1.2)
    assert low < float(ak.mean(response)) < high


def test_deposits_are_cells_of_the_detector_once_each(learned, detector):
    hits, _ = run(learned, [[particle(pdg, 50.0, eta) for pdg in (22, 211)] for eta in (1.52, 2.0, -2.4, -2.98)])
    geometry = Geometry(detector)
    cells = decode(ak.flatten(hits.deposits.cell).to_numpy())
    assert geometry.exists(cells.layer, cells.ix, cells.iy).all()
    for event in hits.deposits:
        keys = list(zip(event.cell.tolist(), event.particle.tolist()))
        assert len(set(keys)) == len(keys)
    side = np.repeat([1, 1, -1, -1], ak.num(hits.deposits).to_numpy())
    assert (cells.side == side).all() and (ak.flatten(hits.deposits.energy).to_numpy() > 0).all()


def test_same_seed_same_showers_and_only_then(learned):
    lists = [[particle(211, 20.0), particle()], [], [particle(13, 5.0)]]
    first, again, other = (run(learned, lists, seed)[0] for seed in (3, 3, 4))
    assert ak.all(first.deposits.energy == again.deposits.energy)
    assert ak.to_list(first.deposits.cell) != ak.to_list(other.deposits.cell)
    assert ak.num(first.deposits)[1] == 0


def test_the_layers_hold_what_was_drawn(detector, learned):
    """Cells add up to the energies of the layers, in the number that was asked for, whatever the network says."""
    geometry, model = Geometry(detector), learned.families["electromagnetic"]
    at_face = propagate(ak.Array([[particle(energy=e)] for e in np.geomspace(1, 150, 64)]), detector)
    inc = incidence(at_face)
    rng, context = np.random.default_rng(1), model.conditioning.context(inc)
    whole = model.layers.draw(torch.from_numpy(context), inc.energy, geometry, rng)
    owner, layer, _, _, mips, _ = model.cells.draw(inc, context, whole, geometry, rng)
    key = owner * geometry.n_layers + layer - 1
    n, total = (np.bincount(key, w, 64 * geometry.n_layers).reshape(64, -1) for w in (None, mips))
    assert (n <= whole.cells).all() and n.sum() > 0.99 * whole.cells.sum()
    assert np.allclose(total[n > 0], whole.mips[n > 0], rtol=1e-4)


@pytest.mark.parametrize("shares", [False, True])
def test_vectors_and_back(detector, shares):
    geometry, rng = Geometry(detector), np.random.default_rng(2)
    cells = rng.poisson(2.0, (50, geometry.n_layers))
    mips = cells * rng.uniform(0.5, 5.0, cells.shape)
    whole = layer_model.Drawn(layer_model.start_layer(mips), cells, mips, rng.normal(3, 0.2, (50, 2)))
    energy = rng.uniform(5, 50, 50)
    x, mask = layer_model.to_vectors(whole, energy, geometry, rng, shares)
    back = layer_model.from_vectors(x.astype(float), whole.start, energy, geometry, shares)
    response = mips @ geometry.gev_per_mip / energy
    fine = (response < np.exp(0.7)) | shares
    last = geometry.n_layers - 1 - (cells > 0)[:, ::-1].argmax(1)
    assert mask[np.arange(50), geometry.n_layers + last].tolist() == [not shares] * 50
    assert (back.cells == cells).all() and (mask[:, : geometry.n_layers] == (cells > 0)).all()
    assert np.allclose(back.mips[fine], mips[fine], rtol=1e-4)


def test_shares_add_up_whatever_is_drawn():
    rng = np.random.default_rng(3)
    hit, logit, total = rng.random((200, 12)) < 0.4, rng.normal(0, 3, (200, 12)), rng.uniform(1, 90, 200)
    hit[:3] = False
    found = layer_model.shared_out(total, hit, logit)
    assert (found >= 0).all() and (found[~hit] == 0).all()
    assert found.sum(1) == pytest.approx(np.where(hit.any(1), total, 0.0))
    assert found[5][hit[5]][0] == pytest.approx(total[5] / (1 + np.exp(-logit[5][hit[5]][0])))


def test_numbers_of_the_kernels():
    """Logarithms, random numbers and selection, inlined in the compiled draw, against those of NumPy and SciPy."""
    from numba import njit
    from scipy import special, stats

    from gen2reco.simulate.showers.kernels import maths

    @njit
    def drawn(x, state, n):
        normals, logistics, order = np.zeros(n), np.zeros(n, np.float32), np.zeros(n, np.int64)
        chosen, factorials = np.zeros(n), np.zeros(60)
        for i in range(n):
            x[i], normals[i] = maths.ln(x[i]), maths.normal(state)
            chosen[i] = maths.some_of(3, 9, 4, state)
        for i in range(60):
            factorials[i] = maths.log_factorial(i)
        maths.add_logistic(logistics, n, state)
        return normals, logistics, order[: maths.largest(logistics, n, n // 3, order)], chosen, factorials

    n = 20_000
    given = np.geomspace(1e-8, 1e8, n).astype(np.float32)
    x = given.copy()
    normals, logistics, order, chosen, factorials = drawn(x, np.array([5], np.uint64), n)
    assert np.allclose(x, np.log(given.astype(float)), rtol=2e-7, atol=2e-7)
    assert stats.kstest(normals, "norm").pvalue > 0.001 and stats.kstest(logistics, "logistic").pvalue > 0.001
    assert set(order) == set(np.argsort(logistics)[-(n // 3) :])
    drawn_of = stats.hypergeom.pmf(np.arange(4), 9, 3, 4) * n
    assert stats.chisquare(np.bincount(chosen.astype(int), minlength=4), drawn_of).pvalue > 0.001
    assert np.allclose(factorials, special.gammaln(np.arange(60) + 1), rtol=2e-6, atol=4e-4)


@pytest.mark.parametrize(("size", "expected"), [(10.0, 32), (1.0, 39 * 39), (40.0, 4)])
def test_candidates_stay_inside_the_window_whatever_the_cells(size, expected):
    """The core is a length: of small cells it holds more than the window, and ends with it."""
    from numba import njit

    from gen2reco.simulate.showers.kernels import window as w

    @njit
    def drawn(size, axes, ix, mips, edge):
        window = w.empty_window()
        place = w.place_of(axes[0], np.array([0.2, 0.1]), size, 100.0, 2000.0, 0.0, 0.0)
        n = w.prepare(window, place, 0, axes, ix, ix, mips, edge)
        return window.cell[:n].copy(), window.features[:n].copy()

    none = np.zeros(0, np.int64)
    cell, features = drawn(size, np.full((1, 2), 400.0), none, np.zeros(0, np.float32), np.zeros(2, np.int64))
    rows, columns = cell // w.SIDE, cell % w.SIDE
    assert len(set(cell.tolist())) == len(cell) == expected
    assert rows.min() >= 1 and rows.max() < w.SIDE - 1 and columns.min() >= 1 and columns.max() < w.SIDE - 1
    assert np.expm1(features[:, 0]).max() * 10 < w.CORE


def test_whitening_and_back():
    torch.manual_seed(1)
    model, n = layer_model.LayerModel(5, 4, ShowerSizes(width=16, depth=1, halo="odds")), 4000
    x = torch.randn(n, model.dim).exp() @ torch.randn(model.dim, model.dim)
    x[:, :4] = x[:, :4].abs()
    condition = model.condition(torch.randn(n, 5), torch.randint(5, (n,)))
    mask, noise = torch.ones_like(x, dtype=torch.bool), torch.Generator().manual_seed(1)
    model.center.copy_(x.mean(0))
    model.scale.copy_(4 * x.std(0))  # within reach of untrained quantiles
    model.fit_whitening(x, mask, condition, noise)
    white = model.inward(x, mask, condition, noise)
    assert (torch.cov(white.T) - torch.eye(model.dim)).abs().max() < 0.05
    inner = (white @ model.mix.T).abs().max(1).values < 3.0
    assert torch.allclose(model.outward(white, condition)[inner], x[inner], atol=0.05 * float(x.std()))


@pytest.mark.parametrize(("few", "steepest"), [(FEW - 1, 0.47), (2 * FEW, 3.0)])
def test_the_range_is_where_more_than_few_showers_are(few, steepest):
    """A hundred thousand showers, and few that are flatter and steeper, softer and harder."""
    rng = np.random.default_rng(3)
    energy = np.concatenate([rng.uniform(0.1, 60, 100_000), np.full(few, 1e-3), np.full(few, 900.0)])
    steep = np.concatenate([rng.uniform(0.1, 0.4699, 100_000), np.full(few, 0.001), np.full(few, 3.0)])
    n = len(energy)
    inc = Incidence(np.full(n, 22), energy, np.zeros((n, 2)), np.stack([steep, np.zeros(n)], 1), np.zeros(n))
    found = covered(inc)
    assert found["steepness"] == [0.1 if few < FEW else 0.0, steepest]
    assert found["energy"] == ([0.1, 60.0] if few < FEW else [0.001, 900.0])


@pytest.mark.parametrize(
    ("pdg", "energy", "steep", "valid", "becomes", "scale"),
    [
        (22, 20.0, 0.3, True, 22, 1.0),
        (22, 0.1, 0.3, False, 22, 0.2),
        (211, 380.0, 0.3, False, 211, 2.0),
        (22, 20.0, 0.9, False, 22, 1.0),
        (3122, 20.0, 0.3, False, 2112, 1.0),
        (-3122, 20.0, 0.3, False, -2112, 1.0),
        (3312, 20.0, 0.3, False, -211, 1.0),
        (3222, 20.0, 0.3, False, 211, 1.0),
        (310, 20.0, 0.3, False, 130, 1.0),
    ],
)
def test_range_and_the_nearest_valid_particle(pdg, energy, steep, valid, becomes, scale):
    inc = Incidence(np.array([pdg]), np.array([energy]), np.zeros((1, 2)), np.array([[steep, 0.0]]), np.zeros(1))
    near, factor = RANGE.nearest(inc)
    assert RANGE.valid(inc)[0] == valid and near.pdg[0] == becomes
    assert factor[0] == pytest.approx(scale) and RANGE.energy[0] <= near.energy[0] <= RANGE.energy[1]
    assert near.steepness[0] <= RANGE.steepness[1] + 1e-12


def test_what_is_outside_is_counted_refused_or_simulated(detector):
    lists = [[particle()], [particle(energy=0.02), particle(3122, 30.0)]]
    made = {rule: make_backend("simulate", "ml", {"outside": rule}, detector) for rule in ("nearest", "refuse")}
    for backend in made.values():
        backend.prepare()
    _, info = run(made["nearest"], lists)
    assert (info["particles_outside_to_nearest"], info["showers"]) == (2, 3)
    assert info["energy_outside"] == pytest.approx(30.02)
    with pytest.raises(InputError, match=r"event 101: particle 0 \(pdg 22, 0.02 GeV.*0.03 to 390 GeV.*outside: geant4"):
        run(made["refuse"], lists)
    assert run(made["refuse"], lists[:1])[1]["showers"] == 1


def test_budgets_and_models_that_do_not_fit(detector, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(RELEASE, folder)
    config = json.loads((folder / "config.json").read_text())
    config["quality"] = [
        {"network": "student", "evaluations": 1, "auc": 0.7},
        {"network": "teacher", "evaluations": 8, "auc": 0.6},
    ]
    (folder / "config.json").write_text(json.dumps(config))
    for budget, network, evaluations in ((0.75, "student", 1), (0.65, "teacher", 8)):
        backend = make_backend("simulate", "ml", {"model": str(folder), "auc_budget": budget}, detector)
        assert (backend.network, backend.evaluations) == (network, evaluations)
    with pytest.raises(InputError, match=r"`auc_budget` = 0.55, the model's best is 0.6"):
        make_backend("simulate", "ml", {"model": str(folder), "auc_budget": 0.55}, detector)
    other = detector.model_copy(update={"front_face": 3300.0})
    with pytest.raises(InputError, match=r"at 47 layers of 10 mm, face at 3200 mm; .* has 47 of 10, face at 3300"):
        make_backend("simulate", "ml", {"model": str(folder)}, other)
    weights = (folder / "weights.safetensors").read_bytes()
    (folder / "weights.safetensors").write_bytes(weights[: len(weights) // 2])
    with pytest.raises(InputError, match="damaged weights"):
        make_backend("simulate", "ml", {"model": str(folder), "outside": "nearest"}, detector).prepare()


@pytest.fixture(scope="module")
def training_record(learned, detector, tmp_path_factory):
    """A hits record of single particles of every family, made by the release model."""
    rng = np.random.default_rng(5)
    lists = [[particle(int(pdg), float(e), 2.2)] for pdg in (22, 211, 13) for e in rng.uniform(2, 30, 110)]
    made = learned.run(Chunk(0, 9, 0, len(lists)), events_of(lists))
    path = tmp_path_factory.mktemp("train") / "simulate" / "00000.parquet"
    path.parent.mkdir()
    story = {"simulate": {"backend": "ml", "model": "f8", "detector": detector.model_dump(mode="json")}}
    records.write(path, made.table, "hits", {PROVENANCE_KEY: json.dumps(story)})
    return path


SHORT = Training(steps=4, batch=16, checkpoint_every=2, warmup=1)
TINY = ShowerRecipe(
    start=SHORT, quantiles=SHORT, teacher=SHORT, pairs=64, evaluations=2, student=SHORT, rows=200, cells=SHORT
)


def test_training_killed_and_resumed_gives_the_same_model(training_record, detector, tmp_path):
    def train(name: str, watch=None):
        (made,) = make_model(ShowerTrainer, TINY, DataFiles([training_record]), tmp_path / name, watch=watch)
        return made

    quiet = train("quiet")

    def killed(part: str, step: int, _: dict) -> None:
        if (part, step) == ("hadron_student", 2):
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        train("again", killed)
    assert train("again").digest == quiet.digest
    assert quiet.config["families"].keys() == FAMILIES.keys()
    card = (quiet.folder / "card.md").read_text()
    assert (
        "Trained on 330 showers made by `ml`, by species: 110 of 22, 110 of 211, 110 of 13." in card
        and "simulate by `ml` (version 0, model `f8`)" in card
    )
    assert quiet.config["species"] == {"electromagnetic": [22], "hadron": [211], "muon": [13]}
    options = {"model": str(quiet.folder), "outside": "refuse"}
    backend = make_backend("simulate", "ml", options, detector)
    backend.prepare()
    assert run(backend, [[particle(22, 20.0, 2.2)]])[1]["showers"] == 1
    with pytest.raises(InputError, match=r"particle 0 \(pdg 2112,"):
        run(backend, [[particle(2112, 20.0, 2.2)]])
    with pytest.raises(InputError, match=r"was trained on no -2112, -211, 130, 2112, which stand for others"):
        make_backend("simulate", "ml", {**options, "outside": "nearest"}, detector)


@pytest.mark.parametrize("layers", ["meanflow", "diffusion", "gan", "vae", "spline", "copula", "depth"])
def test_each_family_of_layers_is_trained_kept_and_drawn_from(layers, training_record, detector, tmp_path):
    recipe = TINY.model_copy(update={"families": ["electromagnetic"], "layers": LayersRecipe(family=layers)})
    (made,) = make_model(ShowerTrainer, recipe, DataFiles([training_record]), tmp_path)
    assert made.config["families"]["electromagnetic"]["layers"] == layers
    options = {"model": str(made.folder), "outside": "refuse"}
    backend = make_backend("simulate", "ml", {**options, "evaluations": 2}, detector)
    backend.prepare()
    assert run(backend, [[particle(22, 10.0, 2.2)]])[1]["showers"] == 1
    with pytest.raises(InputError, match=f"a {layers} has no teacher; leave `network` out"):
        make_backend("simulate", "ml", {**options, "network": "teacher"}, detector)


def test_a_family_is_trained_in_its_own_way_and_drawn_so(training_record, detector, tmp_path):
    own = {"hadron": FamilyRecipe(layers=LayersRecipe(family="depth"), sizes=NetworkSizes(width=8))}
    recipe = ShowerRecipe(**{**dict(TINY), "families": ["electromagnetic", "hadron"], "own": own})
    assert (recipe.of("hadron").rows, recipe.of("hadron").teacher) == (TINY.rows, TINY.teacher)
    assert ShowerRecipe(**recipe.model_dump(mode="json")) == recipe
    (made,) = make_model(ShowerTrainer, recipe, DataFiles([training_record]), tmp_path)
    found = {family: (sizes["layers"], sizes["width"]) for family, sizes in made.config["families"].items()}
    assert found == {"electromagnetic": ("flow", TINY.sizes.width), "hadron": ("depth", 8)}
    options = {"model": str(made.folder), "outside": "refuse", "network": "teacher", "evaluations": 3}
    backend = make_backend("simulate", "ml", options, detector)
    backend.prepare()
    facts = run(backend, [[particle(22, 10.0, 2.2), particle(211, 10.0, 2.2)]])[1]
    assert (facts["showers"], facts["network_evaluations"]) == (2, 4)
    assert "hadron showers are drawn in one way" in backend.notices(facts)[0]
    with pytest.raises(ValidationError, match="`muon` is not in `families`"):
        ShowerRecipe(families=["hadron"], own={"muon": FamilyRecipe()})


def test_species_of_few_showers_are_left_out_and_told(training_record, detector, tmp_path, caplog):
    table = records.read(training_record, "hits").slice(90, 130)  # 20 photons and 110 pions
    path = tmp_path / "few.parquet"
    records.write(path, table.slice(1), "hits", pq.read_schema(training_record).metadata)
    recipe = TINY.model_copy(update={"families": ["hadron"]})
    make_model(ShowerTrainer, recipe, DataFiles([path]), tmp_path / "model")
    assert "19 of 129 showers are of no species of this model (22)" in caplog.text
    with pytest.raises(InputError, match="0 showers of family `electromagnetic`, expected at least 100"):
        make_model(ShowerTrainer, TINY, DataFiles([path]), tmp_path / "none")
    assert "electromagnetic showers: too few to learn from, left out: 19 of 22" in caplog.text


def test_a_warm_start_without_a_step_is_the_earlier_model(training_record, learned, tmp_path):
    """Weights and scales are the earlier model's in its half precision; what is fitted to data aside."""
    still = SHORT.model_copy(update={"steps": 0})
    first = TINY.model_copy(update={"families": ["electromagnetic"], "sizes": NetworkSizes(width=16)})
    (earlier,) = make_model(ShowerTrainer, first, DataFiles([training_record]), tmp_path / "earlier")
    parts = dict.fromkeys(("start", "quantiles", "teacher", "student", "cells"), still)
    recipe = first.model_copy(update=parts)
    parent = Parent(earlier.folder, earlier.digest)
    paths = [training_record, training_record]
    files = DataFiles(paths, replayed=1, replay=0.25)
    (made,) = make_model(ShowerTrainer, recipe, files, tmp_path / "warm", parent=parent)
    before, after = earlier.weights(), made.weights()
    fitted = ("layers.student", "layers.nodes", "layers.mix", "cells.")
    kept = [name for name in after if not name.startswith(tuple(f"electromagnetic.{one}" for one in fitted))]
    assert len(kept) > 20 and made.config["parent"] == parent.digest
    assert all(np.array_equal(before[name], after[name]) for name in kept)
    card = (made.folder / "card.md").read_text()
    assert f"Started from the weights of model `{parent.digest}`, 25 % of each batch" in card
    (number,) = re.findall(r"Trained on (\d+) showers made by `ml`, by species: \1 of 22\.", card)
    assert 130 < int(number) < 170  # 110, and a third as many of the other file, whose quarter has every species
    other = recipe.model_copy(update={"sizes": NetworkSizes(width=8)})
    with pytest.raises(InputError, match=r"cannot start from .* `families.electromagnetic.width` is 16, here it is 8"):
        make_model(ShowerTrainer, other, files, tmp_path / "other", parent=parent)
    shipped = Parent(learned.model.folder, learned.model.digest)
    with pytest.raises(InputError, match=r"cannot start from .* `families.electromagnetic"):
        make_model(ShowerTrainer, recipe, files, tmp_path / "shipped", parent=shipped)


def test_the_release_keeps_its_own_species(learned, detector, monkeypatch):
    """Its config names none: those of its time hold, whatever a new training takes."""
    lists = [[particle(211, 20.0), particle()], [particle(13, 5.0)]]
    monkeypatch.setitem(FAMILIES, "hadron", (3122, *FAMILIES["hadron"]))
    monkeypatch.setitem(FAMILIES, "electromagnetic", (111, 22))
    backend = make_backend("simulate", "ml", {"outside": "nearest", "keep_deposits": True}, detector)
    backend.prepare()
    assert ak.to_list(run(backend, lists)[0].deposits) == ak.to_list(run(learned, lists)[0].deposits)


def test_a_model_of_other_species_and_scales(training_record, detector, tmp_path, monkeypatch):
    """A training writes its species and scales into the config, and the model goes by them."""
    monkeypatch.setitem(FAMILIES, "electromagnetic", (211, 22))
    recipe = TINY.model_copy(update={"families": ["electromagnetic"]})
    (made,) = make_model(ShowerTrainer, recipe, DataFiles([training_record]), tmp_path / "other")
    monkeypatch.undo()
    assert made.config["species"] == {"electromagnetic": [211, 22]}
    assert made.config["layers"] == detector.n_layers
    assert made.parsed(ShowersConfig).scales == ContextScales()
    backend = make_backend("simulate", "ml", {"model": str(made.folder), "outside": "refuse"}, detector)
    backend.prepare()
    assert run(backend, [[particle(22, 20.0, 2.2), particle(211, 20.0, 2.2)]])[1]["showers"] == 2
    with pytest.raises(InputError, match=r"particle 0 \(pdg 11,"):
        run(backend, [[particle(11, 20.0, 2.2)]])


def test_scales_go_with_the_face(detector):
    scales = ContextScales.of(detector.model_copy(update={"front_face": 1600.0}))
    assert (scales.front_face, scales.radius) == (1600.0, (425.0, 200.0))
    inc = Incidence(np.array([22]), np.array([10.0]), np.array([[480.0, 0.0]]), np.array([[0.3, 0.0]]), np.zeros(1))
    assert Conditioning((22,), scales).context(inc)[0, 5] == 0  # it points at the origin


@pytest.mark.parametrize(
    ("species", "message"),
    [({"muon": [13, -13]}, "species. of the family .hadron. are missing"), ({"hadron": [211, 13]}, "hold 13 twice")],
)
def test_species_of_a_config_are_checked(species, message, tmp_path):
    folder = tmp_path / "model"
    shutil.copytree(RELEASE, folder)
    config = json.loads((folder / "config.json").read_text())
    config["species"] = {"electromagnetic": [22], "muon": [13], **species}
    (folder / "config.json").write_text(json.dumps(config))
    with pytest.raises(InputError, match=message):
        open_model(folder, "showers").parsed(ShowersConfig)


def test_the_room_for_candidates_grows(training_record, detector, monkeypatch):
    geometry = Geometry(detector)
    showers = data.read_showers(training_record, detector)
    whole = layer_model.true_whole(showers, geometry)
    rows = np.ascontiguousarray(np.argwhere(whole.cells > 0)[:300])
    enough = shower_training._candidates(showers, whole, rows, geometry)
    monkeypatch.setattr(shower_training, "ROOM", 1)
    grown = shower_training._candidates(showers, whole, rows, geometry)
    assert len(grown.role) < len(enough.role)
    for a, b in zip(enough.of(np.arange(300)), grown.of(np.arange(300))):
        np.testing.assert_array_equal(a, b)


def test_training_data_must_be_single_particles_with_deposits(training_record, learned, detector, tmp_path):
    showers = data.read_showers(training_record, detector)
    assert len(showers) == 330 and showers.first[-1] == len(showers.mips)
    table = records.read(training_record, "hits")
    bare, double = tmp_path / "bare.parquet", tmp_path / "double.parquet"
    records.write(bare, table.drop_columns(["deposits"]), "hits")
    two = learned.run(Chunk(0, 1, 0, 1), events_of([[particle(), particle(phi=2.0)]]))
    records.write(double, two.table, "hits")
    for path, message in ((bare, "no `deposits` column"), (double, "several particles")):
        with pytest.raises(InputError, match=message):
            data.read_showers(path, detector)
