"""Colours, fonts, the layout of panels, and the way from a matplotlib figure to the bytes of a picture."""

import base64
import io
import re
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

REFERENCE = "#3f3f46"
CANDIDATES = ("#c8102e", "#1f6fd1", "#12846a", "#d97706", "#7c3aed", "#0e7490", "#a21caf", "#65a30d")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")
_FONT = "TeX Gyre Heros"
_FONTS = "'Helvetica Neue', Helvetica, Arial, 'Liberation Sans', sans-serif"
"""mplhep's font lays the figure out; a reader without it gets one as wide."""
_OVERRIDES = {
    "font.size": 10.5,
    "font.family": [_FONT, "DejaVu Sans"],
    "axes.labelsize": 10.5,
    "axes.titlesize": 10.5,
    "axes.titlelocation": "left",
    "axes.linewidth": 0.9,
    "axes.unicode_minus": True,
    "axes.formatter.limits": (-3, 4),
    "xtick.labelsize": 9,
    "ytick.labelsize": 9,
    "xtick.major.size": 5,
    "ytick.major.size": 5,
    "xtick.minor.size": 2.5,
    "ytick.minor.size": 2.5,
    "xtick.major.width": 0.8,
    "ytick.major.width": 0.8,
    "xaxis.labellocation": "right",
    "yaxis.labellocation": "top",
    "legend.fontsize": 9.5,
    "legend.frameon": False,
    "lines.linewidth": 1.4,
    "lines.markersize": 4.5,
    "errorbar.capsize": 0,
    "figure.constrained_layout.use": False,
    "xtick.minor.visible": False,
    "ytick.minor.visible": False,
    "svg.fonttype": "none",
    "svg.hashsalt": "gen2reco",
    "savefig.bbox": None,
    "mathtext.default": "regular",
}


@contextmanager
def mplhep_style() -> Iterator[None]:
    """ROOT style of mplhep, at the size of a report panel; no window system is touched."""
    import matplotlib

    matplotlib.use("Agg")
    import matplotlib.pyplot as plt
    import mplhep

    with plt.style.context([mplhep.style.ROOT, _OVERRIDES]):
        yield


def colour(index: int) -> str:
    """Colour of the sample: the reference is 0."""
    return REFERENCE if index == 0 else CANDIDATES[(index - 1) % len(CANDIDATES)]


def marker(index: int) -> str:
    """Marker of the sample."""
    return MARKERS[index % len(MARKERS)]


def log_axis(axes: "Axes", below: "Axes | None" = None) -> None:
    """A logarithmic x axis labelled with plain numbers: 1, 2, 5, 10 over less than two decades."""
    from matplotlib.ticker import FuncFormatter, LogLocator, NullLocator

    axes.set_xscale("log")
    low, high = axes.get_xlim()
    narrow = high / low < 300
    for own in (axes, below):
        if own is not None:
            own.xaxis.set_major_locator(LogLocator(subs=(1.0, 2.0, 5.0) if narrow else (1.0,)))
            own.xaxis.set_minor_locator(NullLocator())
            own.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))


class Board:
    """A figure laid out by hand, in inches: panels of one size in rows and columns, an optional ratio panel below each.

    matplotlib's own layout engines draw everything twice to find the same places.
    """

    LEFT, BOTTOM, GAP_X, GAP_Y, TOP = 0.62, 0.52, 0.68, 0.72, 0.55

    def __init__(self, rows: int, columns: int, width: float, height: float, ratio: float = 0.0, across: int = 0):
        from matplotlib.figure import Figure

        self.rows, self.columns, self.height, self.ratio = rows, columns, height, ratio
        self.width = (width - self.LEFT - 0.12 - self.GAP_X * ((across or columns) - 1)) / (across or columns)
        self.size = (width, self.TOP + rows * height + (rows - 1) * self.GAP_Y + self.BOTTOM)
        self.figure = Figure(figsize=self.size)

    def panel(self, row: int, column: int) -> "tuple[Axes, Axes | None]":
        """The main axes of a panel and its ratio axes, None without."""
        x = self.LEFT + column * (self.width + self.GAP_X)
        y = self.size[1] - self.TOP - self.height - row * (self.height + self.GAP_Y)
        low = self.height * self.ratio
        main = self._axes(x, y + low, self.height - low)
        main.locator_params(nbins=5)
        if not self.ratio:
            return main, None
        below = self._axes(x, y, low * 0.93, sharex=main)
        main.tick_params(labelbottom=False)
        return main, below

    def two_panels(self, row: int, column: int) -> "tuple[Axes, Axes]":
        """The main axes of a panel and its ratio axes, on a board that has them."""
        main, below = self.panel(row, column)
        assert below is not None
        return main, below

    def _axes(self, x: float, y: float, height: float, **more: Any) -> "Axes":
        width, full = self.size
        return self.figure.add_axes((x / width, y / full, self.width / width, height / full), **more)

    def legend(self, handles: list) -> None:
        """One legend above all panels."""
        self.figure.legend(handles=handles, loc="upper left", ncols=6, bbox_to_anchor=(0.03, 1.0), borderaxespad=0.2)


class Image(NamedTuple):
    """A picture as a file holds it, and the suffix of its name: `svg` or `png`."""

    content: bytes
    suffix: str

    @property
    def uri(self) -> str:
        """The picture as a data URI."""
        kind = {"svg": "svg+xml", "png": "png"}[self.suffix]
        return f"data:image/{kind};base64," + base64.b64encode(self.content).decode()


def image(figure: "Figure", *, raster: bool = False) -> Image:
    """The figure as SVG, or as PNG where it holds many marks."""
    buffer = io.BytesIO()
    if raster:
        figure.savefig(buffer, format="png", dpi=150)
        return Image(buffer.getvalue(), "png")
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    text = buffer.getvalue().replace(f"'{_FONT}', 'DejaVu Sans'".encode(), _FONTS.encode())
    text = re.sub(rb"(\d\.\d\d)\d{4}(?=\D)", rb"\1", text)  # of coordinates, which have six decimals, two are enough
    return Image(text, "svg")


def points(axes: "Axes", index: int, x: NDArray, y: NDArray, error: NDArray, label: str | None, **more: Any) -> None:
    """Points with error bars in the colour and marker of a sample, shifted so that samples do not hide each other."""
    good = np.isfinite(x) & np.isfinite(y)
    error = np.asarray(error)[..., good]
    x = x * (1 + 0.012 * index)
    settings = {"fmt": marker(index), "color": colour(index), "label": label, "elinewidth": 1.1, **more}
    axes.errorbar(x[good], y[good], error, **settings)
