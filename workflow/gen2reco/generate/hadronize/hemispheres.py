"""e+e- events as two hemispheres: coordinates that a network learns well, and exact momenta made of them.

The frame of an event: its centre of mass, z along the thrust axis on the quark's side, x in the event plane. Each
hemisphere's transverse momentum vanishes there, so the two invariant masses fix both hemispheres' four-momenta.
"""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

from gen2reco.generate.hadronize.group_sums import sums, thrust_axes

GROUPS = 2
SHAPES = ("mass_0", "mass_1", "in_0", "in_1", "out_0", "out_1", "skew_0", "skew_1", "quark_x", "quark_y")
"""What is drawn of an event before its particles: logarithms of each hemisphere's mass and of its transverse momenta in
and out of the event plane, how its harder part leans, and the quark's direction."""
PT_SCALE, ANGLE_SCALE, FLOOR = 0.3, 0.03, 0.1
LIGHT = 0.14  # GeV, added to light masses in rapidities, which stay finite for photons along the axis


@dataclass(frozen=True)
class Encoded:
    """Events in the frame of hemispheres.

    order: (n_items,) the items sorted by event and hemisphere. group: (n_items,) hemisphere 0 (quark's side) or 1.
    x: (n_items, 3) coordinates, both in the new order. shapes: (n_events, 10).
    """

    order: np.ndarray
    group: np.ndarray
    x: np.ndarray
    shapes: np.ndarray


def encode(momenta: np.ndarray, mass: np.ndarray, event: np.ndarray, quark: np.ndarray) -> Encoded:
    """Momenta (n_items, 3) in the centre of mass, GeV; the quark's direction (n_events, 3)."""
    n = len(quark)
    _, axis = thrust_axes(momenta, event, n)
    axis *= np.where(np.einsum("ij,ij->i", axis, quark) >= 0, 1.0, -1.0)[:, None]
    local, quark = _into_plane(momenta, mass, event, axis, quark)
    group = (local[:, 2] < 0).astype(np.int64)
    shapes = _shapes(local, mass, 2 * event + group, n, quark)
    order = np.lexsort((group, event))
    local = local[order] * [1, 1, 0] + np.abs(local[order]) * [0, 0, 1]
    return Encoded(order, group[order], coordinates(local, mass[order]), shapes)


