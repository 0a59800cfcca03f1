"""Read Slurm's notations, as its manual pages define them: times, sizes, generic resources, nodes, features, options.

Each function raises ValueError for a text that it cannot read.
"""

import re
import shlex
from collections.abc import Collection, Iterator
from itertools import product
from typing import NamedTuple

MOST_HOSTS = 100_000
_UNITS = {"": 1, "K": 1024, "M": 1024**2, "G": 1024**3, "T": 1024**4, "P": 1024**5}
_NOTHING = ("", "(null)", "none", "n/a")
_SHORT = {
    **{"A": "account", "a": "array", "B": "extra-node-info", "b": "begin", "C": "constraint", "c": "cpus-per-task"},
    **{"D": "chdir", "d": "dependency", "e": "error", "F": "nodefile", "G": "gpus", "H": "hold", "i": "input"},
    **{"J": "job-name", "k": "no-kill", "L": "licenses", "M": "clusters", "m": "distribution", "N": "nodes"},
    **{"n": "ntasks", "O": "overcommit", "o": "output", "p": "partition", "Q": "quiet", "q": "qos", "S": "core-spec"},
    **{"s": "oversubscribe", "t": "time", "v": "verbose", "W": "wait", "w": "nodelist", "x": "exclude"},
}
_FLAGS = """contiguous exclusive get-user-env hold ignore-pbs nice no-kill no-requeue overcommit oversubscribe parsable
propagate quiet reboot requeue spread-job test-only use-min-nodes verbose wait"""
"""Options without a value, or whose value follows only after `=`."""


class Gres(NamedTuple):
    """A number of units of a generic resource; `type` is empty where any type will do."""

    name: str
    type: str
    count: int  # type: ignore[assignment] # hides the tuple's method of that name, which nobody calls


def minutes(text: str) -> float | None:
    """Minutes of `minutes`, `minutes:seconds`, `hours:minutes:seconds`, `days-hours[:minutes[:seconds]]`; None: no
    limit."""
    if text.upper() in ("UNLIMITED", "INFINITE", "NONE", "-1"):
        return None
    match = re.fullmatch(r"(?:(\d{1,6})-)?(\d{1,9})(?::(\d{1,9}))?(?::(\d{1,9}))?", text)
    if match is None:
        raise ValueError(f"`{text}` is no time of Slurm's")
    days, hours, minute, second = (int(part or 0) for part in match.groups())
    if match[1] is None and match[4] is None:
        return hours + minute / 60
    return days * 1440 + hours * 60 + minute + second / 60


