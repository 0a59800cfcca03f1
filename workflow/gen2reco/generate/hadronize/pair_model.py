"""The three networks of e+e- → quark pairs, and their conditions."""

from dataclasses import dataclass
from itertools import pairwise
from typing import Annotated, Self

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from gen2reco.config.block import Block
from gen2reco.flow.categorical import Counts
from gen2reco.flow.networks import SetNetwork, VectorNetwork
from gen2reco.flow.path import sample
from gen2reco.flow.sets import Sets
from gen2reco.generate.hadronize import hemispheres
from gen2reco.generate.hadronize.dataset import N_FLAVOURS
from gen2reco.generate.hadronize.species import Species, quantum_numbers

Width = Annotated[int, Field(ge=1, le=4096)]
Depth = Annotated[int, Field(ge=1, le=64)]


class Architecture(Block):
    """Sizes of the networks and what fixes their shapes."""

    pdg: list[int] = Field(min_length=1, max_length=1000)
    """Species, in drawing order."""
    mass: list[Annotated[float, Field(ge=0)]]
    """Their masses, GeV."""
    most: list[Annotated[int, Field(ge=1, le=1000)]]
    """Largest count of each species in each hemisphere plus one, hemisphere by hemisphere inside species."""
    sqrt_s: float = Field(gt=0)
    """Centre-of-mass energy of the hard partons, GeV."""
    counts_width: Width = 96
    """Width of the counts' network."""
    shapes_width: Width = 192
    """Width of the shapes' network."""
    shapes_depth: Depth = 4
    """Residual blocks of the shapes' network."""
    width: Width = 96
    """Width of a particle's state."""
    depth: Depth = 4
    """Layers of the particles' network."""
    pooled: Width = 64
    """Width of a hemisphere's state."""
    tuned: bool = False
    """Hadron collisions only: whether alpha_s and pT0Ref are conditions, as they are of models trained now."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        groups, rest = divmod(len(self.most), len(self.pdg))
        if len(self.mass) != len(self.pdg) or rest or not groups:
            raise ValueError("expected a mass for each of `pdg`, and in `most` a number for each group of each")
        if len(set(self.pdg)) < len(self.pdg):
            raise ValueError("`pdg` holds a species twice")
        for code in self.pdg:
            quantum_numbers(code)
        return self


@dataclass(frozen=True)
class Drawn:
    """Events drawn in the frame of hemispheres. kinds, group: (n_items,), the group numbered over all events;
    raw, momenta: (n_items, 4) before and after the projection; shapes: (n, 10); counts: (n, 2, n_kinds);
    scale: (2 n,) logarithm of the projection's scale."""

    kinds: Tensor
    group: Tensor
    momenta: Tensor
    shapes: Tensor
    counts: Tensor
    scale: Tensor


