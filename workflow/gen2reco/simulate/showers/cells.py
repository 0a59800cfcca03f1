"""The cells of a shower given its layers: occupancy, energies and delays."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gen2reco import jit
from gen2reco.detector.geometry import Geometry
from gen2reco.flow.marginals import N_QUANTILES, RANKS
from gen2reco.flow.mixtures import log_mixture, two_gaussians
from gen2reco.simulate.showers.data import Showers
from gen2reco.simulate.showers.incidence import Incidence
from gen2reco.simulate.showers.layer_model import Drawn, axis_points, from_axis

sampler = jit.load("gen2reco.simulate.showers.kernels.sampler", ("maths", "window", "energies"))
N_LAYER = 12
"""Numbers that describe a layer of a shower before its one-hot place and the context."""
SPREAD, LOG_SPREAD = 9, 3.3
"""Place of the shower's mean distance by cells among these numbers, and what its logarithm is centred by."""
TIME_BINS = (2, len(sampler.RADIUS_EDGES) + 1, len(sampler.MIPS_EDGES) + 1)
"""Section, distance to the axis, energy of the cell: each has its own distribution of delays."""


@dataclass(frozen=True)
class Rows:
    """Layers with cells, over all showers. shower, layer (from 0): (n_rows,); features: (n_rows, n_features)."""

    shower: NDArray[np.int64]
    layer: NDArray[np.int64]
    features: NDArray[np.float32]


