"""Events of hadron collisions as coordinates that a network learns well: clustered into jets, the particles of each jet
relative to its axis.

Coordinates of a particle in a jet are taken in the frame boosted along the beam in which the jet has no rapidity; those
of all other particles are rapidity and transverse momentum. The event is mirrored so that its third jet (or what its
dijet lacks in transverse momentum) is at positive azimuth.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np

from gen2reco import stdout
from gen2reco.generate.hadronize import hemispheres
from gen2reco.generate.hadronize.dijets import (
    JET_SHAPES,
    JETS,
    LEAST_PT,
    MASS_FLOOR,
    NEEDED,
    PT_SCALE,
    Frame,
    leading,
)
from gen2reco.generate.hadronize.group_sums import sums

RADIUS, LEAST_MATCHED = 0.4, 5.0
"""Radius of the jets, and transverse momentum (GeV) from which one may belong to a hard parton."""


Roles = Callable[[Any, slice], np.ndarray]
"""The place of each jet of some events among the JETS, -1 for none: flat, of jets hardest first."""


@dataclass(frozen=True)
class Encoded:
    """Events in their frame. group: (n_items,); x: (n_items, 3) coordinates; shapes: (n, 20), those of an absent jet
    filled with another event's; good: (n,) whether an event has all that every event has."""

    group: np.ndarray
    x: np.ndarray
    shapes: np.ndarray
    good: np.ndarray


def encode(
    momenta: np.ndarray,
    mass: np.ndarray,
    baryon: np.ndarray,
    event: np.ndarray,
    frame: Frame,
    sqrt_s: np.ndarray,
    seed: int = 1,
) -> Encoded:
    """Dijets by their momenta (n_items, 3), GeV, ordered by event; each has a jet near either hard parton. baryon:
    (n_items,) whether a particle is one; sqrt_s: (n,) of the collisions, GeV."""
    n = len(frame.phi)
    p = frame.into(momenta, event)
    jet = _clustered(p, mass, event, n, lambda jets, rows: _matched(jets, frame, rows))
    return _coordinates(p, mass, baryon, event, frame, sqrt_s, jet, NEEDED, seed)


def encode_without(
    momenta: np.ndarray, mass: np.ndarray, baryon: np.ndarray, event: np.ndarray, sqrt_s: np.ndarray, seed: int = 1
) -> Encoded:
    """As `encode`, events without a known hard process: their hardest jets, azimuth measured from the first."""
    n = len(sqrt_s)
    jet = _clustered(momenta, mass, event, n, lambda jets, rows: _hardest(jets))
    hardest = sums(event[jet == 0], momenta[jet == 0], n)
    frame = without_process(np.arctan2(hardest[:, 1], hardest[:, 0]))
    return _coordinates(frame.into(momenta, event), mass, baryon, event, frame, sqrt_s, jet, NEEDED[2:], seed)


def without_process(phi: np.ndarray) -> Frame:
    """The frame of events without a known hard process, given the azimuth (n,) of their hardest jet."""
    n = len(phi)
    return Frame(np.ones(n), phi, np.full(n, LEAST_MATCHED), np.zeros((n, 2)))


def _coordinates(
    p: np.ndarray,
    mass: np.ndarray,
    baryon: np.ndarray,
    event: np.ndarray,
    frame: Frame,
    sqrt_s: np.ndarray,
    jet: np.ndarray,
    needed: tuple[int, ...],
    seed: int,
) -> Encoded:
    """Coordinates of momenta (n_items, 3) in their events' frame, given the jet of each (n_items,), -1 for none; events
    without a particle in one of the `needed` groups are not good."""
    n = len(frame.phi)
    four = np.column_stack([p, np.sqrt((p**2).sum(1) + mass**2)])
    total = sums((event * (JETS + 1) + np.where(jet < 0, JETS, jet)), four, n * (JETS + 1)).reshape(n, JETS + 1, 4)
    lean = np.where(total[:, 2, 3] > 0, total[:, 2, 1], total[:, 4, 1])
    mirror = np.where(lean >= 0, 1.0, -1.0)
    p[:, 1] *= mirror[event]
    total[:, :, 1] *= mirror[:, None]
    jets = total[:, :JETS]
    out, rng = jet < 0, np.random.default_rng(seed)
    shapes = np.column_stack([_shapes(jets, frame), leading(p[out], mass[out], baryon[out], event[out], sqrt_s, rng)])
    _fill(shapes, jets[:, :, 3] > 0, rng)
    group = np.where(jet >= 0, jet, np.where(p[:, 2] >= 0, JETS, JETS + 1))
    axis = _pt_y_phi(jets)
    x = _rest_coordinates(p, mass)
    inside = jet >= 0
    local = _local(p[inside], mass[inside], axis[event[inside], jet[inside]])
    x[inside] = hemispheres.coordinates(local, mass[inside])
    good = np.all([np.bincount(event[group == i], minlength=n) > 0 for i in needed], axis=0)
    return Encoded(group, x, shapes, good)


