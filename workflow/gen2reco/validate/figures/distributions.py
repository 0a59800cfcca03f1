"""Grids of distributions and profiles of all samples, with ratio panels."""

from collections.abc import Callable, Iterable
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gen2reco.statistics.bootstrap import Units, resampled_weights
from gen2reco.statistics.distances import bin_of
from gen2reco.statistics.profiles import bin_means
from gen2reco.validate.binning import histogram_edges
from gen2reco.validate.figures.style import Board, Image, colour, image, log_axis, mplhep_style
from gen2reco.validate.observable_tables import ObservableTable
from gen2reco.validate.observables import Profile, Quantity, Trend

if TYPE_CHECKING:
    from matplotlib.axes import Axes

COLUMNS = 4
_RATIO = (0.5, 1.5)
_FEWEST_IN_BIN = 10
"""Units of a bin of a trend below which it is not drawn."""
_RESAMPLES = 50
"""Bootstrap samples behind the bands of a profile."""


def shown(quantities: Iterable[Quantity], tables: list[ObservableTable]) -> list[Quantity]:
    """Those to draw that vary in some sample."""
    return [q for q in quantities if q.drawn and _varies([t.values[q.name] for t in tables if q.name in t.values])]


def distributions(
    quantities: list[Quantity], tables: list[ObservableTable], names: list[str | None], notes: dict[str, str]
) -> Image:
    """One panel a quantity, of unit area, with the ratio to the first sample; `notes` by quantity go into the panel."""
    with mplhep_style():
        board, panels = _grid(len(quantities), ratio=len(tables) > 1)
        for quantity, (top, bottom) in zip(quantities, panels):
            units = [table.units(quantity.name) for table in tables]
            edges = histogram_edges(quantity, units)
            filled = [_histogram(u, edges) for u in units]
            _draw(top, bottom, edges, filled, names)
            _finish(top, bottom, quantity.axis, notes.get(quantity.name, ""), log_x=_log_bins(quantity, edges))
        return image(_with_legend(board, names).figure)


def profiles(
    wanted: tuple[Profile, ...],
    tables: list[ObservableTable],
    names: list[str | None],
    notes: dict[str, str],
    resamples: int = 50,
) -> Image:
    """One panel a profile: its mean over the units, with the ratio to the first sample."""
    with mplhep_style():
        board, panels = _grid(len(wanted), ratio=len(tables) > 1)
        rng = np.random.default_rng(0)
        for profile, (top, bottom) in zip(wanted, panels):
            filled = [_mean(table, table.blocks[profile.name], rng) for table in tables]
            edges = profile.edges_of(tables[0].blocks[profile.name])
            _draw(top, bottom, edges, filled, names)
            _finish(top, bottom, profile.axis, notes.get(profile.name, ""), log_x=profile.log)
            top.set_title(profile.label, fontsize=10)
            largest = max(value.max() for value, _ in filled)
            if largest > 0:
                top.set_yscale("log")
                top.set_ylim(largest * 1e-5, largest * 8)
            _zoom(edges, top, bottom, filled)
        return image(_with_legend(board, names).figure)


def trends(wanted: tuple[Trend, ...], tables: list[ObservableTable], names: list[str | None]) -> Image:
    """One panel a trend: the mean of one observable in bins of another, with the ratio to the first sample. Bins of few
    units are left empty."""
    with mplhep_style():
        board, panels = _grid(len(wanted), ratio=len(tables) > 1)
        rng = np.random.default_rng(0)
        for trend, (top, bottom) in zip(wanted, panels):
            filled = [_trend(table, trend, rng) for table in tables]
            _draw(top, bottom, trend.edges, filled, names)
            _finish(top, bottom, trend.axis, "", log_x=trend.log)
            top.set_title(trend.label, fontsize=10)
            _zoom(trend.edges, top, bottom, filled)
        return image(_with_legend(board, names).figure)


def _zoom(edges: NDArray, top: "Axes", bottom: "Axes | None", filled: list) -> None:
    """Cut empty bins at the ends of the axis."""
    content = np.flatnonzero(sum(value for value, _ in filled) > 0)
    if len(content):
        low, high = edges[content[0]], edges[content[-1] + 1]
        for axes in (top, bottom):
            if axes is not None:
                axes.set_xlim(low, high)


def _varies(columns: list[NDArray]) -> bool:
    values = np.concatenate([np.zeros(0), *columns])
    values = values[np.isfinite(values)]
    return len(values) > 0 and np.ptp(values) > 0


