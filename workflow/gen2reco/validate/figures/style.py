"""Colours, fonts and the way from a matplotlib figure to a data URI."""

import base64
import io
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

if TYPE_CHECKING:
    from matplotlib.axes import Axes
    from matplotlib.figure import Figure

REFERENCE = "#3f3f46"
CANDIDATES = ("#c8102e", "#1f6fd1", "#12846a", "#d97706", "#7c3aed", "#0e7490", "#a21caf", "#65a30d")
MARKERS = ("o", "s", "^", "D", "v", "P", "X", "<", ">")
_OVERRIDES = {
    "font.size": 10.5,
    "font.sans-serif": ["TeX Gyre Heros", "Helvetica", "Arial", "DejaVu Sans"],
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
    "figure.constrained_layout.use": True,
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


def new_figure(width: float, height: float) -> "Figure":
    """A figure that pyplot does not know of, so that it is freed with its last reference."""
    from matplotlib.figure import Figure

    return Figure(figsize=(width, height), layout="constrained")


def data_uri(figure: "Figure", *, raster: bool = False) -> str:
    """The figure as SVG, or PNG where it holds many marks, in a data URI."""
    buffer = io.BytesIO()
    if raster:
        figure.savefig(buffer, format="png", dpi=150)
        return "data:image/png;base64," + base64.b64encode(buffer.getvalue()).decode()
    figure.savefig(buffer, format="svg", metadata={"Date": None, "Creator": None})
    return "data:image/svg+xml;base64," + base64.b64encode(buffer.getvalue()).decode()


def points(axes: "Axes", index: int, x: NDArray, y: NDArray, error: NDArray, label: str | None, **more) -> None:
    """Points with error bars in the colour and marker of a sample, shifted so that samples do not hide each other."""
    good = np.isfinite(x) & np.isfinite(y)
    error = np.asarray(error)[..., good]
    settings = {"fmt": marker(index), "color": colour(index), "label": label, "elinewidth": 1.1, **more}
    axes.errorbar(x[good], y[good], error, **settings)
