"""Small Les Houches files, made as programs make them: gluons at 13 TeV or quark pairs at 91.2 GeV."""

from collections.abc import Sequence
from pathlib import Path

GLUONS = (
    "21 -1 0 0 511 512 0. 0. {e} {e} 0. 0 9\n21 -1 0 0 512 513 0. 0. -{e} {e} 0. 0 9\n"
    "21 1 1 2 511 514 {e} 0. 0. {e} 0. 0 9\n21 1 1 2 514 513 -{e} 0. 0. {e} 0. 0 9\n"
)
PROTONS = "2212 2212 6500. 6500. 0 0 247000 247000"


def event(weight: float | str = 1.0, *, process: int = 1, energy: float = 120.0, tail: str = "", tag: str = "") -> str:
    """gg → gg in its rest frame, each gluon with this energy."""
    return f"<event{tag}>\n4 {process} {weight} 91.2 0.00755 0.118\n{GLUONS.format(e=energy)}{tail}</event>\n"


def lhe(
    events: Sequence[str],
    strategy: int = 3,
    processes: Sequence[tuple[float, float, float, int]] = ((10.0, 0.1, 1.0, 1),),
    header: str = "",
    beams: str = PROTONS,
) -> str:
    """A file of these events."""
    rows = "".join(f"{xs} {err} {top} {number}\n" for xs, err, top, number in processes)
    return (
        f'<LesHouchesEvents version="3.0">\n<header>\n{header}</header>\n<init>\n{beams} {strategy} {len(processes)}\n'
        f"{rows}</init>\n{''.join(events)}</LesHouchesEvents>\n"
    )


def written(folder: Path, text: str) -> Path:
    """The text as a file in the folder."""
    path = folder / "events.lhe"
    path.write_text(text)
    return path
