"""How good a learned backend is on held-out events: what it makes of them, compared with what the reference made."""

import math
from pathlib import Path

from gen2reco.errors import InputError
from gen2reco.run.runner import Job, provenance, run
from gen2reco.run.stage import make_backend
from gen2reco.run.stage_table import STAGES
from gen2reco.validate.run import compare
from gen2reco.validate.samples import Sample, open_sample


def judge(stage: str, model: Path, held_out: Path | Sample, work: Path, backend: str = "ml") -> list[dict]:
    """Metrics {name, value, uncertainty, floor, n} of a model that does one stage, on a sample or its folder.

    The model makes as many events of the sample's own process, or of the records that the stage starts from, each drawn
    as often as there; `work` keeps them, and the report. Raises InputError where the sample lacks the stage's records.
    """
    before, after = STAGES[stage].reads, STAGES[stage].writes
    reference = held_out if isinstance(held_out, Sample) else open_sample(held_out)
    for record in (before, after):
        if record and record not in reference.shards:
            raise InputError(f"{reference.path}: holds no {record}; expected a sample made by the reference backend")
    options = {"model": str(model)}
    if before is None:
        options["process"] = provenance(reference.shards[after][0])["generate"]["options"]["process"]
    made = make_backend(stage, backend, options, reference.detector)
    for shard, theirs in enumerate(reference.shards[after]):
        output = work / stage / f"{shard:05d}.parquet"
        output.parent.mkdir(parents=True, exist_ok=True)
        source = reference.shards[before][shard] if before else None
        draws = provenance(theirs).get(stage, {}).get("oversample", 1)
        run(Job(made, output, 1, source, _events(theirs), sample="held_out_model", shard=shard, oversample=draws))
    candidate = open_sample(work)
    pair = [Sample(s.name, s.path, {after: s.shards[after]}) for s in (reference, candidate)]
    found = [m for m in compare(pair, work) if len(m.samples) == 2 and math.isfinite(m.value)]
    keys = ("name", "value", "uncertainty", "floor", "n")
    return [{key: row[key] for key in keys} for row in (metric.as_json() for metric in found)]


def _events(path: Path) -> range:
    """The event numbers of a record file."""
    from gen2reco.events import records

    numbers = records.read(path, records.record_of(path), columns=["event"])["event"]
    return range(numbers[0].as_py(), numbers[-1].as_py() + 1) if len(numbers) else range(0)
