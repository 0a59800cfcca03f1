"""Quality against network evaluations: a learned simulation of the reference's particles, or a learned generator of its
process, setting by setting."""

import itertools
from pathlib import Path

from gen2reco.campaign.runner import Job, run
from gen2reco.campaign.stage import make_backend
from gen2reco.errors import InputError
from gen2reco.validate.samples import Sample, open_sample


def scan_showers(
    reference: Sample, out: Path, varied: dict[str, list], options: dict, backend: str = "ml", seed: int = 1
) -> list[Sample]:
    """Simulate the particles of the reference once for each combination of `varied` options of the backend.

    Returns samples of hits, one a combination, in folders of `out`; finished ones are taken as they are. Raises
    InputError where the reference lacks particles or hits, or the backend knows no such option.
    """
    for record in ("particles", "hits"):
        if record not in reference.shards:
            raise InputError(f"{reference.path}: holds no {record}; expected a simulated sample with its particles")
    samples = []
    for values in itertools.product(*varied.values()):
        name = "_".join([backend, *(str(value) for value in values)])
        made = make_backend("simulate", backend, {**options, **dict(zip(varied, values))}, reference.detector)
        for shard, source in enumerate(reference.shards["particles"]):
            output = out / name / "simulate" / f"{shard:05d}.parquet"
            if not output.is_file():
                output.parent.mkdir(parents=True, exist_ok=True)
                run(Job(made, output, seed, source, sample=name, shard=shard))
        samples.append(open_sample(out / name))
    return samples


def scan_generator(
    reference: Sample, out: Path, varied: dict[str, list], options: dict, events: int, seed: int = 1
) -> list[Sample]:
    """Generate the process of the reference once for each combination of `varied` options of the learned generator.

    Returns samples of particles, one a combination, in folders of `out`; finished ones are taken as they are. Raises
    InputError where the reference is not of hard processes that a generator showered.
    """
    from gen2reco.campaign.runner import provenance

    paths = reference.shards.get("particles", [])
    made_by = provenance(paths[0]).get("generate", {}) if paths else {}
    process = made_by.get("options", {}).get("process")
    if process is None:
        raise InputError(f"{reference.path}: expected particles of `gen2reco generate` with their process in the file")
    samples = []
    for values in itertools.product(*varied.values()):
        name = "_".join(["ml", *(str(value) for value in values)])
        made = make_backend("generate", "ml", {"process": process, **options, **dict(zip(varied, values))})
        output = out / name / "generate" / "00000.parquet"
        if not output.is_file():
            output.parent.mkdir(parents=True, exist_ok=True)
            run(Job(made, output, seed, events=range(events), sample=name))
        samples.append(open_sample(out / name))
    return samples


def variants(samples: list[Sample]) -> list[str]:
    """What sets the simulations of the candidates apart but for the number of evaluations: `key=value, …`, often empty.

    One text a sample; the first, the reference, has none.
    """
    chosen = [{}, *(_options(sample) for sample in samples[1:])]
    keys = sorted({key for options in chosen for key in options if key != "evaluations"})
    told = [key for key in keys if len({str(options.get(key)) for options in chosen if options}) > 1]
    return [", ".join(f"{key}={options[key]}" for key in told if key in options) for options in chosen]


def _options(sample: Sample) -> dict:
    from gen2reco.campaign.runner import provenance

    for record, stage in (("hits", "simulate"), ("particles", "generate")):
        for path in sample.shards.get(record, [])[:1]:
            return provenance(path).get(stage, {}).get("options", {})
    return {}
