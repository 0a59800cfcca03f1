"""Run one stage job: fixed chunks, resumable at the chunk, merged into one file by an atomic rename, with a sidecar.

Kill it at any moment and start it again, run it twice at once, with any number of workers: the same final bytes.
"""

import json
import os
import shutil
import signal
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from types import FrameType

import pyarrow as pa

from gen2reco import __version__
from gen2reco.campaign.config import digest
from gen2reco.campaign.forks import run_forked
from gen2reco.campaign.kept import bring_back, keep
from gen2reco.campaign.progress import Progress
from gen2reco.campaign.seeds import chunk_seed
from gen2reco.campaign.sidecar import file_digest, peak_memory_mb, sidecar_path, write_sidecar
from gen2reco.campaign.stage import RECORDS, Backend, Chunk
from gen2reco.errors import Gen2recoError, InfrastructureError, InputError
from gen2reco.events import records

INFO_KEY, PROVENANCE_KEY = "gen2reco.info", "gen2reco.provenance"


class Interrupted(InfrastructureError):
    """Asked to stop (SIGTERM, SIGUSR1): finished chunks are kept, a restart goes on from them."""


@dataclass
class Job:
    """One stage of one shard. `events` numbers the events to generate; other stages take those of `source`. `keep`: the
    file can be brought back without making it again, until its sample is verified."""

    backend: Backend
    output: Path
    seed: int
    source: Path | None = None
    events: range = range(0)
    sample: str = "alone"
    shard: int = 0
    chunk_events: int | None = None
    workers: int = 1
    failed_events_allowed: float = 0.0
    keep: bool = False
    facts: dict = field(default_factory=dict)


def run(job: Job) -> dict:
    """Run a job to its valid output file and sidecar; returns the sidecar. Raises InputError, InfrastructureError."""
    started, wall = datetime.now(UTC), time.perf_counter()
    table, inherited = _read_source(job)
    job.backend.accept(inherited)
    chunks = _chunks(job, table)
    partial = _partial_folder(job)
    span = range(chunks[0].start, chunks[-1].stop) if chunks else range(0)
    if job.keep and (before := bring_back(job.output, partial, span)):
        return before
    try:
        with _stop_requested() as stopping:
            usage = _run_chunks(job, table, chunks, partial, stopping)
            while (merged := _summarise_and_merge(job, chunks, partial, inherited)) is None:
                usage = _run_chunks(job, table, chunks, partial, stopping)
    finally:
        _remove_if_empty(partial)
    summary, status = merged
    events_in = sum(chunk.stop - chunk.start for chunk in chunks)
    failed = int(summary.get("events_failed", 0))
    sidecar = {
        "status": status,
        "stage": job.backend.stage,
        "backend": job.backend.name,
        "sample": job.sample,
        "shard": job.shard,
        "events_in": events_in,
        "events_out": events_in - failed if status == "ok" else 0,
        "sha256": file_digest(job.output),
        "seed": job.seed,
        "network_evaluations": int(summary.get("network_evaluations", 0)),
        "wall_seconds": round(time.perf_counter() - wall, 3),
        "cpu_seconds": round(usage["cpu_seconds"], 3),
        "peak_memory_mb": max(usage["peak_memory_mb"], peak_memory_mb()),
        "device": job.backend.device,
        "model_digest": job.backend.model_digest,
        "started": started.isoformat(timespec="seconds"),
        **summary,
        **job.facts,
    }
    write_sidecar(job.output, sidecar)
    if job.keep and status == "ok":
        keep(job.output, partial, span)
    else:
        shutil.rmtree(partial, ignore_errors=True)
    _remove_if_empty(partial)
    return sidecar


def _remove_if_empty(partial: Path) -> None:
    """Leave no folder behind when there is no unfinished chunk in it."""
    for folder in (partial, partial.parent):
        with suppress(OSError):
            folder.rmdir()


def _read_source(job: Job) -> tuple[pa.Table | None, dict]:
    record = RECORDS[job.backend.stage][0]
    if record is None:
        return None, {}
    if Path(job.source).resolve() == Path(job.output).resolve():
        raise InputError(f"{job.output}: input and output are the same file; name another output")
    table = records.read(job.source, record)
    records.check(table, record, str(job.source))
    return table, provenance(job.source)


def provenance(path: Path | str) -> dict:
    """How a record file was made: facts by stage, as its metadata tells ({} for a file from outside)."""
    with records.open_file(path) as file:
        return json.loads(records.metadata(file).get(PROVENANCE_KEY, "{}"))


def _chunks(job: Job, table: pa.Table | None) -> list[Chunk]:
    span = job.events if table is None else range(table.num_rows)
    size = job.chunk_events or job.backend.chunk_events
    stage = job.backend.stage
    return [
        Chunk(i, chunk_seed(job.seed, job.sample, stage, job.shard, i), start, min(start + size, span.stop))
        for i, start in enumerate(range(span.start, span.stop, size))
    ]