class Start(nn.Module):
    """A first approximation in closed form, so that a network starts from about the right distribution: mean and
    logarithmic width, linear in the condition, for each kind; quantiles and correlation of the residuals."""

    KNOTS, REACH = 41, 4.0

    def __init__(self, n_kinds: int, n_condition: int, dim: int):
        super().__init__()
        self.register_buffer("mean", torch.zeros(n_kinds, n_condition + 1, dim))
        self.register_buffer("log_width", torch.zeros(n_kinds, n_condition + 1, dim))
        grid = torch.linspace(-self.REACH, self.REACH, self.KNOTS)
        self.register_buffer("knots", grid.repeat(n_kinds, dim, 1))
        self.register_buffer("mixing", torch.eye(dim).repeat(n_kinds, 1, 1))
        self.register_buffer("grid", grid, persistent=False)

    def _affine(self, kinds: Tensor, condition: Tensor, row: Tensor) -> tuple[Tensor, Tensor]:
        c = nn.functional.pad(condition, (0, 1), value=1.0)
        mean, log_width = (torch.einsum("rc,kcd->rkd", c, table)[row, kinds] for table in (self.mean, self.log_width))
        return mean, log_width.clamp(-4, 4).exp()

    def outward(self, z: Tensor, kinds: Tensor, condition: Tensor, row: Tensor) -> Tensor:
        """Standard normal values (n, dim) to the data's, given their kind (n,) and the row (n,) of the condition
        (n_rows, n_condition) that they belong to; differentiable."""
        mean, width = self._affine(kinds, condition, row)
        g = (self.mixing[kinds] @ z[..., None])[..., 0].clamp(-2 * self.REACH, 2 * self.REACH)
        place = (g + self.REACH) * ((self.KNOTS - 1) / (2 * self.REACH))
        low = place.detach().floor().clamp(0, self.KNOTS - 2).long()
        knots = self.knots[kinds]
        left, right = knots.gather(2, low[..., None])[..., 0], knots.gather(2, low[..., None] + 1)[..., 0]
        return mean + width * (left + (place - low) * (right - left))

    @torch.no_grad()
    def inward(self, x: Tensor, kinds: Tensor, condition: Tensor, row: Tensor) -> Tensor:
        """Data values to standard normal ones: the inverse of `outward`."""
        mean, width = self._affine(kinds, condition, row)
        g = self._gaussian(((x - mean) / width).numpy(), kinds.numpy())
        return (torch.linalg.inv(self.mixing)[kinds] @ torch.from_numpy(g).float()[..., None])[..., 0]

    def _gaussian(self, left: np.ndarray, kinds: np.ndarray) -> np.ndarray:
        """Undo the quantiles: values (n, dim) to about standard normal ones."""
        g, grid, knots = np.empty_like(left), self.grid.numpy(), self.knots.numpy()
        order = np.argsort(kinds, kind="stable")
        ends = np.searchsorted(kinds[order], np.arange(len(knots) + 1))
        for kind, (start, stop) in enumerate(pairwise(ends)):
            at = order[start:stop]
            for d in range(left.shape[1]):
                g[at, d] = np.interp(left[at, d], knots[kind, d], grid)
        return g

    @torch.no_grad()
    def fit(self, x: Tensor, kinds: Tensor, condition: Tensor, ridge: float = 30.0) -> None:
        """Least squares of the values x (n, dim), given the condition (n, n_condition) of each, then of the logarithm
        of what is left, kind by kind; kinds with few examples are drawn towards all kinds together."""
        c = nn.functional.pad(condition, (0, 1), value=1.0).double()
        x = x.double()
        every = _ridge(c, x, ridge)
        wide = _ridge(c, _log_size(x - c @ every), ridge)
        for kind in range(len(self.mean)):
            at = kinds == kind
            mean = every + _ridge(c[at], x[at] - c[at] @ every, ridge)
            left = x[at] - c[at] @ mean
            width = wide + _ridge(c[at], _log_size(left) - c[at] @ wide, ridge)
            z = left / (c[at] @ width).clamp(-4, 4).exp()
            self.mean[kind], self.log_width[kind] = mean, width
            if len(z) > 50:
                self.knots[kind] = self._quantiles(z.numpy())
            g = torch.from_numpy(self._gaussian(z.numpy(), np.zeros(len(z), int) + kind))
            covariance = (g.T @ g + ridge * torch.eye(x.shape[1])) / (len(g) + ridge)
            self.mixing[kind] = torch.linalg.cholesky(covariance)

    def _quantiles(self, z: np.ndarray) -> Tensor:
        """Values (n, dim) at the normal quantiles of the grid, strictly rising: (dim, KNOTS)."""
        from scipy.special import ndtr

        at = ndtr(self.grid.numpy()).clip(0.5 / len(z), 1 - 0.5 / len(z))
        knots = np.quantile(z, at, axis=0).T
        step = np.maximum(np.diff(knots, axis=1), 0.01)
        middle = self.KNOTS // 2
        rising = np.concatenate([np.zeros((len(knots), 1)), np.cumsum(step, axis=1)], 1)
        return torch.from_numpy(rising - rising[:, middle : middle + 1] + knots[:, middle : middle + 1]).float()


def _log_size(left: Tensor) -> Tensor:
    return (left.abs() + 1e-3).log() + 0.635  # the mean of log |N(0, 1)| is -0.635


def _ridge(c: Tensor, x: Tensor, ridge: float) -> Tensor:
    return torch.linalg.solve(c.T @ c + ridge * torch.eye(c.shape[1], dtype=c.dtype), c.T @ x)


