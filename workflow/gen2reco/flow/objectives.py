"""What networks minimise: flow matching on data, and on a teacher's own pairs of noise and sample (reflow)."""

from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from gen2reco.flow.path import Condition, Network, flow_matching_loss, sample, size
from gen2reco.flow.sets import SetData, Sets
from gen2reco.flow.training import Draw, Objective


class Data(Protocol):
    """Anything that gives batches of (x, condition)."""

    def __len__(self) -> int: ...

    def batch(self, chosen: np.ndarray, device: torch.device | str = "cpu") -> tuple[Tensor, Condition]:
        """Coordinates and condition of the chosen members."""
        ...


@dataclass(frozen=True)
class VectorData:
    """Vectors kept in memory for training: x (n, dim) float32, condition (n, n_context) float32."""

    x: np.ndarray
    condition: np.ndarray

    def __len__(self) -> int:
        return len(self.x)

    def take(self, chosen: np.ndarray) -> "VectorData":
        """The chosen vectors, some of them perhaps several times."""
        return VectorData(self.x[chosen], self.condition[chosen])

    def batch(self, chosen: np.ndarray, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor]:
        """The chosen vectors and their conditions."""
        return torch.from_numpy(self.x[chosen]).to(device), torch.from_numpy(self.condition[chosen]).to(device)


@dataclass(frozen=True)
class TeacherPairs:
    """A teacher's pairs: noise x_0 and the data that it leads to, aligned item by item."""

    start: np.ndarray
    data: "VectorData | SetData"

    def __len__(self) -> int:
        return len(self.data)

    def batch(self, chosen: np.ndarray, device: torch.device | str = "cpu") -> tuple[Tensor, Tensor, Condition]:
        """Noise, coordinates and condition of the chosen members."""
        at = self.data.items(chosen) if isinstance(self.data, SetData) else chosen
        x_1, condition = self.data.batch(chosen, device)
        return torch.from_numpy(self.start[at]).to(device), x_1, condition


def matching(network: Network, data: Data) -> Objective:
    """Flow matching from noise to the data. Items of one kind in one group may be exchanged, so where the data are
    sorted (by group, kind, first coordinate) noise is paired by rank: straighter paths, the same distribution."""

    def objective(draw: Draw) -> tuple[Tensor, dict[str, float]]:
        x_1, condition = data.batch(draw.indices(len(data)), draw.device)
        x_0 = draw.normal(*x_1.shape)
        if isinstance(condition, Sets):
            x_0 = ranked(x_0, condition)
        loss = flow_matching_loss(network, x_0, x_1, draw.uniform(size(condition)), condition)
        return loss, {"loss": loss.item()}

    return objective


def reflow(network: Network, pairs: TeacherPairs, at_start: float = 0.5) -> Objective:
    """Flow matching on a teacher's pairs (rectified flow, arXiv:2209.03003); a share of the times is exactly 0, where
    the one-step student is evaluated."""

    def objective(draw: Draw) -> tuple[Tensor, dict[str, float]]:
        x_0, x_1, condition = pairs.batch(draw.indices(len(pairs)), draw.device)
        t, u = draw.uniform(size(condition)), draw.uniform(size(condition))
        loss = flow_matching_loss(network, x_0, x_1, torch.where(u < at_start, 0.0, t), condition)
        return loss, {"loss": loss.item()}

    return objective


def energy_score(network: Network, data: VectorData) -> Objective:
    """The energy score of one-step samples, a strictly proper scoring rule (Gneiting & Raftery, J. Am. Stat. Assoc. 102
    (2007) 359): trains a one-step generator of few dimensions without a teacher."""

    def objective(draw: Draw) -> tuple[Tensor, dict[str, float]]:
        y, condition = data.batch(draw.indices(len(data)), draw.device)
        twice = torch.cat([condition, condition])
        first, second = sample(network, draw.normal(2 * len(y), y.shape[1]), twice, 1).chunk(2)

        def distance(a: Tensor, b: Tensor) -> Tensor:
            return ((a - b).square().sum(1) + 1e-9).sqrt().mean()

        loss = 0.5 * (distance(first, y) + distance(second, y) - distance(first, second))
        return loss, {"score": loss.item()}

    return objective


@torch.no_grad()
def make_pairs(
    network: Network,
    data: "VectorData | SetData",
    evaluations: int,
    seed: int,
    batch: int = 1000,
    device: str = "cpu",
) -> TeacherPairs:
    """Let the teacher draw one sample for every condition in `data`, by the midpoint rule."""
    starts, ends = [], []
    for first in range(0, len(data), batch):
        x, condition = data.batch(np.arange(first, min(first + batch, len(data))), device)
        generator = torch.Generator().manual_seed(seed + first)
        x_0 = torch.randn(x.shape, generator=generator).to(device)
        starts.append(x_0.cpu().numpy())
        ends.append(sample(network, x_0, condition, evaluations, "midpoint").cpu().numpy())
    return TeacherPairs(np.concatenate(starts), replace(data, x=np.concatenate(ends)))


def ranked(noise: Tensor, sets: Sets) -> Tensor:
    """Noise (n_items, dim) sorted by its first coordinate within items of one kind and group."""
    group, kinds = sets.group.cpu().numpy(), sets.kinds.cpu().numpy()
    order = np.lexsort((noise[:, 0].cpu().numpy(), kinds, group))
    return noise[torch.from_numpy(order).to(noise.device)]
