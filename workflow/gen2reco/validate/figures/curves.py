"""Response, resolution and rates against energy, eta and distance."""

from typing import NamedTuple

import numpy as np

from gen2reco.validate.figures.style import colour, data_uri, mplhep_style, new_figure, points
from gen2reco.validate.metrics.rates import BinnedRate
from gen2reco.validate.metrics.response import Binned, Terms

AXES = {
    "energy": ("true energy [GeV]", True),
    "abs_eta": ("|η|", False),
    "distance": ("distance to the nearest particle at the face [mm]", False),
    "pt": ("true jet pT [GeV]", True),
}


class ResponseCurve(NamedTuple):
    """One sample's response in bins of one variable, the uncalibrated one beside it, and the fitted terms."""

    sample: int
    binned: Binned
    raw: Binned | None = None
    terms: Terms | None = None


def responses(curves: dict[str, list[ResponseCurve]], names: list[str], label: str) -> str:
    """Response and resolution against each variable: a column a variable, fitted terms drawn over energy."""
    with mplhep_style():
        figure = new_figure(7.8 * len(curves), 5.6)
        grid = figure.subplots(2, len(curves), squeeze=False, sharex="col")
        for column, (over, of_samples) in enumerate(curves.items()):
            top, bottom = grid[:, column]
            for curve in of_samples:
                _one_response(top, bottom, curve, names[curve.sample])
            top.axhline(1, color="#999999", lw=0.8, ls=":")
            top.set_ylabel(f"response ⟨{label}⟩")
            bottom.set_ylabel("resolution σ$_{eff}$ / mean")
            bottom.set_ylim(0)
            axis, log = AXES[over]
            bottom.set_xlabel(axis)
            if log:
                bottom.set_xscale("log")
        grid[0, 0].legend(ncols=2)
        grid[1, 0].legend(fontsize=8.5)
        return data_uri(figure)


def _one_response(top, bottom, curve: ResponseCurve, name: str) -> None:
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


def rates(table: list[tuple[str, dict[str, list[tuple[int, BinnedRate]]]]], names: list[str]) -> str:
    """Rates (label, curves by variable): a row a variable, a column a rate."""
    variables = list(dict.fromkeys(over for _, curves in table for over in curves))
    with mplhep_style():
        figure = new_figure(15.6, 2.75 * len(variables) + 0.35)
        grid = figure.subplots(len(variables), max(len(table), 4), squeeze=False)
        for axes in grid[:, len(table) :].ravel():
            axes.set_visible(False)
        for column, (label, curves) in enumerate(table):
            for row, over in enumerate(variables):
                axes = grid[row, column]
                if over not in curves:
                    axes.set_visible(False)
                    continue
                for sample, binned in curves[over]:
                    points(axes, sample, binned.x, binned.value, np.stack([binned.down, binned.up]), names[sample])
                _scale(axes, [binned for _, binned in curves[over]])
                axes.set_title(label)
                axes.set_xlabel(AXES[over][0])
                if AXES[over][1]:
                    axes.set_xscale("log")
        grid[0, 0].legend()
        return data_uri(figure)


def _scale(axes, all_binned: list[BinnedRate]) -> None:
    """From 0 for small rates, to 1 for large ones, never a magnified nothing."""
    values = np.concatenate([b.value for b in all_binned])
    low, high = np.nanmin(values, initial=1.0), np.nanmax(values, initial=0.0)
    if low > 0.5:
        axes.set_ylim(min(low - 0.1, 0.88), 1.015)
    else:
        axes.set_ylim(-0.003 if high < 0.1 else -0.01, max(1.25 * high, 0.05) if high < 0.75 else 1.02)
