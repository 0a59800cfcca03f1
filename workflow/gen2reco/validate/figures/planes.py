"""Trade-off planes (quality against time) and quality against network evaluations."""

from typing import TYPE_CHECKING, NamedTuple

from gen2reco.validate.figures.style import Board, Image, colour, image, log_axis, marker, mplhep_style

if TYPE_CHECKING:
    from matplotlib.axes import Axes


class Point(NamedTuple):
    """Quality of one candidate for one kind of shower or object."""

    sample: int
    series: str
    seconds: float
    value: float
    error: float
    floor: float
    evaluations: float = float("nan")


def trade_off(planes: dict[str, list[Point]], reference: dict[str, float], names: list[str]) -> Image:
    """One plane a level: AUC against seconds per event; better is lower left. `reference`: its seconds by level."""
    with mplhep_style():
        board = Board(1, len(planes), 15.6, 3.9, across=2)
        for column, (level, points) in enumerate(planes.items()):
            axes, _ = board.panel(0, column)
            series = list(dict.fromkeys(p.series for p in points))
            for p in points:
                axes.errorbar(
                    p.seconds, p.value, p.error, fmt=marker(series.index(p.series)), color=colour(p.sample), ms=7
                )
            _floor(axes, points)
            axes.axvline(reference[level], color=colour(0), lw=1, ls="--")
            axes.text(reference[level], 0.98, f" {names[0]}", transform=axes.get_xaxis_transform(), rotation=90,
                      va="top", ha="right", fontsize=8.5, color=colour(0))  # fmt: skip
            every = [p.seconds for p in points] + [reference[level]]
            axes.set_xlim(min(every) / 3, max(every) * 3)
            log_axis(axes)
            axes.set_ylim(0.45, 1.0)
            axes.set_xlabel("time per event [s]")
            axes.set_ylabel("AUC, candidate against reference")
            axes.set_title(level)
            _legend(axes, points, series, names)
        return image(board.figure)


def evaluations(points: list[Point], names: list[str]) -> Image:
    """AUC and time per event against network evaluations: the price of each step."""
    with mplhep_style():
        board = Board(1, 2, 15.6, 3.7)
        left, right = board.panel(0, 0)[0], board.panel(0, 1)[0]
        series = list(dict.fromkeys(p.series for p in points))
        for name in series:
            own = sorted((p for p in points if p.series == name), key=lambda p: p.evaluations)
            x, style = [p.evaluations for p in own], {"marker": marker(series.index(name)), "ls": "-", "lw": 1}
            shade = colour(series.index(name) + 1)
            left.errorbar(x, [p.value for p in own], [p.error for p in own], color=shade, label=name, **style)
            right.plot(x, [1e3 * p.seconds for p in own], color=shade, label=name, **style)
        _floor(left, points)
        left.set_ylim(0.45, 1.0)
        left.set_ylabel("AUC against the reference")
        right.set_ylabel("time per event [ms]")
        right.set_ylim(0)
        used = sorted({p.evaluations for p in points})
        for axes in (left, right):
            axes.set_xscale("log", base=2)
            axes.set_xticks(used, [f"{value:g}" for value in used])
            axes.set_xlabel("network evaluations per shower or event")
            axes.legend()
        return image(board.figure)


def _floor(axes: "Axes", points: list[Point]) -> None:
    floors = [p.floor for p in points if p.floor == p.floor]
    if floors:
        axes.axhspan(min(floors) - 0.01, max(floors) + 0.01, color=colour(0), alpha=0.15, lw=0)
        axes.text(0.01, max(floors) + 0.012, "reference against reference", transform=axes.get_yaxis_transform(),
                  fontsize=8.5, color=colour(0))  # fmt: skip


def _legend(axes: "Axes", points: list[Point], series: list[str], names: list[str]) -> None:
    from matplotlib.lines import Line2D

    samples = sorted({p.sample for p in points})
    handles = [Line2D([], [], color=colour(i), lw=3, label=names[i]) for i in samples]
    handles += [
        Line2D([], [], color="#555555", marker=marker(i), ls="", ms=6, label=name) for i, name in enumerate(series)
    ]
    axes.legend(handles=handles, loc="upper left", fontsize=8.5)
