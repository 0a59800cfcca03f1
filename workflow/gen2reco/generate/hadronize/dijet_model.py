"""The three networks of dijets in hadron collisions, and their conditions."""

import math
from dataclasses import dataclass
from functools import cached_property
from typing import ClassVar

import torch
from torch import Tensor, nn

from gen2reco.flow.categorical import Counts
from gen2reco.flow.networks import SetNetwork, VectorNetwork
from gen2reco.flow.path import sample
from gen2reco.flow.sets import Sets
from gen2reco.generate.hadronize import dijet_decoding, dijets, hemispheres
from gen2reco.generate.hadronize.dijet_decoding import Leading
from gen2reco.generate.hadronize.dijets import GROUPS, JETS
from gen2reco.generate.hadronize.pair_model import Architecture, Start, summary_kinds
from gen2reco.generate.hadronize.species import NUMBERS, Species

TRIES = 50
"""Draws of an event after which it counts as impossible."""
N_JET_SHAPES = len(dijets.JET_SHAPES)
PROTONS = (2, 2, 0, 0, 0, 0)
"""What two protons carry of the conserved numbers."""


@dataclass(frozen=True)
class DrawnDijets:
    """Events drawn in their frame. kinds: (n_items,) place in the species; event: (n_items,); momenta: (n_items, 4)."""

    kinds: Tensor
    event: Tensor
    momenta: Tensor


