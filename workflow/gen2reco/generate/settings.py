"""Lines of a Pythia8 card, read by Pythia8 itself; none may read or write a file, load a library or start a subrun.

Pythia8 ignores a line that does not start with a letter or digit, so that `!` and `#` begin comments, and takes names
in any case, values after `=` or blanks, and vectors in {} over several lines
(https://pythia.org/latest-manual/SettingsScheme.html). What a line did is read back from Pythia8.
"""

import difflib
import re
from collections.abc import Iterable, Iterator
from typing import Any

import pythia8mc

from gen2reco.errors import InputError

MAX_LINES, MAX_LENGTH = 20_000, 20_000
KINDS = ("Flag", "Mode", "Parm", "Word", "FVec", "MVec", "PVec", "WVec")
_SETTING = re.compile("[A-Za-z0-9]")
_BLANK = " \n\t\v\b\r\f\a"
_PDF_SET = re.compile(r"(hi)?pdf:(pi|p|pom|p?hard|gammahard)set(b)?|(hi)?pdf:phardset(b)?")
_SAFE = re.compile(
    r"merging:process|weights:prefix|main:spareword\d|deuteronproduction:(channels|parms)|enhancedsplittings:list"
    r"|uncertaintybands:list|variationfrag:list"
)
_SWITCHES = re.compile(r"beams:(frametype|newlhefsameinit)|slha:readfrom|.*reuse.*")
_OURS = re.compile(r"(random|main|print|next|stat|parallelism):.*|init:show.*")
_YES, _NO = {"true", "1", "on", "yes", "ok"}, {"false", "0", "off", "no"}
_NUMBER = re.compile(r"[-+]?(\d+\.?\d*|\.\d+)(e[-+]?\d+)?(?![\w.,])", re.IGNORECASE)
_NUMERIC = {
    "m0",
    "mwidth",
    "mmin",
    "mmax",
    "tau0",
    "chargetype",
    "coltype",
    "spintype",
    "bratio",
    "memode",
    "rescalebr",
}
_SWITCHED = {"isresonance", "maydecay", "taucalc", "isvisible", "doforcewidth", "onmode", "addchannel", "onechannel"}


def read(pythia: "pythia8mc.Pythia", lines: Iterable[str]) -> None:
    """Give lines to a Pythia8 that is not initialised; those that the plan fixes (seeds, printing) have no effect.

    Raises InputError naming the line that opens a file, loads a library, has another subrun, is no setting of Pythia8,
    or has a value that Pythia8 would misread.
    """
    lines, settings = list(lines), pythia.settings
    if len(lines) > MAX_LINES:
        raise InputError(f"Pythia8 settings: {len(lines)} lines, expected at most {MAX_LINES}")
    paths = _paths(settings)
    before = {name: getattr(settings, kind)(name) for name, kind in paths.items()}
    for line in lines:
        _check_text(line)
        if not settings.unfinishedInput() and _SETTING.match(line.lstrip(_BLANK)):
            _check(pythia, line)
        if not pythia.readString(line):
            raise InputError(f"Pythia8 setting `{line.strip()}`: {_reason(settings, name_and_value(line)[0])}")
        for name, kind in paths.items():
            value = getattr(settings, kind)(name)
            if value != before[name] and (problem := _path_problem(name, value, before[name])):
                raise InputError(f"Pythia8 setting `{line.strip()[:80]}` {problem}")
    if settings.unfinishedInput():
        raise InputError(f"Pythia8 setting `{lines[-1][:80]}`: unclosed {{ in this or a line before")
    reset(settings, _OURS)


def name_and_value(line: str) -> tuple[str, str]:
    """The setting that a line names, in lower case, and the first word of its value, as Pythia8 takes them apart."""
    head, brace, rest = line.strip(_BLANK).partition("{")
    words = (re.sub(r"\+?=", " ", head) + brace + rest).split(maxsplit=2) or [""]
    name = words[0].lower()
    while "::" in name:  # a slip that Pythia8 mends so, whatever stands between two colons
        at = name.index(":")
        name = f"{name[:at]}:{name[at + 2 :]}"
    return name, words[1] if len(words) > 1 else ""


def reset(settings: "pythia8mc.Settings", names: re.Pattern[str]) -> None:
    """Give the settings with these names, in lower case, their default values."""
    for kind, name, _ in entries(settings):
        if names.fullmatch(name.lower()):
            getattr(settings, f"reset{kind}")(name)


def entries(settings: "pythia8mc.Settings") -> Iterator[tuple[str, str, Any]]:
    """All settings: kind (Flag, Mode, …), documented name, and Pythia8's entry with `valNow` and `valDefault`."""
    for kind in KINDS:
        for entry in getattr(settings, f"get{kind}Map")("").values():
            yield kind, entry.name, entry


