"""Exact momenta of dijet events from drawn coordinates: jets, their particles, and all others.

Each step is differentiable; the particles of a jet add up to its four-momentum, and the whole event to the beams'.
"""

import math
from dataclasses import dataclass

import torch
from torch import Tensor

from gen2reco.generate.hadronize import hemispheres
from gen2reco.generate.hadronize.dijets import JETS, LEAST_PT, MASS_FLOOR, PT_SCALE

REMNANT = 3.0, 8.0
"""|rapidity| beyond which particles carry what the beams have left, and from which they move in full for its sake."""
ITERATIONS, PRECISION = 30, 1e-11
"""Steps of Newton's method at most, and the relative error of light-cone momenta that it leaves."""
TURNS = tuple((math.cos(angle), math.sin(angle)) for angle in (0.8, -0.8, 1.6, -1.6, math.pi))
"""Cosine and sine of the angles by which particles are turned out of jets, the first that serves; else they stay."""
SWALLOWED = 0.35
"""Distance in rapidity and azimuth within which a jet of radius 0.4 takes nearly all soft particles."""
MOST_MOVED = 1.5
"""Rapidity by which far particles may move for the sake of the leading one."""
MOST_SCALED = 2.0
"""Factor of transverse momenta for the sake of their sum."""
MOST_LIGHT_CONE = 3000.0
"""Largest E + |pz| of a drawn jet, GeV."""


@dataclass(frozen=True)
class Leading:
    """The leading particles of both sides. share: (n, 2) of their beam's light-cone momentum; is_baryon: (n, 2) whether
    they are baryons; number: (n_items,) baryon number of the particles outside of jets."""

    share: Tensor
    is_baryon: Tensor
    number: Tensor

    def may_lead(self, far: Tensor, place: Tensor) -> Tensor:
        """Which of the far particles (n_items,) are of the leading one's kind, all of them on sides (2 n places) where
        none is. Of baryons, what is left of a proton, no antibaryon leads."""
        own = far & (self.number == self.is_baryon.flatten()[place])
        none = _added(own.double(), place, self.share.numel()) == 0
        return own | (far & none[place])


def jet_momenta(shapes: Tensor, pt: Tensor, y: Tensor, rest: Tensor, single: Tensor) -> Tensor:
    """Four-momenta of the jets, (n, JETS, 4), from shapes (n, 16), their partons' pt (n,) and y (n, 2), and the sum of
    their particles' masses `rest` (n, JETS); the mass is `rest` of a jet of a `single` particle, and more of others."""
    log_pt, dy, phi, log_mass = shapes.view(-1, 4, JETS).unbind(1)
    scale = torch.stack([pt, pt, torch.full_like(pt, LEAST_PT), torch.full_like(pt, LEAST_PT)], 1)
    jet_pt = (scale * log_pt.clamp(-3, 2.5).exp()).clamp(max=MOST_LIGHT_CONE / 3)
    jet_phi = torch.stack([phi[:, 0], phi[:, 1] + torch.pi, phi[:, 2].abs(), phi[:, 3]], 1)
    mass = (log_mass.clamp(max=5).exp() - MASS_FLOOR).maximum(rest + 0.002 + 0.01 * rest)
    mass = torch.where(single, rest, mass.minimum(rest + 0.5 * jet_pt))
    m_t = (jet_pt.square() + mass.square()).sqrt()
    most = (MOST_LIGHT_CONE / m_t).log()
    jet_y = (dy + torch.nn.functional.pad(y, (0, 2))).minimum(most).maximum(-most)
    return torch.stack([jet_pt * jet_phi.cos(), jet_pt * jet_phi.sin(), m_t * jet_y.sinh(), m_t * jet_y.cosh()], 2)


def project_jets(raw: Tensor, mass: Tensor, group: Tensor, target: Tensor, iterations: int = 12) -> Tensor:
    """Move particles (four-momenta relative to their jet, (n_items, 4)) onto their jet's, `target` (n_jets, 4):
    scaled to the mass in the rest frame (RAMBO), boosted along the jet, turned and boosted along the beam."""
    n = len(target)
    total = raw.new_zeros(n, 4).index_add(0, group, raw)
    inside = hemispheres.boost(raw, -total[:, :3] / total[:, 3:].clamp(min=1e-9), group, mass)
    m = (target[:, 3].square() - target[:, :3].square().sum(1)).clamp(min=0).sqrt()
    scale = hemispheres.mass_scale(inside[:, :3].square().sum(1), mass, group, m, iterations)
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


