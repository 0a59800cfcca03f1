"""The text of Les Houches event files, read by tag and line in one pass: time grows with the length, whatever it holds.

MadGraph, POWHEG, Sherpa, Whizard and others disagree on number format, beam lines, order, weights and on what is
XML at all (run cards and comments often are none), so no XML parser would do.
"""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

KEPT_BLOCKS = ("slha", "MGRunCard", "MGParamCMS", "MG5ProcCard", "MGGenerationInfo")  # what Pythia8 reads of a header
LONGEST_WORD = 64  # characters of a number
MOST_PARTICLES = 10_000
_LIFETIME_AND_SPIN = [0.0, 9.0]  # where a line leaves them out
_ATTRIBUTES = r"((?:[^<>\"']|\"[^\"<]*+\"|'[^'<]*+'|[\"'])*+)"
_ATTRIBUTE = re.compile(r"(?<![\w.:-])([\w.:-]++)\s*+=\s*+(?:\"([^\"]*+)\"|'([^']*+)'|([^\s\"'>]++))")
_UNSAFE = re.compile(r"[<>&'\"\s]+")
_FORTRAN = re.compile(r"([+-]?[\d.]+)(?:[dDqQ]([+-]?\d+)|([+-]\d+))")
_POWHEG = re.compile(r"#new weight\S*+\s++(\S++)")
_SHOWER_LINES = {"#pdf": (7, 7), "#scaleShowers": (2, 2), "#": (1, 1000)}


@dataclass(frozen=True)
class Tag:
    """A tag and its place in the text; `closing` is that of `</name>`, `empty` that of `<name/>`."""

    name: str
    attributes: str
    closing: bool
    start: int
    end: int

    @property
    def empty(self) -> bool:
        """Whether the element ends with the tag itself."""
        return self.attributes.endswith("/")

    def attribute(self, name: str) -> str | None:
        """The value of an attribute, blanks around it dropped."""
        return attribute(self.attributes, name)


@dataclass(frozen=True)
class EventText:
    """An event as it stands: the numbers of its first line and of its particles' lines, weights by id, in order of
    their place, as POWHEG's comments, and the lines that a shower reads."""

    head: list[float]
    rows: list[list[float]]
    attributes: str
    named: list[tuple[str, float]] = field(default_factory=list)
    listed: list[float] = field(default_factory=list)
    commented: list[float] = field(default_factory=list)
    scales: str = ""


def attribute(text: str, name: str) -> str | None:
    """The value of an attribute among those of a tag, blanks around it dropped."""
    for match in _ATTRIBUTE.finditer(text):
        if match[1] == name:
            return _value(match).strip()
    return None


def clean_attributes(text: str) -> str:
    """The attributes of a tag in one notation, without characters that mean something to XML."""
    values = ((match[1], _value(match)) for match in _ATTRIBUTE.finditer(text))
    return "".join(f' {name}="{_UNSAFE.sub(" ", value)}"' for name, value in values)


def _value(match: re.Match[str]) -> str:
    return next(value for value in match.groups()[1:] if value is not None)


def tags(text: str, *names: str) -> Iterator[Tag]:
    """The tags of these names."""
    for match in re.finditer(rf"<(/?)({'|'.join(names)})(?=[\s/>]){_ATTRIBUTES}>", text):
        yield Tag(match[2], match[3], bool(match[1]), match.start(), match.end())


def elements(text: str, *names: str) -> Iterator[tuple[Tag, str]]:
    """The closed elements of these names with what they hold; within one, further ones of its name do not count."""
    opened: dict[str, Tag] = {}
    for tag in tags(text, *names):
        if tag.closing and tag.name in opened:
            first = opened.pop(tag.name)
            yield first, text[first.end : tag.start]
        elif not tag.closing and not tag.empty:
            opened.setdefault(tag.name, tag)


def without_comments(text: str) -> str:
    """The text without `<!-- … -->`; one that is never closed stays."""
    kept, at = [], 0
    while (start := text.find("<!--", at)) >= 0 and (end := text.find("-->", start + 4)) >= 0:
        kept.append(text[at:start])
        at = end + 3
    return "".join(kept) + text[at:]


def kept_blocks(header: str) -> tuple[str, ...]:
    """The blocks of a header that the shower reads, tags included, without CDATA marks; the first of each name."""
    found: dict[str, str] = {}
    for tag, content in elements(header, *KEPT_BLOCKS):
        plain = content.replace("<![CDATA[", "").replace("]]>", "")
        found.setdefault(tag.name, f"<{tag.name}>{plain.replace('<', ' ').replace('>', ' ')}</{tag.name}>")
    return tuple(found[name] for name in KEPT_BLOCKS if name in found)


