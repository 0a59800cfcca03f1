"""Event files of text, plain or gzipped, indexed once so that any range of events is read directly."""

import gzip
import mmap
import re
import tempfile
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from gen2reco.errors import InfrastructureError, InputError
from gen2reco.files import regular_file

MAX_EXPANSION = 200  # text events shrink 3 to 20 times; gzip can do 1000
SMALL = 256 << 20  # bytes that any file may expand to
MAX_HEADER = 64 << 20
MAX_EVENT = 256 << 20
BLOCK = 1 << 20


@dataclass(frozen=True)
class EventFile:
    """Bytes of an event file and where its events start; the header lies before the first, `end` after the last."""

    path: Path
    data: mmap.mmap
    starts: np.ndarray
    end: int

    def __len__(self) -> int:
        return len(self.starts)

    def header(self) -> bytes:
        """All that stands before the first event, at most `MAX_HEADER` bytes."""
        return self.data[: int(self.starts[0]) if len(self) else self.end]

    def check_holds(self, stop: int) -> None:
        """Raises InputError if the file holds fewer events."""
        if stop > len(self):
            raise InputError(
                f"{self.path}: exhausted: it holds {len(self)} events, but event {stop - 1} is needed "
                f"(counted from 0); take at most {len(self)} or give a larger file"
            )

    def events(self, start: int, stop: int) -> bytes:
        """The text of events [start, stop). Raises InputError if the file holds fewer."""
        self.check_holds(stop)
        last = int(self.starts[stop]) if stop < len(self) else self.end
        return self.data[int(self.starts[start]) : last]


def index_events(path: Path | str, first: re.Pattern[bytes], after: bytes = b"", footer: bytes = b"") -> EventFile:
    """Index the places where `first` matches, from `after` on and up to the last `footer`.

    A gzipped file is expanded once into an unnamed temporary file. Raises InputError for a file that is missing, no
    regular file, empty, cut off, expands without bound, or has a header or an event without bound.
    """
    path = regular_file(path)
    try:
        with path.open("rb") as file:
            data = _mapped(_expanded(path, file) if file.read(2) == b"\x1f\x8b" else file)
    except OSError as error:
        raise InputError(f"{path}: cannot be read: {error.strerror or error}") from None
    if data is None:
        raise InputError(f"{path}: empty file; expected events")
    begin = max(data.find(after), 0) if after else 0
    end = data.rfind(footer) if footer else -1
    end = end if end >= 0 else len(data)
    starts = np.fromiter((match.start() for match in first.finditer(data, begin, end)), np.int64)
    _check_sizes(path, np.diff(np.concatenate([[0], starts, [end]])))
    return EventFile(path, data, starts, end)


def _check_sizes(path: Path, sizes: np.ndarray) -> None:
    """Raises InputError for a header, the first of these sizes in bytes, or an event that is too large to be read."""
    if sizes[0] > MAX_HEADER:
        raise InputError(f"{path}: header of {sizes[0] >> 20} MiB, expected under {MAX_HEADER >> 20}")
    if sizes[1:].max(initial=0) > MAX_EVENT:
        number = int(np.argmax(sizes[1:]))
        raise InputError(
            f"{path}: event {number} (counted from 0) of {sizes[1 + number] >> 20} MiB, expected under "
            f"{MAX_EVENT >> 20}; is its end missing?"
        )


def _mapped(file: IO[bytes]) -> mmap.mmap | None:
    try:
        return mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ)
    except ValueError:  # nothing to map
        return None


def _expanded(path: Path, file: IO[bytes]) -> IO[bytes]:
    """The gzipped content in an unnamed temporary file."""
    file.seek(0)
    spool = tempfile.TemporaryFile()  # noqa: SIM115 - lives as long as its mapping
    try:
        with gzip.GzipFile(fileobj=file) as source:
            while block := source.read(BLOCK):
                size = spool.tell() + len(block)
                if size > max(SMALL, MAX_EXPANSION * file.tell()):
                    raise InputError(
                        f"{path}: expands to over {size >> 20} MiB, more than {MAX_EXPANSION} times its size; refused"
                    )
                spool.write(block)
        spool.flush()
    except EOFError:
        raise InputError(f"{path}: cut off: the gzip stream has no end; copy or make the file again") from None
    except (gzip.BadGzipFile, zlib.error) as error:
        raise InputError(f"{path}: damaged gzip stream: {error}; copy or make the file again") from None
    except OSError as error:
        raise InfrastructureError(f"{path}: cannot be expanded in {tempfile.gettempdir()}: {error}") from None
    return spool
