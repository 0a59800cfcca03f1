"""Fine-tuning of a one-step student: an energy distance between features, and a relativistic adversary.

The energy distance (Székely & Rizzo, J. Stat. Plan. Inference 143 (2013) 1249) matches distributions of features; the
adversary (arXiv:1807.00734) the correlations that they miss. Both compare a drawn batch with the data under the same
conditions.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

from gen2reco.flow.networks import Critic
from gen2reco.flow.objectives import ranked
from gen2reco.flow.path import sample
from gen2reco.flow.sets import SetData, Sets
from gen2reco.flow.training import Draw, Objective


@dataclass(frozen=True)
class Features:
    """Features of a batch that the losses compare. x: (n_items, dim); summary: (n_sets, n_features), about standard;
    penalty: scalar, large where the drawn coordinates themselves are not allowed."""

    x: Tensor
    summary: Tensor
    penalty: Tensor


FeatureMap = Callable[[Tensor, Sets, np.ndarray], Features]
"""Maps coordinates (n_items, dim), their condition and the rows of the batch to the features that are compared."""


@dataclass(frozen=True)
class Weights:
    """Weights of the student's losses."""

    energy: float = 1.0
    adversary: float = 0.1
    penalty: float = 1.0


def energy_distance(a: Tensor, b: Tensor) -> Tensor:
    """Unbiased energy distance between samples (n, k) and (n, k)."""
    n = len(a)
    across = torch.cdist(a, b).mean()
    within = (torch.cdist(a, a).sum() + torch.cdist(b, b).sum()) / (n * (n - 1))
    return 2 * across - within


def student_objective(
    student: nn.Module, critic: Critic, data: SetData, features_of: FeatureMap, weights: Weights
) -> Objective:
    """What the one-step student minimises."""

    def objective(draw: Draw) -> tuple[Tensor, dict[str, float]]:
        real, fake, condition = _both(student, data, features_of, draw)
        energy = energy_distance(fake.summary, real.summary)
        critic.requires_grad_(False)
        score = critic(fake.x, fake.summary, condition) - critic(real.x, real.summary, condition)
        critic.requires_grad_(True)
        fooled = nn.functional.softplus(-score).mean()
        loss = weights.energy * energy + weights.adversary * fooled + weights.penalty * fake.penalty
        return loss, {"energy": energy.item(), "fooled": fooled.item(), "penalty": fake.penalty.item()}

    return objective


def critic_objective(
    student: nn.Module, critic: Critic, data: SetData, features_of: FeatureMap, noise: float = 0.1
) -> Objective:
    """What the critic minimises; a little noise on its inputs keeps it from being sure of itself."""

    def objective(draw: Draw) -> tuple[Tensor, dict[str, float]]:
        with torch.no_grad():
            real, fake, condition = _both(student, data, features_of, draw)

        def score(features: Features) -> Tensor:
            x = features.x + noise * draw.normal(*features.x.shape)
            return critic(x, features.summary + noise * draw.normal(*features.summary.shape), condition)

        difference = score(real) - score(fake)
        loss = nn.functional.softplus(-difference).mean()
        return loss, {"critic": loss.item()}

    return objective


def _both(student: nn.Module, data: SetData, features_of: FeatureMap, draw: Draw) -> tuple[Features, Features, Sets]:
    """The data of a batch and what the student draws under the same conditions."""
    chosen = draw.indices(len(data))
    x_1, condition = data.batch(chosen, draw.device)
    x_0 = ranked(draw.normal(*x_1.shape), condition)
    drawn = sample(student, x_0, condition, 1)
    with torch.autocast(draw.device.type, enabled=False):
        return features_of(x_1, condition, chosen), features_of(drawn.float(), condition, chosen), condition