def _histogram(units: Units, edges: NDArray) -> tuple[NDArray, NDArray]:
    """Share of the weight in each bin, ends open, and its uncertainty."""
    if not len(units.values):
        return np.zeros(len(edges) - 1), np.zeros(len(edges) - 1)
    bins, n = bin_of(units.values, edges), len(edges) - 1
    total = units.weight.sum()
    return np.bincount(bins, units.weight, n) / total, np.sqrt(np.bincount(bins, units.weight**2, n)) / abs(total)


def _mean(
    table: ObservableTable, block: NDArray, rng: np.random.Generator, means: Callable[[NDArray], NDArray] = np.asarray
) -> tuple[NDArray, NDArray]:
    """`means` of the mean block (columns,) of the units, and its uncertainty; 0 where there are no units."""
    units = table.weighted_events
    if not len(table):
        nothing = np.zeros_like(means(block.sum(0)))
        return nothing, nothing
    drawn = means(resampled_weights(units, units.n_events, _RESAMPLES, rng) @ block)
    mean = means(units.weight @ block / units.weight.sum())
    return np.nan_to_num(mean), np.nan_to_num(drawn).std(0)


def _trend(table: ObservableTable, trend: Trend, rng: np.random.Generator) -> tuple[NDArray, NDArray]:
    block = trend.block(table)
    enough = np.split(block, 2, axis=1)[1].sum(0) >= _FEWEST_IN_BIN
    mean, error = _mean(table, block, rng, bin_means)
    return np.where(enough, mean, 0.0), np.where(enough, error, 0.0)


def _grid(number: int, *, ratio: bool) -> tuple[Board, list[tuple["Axes", "Axes | None"]]]:
    """A board of `number` panels, each with a ratio panel below it if wanted."""
    board = Board(-(-number // COLUMNS), COLUMNS, 15.6, 3.3 if ratio else 2.5, 0.27 if ratio else 0.0)
    return board, [board.panel(i // COLUMNS, i % COLUMNS) for i in range(number)]


def _draw(top: "Axes", bottom: "Axes | None", edges: NDArray, filled: list, names: list[str | None]) -> None:
    import mplhep

    reference, error = filled[0]
    top.stairs(reference, edges, fill=True, color=colour(0), alpha=0.13, lw=0)
    top.stairs(reference + error, edges, baseline=reference - error, fill=True, color=colour(0), alpha=0.25, lw=0)
    for i, (value, sigma) in enumerate(filled):
        if names[i] is None:
            continue
        mplhep.histplot(value, edges, ax=top, color=colour(i), lw=1.4, flow="none")
        if i:
            middle = (edges[1:] + edges[:-1]) / 2
            top.errorbar(middle, value, sigma, fmt="none", ecolor=colour(i), elinewidth=0.9)
    if bottom is None:
        return
    safe = np.where(reference > 0, reference, np.nan)
    band = np.nan_to_num(error / safe)
    bottom.stairs(1 + band, edges, baseline=1 - band, fill=True, color=colour(0), alpha=0.25, lw=0)
    bottom.axhline(1, color=colour(0), lw=1)
    centre, low, high = (edges[1:] + edges[:-1]) / 2, *_RATIO
    for i, (value, sigma) in enumerate(filled[1:], start=1):
        if names[i] is None:
            continue
        ratio = value / safe
        bottom.errorbar(centre, ratio, sigma / safe, fmt="o", ms=2.6, color=colour(i), elinewidth=0.9)
        for outside, edge, shape in ((ratio > high, high - 0.06, "^"), (ratio < low, low + 0.06, "v")):
            bottom.plot(centre[outside], np.full(outside.sum(), edge), shape, ms=3.5, color=colour(i), mfc="white")
    bottom.set_ylim(low, high)
    bottom.set_yticks([0.75, 1.0, 1.25])
    bottom.set_ylabel("ratio", loc="center")


def _finish(top: "Axes", bottom: "Axes | None", label: str, note: str, *, log_x: bool) -> None:
    low = bottom or top
    if log_x:
        log_axis(top, below=bottom)
    top.set_ylim(0, top.get_ylim()[1] * (1.22 if note else 1.08))
    low.set_xlabel(label)
    if note:
        top.text(0.97, 0.97, note, transform=top.transAxes, ha="right", va="top", fontsize=8.5, color="#333333")


def _log_bins(quantity: Quantity, edges: NDArray) -> bool:
    return quantity.log and edges[0] > 0 and edges[-1] / edges[0] > 5


def _with_legend(board: Board, names: list[str | None]) -> Board:
    from matplotlib.lines import Line2D

    lines = [Line2D([], [], color=colour(i), lw=2, label=name) for i, name in enumerate(names) if name is not None]
    lines[0].set_label(f"{names[0]} (reference)" if len(names) > 1 else names[0])
    board.legend(lines)
    return board
