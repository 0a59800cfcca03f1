"""Exact momenta of dijet events from drawn coordinates: jets, their particles, and all others.

Each step is differentiable; the particles of a jet add up to its four-momentum, and the whole event to the beams'.
"""

import math

import torch
from torch import Tensor

from gen2reco.generate.hadronize import hemispheres
from gen2reco.generate.hadronize.dijets import JETS, LEAST_PT, MASS_FLOOR, PT_SCALE

REMNANT = 4.5
"""|rapidity| beyond which particles carry what the beams have left."""
TURNS = tuple((math.cos(angle), math.sin(angle)) for angle in (0.8, -0.8, 1.6, -1.6, math.pi))
"""Cosine and sine of the angles by which particles are turned out of jets, the first that serves; else they stay."""
SWALLOWED = 0.35
"""Distance in rapidity and azimuth within which a jet of radius 0.4 takes nearly all soft particles."""
MOST_MOVED = 1.5
"""Rapidity by which far particles may move for the sake of the leading one."""
MOST_LIGHT_CONE = 3000.0
"""Largest E + |pz| of a drawn jet, GeV."""


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
    x: Tensor, mass: Tensor, side: Tensor, event: Tensor, jets: Tensor, sqrt_s: Tensor, leading: Tensor | None = None
) -> Tensor:
    """Four-momenta of particles outside of jets, (n_items, 4), from their coordinates: the whole event is exact.

    side: (n_items,) ±1; event: (n_items,); jets: (n, 4) sum of all jets. They share the transverse recoil by their
    transverse momentum squared; then those beyond REMNANT move in rapidity, forward and backward ones by one number
    each, until light-cone momenta add up to sqrt_s (n,). Every event needs a particle on either side. The leading one
    of a side takes its share `leading` (n, 2) of the beam's first, where the others then move by less than MOST_MOVED.
    """
    n = len(jets)
    stretched = x[:, 1:].square().sum(1, keepdim=True).clamp(min=1e-12).sqrt()
    p_t = x[:, 1:] / stretched * PT_SCALE * torch.expm1(stretched.clamp(max=4.5))
    weight = p_t.square().sum(1) + 0.02
    lacking = -(_added(p_t, event, n) + jets[:, :2])
    p_t = p_t + (weight / _added(weight, event, n)[event])[:, None] * lacking[event]
    m_t = (p_t.square().sum(1) + mass.square()).sqrt().clamp(min=1e-6)
    y = side * x[:, 0].clamp(-2, 12)
    due = torch.stack([sqrt_s - jets[:, 3] - jets[:, 2], sqrt_s - jets[:, 3] + jets[:, 2]], 1)
    far = _far(side * y, side, event, n)
    light = torch.stack([m_t * y.exp(), m_t * (-y).exp()], 1)
    tight = (due - _added(light * ~far[:, None], event, n) < 0.1 * sqrt_s[:, None]).any(1)
    far = far | tight[event]  # there all that is in no jet moves
    if leading is None:
        moved = _moved(y, far, m_t, side, event, due)
    else:
        target = torch.where(tight[:, None], torch.nan, leading * sqrt_s[:, None])
        moved = _moved(*_with_leading(y, far, m_t, side, event, due, target), m_t, side, event, due)
        fails = _added((~moved.isfinite()).double(), event, n) > 0
        if fails.any():
            moved = torch.where(fails[event], _moved(y, far, m_t, side, event, due), moved)
    p = torch.cat([p_t, (m_t * moved.sinh())[:, None]], 1)
    return torch.cat([p, (p.square().sum(1) + mass.square()).sqrt()[:, None]], 1)


def _added(values: Tensor, index: Tensor, n: int) -> Tensor:
    """Values (n_items, ...) summed by index (n_items,): (n, ...)."""
    return values.new_zeros((n, *values.shape[1:])).index_add(0, index, values)


def _moved(y: Tensor, far: Tensor, m_t: Tensor, side: Tensor, event: Tensor, due: Tensor) -> Tensor:
    """Rapidities (n_items,), those of far particles moved until light-cone momenta add up to `due` (n, 2); not finite
    where they cannot."""
    plus, minus = m_t * y.exp(), m_t * (-y).exp()
    near = _added(torch.stack([plus, minus], 1) * ~far[:, None], event, len(due))
    shift = _shifts(plus, minus, far, side, event, due - near)
    return torch.where(far, y + side * torch.where(side > 0, shift[:, 0][event], shift[:, 1][event]), y)


def _far(away: Tensor, side: Tensor, event: Tensor, n: int) -> Tensor:
    """Particles beyond REMNANT, or the farthest of their side where there is none."""
    place = 2 * event + (side < 0)
    farthest = away.new_full((2 * n,), -100.0).scatter_reduce(0, place, away, "amax")
    return away >= farthest.clamp(max=REMNANT)[place]


def _with_leading(
    y: Tensor, far: Tensor, m_t: Tensor, side: Tensor, event: Tensor, due: Tensor, target: Tensor
) -> tuple[Tensor, Tensor]:
    """Rapidities (n_items,) with that of each side's leading particle as its light-cone momentum, `target` (n, 2), has
    it, and which particles are far without it. Left as they are where others would have to move too far."""
    place, n, target = 2 * event + (side < 0), 2 * len(due), target.flatten()
    light, across = m_t * (side * y).exp(), m_t * (-side * y).exp()
    most = light.new_zeros(n).scatter_reduce(0, place, light, "amax")
    leads = far & (light >= most[place])
    from_other_side = _added(across, place, n).view(-1, 2).flip(1).flatten()
    rest = due.flatten() - from_other_side - _added(light * ~far, place, n) - target
    moved = (rest / _added(light * (far & ~leads), place, n)).log().abs()  # no number where nothing or nobody is left
    fixed = leads & ((moved < MOST_MOVED) & (_added(leads.double(), place, n) == 1))[place]
    return torch.where(fixed, side * (target[place] / m_t).log(), y), far & ~fixed


def _shifts(
    plus: Tensor,
    minus: Tensor,
    far: Tensor,
    side: Tensor,
    event: Tensor,
    due: Tensor,
    iterations: int = 60,
) -> Tensor:
    """Shifts of rapidity (n, 2) of the far particles forward and backward, at which their light-cone momenta add up to
    `due` (n, 2). From above: each step takes off what the other side contributes."""
    forward, backward = far & (side > 0), far & (side < 0)
    a_plus, a_minus = (_added(v * forward, event, len(due)) for v in (plus, minus))
    b_plus, b_minus = (_added(v * backward, event, len(due)) for v in (plus, minus))
    up, down = due[:, 0] / a_plus, due[:, 1] / b_minus  # exponentials of the shifts
    for _ in range(iterations):
        up, down = (due[:, 0] - b_plus / down) / a_plus, (due[:, 1] - a_minus / up) / b_minus
    return torch.stack([up.log(), down.log()], 1)
