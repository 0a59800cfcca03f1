"""Tell Snakemake which files a campaign does not keep: it removes them once the jobs after them are done, and makes
them again only where a job needs them."""

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gen2reco.campaign.made import Made
from gen2reco.campaign.plan import Plan
from gen2reco.run.sidecar import sidecar_path
from gen2reco.run.stage_table import FIRST, STAGES, rule_name

if TYPE_CHECKING:
    from snakemake.workflow import Workflow


def mark_removable(workflow: "Workflow", plan: Plan) -> None:
    """Flag the record files that no sample keeps as temporary, file by file: a flag in a rule would hold for all its
    samples, and rules of other names would lose the resources that profiles give them."""
    if not any("keep" in entry for entry in plan.samples.values()):
        return
    names = {rule_name(stage, device): stage for stage in STAGES for device in ("cpu", "cuda")}
    for rule in workflow.rules:
        if rule.name in names:
            rule.expand_output = _flagging(rule.expand_output, plan, names[rule.name])


def _flagging(expand: Callable, plan: Plan, stage: str) -> Callable:
    def expand_output(wildcards: Any) -> tuple:
        files, patterns = expand(wildcards)
        if not plan.keeps(wildcards["sample"], stage):
            file = files.events
            file.flags["temp"] = True
            patterns = {**patterns, file: file}
        return files, patterns

    return expand_output


class Inputs:
    """Inputs of the jobs of a plan.

    A job that is done as planned, of a file that is not kept, depends on that file's sidecar alone: it does not run
    again where another sample needs the file back. Its recorded input is the file's path, whichever of the two it has.
    """

    def __init__(self, plan: Plan, workflow: "Workflow"):
        self.plan, self.made, self.workflow = plan, Made(plan), workflow

    def record(self, sample: str, stage: str, shard: int) -> list[str]:
        """The record that a stage reads, of the stage before; none for the first."""
        before = self.plan.stages(sample)[: self.plan.stages(sample).index(stage)][-1:]
        return [self._input(sample, b, shard, lambda: self.made.settled(sample, stage, shard)) for b in before]

    def objects(self, sample: str, shard: int) -> list[str]:
        """The objects of which a shard's ntuple is made."""
        last = self.plan.stages(sample)[-1]

        def published() -> bool:
            return self.made.settled(sample, last, shard) and self.made.published(sample, shard)

        return [self._input(sample, last, shard, published)]

    def particles(self, sample: str, shard: int) -> list[str]:
        """The generated particles of a shard, from which its ntuple takes partons and sums of weights."""
        return [self._input(sample, FIRST, shard, lambda: self.made.published(sample, shard))]

    def all_records(self, sample: str) -> list[str]:
        """What the verification of a sample reads: record files, and of those that are not kept the sidecars."""
        files = [
            (stage, self.plan.file(sample, stage, shard))
            for stage in self.plan.stages(sample)
            for shard in range(self.plan.shards(sample))
        ]
        return [str(file if self.plan.keeps(sample, stage) else sidecar_path(file)) for stage, file in files]

    def _input(self, sample: str, stage: str, shard: int, done: Callable[[], bool]) -> str:
        file = self.plan.file(sample, stage, shard)
        if self.plan.keeps(sample, stage):
            return str(file)
        from snakemake.io import ancient, sourcecache_entry

        given = self.workflow.dag_settings
        if (given and (given.forceall or given.forcerun)) or not done():
            return str(file)
        return ancient(sourcecache_entry(str(sidecar_path(file)), str(file)))


def record_of(path: str) -> str:
    """The record file of an input that may be its sidecar."""
    return str(Path(path).with_suffix(".parquet"))