class DijetHadronizer(nn.Module):
    """Draws counts, then jets, then particles; every method takes a batch of events. Models that are not tuned, of an
    older kind, do not know the leading particles."""

    SHAPES: ClassVar[tuple[str, ...]] = dijets.SHAPES

    def __init__(self, architecture: Architecture):
        super().__init__()
        a = self.architecture = architecture
        self.species = Species(tuple(a.pdg), tuple(a.mass))
        n_kinds, n_shapes = len(a.pdg), len(self.SHAPES if a.tuned else dijets.JET_SHAPES)
        n_known, n_numbers, n_partons = self.sizes_known(a.tuned)
        chosen = summary_kinds(self.species)
        self.counts = Counts(a.most, n_known, a.counts_width)
        n_condition = n_known + GROUPS * (n_kinds + len(chosen) + 2)
        self.shapes = VectorNetwork(n_shapes, n_condition, a.shapes_width, a.shapes_depth)
        n_context = n_shapes + 2 * len(chosen) + 8 + n_numbers + n_partons
        self.particles = SetNetwork(3, 2 * n_kinds, n_context, GROUPS, a.width, a.depth, a.pooled)
        self.register_buffer("shape_mean", torch.zeros(n_shapes))
        self.register_buffer("shape_std", torch.ones(n_shapes))
        self.register_buffer("reach", torch.zeros(2, 6))
        self.shapes_start = Start(1, n_condition, n_shapes)
        self.particles_start = Start(2 * n_kinds, n_context, 3)
        self.register_buffer("mass", torch.tensor(a.mass, dtype=torch.float64), persistent=False)
        self.register_buffer("classes", torch.stack(chosen), persistent=False)
        numbers = torch.from_numpy(self.species.numbers[:, NUMBERS.index("baryon")])
        self.register_buffer("baryon_numbers", numbers, persistent=False)

    @staticmethod
    def sizes_known(tuned: bool) -> tuple[int, int, int]:
        """How many numbers `known` has, and how many of an event and of a group the particles' network is given."""
        n_tune = dijets.N_TUNE if tuned else 0
        return dijets.N_KNOWN + n_tune, 6 + n_tune, 12

    @torch.no_grad()
    def fit_range(self, known: Tensor) -> None:
        """Store the range of kinematics of the training data, known (n, n_known)."""
        self.reach.copy_(torch.stack([known[:, dijets.KINEMATICS].amin(0), known[:, dijets.KINEMATICS].amax(0)]))

    def valid_range(self) -> dict[str, list[float]]:
        """Transverse momentum (GeV) and |rapidity| of the hard partons in the training data."""
        low, high = self.reach.double().tolist()
        most = max(high[1] + 2, high[2] + 0.8, -low[2] - 0.8)
        return {"parton_pt": [math.exp(low[0] + 3.7), math.exp(high[0] + 3.7)], "parton_abs_y": [0.0, most]}

    @cached_property
    def n_flavours(self) -> int:
        """Length of the one-hot code of a parton's flavour."""
        return len(dijets.PARTONS)

    def rest_masses(self, counts: Tensor) -> Tensor:
        """Sum of the particles' masses in each group: (n, GROUPS) float64."""
        return counts.double() @ self.mass

    def shapes_condition(self, counts: Tensor, known: Tensor) -> Tensor:
        """The condition of the jets' shapes, (n, n_condition), of counts (n, GROUPS, n_kinds) and `known`."""
        sums = torch.log1p(counts.float() @ self.classes.T) - 1
        rest = torch.log(self.rest_masses(counts).float() + 0.1)
        empty = (counts.sum(2) == 0).float()
        return torch.cat([known, torch.asinh(counts.flatten(1).float()), sums.flatten(1), rest, empty], 1)

    def jets(self, counts: Tensor, shapes: Tensor, known: Tensor) -> Tensor:
        """Four-momenta of the jets, zeros of those without particles: (n, JETS, 4) float64."""
        own = counts[:, :JETS]
        pt, y = self.hard_partons(known)
        many = own.sum(2)
        jets = dijet_decoding.jet_momenta(shapes[:, :N_JET_SHAPES].double(), pt, y, self.rest_masses(own), many == 1)
        return jets * (many > 0)[..., None]

    def hard_partons(self, known: Tensor) -> tuple[Tensor, Tensor]:
        """Transverse momentum (n,), GeV, and rapidities (n, 2) that the jets' shapes are relative to, float64."""
        numbers = known[:, dijets.KINEMATICS].double()
        return (numbers[:, 0] + 3.7).exp(), numbers[:, 1:3] + numbers.new_tensor([2.0, 0.8])

    def event_numbers(self, known: Tensor) -> Tensor:
        """What the particles' network is given of `known` for every group: (n, k)."""
        tune = known[:, dijets.TUNE] if self.architecture.tuned else known[:, :0]
        return torch.cat([known[:, dijets.KINEMATICS], tune], 1)

    def group_partons(self, known: Tensor) -> Tensor:
        """The flavours of the outgoing partons and of the one that made the group: (n, GROUPS, 12)."""
        every = self._flavours(known)
        flavours = nn.functional.pad(every.view(len(known), 4, 4), (0, 0, 0, 2))
        own = torch.stack([flavours[:, i] for i in (2, 3, 4, 4, 0, 1)], 1)
        return torch.cat([every[:, None].expand(-1, GROUPS, -1)[..., 8:], own], 2)

    def context(self, counts: Tensor, shapes: Tensor, known: Tensor) -> Tensor:
        """The context of each group, the condition of its particles: (n, GROUPS, n_context)."""
        n = len(counts)
        s = (shapes - self.shape_mean) / self.shape_std
        absent = counts[:, :JETS].sum(2) == 0
        jets = s[:, :N_JET_SHAPES].view(n, 4, JETS).masked_fill(absent[:, None], 0.0)
        s = torch.cat([jets.flatten(1), s[:, N_JET_SHAPES:]], 1)
        jets = self.jets(counts, shapes, known).float()
        summary = torch.log1p(counts.float() @ self.classes.T) - 1
        rest = torch.log(self.rest_masses(counts).float() + 0.1) - 1
        pt = jets[..., :2].norm(dim=2)
        mass = (jets[..., 3].square() - jets[..., :3].square().sum(2)).clamp(min=0).sqrt()
        own = torch.stack([(pt + 0.5).log() - 3, (mass + 0.1).log() - 1.5, torch.asinh(jets[..., 2] / (pt + 0.5))], 2)
        own = nn.functional.pad(own * ~absent[..., None], (0, 0, 0, 2))  # zero for the groups that are no jet
        total = jets.sum(1)
        recoil = torch.cat([total[:, :2] / 10, torch.log1p(total[:, :2].norm(dim=1, keepdim=True)) - 2], 1)
        light = torch.asinh(jets.sum(1)[:, 2:3] / 100)
        event = torch.cat([s, recoil, light, self.event_numbers(known)], 1)
        every = event[:, None].expand(-1, GROUPS, -1)
        whole = (torch.log1p(counts.sum(1).float() @ self.classes.T) - 3)[:, None].expand(-1, GROUPS, -1)
        return torch.cat([every, own, rest[..., None], summary, whole, self.group_partons(known)], 2)

    def _flavours(self, known: Tensor) -> Tensor:
        """Gluon, light, charm or beauty, of each parton: (n, 16)."""
        hot = known[:, : 4 * self.n_flavours].view(-1, 4, self.n_flavours)
        parts = [hot[..., :1], *(hot[..., i].sum(2, keepdim=True) for i in ([1, 2, 3, 6, 7, 8], [4, 9], [5, 10]))]
        return torch.cat(parts, 2).flatten(1)

    def sets(self, counts: Tensor, shapes: Tensor, known: Tensor) -> Sets:
        """The condition of the particles' network; its kinds are species in jets, then species outside."""
        n_kinds = counts.shape[2]
        kind, group = (torch.arange(n, device=counts.device) for n in (n_kinds, GROUPS))
        own = kind.repeat(GROUPS) + n_kinds * (group >= JETS).repeat_interleave(n_kinds)
        kinds = own.repeat(len(counts)).repeat_interleave(counts.flatten())
        return Sets(kinds, counts.sum(2), self.context(counts, shapes, known))

    def decode(self, z: Tensor, sets: Sets, counts: Tensor, shapes: Tensor, known: Tensor, sqrt_s: Tensor) -> Tensor:
        """Network coordinates to exact four-momenta (n_items, 4) float64, in the frame of the event."""
        x = self.particles_start.outward(z, sets.kinds, sets.context.flatten(0, 1), sets.group).double()
        n, mass = sets.n_sets, self.mass[sets.kinds % len(self.species)]
        group, event = sets.group % GROUPS, sets.owner
        inside = group < JETS
        target = self.jets(counts, shapes, known)
        out = x.new_zeros(len(x), 4)
        raw = hemispheres.momenta(x[inside], mass[inside])
        place = event[inside] * JETS + group[inside]
        out[inside] = dijet_decoding.project_jets(raw, mass[inside], place, target.flatten(0, 1))
        jets = x.new_zeros(n, 4).index_add(0, event[inside], out[inside])
        side = torch.where(group[~inside] == JETS, 1.0, -1.0).double()
        rest = dijet_decoding.out_of_jets(x[~inside], side, event[~inside], target)
        scalar_pt = self.scalar_pt(counts, known)
        if scalar_pt is not None:
            scalar_pt = scalar_pt.index_add(0, event[inside], -out[inside, :2].norm(dim=1))
        out[~inside] = dijet_decoding.balance(
            rest,
            mass[~inside],
            side,
            event[~inside],
            jets,
            sqrt_s,
            self.leading(sets.kinds[~inside], shapes, known),
            scalar_pt,
        )
        return out

    def scalar_pt(self, counts: Tensor, known: Tensor) -> Tensor | None:
        """The sum of all transverse momenta, (n,) float64, GeV, where it is known."""
        return None

    def leading(self, kinds: Tensor, shapes: Tensor, known: Tensor) -> Leading | None:
        """The leading particles of both sides, and the baryon numbers of particles of these `kinds` (n_items,)."""
        leaders = self.leaders(shapes, known).double()
        if not leaders.shape[1]:
            return None
        left, which = leaders.split(2, 1)
        return Leading(1 + dijets.LEAST_LEFT - left.exp(), which > 0, self.baryon_numbers[kinds % len(self.species)])

    def leaders(self, shapes: Tensor, known: Tensor) -> Tensor:
        """The numbers dijets.LEADING: (n, 4), or none of models of an older kind."""
        return shapes[:, N_JET_SHAPES:]

    def draw_counts(self, known: Tensor, noise: torch.Generator) -> tuple[Tensor, int]:
        """Counts (n, GROUPS, n_kinds) of two colliding protons, and how many events were drawn again."""
        numbers = torch.from_numpy(self.species.numbers).to(known.device, torch.float64)
        per_place = numbers.repeat_interleave(GROUPS, 0)
        closing = {GROUPS * kind + GROUPS - 1: per_place[:, i] for i, kind in self.species.closing.items()}
        due = numbers.new_tensor(PROTONS)
        totals = {GROUPS * kind + GROUPS - 1: int(due[i]) for i, kind in self.species.closing.items()}

        def accept(drawn: Tensor) -> Tensor:
            groups = drawn.view(len(drawn), -1, GROUPS).transpose(1, 2)
            wrong = (drawn < 0).any(1) | (groups.sum(1).double() @ numbers != due).any(1)
            return ~(wrong | self.impossible(groups))

        counts, again = self.counts.draw(known, noise, accept, closing, totals)
        return counts.view(len(known), -1, GROUPS).transpose(1, 2).contiguous(), again

    NEEDED: ClassVar[tuple[int, ...]] = dijets.NEEDED

    def impossible(self, counts: Tensor) -> Tensor:
        """Whether a jet of massless particles only, or no particle where every event has one, was drawn."""
        many = counts.sum(2)
        massless = (self.rest_masses(counts)[:, :JETS] < 0.05) & (many[:, :JETS] > 0)
        return massless.any(1) | (many[:, list(self.NEEDED)] == 0).any(1)

    def draw_shapes(self, counts: Tensor, known: Tensor, noise: torch.Generator, evaluations: int) -> Tensor:
        """Shapes of the jets (n, 16)."""
        condition = self.shapes_condition(counts, known)
        x_0 = torch.randn(len(known), len(self.shape_mean), generator=noise).to(known.device)
        drawn, row = sample(self.shapes, x_0, condition, evaluations), torch.arange(len(known), device=known.device)
        return self.shapes_start.outward(drawn, torch.zeros_like(row), condition, row)

    @torch.no_grad()
    def draw(
        self, known: Tensor, sqrt_s: Tensor, noise: torch.Generator, evaluations: int = 1
    ) -> tuple[DrawnDijets, int]:
        """Draw events, given the condition `known` (n, n_known); also returns how many counts were drawn again. The
        noise is drawn on the CPU, the networks run where the weights are, and the events are returned on the CPU."""
        known, sqrt_s = (values.to(self.mass.device) for values in (known, sqrt_s))
        drawn, again = self._draw(known, sqrt_s, noise, evaluations)
        for _ in range(TRIES):
            lost = torch.zeros(len(known), dtype=torch.bool, device=known.device)
            lost[drawn.event[~torch.isfinite(drawn.momenta).all(1)]] = True
            if not lost.any():
                return DrawnDijets(drawn.kinds.cpu(), drawn.event.cpu(), drawn.momenta.cpu()), again
            more, often = self._draw(known[lost], sqrt_s[lost], noise, evaluations)
            drawn, again = _replaced(drawn, more, lost), again + often + int(lost.sum())
        raise ArithmeticError(f"{int(lost.sum())} events cannot be balanced in {TRIES} draws")

    def _draw(self, known: Tensor, sqrt_s: Tensor, noise: torch.Generator, evaluations: int) -> tuple[DrawnDijets, int]:
        """As `draw`; momenta of an event whose jets leave too little to its beams are not finite."""
        counts, again = self.draw_counts(known, noise)
        shapes = self.draw_shapes(counts, known, noise, evaluations)
        sets = self.sets(counts, shapes, known)
        z_0 = torch.randn(len(sets.kinds), 3, generator=noise).to(known.device)
        z = sample(self.particles, z_0, sets, evaluations)
        momenta = self.decode(z, sets, counts, shapes, known, sqrt_s)
        return DrawnDijets(sets.kinds % len(self.species), sets.owner, momenta), again


def _replaced(drawn: DrawnDijets, more: DrawnDijets, lost: Tensor) -> DrawnDijets:
    """Put the events of `more` in the place of those that were `lost` (n,)."""
    kept, place = ~lost[drawn.event], torch.nonzero(lost)[:, 0]
    event = torch.cat([drawn.event[kept], place[more.event]])
    order = torch.argsort(event, stable=True)
    kinds, momenta = torch.cat([drawn.kinds[kept], more.kinds]), torch.cat([drawn.momenta[kept], more.momenta])
    return DrawnDijets(kinds[order], event[order], momenta[order])