class CellModel(nn.Module):
    """Occupancy and energy of candidate cells, conditioned on their layer; tables for halo and delays."""

    def __init__(self, n_context: int, n_layers: int, width: int = 64, hidden: int = 32):
        super().__init__()
        self.layer = nn.Sequential(
            nn.Linear(N_LAYER + n_layers + n_context, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU()
        )
        self.halo, self.halo_size = nn.Linear(width, 2), nn.Linear(width, 6)
        self.biases = nn.ModuleList(nn.Linear(width, hidden) for _ in range(3))
        self.first, self.second = (_Head(sampler.N_FEATURES, hidden, 1) for _ in range(2))
        self.energy = _Head(sampler.N_FEATURES + sampler.N_LEFT, hidden, 3 * sampler.MIXTURE)
        with torch.no_grad():
            m = sampler.MIXTURE
            self.energy.last.bias[m : 2 * m] = torch.linspace(-1.0, 1.5, m)
        self.register_buffer("delays", torch.zeros(*TIME_BINS, N_QUANTILES))

    def loss(
        self, features: Tensor, counts: Tensor, x: Tensor, role: Tensor, log_mips: Tensor, halo: Tensor
    ) -> tuple[Tensor, Tensor, Tensor]:
        """Negative log-likelihoods per row of occupancy, energies and the halo's cells, their number and distances.

        features: (n_rows, n_features); counts: (n_rows,) entries of each row in x (n, N_FEATURES + N_LEFT), role and
        log_mips (n,), as `kernels.candidate_cells` makes them; halo: (n_rows, 2) cells of the halo.
        """
        known = self.layer(features)
        row = torch.repeat_interleave(counts)
        occupancy = 0
        for half, head in enumerate((self.first, self.second)):
            some = torch.nonzero(role // 2 == half)[:, 0]
            logit = head(x[some, : sampler.N_FEATURES], self.biases[half](known)[row[some]])[:, 0].float()
            is_hit = (role[some] % 2).float()
            occupancy = occupancy + nn.functional.binary_cross_entropy_with_logits(logit, is_hit, reduction="sum")
        some = torch.nonzero((role >= 4) & (x[:, -1] < 1))[:, 0]  # the last hit of a layer takes what is left
        mixture = self.energy(x[some], self.biases[2](known)[row[some]])
        energy = -log_mixture(mixture, log_mips[some]).sum()
        log_rate = self.halo(known).float().clamp(-12, 6)
        rate = (log_rate.exp() - halo * log_rate).sum()
        far = torch.nonzero(role == 5)[:, 0]
        distance = (10 * torch.expm1(x[far, 0])).clamp(min=1).log() - features[row[far], SPREAD] - LOG_SPREAD
        size = -log_mixture(self.halo_size(known)[row[far]], distance).sum()
        return occupancy / len(features), energy / len(features), (rate + size) / len(features)

    @torch.no_grad()
    def draw(
        self, inc: Incidence, context: NDArray, whole: Drawn, geometry: Geometry, rng: np.random.Generator
    ) -> tuple[NDArray, ...]:
        """Cells of showers: owner (n,), layer (from 1), ix, iy, mips and delay (ns)."""
        rows = layer_rows(inc, context, whole)
        known = self.layer(torch.from_numpy(rows.features).to(self.halo.weight.device))
        biases = tuple(_array(bias(known)) for bias in self.biases)
        rate = _array(self.halo(known).clamp(-12, 6).exp())
        size = _array(two_gaussians(self.halo_size(known)))
        row_of = np.zeros(whole.cells.shape, np.int64)
        row_of[rows.shower, rows.layer] = np.arange(len(rows.shower))
        most = int(whole.cells.sum())
        ix, iy = np.empty(most, np.int64), np.empty(most, np.int64)
        mips, delay = np.empty(most, np.float32), np.empty(most, np.float32)
        edges = np.zeros((len(inc), geometry.n_layers + 1), np.int64)
        n = sampler.draw(
            rng.integers(0, 2**32, len(inc)), axis_points(inc, geometry), np.ascontiguousarray(inc.slope),
            geometry.detector.cell_size, geometry.r_min, geometry.r_max, whole.cells, whole.mips, biases, row_of, rate,
            size, np.exp(np.ascontiguousarray(whole.radii)),
            (~geometry.electromagnetic).astype(np.int64), _array(self.delays).reshape(-1, N_QUANTILES),
            tuple(h.arrays() for h in (self.first, self.second, self.energy)), edges, ix, iy, mips, delay,
        )  # fmt: skip
        owner = np.repeat(np.arange(len(inc)), edges[:, -1] - edges[:, 0])
        layer = np.repeat(np.tile(np.arange(geometry.n_layers), len(inc)), np.diff(edges, axis=1).ravel())
        return owner, layer + 1, ix[:n], iy[:n], mips[:n].astype(np.float64), delay[:n].astype(np.float64)

    @torch.no_grad()
    def fit_delays(self, showers: Showers, geometry: Geometry) -> None:
        """Quantiles of the delays."""
        section = (~geometry.electromagnetic)[showers.layer - 1].astype(int)
        r = from_axis(showers, geometry)
        bins = np.ravel_multi_index(_time_bins(section, r, showers.mips), TIME_BINS)
        for b in range(int(np.prod(TIME_BINS))):
            delays = showers.delay[bins == b]
            table = np.quantile(delays if len(delays) else [0.0], RANKS)
            self.delays.view(-1, N_QUANTILES)[b] = torch.from_numpy(table)


class _Head(nn.Module):
    """The perceptron of the kernel: the bias of its first layer is an argument."""

    def __init__(self, n_in: int, hidden: int, n_out: int):
        super().__init__()
        self.first = nn.Linear(n_in, hidden, bias=False)
        self.second, self.last = nn.Linear(hidden, hidden // 2), nn.Linear(hidden // 2, n_out)

    def forward(self, x: Tensor, bias: Tensor) -> Tensor:
        """x: (n, n_in), bias: (n, hidden) to (n, n_out)."""
        h = nn.functional.relu(self.first(x) + bias)
        return self.last(nn.functional.relu(self.second(h)))

    def arrays(self) -> tuple[NDArray[np.float32], ...]:
        """The weights as arguments of the kernel: first, second, bias of the second, last, bias of the last."""
        first, second, last = (np.ascontiguousarray(_array(m.weight).T) for m in (self.first, self.second, self.last))
        return first, second, _array(self.second.bias), last, _array(self.last.bias)


def layer_rows(inc: Incidence, context: NDArray, whole: Drawn) -> Rows:
    """The layers with cells, and the features by which their cells are drawn."""
    shower, layer = np.nonzero(whole.cells)
    n_layers = whole.cells.shape[1]
    cells = np.log1p(whole.cells)
    mean = np.log(np.maximum(whole.mips, 1e-3) / np.maximum(whole.cells, 1))
    before = np.maximum(layer - 1, 0)
    none_before = (layer == 0) | (whole.cells[shower, before] == 0)
    deep = layer + 1.0 - whole.start[shower]
    known = np.stack(
        [
            cells[shower, layer] - 2.0,
            mean[shower, layer] - 0.8,
            np.where(none_before, 0.0, cells[shower, before] - 2.0),
            np.where(none_before, 0.0, mean[shower, before] - 0.8),
            none_before,
            np.clip(deep, -10, 30) / 10,
            deep < 0,
            whole.start[shower] == 0,
            whole.radii[shower, 0] - 2.8,
            whole.radii[shower, 1] - LOG_SPREAD,
            np.log(np.maximum(whole.mips.sum(1), 1.0))[shower] / 3 - 2,
            np.log1p(whole.cells.sum(1))[shower] / 2 - 2.5,
        ],
        1,
    )
    which = np.eye(n_layers, dtype=np.float32)[layer]
    return Rows(shower, layer, np.concatenate([known, which, context[shower]], 1).astype(np.float32))


def _time_bins(section: NDArray, radius: NDArray, mips: NDArray) -> tuple[NDArray, NDArray, NDArray]:
    return section, np.digitize(radius, sampler.RADIUS_EDGES), np.digitize(mips, sampler.MIPS_EDGES)


def _array(tensor: Tensor) -> NDArray:
    return tensor.detach().cpu().numpy()