def out_of_jets(x: Tensor, side: Tensor, event: Tensor, jets: Tensor) -> Tensor:
    """Coordinates (n_items, 3) of particles outside of jets, those within SWALLOWED of one of the jets (n, JETS, 4)
    turned about the beam until they are not: clustered, they would be counted twice."""
    some = jets[..., 3] > 0
    z, energy = torch.where(some, jets[..., 2], 0.0), torch.where(some, jets[..., 3], 1.0)
    axis_y, axis_phi = torch.atanh((z / energy).clamp(-1 + 1e-12, 1 - 1e-12)), torch.atan2(jets[..., 1], jets[..., 0])
    near = ((side * x[:, 0])[:, None] - axis_y[event]).square()

    def swallowed(turned: Tensor, at: Tensor) -> Tensor:
        apart = torch.atan2(turned[:, 2], turned[:, 1])[:, None] - axis_phi[event[at]]
        phi = torch.remainder(apart + torch.pi, 2 * torch.pi) - torch.pi
        return ((near[at] + phi.square() < SWALLOWED**2) & some[event[at]]).any(1)

    found, at = x.clone(), torch.arange(len(x), device=x.device)
    at = at[swallowed(x, at)]
    for cos, sin in TURNS:
        old = x[at]
        turned = torch.stack([old[:, 0], cos * old[:, 1] - sin * old[:, 2], sin * old[:, 1] + cos * old[:, 2]], 1)
        still = swallowed(turned, at)
        found[at[~still]] = turned[~still]
        at = at[still]
    return found


def balance(
    x: Tensor,
    mass: Tensor,
    side: Tensor,
    event: Tensor,
    jets: Tensor,
    sqrt_s: Tensor,
    leading: Leading | None = None,
    scalar_pt: Tensor | None = None,
) -> Tensor:
    """Four-momenta of particles outside of jets, (n_items, 4), from their coordinates: the whole event is exact.

    side: (n_items,) ±1; event: (n_items,); jets: (n, 4) sum of all jets. Their transverse momenta are scaled, by at
    most MOST_SCALED, to the sum `scalar_pt` (n,), GeV, where it is known. They share the transverse recoil by their
    transverse momentum squared; then those beyond REMNANT move in rapidity, forward and backward ones by one number
    each, the more the farther out, until light-cone momenta add up to sqrt_s (n,). Every event needs a particle on
    either side. The `leading` one of a side takes its share of the beam's first, where the others then move by less
    than MOST_MOVED.
    """
    n = len(jets)
    stretched = x[:, 1:].square().sum(1, keepdim=True).clamp(min=1e-12).sqrt()
    p_t = x[:, 1:] / stretched * PT_SCALE * torch.expm1(stretched.clamp(max=4.5))
    if scalar_pt is not None:
        scale = scalar_pt / _added(p_t.norm(dim=1), event, n).clamp(min=1e-6)
        p_t = p_t * scale.clamp(1 / MOST_SCALED, MOST_SCALED)[event, None]
    weight = p_t.square().sum(1) + 0.02
    lacking = -(_added(p_t, event, n) + jets[:, :2])
    p_t = p_t + (weight / _added(weight, event, n)[event])[:, None] * lacking[event]
    m_t = (p_t.square().sum(1) + mass.square()).sqrt().clamp(min=1e-6)
    y = side * x[:, 0].clamp(-2, 12)
    due = torch.stack([sqrt_s - jets[:, 3] - jets[:, 2], sqrt_s - jets[:, 3] + jets[:, 2]], 1)
    moves = _moves(side * y, side, event, n)
    light = torch.stack([m_t * y.exp(), m_t * (-y).exp()], 1)
    tight = (due - _added(light * (moves == 0)[:, None], event, n) < 0.1 * sqrt_s[:, None]).any(1)
    moves = torch.where(tight[event], 1.0, moves)  # there all that is in no jet moves
    if leading is None:
        moved = _moved(y, moves, m_t, side, event, due)
    else:
        target = torch.where(tight[:, None], torch.nan, leading.share * sqrt_s[:, None])
        may = leading.may_lead(moves > 0, _place(side, event))
        led, others, most = _with_leading(y, moves, may, m_t, side, event, due, target)
        moved = _moved(led, others, m_t, side, event, due, most)
        fails = _added((~moved.isfinite()).double(), event, n) > 0
        if fails.any():
            moved = torch.where(fails[event], _moved(y, moves, m_t, side, event, due), moved)
    p = torch.cat([p_t, (m_t * moved.sinh())[:, None]], 1)
    return torch.cat([p, (p.square().sum(1) + mass.square()).sqrt()[:, None]], 1)


