"""Which lines of a Pythia8 card are handed on: no setting may read or write a file or load a library."""

import difflib
import re
from collections.abc import Iterable

from gen2reco.errors import InputError

_LINE = re.compile(r"\s*([A-Za-z0-9:]+)\s*(?:=|\s)\s*(.*?)\s*$")
_PDF_SET = re.compile(r"(hi)?pdf:(pi|p|pom|p?hard|gammahard)set(b)?|(hi)?pdf:phardset(b)?")
_SAFE_WORDS = {"merging:process", "weights:prefix"}
_SAFE_VECTORS = {
    "deuteronproduction:channels",
    "deuteronproduction:parms",
    "enhancedsplittings:list",
    "uncertaintybands:list",
    "variationfrag:list",
}
_OPENS_FILES = re.compile(
    r"include|alpgen:.*|lhahdf5:.*|xmlpath|beams:(lhef.*|newlhefsameinit|frametype)|init:(plugins|reuse.*)"
    r"|.*:(reuseinit|initfile|.*reuseinit|.*initfile|.*file|meplugin)|slha:readfrom"
)
_OURS = re.compile(r"random:.*|main:.*|print:.*|next:.*|stat:.*|init:show.*|parallelism:.*")


def checked(settings: Iterable[str]) -> list[str]:
    """The settings to hand to Pythia8, without those that the plan fixes (seeds, event numbers, printing).

    Raises InputError for a line that opens a file, loads a library, or is no setting at all.
    """
    lines = []
    for line in settings:
        match = _LINE.match(line) if line.isprintable() else None
        if match is None:
            raise InputError(f"Pythia8 setting `{line[:80]}`: expected one line `Name:key = value`")
        key, value = _key(line), match[2]
        if _opens_files(key, value):
            raise InputError(
                f"Pythia8 setting `{line[:80]}` opens files or loads libraries, which a card may not; remove it "
                "(an event file is given as the process itself)"
            )
        if not _OURS.fullmatch(key):
            lines.append(line)
    return lines


def _key(line: str) -> str:
    """The setting that a line names, as Pythia8 sees it: case and repeated colons do not count."""
    return re.sub(":+", ":", _LINE.match(line)[1].lower())


def _opens_files(key: str, value: str) -> bool:
    if _PDF_SET.fullmatch(key):
        return not (value.isdigit() or value.lower() == "void")
    return _OPENS_FILES.fullmatch(key) is not None


def apply(pythia, lines: Iterable[str]) -> None:
    """Give each line to Pythia8. Raises InputError naming the line and the nearest known key."""
    settings = pythia.settings
    words = set(settings.getWordMap("")) | set(settings.getWVecMap(""))
    for line in lines:
        key = _key(line)
        safe = key not in words or key in _SAFE_WORDS | _SAFE_VECTORS or _PDF_SET.fullmatch(key)
        if safe and pythia.readString(line):
            continue
        raise InputError(f"Pythia8 setting `{line}`: {_reason(settings, key)}")


def _reason(settings, key: str) -> str:
    kinds = {
        "Flag": "on or off",
        "Mode": "a whole number in its range",
        "Parm": "a number in its range",
        "Word": "a word",
    }
    for kind, expected in kinds.items():
        if getattr(settings, f"is{kind}")(key):
            return f"value not accepted, expected {expected}"
    if key.split(":")[0].isdigit():
        return "no such particle or particle property"
    names = {k for kind in (*kinds, "FVec", "MVec", "PVec", "WVec") for k in getattr(settings, f"get{kind}Map")("")}
    near = difflib.get_close_matches(key, sorted(names), n=1, cutoff=0.0)
    return "no such setting" + (f"; did you mean `{near[0]}`?" if near else "")
