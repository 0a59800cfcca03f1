"""Response, resolution and rates against energy, eta and distance."""

from typing import TYPE_CHECKING, NamedTuple

import numpy as np

from gen2reco.statistics.binomial import BinnedRate
from gen2reco.statistics.response import Binned, Terms
from gen2reco.validate.figures.style import Board, Image, colour, image, log_axis, mplhep_style, points

if TYPE_CHECKING:
    from matplotlib.axes import Axes

AXES = {
    "energy": ("true energy [GeV]", True),
    "abs_eta": ("|η|", False),
    "distance": ("distance to the nearest particle at the face [mm]", False),
    "pt": ("true jet pT [GeV]", True),
    "parton_pt": ("pT of the hard parton [GeV]", True),
}


class ResponseCurve(NamedTuple):
    """One sample's response in bins of one variable, that before the calibration, and the fitted terms."""

    sample: int
    binned: Binned
    raw: Binned | None = None
    terms: Terms | None = None


def responses(curves: dict[str, list[ResponseCurve]], names: list[str | None], label: str) -> Image:
    """Response and resolution against each variable: a column a variable, fitted terms drawn over energy."""
    with mplhep_style():
        board = Board(1, len(curves), 15.6, 5.0, 0.5, across=2)
        for column, (over, of_samples) in enumerate(curves.items()):
            top, bottom = board.two_panels(0, column)
            for curve in of_samples:
                _one_response(top, bottom, curve, names[curve.sample])
            top.axhline(1, color="#999999", lw=0.8, ls=":")
            top.set_ylabel(f"mean {label}")
            bottom.set_ylabel("σ_eff / mean")
            bottom.set_ylim(0)
            axis, log = AXES[over]
            bottom.set_xlabel(axis)
            if log:
                log_axis(top, below=bottom)
            if column == 0:
                top.legend(ncols=2)
            if bottom.get_legend_handles_labels()[1]:
                bottom.legend(fontsize=8.5)
        return image(board.figure)


def _one_response(top: "Axes", bottom: "Axes", curve: ResponseCurve, name: str | None) -> None:
    b = curve.binned
    points(top, curve.sample, b.x, b.response, b.response_error, name)
    fitted = None if curve.terms is None else _terms_label(curve.terms)
    points(bottom, curve.sample, b.x, b.resolution, b.resolution_error, fitted)
    if curve.terms is not None:
        energy = np.geomspace(np.nanmin(b.low), np.nanmax(b.high), 100)
        bottom.plot(energy, curve.terms.at(energy), color=colour(curve.sample), lw=1.1)
    if curve.raw is not None:
        r = curve.raw
        open_style = {"mfc": "white", "alpha": 0.75, "ls": ":", "lw": 0.8}
        points(top, curve.sample, r.x, r.response, r.response_error, f"{name}, raw", **open_style)
        points(bottom, curve.sample, r.x, r.resolution, r.resolution_error, None, **open_style)


def _terms_label(terms: Terms) -> str:
    a, b, c = terms
    return (
        f"({100 * a.value:.1f}±{100 * a.uncertainty:.1f}) %/√E ⊕ ({b.value:.2f}±{b.uncertainty:.2f}) GeV/E ⊕ "
        f"({100 * c.value:.2f}±{100 * c.uncertainty:.2f}) %"
    )


def rates(table: list[tuple[str, dict[str, list[tuple[int, BinnedRate]]]]], names: list[str | None]) -> Image:
    """Rates (label, curves by variable): a row a variable, a column a rate."""
    variables = list(dict.fromkeys(over for _, curves in table for over in curves))
    with mplhep_style():
        board = Board(len(variables), max(len(table), 4), 15.6, 2.2)
        for column, (label, curves) in enumerate(table):
            for over, of_samples in curves.items():
                row = variables.index(over)
                axes, _ = board.panel(row, column)
                for sample, binned in of_samples:
                    points(axes, sample, binned.x, binned.value, np.stack([binned.down, binned.up]), names[sample])
                _scale(axes, [binned for _, binned in of_samples])
                axes.set_title(label)
                axes.set_xlabel(AXES[over][0])
                if AXES[over][1]:
                    log_axis(axes)
                if row == column == 0:
                    axes.legend()
        return image(board.figure)


def _scale(axes: "Axes", all_binned: list[BinnedRate]) -> None:
    """From 0 for small rates, to 1 for large ones, never a magnified nothing."""
    values = np.concatenate([b.value for b in all_binned])
    low, high = np.nanmin(values, initial=1.0), np.nanmax(values, initial=0.0)
    if low > 0.5:
        axes.set_ylim(min(low - 0.1, 0.88), 1.015)
    else:
        axes.set_ylim(-0.003 if high < 0.1 else -0.01, max(1.25 * high, 0.05) if high < 0.75 else 1.02)
