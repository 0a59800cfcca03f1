"""Monotonic rational-quadratic splines (Gregory & Delbourgo; arXiv:1906.04032) in a coupling layer."""

import math

import torch
from torch import Tensor, nn

BINS, BOUND = 8, 5.0
"""Bins of each spline between -BOUND and BOUND; beyond, it is the identity."""
LEAST = 1e-3
"""Smallest width, height and slope."""


class Splines(nn.Module):
    """One half of the numbers, in an order of the layer's own, bent by splines that the other half and the condition
    give."""

    def __init__(self, dim: int, n_context: int, width: int, turn: int):
        super().__init__()
        order = torch.randperm(dim, generator=torch.Generator().manual_seed(turn // 2))
        kept = order[: dim // 2] if turn % 2 else order[dim // 2 :]
        self.register_buffer("kept", kept, persistent=False)
        self.register_buffer("bent", order[dim // 2 :] if turn % 2 else order[: dim // 2], persistent=False)
        self.network = nn.Sequential(
            nn.Linear(len(kept) + n_context, width), nn.SiLU(), nn.Linear(width, width), nn.SiLU(),
            nn.Linear(width, (dim - len(kept)) * (3 * BINS - 1)),
        )  # fmt: skip
        nn.init.zeros_(self.network[-1].weight)
        nn.init.zeros_(self.network[-1].bias)

    def forward(self, x: Tensor, condition: Tensor, inverse: bool = False) -> tuple[Tensor, Tensor]:
        """Bent vectors (n, dim) and the logarithm of the volume's change (n,)."""
        shape = self.network(torch.cat([x[:, self.kept], condition], 1)).float()
        shape = shape.view(len(x), len(self.bent), 3 * BINS - 1)
        bent, change = spline(x[:, self.bent].float(), shape, inverse)
        made = x.float().clone()
        made[:, self.bent] = bent
        return made, change.sum(1)


def spline(x: Tensor, shape: Tensor, inverse: bool = False) -> tuple[Tensor, Tensor]:
    """Values of x (n, k) under splines of shape (n, k, 3 BINS - 1), and the logarithms of their slopes (n, k)."""
    inside = x.abs() < BOUND
    at = x.clamp(-BOUND + 1e-4, BOUND - 1e-4)
    wide, high, slope = shape.split([BINS, BINS, BINS - 1], -1)
    edges_x, edges_y = (_edges(part) for part in (wide, high))
    rise = LEAST + nn.functional.softplus(slope + math.log(math.expm1(1 - LEAST)))
    rise = nn.functional.pad(rise, (1, 1), value=1.0)
    bin_of = (torch.searchsorted(edges_y if inverse else edges_x, at[..., None], right=True) - 1).clamp(0, BINS - 1)

    def pick(values: Tensor, shift: int = 0) -> Tensor:
        return values.gather(-1, bin_of + shift)[..., 0]

    x_0, y_0 = pick(edges_x), pick(edges_y)
    width, height = pick(edges_x, 1) - x_0, pick(edges_y, 1) - y_0
    mean, first, last = height / width, pick(rise), pick(rise, 1)
    excess = first + last - 2 * mean
    if inverse:
        up = at - y_0
        a = height * (mean - first) + up * excess
        b = height * first - up * excess
        c = -mean * up
        part = 2 * c / (-b - (b * b - 4 * a * c).clamp(min=0).sqrt())
        value = x_0 + part * width
    else:
        part = (at - x_0) / width
        value = y_0 + height * (mean * part**2 + first * part * (1 - part)) / (mean + excess * part * (1 - part))
    steep = mean**2 * (last * part**2 + 2 * mean * part * (1 - part) + first * (1 - part) ** 2)
    log_slope = torch.log(steep) - 2 * torch.log(mean + excess * part * (1 - part))
    log_slope = -log_slope if inverse else log_slope
    return torch.where(inside, value, x), torch.where(inside, log_slope, 0.0)


def _edges(shape: Tensor) -> Tensor:
    """Rising edges (n, k, BINS + 1) from -BOUND to BOUND."""
    share = LEAST + (1 - LEAST * BINS) * shape.softmax(-1)
    return nn.functional.pad(share.cumsum(-1), (1, 0)) * 2 * BOUND - BOUND
