"""The event display: hits of one event in two projections, coloured by trackster."""

from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

from gen2reco.validate.figures.style import data_uri, mplhep_style, new_figure

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


def display(events: list[Hits], names: list[str], title: str) -> str:
    """A row a sample: hits along the beam, and across it as seen from the collision point; the fuller endcap alone."""
    with mplhep_style():
        figure = new_figure(15.6, 4.6 * len(events))
        grid = figure.subplots(len(events), 2, squeeze=False, width_ratios=(1.5, 1))
        side = _fuller_side(events[0])
        for (left, right), hits, name in zip(grid, events, names):
            _draw(left, right, hits._replace(z=hits.z * side), side, name)
        _same_limits(grid)
        figure.suptitle(title, x=0.01, ha="left", fontsize=11)
        return data_uri(figure, raster=True)


def _fuller_side(hits: Hits) -> float:
    return 1.0 if hits.energy[hits.z > 0].sum() >= hits.energy[hits.z < 0].sum() else -1.0


def _draw(left, right, hits: Hits, side: float, name: str) -> None:
    mine = hits.z > 0
    x, y, z, energy, label = (a[mine] for a in hits[:5])
    rank = np.full(len(hits.trackster_energy) + 1, -1)
    present = np.unique(label[label >= 0])
    rank[present[np.argsort(-hits.trackster_energy[present], kind="stable")]] = np.arange(len(present))
    order = np.argsort(label >= 0, kind="stable")
    x, y, z, energy, label = (a[order] for a in (x, y, z, energy, label))
    shades = np.array([PALETTE[i % len(PALETTE)] if i >= 0 else FREE for i in rank[label]] or [FREE])
    size = np.clip(18 * np.sqrt(np.maximum(energy, 0)), 1.2, 90)
    for axes, u, v in ((left, z, np.hypot(x, y)), (right, x / np.maximum(z, 1) * 3200, y / np.maximum(z, 1) * 3200)):
        axes.scatter(u, v, s=size, c=shades[: len(u)], alpha=0.7, lw=0)
    sign = "+" if side > 0 else "−"
    left.set_xlabel("|z| [mm]")
    left.set_ylabel("r [mm]")
    right.set_xlabel("x at the face [mm]")
    right.set_ylabel("y at the face [mm]")
    left.set_title(f"{name}: {len(x)} hits, {energy.sum():.1f} GeV, {len(present)} tracksters ({sign}z endcap)")


def _same_limits(grid) -> None:
    for column in grid.T:
        for which in ("x", "y"):
            limits = np.array([getattr(axes, f"get_{which}lim")() for axes in column])
            for axes in column:
                getattr(axes, f"set_{which}lim")(limits[:, 0].min(), limits[:, 1].max())
