"""The event display: hits of one event in two projections, coloured by trackster."""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np
from numpy.typing import NDArray

from gen2reco.validate.figures.style import Board, Image, image, mplhep_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes

PALETTE = ("#1f6fd1", "#e8590c", "#2b8a3e", "#c2255c", "#7048e8", "#0c8599", "#f08c00", "#5f3dc4", "#66a80f", "#862e9c")
FREE = "#b8b8bf"


class Hits(NamedTuple):
    """Hits of one event: positions in mm, energies in GeV, trackster of each (-1: none); all (n,). And the tracksters'
    energies (m,)."""

    x: NDArray
    y: NDArray
    z: NDArray
    energy: NDArray
    trackster: NDArray
    trackster_energy: NDArray


def display(events: list[Hits], names: list[str], title: str, face: float) -> Image:
    """A row a sample: hits along the beam, and projected from the collision point to |z| = face, mm.

    The fuller endcap alone is drawn.
    """
    with mplhep_style():
        board = Board(len(events), 2, 15.6, 4.4)
        grid = np.array([[board.panel(row, column)[0] for column in (0, 1)] for row in range(len(events))])
        side = _fuller_side(events[0])
        for (left, right), hits, name in zip(grid, events, names):
            _draw(left, right, hits._replace(z=hits.z * side), side, name, face)
        _frame(grid, events, side, face)
        board.figure.suptitle(title, x=0.04, y=0.995, ha="left", fontsize=11)
        return image(board.figure, raster=True)


def _fuller_side(hits: Hits) -> float:
    return 1.0 if hits.energy[hits.z > 0].sum() >= hits.energy[hits.z < 0].sum() else -1.0


def _draw(left: "Axes", right: "Axes", hits: Hits, side: float, name: str, face: float) -> None:
    mine = hits.z > 0
    x, y, z, energy, label = (a[mine] for a in hits[:5])
    rank = np.full(len(hits.trackster_energy) + 1, -1)
    present = np.unique(label[label >= 0])
    rank[present[np.argsort(-hits.trackster_energy[present], kind="stable")]] = np.arange(len(present))
    order = np.argsort(label >= 0, kind="stable")
    x, y, z, energy, label = (a[order] for a in (x, y, z, energy, label))
    shades = np.array([PALETTE[i % len(PALETTE)] if i >= 0 else FREE for i in rank[label]] or [FREE])
    size = np.clip(60 * np.sqrt(np.maximum(energy, 0)), 3, 220)
    scale = face / np.maximum(z, 1)
    for axes, u, v in ((left, z, np.hypot(x, y)), (right, x * scale, y * scale)):
        axes.scatter(u, v, s=size, c=shades[: len(u)], alpha=0.7, lw=0)
    sign = "+" if side > 0 else "−"
    left.set_xlabel("|z| [mm]")
    left.set_ylabel("r [mm]")
    right.set_xlabel("x at the face [mm]")
    right.set_ylabel("y at the face [mm]")
    left.set_title(f"{name}: {len(x)} hits, {energy.sum():.1f} GeV, {len(present)} tracksters ({sign}z endcap)")


def _frame(grid: NDArray, events: list[Hits], side: float, face: float) -> None:
    """The same limits for all samples: where the hits in tracksters are, or all hits where there are none."""
    inside = [(h.z * side > 0) & (h.trackster >= 0) for h in events]
    if not any(mask.any() for mask in inside):
        inside = [h.z * side > 0 for h in events]
    x, y, z = (np.concatenate([getattr(h, name)[mask] for h, mask in zip(events, inside)]) for name in "xyz")
    if not len(z):
        return
    z = np.abs(z)
    spans = ((z, np.hypot(x, y)), (x / z * face, y / z * face))
    for column, (u, v) in zip(grid.T, spans):
        for axes in column:
            axes.set_xlim(*_padded(u))
            axes.set_ylim(*_padded(v))
    for axes in grid[:, 1]:
        axes.set_aspect("equal", adjustable="datalim")


def _padded(values: NDArray) -> tuple[float, float]:
    low, high = np.percentile(values, [0.5, 99.5])
    margin = max(0.08 * (high - low), 20.0)
    return low - margin, high + margin
