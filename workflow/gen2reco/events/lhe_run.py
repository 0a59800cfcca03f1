"""The run that the header of a Les Houches event file describes: beams, processes, strategy, weights."""

from dataclasses import dataclass
from pathlib import Path

import numpy as np

from gen2reco.errors import InputError
from gen2reco.events import lhe_text


@dataclass(frozen=True)
class LheRun:
    """The `<init>` block. Cross sections in pb, energies in GeV."""

    beams: tuple[int, int]
    energies: tuple[float, float]
    pdf: tuple[int, int, int, int]
    strategy: int
    """IDWTUP."""
    processes: tuple[tuple[float, float, float, int], ...]
    """(XSECUP, XERRUP, XMAXUP, LPRUP) of each."""
    weights: tuple[tuple[str, str], ...] = ()
    """Further weights that the header announces: id, name of the group."""
    blocks: tuple[str, ...] = ()
    """Header blocks that the shower needs, tags included."""
    generators: tuple[str, ...] = ()
    version: str = "1.0"
    """1.0 or 3.0: by it Pythia8 knows where scales of particles stand."""

    @property
    def unresolved_beams(self) -> bool:
        """Whether the beams are leptons or photons, that may collide whole."""
        return all(11 <= abs(pdg) <= 16 or pdg == 22 for pdg in self.beams)


def read_run(header: str, path: Path) -> LheRun:
    """The run that a header with its <init> describes. Raises InputError."""
    header = lhe_text.without_comments(header)
    found = next((content for _, content in lhe_text.elements(header, "init")), None)
    if found is None:
        what = "has no <init> block" if "<LesHouchesEvents" in header else "is no Les Houches event file"
        raise InputError(f"{path}: {what}; expected <LesHouchesEvents>, <init>, <event> in this order")
    rows = [row for line in found.splitlines() if len(row := lhe_text.leading_numbers(line)) >= 4]
    try:
        first, count = rows[0], int(rows[0][9])
        processes = tuple((row[0], row[1], row[2], int(row[3])) for row in rows[1 : 1 + count])
        if len(processes) < count or count < 1:
            raise IndexError
        (a, b), energies, strategy = map(int, first[:2]), (first[2], first[3]), first[8]
        pdf = (int(first[4]), int(first[5]), int(first[6]), int(first[7]))
    except (IndexError, ValueError, OverflowError):
        raise InputError(
            f"{path}: <init> is incomplete; expected a line of 10 numbers, then 4 for each process"
        ) from None
    if not (np.isfinite([*energies, *sum((row[:3] for row in processes), ())]).all() and min(energies) >= 0):
        raise InputError(f"{path}: <init> holds a negative or infinite energy or cross section that is no number")
    if abs(strategy) not in (1, 2, 3, 4):
        raise InputError(f"{path}: IDWTUP = {strategy:g} in <init>, expected 1 to 4 or -1 to -4")
    return LheRun(
        (a, b),
        energies,
        pdf,
        int(strategy),
        processes,
        tuple(lhe_text.declared_weights(header)),
        lhe_text.kept_blocks(header),
        tuple(f"{tag.attributes} {content}".strip() for tag, content in lhe_text.elements(found, "generator")),
        lhe_text.version(header),
    )


def differences(first: LheRun, other: LheRun) -> str:
    """What distinguishes two runs, or an empty string."""
    names = {
        "beams": "beams",
        "energies": "beam energies",
        "pdf": "PDFs",
        "strategy": "IDWTUP",
        "processes": "processes (XSECUP, XERRUP, XMAXUP, LPRUP)",
        "generators": "<generator>",
    }
    for field_name, name in names.items():
        a, b = getattr(first, field_name), getattr(other, field_name)
        if a != b:
            return f"<init> has other {name}: {_short(b)}, before {_short(a)}"
    if first.weights != other.weights:
        return f"<initrwgt> announces other weights: {_short(other.weights)}, before {_short(first.weights)}"
    slha = [[block for block in run.blocks if block.startswith("<slha")] for run in (first, other)]
    return "" if slha[0] == slha[1] else "<slha> differs"


def _short(value: object) -> str:
    text = str(value)
    return text if len(text) <= 120 else f"{text[:120]}…"