def _paths(settings: "pythia8mc.Settings") -> dict[str, str]:
    """The settings through which Pythia8 opens files or loads libraries, by the method that gives their value.

    Words, and vectors of words, are paths unless known as safe, also those that a later Pythia8 brings.
    """
    return {
        name: kind.lower()
        for kind, name, _ in entries(settings)
        if _SWITCHES.fullmatch(name.lower()) or (kind in ("Word", "WVec") and not _SAFE.fullmatch(name.lower()))
    }


def _path_problem(name: str, value: Any, before: Any) -> str:
    if name == "Beams:frameType" and before == 4:
        return "is about beams, which are those of the event file; remove it"
    safe = {"Beams:frameType": (1, 2, 3), "SLHA:readFrom": (0, 1)}  # others read files
    if value in safe.get(name, ()) or (
        _PDF_SET.fullmatch(name.lower()) and (value.isdigit() or value.lower() == "void")
    ):
        return ""
    return (
        f"opens files or loads libraries (it sets {name} = {value}), which a card may not; remove it "
        "(an event file is given as the process itself)"
    )


def _check_text(line: str) -> None:
    if len(line) > MAX_LENGTH or not line.replace("\t", " ").isprintable():
        raise InputError(
            f"Pythia8 setting `{line[:80]!r}`: expected one line `Name:key = value` of printable characters, "
            f"at most {MAX_LENGTH} of them"
        )


def _check(pythia: "pythia8mc.Pythia", line: str) -> None:
    """Refuse what must not reach Pythia8: files, other subruns, and values that it would take for another."""
    name, value = name_and_value(line)
    problem = ""
    if name == "include":
        problem = "opens files, which a card may not; put the lines of that file in its place"
    elif name == "main:subrun":
        problem = "begins another subrun, of which one process has none; put the lines of each subrun in a process"
    elif name[:1].isdigit():
        problem = _particle_problem(line)
    elif pythia.settings.isFlag(name):
        problem = _flag_problem(value)
    elif pythia.settings.isMode(name) or pythia.settings.isParm(name):
        problem = _number_problem(value)
    if problem:
        raise InputError(f"Pythia8 setting `{line.strip()[:200]}` {problem}")


def _flag_problem(value: str) -> str:
    word = re.split(r"[!#]", value)[0].lower()
    if word in _YES and word != value.lower():
        return "is read as off by Pythia8; put a blank before the comment"
    known = word in _YES | _NO or value in ("", "DEFAULT", "?") or "force" in value
    return "" if known else "has a value not accepted, expected on or off"


def _number_problem(value: str) -> str:
    known = _NUMBER.match(value) or value in ("", "DEFAULT", "?") or "force" in value
    return "" if known else "has a value not accepted, expected a number"


def _particle_problem(line: str) -> str:
    """What is wrong with a line of particle data, `25:m0 = 125.`, that Pythia8 would take for 0 or off."""
    words = re.split(r"[!#]", re.sub("[:=]", " ", line))[0].split()[1:]
    if words and words[0].isdigit():  # of a decay channel
        words = words[1:]
    key, values = (words[0].lower() if words else ""), words[1:]
    if key == "doexternaldecay" and values[:1] and values[0].lower() in _YES:
        return "acts only through a program for decays, which is not installed; remove it"
    if key in _SWITCHED and (not values or values[0].lower() not in _YES | _NO | set("23")):
        return "has a value not accepted, expected on or off"
    numbers = values[:1] if key in _NUMERIC else values[2:10] if key in ("new", "all") else []
    wrong = (key in _NUMERIC and not values) or not all(_NUMBER.match(word) for word in numbers)
    return "has a value not accepted, expected a number" if wrong else ""


def _reason(settings: "pythia8mc.Settings", name: str) -> str:
    expected = {
        "Flag": "on or off",
        "Mode": "a whole number in its range",
        "Parm": "a number in its range",
        "Word": "a word",
        "MVec": "whole numbers in their range",
        "PVec": "numbers in their range",
    }
    for kind, text in expected.items():
        if getattr(settings, f"is{kind}")(name):
            return f"value not accepted, expected {text}"
    if name[:1].isdigit():
        return "no such particle or particle property"
    near = difflib.get_close_matches(name, sorted(n.lower() for _, n, _ in entries(settings)), n=1, cutoff=0.0)
    documented = {n.lower(): n for _, n, _ in entries(settings)}
    return "no such setting" + (f"; did you mean `{documented[near[0]]}`?" if near else "")
