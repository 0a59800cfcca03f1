"""Confusion tables and reliability of identities."""

from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gen2reco.events.schemas import IDENTITIES
from gen2reco.statistics.binomial import BinnedRate
from gen2reco.validate.figures.style import Board, Image, colour, image, mplhep_style, points

if TYPE_CHECKING:
    from matplotlib.axes import Axes

ACROSS = 3
_SHORT = {"photon": "γ", "electron": "e", "muon": "μ", "charged_hadron": "h±", "neutral_hadron": "h⁰"}


def draw(tables: dict[int, NDArray], curves: dict[int, BinnedRate], names: list[str | None]) -> Image:
    """A panel for each sample's confusion table, by index, and one for the reliability of all."""
    with mplhep_style():
        number = len(tables) + 1
        board = Board(-(-number // ACROSS), min(number, ACROSS), 15.6, 3.6, across=ACROSS)
        panels = [board.panel(i // ACROSS, i % ACROSS)[0] for i in range(number)]
        for axes, (sample, table) in zip(panels, tables.items()):
            _confusion(axes, table, sample)
            axes.set_title(names[sample])
        _reliability(panels[-1], curves, names)
        return image(board.figure)


def _confusion(axes: "Axes", table: NDArray, sample: int) -> None:
    from matplotlib.colors import LinearSegmentedColormap

    kinds = np.flatnonzero(np.isfinite(table).any(axis=1))
    shown = table[kinds]
    shade = LinearSegmentedColormap.from_list("share", ["#ffffff", colour(sample)])
    axes.imshow(shown, cmap=shade, vmin=0, vmax=1.3, aspect="auto")
    for (row, column), share in np.ndenumerate(shown):
        text = "·" if share == 0 else f"{100 * share:.1f}" if share < 0.995 else f"{100 * share:.0f}"
        axes.text(column, row, text, ha="center", va="center", fontsize=9.5, color="white" if share > 0.6 else "black")
    short = [_SHORT[kind] for kind in IDENTITIES]
    axes.set_xticks(range(len(short) + 1), [*short, "none"])
    axes.set_yticks(range(len(kinds)), [short[kind] for kind in kinds])
    axes.tick_params(length=0, which="both")
    axes.set_xlabel("identity found")
    axes.set_ylabel("true kind")


def _reliability(axes: "Axes", curves: dict[int, BinnedRate], names: list[str | None]) -> None:
    axes.plot([0, 1], [0, 1], color="#999999", lw=0.9, ls=":")
    for sample, curve in curves.items():
        spread = np.stack([curve.down, curve.up])
        points(axes, sample, curve.x, curve.value, spread, names[sample])
    axes.set_xlim(0.2, 1.04)
    axes.set_ylim(0, 1.05)
    axes.set_xlabel("probability of the identity found")
    axes.set_ylabel("frequency of right identities")
    axes.legend(loc="upper left")
