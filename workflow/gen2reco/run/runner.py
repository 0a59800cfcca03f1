"""Run one job of a stage: make its fixed chunks, merge them into one file by an atomic rename, and write the sidecar.

The bytes of the file do not depend on the number of workers, nor on whether the job was killed and resumed or ran twice
at once.
"""

import json
import os
import shutil
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path

import pyarrow as pa

from gen2reco import __version__
from gen2reco.config.block import digest
from gen2reco.errors import Gen2recoError, InfrastructureError, InputError, classified
from gen2reco.events import records
from gen2reco.events.provenance import PROVENANCE_KEY
from gen2reco.files import check_output, file_digest
from gen2reco.run.chunks import ChunkFiles, ChunkLost, too_many_chunks
from gen2reco.run.draws import draw, linked, links
from gen2reco.run.finished import bring_back, keep, take
from gen2reco.run.forks import run_forked
from gen2reco.run.progress import Progress
from gen2reco.run.result_checks import blamed, check_plain, checked, name_of
from gen2reco.run.seeds import chunk_seed
from gen2reco.run.sidecar import SIDECAR_KEYS, check_source, peak_memory_mb, sidecar_path, write_sidecar
from gen2reco.run.stage import Backend, Chunk, failure_reasons
from gen2reco.run.stage_table import STAGES
from gen2reco.run.stopping import Interrupted, stop_requested

ATTEMPTS = 4


@dataclass
class Job:
    """One stage of one shard. `events` numbers the events to generate; other stages take those of `source`.

    `planned`: a shard of a plan. Its finished file can be restored until its sample is verified, and its input may have
    failed, which `verify` counts; a run by hand refuses such an input. `confirm` is called before the file takes its
    place, and raises where the plan has changed. `oversample`: how often each event of `source` is drawn; chunks,
    seeds and the counts of the sidecar are of draws.
    """

    backend: Backend
    output: Path
    seed: int
    source: Path | None = None
    events: range = range(0)
    sample: str = "alone"
    shard: int = 0
    chunk_events: int | None = None
    oversample: int = 1
    workers: int = 1
    failed_events_allowed: float = 0.0
    planned: bool = False
    facts: dict = field(default_factory=dict)
    confirm: Callable[[], None] = lambda: None

    @property
    def record(self) -> str:
        """The record type of the output."""
        return STAGES[self.backend.stage].writes


@dataclass
class _Input:
    """The events that a job reads (None for generate), their provenance, and the sha256 of their file."""

    source: records.Source | None = None
    story: dict = field(default_factory=dict)
    sha256: str | None = None
    times: int = 1
    """How often each event is drawn."""
    library: tuple[str, ...] = ()
    """sha256 of the files of the library."""

    def events(self, chunk: Chunk) -> pa.Table | None:
        return None if self.source is None else draw(self.source, chunk.start, chunk.stop, self.times)


def run(job: Job) -> dict:
    """Run a job to its valid output file and sidecar; returns the sidecar. Raises InputError, InfrastructureError."""
    started, wall = datetime.now(UTC), time.perf_counter()
    check_output(job.output)
    check_output(sidecar_path(job.output), own=SIDECAR_KEYS)
    given = _read_input(job)
    job.backend.accept(given.story)
    chunks = _chunks(job, given)
    made_by = _made_by(job, given)
    files = ChunkFiles(_partial_folder(job, made_by), job.record, made_by)
    span = range(chunks[0].start, chunks[-1].stop) if chunks else range(0)
    if job.planned and (before := bring_back(job.output, files.folder, span, made_by)):
        return before
    own = {**job.facts, "first_event": span.start} if job.planned else job.facts
    if job.planned and (taken := take(job.output, span, made_by, job.failed_events_allowed, own, job.confirm)):
        _remove_if_empty(files.folder)
        return taken
    try:
        with stop_requested() as stopping:
            usage, summary, counts = _make_and_merge(job, given, chunks, files, stopping)
    except Exception as error:
        if not isinstance(classified(error), InfrastructureError):  # starting again would not get further
            shutil.rmtree(files.folder, ignore_errors=True)
        raise
    finally:
        _remove_if_empty(files.folder)
    sidecar = {
        **summary,
        "stage": job.backend.stage,
        "backend": job.backend.name,
        "sample": job.sample,
        "shard": job.shard,
        "sha256": file_digest(job.output),
        **records.sizes(job.output),
        "made_by": made_by,
        **({"source_sha256": given.sha256} if given.sha256 else {}),
        "seed": job.seed,
        "network_evaluations": int(summary.get("network_evaluations", 0)),
        "wall_seconds": round(time.perf_counter() - wall, 3),
        "cpu_seconds": round(usage["cpu_seconds"], 3),
        "startup_seconds": round(usage["startup_seconds"], 3),
        "peak_memory_mb": max(usage["peak_memory_mb"], peak_memory_mb()),
        "device": job.backend.device,
        "model_digest": job.backend.model_digest,
        "started": started.isoformat(timespec="seconds"),
        **own,
        **counts,
    }
    write_sidecar(job.output, sidecar)
    if job.planned and counts["status"] == "ok":
        keep(job.output, files.folder, span)
    else:
        shutil.rmtree(files.folder, ignore_errors=True)
    _remove_if_empty(files.folder)
    return sidecar


