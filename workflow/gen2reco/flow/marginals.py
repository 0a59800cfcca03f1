"""Numbers made Gaussian, one by one, by conditional quantiles that a network predicts; then whitened.

A flow that works on the white coordinates starts from a Gaussian copula: it learns only how the numbers hang together.
"""

import numpy as np
import torch
from torch import Tensor, nn

N_NODES = 257
N_QUANTILES = 65
RANKS = 0.5 - 0.5 * np.cos(np.linspace(0, np.pi, N_QUANTILES))
"""Where the quantiles of a plain distribution are kept: dense in the tails."""
LEVELS = (-2.6, -1.8, -1.1, -0.5, 0.0, 0.5, 1.1, 1.8, 2.6)
"""Where quantiles are learned, in units of a standard normal variable."""


class Marginals(nn.Module):
    """Conditional quantiles of `dim` numbers, given (n, n_context), and the correlations of the scores that they leave.

    A number may be missing (its mask is false): it teaches nothing, and its white coordinates are drawn.
    """

    def __init__(self, dim: int, n_context: int, width: int = 128):
        super().__init__()
        self.dim = dim
        self.quantiles = perceptron(n_context, width, len(LEVELS) * dim)
        self.register_buffer("center", torch.zeros(dim))
        self.register_buffer("scale", torch.ones(dim))
        self.register_buffer("levels", torch.tensor(LEVELS))
        self.register_buffer("nodes", torch.linspace(-4, 4, N_NODES).repeat(dim, 1))
        self.register_buffer("mix", torch.eye(dim))

    @torch.no_grad()
    def fit_scale(self, x: Tensor, mask: Tensor) -> None:
        """Centre and scale of each number, from the training sample: x and mask (n, dim)."""
        many = mask.sum(0).clamp(min=1)
        self.center.copy_((x * mask).sum(0) / many)
        self.scale.copy_((((x - self.center).square() * mask).sum(0) / many).sqrt().clamp(min=1e-3))

    def quantiles_of(self, condition: Tensor) -> Tensor:
        """Quantiles of each number at LEVELS, in standard units: (n, dim, n_levels), rising."""
        raw = self.quantiles(condition).view(len(condition), self.dim, len(LEVELS)).float()
        steps = nn.functional.softplus(raw[..., 1:] - 1) + 1e-3
        rise = torch.cat([torch.zeros_like(raw[..., :1]), steps.cumsum(2)], 2)
        middle = len(LEVELS) // 2
        return raw[..., :1] + rise - rise[..., middle : middle + 1]

    def quantiles_loss(self, x: Tensor, mask: Tensor, condition: Tensor) -> Tensor:
        """Mean pinball loss (Koenker & Bassett, Econometrica 46 (1978) 33) of the valid numbers."""
        center, scale, levels = (table.to(x.device) for table in (self.center, self.scale, self.levels))
        off = ((x - center) / scale)[..., None] - self.quantiles_of(condition)
        chance = torch.special.ndtr(levels)
        loss = torch.maximum(chance * off, (chance - 1) * off).mean(2)
        return (loss * mask).sum() / mask.sum()

    @torch.no_grad()
    def fit_whitening(self, x: Tensor, mask: Tensor, condition: Tensor, noise: torch.Generator) -> None:
        """Quantiles of the normal scores, and correlations of what those leave, from the training sample."""
        z = self.standard(x, mask, condition, noise)
        at = torch.special.ndtr(torch.linspace(-4, 4, N_NODES, dtype=torch.float64)).float()
        self.nodes.copy_(torch.quantile(z[:60_000], at, dim=0).T.contiguous())
        self.nodes.add_(torch.linspace(-1e-4, 1e-4, N_NODES))
        g = self._gaussian(z)
        values, vectors = torch.linalg.eigh(torch.cov(g.T).double() + 1e-4 * torch.eye(self.dim, dtype=torch.float64))
        self.mix.copy_((vectors * values.sqrt()).float())

    @torch.no_grad()
    def inward(self, x: Tensor, mask: Tensor, condition: Tensor, noise: torch.Generator) -> Tensor:
        """Numbers (n, dim) to white coordinates; masked ones are drawn from their marginals."""
        return torch.linalg.solve(self.mix, self._gaussian(self.standard(x, mask, condition, noise)).T).T

    @torch.no_grad()
    def outward(self, white: Tensor, condition: Tensor) -> Tensor:
        """White coordinates to numbers."""
        g = (white @ self.mix.T).clamp(-4, 4)
        place = (g + 4) / 8 * (N_NODES - 1)
        low = place.floor().clamp(0, N_NODES - 2)
        index = low.long().T
        a, b = self.nodes.gather(1, index).T, self.nodes.gather(1, index + 1).T
        return self.values(a + (place - low) * (b - a), condition)

    def values(self, z: Tensor, condition: Tensor) -> Tensor:
        """Numbers at normal scores z (n, dim) of their conditional distributions."""
        return self._quantile(z, self.quantiles_of(condition)) * self.scale + self.center

    def standard(self, x: Tensor, mask: Tensor, condition: Tensor, noise: torch.Generator) -> Tensor:
        """The inverse of `values`; a masked number takes the score of another row's."""
        return filled(self.scores(x, condition), mask, noise)

    def scores(self, x: Tensor, condition: Tensor) -> Tensor:
        """Normal scores (n, dim) of numbers in their conditional distributions."""
        return self._rank((x - self.center) / self.scale, self.quantiles_of(condition)).clamp(-8, 8)

    def _rank(self, y: Tensor, quantiles: Tensor) -> Tensor:
        """Where numbers (n, dim) lie among their quantiles, as a normal score; beyond the last they go on straight."""
        upper = (y[..., None] > quantiles).sum(2).clamp(1, len(LEVELS) - 1)[..., None]
        below, above = quantiles.gather(2, upper - 1)[..., 0], quantiles.gather(2, upper)[..., 0]
        start, stop = self.levels[upper[..., 0] - 1], self.levels[upper[..., 0]]
        return start + (y - below) / (above - below) * (stop - start)

    def _quantile(self, z: Tensor, quantiles: Tensor) -> Tensor:
        """The inverse of `_rank`."""
        upper = torch.searchsorted(self.levels, z.contiguous()).clamp(1, len(LEVELS) - 1)[..., None]
        below, above = quantiles.gather(2, upper - 1)[..., 0], quantiles.gather(2, upper)[..., 0]
        start, stop = self.levels[upper[..., 0] - 1], self.levels[upper[..., 0]]
        return below + (z - start) / (stop - start) * (above - below)

    def _gaussian(self, z: Tensor) -> Tensor:
        index = torch.searchsorted(self.nodes, z.T.contiguous()).clamp(1, N_NODES - 1)
        a, b = self.nodes.gather(1, index - 1), self.nodes.gather(1, index)
        place = index - 1 + ((z.T - a) / (b - a)).clamp(0, 1)
        return (place / (N_NODES - 1) * 8 - 4).T


def filled(z: Tensor, mask: Tensor, noise: torch.Generator) -> Tensor:
    """Masked numbers take the value of another row's, zero where none is found: z (n, dim), mask (n, dim), true where
    a number is valid."""
    other = torch.randint(len(z), z.shape, generator=noise)
    for _ in range(4):
        z = torch.where(mask, z, z.gather(0, other))
        mask = mask | mask.gather(0, other)
        other = other.roll(1, 0)
    return torch.where(mask, z, torch.zeros_like(z))


def perceptron(n_in: int, width: int, n_out: int) -> nn.Sequential:
    """Two hidden layers."""
    return nn.Sequential(nn.Linear(n_in, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, n_out))
