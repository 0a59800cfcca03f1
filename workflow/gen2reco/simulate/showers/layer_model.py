"""Energy and number of cells of every layer, drawn together by one evaluation of a distilled flow.

A shower is a vector: per layer the square root of its (dequantised) number of cells and the logarithm of its energy a
cell, or the share that it has of what the layers before have left, then the logarithms of the response and of two
radii. Energies a cell are scaled to the response; shares add up to it. Given the particle and the layer where the
shower starts, small networks give the chance that a layer has any cell and quantiles of each number, by which the
numbers become Gaussian, one by one; then they are whitened. The flow works on that, so its start, the identity, is a
Gaussian copula.
"""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gen2reco.detector.geometry import Geometry
from gen2reco.flow.families import FAMILIES, Generator
from gen2reco.flow.marginals import Marginals, filled, perceptron
from gen2reco.flow.networks import VectorNetwork
from gen2reco.flow.path import sample
from gen2reco.simulate.showers.data import Showers
from gen2reco.simulate.showers.incidence import Incidence
from gen2reco.simulate.showers.shower_config import ShowerSizes

N_WHOLE = 3
"""Numbers of the whole shower at the vector's end."""
LEAST_SHARE = 1e-5
"""Bound of a layer's share of what is left."""
START = 12.0
"""MIP in two layers running: there a shower has started."""


@dataclass(frozen=True)
class Drawn:
    """The drawn numbers of whole showers. start: (n,) layer where each starts, 0 for none; cells, mips: (n, n_layers);
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


def draw_start(network: nn.Module, context: Tensor, rng: np.random.Generator) -> Tensor:
    """Layers (n,) where showers start, 0 for none, by a network's chances given the context (n, n_context)."""
    chance = network(context).softmax(1).cumsum(1)
    draws = torch.from_numpy(rng.random(len(context), dtype=np.float32))
    return (draws[:, None].to(chance.device) > chance[:, :-1]).sum(1)


def axis_points(inc: Incidence, geometry: Geometry) -> NDArray[np.float64]:
    """Where the straight path of each particle crosses each silicon plane: (n, n_layers, 2) mm."""
    depth = geometry.z - geometry.detector.front_face
    return inc.position[:, None] + inc.slope[:, None] * depth[None, :, None]


def from_axis(showers: Showers, geometry: Geometry) -> NDArray[np.float64]:
    """Distance of each deposit's cell to the straight path of its particle: (n_deposits,) mm."""
    size = geometry.detector.cell_size
    axis = axis_points(showers.incidence, geometry)[showers.owner, showers.layer - 1]
    return np.hypot((showers.ix + 0.5) * size - axis[:, 0], (showers.iy + 0.5) * size - axis[:, 1])


def radii(showers: Showers, geometry: Geometry) -> NDArray[np.float64]:
    """Logarithms of the mean distance to the axis by energy and by cells: (n, 2)."""
    owner, r = showers.owner, from_axis(showers, geometry)
    n, means = len(showers), []
    for weight in (showers.mips.astype(np.float64), np.ones(len(r))):
        total = np.bincount(owner, weight, n)
        means.append(np.bincount(owner, weight * r, n) / np.maximum(total, 1e-9))
    return np.log(np.maximum(np.stack(means, 1), 1.0))


def true_whole(showers: Showers, geometry: Geometry) -> Drawn:
    """The same numbers of simulated showers."""
    cells, mips = showers.per_layer(geometry.n_layers)
    return Drawn(start_layer(mips), cells, mips, radii(showers, geometry))


def to_vectors(
    whole: Drawn, energy: NDArray, geometry: Geometry, rng: np.random.Generator, shares: bool = False
) -> tuple[NDArray[np.float32], NDArray[np.bool_]]:
    """Vectors (n, 2 n_layers + N_WHOLE), and the mask that leaves out the numbers of layers without cells, and of
    shares that of the last layer with any, which is one."""
    hit = whole.cells > 0
    count = np.where(hit, np.sqrt(np.maximum(whole.cells - 1, 0) + rng.random(whole.cells.shape)), -1.0)
    of_layer, known = whole.mips * geometry.gev_per_mip, hit
    total = of_layer.sum(1)
    if shares:
        left = np.cumsum(of_layer[:, ::-1], 1)[:, ::-1]
        share = np.clip(of_layer / np.maximum(left, 1e-12), LEAST_SHARE, 1 - LEAST_SHARE)
        later = np.cumsum(hit[:, ::-1], 1)[:, ::-1] > 1
        known = hit & later
        values = np.where(known, np.log(share / (1 - share)), 0.0)
    else:
        values = np.log(np.where(hit, whole.mips / np.maximum(whole.cells, 1), 1.0))
    response = np.log(np.maximum(total, 1e-6) / energy)
    some = (total > 0)[:, None]
    x = np.concatenate([count, values, response[:, None], whole.radii], 1).astype(np.float32)
    mask = np.concatenate([hit, known, np.repeat(some, N_WHOLE, 1)], 1)
    return x, mask