def megabytes(text: str) -> int:
    """MB of `4000`, `4000M`, `4G`, `1T` …; a number without a unit is in MB."""
    match = re.fullmatch(r"(\d{1,15})([KMGTP]?)(?:I?B)?", text.upper())
    if match is None:
        raise ValueError(f"`{text}` is no size of Slurm's")
    return -(-int(match[1]) * _UNITS[match[2] or "M"] // _UNITS["M"])


def gres(text: str) -> list[Gres]:
    """A list of `name[[:type]:count]`, as of `--gres`, of a node, or of TRES: `gpu:a100:2(S:0-1),shard:8`,
    `gpu:1g.10gb:2`, `gpu`, `gres/gpu:a100=2`."""
    plain = re.sub(r"\([^()]*\)", "", "" if text.strip().lower() in _NOTHING else text)
    return [_gres(entry.strip()) for entry in plain.split(",") if entry.strip()]


def gpus(text: str) -> list[Gres]:
    """A list of `[type:]number`, as of `--gpus`, `--gpus-per-node` and similar options."""
    return [_gres(entry if entry.strip().startswith("gpu:") else f"gpu:{entry.strip()}") for entry in text.split(",")]


def _gres(entry: str) -> Gres:
    match = re.fullmatch(r"(?:gres[/:])?([A-Za-z][\w\-]*)(?::([^:=]+))?(?::no_consume)?(?:[:=]([^:=]+))?", entry)
    if match is None:
        raise ValueError(f"`{entry}` is no generic resource, expected NAME[[:TYPE]:COUNT]")
    name, kind, count = match[1], match[2] or "", match[3]
    kind = "" if kind == "no_consume" else kind
    if count is None and re.fullmatch(r"\d+[kKmMgGtTpP]?", kind):
        kind, count = "", kind
    if not re.fullmatch(r"(?=.*[A-Za-z])\w[\w.\-+/]*|", kind) or not re.fullmatch(
        r"\d{1,15}[kKmMgGtTpP]?", count or "1"
    ):
        raise ValueError(f"`{entry}` is no generic resource, expected NAME[[:TYPE]:COUNT]")
    number = (count or "1").rstrip("kKmMgGtTpP")
    return Gres(name, kind, int(number) * _UNITS[(count or "1")[len(number) :].upper()])


def tres(text: str) -> dict[str, str]:
    """`cpu=4,mem=2G,gres/gpu=1` → {"cpu": "4", "mem": "2G", "gres/gpu": "1"}; `gres:gpu:2` as older releases write."""
    found = {}
    for entry in filter(None, text.split(",")):
        match = re.fullmatch(r"([\w/.\-]+(?::[\w.\-]+)?)=(\w+)|(gres[:/][\w:.\-]+):(\w+)", entry.strip())
        if match is None:
            raise ValueError(f"`{entry}` is no TRES, expected NAME=COUNT")
        found[match[1] or match[3]] = match[2] or match[4]
    return found


def hosts(text: str) -> set[str]:
    """The node names of `n[01-03,7],gpu1`, `rack[1-2]n[1-4]`."""
    found: set[str] = set()
    entries = re.findall(r"(?:[^,\[\]]|\[[^\[\]]*\])+", text)
    if not entries or ",".join(entries) != text or "/" in text:  # a slash: the name of a file of nodes
        raise ValueError(f"`{text[:80]}` names no nodes")
    for entry in entries:
        parts = re.split(r"(\[[^\[\]]*\])", entry.strip())
        choices = [list(_numbers(part[1:-1])) if part.startswith("[") else [part] for part in parts]
        for names in product(*choices):
            found.add("".join(names))
            if len(found) > MOST_HOSTS:
                raise ValueError("more nodes than any cluster has")
    return found


def _numbers(text: str) -> Iterator[str]:
    for part in text.split(","):
        match = re.fullmatch(r"(\d{1,9})(?:-(\d{1,9}))?", part.strip())
        if match is None or not 0 <= int(match[2] or match[1]) - int(match[1]) <= MOST_HOSTS:
            raise ValueError(f"`[{text[:80]}]` is no range of node numbers")
        width = len(match[1])
        yield from (f"{number:0{width}d}" for number in range(int(match[1]), int(match[2] or match[1]) + 1))


def has_features(constraint: str, features: Collection[str]) -> bool:
    """Whether a node of these features satisfies a `--constraint`: names with `&`, `|`, brackets and counts of nodes.

    Raises ValueError for counts and alternatives that concern several nodes (`[a*2&b*4]`), for `&` and `|` mixed
    without brackets, and for what it cannot read.
    """
    tokens = re.findall(r"[^\s&|()\[\]]+|[&|()\[\]]", constraint)
    if "".join(tokens) != re.sub(r"\s", "", constraint) or len(tokens) > 1000:
        raise ValueError(f"`{constraint[:80]}` is no constraint")
    if re.search(r"\*\d+.*&.*\*\d+", constraint):
        raise ValueError(f"`{constraint[:80]}` asks for several nodes")
    value = _alternatives(tokens, features, depth=0)
    if tokens:
        raise ValueError(f"`{constraint[:80]}` is no constraint")
    return value


def _alternatives(tokens: list[str], features: Collection[str], depth: int) -> bool:
    """The value of `a & b …` or `a | b …`, whose tokens it takes from the list."""
    values, operators = [_term(tokens, features, depth)], set()
    while tokens and tokens[0] in "&|":
        operators.add(tokens.pop(0))
        values.append(_term(tokens, features, depth))
    if len(operators) > 1:
        raise ValueError("`&` and `|` without brackets")
    return any(values) if "|" in operators else all(values)


def _term(tokens: list[str], features: Collection[str], depth: int) -> bool:
    if not tokens or depth > 50:
        raise ValueError("no constraint")
    token = tokens.pop(0)
    if token in ("(", "["):
        value = _alternatives(tokens, features, depth + 1)
        if not tokens or tokens.pop(0) != {"(": ")", "[": "]"}[token]:
            raise ValueError("unclosed brackets")
        return value
    name = re.fullmatch(r"([\w.\-+:/@=%]+)(\*\d+)?", token)
    if name is None:
        raise ValueError(f"`{token}` is no feature")
    return name[1] in features


def options(text: str) -> list[tuple[str, str]]:
    """The options of a command line of sbatch by their long names, each with its value: `-C a --gres=gpu:1`."""
    words = shlex.split(text)
    if len(words) == 1 and " " in words[0] and text.lstrip()[0] in "'\"":  # quoted as a whole
        words = shlex.split(words[0])
    found = []
    while words:
        word = words.pop(0)
        match = re.fullmatch(r"--([a-z][a-z\-]*)(?:=(.*))?|-([A-Za-z])(.*)", word, re.DOTALL)
        if match is None:
            raise ValueError(f"`{word}` is no option of sbatch")
        name, value = match[1] or _SHORT.get(match[3], match[3]), match[2] if match[1] else match[4] or None
        if value is None and name not in _FLAGS.split():
            value = words.pop(0) if words else None
        found.append((name, value or ""))
    return found
