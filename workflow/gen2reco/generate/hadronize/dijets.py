"""Dijets of hadron collisions as sets: jets, the rest of the event forward and backward, and the exact way back.

The frame of an event: z reflected so that the more forward hard parton flies forward, azimuth from that parton, the
event mirrored so that its third jet (or what its dijet lacks) is at positive azimuth. A jet's particles are told from
its axis, in the frame boosted along the beam in which the jet has no rapidity; all others by rapidity.
"""

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gen2reco.events import stdout
from gen2reco.generate.hadronize import hemispheres
from gen2reco.generate.hadronize.group_sums import sums

JETS, GROUPS = 4, 6
"""Jets of the two hard partons, two more; then what is in no jet, forward and backward."""
SHAPES = tuple(f"{name}_{jet}" for name in ("log_pt", "y", "phi", "log_mass") for jet in range(JETS))
"""What is drawn of an event before its particles: each jet's momentum, about its parton's for the first two."""
RADIUS, LEAST_MATCHED, LEAST_PT = 0.4, 5.0, 10.0
PT_SCALE, FLOOR = 0.3, 0.1
REMNANT = 4.5
"""|rapidity| beyond which particles carry what the beams have left."""
MOST_LIGHT_CONE = 3000.0
"""Largest E + |pz| of a drawn jet, GeV."""
PARTONS = (21, 1, 2, 3, 4, 5, -1, -2, -3, -4, -5)
N_KNOWN = 4 * len(PARTONS) + 6 + 6
KINEMATICS = slice(-6, None)


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
        """Momenta (n_items, 3) to the frame."""
        return _turned(p, -self.phi[event], self.side[event])

    def back(self, p: np.ndarray, event: np.ndarray) -> np.ndarray:
        """The way back."""
        return _turned(p, self.phi[event], self.side[event])


def _turned(p: np.ndarray, phi: np.ndarray, side: np.ndarray) -> np.ndarray:
    cos, sin = np.cos(phi), np.sin(phi)
    return np.column_stack([p[:, 0] * cos - p[:, 1] * sin, p[:, 1] * cos + p[:, 0] * sin, p[:, 2] * side])


def known(hard: Hardest) -> tuple[np.ndarray, Frame]:
    """What is known before anything is drawn, (n, N_KNOWN) float32: flavours, colour connections, kinematics."""
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
    values = np.column_stack([hot, _connected(color, anti), *numbers]).astype(np.float32)
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


@dataclass(frozen=True)
class Encoded:
    """Events in their frame. group: (n_items,); x: (n_items, 3) coordinates; shapes: (n, 16), what belongs to a jet
    that is absent is another event's; good: (n,) whether an event has its two jets."""

    group: np.ndarray
    x: np.ndarray
    shapes: np.ndarray
    good: np.ndarray


def encode(momenta: np.ndarray, mass: np.ndarray, event: np.ndarray, frame: Frame, seed: int = 1) -> Encoded:
    """Momenta (n_items, 3), GeV, ordered by event."""
    n = len(frame.phi)
    p = frame.into(momenta, event)
    jet = _clustered(p, mass, event, n, frame)
    good = (np.bincount(event[jet == 0], minlength=n) > 0) & (np.bincount(event[jet == 1], minlength=n) > 0)
    four = np.column_stack([p, np.sqrt((p**2).sum(1) + mass**2)])
    total = sums((event * (JETS + 1) + np.where(jet < 0, JETS, jet)), four, n * (JETS + 1)).reshape(n, JETS + 1, 4)
    lean = np.where(total[:, 2, 3] > 0, total[:, 2, 1], total[:, 4, 1])
    mirror = np.where(lean >= 0, 1.0, -1.0)
    p[:, 1] *= mirror[event]
    total[:, :, 1] *= mirror[:, None]
    jets = total[:, :JETS]
    shapes = _shapes(jets, frame)
    _fill(shapes, jets[:, :, 3] > 0, np.random.default_rng(seed))
    group = np.where(jet >= 0, jet, np.where(p[:, 2] >= 0, JETS, JETS + 1))
    axis = _pt_y_phi(jets)
    x = _rest_coordinates(p, mass)
    inside = jet >= 0
    local = _local(p[inside], mass[inside], axis[event[inside], jet[inside]])
    x[inside] = hemispheres.coordinates(local, mass[inside])
    return Encoded(group, x, shapes, good)


