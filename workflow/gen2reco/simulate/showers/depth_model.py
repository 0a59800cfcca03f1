"""Layers drawn one after the other, from the front to the back, in one pass of a recurrent network; the response last.

First the layer where the shower starts. Then for each layer, given the particle, the start and all layers before it:
whether it has a cell, then the logarithm of their number, then that of the energy a cell, the numbers by mixtures of
Gaussians (autoregressive, as MADE, arXiv:1502.03509, along the depth). After the last layer, two radii. Layers drawn so
are right one by one, and their sum, the response, drifts: what it should be, given the shape of the shower, is learned
apart, of the reference's showers and of the network's own, and the energies are scaled from the one to the other, by
their ranks.
"""

from dataclasses import replace
from typing import NamedTuple

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gen2reco.detector.geometry import Geometry
from gen2reco.flow.marginals import perceptron
from gen2reco.flow.mixtures import at_rank, draw_mixture, log_mixture, rank_in_mixture
from gen2reco.simulate.showers.layer_model import Drawn, draw_start, start_layer
from gen2reco.simulate.showers.shower_config import ShowerSizes

GAUSSIANS = 5
HEAD = 64
"""Width of the layer behind which the energy a cell is drawn."""
PLACES = 16
"""Numbers that stand for a layer."""
N_BEFORE = 8
"""Numbers of the layers before: any cell, cells, energy a cell of the last; cells, energy of all, layers with any; the
energies of all and of the last by that of the particle."""
N_START = 3
"""Numbers of a layer's place: any start, whether it is behind it, how far."""
MIP = 0.02
"""About the energy behind a MIP, GeV."""
RADIUS = 3.0
"""About the mean of the logarithms of radii in mm."""
MARGIN = 0.5
"""By how much the logarithms of a layer may go beyond those of the training."""
LEAST_RANK = 1e-4
"""How near to the end of its distribution a response may be."""


class Given(NamedTuple):
    """What layers are drawn for. context: (n, n_context); energy: (n,) GeV; start: (n,) layer, from 1, 0 for none."""

    context: Tensor
    energy: Tensor
    start: Tensor


