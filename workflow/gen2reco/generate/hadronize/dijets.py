"""Dijets of hadron collisions: their hard processes, the condition made of them, and the frame of an event.

The frame: z reflected so that the more forward hard parton flies forward, azimuth measured from that parton.
`dijet_encoding` splits events into jets and the rest, as coordinates; `dijet_decoding` makes exact momenta of them.
"""

from dataclasses import dataclass

import numpy as np

from gen2reco.generate.hadronize.dataset import ALPHA_S_DEFAULT, PT0_REF_DEFAULT

JETS, GROUPS = 4, 6
"""Jets of the two hard partons, two more; then what is in no jet, forward and backward."""
JET_SHAPES = tuple(f"{name}_{jet}" for name in ("log_pt", "y", "phi", "log_mass") for jet in range(JETS))
"""Each jet's momentum, relative to its parton's for the first two."""
NEEDED = (0, 1, JETS, JETS + 1)
"""Groups that no event lacks."""
LEADING = ("left_forward", "left_backward", "baryon_forward", "baryon_backward")
"""Of the leading particle of each side: what it leaves of the beam's momentum to the others, and whether it is a baryon
(`leading`)."""
SHAPES = (*JET_SHAPES, *LEADING)
"""What is drawn of an event before its particles: its jets, and its leading particles."""
LEAST_LEFT = 1e-5
"""Share of a beam's momentum below which no difference is made of what its leading particle leaves."""
LEAST_PT = 10.0
"""Transverse momentum of the third and fourth jet at least, GeV."""
PT_SCALE, MASS_FLOOR = 0.3, 0.1
"""GeV; scale of the logarithm of transverse momenta, and what is added to masses in theirs."""
PARTONS = (21, 1, 2, 3, 4, 5, -1, -2, -3, -4, -5)
N_KNOWN = 4 * len(PARTONS) + 6 + 6
KINEMATICS = slice(-6, None)
N_TUNE = 2
"""Numbers of how showers and multiparton interactions are tuned, before the kinematics of models that know them."""
TUNE = slice(-6 - N_TUNE, -6)


@dataclass(frozen=True)
class Hardest:
    """2 → 2 processes. pdg, color, anticolor: (n, 4) of both incoming (the first along +z) and both outgoing partons;
    p: (n, 4, 4) their four-momenta px, py, pz, E; sqrt_s: (n,) of the collision, GeV."""

    pdg: np.ndarray
    color: np.ndarray
    anticolor: np.ndarray
    p: np.ndarray
    sqrt_s: np.ndarray


@dataclass(frozen=True)
class Frame:
    """How to turn events: side (n,) ±1 of z, azimuth (n,) of the first parton. pt (n,), y (n, 2): the hard partons'."""

    side: np.ndarray
    phi: np.ndarray
    pt: np.ndarray
    y: np.ndarray

    def into(self, p: np.ndarray, event: np.ndarray) -> np.ndarray:
        """Momenta (n_items, 3) of the laboratory to those of the frame."""
        return _turned(p, -self.phi[event], self.side[event])

    def back(self, p: np.ndarray, event: np.ndarray) -> np.ndarray:
        """Momenta (n_items, 3) of the frame to those of the laboratory."""
        return _turned(p, self.phi[event], self.side[event])


def _turned(p: np.ndarray, phi: np.ndarray, side: np.ndarray) -> np.ndarray:
    cos, sin = np.cos(phi), np.sin(phi)
    return np.column_stack([p[:, 0] * cos - p[:, 1] * sin, p[:, 1] * cos + p[:, 0] * sin, p[:, 2] * side])


def leading(
    p: np.ndarray, mass: np.ndarray, baryon: np.ndarray, event: np.ndarray, sqrt_s: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """The leading particle of either side, forward first, of momenta (n_items, 3), GeV: the logarithm of the share of
    its beam's light-cone momentum that it leaves to others; and a number from 0 to 1 for a `baryon` (n_items,), from -1
    to 0 for another: (n, 4)."""
    share = (np.sqrt((p**2).sum(1) + mass**2) + np.abs(p[:, 2])) / sqrt_s[event]
    place = 2 * event + (p[:, 2] < 0)
    order = np.lexsort((share, place))
    last = order[np.flatnonzero(np.diff(place[order], append=-1))]
    most, leads = np.zeros(2 * len(sqrt_s)), np.zeros(2 * len(sqrt_s), bool)
    most[place[last]], leads[place[last]] = share[last], baryon[last]
    left, which = np.log(np.maximum(1 - most, 0) + LEAST_LEFT), np.where(leads, 1, -1) * rng.uniform(size=len(most))
    return np.column_stack([left.reshape(-1, 2), which.reshape(-1, 2)])


def tune(alpha_s: np.ndarray, pt0_ref: np.ndarray) -> np.ndarray:
    """The strong coupling of final-state showers and pT0Ref of multiparton interactions (GeV; NaN without these), about
    Pythia8's own: (n, N_TUNE)."""
    return np.column_stack([(alpha_s - ALPHA_S_DEFAULT) / 0.01, np.nan_to_num((pt0_ref - PT0_REF_DEFAULT) / 0.2)])


def known(hard: Hardest, tuned: np.ndarray | None = None) -> tuple[np.ndarray, Frame]:
    """The condition of all networks, (n, N_KNOWN) float32: flavours, colour connections, kinematics; and the frame.
    With a tune (n, N_TUNE) it is N_TUNE longer."""
    n = len(hard.pdg)
    y = 0.5 * np.log((hard.p[:, 2:, 3] + hard.p[:, 2:, 2]) / (hard.p[:, 2:, 3] - hard.p[:, 2:, 2]))
    first = np.argmax(np.abs(y), axis=1)
    rows = np.arange(n)
    side = np.where(y[rows, first] >= 0, 1.0, -1.0)
    order = np.column_stack([np.where(side > 0, 0, 1), np.where(side > 0, 1, 0), 2 + first, 3 - first])
    pdg, color, anti = (np.take_along_axis(a, order, 1) for a in (hard.pdg, hard.color, hard.anticolor))
    hot = (pdg[:, :, None] == np.array(PARTONS)).reshape(n, -1)
    y = np.take_along_axis(y, order[:, 2:] - 2, 1) * side[:, None]
    out = hard.p[rows, order[:, 2]]
    pt = np.hypot(out[:, 0], out[:, 1])
    x = 2 * np.stack([hard.p[rows, order[:, i], 3] for i in (0, 1)], 1) / hard.sqrt_s[:, None]
    numbers = [np.log(pt) - 3.7, y[:, 0] - 2, y[:, 1] - 0.8, np.abs(y[:, 0] - y[:, 1]) - 1.5, *(np.log(x).T / 2 + 1.5)]
    tuning = [] if tuned is None else [tuned]
    values = np.column_stack([hot, _connected(color, anti), *tuning, *numbers]).astype(np.float32)
    return values, Frame(side, np.arctan2(out[:, 1], out[:, 0]), pt, y)


def _connected(color: np.ndarray, anti: np.ndarray) -> np.ndarray:
    """Whether each pair of the four partons shares a colour line: (n, 6)."""
    start, end = color.copy(), anti.copy()
    start[:, :2], end[:, :2] = anti[:, :2], color[:, :2]  # incoming partons as outgoing ones
    pairs = [(i, j) for i in range(4) for j in range(i)]
    joins = [
        ((start[:, i] == end[:, j]) & (start[:, i] > 0)) | ((end[:, i] == start[:, j]) & (end[:, i] > 0))
        for i, j in pairs
    ]
    return np.column_stack(joins)
