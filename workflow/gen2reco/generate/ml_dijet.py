"""Dijets of hadron collisions by the learned shower: what the model knows, and its events in the collision's frame."""

import numpy as np
import torch

from gen2reco.generate.hadronize import dijets
from gen2reco.generate.hadronize.decays import Particles
from gen2reco.generate.hadronize.dijet_model import DijetHadronizer
from gen2reco.generate.hadronize.dijets import Hardest
from gen2reco.generate.ml_hard import MOMENTUM, Hard, Outgoing


class Dijet:
    """Draws events in which two partons scatter off each other.

    `valid`: range of the model's config. `interactions`: whether multiparton interactions are asked for.
    """

    def __init__(self, model: DijetHadronizer, valid: dict, interactions: bool):
        self._model, self._range, self._interactions = model, valid, interactions

    def wrong(self, hard: Hard) -> dict[str, np.ndarray]:
        """Why events may be outside the model's range, with those (n,) bool that are."""
        n, out, event = len(hard.counts), Outgoing.of(hard), hard.event
        coming = hard.partons["status"] == 21
        strange = ~np.isin(hard.partons["pdg"], dijets.PARTONS) & (coming | (hard.partons["status"] == 23))
        energies, (low, high) = hard.run.energies, self._range["sqrt_s"]
        beams = abs(energies[0] - energies[1]) > 1e-6 * energies[0] or not low <= 2 * energies[0] <= high
        protons = hard.run.beams != (2212, 2212)
        p = np.stack([hard.partons[k][out.at] for k in MOMENTUM], 1)
        pt = np.hypot(p[:, 0], p[:, 1])
        eta = np.arcsinh(p[:, 2] / np.maximum(pt, 1e-9))
        tests = {
            "multiparton interactions are on (`mpi`)": np.full(n, self._interactions),
            f"expected two protons of {low / 2:.5g} to {high / 2:.5g} GeV each": np.full(n, beams or protons),
            "two hard partons expected": (out.many != 2) | (np.bincount(event[coming], minlength=n) != 2),
            "gluons and quarks up to beauty expected": np.bincount(event[strange], minlength=n) > 0,
            "a parton lacks its colour line": np.bincount(event[self._colourless(hard)], minlength=n) > 0,
        }
        low, high = self._range["parton_pt"]
        tests[f"pt of a hard parton outside {low:.4g} to {high:.4g} GeV"] = (
            np.bincount(out.event[(pt < low * (1 - 1e-6)) | (pt > high)], minlength=n) > 0
        )
        most = self._range["parton_abs_y"][1]
        tests[f"|eta| of a hard parton above {most:.3g}"] = np.bincount(out.event[np.abs(eta) > most], minlength=n) > 0
        low, high = self._range.get("endcap_abs_eta", (0.0, 20.0))
        inside = (np.abs(eta) >= low) & (np.abs(eta) <= high)
        tests[f"no hard parton with |eta| of {low} to {high}"] = np.bincount(out.event[inside], minlength=n) == 0
        return tests

    @staticmethod
    def _colourless(hard: Hard) -> np.ndarray:
        pdg, own = hard.partons["pdg"], np.isin(hard.partons["status"], (21, 23))
        color = ((pdg == 21) | (pdg > 0)) & (hard.partons["color"] == 0)
        anti = ((pdg == 21) | (pdg < 0)) & (hard.partons["anticolor"] == 0)
        return own & (color | anti)

    def draw(
        self, hard: Hard, rows: np.ndarray, alpha_s: float, rng: np.random.Generator, noise: torch.Generator, evals: int
    ) -> tuple[Particles, int]:
        """Particles before decays of these rows, what is left of the beams among them, and how many counts were drawn
        again."""
        hardest = _hardest(hard, rows)
        values, frame = dijets.known(hardest)
        drawn, again = self._model.draw(torch.from_numpy(values), torch.from_numpy(hardest.sqrt_s), noise, evals)
        event, p = drawn.event.numpy(), drawn.momenta.numpy()
        p[:, 1] *= (rng.integers(0, 2, len(rows)) * 2.0 - 1.0)[event]  # drawn events have one handedness only
        p[:, :3] = frame.back(p[:, :3], event)
        pdg = np.array(self._model.species.pdg)[drawn.kinds.numpy()]
        return Particles(pdg.astype(np.int64), rows[event], p, np.zeros_like(p)), again


def _hardest(hard: Hard, rows: np.ndarray) -> Hardest:
    """The four partons of each event, incoming ones first, the one along +z before the other."""
    chosen = np.isin(hard.event, rows) & np.isin(hard.partons["status"], (21, 23))
    at = np.flatnonzero(chosen)
    side = np.where(hard.partons["status"][at] == 21, -np.sign(hard.partons["pz"][at]), 2)
    at = at[np.lexsort((side, hard.event[at]))].reshape(-1, 4)
    p = np.stack([hard.partons[k][at] for k in MOMENTUM], -1).astype(float)
    codes = (hard.partons[k][at].astype(int) for k in ("pdg", "color", "anticolor"))
    return Hardest(*codes, p, np.full(len(at), float(sum(hard.run.energies))))