def _pt_y_phi(p: np.ndarray) -> np.ndarray:
    """pt, rapidity and azimuth of four-momenta (..., 4); zeros where there is nothing."""
    some = p[..., 3] > 0
    e, z = np.where(some, p[..., 3], 1.0), np.where(some, p[..., 2], 0.0)
    y = 0.5 * np.log((e + z) / np.maximum(e - z, 1e-9))
    return np.stack([np.hypot(p[..., 0], p[..., 1]), y, np.arctan2(p[..., 1], p[..., 0])], -1)


def _shapes(jets: np.ndarray, frame: Frame) -> np.ndarray:
    axis = _pt_y_phi(jets)
    pt, y, phi = axis[..., 0], axis[..., 1], axis[..., 2]
    scale = np.column_stack([frame.pt, frame.pt, np.full((len(pt), 2), LEAST_PT)])
    origin = np.pad(frame.y, ((0, 0), (0, 2)))
    phi = np.column_stack([phi[:, 0], _wrapped(phi[:, 1] - np.pi), phi[:, 2], phi[:, 3]])
    m = np.sqrt(np.maximum(jets[..., 3] ** 2 - (jets[..., :3] ** 2).sum(-1), 0))
    return np.column_stack([np.log(np.maximum(pt, 1e-3) / scale), y - origin, phi, np.log(m + FLOOR)])


def _wrapped(phi: np.ndarray) -> np.ndarray:
    return np.pi - np.mod(np.pi - phi, 2 * np.pi)


def _fill(shapes: np.ndarray, present: np.ndarray, rng: np.random.Generator) -> None:
    for jet in range(JETS):
        has = np.flatnonzero(present[:, jet])
        if not len(has):
            continue
        lacks = np.flatnonzero(~present[:, jet])
        shapes[lacks, jet::JETS] = shapes[rng.choice(has, len(lacks)), jet::JETS]


def _clustered(p: np.ndarray, mass: np.ndarray, event: np.ndarray, n: int, frame: Frame) -> np.ndarray:
    """The jet of each particle, -1 where it is in none: 0 and 1 of the hard partons, 2 and 3 the hardest others."""
    import awkward as ak

    counts = np.bincount(event, minlength=n)
    fields = dict(zip(("px", "py", "pz", "E"), (*p.T, np.sqrt((p**2).sum(1) + mass**2))))
    jet = np.full(len(p), -1)
    fastjet = stdout.fastjet()
    definition = fastjet.JetDefinition(fastjet.antikt_algorithm, RADIUS)
    first = np.concatenate([[0], np.cumsum(counts)])
    for start in range(0, n, 5000):
        stop = min(start + 5000, n)
        some = ak.unflatten(ak.zip({k: v[first[start] : first[stop]] for k, v in fields.items()}), counts[start:stop])
        sequence = fastjet.ClusterSequence(some, definition)
        jets, members = sequence.inclusive_jets(min_pt=LEAST_MATCHED), sequence.constituent_index(min_pt=LEAST_MATCHED)
        order = ak.argsort(np.hypot(jets.px, jets.py), axis=1, ascending=False)
        jets, members = jets[order], members[order]
        place = _matched(jets, frame, slice(start, stop))
        size = ak.to_numpy(ak.flatten(ak.num(members, axis=2)))
        row = np.repeat(np.arange(start, stop), ak.to_numpy(ak.num(members)))
        at = first[np.repeat(row, size)] + ak.to_numpy(ak.flatten(members, axis=None))
        jet[at] = np.repeat(place, size)
    return jet


