"""Finished chunks of an unfinished job, in files that are verified before they are used.

A file's name holds a digest of its bytes, and its metadata name the job and the chunk. A file that is truncated,
damaged or of another chunk or job is removed, and its chunk is made again.
"""

import hashlib
import json
import os
import shutil
import uuid
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq

from gen2reco.errors import InfrastructureError, InputError
from gen2reco.events import records
from gen2reco.files import regular_file
from gen2reco.run.stage import Chunk, Result

MAX_CHUNKS = 10**6
"""Most chunks of a shard; more is taken for a mistake."""
_KEY = "gen2reco.chunk"


class ChunkLost(Exception):
    """The file of a finished chunk is missing or damaged."""


@dataclass(frozen=True)
class ChunkFiles:
    """The chunk files of a job. `made_by`: digest of everything that decides the job's output; `record`: its record
    type."""

    folder: Path
    record: str
    made_by: str

    def write(self, chunk: Chunk, result: Result) -> None:
        """Write the result of a chunk. Raises InfrastructureError or OSError when the disk refuses."""
        text = json.dumps({**self._claims(chunk), "rows": result.table.num_rows, "info": result.info}, sort_keys=True)
        for last in (False, True):
            draft = self.folder / f".{chunk.index:05d}-{os.getpid()}-{uuid.uuid4().hex[:8]}.tmp"
            try:
                self.folder.mkdir(parents=True, exist_ok=True)
                records.write(draft, result.table, self.record, {_KEY: text})
                draft.replace(self.folder / _name(chunk, draft.read_bytes()))
                return
            except (OSError, InfrastructureError):
                if last or self.folder.is_dir():  # else another run of this job removed the folder just now
                    raise

    def missing(self, chunks: list[Chunk]) -> list[Chunk]:
        """The chunks without a valid file; files that fail the check are removed."""
        paths = self._paths()
        return [chunk for chunk in chunks if self._open(chunk, paths) is None]

    def count(self, chunks: list[Chunk]) -> int:
        """The number of chunks that have a file, valid or not."""
        paths = self._paths()
        return sum(_begin(chunk) in paths for chunk in chunks)

    def infos(self, chunks: list[Chunk]) -> list[tuple[int, dict]]:
        """(rows, facts) of each chunk. Raises ChunkLost."""
        claims = [json.loads(records.metadata(file)[_KEY]) for file in self._files(chunks)]
        return [(claim["rows"], claim["info"]) for claim in claims]

    def tables(self, chunks: list[Chunk]) -> Iterator[pa.Table]:
        """The events of each chunk. Raises ChunkLost."""
        return (file.read() for file in self._files(chunks))

    def _files(self, chunks: list[Chunk]) -> Iterator[pq.ParquetFile]:
        paths = self._paths()
        for chunk in chunks:
            file = self._open(chunk, paths)
            if file is None:
                raise ChunkLost(f"{self.folder}: chunk {chunk.index}")
            yield file

    def _paths(self) -> dict[str, list[Path]]:
        """The chunk files in the folder, by the chunk that their names begin with."""
        found: dict[str, list[Path]] = {}
        for path in sorted(self.folder.glob("[0-9]*.parquet")):
            found.setdefault(path.stem.rpartition("-")[0], []).append(path)
        return found

    def _open(self, chunk: Chunk, paths: dict[str, list[Path]]) -> pq.ParquetFile | None:
        """The valid file of a chunk; None if there is none."""
        for path in paths.get(_begin(chunk), ()):
            with suppress(OSError, InputError):
                data = regular_file(path).read_bytes()
                if path.name == _name(chunk, data) and (file := self._verified(data, chunk)):
                    return file
            _remove(path)
        return None

    def _verified(self, data: bytes, chunk: Chunk) -> pq.ParquetFile | None:
        try:
            file = pq.ParquetFile(pa.BufferReader(data))
            found = json.loads(records.metadata(file)[_KEY])
            rows, _ = found.pop("rows"), found.pop("info")
        except MemoryError:
            raise
        except (pa.ArrowException, OSError, ValueError, KeyError, TypeError, AttributeError):
            return None
        return file if found == self._claims(chunk) and rows == file.metadata.num_rows else None

    def _claims(self, chunk: Chunk) -> dict:
        return {"made_by": self.made_by, "seed": chunk.seed, "start": chunk.start, "stop": chunk.stop}


def _remove(path: Path) -> None:
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)


def _begin(chunk: Chunk) -> str:
    return f"{chunk.index:05d}-{chunk.start}-{chunk.stop}"


def _name(chunk: Chunk, data: bytes) -> str:
    return f"{_begin(chunk)}-{hashlib.sha256(data).hexdigest()[:16]}.parquet"


def too_many_chunks(events: int, chunk_events: int) -> str | None:
    """A message where the events of a file would make more than MAX_CHUNKS chunks; None otherwise."""
    if (chunks := -(-events // chunk_events)) <= MAX_CHUNKS:
        return None
    return f"{events} events in chunks of {chunk_events} are {chunks} chunks; expected at most {MAX_CHUNKS}"
