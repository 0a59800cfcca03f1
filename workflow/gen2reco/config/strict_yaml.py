"""Read YAML strictly: text that two readers would interpret differently is refused, and sizes are bounded.

Plain words are text, `true`, `false`, `null` or decimal numbers, as in YAML 1.2. A key twice in one block, numbers that
YAML 1.1 and 1.2 read differently (`0100`, `10:00`, `0o17`, `1_000`), tags and several documents are errors. Anchors,
aliases and merge keys (`<<`) are read, and their expansion is counted.
"""

import re
from collections.abc import Iterator
from typing import Any

import yaml
from yaml.events import (
    AliasEvent,
    DocumentEndEvent,
    Event,
    MappingEndEvent,
    MappingStartEvent,
    ScalarEvent,
    SequenceEndEvent,
    SequenceStartEvent,
)

MAX_BYTES, MAX_VALUES, MAX_DEPTH, MAX_KEY = 4_000_000, 200_000, 50, 200
"""Limits: bytes of a file, its values with every alias expanded, depth of nested blocks, characters of a key."""

_WORDS = {"": None, "~": None} | {
    spelling: value
    for word, value in {"null": None, "true": True, "false": False}.items()
    for spelling in (word, word.capitalize(), word.upper())
}
_INTEGER = re.compile(r"[-+]?(0|[1-9][0-9]*)")
_FLOAT = re.compile(r"[-+]?(0|[1-9][0-9]*)?(?:(?<=[0-9])\.?|\.(?=[0-9]))[0-9]*([eE][-+]?[0-9]+)?")
_DOUBTFUL = re.compile(
    r"[-+]?(0[0-9][0-9_]*(\.[0-9_]*)?([eE][-+]?[0-9]+)?|[0-9][0-9_]*_[0-9_]*(\.[0-9_]*)?([eE][-+]?[0-9]+)?|0[oO][0-7_]+|0[bB][01_]+"
    r"|0[xX][0-9a-fA-F_]+|[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?)"
)
_NOT_FINITE = re.compile(r"[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_LOADER = getattr(yaml, "CSafeLoader", yaml.SafeLoader)


class StrictYamlError(ValueError):
    """A mistake in a YAML text, with its line."""


def is_doubtful(text: str) -> bool:
    """Whether a text is no number here but a number for other readers: `0100`, `1_000`, `10:00`."""
    return bool(_DOUBTFUL.fullmatch(text.strip()))


def parse(text: str) -> Any:
    """The plain value of one YAML document: dict, list, str, int, float, bool or None. Raises StrictYamlError."""
    if len(text) > MAX_BYTES:
        raise StrictYamlError(f"{len(text)} characters, expected at most {MAX_BYTES}")
    try:
        return _Reader(yaml.parse(text, Loader=_LOADER)).document()
    except yaml.MarkedYAMLError as error:
        where = f"line {error.problem_mark.line + 1}: " if error.problem_mark else ""
        raise StrictYamlError(f"{where}not valid YAML: {error.problem or 'syntax error'}") from None
    except (yaml.YAMLError, UnicodeError) as error:
        raise StrictYamlError(f"not valid YAML: {getattr(error, 'reason', 'syntax error')}") from None


class _Reader:
    """Builds the value of a document from the parser's events; `sizes` and `anchors` are of what is complete."""

    def __init__(self, events: Iterator[Event]):
        self.events, self.depth, self.values = events, 0, 0
        self.anchors: dict[str, tuple[Any, int]] = {}

    def document(self) -> Any:
        next(self.events)  # the stream starts
        if not isinstance(next(self.events), yaml.DocumentStartEvent):
            return None
        value = self._value(next(self.events), "")
        assert isinstance(next(self.events), DocumentEndEvent)
        if isinstance(further := next(self.events), yaml.DocumentStartEvent):
            raise _error(further, "a second document begins; expected one")
        return value

    def _value(self, event: Any, key: str) -> Any:
        """The value that begins with an event; `key` names it in messages."""
        if isinstance(event, AliasEvent):
            if event.anchor not in self.anchors:
                raise _error(event, f"alias `*{event.anchor}` stands for nothing complete above it")
            value, size = self.anchors[event.anchor]
            self._count(event, size)
            return value
        if event.tag is not None:
            raise _error(event, f"tag `{event.tag[:80]}`: expected plain values without tags")
        before = self.values
        self._count(event, 1)
        if isinstance(event, ScalarEvent):
            value = _scalar(event, key)
        else:
            self.depth += 1
            if self.depth > MAX_DEPTH:
                raise _error(event, f"blocks inside one another {self.depth} deep; expected at most {MAX_DEPTH}")
            value = self._sequence(key) if isinstance(event, SequenceStartEvent) else self._mapping()
            self.depth -= 1
        if event.anchor is not None:
            self.anchors[event.anchor] = (value, self.values - before)
        return value

    def _count(self, event: Event, size: int) -> None:
        self.values += size
        if self.values > MAX_VALUES:
            raise _error(event, f"more than {MAX_VALUES} values with its aliases written out")

    def _sequence(self, key: str) -> list:
        found = []
        while not isinstance(event := next(self.events), SequenceEndEvent):
            found.append(self._value(event, key))
        return found

    def _mapping(self) -> dict:
        own, merged = {}, {}
        lines: dict[tuple, int] = {}
        while not isinstance(event := next(self.events), MappingEndEvent):
            merge = isinstance(event, ScalarEvent) and event.implicit[0] and event.value == "<<"
            key = "<<" if merge else self._key(event)
            if (key, merge) in lines:
                hint = "give it a list, `<<: [*a, *b]`" if merge else "keep one of them"
                raise _error(event, f"key `{key}` stands here and in line {lines[key, merge]} of one block; {hint}")
            lines[key, merge] = _line(event)
            value = self._value(next(self.events), str(key))
            if merge:
                merged = _merged(event, value)
            else:
                own[key] = value
        return {**merged, **own}

    def _key(self, event: Event) -> Any:
        if isinstance(event, (MappingStartEvent, SequenceStartEvent)):
            raise _error(event, "a block as a key; expected a word")
        key = self._value(event, "key")
        if isinstance(key, (list, dict)) or (isinstance(key, str) and len(key) > MAX_KEY):
            raise _error(event, f"a key of more than {MAX_KEY} characters; expected a word")
        return key


def _merged(event: Event, value: Any) -> dict:
    """What `<<` brings in: of several blocks, the first that has a key gives it."""
    blocks = value if isinstance(value, list) else [value]
    if not all(isinstance(block, dict) for block in blocks):
        raise _error(event, "`<<` merges blocks of `key: value` pairs; expected the alias of one, or a list of them")
    found: dict = {}
    for block in blocks:
        found |= {key: item for key, item in block.items() if key not in found}
    return found


def _scalar(event: ScalarEvent, key: str) -> Any:
    text = event.value
    if not event.implicit[0]:  # in quotes, or a block of text
        return text
    if text in _WORDS:
        return _WORDS[text]
    if _DOUBTFUL.fullmatch(text):
        raise _error(event, f"{_short(key, text)} is no decimal number; write it as one, or in quotes if it is text")
    number = _number(text)
    if _NOT_FINITE.fullmatch(text) or (isinstance(number, float) and abs(number) == float("inf")):
        raise _error(event, f"{_short(key, text)}: expected a finite number; write text in quotes")
    if isinstance(number, int) and abs(number) >= 2**63:
        raise _error(event, f"{_short(key, text)}: expected a whole number below 2^63; write text in quotes")
    return text if number is None else number


def _number(text: str) -> int | float | None:
    if _INTEGER.fullmatch(text):
        return int(text) if len(text) < 30 else 2**63
    return float(text) if _FLOAT.fullmatch(text) else None


def _short(key: str, text: str) -> str:
    shown = text if len(text) < 60 else f"{text[:57]}..."
    return f"`{key}` = {shown}" if key else f"`{shown}`"


def _error(event: Event, message: str) -> StrictYamlError:
    return StrictYamlError(f"line {_line(event)}: {message}")


def _line(event: Any) -> int:
    return event.start_mark.line + 1
