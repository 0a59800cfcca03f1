"""Resources in Snakemake's profiles: mappings or lists of numbers, sizes, times and expressions."""

import math
import os
from collections.abc import Mapping
from typing import Any

from gen2reco.batch.expressions import evaluate
from gen2reco.errors import InputError


def pairs(given: Any, where: str) -> dict[str, Any]:
    """Read `{name: value}`, `[name=value]`, or a single `name=value`. Raises InputError for any other form."""
    if given is None or isinstance(given, dict):
        return {str(name): value for name, value in (given or {}).items()}
    entries = given if isinstance(given, list) else [given]
    for entry in entries:
        if not (isinstance(entry, str) and "=" in entry):
            raise InputError(f"{where}: {str(entry)[:80]!r}: expected `name: value` pairs or a list of `name=value`")
    return dict(entry.split("=", 1) for entry in entries)


def pairs_of_rules(given: Any, where: str) -> dict[str, dict[str, Any]]:
    """Read `{rule: {name: value}}` or `[rule:name=value]`. Raises InputError for any other form."""
    if isinstance(given, dict):
        return {str(rule): pairs(one, f"{where}: {rule}") for rule, one in given.items()}
    found: dict[str, dict[str, Any]] = {}
    for entry, value in pairs(given, where).items():
        rule, colon, name = entry.partition(":")
        if not colon:
            raise InputError(f"{where}: {entry[:80]!r}: expected `rule:name=value`")
        found.setdefault(rule, {})[name] = value
    return found


def first_attempt(given: Mapping[str, Any], threads: Any) -> dict[str, Any]:
    """Resources as Snakemake evaluates them for the first attempt: `mem` as `mem_mb`, `runtime` in minutes. Expressions
    that need a running job stay as they are written."""
    threads = _value("threads", threads, {"attempt": 1})
    names = {"attempt": 1, "threads": threads if isinstance(threads, int) else 1}
    found: dict[str, Any] = {"threads": threads}
    for name, written in given.items():
        value = _value(name, written, names)
        if name == "mem_mib" and isinstance(value, int):
            value = math.ceil(value * 1.048576)
        if value is not None:
            found["mem_mb" if name in ("mem", "mem_mib") else name] = value
    return found


def _value(name: str, written: Any, names: Mapping[str, int]) -> Any:
    value = written
    if isinstance(written, str):
        written = os.path.expandvars(written)
        found = evaluate(written, names)
        value = written if found is None else found
    if isinstance(value, str) and name in ("mem", "runtime"):
        return _in_units(name, value.strip("'\""))
    return round(value) if isinstance(value, float) else value


def _in_units(name: str, text: str) -> int | str:
    """A size such as `8GB` in MB, a time such as `2h` in minutes, rounded as Snakemake rounds."""
    import humanfriendly

    try:
        if name == "mem":
            return max(math.ceil(humanfriendly.parse_size(text) / 1e6), 1)
        return max(int(round(humanfriendly.parse_timespan(text)) / 60), 1)
    except (humanfriendly.InvalidSize, humanfriendly.InvalidTimespan):
        return text
