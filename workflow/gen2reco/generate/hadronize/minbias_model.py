"""The networks of minimum bias: those of dijets, given an event's activity in place of a hard process."""

import torch
from torch import Tensor, nn

from gen2reco.generate.hadronize.dijet_encoding import LEAST_MATCHED
from gen2reco.generate.hadronize.dijet_model import DijetHadronizer
from gen2reco.generate.hadronize.dijets import GROUPS, JET_SHAPES, LEADING, N_TUNE, NEEDED
from gen2reco.generate.hadronize.minbias import ACTIVITY
from gen2reco.generate.hadronize.pair_model import Architecture

ROWS = 20_000
"""Activities that a model holds."""
USUAL = 1e-3
"""Tunes nearer than this to Pythia8's own are that."""
SMOOTHING = 0.02
"""Width, in standard deviations of the activities, of what is added to one that is drawn."""


class MinbiasHadronizer(DijetHadronizer):
    """Draws an activity, then counts, jets and particles; every method takes a batch of events.

    `known` of an event is its activity and its tune. Activities are drawn from those of ROWS training events, smoothed,
    and moved with the tune by what least squares gives.
    """

    NEEDED = NEEDED[2:]
    SHAPES = JET_SHAPES

    def __init__(self, architecture: Architecture):
        super().__init__(architecture)
        self.register_buffer("activities", torch.zeros(ROWS, len(ACTIVITY)))
        self.register_buffer("by_tune", torch.zeros(N_TUNE, len(ACTIVITY)))

    @staticmethod
    def sizes_known(tuned: bool) -> tuple[int, int, int]:
        """As of dijets; groups have no partons."""
        return len(ACTIVITY) + N_TUNE, len(ACTIVITY) + N_TUNE, 0

    @torch.no_grad()
    def fit_range(self, known: Tensor) -> None:
        """Keep activities of the training data, known (n, n_known), evenly chosen, and how they move with the tune.
        Those of Pythia8's own tune are kept where there are such, of others as far as the tune explains them."""
        activity, tune = known.split([len(ACTIVITY), N_TUNE], 1)
        by_tune = torch.linalg.lstsq(nn.functional.pad(tune, (0, 1), value=1.0).double(), activity.double()).solution
        self.by_tune.copy_(by_tune[:-1])
        usual = (tune.abs() < USUAL).all(1)
        of = (activity - tune @ self.by_tune)[usual if usual.any() else slice(None)]
        self.activities.copy_(of[torch.linspace(0, len(of) - 1, ROWS).long()])

    def valid_range(self) -> dict[str, list[float]]:
        """Bounds beyond those of beams and tune: none."""
        return {}

    def draw_known(self, tune: Tensor, noise: torch.Generator) -> Tensor:
        """The conditions (n, n_known) of events with these tunes (n, N_TUNE), on the CPU."""
        row = torch.randint(ROWS, (len(tune),), generator=noise)
        kept, by_tune = self.activities.cpu(), self.by_tune.cpu()
        wide = SMOOTHING * kept.std(0) * torch.randn(len(tune), len(ACTIVITY), generator=noise)
        return torch.cat([kept[row] + wide + tune @ by_tune, tune], 1)

    def hard_partons(self, known: Tensor) -> tuple[Tensor, Tensor]:
        """A jet's shape is relative to the softest that counts, in the middle."""
        return known.new_full((len(known),), LEAST_MATCHED).double(), known.new_zeros((len(known), 2)).double()

    def leaders(self, shapes: Tensor, known: Tensor) -> Tensor:
        """As of dijets, from the activity."""
        return known[:, len(ACTIVITY) - len(LEADING) : len(ACTIVITY)]

    def scalar_pt(self, counts: Tensor, known: Tensor) -> Tensor:
        """As the activity has it, in proportion to the particles that were drawn for those that it has."""
        many = torch.expm1(known[:, :2].double()).sum(1).clamp(min=1)
        return torch.expm1(known[:, ACTIVITY.index("scalar_pt")].double()) * counts.sum((1, 2)) / many

    def event_numbers(self, known: Tensor) -> Tensor:
        """All of them."""
        return known

    def group_partons(self, known: Tensor) -> Tensor:
        """None: (n, GROUPS, 0)."""
        return known.new_zeros((len(known), GROUPS, 0))
