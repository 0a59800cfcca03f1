"""Energy and number of cells of every layer, drawn together by one evaluation of a distilled flow.

A shower is a vector: per layer the square root of its (dequantised) number of cells and the logarithm of its energy a
cell, then the logarithms of the response and of two radii. Given the particle and the layer where the shower starts,
small networks give the chance that a layer has any cell and quantiles of each number, by which the numbers become
Gaussian, one by one; then they are whitened. The flow works on that, so its start, the identity, is a Gaussian copula.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gen2reco.events.geometry import Geometry
from gen2reco.flow.networks import VectorNetwork
from gen2reco.flow.path import sample
from gen2reco.simulate.showers.data import Showers

N_WHOLE = 3
"""Numbers of the whole shower at the vector's end."""
START = 12.0
"""MIP in two layers running: there a shower has started."""
N_NODES = 257
LEVELS = (-2.6, -1.8, -1.1, -0.5, 0.0, 0.5, 1.1, 1.8, 2.6)
"""Where quantiles are learned, in units of a standard normal variable."""


@dataclass(frozen=True)
class Drawn:
    """What is drawn of whole showers. start: (n,) 0 for none, else the layer; cells, mips: (n, n_layers);
    radii: (n, 2) logarithms of the mean radius (mm) by energy and by cells."""

    start: NDArray[np.int64]
    cells: NDArray[np.int64]
    mips: NDArray[np.float64]
    radii: NDArray[np.float64]


def start_layer(mips: NDArray) -> NDArray[np.int64]:
    """The first layer (from 1) that with its next holds START MIPs, 0 if none does: mips (n, n_layers) to (n,)."""
    pairs = mips + np.pad(mips[:, 1:], ((0, 0), (0, 1)))
    begun = pairs >= START
    return np.where(begun.any(1), begun.argmax(1) + 1, 0)


def axis_points(showers_incidence, geometry: Geometry) -> NDArray[np.float64]:
    """Where the straight path of each particle crosses each silicon plane: (n, n_layers, 2) mm."""
    depth = geometry.z - geometry.detector.front_face
    return showers_incidence.position[:, None] + showers_incidence.slope[:, None] * depth[None, :, None]


def radii(showers: Showers, geometry: Geometry) -> NDArray[np.float64]:
    """Logarithms of the mean distance to the axis by energy and by cells: (n, 2)."""
    size, owner = geometry.detector.cell_size, showers.owner
    axis = axis_points(showers.incidence, geometry)[owner, showers.layer - 1]
    r = np.hypot((showers.ix + 0.5) * size - axis[:, 0], (showers.iy + 0.5) * size - axis[:, 1])
    n, means = len(showers), []
    for weight in (showers.mips.astype(np.float64), np.ones(len(r))):
        total = np.bincount(owner, weight, n)
        means.append(np.bincount(owner, weight * r, n) / np.maximum(total, 1e-9))
    return np.log(np.maximum(np.stack(means, 1), 1.0))


def true_whole(showers: Showers, geometry: Geometry) -> Drawn:
    """What simulated showers have of what is drawn."""
    cells, mips = showers.per_layer(geometry.n_layers)
    return Drawn(start_layer(mips), cells, mips, radii(showers, geometry))