def _place(side: Tensor, event: Tensor) -> Tensor:
    """The place of each particle's side (n_items,) among those of all events, forward before backward."""
    return 2 * event + (side < 0)


def _added(values: Tensor, index: Tensor, n: int) -> Tensor:
    """Values (n_items, ...) summed by index (n_items,): (n, ...)."""
    return values.new_zeros((n, *values.shape[1:])).index_add(0, index, values)


def _moved(
    y: Tensor, moves: Tensor, m_t: Tensor, side: Tensor, event: Tensor, due: Tensor, most: float | Tensor = math.inf
) -> Tensor:
    """Rapidities (n_items,), moved outward by their `moves` (n_items,) times one number a side, but to no more than
    `most`, until light-cone momenta add up to `due` (n, 2), by Newton's method; not finite where they cannot."""
    n, place = len(due), _place(side, event)
    shift = due.new_zeros(2 * n)
    for _ in range(ITERATIONS):
        free = side * y + moves * shift[place]
        moved = side * free.clamp(max=most)
        light = torch.stack([m_t * moved.exp(), m_t * (-moved).exp()], 1)
        total = _added(light, event, n)
        off = (total / due).log()
        if not (off.detach().abs() > PRECISION).any():
            break
        own = torch.where(side > 0, light[:, 0], light[:, 1])
        slope = _added(moves * own * (free < most), place, 2 * n).view(n, 2)
        shift = shift - (off * total / slope).clamp(-1, 1).flatten()
    wrong = ~(off.abs() <= PRECISION).all(1)
    return torch.where(wrong[event], torch.nan, moved)


def _moves(away: Tensor, side: Tensor, event: Tensor, n: int) -> Tensor:
    """How much of its side's shift each particle takes (n_items,), by its rapidity `away` from the middle: none within
    the first of REMNANT, all beyond the second; all, too, the farthest of a side of which none is beyond the first."""
    place = _place(side, event)
    farthest = away.new_full((2 * n,), -100.0).scatter_reduce(0, place, away, "amax")
    grows = ((away - REMNANT[0]) / (REMNANT[1] - REMNANT[0])).clamp(0, 1)
    return torch.where((farthest[place] <= REMNANT[0]) & (away >= farthest[place]), 1.0, grows)


def _with_leading(
    y: Tensor, moves: Tensor, may: Tensor, m_t: Tensor, side: Tensor, event: Tensor, due: Tensor, target: Tensor
) -> tuple[Tensor, Tensor, Tensor]:
    """Rapidities (n_items,) with that of each side's leading particle, of those that `may`, as its light-cone momentum,
    `target` (n, 2), has it, how much all others move, and how far at most, so as not to lead. Left as they are where
    others would have to move too far."""
    far = moves > 0
    place, n, target = _place(side, event), 2 * len(due), target.flatten()
    light, across = m_t * (side * y).exp(), m_t * (-side * y).exp()
    most = light.new_zeros(n).scatter_reduce(0, place, light * may, "amax")
    leads = may & (light >= most[place])
    from_other_side = _added(across, place, n).view(-1, 2).flip(1).flatten()
    rest = due.flatten() - from_other_side - _added(light * ~far, place, n) - target
    moved = (rest / _added(light * (far & ~leads), place, n)).log().abs()  # no number where nothing or nobody is left
    one = (moved < MOST_MOVED) & (_added(leads.double(), place, n) == 1)
    at_most = (target[place] / m_t).log()
    fixed = leads & one[place]
    most = torch.where(one[place], at_most, math.inf)
    return torch.where(fixed, side * at_most, y), torch.where(fixed, 0.0, moves), most