def _identity(job: Job) -> dict:
    """What fixes the bytes of the output; also what unfinished chunks must have in common to be resumed."""
    backend = job.backend
    return {
        "backend": backend.name,
        "version": backend.version,
        "options": backend.options.model_dump(mode="json"),
        "model": backend.model_digest,
        "seed": job.seed,
        "sample": job.sample,
        "shard": job.shard,
        "chunk_events": job.chunk_events or backend.chunk_events,
    }


def _partial_folder(job: Job) -> Path:
    source = file_digest(job.source) if job.source else None
    detector = job.backend.detector.digest() if job.backend.detector else None
    key = digest([_identity(job), source, detector, records.VERSION, __version__])[:16]
    folder = job.output.parent / ".partial" / f"{job.output.name}-{key}"
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{job.output.parent}: cannot be written: {error.strerror}; choose another folder") from None
    return folder


def _chunk_path(partial: Path, chunk: Chunk) -> Path:
    return partial / f"{chunk.index:05d}-{chunk.start}-{chunk.stop}.parquet"


def _chunk_info(path: Path) -> dict:
    with records.open_file(path) as file:
        return json.loads(records.metadata(file)[INFO_KEY])


def _run_chunks(job: Job, table: pa.Table | None, chunks: list[Chunk], partial: Path, stopping: list) -> dict:
    """Make every chunk file that is not there yet; returns CPU seconds and peak memory."""
    cpu = time.process_time()
    todo = [chunk for chunk in chunks if not _chunk_path(partial, chunk).is_file()]
    usage = {"cpu_seconds": 0.0, "peak_memory_mb": 0}
    if todo:
        job.backend.prepare()

    def make(chunk: Chunk) -> None:
        events = None if table is None else table.slice(chunk.start, chunk.stop - chunk.start)
        result = job.backend.run(chunk, events)
        path = _chunk_path(partial, chunk)
        info = {INFO_KEY: json.dumps(result.info, sort_keys=True)}
        for last in (False, True):
            path.parent.mkdir(parents=True, exist_ok=True)
            try:
                return records.write(path, result.table, RECORDS[job.backend.stage][1], info)
            except InfrastructureError:
                if last or path.parent.is_dir():  # else a twin tidied up just now
                    raise

    with Progress(f"{job.backend.stage} {job.backend.name}", sum(c.stop - c.start for c in todo), "events") as progress:
        if job.backend.isolate:
            usage = run_forked(make, todo, job.workers, stopping, lambda c: progress.advance(c.stop - c.start))
        else:
            for chunk in todo:
                if stopping:
                    break
                make(chunk)
                progress.advance(chunk.stop - chunk.start)
    done = sum(_chunk_path(partial, chunk).is_file() for chunk in chunks)
    if stopping and done < len(chunks):
        raise Interrupted(
            f"{job.output}: stopped by {stopping[0]} after {done} of {len(chunks)} chunks; start it again"
        )
    usage["cpu_seconds"] += time.process_time() - cpu
    return usage


def _summarise_and_merge(job: Job, chunks: list[Chunk], partial: Path, inherited: dict) -> tuple[dict, str] | None:
    """Write the output file; returns (summary of the chunks' facts, status). None if chunks are gone: a twin of this
    job, as runs on after its node was lost, finished first and tidied up."""
    try:
        summary = job.backend.summary([_chunk_info(_chunk_path(partial, chunk)) for chunk in chunks])
        allowed = job.failed_events_allowed * sum(chunk.stop - chunk.start for chunk in chunks)
        status = "failed" if int(summary.get("events_failed", 0)) > allowed else "ok"
        _merge(job, chunks if status == "ok" else [], partial, inherited, summary)
    except InputError:
        if all(_chunk_path(partial, chunk).is_file() for chunk in chunks):
            raise
        return None
    return summary, status


def _merge(job: Job, chunks: list[Chunk], partial: Path, inherited: dict, summary: dict) -> None:
    record = RECORDS[job.backend.stage][1]
    detector = {"detector": job.backend.detector.model_dump(mode="json")} if job.backend.detector else {}
    story = {**inherited, job.backend.stage: {**_identity(job), **detector, "info": summary}}

    def tables() -> Iterator[pa.Table]:
        for chunk in chunks:
            yield records.read(_chunk_path(partial, chunk), record)

    records.write_stream(job.output, tables(), record, {PROVENANCE_KEY: json.dumps(story, sort_keys=True)})


@contextmanager
def _stop_requested() -> Iterator[list[str]]:
    """A list that receives the signal's name when the job is asked to stop."""
    asked: list[str] = []
    wanted, here = (signal.SIGTERM, signal.SIGUSR1), os.getpid()

    def ask(number: int, frame: FrameType | None) -> None:
        if os.getpid() == here:  # not a forked child, which finishes its chunk
            asked.append(signal.Signals(number).name)
            os.write(2, f"{asked[-1]}: stops after the chunk at work\n".encode())

    try:
        old = {number: signal.signal(number, ask) for number in wanted}
    except ValueError:  # not the main thread
        old = {}
    try:
        yield asked
    finally:
        for number, handler in old.items():
            signal.signal(number, handler)


def leave(code: int) -> None:
    """End the process at once: some engines crash in their own tear-down at exit."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


__all__ = ["Gen2recoError", "Interrupted", "Job", "leave", "provenance", "run", "sidecar_path"]
