"""Measure on this machine how long an event takes in each stage of a campaign; shards are sized by these rates."""

import multiprocessing
import os
import resource
import sys
import tempfile
import time
import traceback
from dataclasses import dataclass
from pathlib import Path

from gen2reco.campaign.campaign import StageChoice, load_campaign
from gen2reco.campaign.learn_rates import keep
from gen2reco.campaign.libraries import library_of
from gen2reco.campaign.model_entries import made_model_of
from gen2reco.campaign.model_pins import pin_models
from gen2reco.campaign.rates import START_SECONDS, rate_keys
from gen2reco.config.block import digest
from gen2reco.config.detector import Detector
from gen2reco.config.model_choice import ModelChoice
from gen2reco.errors import Gen2recoError, InfrastructureError
from gen2reco.run.devices import usable_device
from gen2reco.run.seeds import chunk_seed
from gen2reco.run.stage import Chunk, make_backend
from gen2reco.run.stage_table import STAGES

MAX_CHUNKS = 200


@dataclass(frozen=True)
class Task:
    """One stage of one sample, to be measured for some seconds on the events of `source`."""

    stage: str
    choice: StageChoice
    detector: Detector
    source: Path | None
    output: Path
    seconds: float


def measure_rates(campaign_file: Path | str, seconds: float) -> dict[str, dict]:
    """Run each different stage of a campaign for about so many seconds, and keep its rate for later plans.

    Returns rate key → {cpu_seconds, startup_seconds, bytes, events}: CPU seconds per event and of the start-up of a job
    (wall seconds on a GPU), bytes per event. Raises InfrastructureError where a stage's GPU is missing, unless the
    campaign allows the CPU.
    """
    campaign, detector, chains = load_campaign(campaign_file)
    pin_models(campaign_file, chains, {}, campaign.models)
    for sample, chain in chains.items():
        chains[sample] = _measurable(sample, chain, campaign.models)
    for sample, chain in chains.items():
        for stage, choice in chain.items():
            device = usable_device(choice.device, campaign.allow_cpu, f"{stage} of `{sample}`")
            chain[stage] = choice.model_copy(update={"device": device})
    measured: dict[str, dict] = {}
    made: dict[str, Path] = {}
    with tempfile.TemporaryDirectory(prefix="gen2reco-rates-") as folder:
        for chain in chains.values():
            done, source = [], None
            for stage, choice in chain.items():
                done.append(choice.model_dump(mode="json"))
                output = made.setdefault(digest(done), Path(folder) / f"{digest(done)[:16]}.parquet")
                if not output.exists():
                    task = Task(stage, choice, detector, source, output, seconds)
                    key = rate_keys({s: c.model_dump() for s, c in chain.items()}, stage, detector.digest())[0]
                    measured[key] = _in_a_process_of_its_own(task)
                source = output
    keep(measured)
    return measured


def _measurable(sample: str, chain: dict[str, StageChoice], models: dict[str, ModelChoice]) -> dict[str, StageChoice]:
    """The stages of a sample before the first that uses a model which the campaign is still to make, or reads a library
    of another sample; says so."""
    stages = list(chain)
    first = next((n for n, stage in enumerate(stages) if _made_later(stage, chain[stage], models)), len(stages))
    if left := stages[first:]:
        what = "library" if library_of(left[0], chain[left[0]]) else "model"
        print(
            f"{sample}: {', '.join(left)} not measured: the campaign makes the {what} of `{left[0]}`", file=sys.stderr
        )
    return {stage: chain[stage] for stage in stages[:first]}


def _made_later(stage: str, choice: StageChoice, models: dict[str, ModelChoice]) -> bool:
    return bool(made_model_of(choice.options, models) or library_of(stage, choice))


def _in_a_process_of_its_own(task: Task) -> dict:
    """Engines that can start only once a process get one each."""
    context = multiprocessing.get_context("spawn")
    reader, writer = context.Pipe(duplex=False)
    process = context.Process(target=_measure, args=(task, writer))
    process.start()
    writer.close()
    try:
        found = reader.recv()
    except EOFError:
        raise InfrastructureError(f"{task.stage} `{task.choice.backend}` died while it was measured") from None
    finally:
        process.join()
    if isinstance(found, Gen2recoError):
        raise found
    return found


def _measure(task: Task, writer: "multiprocessing.connection.Connection") -> None:
    try:
        writer.send(measure_stage(task))
    except Gen2recoError as error:
        writer.send(error)
    except Exception as error:
        traceback.print_exc()
        writer.send(Gen2recoError(f"{task.stage} `{task.choice.backend}`: {type(error).__name__}: {error}"))
    finally:
        writer.close()
        os._exit(0)  # some engines crash in their own tear-down


def measure_stage(task: Task) -> dict:
    """Run chunks until the time is up or the input is used up. The first of several, which may compile, is not
    counted."""
    from gen2reco.events import records
    from gen2reco.run.forks import run_forked

    backend = make_backend(task.stage, task.choice.backend, task.choice.options, task.detector)
    backend.device = task.choice.device
    reads = STAGES[task.stage].reads
    source = records.read(task.source, reads) if task.source and reads else None
    size = task.choice.chunk_events or backend.chunk_events
    if source is not None:
        size = max(1, min(size, source.num_rows // 4))
    before = _clock(backend.device)
    backend.prepare()
    loading = _clock(backend.device) - before
    spent: list[float] = []
    parts: list[Path] = []

    def make(chunk: Chunk) -> None:
        events = None if source is None else source.slice(chunk.start, chunk.stop - chunk.start)
        records.write(parts[-1], backend.run(chunk, events).table, STAGES[task.stage].writes)

    end = 0.0
    while (len(spent) < 2 or time.perf_counter() < end) and len(spent) < MAX_CHUNKS:
        start = len(spent) * size
        if source is not None and start + size > source.num_rows:
            break
        chunk = Chunk(len(spent), chunk_seed(1, "rates", task.stage, 0, len(spent)), start, start + size)
        parts.append(task.output.with_name(f"{task.output.stem}-{len(spent)}.parquet"))
        before = _clock(backend.device)
        if backend.isolate:
            run_forked(make, [chunk], 1, [], lambda _: None)
        else:
            make(chunk)
        spent.append(_clock(backend.device) - before)
        if len(spent) == 1:
            end = time.perf_counter() + task.seconds
    written = sum(part.stat().st_size for part in parts)
    table = (records.read(part, STAGES[task.stage].writes) for part in parts)
    records.write_stream(task.output, table, STAGES[task.stage].writes)
    counted = spent[1:] or spent
    first = spent[0] - sum(counted) / len(counted) if len(spent) > 1 and not backend.isolate else 0.0
    events = size * len(spent)
    return {
        "cpu_seconds": sum(counted) / (size * len(counted)) if counted else 0.0,
        "startup_seconds": START_SECONDS + loading + max(first, 0.0),
        "bytes": written / max(events, 1),
        "events": events,
    }


def _clock(device: str) -> float:
    """CPU seconds of this process and its children; wall seconds on a GPU."""
    if device != "cpu":
        return time.perf_counter()
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime
