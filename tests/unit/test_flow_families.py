"""Every generative model of a family of recipes learns a distribution of two branches; splines are what they claim."""

import numpy as np
import pytest
import torch

from gen2reco.flow.families import FAMILIES
from gen2reco.flow.objectives import VectorData
from gen2reco.flow.recipes import Training
from gen2reco.flow.splines import BINS, BOUND, spline
from gen2reco.flow.training import Part, train

SETTINGS = Training(steps=350, batch=192, learning_rate=4e-3, mixed_precision=False, average=0.98, warmup=30)
STEPS = {"vae": 1000}
"""Its latent numbers are not used before."""
GOOD = {"meanflow": 0.05, "diffusion": 0.05, "gan": 0.09, "vae": 0.05, "spline": 0.03}
"""Largest energy distance to the truth; that of the copula is above them all."""


def two_branches(n: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Vectors on two branches whose distance depends on the condition, and the condition: (n, 2), (n, 1)."""
    rng = np.random.default_rng(seed)
    condition, side = rng.uniform(-1, 1, n), rng.choice([-1, 1], n)
    x = side * 1.2 + 0.25 * rng.normal(size=n)
    y = side * (1 + condition) + 0.3 * rng.normal(size=n)
    return np.stack([x, y], 1).astype(np.float32), condition[:, None].astype(np.float32)


def energy_distance(a: np.ndarray, b: np.ndarray) -> float:
    a, b = torch.from_numpy(a), torch.from_numpy(b)
    within = (torch.cdist(a, a).sum() + torch.cdist(b, b).sum()) / (len(a) * (len(a) - 1))
    return float(2 * torch.cdist(a, b).mean() - within)


@pytest.fixture(scope="module")
def learned(tmp_path_factory):
    """Distance of each trained family to the truth, at one evaluation and at eight, by name."""
    data, (truth, condition) = VectorData(*two_branches(6000, 1)), two_branches(1500, 2)
    found = {}
    for name, kind in FAMILIES.items():
        torch.manual_seed(1)
        made = kind(2, 1, 48, 2)
        parts = [Part(made, made.objective(data)), *made.others(data)]
        settings = made.settings(SETTINGS.model_copy(update={"steps": STEPS.get(name, SETTINGS.steps)}))
        average = train(parts, settings, tmp_path_factory.mktemp(name))
        noise = torch.randn(len(truth), average.noise, generator=torch.Generator().manual_seed(3))
        with torch.no_grad():
            drawn = [average.draw(noise, torch.from_numpy(condition), k).numpy() for k in (1, 8)]
        found[name] = [energy_distance(np.hstack([truth, condition]), np.hstack([x, condition])) for x in drawn]
    return found


@pytest.mark.parametrize("name", GOOD)
def test_each_family_learns_what_a_copula_does_not(name, learned):
    best = min(learned[name])
    assert best < GOOD[name] < learned["copula"][0]
    if FAMILIES[name].iterative:
        assert learned[name][1] < learned[name][0] + 0.01
    else:
        assert learned[name][0] == learned[name][1]  # evaluations are no setting


def test_one_evaluation_is_enough_for_average_velocities_and_not_for_diffusion(learned):
    assert learned["meanflow"][0] < 0.5 * learned["diffusion"][0]


def test_splines_are_inverted_and_tell_their_slope():
    torch.manual_seed(2)
    x, shape = 3 * torch.randn(60, 4).double(), torch.randn(60, 4, 3 * BINS - 1).double()
    x.requires_grad_()
    y, log_slope = spline(x, shape)
    back, inverse = spline(y, shape, inverse=True)
    assert torch.allclose(back, x, atol=1e-8) and torch.allclose(inverse, -log_slope, atol=1e-7)
    slope = torch.autograd.grad(y.sum(), x)[0]
    assert torch.allclose(slope.log(), log_slope, atol=1e-9)
    outside = x.abs() > BOUND
    assert outside.any() and torch.equal(y[outside], x[outside])
    plain, flat = spline(x, torch.zeros_like(shape))
    assert torch.allclose(plain, x, atol=1e-6) and torch.allclose(flat, torch.zeros_like(flat), atol=1e-6)
