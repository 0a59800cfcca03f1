"""Quality against network evaluations: a learned backend on the reference's own events, or a learned generator on its
process, setting by setting."""

import itertools
from collections.abc import Callable
from pathlib import Path

from gen2reco.errors import InputError
from gen2reco.run.runner import Job, provenance, run
from gen2reco.run.sidecar import is_whole
from gen2reco.run.stage import Backend, make_backend
from gen2reco.run.stage_table import STAGES
from gen2reco.validate.samples import Sample, open_sample


def scan_stage(
    stage: str, reference: Sample, out: Path, varied: dict[str, list], options: dict, backend: str, seed: int = 1
) -> list[Sample]:
    """Let a backend do the stage on the reference's events once for each combination of `varied` options of it.

    Returns samples, one a combination, in folders of `out`; finished ones are taken as they are. Raises InputError
    where the reference lacks what the stage reads or makes, or the backend knows no such option.
    """
    reads, writes = STAGES[stage].reads, STAGES[stage].writes
    for record in (reads, writes):
        if record is not None and record not in reference.shards:
            raise InputError(f"{reference.path}: holds no {record}; expected a sample with {reads} and {writes}")

    def jobs(made: Backend, name: str, folder: Path) -> list[Job]:
        sources = enumerate(reference.shards[reads or ""])
        return [Job(made, folder / f"{n:05d}.parquet", seed, path, sample=name, shard=n) for n, path in sources]

    def make(chosen: dict) -> Backend:
        return make_backend(stage, backend, {**options, **chosen}, reference.detector)

    return _scan(stage, out, backend, varied, make, jobs)


def scan_generator(
    reference: Sample, out: Path, varied: dict[str, list], options: dict, events: int, seed: int = 1
) -> list[Sample]:
    """Generate the process of the reference once for each combination of `varied` options of the learned generator.

    Returns samples of particles, one a combination, in folders of `out`; finished ones are taken as they are. Raises
    InputError where the reference is not of hard processes that a generator showered.
    """
    paths = reference.shards.get("particles", [])
    made_by = provenance(paths[0]).get("generate", {}) if paths else {}
    process = made_by.get("options", {}).get("process")
    if process is None:
        raise InputError(f"{reference.path}: expected particles of `gen2reco generate` with their process in the file")

    def jobs(made: Backend, name: str, folder: Path) -> list[Job]:
        return [Job(made, folder / "00000.parquet", seed, events=range(events), sample=name)]

    def make(chosen: dict) -> Backend:
        return make_backend("generate", "ml", {"process": process, **options, **chosen})

    return _scan("generate", out, "ml", varied, make, jobs)


def _scan(
    stage: str,
    out: Path,
    backend: str,
    varied: dict[str, list],
    make: Callable[[dict], Backend],
    jobs: Callable[[Backend, str, Path], list[Job]],
) -> list[Sample]:
    samples = []
    for values in itertools.product(*varied.values()):
        name = "_".join([backend, *(str(value) for value in values)])
        folder = out / name / stage
        folder.mkdir(parents=True, exist_ok=True)
        for job in jobs(make(dict(zip(varied, values))), name, folder):
            if not is_whole(job.output):
                run(job)
        samples.append(open_sample(out / name))
    return samples


def variants(samples: list[Sample]) -> list[str]:
    """What sets the simulations of the candidates apart but for the number of evaluations: `key=value, …`, often empty.

    One text a sample; the first, the reference, has none.
    """
    chosen = [{}, *(_options(sample) for sample in samples[1:])]
    keys = sorted({key for options in chosen for key in options if key != "evaluations"})
    varied = [key for key in keys if len({str(options.get(key)) for options in chosen if options}) > 1]
    return [", ".join(f"{key}={options[key]}" for key in varied if key in options) for options in chosen]


def _options(sample: Sample) -> dict:
    for record, stage in (("objects", "fuse"), ("hits", "simulate"), ("particles", "generate")):
        for path in sample.shards.get(record, [])[:1]:
            if made := provenance(path).get(stage):
                return made.get("options", {})
    return {}
