"""Which shower of a file each particle gets, and where it goes."""

import numpy as np
from numpy.typing import NDArray

from gen2reco.detector.digitise import Deposits
from gen2reco.detector.geometry import Geometry, encode, nearest_plane
from gen2reco.detector.propagate import AtFace, light_time
from gen2reco.errors import InputError
from gen2reco.exchange.shower_points import Showers, azimuth, rotated
from gen2reco.simulate.showers.incidence import Incidence

NEAREST = 8
"""Showers next in energy, on either side, of which the one nearest in angle too is taken."""
ANGLE = 2.0
"""What a difference in steepness counts against one in ln E."""
TOLERANCE = 2.0
"""mm: points further from all planes are those of another geometry."""


def choose(
    energy: NDArray, steepness: NDArray, held_energy: NDArray, held_steepness: NDArray, rng: np.random.Generator
) -> tuple[NDArray[np.int64], int]:
    """The shower (of m) that each of n particles of its species gets, and how often one was taken again: the nearest
    in energy and angle of those that are left, in an order by chance; when all are used, all are there again.
    """
    order = np.argsort(held_energy, kind="stable")
    log_held, lean, log_energy = np.log(held_energy[order]), held_steepness[order], np.log(energy)
    chosen, reused, left = np.empty(len(energy), np.int64), 0, _Left(len(order))
    for turn, i in enumerate(rng.permutation(len(energy))):
        if turn and turn % len(order) == 0:
            left = _Left(len(order))
        reused += turn >= len(order)
        at = left.near(int(np.searchsorted(log_held, log_energy[i])), NEAREST)
        apart = np.abs(log_held[at] - log_energy[i]) + ANGLE * np.abs(lean[at] - steepness[i])
        best = at[int(np.argmin(apart))]
        left.take(best)
        chosen[i] = order[best]
    return chosen, reused


class _Left:
    """Places 0 ... n - 1 that are not taken yet; the next one on either side is found by paths that shorten."""

    def __init__(self, n: int):
        self.n, self.up, self.down = n, list(range(n + 1)), list(range(n + 1))  # down: shifted by one

    def near(self, place: int, many: int) -> list[int]:
        """Up to so many free places on either side."""
        found, up, down = [], place, place
        for _ in range(many):
            if (up := _end(self.up, up)) >= self.n:
                break
            found.append(up)
            up += 1
        for _ in range(many):
            if (down := _end(self.down, down)) == 0:
                break
            found.append(down - 1)
            down -= 1
        return found

    def take(self, place: int) -> None:
        """Take a place."""
        self.up[place], self.down[place + 1] = place + 1, place


def _end(path: list[int], at: int) -> int:
    end = at
    while path[end] != end:
        end = path[end]
    while path[at] != end:
        path[at], at = end, path[at]
    return end


def place(
    showers: Showers, at_face: AtFace, inc: Incidence, scale: NDArray, geometry: Geometry
) -> tuple[Deposits, float]:
    """Deposits of the showers, one for each particle (n,), of `scale` (n,) times their energy, about the particles'
    axes; and the energy that falls into no cell, or later than the time window, GeV. Raises InputError for points
    between the planes."""
    owner, points = showers.owner, showers.points.astype(np.float64)
    depth, planes = points[:, 2], geometry.z - geometry.detector.front_face
    layer = nearest_plane(depth, planes)
    if len(depth) and np.abs(depth - planes[layer]).max() > TOLERANCE:
        at = int(np.argmax(np.abs(depth - planes[layer])))
        raise InputError(
            f"showers of another geometry: a point {depth[at]:.5g} mm behind the face, the nearest layer of detector "
            f"`{geometry.detector.name}` is at {planes[layer[at]]:.5g} mm; give showers of this one"
        )
    entry = inc.position[owner]
    off = rotated(showers.about_axis(), azimuth(inc.slope)[owner]) + inc.slope[owner] * depth[:, None]
    ix, iy = geometry.index((off + entry).T)
    energy = points[:, 3] * scale[owner]
    centre = (np.stack([ix, iy], axis=1) + 0.5) * geometry.detector.cell_size
    time = points[:, 4] + light_time(centre, geometry.z[layer], entry, inc.time[owner], geometry.detector.front_face)
    kept = geometry.exists(layer + 1, ix, iy) & (time <= geometry.detector.digitisation.time_window)
    side = np.sign(at_face.position[:, 2]).astype(np.int64)[owner]
    cell = encode(side, layer + 1, ix, iy)
    made = Deposits(at_face.event[owner], cell, at_face.particle[owner], energy, time)
    return made.take(kept & (energy > 0)), float(energy[~kept].sum())
