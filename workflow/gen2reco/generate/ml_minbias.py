"""Minimum bias by the learned generator: which runs the model knows, and its events in the laboratory."""

from collections.abc import Sequence

import numpy as np
import torch

from gen2reco.generate.hadronize.decays import Particles
from gen2reco.generate.hadronize.dijet_encoding import without_process
from gen2reco.generate.hadronize.dijets import tune
from gen2reco.generate.hadronize.load import GenerationRange
from gen2reco.generate.hadronize.minbias import PROCESS
from gen2reco.generate.hadronize.minbias_model import MinbiasHadronizer
from gen2reco.generate.ml_dijet import in_laboratory, other_interactions, other_protons
from gen2reco.generate.ml_hard import Beams, Hard, HardProcess


class MinimumBias:
    """Draws whole inelastic collisions.

    `valid`: range of the model's config. `processes` of the run, by their flags in Pythia8. `sqrt_s` of the collisions,
    GeV. `alpha_s` of final-state showers at the Z mass; `pt0_ref` of multiparton interactions, GeV, none without these.
    """

    def __init__(
        self,
        model: MinbiasHadronizer,
        valid: GenerationRange,
        processes: Sequence[str],
        sqrt_s: float,
        alpha_s: float,
        pt0_ref: float | None,
    ):
        self.model, self._range, self._processes, self._sqrt_s = model, valid, processes, sqrt_s
        self._alpha_s, self._pt0_ref = alpha_s, pt0_ref

    def foreign(self, beams: Beams) -> str | None:
        """Why no event of these beams is known, if so."""
        if list(self._processes) != [PROCESS]:
            return f"{', '.join(self._processes) or 'a process of a file'}, expected {PROCESS} alone"
        return other_interactions(self._pt0_ref, self._range) or other_protons(beams, self._range)

    def unknown(self, event: HardProcess) -> str | None:
        """Why an event is outside the model's range, if it is."""
        return "hard partons" if event else None

    def draw(
        self, hard: Hard, rng: np.random.Generator, noise: torch.Generator, evaluations: int
    ) -> tuple[Particles, int]:
        """Particles before decays, and how many counts were drawn again."""
        n = len(hard.counts)
        assert self._pt0_ref is not None  # else the run is foreign
        tuned = torch.from_numpy(tune(np.full(n, self._alpha_s), np.full(n, self._pt0_ref))).float()
        known = self.model.draw_known(tuned, noise)
        drawn, again = self.model.draw(known, torch.full((n,), self._sqrt_s).double(), noise, evaluations)
        return in_laboratory(drawn, self.model, without_process(rng.uniform(-np.pi, np.pi, n)), rng), again