def _pt_y_phi(p: np.ndarray) -> np.ndarray:
    """Transverse momentum, rapidity and azimuth of four-momenta (..., 4); zeros for those without energy."""
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
    return np.column_stack([np.log(np.maximum(pt, 1e-3) / scale), y - origin, phi, np.log(m + MASS_FLOOR)])


def _wrapped(phi: np.ndarray) -> np.ndarray:
    return np.pi - np.mod(np.pi - phi, 2 * np.pi)


def _fill(shapes: np.ndarray, present: np.ndarray, rng: np.random.Generator) -> None:
    """Fill the shapes of jets that are not present, (n, JETS) bool, with those of events that have them."""
    for jet in range(JETS):
        has = np.flatnonzero(present[:, jet])
        if not len(has):
            continue
        lacks = np.flatnonzero(~present[:, jet])
        at = slice(jet, len(JET_SHAPES), JETS)
        shapes[lacks, at] = shapes[rng.choice(has, len(lacks)), at]


def _clustered(p: np.ndarray, mass: np.ndarray, event: np.ndarray, n: int, roles: Roles) -> np.ndarray:
    """The jet of each particle, (n_items,) by its place among the JETS, -1 where it is in none."""
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
        place = roles(jets, slice(start, stop))
        size = ak.to_numpy(ak.flatten(ak.num(members, axis=2)))
        row = np.repeat(np.arange(start, stop), ak.to_numpy(ak.num(members)))
        at = first[np.repeat(row, size)] + ak.to_numpy(ak.flatten(members, axis=None))
        jet[at] = np.repeat(place, size)
    return jet


def _matched(jets: Any, frame: Frame, rows: slice, most: int = 8) -> np.ndarray:
    """The role of each jet: 0 and 1 the pair of jets nearest to the partons in direction and pt, 2 and 3 the hardest
    others above LEAST_PT."""
    import awkward as ak

    counts = ak.to_numpy(ak.num(jets))
    padded = [ak.to_numpy(ak.fill_none(ak.pad_none(jets[c], most, clip=True), 0.0)) for c in ("px", "py", "pz", "E")]
    axis = _pt_y_phi(np.stack(padded, -1))
    valid = np.arange(most) < counts[:, None]
    cost = []
    for parton, phi in ((0, 0.0), (1, np.pi)):
        apart = (axis[..., 1] - frame.y[rows, parton, None]) ** 2 + _wrapped(axis[..., 2] - phi) ** 2
        softer = np.log(np.maximum(axis[..., 0], 1e-3) / frame.pt[rows, None]) ** 2
        cost.append(np.where(valid, apart + softer, 1e6))
    both = cost[0][:, :, None] + cost[1][:, None, :] + 1e7 * np.eye(most)
    best = both.reshape(len(both), -1).argmin(1)
    role = np.full((len(counts), most), -1)
    n = np.arange(len(counts))
    role[n, best // most], role[n, best % most] = 0, 1
    other = (role < 0) & valid & (axis[..., 0] > LEAST_PT)
    rank = 2 + np.cumsum(other, 1) - 1
    role = np.where(other & (rank < JETS), rank, role)
    flat_rank = np.arange(counts.sum()) - np.repeat(np.cumsum(counts) - counts, counts)
    row = np.repeat(n, counts)
    return np.where(flat_rank < most, role[row, np.minimum(flat_rank, most - 1)], -1)


def _hardest(jets: Any) -> np.ndarray:
    """The role of each jet, flat: its rank."""
    import awkward as ak

    rank = ak.to_numpy(ak.flatten(ak.local_index(jets.px)))
    return np.where(rank < JETS, rank, -1)


def _local(p: np.ndarray, mass: np.ndarray, axis: np.ndarray) -> np.ndarray:
    """Momenta (n, 3) relative to their jet's pt, y, phi (n, 3): along the beam, across, along the jet, after the
    boost."""
    cos, sin = np.cos(axis[:, 2]), np.sin(axis[:, 2])
    e = np.sqrt((p**2).sum(1) + mass**2)
    along = p[:, 2] * np.cosh(axis[:, 1]) - e * np.sinh(axis[:, 1])
    return np.column_stack([along, p[:, 1] * cos - p[:, 0] * sin, np.maximum(p[:, 0] * cos + p[:, 1] * sin, 1e-3)])


def _rest_coordinates(p: np.ndarray, mass: np.ndarray) -> np.ndarray:
    """Rapidity away from the middle and stretched transverse momentum: (n_items, 3)."""
    pt = np.hypot(p[:, 0], p[:, 1])
    y = np.arcsinh(np.abs(p[:, 2]) / np.maximum(np.sqrt(pt**2 + mass**2), 1e-6))
    return np.column_stack([y, p[:, :2] / np.maximum(pt, 1e-12)[:, None] * np.log1p(pt / PT_SCALE)[:, None]])
