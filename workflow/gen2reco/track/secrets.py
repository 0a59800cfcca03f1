"""Nothing secret leaves: credentials are struck out of all text that is spooled, shown, replayed or exported."""

import html
import json
import os
import re
import shlex
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import quote, quote_plus, unquote

STRUCK = "***"
_MARKUP = (".html", ".svg")
SHORTEST = 4
"""Secrets of fewer characters are not looked for in text, of which they would be part by chance."""
_SECRET_VARIABLE = re.compile(r"TOKEN|PASSWORD|PASSWD|SECRET|API_?KEY|ACCESS_?KEY", re.IGNORECASE)
_WORD = r"(?:token|passw(?:or)?d|passwd|pwd|secret|api[_-]?key|access[_-]?key|credentials?|signature)"
_SECRET_NAME = re.compile(rf"(?:^|[_.\-])(?:{_WORD})$", re.IGNORECASE)
_SCHEME = re.compile(r"[A-Za-z][A-Za-z0-9+.\-]{0,40}://")
_ADDRESS = re.compile(r"""(?<=://)[^\s"'<>]+""")
_WITH_BLANKS = re.compile(r"""(?<=://)[^\s/:@"'<>]{1,100}:(?!\d{1,5}(?![^\s/?#"'<>,;)]))[^\n@]{0,200}@(?=[\w.\[])""")
_ASSIGNED = re.compile(rf"""((?<![A-Za-z0-9])[\w.\-]{{0,40}}{_WORD}(?:=|%3D))[^\s"'<>]+""", re.IGNORECASE)
_QUOTED = re.compile(rf"""({_WORD}["']?\s{{0,9}}[:=]\s{{0,9}})(?:"[^"\n]*"|'[^'\n]*')""", re.IGNORECASE)
_PARAMETER = re.compile(rf"((?:[?&;]|^)[\w.\-]*{_WORD}(?:=|%3D)).*", re.IGNORECASE)
_SAID = re.compile(
    r"""(?i)((?:--[\w\-]{0,40}(?:token|password|passwd|secret|api-?key)\s|\b(?:token|password|passwd|pwd|secret|api_?key):\s)"""
    r"""\s{0,9})(?!["'-])[^\s"'<>]+"""
)
_QUOTED_ADDRESS = re.compile(r"""(?i)(?<=%3A%2F%2F)[^\s"'<>&]+(?=%40)""")
_HEADER = re.compile(r"(?i)\b((?:bearer|basic|authorization:\s{0,9}\w{1,20})\s+)[A-Za-z0-9+/=._~\-]{6,}")


def scrub(text: str, *known: str) -> str:
    """A text without passwords and tokens: the `known` ones, the values of secret environment variables, and whatever
    stands in it as `scheme://user:password@`, `token=…` or `Authorization: Bearer …`."""
    for secret in sorted(_forms([*known, *_of_environment()]), key=len, reverse=True):
        text = text.replace(secret, STRUCK)
    if "://" in text:
        text = _WITH_BLANKS.sub(f"{STRUCK}@", _ADDRESS.sub(lambda found: without_user(found[0]), text))
    text = _QUOTED.sub(lambda found: f'{found[1]}"{STRUCK}"', _ASSIGNED.sub(rf"\1{STRUCK}", text))
    text = _SAID.sub(rf"\1{STRUCK}", _QUOTED_ADDRESS.sub(STRUCK, text))
    return _HEADER.sub(rf"\1{STRUCK}", text)


def scrub_value(text: str, name: str = "") -> str:
    """A text that may as a whole be an address or `NAME=ADDRESS`, whose password may hold blanks, quotes or slashes;
    nothing is left of the value of something that is called a password or token, unless it is a number."""
    if _SECRET_NAME.search(name) and not re.fullmatch(r"[\d.,+\-eE]*|True|False|None", text):
        return STRUCK
    if "\n" not in text and (scheme := _SCHEME.search(text)):
        text = text[: scheme.end()] + without_user(text[scheme.end() :])
        text = _PARAMETER.sub(rf"\1{STRUCK}", text)
    return scrub(text)


def scrub_file(content: bytes, suffix: str) -> bytes:
    """The content of a text file of that suffix: the texts of JSON and the lines of plain text each for themselves."""
    text = content.decode("utf-8", "replace")
    if suffix in _MARKUP:
        return scrub(text).encode()
    if suffix == ".json":
        try:
            found = json.loads(text)
            struck = _struck(found)
            return content if struck == found else (json.dumps(struck, indent=1) + "\n").encode()
        except (ValueError, RecursionError):
            pass
    return "\n".join(map(scrub_value, text.split("\n"))).encode()


def _struck(value: Any, name: str = "") -> Any:
    """A JSON value with its texts struck; numbers stay, whatever they are called."""
    if isinstance(value, dict):
        return {scrub(key): _struck(inner, key) for key, inner in value.items()}
    if isinstance(value, list):
        return [_struck(inner, name) for inner in value]
    return scrub_value(value, name) if isinstance(value, str) else value


def shown_command(arguments: Iterable[str]) -> str:
    """A command line to print, without credentials."""
    return shlex.join(scrub_value(argument) for argument in arguments)


def without_user(rest: str) -> str:
    """What follows `scheme://`, without the user and password before its last `@`; nothing if that is in a token."""
    user, at, host = rest.rpartition("@")
    if at and _PARAMETER.search(user):
        return STRUCK
    return f"{STRUCK}@{host}" if at else rest


def _of_environment() -> Iterator[str]:
    """The values of secret variables, and the credentials in addresses such as those of proxies."""
    for name, value in os.environ.items():
        if len(value) >= 6 and _SECRET_VARIABLE.search(name):
            yield value
        if _SCHEME.match(value):
            yield from credentials(value)


def credentials(address: str) -> Iterator[str]:
    """What is secret in an address, well-formed or not: what stands before its last `@`, and its parameters."""
    user, at, rest = address.partition("://")[2].rpartition("@")
    if at:
        yield user
        yield user.partition(":")[2] or user
    for parameter in rest.partition("?")[2].split("&"):
        name, _, value = parameter.partition("=")
        if re.search(_WORD, name, re.IGNORECASE):
            yield value


def _forms(secrets: Iterable[str]) -> set[str]:
    """The spellings in which a secret may stand in a text."""
    found = set()
    for secret in secrets:
        for plain in (secret, unquote(secret)):
            found |= {plain, quote(plain), quote(plain, safe=""), quote_plus(plain), html.escape(plain)}
            found |= {json.dumps(plain)[1:-1], repr(plain)[1:-1]}
    return {form for form in found if len(form) >= SHORTEST}
