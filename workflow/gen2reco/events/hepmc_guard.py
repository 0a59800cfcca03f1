"""What pyhepmc may be given: it crashes or runs away on some broken HepMC files, so their lines are checked first."""

import re
from pathlib import Path

from gen2reco.errors import InputError

EVENT_LINE = re.compile(rb"^E (?=[\s\d-])", re.MULTILINE)
_ANY = rb"[-+]?(?:[\d.eE+-]+|nan|inf)"
_LINES = {  # what pyhepmc, which does not survive all others, may be given
    "hepmc3": (
        re.compile(rb"P (\d+) (-?\d+) -?\d+(?: " + _ANY + rb"){5} -?\d+ *"),
        re.compile(rb"V (-\d+) -?\d+ \[((?:\d+,?)*)\](?: @(?: " + _ANY + rb"){4})? *"),
    ),
    "hepmc2": (
        re.compile(rb"P (\d+) -?\d+(?: " + _ANY + rb"){4,5} -?\d+(?: " + _ANY + rb"){2} -?\d+ (\d+)((?: -?\d+)*) *"),
        re.compile(rb"V (-\d+) -?\d+(?: " + _ANY + rb"){4} (\d+) (\d+) (\d+)((?: " + _ANY + rb")*) *"),
    ),
}


def check_lines(body: bytes, kind: str, path: Path, first: int) -> None:
    """Check the form and the references of all particle and vertex lines. Raises InputError naming event and line."""
    starts = [match.start() for match in EVENT_LINE.finditer(body)]
    for number, (start, stop) in enumerate(zip(starts, [*starts[1:], len(body)]), first):
        lines = body[start:stop].splitlines()
        problem = _references(lines) if kind == "hepmc3" else _counts(lines)
        if problem:
            raise InputError(f"{path}: event {number} (counted from 0): {problem}; remake or drop the event")


def _references(lines: list[bytes]) -> str | None:
    """What is wrong with a HepMC3 event: particles are numbered from 1, and name an earlier particle or a vertex."""
    particle, vertex = _LINES["hepmc3"]
    try:
        n_vertices, n_particles = map(int, lines[0].split()[2:4])
    except ValueError:
        return _broken(lines[0])
    if not 0 <= n_vertices <= n_particles <= len(lines):
        return _broken(lines[0])
    seen = 0
    for line in lines[1:]:
        if line.startswith(b"P"):
            match, seen = particle.fullmatch(line), seen + 1
            if not match or int(match[1]) != seen or not -n_vertices <= int(match[2]) < seen:
                return _broken(line)
        elif line.startswith(b"V"):
            match = vertex.fullmatch(line)
            if not match or int(match[1]) < -n_vertices or not match[2]:
                return _broken(line)
            if any(not 0 < int(word) <= seen for word in match[2].split(b",")):
                return _broken(line)
    return None if seen == n_particles else f"holds {seen} of its {n_particles} particles, cut off or damaged"


def _counts(lines: list[bytes]) -> str | None:
    """What is wrong with a HepMC2 event: each vertex line is followed by as many particles as it says."""
    particle, vertex = _LINES["hepmc2"]
    wanted = vertices = 0
    try:
        words = lines[0].split()
        announced, states = int(words[8]), int(words[11])
        weights = int(words[12 + states])
    except (ValueError, IndexError):
        return _broken(lines[0])
    if states < 0 or weights < 0 or len(words) != 13 + states + weights:
        return _broken(lines[0])
    for line in lines[1:]:
        if line.startswith(b"V"):
            match, vertices = vertex.fullmatch(line), vertices + 1
            if wanted or not match or len(match[5].split()) != int(match[4]):
                return _broken(line)
            wanted = int(match[2]) + int(match[3])
        elif line.startswith(b"P"):
            match = particle.fullmatch(line)
            if not wanted or not match or len(match[3].split()) != 2 * int(match[2]):
                return _broken(line)
            wanted -= 1
    return None if not wanted and vertices == announced else f"holds {vertices} of its {announced} vertices, cut off"


def _broken(line: bytes) -> str:
    return f"broken line `{line[:60].decode(errors='replace')}`"