def _into_plane(
    momenta: np.ndarray, mass: np.ndarray, event: np.ndarray, axis: np.ndarray, quark: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Rotate into the frame: x along the event plane, towards the harder part of the heavier hemisphere; y signed
    likewise, by mirroring the event if need be."""
    n = len(axis)
    helper = np.where(np.abs(axis[:, :1]) < 0.9, [[1.0, 0, 0]], [[0, 1.0, 0]])
    e_1 = np.cross(axis, helper)
    e_1 /= np.linalg.norm(e_1, axis=1, keepdims=True)
    e_2 = np.cross(axis, e_1)
    a, b = (np.einsum("ij,ij->i", momenta, e[event]) for e in (e_1, e_2))
    z = np.einsum("ij,ij->i", momenta, axis[event])
    weight = 1 / np.maximum(np.hypot(a, b), 1e-9)
    angle = 0.5 * np.arctan2(2 * sums(event, a * b * weight, n), sums(event, (a * a - b * b) * weight, n))
    cos, sin = np.cos(angle)[:, None], np.sin(angle)[:, None]
    e_x, e_y = e_1 * cos + e_2 * sin, e_2 * cos - e_1 * sin
    side = z < 0
    hemisphere = 2 * event + side
    four = np.column_stack([momenta, np.sqrt((momenta**2).sum(1) + mass**2)])
    total = sums(hemisphere, four, 2 * n)
    squared = (total[:, 3] ** 2 - (total[:, :3] ** 2).sum(1)).reshape(n, 2)
    heavier = side == (squared[:, 1] > squared[:, 0])[event]
    for e in (e_x, e_y):
        lean = sums(event, np.einsum("ij,ij->i", momenta, e[event]) * np.abs(z) * heavier, n)
        e *= np.where(lean >= 0, 1.0, -1.0)[:, None]
    frame = np.stack([e_x, e_y, axis], 1)
    return np.einsum("nij,nj->ni", frame[event], momenta), np.einsum("nij,nj->ni", frame, quark)


def _shapes(local: np.ndarray, mass: np.ndarray, hemisphere: np.ndarray, n: int, quark: np.ndarray) -> np.ndarray:
    four = np.column_stack([local, np.sqrt((local**2).sum(1) + mass**2)])
    total = sums(hemisphere, four, 2 * n)
    m = np.sqrt(np.maximum(total[:, 3] ** 2 - (total[:, :3] ** 2).sum(1), 0))
    wide = sums(hemisphere, np.abs(local[:, :2]), 2 * n)
    lean = sums(hemisphere, local[:, 0] * np.abs(local[:, 2]), 2 * n)
    skew = lean / ((wide[:, 0] + FLOOR) * (np.abs(total[:, 2]) + FLOOR))
    tilt = np.linalg.norm(quark[:, :2], axis=1, keepdims=True)
    turned = quark[:, :2] / np.maximum(tilt, 1e-12) * np.log1p(tilt / ANGLE_SCALE)
    columns = [np.log(m + FLOOR), np.log(wide[:, 0] + FLOOR), np.log(wide[:, 1] + FLOOR), skew]
    return np.column_stack([column.reshape(n, 2) for column in columns] + [turned])


def coordinates(local: np.ndarray, mass: np.ndarray) -> np.ndarray:
    """Rapidity and transverse momentum of particles with pz >= 0, stretched to look like noise: (n_items, 3)."""
    pt = np.linalg.norm(local[:, :2], axis=1, keepdims=True)
    m_t = np.sqrt((local[:, :2] ** 2).sum(1) + mass**2 + LIGHT**2)
    y = np.maximum(np.arcsinh(local[:, 2] / m_t), 1e-3)
    along = y + np.log(-np.expm1(-y))  # inverse of softplus
    return np.column_stack([along, local[:, :2] / np.maximum(pt, 1e-12) * np.log1p(pt / PT_SCALE)])


def momenta(x: Tensor, mass: Tensor) -> Tensor:
    """The inverse of `coordinates`: (n_items, 3), (n_items,) to four-momenta px, py, pz, E (n_items, 4)."""
    stretched = x[:, 1:].square().sum(1, keepdim=True).clamp(min=1e-12).sqrt()
    p_t = x[:, 1:] / stretched * PT_SCALE * torch.expm1(stretched.clamp(max=5.2))
    p_t2 = p_t.square().sum(1)
    p_z = (p_t2 + mass.square() + LIGHT**2).sqrt() * torch.nn.functional.softplus(x[:, 0]).clamp(max=7.0).sinh()
    return torch.stack([p_t[:, 0], p_t[:, 1], p_z, (p_t2 + p_z.square() + mass.square()).sqrt()], 1)


def stretched(four: Tensor) -> Tensor:
    """`coordinates` for four-momenta (n_items, 4) with pz >= 0 (others count as 0), differentiable."""
    pt = four[:, :2].square().sum(1, keepdim=True).clamp(min=1e-12).sqrt()
    mass2 = (four[:, 3].square() - four[:, :3].square().sum(1)).clamp(min=0)
    m_t = (pt[:, 0].square() + mass2 + LIGHT**2).sqrt()
    y = torch.asinh(four[:, 2] / m_t).clamp(min=1e-3)
    along = y + torch.log(-torch.expm1(-y))
    return torch.cat([along[:, None], four[:, :2] / pt * torch.log1p(pt / PT_SCALE)], 1)


def hemisphere_targets(shapes: Tensor, rest: Tensor, single: Tensor, sqrt_s: float) -> Tensor:
    """Each hemisphere's mass, (n_events, 2), from the drawn shapes: above the sum of its particles' masses (`rest`,
    (n_events, 2)), equal to it where it holds a `single` particle, and both together below sqrt(s)."""
    m = (shapes[:, :2].clamp(max=4.2).exp() - FLOOR).maximum(rest + 0.005)
    m = torch.where(single, rest, m)
    free = (m - rest).sum(1, keepdim=True)
    room = (0.97 * sqrt_s - rest.sum(1, keepdim=True)).clamp(min=0)
    return rest + (m - rest) * (room / free.clamp(min=1e-9)).clamp(max=1)


def project(
    raw: Tensor, mass: Tensor, group: Tensor, target: Tensor, sqrt_s: float, iterations: int = 8
) -> tuple[Tensor, Tensor]:
    """Move particles (four-momenta with pz >= 0, (n_items, 4)) onto their hemisphere's four-momentum.

    `group` (n_items,) numbers the hemispheres 0, 1 of event 0, then of event 1, ...; `target` (n_events, 2) their
    masses. In the hemisphere's rest frame momenta are scaled to the mass (RAMBO, Comput. Phys. Commun. 40 (1986) 359),
    then boosted back to back. Returns four-momenta and the logarithm of the scale of each group, both differentiable.
    """
    n_groups = target.numel()
    total = raw.new_zeros(n_groups, 4).index_add(0, group, raw)
    inside = boost(raw, -total[:, :3] / total[:, 3:].clamp(min=1e-9), group, mass)
    k2 = inside[:, :3].square().sum(1)
    scale = mass_scale(k2, mass, group, target.reshape(-1), iterations)
    moved = inside[:, :3] * scale[group][:, None]
    energy = (moved.square().sum(1) + mass.square()).clamp(min=1e-18).sqrt()
    s, m2 = sqrt_s**2, target.square()
    p = ((s - (target.sum(1)) ** 2) * (s - (target[:, 0] - target[:, 1]) ** 2)).clamp(min=0).sqrt() / (2 * sqrt_s)
    sign = torch.tensor([1.0, -1.0], dtype=raw.dtype, device=raw.device)
    beta = p[:, None] / (p.square()[:, None] + m2).sqrt() * sign
    velocity = torch.zeros(n_groups, 3, dtype=raw.dtype, device=raw.device)
    velocity = torch.cat([velocity[:, :2], beta.reshape(-1, 1)], 1)
    flip = torch.stack([torch.ones_like(energy), torch.ones_like(energy), sign[group % 2]], 1)
    return boost(torch.cat([moved * flip, energy[:, None]], 1), velocity, group, mass), scale.log()


def mass_scale(k2: Tensor, mass: Tensor, group: Tensor, target: Tensor, iterations: int) -> Tensor:
    """The factor on momenta at which each group's energies add up to `target`, by Newton's method from above."""
    m2 = mass.square()
    n = len(target)

    def add(values: Tensor) -> Tensor:
        return values.new_zeros(n).index_add(0, group, values)

    with torch.no_grad():
        size = add(k2.clamp(min=1e-24).sqrt())
        alone = size < 1e-6  # nothing to scale
        scale = target / size.clamp(min=1e-6)  # at least the root, since E >= |p|
        for _ in range(iterations):
            scale = scale - _step(scale, k2, m2, group, target, add)
        scale = scale.clamp(min=1e-6)
    scale = (scale - _step(scale, k2, m2, group, target, add)).clamp(min=1e-6)  # carries the implicit gradient
    return torch.where(alone, torch.ones_like(scale), scale)


def _step(scale: Tensor, k2: Tensor, m2: Tensor, group: Tensor, target: Tensor, add: Callable) -> Tensor:
    s = scale[group]
    energy = (m2 + s.square() * k2).clamp(min=1e-18).sqrt()
    return (add(energy) - target) / add(s * k2 / energy).clamp(min=1e-9)


def boost(p: Tensor, velocity: Tensor, group: Tensor, mass: Tensor) -> Tensor:
    """Boost four-momenta (n_items, 4) by their group's velocity (n_groups, 3); energies from the mass shell."""
    b2 = velocity.square().sum(1).clamp(max=1 - 1e-12)
    gamma = (1 - b2).rsqrt()
    b, gamma, b2 = velocity[group], gamma[group], b2[group]
    along = (b * p[:, :3]).sum(1)
    factor = torch.where(b2 > 1e-12, (gamma - 1) / b2.clamp(min=1e-12), torch.full_like(b2, 0.5))
    moved = p[:, :3] + (factor * along + gamma * p[:, 3])[:, None] * b
    return torch.cat([moved, (moved.square().sum(1) + mass.square()).clamp(min=1e-18).sqrt()[:, None]], 1)