class DepthModel(nn.Module):
    """The start layer, a recurrent network over the layers, and the responses given the shape, true and its own."""

    def __init__(self, n_context: int, n_layers: int, sizes: ShowerSizes):
        super().__init__()
        width, numbers = sizes.width, 3 * GAUSSIANS
        self.n_layers = n_layers
        self.place = nn.Embedding(n_layers, PLACES)
        self.start = perceptron(n_context, 96, n_layers + 1)
        self.recurrent = nn.GRU(n_context + PLACES + N_BEFORE + N_START, width, batch_first=True)
        self.hidden = nn.Sequential(nn.Linear(width, width), nn.SiLU(), nn.Dropout(0.1))
        self.some, self.cells = nn.Linear(width, 1), nn.Linear(width, numbers)
        self.mean = nn.Sequential(nn.Linear(width + 1, HEAD), nn.SiLU(), nn.Linear(HEAD, numbers))
        self.first_radius = perceptron(width + N_BEFORE, width, numbers)
        self.second_radius = perceptron(width + N_BEFORE + 1, width, numbers)
        self.true, self.own = (Response(n_context + n_layers + 1) for _ in range(2))
        self.register_buffer("bounds", torch.zeros(2, 2, n_layers))

    def fit_bounds(self, whole: Drawn) -> None:
        """The least and the largest logarithms of cells and energy a cell of each layer in a training."""
        some = torch.from_numpy(whole.cells > 0)
        cells, mips = torch.from_numpy(whole.cells).float(), torch.from_numpy(whole.mips).float()
        for at, values in enumerate(_logarithms(cells, mips)):
            self.bounds[0, at] = torch.where(some, values, torch.inf).amin(0).clamp(max=0) - MARGIN
            self.bounds[1, at] = torch.where(some, values, -torch.inf).amax(0).clamp(min=0) + MARGIN

    def loss(self, given: Given, cells: Tensor, mips: Tensor, radii: Tensor, uniform: Tensor) -> Tensor:
        """Mean negative log-likelihood of showers, their start given. cells, mips (n, n_layers); radii (n, 2); uniform
        (n, n_layers): numbers of cells are spread by, for they are whole."""
        some, before = cells > 0, _before(cells, mips, given.energy)
        out = self.hidden(self.recurrent(self._inputs(given, before[:, :-1]))[0])
        any_cell = nn.functional.binary_cross_entropy_with_logits(
            self.some(out)[..., 0].float(), some.float(), reduction="none"
        )
        count = torch.log(cells.clamp(min=1) + uniform - 0.5)
        _, mean = _logarithms(cells, mips)
        number = log_mixture(self.cells(out), count)
        energy = log_mixture(self.mean(torch.cat([out, count[..., None]], -1)), mean)
        end = torch.cat([out[:, -1], before[:, -1]], 1)
        radii = radii - RADIUS
        size = log_mixture(self.first_radius(end), radii[:, 0])
        size = size + log_mixture(self.second_radius(torch.cat([end, radii[:, :1]], 1)), radii[:, 1])
        return any_cell.sum(1).mean() - ((number + energy) * some).sum(1).mean() - (size * some.any(1)).mean()

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
        """Whole showers of particles, context (n, n_context) and incident energy (n,) GeV, by one pass, scaled to the
        response that their shape has; network and evaluations are those of other models."""
        whole = self.unscaled(context, energy, rng)
        shape, log_response = shape_of(whole, energy, geometry)
        inputs = torch.cat([context, torch.from_numpy(shape).to(context.device)], 1)
        known = torch.from_numpy(log_response).to(context.device)
        wanted = self.true.value(self.own.rank(known, inputs), inputs)
        factor = np.where(whole.mips.any(1), (wanted - known).exp().cpu().numpy().astype(np.float64), 1.0)
        mips = whole.mips * factor[:, None]
        return replace(whole, mips=mips, start=start_layer(mips))

    @torch.no_grad()
    def unscaled(self, context: Tensor, energy: NDArray[np.float64], rng: np.random.Generator) -> Drawn:
        """Whole showers as the network over depth draws them, of the response that comes of it."""
        n, device = len(context), context.device
        start = draw_start(self.start, context, rng)
        given = Given(context, torch.from_numpy(energy).to(device, torch.float32), start)
        uniform = torch.from_numpy(rng.random((self.n_layers + 1, 3, n), dtype=np.float32)).to(device)
        normal = torch.from_numpy(rng.standard_normal((self.n_layers + 1, 2, n), dtype=np.float32)).to(device)
        cells, mips = (torch.zeros(n, self.n_layers, device=device) for _ in range(2))
        sums = torch.zeros(3, n, device=device)
        known = _known(cells[:, 0], mips[:, 0], sums, given.energy)
        state, out = None, context
        for at in range(self.n_layers):
            step, state = self.recurrent(self._inputs(given, known[:, None], at), state)
            out = self.hidden(step[:, 0])
            some = uniform[at, 0] < self.some(out)[:, 0].float().sigmoid()
            low, high = self.bounds[:, :, at]
            count = draw_mixture(self.cells(out), uniform[at, 1], normal[at, 0]).clamp(low[0], high[0])
            mean = draw_mixture(self.mean(torch.cat([out, count[:, None]], 1)), uniform[at, 2], normal[at, 1])
            cells[:, at] = torch.where(some, count.exp().round().clamp(min=1), 0.0)
            mips[:, at] = cells[:, at] * mean.clamp(low[1], high[1]).exp()
            sums = sums + torch.stack([cells[:, at], mips[:, at], some.float()])
            known = _known(cells[:, at], mips[:, at], sums, given.energy)
        end = torch.cat([out, known], 1)
        first = draw_mixture(self.first_radius(end), uniform[-1, 0], normal[-1, 0])
        second = draw_mixture(self.second_radius(torch.cat([end, first[:, None]], 1)), uniform[-1, 1], normal[-1, 1])
        radii = torch.stack([first, second], 1).clamp(-3.0, 4.0) + RADIUS
        drawn = [values.cpu().numpy().astype(np.float64) for values in (cells, mips, radii)]
        return Drawn(start_layer(drawn[1]), drawn[0].astype(np.int64), drawn[1], drawn[2])

    def _inputs(self, given: Given, before: Tensor, at: int | None = None) -> Tensor:
        """Inputs (n, layers, …) of all layers, or of one; before: (n, layers, N_BEFORE)."""
        places = self.place.weight if at is None else self.place.weight[at : at + 1]
        layers = torch.arange(self.n_layers, device=before.device)[slice(None) if at is None else slice(at, at + 1)]
        behind = (layers + 1 - given.start[:, None]).to(before.dtype)
        any_start = (given.start > 0).to(before.dtype)[:, None].expand_as(behind)
        started = torch.stack([any_start, any_start * (behind >= 0), any_start * (behind / 16).clamp(-1.5, 1.5)], -1)
        wide = given.context[:, None].expand(-1, before.shape[1], -1)
        return torch.cat([wide, places.expand(len(before), -1, -1), before, started], 2)