def summary_kinds(species: Species) -> list[Tensor]:
    """Which kinds each summary of the counts adds up: all, charged, light mesons, strange, baryons, c, b."""
    numbers = torch.from_numpy(species.numbers)
    pdg = torch.tensor(species.pdg).abs()
    heavy = (numbers[:, 4] != 0) | (numbers[:, 5] != 0)
    chosen = [
        torch.ones(len(pdg)),
        numbers[:, 0] != 0,
        pdg == 211,
        pdg == 111,
        pdg == 22,
        (pdg == 321) | (pdg == 130) | (pdg == 310),
        (numbers[:, 1] != 0) & ~heavy,
        numbers[:, 4] != 0,
        numbers[:, 5] != 0,
    ]
    return [choice.float() for choice in chosen]


class Hadronizer(nn.Module):
    """Draws counts, then shapes, then particles; every method takes a batch of events."""

    def __init__(self, architecture: Architecture):
        super().__init__()
        a = self.architecture = architecture
        self.species = Species(tuple(a.pdg), tuple(a.mass))
        n_kinds, n_shapes, n_known = len(a.pdg), len(hemispheres.SHAPES), N_FLAVOURS + 1
        self.counts = Counts(a.most, n_known, a.counts_width)
        self.shapes = VectorNetwork(n_shapes, n_known + 2 * n_kinds + 6, a.shapes_width, a.shapes_depth)
        n_context = n_shapes + n_known + 2 * len(summary_kinds(self.species)) + 4
        self.particles = SetNetwork(3, n_kinds, n_context, 2, a.width, a.depth, a.pooled)
        self.register_buffer("shape_mean", torch.zeros(n_shapes))
        self.register_buffer("shape_std", torch.ones(n_shapes))
        self.shapes_start = Start(1, n_known + 2 * n_kinds + 6, n_shapes)
        self.particles_start = Start(n_kinds, n_context, 3)
        self.register_buffer("mass", torch.tensor(a.mass, dtype=torch.float64), persistent=False)
        self.register_buffer("classes", torch.stack(summary_kinds(self.species)), persistent=False)

    def fit_range(self, known: Tensor) -> None:
        """Store the range of the training data, known (n, 6): nothing beyond the flavours and alpha_s."""

    def valid_range(self) -> dict[str, list[float]]:
        """Bounds of the condition besides those of alpha_s and energy: none."""
        return {}

    def rest_masses(self, counts: Tensor) -> Tensor:
        """Sum of the particles' masses in each hemisphere: (n, 2) float64."""
        return counts.double() @ self.mass

    def shapes_condition(self, counts: Tensor, known: Tensor) -> Tensor:
        """The condition of the shapes, (n, n_condition): of counts (n, 2, n_kinds) and `known` (n, 6)."""
        total = counts.sum(2).float()
        rest = self.rest_masses(counts).float()
        charged = counts.float() @ self.classes[1]
        sums = torch.cat([total / 10 - 1.3, rest / 5 - 1, charged / 6 - 1], 1)
        return torch.cat([known, torch.asinh(counts.flatten(1).float()), sums], 1)

    def context(self, counts: Tensor, shapes: Tensor, known: Tensor) -> Tensor:
        """The context of each hemisphere, the condition of its particles, (n, 2, n_context): its own and the other's
        shapes, counts and masses."""
        s = (shapes - self.shape_mean) / self.shape_std
        summary = torch.log1p(counts.float() @ self.classes.T) - 1  # (n, 2, classes)
        rest = torch.log(self.rest_masses(counts).float() + 0.1) - 1
        log_mass = torch.log(self.targets(counts, shapes)[0].float() + 0.1) - 2.5
        sides = []
        for own, other in ((0, 1), (1, 0)):
            turned = torch.cat([s[:, own:8:2], s[:, other:8:2], s[:, 8:]], 1)
            more = torch.stack([rest[:, own], rest[:, other], log_mass[:, own], log_mass[:, other]], 1)
            sides.append(torch.cat([turned, known, summary[:, own], summary[:, other], more], 1))
        return torch.stack(sides, 1)

    def targets(self, counts: Tensor, shapes: Tensor) -> tuple[Tensor, Tensor]:
        """Masses of the hemispheres and their sums of particle masses: (n, 2) float64 each."""
        rest = self.rest_masses(counts)
        single = counts.sum(2) == 1
        return hemispheres.hemisphere_targets(shapes.double(), rest, single, self.architecture.sqrt_s), rest

    def sets(self, counts: Tensor, shapes: Tensor, known: Tensor) -> Sets:
        """The condition of the particles' network."""
        many = counts.flatten()
        kinds = torch.arange(counts.shape[2], device=counts.device).repeat(counts.shape[0] * counts.shape[1])
        return Sets(kinds.repeat_interleave(many), counts.sum(2), self.context(counts, shapes, known))

    def decode(self, z: Tensor, sets: Sets, counts: Tensor, shapes: Tensor) -> tuple[Tensor, Tensor]:
        """Network coordinates to exact four-momenta (n_items, 4) float64 and each group's log scale."""
        x = self.particles_start.outward(z, sets.kinds, sets.context.flatten(0, 1), sets.group)
        mass = self.mass[sets.kinds]
        target, _ = self.targets(counts, shapes)
        raw = hemispheres.momenta(x.double(), mass)
        return hemispheres.project(raw, mass, sets.group, target, self.architecture.sqrt_s)

    def draw_counts(self, known: Tensor, noise: torch.Generator) -> tuple[Tensor, int]:
        """Counts (n, 2, n_kinds) that conserve every number, and how many events were drawn again."""
        numbers = torch.from_numpy(self.species.numbers).to(known.device, torch.float64)
        per_place = numbers.repeat_interleave(2, 0)
        closing = {2 * kind + 1: per_place[:, i] for i, kind in self.species.closing.items()}

        def accept(drawn: Tensor) -> Tensor:
            two = drawn.view(len(drawn), -1, 2).transpose(1, 2)
            rest = self.rest_masses(two)
            wrong = (drawn < 0).any(1) | (two.sum(1).double() @ numbers != 0).any(1)
            return ~(wrong | (rest < 0.1).any(1) | (rest.sum(1) > 0.9 * self.architecture.sqrt_s))

        counts, again = self.counts.draw(known, noise, accept, closing)
        return counts.view(len(known), -1, 2).transpose(1, 2).contiguous(), again

    def draw_shapes(self, counts: Tensor, known: Tensor, noise: torch.Generator, evaluations: int) -> Tensor:
        """Shapes (n, 10)."""
        x_0, condition = (
            torch.randn(len(known), len(self.shape_mean), generator=noise).to(known.device),
            self.shapes_condition(counts, known),
        )
        drawn = sample(self.shapes, x_0, condition, evaluations)
        row = torch.arange(len(drawn), device=drawn.device)
        return self.shapes_start.outward(drawn, torch.zeros_like(row), condition, row)

    def quark_direction(self, drawn: Drawn) -> np.ndarray:
        """Direction of the hard quark in the frame in which the event was drawn: (n, 3)."""
        turned = drawn.shapes[:, 8:].double().numpy()
        stretched = np.linalg.norm(turned, axis=1, keepdims=True)
        tilt = np.minimum(hemispheres.ANGLE_SCALE * np.expm1(np.minimum(stretched, 5.0)), 0.999)
        across = turned / np.maximum(stretched, 1e-12) * tilt
        return np.column_stack([across, np.sqrt(1 - tilt**2)])

    @torch.no_grad()
    def draw(self, known: Tensor, noise: torch.Generator, evaluations: int = 1) -> tuple[Drawn, int]:
        """Draw events, given the condition `known` (n, 6); also returns how many counts were drawn again. The noise
        is drawn on the CPU, the networks run where the weights are, and the events are returned on the CPU."""
        known = known.to(self.mass.device)
        counts, again = self.draw_counts(known, noise)
        shapes = self.draw_shapes(counts, known, noise, evaluations)
        sets = self.sets(counts, shapes, known)
        z_0 = torch.randn(len(sets.kinds), 3, generator=noise).to(known.device)
        z = sample(self.particles, z_0, sets, evaluations)
        momenta, scale = self.decode(z, sets, counts, shapes)
        return Drawn(*(part.cpu() for part in (sets.kinds, sets.group, momenta, shapes, counts, scale))), again
