"""Small backends and jobs for tests of the runner: events without particles, whose weights are random."""

from pathlib import Path

import numpy as np

from gen2reco.events import records
from gen2reco.run.runner import Job
from gen2reco.run.stage import Backend, Result


class Toy(Backend):
    """Makes empty events whose weights are random."""

    name, stage, isolate = "toy", "generate", True
    chunk_events = 3

    def run(self, chunk, events):
        rng = np.random.default_rng(chunk.seed)
        numbers = np.arange(chunk.start, chunk.stop)
        columns = {"event": numbers, "weight": rng.random(len(numbers)), "partons": [[]] * len(numbers)}
        return Result(records.table("particles", {**columns, "particles": columns["partons"]}), {"made": len(numbers)})


class Inline(Toy):
    """The same in the process of the job."""

    isolate = False


class Hits(Backend):
    """Makes empty hits of the events that it is given."""

    name, stage, chunk_events = "toy", "simulate", 4

    def run(self, chunk, events):
        nothing = dict.fromkeys(("tracks", "hits", "contributions"), [[]] * events.num_rows)
        return Result(records.table("hits", {n: events[n] for n in ("event", "weight", "particles")} | nothing))


def job(folder: Path, cls: type[Backend] = Toy, **given: object) -> Job:
    """The job of ten events in `folder`/out.parquet."""
    return Job(cls(cls.Options()), folder / "out.parquet", **{"seed": 5, "events": range(10), **given})


def hits_of(source: Path, output: Path, **given: object) -> Job:
    """The job that makes hits of a file of particles."""
    return Job(Hits(Hits.Options()), output, seed=5, source=source, **given)
