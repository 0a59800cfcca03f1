"""Velocity fields: a residual network for vectors, and a network for sets whose cost is linear in their size.

Both are called as `network(x, t, condition)`; t is one number per vector or set.
"""

import torch
from torch import Tensor, nn

from gen2reco.flow.sets import Sets, group_sums


class VectorNetwork(nn.Module):
    """A velocity field for vectors: x (n, dim), t (n,), condition (n, n_context) to (n, dim)."""

    def __init__(self, dim: int, n_context: int, width: int = 192, depth: int = 4):
        super().__init__()
        self.first = nn.Linear(dim + n_context + 2, width)
        self.blocks = nn.ModuleList(_residual(width) for _ in range(depth))
        self.last = _zeroed(nn.Linear(width, dim))

    def forward(self, x: Tensor, t: Tensor, condition: Tensor) -> Tensor:
        """The velocity at x and time t."""
        h = self.first(torch.cat([x, condition, _time(t)], 1))
        for block in self.blocks:
            h = h + block(h)
        return self.last(h)


class SetNetwork(nn.Module):
    """A velocity field for sets: x (n_items, dim), t (n_sets,), Sets to (n_items, dim).

    Equivariant point cloud layers (EPiC, arXiv:2301.08128) with one more level: items exchange what they know through
    a state of their group, and groups through the mean over their set. No pairs are formed.
    """

    def __init__(
        self, dim: int, n_kinds: int, n_context: int, n_groups: int, width: int = 96, depth: int = 4, pooled: int = 64
    ):
        super().__init__()
        self.kind = nn.Embedding(n_kinds, width)
        self.item = nn.Linear(dim, width)
        self.group = nn.Linear(n_context + 2 + n_groups, pooled)
        self.layers = nn.ModuleList(_SetLayer(width, pooled) for _ in range(depth))
        self.last = _zeroed(nn.Linear(width, dim))
        self.n_groups = n_groups

    def forward(self, x: Tensor, t: Tensor, condition: Sets) -> Tensor:
        """The velocity of each item at time t of its set."""
        return self.last(self.states(x, t, condition)[0])

    def states(self, x: Tensor, t: Tensor, condition: Sets) -> tuple[Tensor, Tensor]:
        """Final states of the items (n_items, width) and of the groups (n_sets, n_groups, pooled)."""
        n_sets, n_groups = condition.counts.shape
        which = torch.eye(n_groups, device=x.device).expand(n_sets, -1, -1)
        times = _time(t)[:, None].expand(-1, n_groups, -1)
        g = self.group(torch.cat([condition.context, times, which], 2))
        h = self.item(x) + self.kind(condition.kinds)
        scale = 1 / condition.group_sizes.clamp(min=1).to(x.dtype).sqrt()[:, None]
        for layer in self.layers:
            h, g = layer(h, g, condition, scale)
        return h, g


class Critic(nn.Module):
    """Scores whole sets, the adversary of a one-step generator: x (n_items, dim), Sets to (n_sets,).

    It is also given `summary` (n_sets, n_summary), features of the set that the caller computes.
    """

    def __init__(self, network: SetNetwork, n_summary: int, width: int = 128):
        super().__init__()
        self.network = network
        pooled = network.group.out_features * network.n_groups
        self.head = nn.Sequential(nn.Linear(pooled + n_summary, width), nn.LeakyReLU(0.1), nn.Linear(width, 1))

    def forward(self, x: Tensor, summary: Tensor, condition: Sets) -> Tensor:
        """One score a set; higher means more like the data."""
        _, g = self.network.states(x, summary.new_zeros(condition.n_sets), condition)
        return self.head(torch.cat([g.reshape(condition.n_sets, -1), summary], 1))[:, 0]


class _SetLayer(nn.Module):
    def __init__(self, width: int, pooled: int):
        super().__init__()
        self.pool = nn.Sequential(nn.Linear(width + 2 * pooled, 2 * pooled), nn.LeakyReLU(0.1))
        self.update = nn.Linear(2 * pooled, pooled)
        self.first, self.second = nn.Linear(width, width), nn.Linear(width, width)
        self.context = nn.Linear(pooled, width)

    def forward(self, h: Tensor, g: Tensor, sets: Sets, scale: Tensor) -> tuple[Tensor, Tensor]:
        sums = (group_sums(h, sets) * scale).view(*g.shape[:2], -1)
        pooled = torch.cat([sums, g, g.mean(1, keepdim=True).expand_as(g)], 2)
        g = g + self.update(self.pool(pooled))
        context = self.context(g).view(-1, h.shape[1])[sets.group]
        return h + self.second(nn.functional.leaky_relu(self.first(h) + context, 0.1)), g


def _residual(width: int) -> nn.Sequential:
    return nn.Sequential(nn.LayerNorm(width), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, width))


def _zeroed(layer: nn.Linear) -> nn.Linear:
    nn.init.zeros_(layer.weight)
    nn.init.zeros_(layer.bias)
    return layer


def _time(t: Tensor) -> Tensor:
    """Time as two smooth features: (n,) to (n, 2)."""
    return torch.stack([2 * t - 1, torch.cos(torch.pi * t)], 1)