def declared_weights(header: str) -> list[tuple[str, str]]:
    """The weights that a header announces, in its order: (id, name of the group). An id that is missing is the place.

    <weight> in <initrwgt> (arXiv:1405.1067), or <weightinfo> of version 2 (arXiv:1003.1643).
    """
    found: list[tuple[str, str]] = []
    within, group = False, ""
    for tag in tags(header, "initrwgt", "weightgroup", "weight", "weightinfo"):
        if tag.name == "initrwgt":
            within = not tag.closing and not tag.empty
        elif tag.name == "weightgroup":
            group = "" if tag.closing else tag.attribute("name") or tag.attribute("type") or ""
        elif not tag.closing and (within or tag.name == "weightinfo"):
            name = tag.attribute("id" if tag.name == "weight" else "name")
            found.append((str(len(found)) if name is None else name, group))
    return found


def version(header: str) -> str:
    """1.0 or 3.0, what Pythia8 reads alike of the version that <LesHouchesEvents> states."""
    tag = next(tags(header, "LesHouchesEvents"), None)
    stated = tag.attribute("version") if tag else None
    return "3.0" if stated and stated[0] in "23" else "1.0"


def event_text(text: str) -> EventText:
    """An event from its opening tag on. Raises EOFError if it never ends, ValueError if it is malformed."""
    end = re.search(r"</event\s*+>", text)
    if end is None:
        raise EOFError
    attributes, _, body = text[: end.start()].removeprefix("<event").partition(">")
    lines = iter(body.splitlines())
    head = numbers(_next(lines), 6)
    if not (all(value.is_integer() for value in head[:2]) and 0 <= head[0] <= MOST_PARTICLES):
        raise ValueError
    rows = [numbers(_next(lines), 11, 13) for _ in range(int(head[0]))]
    rows = [row + _LIFETIME_AND_SPIN[len(row) - 11 :] for row in rows]
    tail = list(lines)
    named, listed, element = _weights_and_scales("\n".join(tail))
    commented = [number(match[1]) for line in tail if (match := _POWHEG.match(line.strip()))]
    return EventText(
        head, rows, clean_attributes(attributes), named, listed, commented, "\n".join(_shower_lines(tail, element))
    )


def _next(lines: Iterator[str]) -> str:
    """The next line with something in it, without its comment. Raises ValueError when there is none."""
    for line in lines:
        if plain := line.partition("#")[0].strip():
            return plain
    raise ValueError


def _weights_and_scales(text: str) -> tuple[list[tuple[str, float]], list[float], str]:
    """The weights in <rwgt>, those in <weights>, and the element <scales>."""
    named: list[tuple[str, float]] = []
    listed: list[float] = []
    scales = ""
    for tag in tags(text, "wgt", "weights", "scales"):
        if tag.closing:
            continue
        end = text.find("<", tag.end)
        content = "" if tag.empty else text[tag.end : end if end >= 0 else None].strip()
        if tag.name == "wgt":
            named.append((tag.attribute("id") or str(len(named)), number(content)))
        elif tag.name == "weights":
            listed += map(number, content.split())
        else:
            scales = f"<scales{clean_attributes(tag.attributes)}>{' '.join(content.split())}</scales>"
    return named, listed, scales


def _shower_lines(tail: list[str], element: str) -> list[str]:
    """What of the lines after the particles changes a shower: scales of particles and of the showers, densities."""
    kept = [element] if element else []
    for line in tail:
        word, *rest = line.split() or [""]
        low, high = _SHOWER_LINES.get(word, (1, 0))
        if low <= len(rest) <= high and all(map(is_number, rest)):
            kept.append(line.strip())
    return kept


def numbers(line: str, least: int, most: int | None = None) -> list[float]:
    """The first `most` numbers of a line, at least `least`. Raises ValueError."""
    words = line.split(maxsplit=most or least)[: most or least]
    if len(words) < least:
        raise ValueError
    return [number(word) for word in words]


def leading_numbers(line: str) -> list[float]:
    """The numbers at the beginning of a line, its comment left out."""
    found = []
    for word in line.partition("#")[0].split():
        if not is_number(word):
            break
        found.append(number(word))
    return found


def number(word: str) -> float:
    """A number in C's or Fortran's notation (1.0D+00, .5d0, 1.0-100). Raises ValueError."""
    if len(word) > LONGEST_WORD or "_" in word:
        raise ValueError
    try:
        return float(word)
    except ValueError:
        if (match := _FORTRAN.fullmatch(word)) is None:
            raise
        return float(f"{match[1]}e{match[2] or match[3]}")


def is_number(word: str) -> bool:
    """Whether a word is a number."""
    try:
        number(word)
    except ValueError:
        return False
    return True
