"""e+e- → quark and antiquark by the learned shower: what the model knows, and its events in the partons' frame."""

import math

import numpy as np
import torch

from gen2reco.generate.hadronize.dataset import conditions
from gen2reco.generate.hadronize.decays import Particles
from gen2reco.generate.hadronize.load import GenerationRange
from gen2reco.generate.hadronize.pair_model import Drawn, Hadronizer
from gen2reco.generate.ml_hard import (
    MOMENTUM,
    OUTGOING,
    Beams,
    Hard,
    HardProcess,
    incoming,
    outgoing,
    total,
    unbalanced,
)


class QuarkPair:
    """Draws events of a quark and its antiquark.

    `valid`: range of the model's config. `alpha_s` of final-state showers at the Z mass.
    """

    def __init__(self, model: Hadronizer, valid: GenerationRange, alpha_s: float):
        self.model, self._range, self._alpha_s = model, valid, alpha_s

    def foreign(self, beams: Beams) -> str | None:
        """Why no event of these beams is known, if so."""
        low, _ = self._range.sqrt_s
        if any(abs(code) > 100 for code in beams.pdg):
            return f"beams of hadrons ({beams.pdg[0]}, {beams.pdg[1]}), expected leptons"
        return f"collisions of {beams.sqrt_s:.5g} GeV, expected {low:.5g} at least" if beams.sqrt_s < low else None

    def unknown(self, event: HardProcess) -> str | None:
        """Why an event is outside the model's range, if it is."""
        out, (low, high) = outgoing(event), self._range.sqrt_s
        if len(out) != 2:
            return "more or fewer than two hard partons"
        if not 1 <= abs(out[0].pdg) <= 5 or out[0].pdg != -out[1].pdg:
            return "hard partons other than a quark and its antiquark (u, d, s, c, b)"
        if any(parton.coloured for parton in incoming(event)):
            return "incoming coloured partons"
        px, py, pz, energy = total(out)
        if not low <= math.sqrt(max(energy**2 - px**2 - py**2 - pz**2, 0)) <= high:
            return f"a mass of the hard partons outside {low:.4g} to {high:.4g} GeV"
        return "hard partons that do not balance the incoming ones" if unbalanced(event) else None

    def draw(
        self, hard: Hard, rng: np.random.Generator, noise: torch.Generator, evaluations: int
    ) -> tuple[Particles, int]:
        """Particles before decays, and how many counts were drawn again."""
        quark, total, flavour = _quarks(hard)
        known = torch.from_numpy(conditions(flavour, np.full(len(flavour), self._alpha_s)))
        drawn, again = self.model.draw(known, noise, evaluations)
        return _placed(self.model, drawn, quark, total, rng), again


def _quarks(hard: Hard) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Four-momenta of the quark and of both partons, (n, 4), and the flavour (n,)."""
    at = hard.partons["status"] == OUTGOING
    event, p = hard.event[at], np.stack([hard.partons[k][at] for k in MOMENTUM], 1)
    total = np.stack([np.bincount(event, column, len(hard.counts)) for column in p.T], 1)
    quark = hard.partons["pdg"][at] > 0
    return p[quark], total, hard.partons["pdg"][at][quark].astype(int)


def _placed(
    model: Hadronizer, drawn: Drawn, quark: np.ndarray, total: np.ndarray, rng: np.random.Generator
) -> Particles:
    """Turn drawn events so that their quark flies along the hard one, at random azimuth, and boost to its frame.

    quark, total: (n, 4) hard quark and sum of the hard partons, GeV.
    """
    n = len(quark)
    event = drawn.group.numpy() // 2
    p = drawn.momenta.numpy()
    m = model.species.masses[drawn.kinds.numpy()]
    scale = np.sqrt(np.maximum(total[:, 3] ** 2 - (total[:, :3] ** 2).sum(1), 0))
    velocity = total[:, :3] / total[:, 3:]
    at_rest = _boost(quark, -velocity)[:, :3]
    turn = _frame(at_rest, rng.uniform(-np.pi, np.pi, n)) @ _frame(model.quark_direction(drawn), np.zeros(n)).transpose(
        0, 2, 1
    )
    mirror = rng.integers(0, 2, n) * 2.0 - 1.0
    turn = _mirrored(turn, at_rest, mirror)
    momentum = np.einsum("nij,nj->ni", turn[event], p[:, :3])
    four = np.column_stack([momentum, np.sqrt((momentum**2).sum(1) + m**2)])
    four = _rescaled(four, m, event, scale, n)
    four = _boost(four, velocity[event])
    four[:, 3] = np.sqrt((four[:, :3] ** 2).sum(1) + m**2)
    pdg = np.array(model.species.pdg)[drawn.kinds.numpy()]
    return Particles(pdg.astype(np.int64), event, four, np.zeros_like(four))


def _mirrored(turn: np.ndarray, quark: np.ndarray, mirror: np.ndarray) -> np.ndarray:
    """Reflect half of the events in a plane that holds the quark: drawn events have one handedness only."""
    q = quark / np.linalg.norm(quark, axis=1, keepdims=True)
    helper = np.where(np.abs(q[:, :1]) < 0.9, [[1.0, 0, 0]], [[0, 1.0, 0]])
    normal = np.cross(q, helper)
    normal /= np.linalg.norm(normal, axis=1, keepdims=True)
    reflect = np.eye(3) - (1 - mirror)[:, None, None] * normal[:, :, None] * normal[:, None, :]
    return reflect @ turn


def _frame(axis: np.ndarray, angle: np.ndarray) -> np.ndarray:
    """Rotation matrices (n, 3, 3) whose third column is the direction of `axis`, turned about it by `angle`."""
    z = axis / np.linalg.norm(axis, axis=1, keepdims=True)
    helper = np.where(np.abs(z[:, :1]) < 0.9, [[1.0, 0, 0]], [[0, 1.0, 0]])
    x = np.cross(helper, z)
    x /= np.linalg.norm(x, axis=1, keepdims=True)
    y = np.cross(z, x)
    cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]
    return np.stack([x * cos + y * sin, y * cos - x * sin, z], 2)


def _rescaled(four: np.ndarray, mass: np.ndarray, event: np.ndarray, energy: np.ndarray, n: int) -> np.ndarray:
    """Scale momenta so that each event's energy is exactly that of its hard partons (a change of parts in 1e5)."""
    k2 = (four[:, :3] ** 2).sum(1)
    scale = np.ones(n)
    for _ in range(6):
        e = np.sqrt(k2 * scale[event] ** 2 + mass**2)
        slope = np.bincount(event, scale[event] * k2 / e, n)
        scale -= (np.bincount(event, e, n) - energy) / slope
    moved = four[:, :3] * scale[event][:, None]
    return np.column_stack([moved, np.sqrt((moved**2).sum(1) + mass**2)])


def _boost(p: np.ndarray, velocity: np.ndarray) -> np.ndarray:
    """Boost four-momenta (n, 4) by velocities (n, 3)."""
    b2 = (velocity**2).sum(1)
    gamma = 1 / np.sqrt(1 - b2)
    along = (velocity * p[:, :3]).sum(1)
    factor = gamma**2 / (1 + gamma) * along + gamma * p[:, 3]
    return np.column_stack([p[:, :3] + factor[:, None] * velocity, gamma * (p[:, 3] + along)])
