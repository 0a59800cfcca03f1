"""The figures inside a self-contained HTML report, as files of their own, so that a tracking server shows each."""

import base64
import binascii
import hashlib
import re
import uuid
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path

from gen2reco.track.regular import NotTaken, read

_DATA_URI = re.compile(r"data:image/(?P<kind>png|svg\+xml);base64,(?P<content>[A-Za-z0-9+/=\s]+)")
_SUFFIX = {"png": ".png", "svg+xml": ".svg"}
MOST = 200


class _Images(HTMLParser):
    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        if tag == "img" and (given.get("src") or "").startswith("data:image/"):
            self.found.append((given.get("alt") or "", given["src"] or ""))


def extract(report: Path, folder: Path) -> Iterator[Path]:
    """Write the figures of a report below `folder`, addressed by content and named by their `alt` text."""
    parser = _Images()
    parser.feed(report.read_text(encoding="utf-8", errors="replace"))
    for number, (title, uri) in enumerate(parser.found[:MOST], start=1):
        match = _DATA_URI.fullmatch(uri)
        if match is None:
            continue
        try:
            content = base64.b64decode(match["content"])
        except binascii.Error:
            continue
        words = re.sub(r"[^a-z0-9]+", "_", title.lower()).strip("_")[:60] or "figure"
        path = folder / hashlib.sha256(content).hexdigest() / f"{number:02d}_{words}{_SUFFIX[match['kind']]}"
        if not _is_written(path, folder, content):
            path.parent.mkdir(parents=True, exist_ok=True)
            temporary = path.with_name(f".{uuid.uuid4().hex}.tmp")
            temporary.write_bytes(content)
            temporary.replace(path)
        if _is_written(path, folder, content):
            yield path


def _is_written(path: Path, folder: Path, content: bytes) -> bool:
    """Whether the path is a file of that content, reached through no link."""
    try:
        return read(path, folder, len(content)) == content
    except NotTaken:
        return False