def from_vectors(x: NDArray, start: NDArray, energy: NDArray, geometry: Geometry, shares: bool = False) -> Drawn:
    """The inverse of `to_vectors`; energies a cell are scaled to the response."""
    n_layers, x = geometry.n_layers, np.ascontiguousarray(x)
    cells = np.where(x[:, :n_layers] < 0, 0, np.floor(x[:, :n_layers] ** 2) + 1).astype(np.int64)
    if shares:
        of_layer = shared_out(energy * np.exp(x[:, 2 * n_layers]), cells > 0, x[:, n_layers : 2 * n_layers])
        return Drawn(start, cells, of_layer / geometry.gev_per_mip, x[:, 2 * n_layers + 1 :])
    mips = cells * np.exp(np.clip(x[:, n_layers : 2 * n_layers], -3.0, 9.0))
    total = mips @ geometry.gev_per_mip
    wanted = energy * np.exp(np.minimum(x[:, 2 * n_layers], 0.7))
    scale = np.where(total > 0, wanted / np.maximum(total, 1e-9), 0.0)
    return Drawn(start, cells, mips * scale[:, None], x[:, 2 * n_layers + 1 :])


def shared_out(total: NDArray, hit: NDArray, logit: NDArray) -> NDArray[np.float64]:
    """Energies of the layers (n, n_layers) that add up to `total` (n,): layer after layer with cells, as `hit`, has the
    share of what is left whose logit is given, the last one all of it."""
    share = np.where(hit, 1 / (1 + np.exp(-logit)), 0.0)
    last = hit & (np.cumsum(hit[:, ::-1], 1)[:, ::-1] == 1)
    share[last] = 1.0
    left = np.cumprod(1 - share, 1)
    before = np.concatenate([np.ones((len(total), 1)), left[:, :-1]], 1)
    return total[:, None] * share * before


class LayerModel(Marginals):
    """Start layer, which layers have cells, the marginals of their numbers, and the flow with its one-step student, or
    another generator in its place.

    A layer without cells is the lowest of its number of cells: a share of the scores, as large as its chance, stands
    for it, and the marginal distribution is that of the others.
    """

    def __init__(self, n_context: int, n_layers: int, sizes: ShowerSizes):
        dim, n_condition = 2 * n_layers + N_WHOLE, n_context + n_layers + 1
        start, occupied = perceptron(n_context, 96, n_layers + 1), perceptron(n_condition, 96, n_layers)
        super().__init__(dim, n_condition)
        self.n_layers, self.start, self.occupied = n_layers, start, occupied
        self.shares = sizes.energies == "shares"
        shape = dim, n_condition, sizes.width, sizes.depth
        self.generator: Generator | None = None
        if sizes.layers == "flow":
            self.teacher, self.student = VectorNetwork(*shape), VectorNetwork(*shape)
        else:
            self.generator = FAMILIES[sizes.layers](*shape)

    def condition(self, context: Tensor, start: Tensor) -> Tensor:
        """The flow's condition: context (n, n_context) and the start layer (n,)."""
        return torch.cat([context, nn.functional.one_hot(start, self.n_layers + 1).to(context.dtype)], 1)

    def occupied_loss(self, mask: Tensor, condition: Tensor) -> Tensor:
        """Negative log-likelihood per shower of which layers have cells: mask (n, dim), condition (n, n_condition)."""
        hit = mask[:, : self.n_layers].float()
        loss = nn.functional.binary_cross_entropy_with_logits(self.occupied(condition).float(), hit, reduction="sum")
        return loss / len(condition)

    @torch.no_grad()
    def draw(
        self,
        context: Tensor,
        energy: NDArray[np.float64],
        geometry: Geometry,
        rng: np.random.Generator,
        network: str = "student",
        evaluations: int = 1,
    ) -> Drawn:
        """Whole showers of particles, context (n, n_context) and incident energy (n,) GeV; network: `student`,
        `teacher` or `copula` (none), of a flow."""
        start = draw_start(self.start, context, rng)
        condition = self.condition(context, start)
        wide = self.generator.noise if self.generator else self.dim
        white = torch.from_numpy(rng.standard_normal((len(context), wide), dtype=np.float32)).to(context.device)
        if self.generator:
            white = self.generator.draw(white, condition, evaluations)
        elif network != "copula":
            white = sample(getattr(self, network), white, condition, evaluations)
        x = self.outward(white, condition).cpu().numpy().astype(np.float64)
        return from_vectors(x, start.cpu().numpy(), energy, geometry, self.shares)

    def values(self, z: Tensor, condition: Tensor) -> Tensor:
        """Vectors at normal scores z (n, dim); a layer without cells has a negative number of them."""
        some = slice(0, self.n_layers)
        chance, rank = self.occupied(condition).float().sigmoid(), torch.special.ndtr(z[:, some])
        above = _score((rank - 1 + chance) / chance.clamp(min=1e-7))
        x = super().values(torch.cat([above, z[:, self.n_layers :]], 1), condition)
        x[:, some] = torch.where(rank < 1 - chance, -1.0, x[:, some].clamp(min=0))
        return x

    def standard(self, x: Tensor, mask: Tensor, condition: Tensor, noise: torch.Generator) -> Tensor:
        """The inverse of `values`; that a layer has no cells is known, its energy takes the score of another shower."""
        z, some = self.scores(x, condition), slice(0, self.n_layers)
        chance, any_cell = self.occupied(condition).float().sigmoid(), mask[:, some]
        drawn = torch.rand(chance.shape, generator=noise)
        rank = torch.where(any_cell, 1 - chance + chance * torch.special.ndtr(z[:, some]), (1 - chance) * drawn)
        z = torch.cat([_score(rank), z[:, self.n_layers :]], 1)
        return filled(z, torch.cat([torch.ones_like(any_cell), mask[:, self.n_layers :]], 1), noise)


def _score(rank: Tensor) -> Tensor:
    """The normal score of a rank between 0 and 1."""
    return torch.special.ndtri(rank.clamp(1e-6, 1 - 1e-6))
