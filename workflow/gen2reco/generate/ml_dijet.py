"""Dijets of hadron collisions by the learned shower: what the model knows, and its events in the collision's frame."""

import math

import numpy as np
import torch

from gen2reco.generate.hadronize import dijets
from gen2reco.generate.hadronize.decays import Particles
from gen2reco.generate.hadronize.dijet_model import DijetHadronizer, DrawnDijets
from gen2reco.generate.hadronize.dijets import Frame, Hardest
from gen2reco.generate.hadronize.load import GenerationRange
from gen2reco.generate.ml_hard import (
    INCOMING,
    MOMENTUM,
    OUTGOING,
    Beams,
    Hard,
    HardProcess,
    Parton,
    incoming,
    outgoing,
    unbalanced,
)


class Dijet:
    """Draws events in which two partons scatter off each other.

    `valid`: range of the model's config. `sqrt_s` of the collisions, GeV. `alpha_s` of final-state showers at the Z
    mass; `pt0_ref` of multiparton interactions, GeV, none without these.
    """

    def __init__(
        self, model: DijetHadronizer, valid: GenerationRange, sqrt_s: float, alpha_s: float, pt0_ref: float | None
    ):
        self.model, self._range, self._sqrt_s, self._pt0_ref = model, valid, sqrt_s, pt0_ref
        self._tune = alpha_s, math.nan if pt0_ref is None else pt0_ref

    def foreign(self, beams: Beams) -> str | None:
        """Why no event of these beams is known, if so."""
        return other_interactions(self._pt0_ref, self._range) or other_protons(beams, self._range)

    def unknown(self, event: HardProcess) -> str | None:
        """Why an event is outside the model's range, if it is."""
        out, coming = outgoing(event), incoming(event)
        if len(out) != 2 or len(coming) != 2:
            return "more or fewer than two hard partons"
        if any(parton.pdg not in dijets.PARTONS for parton in (*coming, *out)):
            return "hard partons other than gluons and quarks up to beauty"
        if any(_colourless(parton) for parton in (*coming, *out)):
            return "a parton without its colour line"
        return self._misplaced(out) or (
            "hard partons that do not balance the incoming ones" if unbalanced(event) else None
        )

    def _misplaced(self, out: list[Parton]) -> str | None:
        pt = [math.hypot(parton.px, parton.py) for parton in out]
        eta = [abs(math.asinh(parton.pz / max(t, 1e-9))) for parton, t in zip(out, pt)]
        assert self._range.parton_pt and self._range.parton_abs_y  # checked when a dijet model's config is read
        low, high = self._range.parton_pt
        if min(pt) < low * (1 - 1e-6) or max(pt) > high:
            return f"a hard parton of pt outside {low:.4g} to {high:.4g} GeV"
        most = self._range.parton_abs_y[1]
        if max(eta) > most:
            return f"a hard parton of |eta| above {most:.3g}"
        low, high = self._range.endcap_abs_eta
        return None if any(low <= value <= high for value in eta) else f"no hard parton at |eta| of {low} to {high}"

    def draw(
        self, hard: Hard, rng: np.random.Generator, noise: torch.Generator, evaluations: int
    ) -> tuple[Particles, int]:
        """Particles before decays, what is left of the beams among them, and how many counts were drawn again."""
        hardest = _hardest(hard, self._sqrt_s)
        tune = dijets.tune(*(np.full(len(hardest.pdg), value) for value in self._tune))
        values, frame = dijets.known(hardest, tune if self.model.architecture.tuned else None)
        drawn, again = self.model.draw(torch.from_numpy(values), torch.from_numpy(hardest.sqrt_s), noise, evaluations)
        return in_laboratory(drawn, self.model, frame, rng), again


def in_laboratory(drawn: DrawnDijets, model: DijetHadronizer, frame: Frame, rng: np.random.Generator) -> Particles:
    """Drawn events turned back from their frame."""
    event, p = drawn.event.numpy(), drawn.momenta.numpy()
    p[:, 1] *= (rng.integers(0, 2, len(frame.phi)) * 2.0 - 1.0)[event]  # drawn events have one handedness only
    p[:, :3] = frame.back(p[:, :3], event)
    pdg = np.array(model.species.pdg)[drawn.kinds.numpy()]
    return Particles(pdg.astype(np.int64), event, p, np.zeros_like(p))


def other_protons(beams: Beams, valid: GenerationRange) -> str | None:
    """Why these beams are not the two protons that the model knows, if so."""
    (a, b), (low, high) = beams.energy, valid.sqrt_s
    if beams.pdg == (2212, 2212) and abs(a - b) <= 1e-6 * a and low <= 2 * a <= high:
        return None
    return (
        f"beams {beams.pdg[0]}, {beams.pdg[1]} of {a:.5g} and {b:.5g} GeV, expected two protons of "
        f"{low / 2:.5g} to {high / 2:.5g} GeV each"
    )


def other_interactions(pt0_ref: float | None, valid: GenerationRange) -> str | None:
    """Why a run's multiparton interactions, of this pT0Ref (GeV; none without them), are not the model's, if so."""
    if pt0_ref is None:
        return "no multiparton interactions, with which the model was trained" if valid.pt0_ref else None
    if valid.pt0_ref is None:
        return "multiparton interactions"
    low, high = valid.pt0_ref
    return None if low <= pt0_ref <= high else f"pT0Ref = {pt0_ref:g}, expected {low} to {high} GeV"


def _colourless(parton: Parton) -> bool:
    """Whether a quark or gluon lacks a colour that it should have."""
    color, anti = (parton.pdg == 21 or sign * parton.pdg > 0 for sign in (1, -1))
    return (color and parton.color == 0) or (anti and parton.anticolor == 0)


def _hardest(hard: Hard, sqrt_s: float) -> Hardest:
    """The four partons of each event, incoming ones first, the one along +z before the other."""
    at = np.flatnonzero(np.isin(hard.partons["status"], (INCOMING, OUTGOING)))
    side = np.where(hard.partons["status"][at] == INCOMING, -np.sign(hard.partons["pz"][at]), 2)
    four = at[np.lexsort((side, hard.event[at]))].reshape(-1, 4)
    p = np.stack([hard.partons[k][four] for k in MOMENTUM], -1).astype(float)
    pdg, color, anticolor = (hard.partons[k][four].astype(int) for k in ("pdg", "color", "anticolor"))
    return Hardest(pdg, color, anticolor, p, np.full(len(four), sqrt_s))