def to_vectors(
    whole: Drawn, energy: NDArray, geometry: Geometry, rng: np.random.Generator
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Vectors (n, 2 n_layers + N_WHOLE) and which of their numbers are there: a layer without cells has none."""
    there = whole.cells > 0
    count = np.where(there, np.sqrt(np.maximum(whole.cells - 1, 0) + rng.random(whole.cells.shape)), -1.0)
    mean = np.log(np.where(there, whole.mips / np.maximum(whole.cells, 1), 1.0))
    total = whole.mips @ geometry.gev_per_mip
    response = np.log(np.maximum(total, 1e-6) / energy)
    some = (total > 0)[:, None]
    x = np.concatenate([count, mean, response[:, None], whole.radii], 1).astype(np.float32)
    mask = np.concatenate([there, there, np.repeat(some, N_WHOLE, 1)], 1)
    return x, mask


def from_vectors(x: NDArray, start: NDArray, energy: NDArray, geometry: Geometry) -> Drawn:
    """The inverse of `to_vectors`; energies of the layers are scaled to the response."""
    n_layers, x = geometry.n_layers, np.ascontiguousarray(x)
    cells = np.where(x[:, :n_layers] < 0, 0, np.floor(x[:, :n_layers] ** 2) + 1).astype(np.int64)
    mips = cells * np.exp(np.clip(x[:, n_layers : 2 * n_layers], -3.0, 9.0))
    total = mips @ geometry.gev_per_mip
    wanted = energy * np.exp(np.minimum(x[:, 2 * n_layers], 0.7))
    scale = np.where(total > 0, wanted / np.maximum(total, 1e-9), 0.0)
    return Drawn(start, cells, mips * scale[:, None], x[:, 2 * n_layers + 1 :])


class LayerModel(nn.Module):
    """Start layer, representation, and the flow with its one-step student."""

    def __init__(self, n_context: int, n_layers: int, width: int, depth: int):
        super().__init__()
        dim = 2 * n_layers + N_WHOLE
        self.n_layers, self.dim, n_told = n_layers, dim, n_context + n_layers + 1
        self.start = _perceptron(n_context, 96, n_layers + 1)
        self.occupied = _perceptron(n_told, 96, n_layers)
        self.quantiles = _perceptron(n_told, 128, len(LEVELS) * dim)
        self.teacher = VectorNetwork(dim, n_told, width, depth)
        self.student = VectorNetwork(dim, n_told, width, depth)
        self.register_buffer("center", torch.zeros(dim))
        self.register_buffer("scale", torch.ones(dim))
        self.register_buffer("levels", torch.tensor(LEVELS))
        self.register_buffer("nodes", torch.linspace(-4, 4, N_NODES).repeat(dim, 1))
        self.register_buffer("mix", torch.eye(dim))

    def told(self, context: Tensor, start: Tensor) -> Tensor:
        """The flow's condition: context (n, n_context) and the start layer (n,)."""
        return torch.cat([context, nn.functional.one_hot(start, self.n_layers + 1).to(context.dtype)], 1)

    def quantiles_of(self, told: Tensor) -> Tensor:
        """Quantiles of each number at LEVELS, in standard units: (n, dim, n_levels), rising."""
        raw = self.quantiles(told).view(len(told), self.dim, len(LEVELS)).float()
        steps = nn.functional.softplus(raw[..., 1:] - 1) + 1e-3
        rise = torch.cat([torch.zeros_like(raw[..., :1]), steps.cumsum(2)], 2)
        middle = len(LEVELS) // 2
        return raw[..., :1] + rise - rise[..., middle : middle + 1]

    def quantiles_loss(self, x: Tensor, mask: Tensor, told: Tensor) -> Tensor:
        """Mean pinball loss (Koenker & Bassett, Econometrica 46 (1978) 33) of the numbers that are there."""
        off = ((x - self.center) / self.scale)[..., None] - self.quantiles_of(told)
        chance = torch.special.ndtr(self.levels)
        loss = torch.maximum(chance * off, (chance - 1) * off).mean(2)
        return (loss * mask).sum() / mask.sum()

    def occupied_loss(self, mask: Tensor, told: Tensor) -> Tensor:
        """Negative log-likelihood per shower of which layers have cells."""
        there = mask[:, : self.n_layers].float()
        loss = nn.functional.binary_cross_entropy_with_logits(self.occupied(told).float(), there, reduction="sum")
        return loss / len(told)

    @torch.no_grad()
    def fit_whitening(self, x: Tensor, mask: Tensor, told: Tensor, noise: torch.Generator) -> None:
        """Quantiles of each number and the correlations of what they leave, from the training sample."""
        z = self._standard(x, mask, told, noise)
        at = torch.special.ndtr(torch.linspace(-4, 4, N_NODES, dtype=torch.float64)).float()
        self.nodes.copy_(torch.quantile(z[:60_000], at, dim=0).T.contiguous())
        self.nodes.add_(torch.linspace(-1e-4, 1e-4, N_NODES))
        g = self._gaussian(z)
        values, vectors = torch.linalg.eigh(torch.cov(g.T).double() + 1e-4 * torch.eye(self.dim, dtype=torch.float64))
        self.mix.copy_((vectors * values.sqrt()).float())

    @torch.no_grad()
    def inward(self, x: Tensor, mask: Tensor, told: Tensor, noise: torch.Generator) -> Tensor:
        """Vectors to white coordinates; numbers that are not there are drawn from their marginals."""
        return torch.linalg.solve(self.mix, self._gaussian(self._standard(x, mask, told, noise)).T).T

    @torch.no_grad()
    def outward(self, white: Tensor, told: Tensor) -> Tensor:
        """White coordinates to vectors."""
        g = (white @ self.mix.T).clamp(-4, 4)
        place = (g + 4) / 8 * (N_NODES - 1)
        low = place.floor().clamp(0, N_NODES - 2)
        index = low.long().T
        a, b = self.nodes.gather(1, index).T, self.nodes.gather(1, index + 1).T
        z = a + (place - low) * (b - a)
        chance, some = self.occupied(told).float().sigmoid(), z[:, : self.n_layers]
        rank = torch.special.ndtr(some)
        empty = rank < 1 - chance
        z[:, : self.n_layers] = _score((rank - 1 + chance) / chance.clamp(min=1e-7))
        x = self._quantile(z, self.quantiles_of(told)) * self.scale + self.center
        x[:, : self.n_layers] = torch.where(empty, -1.0, x[:, : self.n_layers].clamp(min=0))
        return x

    @torch.no_grad()
    def draw(self, context: Tensor, rng: np.random.Generator, network: str, evaluations: int) -> tuple[Tensor, Tensor]:
        """Start layers (n,) and vectors (n, dim); network: `student`, `teacher` or `copula` (none)."""
        chance = self.start(context).softmax(1).cumsum(1)
        draws = torch.from_numpy(rng.random(len(context), dtype=np.float32))
        start = (draws[:, None].to(chance.device) > chance[:, :-1]).sum(1)
        told = self.told(context, start)
        white = torch.from_numpy(rng.standard_normal((len(context), self.dim), dtype=np.float32)).to(context.device)
        if network != "copula":
            white = sample(getattr(self, network), white, told, evaluations)
        return start, self.outward(white, told)

    def _standard(self, x: Tensor, mask: Tensor, told: Tensor, noise: torch.Generator) -> Tensor:
        z = self._rank((x - self.center) / self.scale, self.quantiles_of(told)).clamp(-8, 8)
        chance, some = self.occupied(told).float().sigmoid(), slice(0, self.n_layers)
        any_cell, drawn = mask[:, some], torch.rand(chance.shape, generator=noise)
        rank = torch.where(any_cell, 1 - chance + chance * torch.special.ndtr(z[:, some]), (1 - chance) * drawn)
        z = torch.cat([_score(rank), z[:, self.n_layers :]], 1)
        mask = torch.cat([torch.ones_like(any_cell), mask[:, self.n_layers :]], 1)
        other = torch.randint(len(z), z.shape, generator=noise)
        for _ in range(4):  # a number that is not there takes the value of another shower's
            z = torch.where(mask, z, z.gather(0, other))
            mask = mask | mask.gather(0, other)
            other = other.roll(1, 0)
        return torch.where(mask, z, torch.zeros_like(z))

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


def _score(rank: Tensor) -> Tensor:
    """The normal score of a rank between 0 and 1."""
    return torch.special.ndtri(rank.clamp(1e-6, 1 - 1e-6))


def _perceptron(n_in: int, width: int, n_out: int) -> nn.Sequential:
    return nn.Sequential(nn.Linear(n_in, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(), nn.Linear(width, n_out))