def _remove_if_empty(partial: Path) -> None:
    """Remove the folder of chunks where it is empty."""
    for folder in (partial, partial.parent):
        with suppress(OSError):
            folder.rmdir()


def _read_input(job: Job) -> _Input:
    record = STAGES[job.backend.stage].reads
    if record is None:
        return _Input()
    assert job.source is not None, "a stage that reads a record has a source"
    source = Path(job.source)
    if source.resolve() == Path(job.output).resolve():
        raise InputError(f"{job.output}: input and output are the same file; name another output")
    if sidecar_path(source).resolve() == sidecar_path(job.output).resolve():
        raise InputError(f"{job.output}: its sidecar would replace that of the input {source}; name another output")
    sha256 = check_source(source, failed=job.planned)
    events = records.Source(source, record)
    library = tuple(check_source(file, failed=job.planned) for file in job.backend.library)
    return _Input(events.check(), events.story, sha256, job.oversample, library)


def provenance(path: Path | str) -> dict:
    """The provenance of a record file: facts by stage, from its metadata ({} for a file of another program)."""
    return records.Source(path).story


def _chunks(job: Job, given: _Input) -> list[Chunk]:
    span = job.events if given.source is None else range(given.source.num_rows * given.times)
    size = job.chunk_events or job.backend.chunk_events
    if problem := too_many_chunks(span.stop - span.start, size):
        raise InputError(f"{job.output}: {problem}; make it in several files, or give larger chunks")
    stage = job.backend.stage
    sample = given.story.get(job.backend.seeded_by or "", {}).get("sample", job.sample)
    return [
        Chunk(i, chunk_seed(job.seed, sample, stage, job.shard, i), start, min(start + size, span.stop))
        for i, start in enumerate(range(span.start, span.stop, size))
    ]


def _identity(job: Job, given: _Input) -> dict:
    """Everything of the job that decides the bytes of the output; chunks are resumed only if all of it agrees."""
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
        **_drawn(job),
        **({"library": list(given.library)} if given.library else {}),
    }


def _drawn(job: Job) -> dict:
    """How often each event is drawn, where that is more than once."""
    return {"oversample": job.oversample} if job.oversample > 1 else {}


def _made_by(job: Job, given: _Input) -> str:
    """Digest of everything that decides the bytes of the output, except the number of events."""
    detector = job.backend.detector.digest() if job.backend.detector else None
    stage = job.backend.stage
    return digest([stage, _identity(job, given), given.sha256, detector, records.VERSIONS, __version__])


def _partial_folder(job: Job, made_by: str) -> Path:
    folder = job.output.parent / ".partial" / f"{job.output.name}-{made_by[:16]}"
    with suppress(OSError):
        folder.unlink()  # only what is no folder
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise InputError(f"{job.output}: cannot be written: {folder}: {error.strerror}; choose another name") from None
    return folder


def _make_and_merge(
    job: Job, given: _Input, chunks: list[Chunk], files: ChunkFiles, stopping: list
) -> tuple[dict, dict, dict]:
    """Make the chunks and the output file; returns the (usage, summary, counts) of its sidecar.

    A chunk whose file is missing when it is merged is made again: another run of this job, such as one on a node that
    was thought lost, finished first and removed it, or the disk lost it.
    """
    usage = {"cpu_seconds": 0.0, "startup_seconds": 0.0, "peak_memory_mb": 0}
    for _ in range(ATTEMPTS):
        spent = _run_chunks(job, given, chunks, files, stopping)
        for key in ("cpu_seconds", "startup_seconds"):
            usage[key] += spent[key]
        usage["peak_memory_mb"] = max(usage["peak_memory_mb"], spent["peak_memory_mb"])
        with suppress(ChunkLost):
            return usage, *_merge(job, given, chunks, files)
    raise InfrastructureError(f"{files.folder}: finished chunks were lost {ATTEMPTS} times; check the disk")


