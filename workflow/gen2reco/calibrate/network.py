"""The calibration network: a point cloud of layer clusters and named features in, three answers out.

The energy is a sum of layer clusters with learned weights (software compensation; as for CALICE in arXiv:1207.4210)
times a correction, so that an untrained network already gives the plain sum. Its inputs are those of the calorimeter
alone; the track enters the identity only. Directions are a learned weighting of the clusters' positions.
"""

from typing import NamedTuple

import torch
from pydantic import Field
from torch import Tensor, nn

from gen2reco.config.block import Block

COMPONENTS = 2
"""Gaussians in the mixture of ln(true energy / raw energy)."""
LOG_SHARE = 3
"""Column of `features.POINT_NAMES` that holds ln(E / energy of the candidate)."""
CLIP = 6.0
"""Standardised inputs are held within this many standard deviations."""


class Sizes(Block):
    """Sizes of the calibration network."""

    calorimeter: int = Field(ge=1, le=4096)
    """Features of a candidate."""
    track: int = Field(ge=1, le=4096)
    """Features of its track."""
    points: int = Field(ge=1, le=4096)
    """Features of a layer cluster."""
    identities: int = Field(default=5, ge=2, le=4096)
    """Kinds of particles."""
    point_width: int = Field(default=32, ge=1, le=4096)
    """Width of the layers that act on each point."""
    width: int = Field(default=96, ge=1, le=4096)
    """Width of the layers that act on a candidate."""
    dropout: float = Field(default=0.05, ge=0, lt=1)
    """Dropout on the layers that act on a candidate."""


class Answer(NamedTuple):
    """What the network says of B candidates."""

    logits: Tensor
    """(B, identities)"""
    weight: Tensor
    """(B, COMPONENTS): logits of the mixture."""
    mean: Tensor
    """(B, COMPONENTS): of ln(true energy / raw energy)."""
    log_sigma: Tensor
    """(B, COMPONENTS)"""
    shift: Tensor
    """(B, 2): from the barycentre to the direction of the particle, mm on the plane of the face."""


class CalibrationNetwork(nn.Module):
    """See the module's docstring; `scales` are the (mean, std) of each kind of input, set by `standardise`."""

    def __init__(self, sizes: Sizes):
        super().__init__()
        self.sizes = sizes
        for name, n in (("calorimeter", sizes.calorimeter), ("track", sizes.track), ("points", sizes.points)):
            self.register_buffer(f"{name}_mean", torch.zeros(n))
            self.register_buffer(f"{name}_std", torch.ones(n))
        w, h = sizes.point_width, sizes.width
        self.point = nn.Sequential(
            nn.Linear(sizes.points, w), nn.ReLU(inplace=True), nn.Linear(w, w), nn.ReLU(inplace=True)
        )
        self.context = nn.Linear(w + sizes.calorimeter, w)
        self.second = nn.Sequential(nn.Linear(w, w), nn.ReLU(inplace=True))
        self.per_point = nn.Linear(w, 2)
        self.trunk = _mlp(3 * w + sizes.calorimeter, h, h, sizes.dropout)
        self.energy = nn.Linear(h, 3 * COMPONENTS)
        self.identity = _mlp(h + sizes.calorimeter + sizes.track, h, sizes.identities, sizes.dropout)
        for layer in (self.per_point, self.energy):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        with torch.no_grad():
            self.energy.bias[2 * COMPONENTS :] = torch.tensor([-2.0, -1.0])

    def standardise(self, name: str, values: Tensor) -> None:
        """Set the scales of one kind of input from a sample of it: (n, features)."""
        getattr(self, f"{name}_mean").copy_(values.mean(0))
        getattr(self, f"{name}_std").copy_(values.std(0).clamp(min=1e-3))

    def forward(self, calorimeter: Tensor, track: Tensor, points: Tensor, place: Tensor, mask: Tensor) -> Answer:
        """(B, F), (B, T), (B, P, K), (B, P, 2) mm, (B, P) of 0 and 1 → `Answer`."""
        share = torch.exp(points[..., LOG_SHARE]) * mask
        return self.of_scaled(
            self.scaled("calorimeter", calorimeter),
            self.scaled("track", track),
            self.scaled("points", points),
            share,
            place,
            mask,
        )

    def of_scaled(self, f: Tensor, t: Tensor, points: Tensor, share: Tensor, place: Tensor, mask: Tensor) -> Answer:
        """The same of standardised inputs, with each point's share of the energy: (B, P), 0 beyond the last."""
        x = self.point(points)
        pooled = torch.bmm(share[:, None], x)[:, 0]
        x = self.second(torch.relu_(x + self.context(torch.cat([pooled, f], 1))[:, None]))
        compensation, attention = self.per_point(x).unbind(-1)
        weighted = ((share * torch.exp(compensation)).sum(1) + 1e-6) / (share.sum(1) + 1e-6)
        even = mask / (mask.sum(1, keepdim=True) + 1e-6)
        pull = share * torch.exp(attention)
        pull = pull / (pull.sum(1, keepdim=True) + 1e-6)
        pool = torch.bmm(torch.stack([share, even, pull], 1), x).flatten(1)
        h = self.trunk(torch.cat([pool, f], 1))
        weight, mean, log_sigma = self.energy(h).chunk(3, 1)
        return Answer(
            self.identity(torch.cat([h, f, t], 1)),
            weight,
            mean + torch.log(weighted)[:, None],
            log_sigma.clamp(-5.0, 1.5),
            torch.bmm(pull[:, None], place)[:, 0],
        )

    def scaled(self, name: str, values: Tensor) -> Tensor:
        """One kind of input, standardised and held within `CLIP`."""
        return ((values - getattr(self, f"{name}_mean")) / getattr(self, f"{name}_std")).clamp(-CLIP, CLIP)


def _mlp(n_in: int, width: int, n_out: int, dropout: float) -> nn.Sequential:
    return nn.Sequential(
        nn.Linear(n_in, width),
        nn.ReLU(),
        nn.Dropout(dropout),
        nn.Linear(width, width),
        nn.ReLU(),
        nn.Linear(width, n_out),
    )


def moments(answer: Answer) -> tuple[Tensor, Tensor]:
    """Mean and standard deviation of ln(true energy / raw energy): (B,) each."""
    p = answer.weight.softmax(1)
    mean = (p * answer.mean).sum(1)
    second = (p * (answer.mean**2 + torch.exp(2 * answer.log_sigma))).sum(1)
    return mean, (second - mean**2).clamp(min=1e-8).sqrt()


def energy_loss(answer: Answer, log_ratio: Tensor) -> Tensor:
    """Negative log-likelihood of ln(true energy / raw energy) under the mixture: (B,)."""
    z = (log_ratio[:, None] - answer.mean) * torch.exp(-answer.log_sigma)
    return -torch.logsumexp(answer.weight.log_softmax(1) - answer.log_sigma - 0.5 * z**2, 1)
