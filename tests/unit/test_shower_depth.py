"""Layers drawn one after the other: likelihoods, what is known before each, responses, and what is learned of a toy."""

import numpy as np
import pytest
import torch
from scipy import stats

from gen2reco.config.block import load_block, parse_block
from gen2reco.config.detector import Detector
from gen2reco.detector.geometry import Geometry
from gen2reco.errors import InputError
from gen2reco.flow.mixtures import at_rank, draw_mixture, log_mixture, rank_in_mixture
from gen2reco.flow.recipes import Training
from gen2reco.flow.training_parts import Work
from gen2reco.simulate.showers import depth_model
from gen2reco.simulate.showers.depth_model import DepthModel, Response
from gen2reco.simulate.showers.depth_training import train_depth
from gen2reco.simulate.showers.layer_model import Drawn, start_layer
from gen2reco.simulate.showers.shower_config import NetworkSizes, ShowerSizes
from gen2reco.simulate.showers.shower_recipe import ShowerRecipe


@pytest.fixture(scope="module")
def geometry(request) -> Geometry:
    return Geometry(load_block(request.config.rootpath / "tests/data/small_detector.yaml", Detector))


def test_a_mixture_is_its_likelihood_and_its_draws():
    weights, means, widths = (np.array(v) for v in ([0.2, 0.5, 0.3], [-2.0, 0.5, 3.0], [0.3, 1.0, 0.5]))
    out = torch.tensor(np.concatenate([np.log(weights), means, np.log(widths)]), dtype=torch.float32)
    y = np.linspace(-4, 6, 50)
    expected = sum(w * stats.norm.pdf(y, m, s) for w, m, s in zip(weights, means, widths))
    many = torch.from_numpy(y).float()
    assert np.allclose(log_mixture(out.expand(50, -1), many).exp().numpy(), expected, rtol=1e-4)
    rng, n = np.random.default_rng(1), 20_000
    uniform, normal = (torch.from_numpy(a) for a in (rng.random(n, np.float32), rng.standard_normal(n, np.float32)))
    drawn = draw_mixture(out.expand(n, -1), uniform, normal).numpy()

    def below(x):
        return sum(w * stats.norm.cdf(x, m, s) for w, m, s in zip(weights, means, widths))

    assert stats.kstest(drawn, below).pvalue > 1e-3
    rank = rank_in_mixture(out.expand(50, -1), many)
    assert np.allclose(rank.numpy(), below(y), atol=1e-5)
    assert np.allclose(below(at_rank(out.expand(50, -1), rank).numpy()), below(y), atol=1e-5)


def test_what_is_known_before_a_layer_is_the_same_in_training_and_in_drawing():
    rng = np.random.default_rng(2)
    cells = torch.from_numpy(rng.poisson(2.0, (20, 12))).float()
    mips = cells * torch.from_numpy(rng.uniform(0.5, 30, (20, 12))).float()
    energy = torch.from_numpy(rng.uniform(1, 50, 20)).float()
    before = depth_model._before(cells, mips, energy)
    none, sums = torch.zeros(20), torch.zeros(3, 20)
    known = depth_model._known(none, none, sums, energy)
    for at in range(12):
        assert torch.allclose(known, before[:, at], atol=1e-4)
        sums = sums + torch.stack([cells[:, at], mips[:, at], (cells[:, at] > 0).float()])
        known = depth_model._known(cells[:, at], mips[:, at], sums, energy)
    assert torch.allclose(known, before[:, -1], atol=1e-4)


def test_layers_one_after_the_other_know_no_shares():
    with pytest.raises(InputError, match="`energies`: the family `depth` knows `cells` alone; leave `energies` out"):
        parse_block({"layers": {"family": "depth", "energies": "shares"}}, ShowerRecipe, "recipe.yaml")
    networks = ShowerRecipe.model_validate({"layers": {"energies": "shares"}}).networks
    assert (networks.layers, networks.energies, networks.halo) == ("flow", "shares", "odds")


def test_a_response_and_its_rank_are_inverses():
    torch.manual_seed(3)
    response, inputs = Response(4), torch.randn(500, 4)
    known = 0.3 * torch.randn(500) + inputs[:, 0] / 5
    rank = response.rank(known, inputs)
    assert rank.detach().min() >= 0 and rank.detach().max() <= 1
    assert torch.allclose(response.value(rank, inputs), known, atol=2e-3)


def toy(n: int, geometry: Geometry, rng: np.random.Generator) -> tuple[Drawn, np.ndarray, np.ndarray]:
    """Showers that are either wide, of small response, or narrow, of large one: shape and response hang together."""
    energy = rng.uniform(10, 50, n)
    wide = rng.random(n) < 0.5
    depth = np.arange(geometry.n_layers)
    profile = np.exp(-0.5 * ((depth - np.where(wide, 7, 3)[:, None]) / np.where(wide, 2.5, 1)[:, None]) ** 2)
    response = np.where(wide, 0.6, 1.0) * np.exp(0.05 * rng.standard_normal(n))
    share = profile / (profile * geometry.gev_per_mip).sum(1, keepdims=True)
    mips = share * (energy * response)[:, None] * np.exp(0.2 * rng.standard_normal(profile.shape))
    mips = np.where(mips > 3, mips, 0)
    mips *= (energy * response / (mips @ geometry.gev_per_mip))[:, None]
    cells = np.ceil(mips / 5).astype(int)
    radii = np.stack([np.where(wide, 3.5, 2.5), np.where(wide, 4.0, 3.0)], 1) + 0.1 * rng.standard_normal((n, 2))
    context = np.stack([(energy - 30) / 12, np.zeros(n)], 1).astype(np.float32)
    return Drawn(start_layer(mips), cells, mips, radii), context, energy


def test_shape_and_response_hang_together_as_in_the_showers_it_learned_from(geometry, tmp_path):
    some = Training(steps=1000, batch=128, checkpoint_every=500, warmup=10, learning_rate=1e-2, average=0.98)
    recipe = ShowerRecipe(start=some, teacher=some, quantiles=some, pairs=4000, sizes=NetworkSizes(width=48))
    whole, context, energy = toy(2000, geometry, np.random.default_rng(4))
    torch.manual_seed(5)
    model = DepthModel(2, geometry.n_layers, ShowerSizes(width=48, halo="odds"))
    train_depth(model, whole, context, energy, geometry, recipe, Work(tmp_path))
    held_out, context, energy = toy(2000, geometry, np.random.default_rng(6))
    drawn = model.eval().draw(torch.from_numpy(context), energy, geometry, np.random.default_rng(7))

    def numbers(w: Drawn) -> tuple[np.ndarray, np.ndarray]:
        centre = (w.mips * np.arange(geometry.n_layers)).sum(1) / w.mips.sum(1)
        return centre, w.mips @ geometry.gev_per_mip / energy

    (depth, response), (own_depth, own_response) = numbers(held_out), numbers(drawn)
    assert abs(np.mean(own_response) - np.mean(response)) < 0.03
    for low, high in ((0, 5), (5, 12)):
        apart = response[(depth > low) & (depth < high)], own_response[(own_depth > low) & (own_depth < high)]
        assert min(map(len, apart)) > 700
        assert abs(np.median(apart[1]) - np.median(apart[0])) < 0.05
    assert np.corrcoef(own_depth, own_response)[0, 1] < -0.8 and np.corrcoef(depth, response)[0, 1] < -0.95
    assert 0.9 < np.std(own_response) / np.std(response) < 1.15
    assert ((drawn.cells > 0) == (drawn.mips > 0)).all() and (drawn.start == start_layer(drawn.mips)).all()