def _run_chunks(job: Job, given: _Input, chunks: list[Chunk], files: ChunkFiles, stopping: list) -> dict:
    """Make every chunk that has no file yet; returns CPU seconds, those of the start-up (wall seconds on an
    accelerator, which warms up beside its CPU), and peak memory."""
    cpu = time.process_time()
    todo = files.missing(chunks)
    usage, startup = {"cpu_seconds": 0.0, "peak_memory_mb": 0}, 0.0
    if todo:
        clock = time.process_time if job.backend.device == "cpu" else time.perf_counter
        begun = clock()
        with blamed(job.backend):
            job.backend.prepare()
        _warm_up(job, given, todo[0])
        startup = clock() - begun

    def make(chunk: Chunk) -> None:
        events = given.events(chunk)
        with blamed(job.backend):
            result = job.backend.run(chunk, events)
        result.table = linked(result.table, events, job.record)
        files.write(chunk, checked(job.backend, chunk, events, result))

    with Progress(f"{job.backend.stage} {job.backend.name}", sum(c.stop - c.start for c in todo), "events") as progress:
        if job.backend.isolate:
            usage = run_forked(make, todo, job.workers, stopping, lambda c: progress.advance(c.stop - c.start))
        else:
            for chunk in todo:
                if stopping:
                    break
                make(chunk)
                progress.advance(chunk.stop - chunk.start)
    if stopping and (done := files.count(chunks)) < len(chunks):
        raise Interrupted(
            f"{job.output}: stopped by {stopping[0]} after {done} of {len(chunks)} chunks; start it again"
        )
    usage["cpu_seconds"] += time.process_time() - cpu
    return {**usage, "startup_seconds": startup}


def _warm_up(job: Job, given: _Input, chunk: Chunk) -> None:
    """Make one event for nothing where chunks are made in this process, so that the first costs what the others do."""
    if job.backend.isolate or given.source is None:
        return
    with suppress(Exception):  # it shows when the chunk is made
        if (events := given.events(chunk)) is not None:
            job.backend.run(Chunk(chunk.index, chunk.seed, chunk.start, chunk.start + 1), events.slice(0, 1))


def _merge(job: Job, given: _Input, chunks: list[Chunk], files: ChunkFiles) -> tuple[dict, dict]:
    """Write the output file, empty where too many events failed; returns (summary, counts)."""
    infos = files.infos(chunks)
    events_in = sum(chunk.stop - chunk.start for chunk in chunks)
    vetoed = sum(int(info.get("events_vetoed", 0)) for _, info in infos)
    failed = events_in - vetoed - sum(rows for rows, _ in infos)
    status = "failed" if failed > job.failed_events_allowed * events_in else "ok"
    facts = [info for _, info in infos]
    summary = {**job.backend.summary(facts), "failure_reasons": failure_reasons(facts)}
    if not summary["failure_reasons"]:
        del summary["failure_reasons"]
    check_plain(summary, name_of(job.backend))
    job.confirm()
    rows = _write(job, given, chunks if status == "ok" else [], files, summary)
    counts = {"status": status, "events_in": events_in, "events_out": rows, "events_failed": failed}
    return summary, {**counts, **_drawn(job)}


def _write(job: Job, given: _Input, chunks: list[Chunk], files: ChunkFiles, summary: dict) -> int:
    """Merge chunks into the output file; returns its rows."""
    detector = {"detector": job.backend.detector.model_dump(mode="json")} if job.backend.detector else {}
    story = {**given.story, job.backend.stage: {**_identity(job, given), **detector, "info": summary}}
    rows = 0

    def tables() -> Iterator[pa.Table]:
        nonlocal rows
        if not chunks and given.source is not None:
            yield records.empty(job.record, links(draw(given.source, 0, 0, given.times), job.record))
        for table in files.tables(chunks):
            rows += table.num_rows
            yield table

    records.write_stream(job.output, tables(), job.record, {PROVENANCE_KEY: json.dumps(story, sort_keys=True)})
    return rows


def leave(code: int) -> None:
    """End the process at once: some engines crash in their own tear-down at exit."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


__all__ = ["Gen2recoError", "Interrupted", "Job", "leave", "provenance", "run", "sidecar_path"]