def _matched(jets, frame: Frame, rows: slice, most: int = 8) -> np.ndarray:
    """The role of each jet, flat, hardest first: the pair of jets nearest to the partons in direction and pt, then the
    hardest others above LEAST_PT."""
    import awkward as ak

    counts = ak.to_numpy(ak.num(jets))
    padded = [ak.to_numpy(ak.fill_none(ak.pad_none(jets[c], most, clip=True), 0.0)) for c in ("px", "py", "pz", "E")]
    axis = _pt_y_phi(np.stack(padded, -1))
    there = np.arange(most) < counts[:, None]
    cost = []
    for parton, phi in ((0, 0.0), (1, np.pi)):
        apart = (axis[..., 1] - frame.y[rows, parton, None]) ** 2 + _wrapped(axis[..., 2] - phi) ** 2
        softer = np.log(np.maximum(axis[..., 0], 1e-3) / frame.pt[rows, None]) ** 2
        cost.append(np.where(there, apart + softer, 1e6))
    both = cost[0][:, :, None] + cost[1][:, None, :] + 1e7 * np.eye(most)
    best = both.reshape(len(both), -1).argmin(1)
    role = np.full((len(counts), most), -1)
    n = np.arange(len(counts))
    role[n, best // most], role[n, best % most] = 0, 1
    other = (role < 0) & there & (axis[..., 0] > LEAST_PT)
    rank = 2 + np.cumsum(other, 1) - 1
    role = np.where(other & (rank < JETS), rank, role)
    flat_rank = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    row = np.repeat(n, counts)
    return np.where(flat_rank < most, role[row, np.minimum(flat_rank, most - 1)], -1)


def _local(p: np.ndarray, mass: np.ndarray, axis: np.ndarray) -> np.ndarray:
    """Momenta (n, 3) about their jet's pt, y, phi (n, 3): along the beam, across, along the jet, after the boost."""
    cos, sin = np.cos(axis[:, 2]), np.sin(axis[:, 2])
    e = np.sqrt((p**2).sum(1) + mass**2)
    along = p[:, 2] * np.cosh(axis[:, 1]) - e * np.sinh(axis[:, 1])
    return np.column_stack([along, p[:, 1] * cos - p[:, 0] * sin, np.maximum(p[:, 0] * cos + p[:, 1] * sin, 1e-3)])


def _rest_coordinates(p: np.ndarray, mass: np.ndarray) -> np.ndarray:
    """Rapidity away from the middle and stretched transverse momentum: (n_items, 3)."""
    pt = np.hypot(p[:, 0], p[:, 1])
    y = np.arcsinh(np.abs(p[:, 2]) / np.maximum(np.sqrt(pt**2 + mass**2), 1e-6))
    return np.column_stack([y, p[:, :2] / np.maximum(pt, 1e-12)[:, None] * np.log1p(pt / PT_SCALE)[:, None]])


def jet_momenta(shapes: Tensor, pt: Tensor, y: Tensor, rest: Tensor, single: Tensor) -> Tensor:
    """Four-momenta of the jets, (n, JETS, 4), from shapes (n, 16), their partons' pt (n,) and y (n, 2), and the sum of
    their particles' masses `rest` (n, JETS); the mass is `rest` of a jet of a `single` particle, and more of others."""
    log_pt, dy, phi, log_mass = shapes.view(-1, 4, JETS).unbind(1)
    scale = torch.stack([pt, pt, torch.full_like(pt, LEAST_PT), torch.full_like(pt, LEAST_PT)], 1)
    jet_pt = (scale * log_pt.clamp(-3, 2.5).exp()).clamp(max=MOST_LIGHT_CONE / 3)
    jet_phi = torch.stack([phi[:, 0], phi[:, 1] + torch.pi, phi[:, 2].abs(), phi[:, 3]], 1)
    mass = (log_mass.clamp(max=5).exp() - FLOOR).maximum(rest + 0.002 + 0.01 * rest)
    mass = torch.where(single, rest, mass.minimum(rest + 0.5 * jet_pt))
    m_t = (jet_pt.square() + mass.square()).sqrt()
    most = (MOST_LIGHT_CONE / m_t).log()
    jet_y = (dy + torch.nn.functional.pad(y, (0, 2))).minimum(most).maximum(-most)
    return torch.stack([jet_pt * jet_phi.cos(), jet_pt * jet_phi.sin(), m_t * jet_y.sinh(), m_t * jet_y.cosh()], 2)


def project_jets(raw: Tensor, mass: Tensor, group: Tensor, target: Tensor, iterations: int = 12) -> Tensor:
    """Move particles (four-momenta about their jet, (n_items, 4)) onto their jet's four-momentum target (n_jets, 4):
    scaled to the mass in the rest frame (RAMBO), boosted along the jet, turned and boosted along the beam."""
    n = len(target)
    total = raw.new_zeros(n, 4).index_add(0, group, raw)
    inside = hemispheres.boost(raw, -total[:, :3] / total[:, 3:].clamp(min=1e-9), group, mass)
    m = (target[:, 3].square() - target[:, :3].square().sum(1)).clamp(min=0).sqrt()
    scale = hemispheres._mass_scale(inside[:, :3].square().sum(1), mass, group, m, iterations)
    moved = inside[:, :3] * scale[group][:, None]
    pt = target[:, :2].norm(dim=1)
    velocity = torch.zeros_like(target[:, :3])
    m_t = (m.square() + pt.square()).sqrt().clamp(min=1e-9)
    velocity[:, 2] = pt / m_t
    energy = (moved.square().sum(1) + mass.square()).sqrt()
    p = hemispheres.boost(torch.cat([moved, energy[:, None]], 1), velocity, group, mass)
    cos, sin = (target[:, i] / pt.clamp(min=1e-9) for i in (0, 1))
    gamma, beta = target[:, 3] / m_t, target[:, 2] / m_t
    energy = p[:, 3]
    x = p[:, 2] * cos[group] - p[:, 1] * sin[group]
    y = p[:, 2] * sin[group] + p[:, 1] * cos[group]
    z = p[:, 0] * gamma[group] + energy * beta[group]
    out = torch.stack([x, y, z], 1)
    return torch.cat([out, (out.square().sum(1) + mass.square()).sqrt()[:, None]], 1)


def balance(x: Tensor, mass: Tensor, side: Tensor, event: Tensor, jets: Tensor, sqrt_s: Tensor) -> Tensor:
    """Four-momenta of particles outside of jets, (n_items, 4), from their coordinates: the whole event is exact.

    side: (n_items,) ±1; event: (n_items,); jets: (n, 4) sum of all jets. They share the transverse recoil by their
    transverse momentum squared; then those beyond REMNANT move in rapidity, forward and backward ones by one number
    each, until light-cone momenta add up to sqrt_s (n,). Every event needs a particle on either side.
    """
    n = len(jets)

    def add(values: Tensor) -> Tensor:
        return values.new_zeros((n, *values.shape[1:])).index_add(0, event, values)

    stretched = x[:, 1:].square().sum(1, keepdim=True).clamp(min=1e-12).sqrt()
    p_t = x[:, 1:] / stretched * PT_SCALE * torch.expm1(stretched.clamp(max=4.5))
    weight = p_t.square().sum(1) + 0.02
    lacking = -(add(p_t) + jets[:, :2])
    p_t = p_t + (weight / add(weight)[event])[:, None] * lacking[event]
    m_t = (p_t.square().sum(1) + mass.square()).sqrt().clamp(min=1e-6)
    y = side * x[:, 0].clamp(-2, 12)
    far = _far(side * y, side, event, n)
    plus, minus = m_t * y.exp(), m_t * (-y).exp()
    due = torch.stack([sqrt_s - jets[:, 3] - jets[:, 2], sqrt_s - jets[:, 3] + jets[:, 2]], 1)
    near = add(torch.stack([plus, minus], 1) * ~far[:, None])
    tight = (due - near < 0.1 * sqrt_s[:, None]).any(1)  # then all that is in no jet moves
    far = far | tight[event]
    shift = _shifts(plus, minus, far, side, due - near * ~tight[:, None], add)
    y = torch.where(far, y + side * torch.where(side > 0, shift[:, 0][event], shift[:, 1][event]), y)
    p = torch.cat([p_t, (m_t * y.sinh())[:, None]], 1)
    return torch.cat([p, (p.square().sum(1) + mass.square()).sqrt()[:, None]], 1)


def _far(away: Tensor, side: Tensor, event: Tensor, n: int) -> Tensor:
    """Particles beyond REMNANT, or the farthest of their side where there is none."""
    place = 2 * event + (side < 0)
    farthest = torch.full((2 * n,), -100.0, dtype=away.dtype).scatter_reduce(0, place, away, "amax")
    return away >= farthest.clamp(max=REMNANT)[place]


def _shifts(plus, minus, far, side, due, add, iterations: int = 60) -> Tensor:
    """Shifts of rapidity (n, 2) of the far particles forward and backward, at which their light-cone momenta add up to
    `due` (n, 2). From above: each step takes off what the other side contributes."""
    forward, backward = far & (side > 0), far & (side < 0)
    a_plus, a_minus = (add(v * forward) for v in (plus, minus))
    b_plus, b_minus = (add(v * backward) for v in (plus, minus))
    up, down = due[:, 0] / a_plus, due[:, 1] / b_minus  # exponentials of the shifts
    for _ in range(iterations):
        up, down = (due[:, 0] - b_plus / down) / a_plus, (due[:, 1] - a_minus / up) / b_minus
    return torch.stack([up.log(), down.log()], 1)
