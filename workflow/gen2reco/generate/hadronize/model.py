"""The three networks of a domain, and what each is told."""

from dataclasses import dataclass

import torch
from torch import Tensor, nn

from gen2reco.campaign.config import Block
from gen2reco.flow.categorical import Counts
from gen2reco.flow.networks import SetNetwork, VectorNetwork
from gen2reco.flow.path import sample
from gen2reco.flow.sets import Sets
from gen2reco.generate.hadronize import hemispheres
from gen2reco.generate.hadronize.dataset import N_FLAVOURS
from gen2reco.generate.hadronize.species import Species


class Architecture(Block):
    """Sizes of the networks and what fixes their shapes."""

    pdg: list[int]
    """Species, in drawing order."""
    mass: list[float]
    """Their masses, GeV."""
    most: list[int]
    """Largest count of each species in each hemisphere plus one, hemisphere by hemisphere inside species."""
    sqrt_s: float
    """Centre-of-mass energy of the hard partons, GeV."""
    counts_width: int = 96
    """Width of the counts' network."""
    shapes_width: int = 192
    """Width of the shapes' network."""
    shapes_depth: int = 4
    """Residual blocks of the shapes' network."""
    width: int = 96
    """Width of a particle's state."""
    depth: int = 4
    """Layers of the particles' network."""
    pooled: int = 64
    """Width of a hemisphere's state."""


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


class Hadronizer(nn.Module):
    """Draws counts, then shapes, then particles; every method takes a batch of events."""

    def __init__(self, architecture: Architecture):
        super().__init__()
        a = self.architecture = architecture
        self.species = Species(tuple(a.pdg), tuple(a.mass))
        n_kinds, n_shapes, n_known = len(a.pdg), len(hemispheres.SHAPES), N_FLAVOURS + 1
        self.counts = Counts(a.most, n_known, a.counts_width)
        self.shapes = VectorNetwork(n_shapes, n_known + 2 * n_kinds + 6, a.shapes_width, a.shapes_depth)
        n_context = n_shapes + n_known + 2 * len(self.summary_kinds()) + 4
        self.particles = SetNetwork(3, n_kinds, n_context, 2, a.width, a.depth, a.pooled)
        self.register_buffer("shape_mean", torch.zeros(n_shapes))
        self.register_buffer("shape_std", torch.ones(n_shapes))
        self.register_buffer("x_mean", torch.zeros(n_kinds, 3))
        self.register_buffer("x_std", torch.ones(n_kinds, 3))
        self.register_buffer("mass", torch.tensor(a.mass, dtype=torch.float64), persistent=False)
        self.register_buffer("classes", torch.stack(self.summary_kinds()), persistent=False)

    def summary_kinds(self) -> list[Tensor]:
        """Which kinds each summary of the counts adds up: all, charged, light mesons, strange, baryons, c, b."""
        numbers = torch.from_numpy(self.species.numbers)
        pdg = torch.tensor(self.species.pdg).abs()
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

    def rest_masses(self, counts: Tensor) -> Tensor:
        """Sum of the particles' masses in each hemisphere: (n, 2) float64."""
        return counts.double() @ self.mass

    def shapes_condition(self, counts: Tensor, known: Tensor) -> Tensor:
        """What the shapes are drawn from: (n, 2, n_kinds) counts and (n, 6) known numbers to (n, n_condition)."""
        total = counts.sum(2).float()
        rest = self.rest_masses(counts).float()
        charged = counts.float() @ self.classes[1]
        sums = torch.cat([total / 10 - 1.3, rest / 5 - 1, charged / 6 - 1], 1)
        return torch.cat([known, torch.asinh(counts.flatten(1).float()), sums], 1)

    def context(self, counts: Tensor, shapes: Tensor, known: Tensor) -> Tensor:
        """What the particles of each hemisphere are told: own and other shapes, counts, masses: (n, 2, n_context)."""
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

    def normal(self, x: Tensor, kinds: Tensor) -> Tensor:
        """Coordinates to what the network sees."""
        return (x - self.x_mean[kinds]) / self.x_std[kinds]

    def decode(self, z: Tensor, sets: Sets, counts: Tensor, shapes: Tensor) -> tuple[Tensor, Tensor]:
        """Network coordinates to exact four-momenta (n_items, 4) float64 and each group's log scale."""
        x = z * self.x_std[sets.kinds] + self.x_mean[sets.kinds]
        mass = self.mass[sets.kinds]
        target, _ = self.targets(counts, shapes)
        raw = hemispheres.momenta(x.double(), mass)
        return hemispheres.project(raw, mass, sets.group, target, self.architecture.sqrt_s)

    def draw_counts(self, known: Tensor, noise: torch.Generator) -> tuple[Tensor, int]:
        """Counts (n, 2, n_kinds) that conserve every number, and how many events were drawn again."""
        numbers = torch.from_numpy(self.species.numbers)
        per_place = numbers.repeat_interleave(2, 0)
        closing = {2 * kind + 1: per_place[:, i] for i, kind in self.species.closing.items()}
        counts = torch.zeros(len(known), len(self.architecture.most), dtype=torch.long)
        todo, again = torch.arange(len(known)), 0
        while len(todo):
            counts[todo] = self.counts.sample(known[todo], noise, closing)
            two = counts[todo].view(len(todo), -1, 2).transpose(1, 2)
            rest = self.rest_masses(two)
            bad = (counts[todo] < 0).any(1) | (two.sum(1) @ numbers != 0).any(1)
            bad |= (rest < 0.1).any(1) | (rest.sum(1) > 0.9 * self.architecture.sqrt_s)
            todo = todo[bad]
            again += len(todo)
        return counts.view(len(known), -1, 2).transpose(1, 2).contiguous(), again

    def draw_shapes(self, counts: Tensor, known: Tensor, noise: torch.Generator, evaluations: int) -> Tensor:
        """Shapes (n, 10)."""
        x_0 = torch.randn(len(known), len(self.shape_mean), generator=noise)
        drawn = sample(self.shapes, x_0, self.shapes_condition(counts, known), evaluations)
        return drawn * self.shape_std + self.shape_mean

    @torch.no_grad()
    def draw(self, known: Tensor, noise: torch.Generator, evaluations: int = 1) -> tuple[Drawn, int]:
        """Draw events given what is known of each, (n, 6); also returns how many counts were drawn again."""
        counts, again = self.draw_counts(known, noise)
        shapes = self.draw_shapes(counts, known, noise, evaluations)
        sets = self.sets(counts, shapes, known)
        z = sample(self.particles, torch.randn(len(sets.kinds), 3, generator=noise), sets, evaluations)
        momenta, scale = self.decode(z, sets, counts, shapes)
        return Drawn(sets.kinds, sets.group, momenta, shapes, counts, scale), again