class Response(nn.Module):
    """The logarithm of the response given the shape of the shower, a mixture of Gaussians."""

    def __init__(self, n_inputs: int):
        super().__init__()
        self.network = perceptron(n_inputs, 48, 3 * GAUSSIANS)

    def loss(self, inputs: Tensor, log_response: Tensor) -> Tensor:
        """Mean negative log-likelihood."""
        return -log_mixture(self.network(inputs), log_response).mean()

    def rank(self, log_response: Tensor, inputs: Tensor) -> Tensor:
        """Where a response is among those of its shape: (n,) between 0 and 1."""
        return rank_in_mixture(self.network(inputs), log_response)

    def value(self, rank: Tensor, inputs: Tensor) -> Tensor:
        """The inverse of `rank`, of ranks that are not nearer than LEAST_RANK to 0 or 1."""
        return at_rank(self.network(inputs), rank.clamp(LEAST_RANK, 1 - LEAST_RANK))


def shape_of(whole: Drawn, energy: NDArray, geometry: Geometry) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """The shape of showers (n, n_layers + 1), roots of the layers' shares of the energy and the logarithm of cells a
    GeV, and the logarithm of the response (n,)."""
    of_layer = whole.mips * geometry.gev_per_mip
    total = np.maximum(of_layer.sum(1), 1e-6)
    cells = np.log((whole.cells.sum(1) + 1) / energy)
    shape = np.concatenate([np.sqrt(of_layer / total[:, None]), cells[:, None] - 2.0], 1)
    return shape.astype(np.float32), np.log(total / energy).astype(np.float32)


def _logarithms(cells: Tensor, mips: Tensor) -> tuple[Tensor, Tensor]:
    """Logarithms of the cells and of the energy a cell, 0 of layers without any."""
    some, number = cells > 0, cells.clamp(min=1)
    mean = torch.where(some, mips / number, torch.ones_like(mips))
    return number.log(), mean.clamp(min=1e-3).log()


def _before(cells: Tensor, mips: Tensor, energy: Tensor) -> Tensor:
    """What is known before each layer, and after the last: (n, n_layers + 1, N_BEFORE). energy: (n,) GeV."""
    sums = torch.stack([cells, mips, (cells > 0).to(mips.dtype)]).cumsum(2)
    none = torch.zeros_like(cells[:, :1])
    first = _known(none, none, torch.zeros_like(sums[..., :1]), energy[:, None])
    return torch.cat([first, _known(cells, mips, sums, energy[:, None])], 1)


def _known(cells: Tensor, mips: Tensor, sums: Tensor, energy: Tensor) -> Tensor:
    """What is known after layers, (…, N_BEFORE): of the layer itself, (…) cells and MIP, and of all up to it, sums
    (3, …) of cells, MIP and layers with any."""
    count, mean = _logarithms(cells, mips)
    of_layer = [(cells > 0).to(mips.dtype), count / 2, mean / 2]
    of_all = [*(sums[:2].log1p() / 4), sums[2] / 20]
    return torch.stack(of_layer + of_all + [_share(sums[1], energy), _share(mips, energy)], -1)


def _share(mips: Tensor, energy: Tensor) -> Tensor:
    """About the logarithm of what MIPs are of the particle's energy, about standard."""
    return (mips * MIP / energy + 1e-3).log() / 2 + 1
