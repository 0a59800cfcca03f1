"""The plan, and the functions by which rules find their files and digests."""

import os
import shlex
import signal
import sys
from contextlib import suppress

sys.path.insert(0, os.path.join(workflow.basedir, "workflow"))

from gen2reco.caches import settle
from gen2reco.batch.driver import (
    end_driver,
    guard,
    or_end,
    plan_of_workflow,
    start_driver,
)
from gen2reco.batch.keeping import Inputs, mark_removable, record_of
from gen2reco.campaign.learn_rates import learn_ntuples
from gen2reco.campaign.model_pins import use_registry
from gen2reco.campaign.plan import by_present_model, from_present_parent
from gen2reco.errors import Gen2recoError
from gen2reco.paths import judged_file, trained_file
from gen2reco.run.stage_table import FIRST, STAGES, rule_name
from gen2reco.track.registry import fetch
from gen2reco.validate.closing import closing_lines
from snakemake.exceptions import WorkflowError
from snakemake.settings.types import DeploymentMethod

use_registry(fetch)
with or_end():
    settle()
    PLAN = plan_of_workflow(workflow)
if workflow.is_main_process:
    guard(workflow, PLAN)
FOLDER = str(PLAN.folder)
INPUTS = Inputs(PLAN, workflow)
LOCK = shlex.quote(f"{FOLDER}/plan.lock.json")
COMPARISONS = {c["reference"]: c["candidates"] for c in PLAN.lock["compare"]}
STAGE_RULES = [(stage, device) for stage in STAGES for device in ("cpu", "cuda")]
ENVIRONMENT = "gen2reco-env"  # by name: Snakemake copies a file away from the checkout that it installs
if DeploymentMethod.CONDA not in workflow.deployment_settings.deployment_method:
    # Unused then, but for a name Snakemake would call conda, which may be missing.
    ENVIRONMENT = os.path.join(workflow.basedir, "envs", "gen2reco.yaml")

# Slurm's signal ahead of a time limit is handled by the stage itself.
if not workflow.is_main_process:
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)

# Jobs use the driver's environment, unless conda or Apptainer bring one. With `exec`, signals reach the stage.
if workflow.deployment_settings.deployment_method:
    shell.prefix("exec ")
else:
    shell.prefix(
        f"export PATH={shlex.quote(os.path.dirname(sys.executable))}:$PATH; exec "
    )


if DeploymentMethod.APPTAINER in workflow.deployment_settings.deployment_method:

    container: os.path.join(workflow.basedir, "envs", "gen2reco.sif")


wildcard_constraints:
    sample="[a-z0-9_]+",
    shard="[0-9][0-9]+",
    model="[a-z0-9_]+",


def record(stage):
    """The record file of a stage, with wildcards."""
    return f"{FOLDER}/{{sample}}/{stage}/{{shard}}.parquet"


def sidecar(stage):
    """The sidecar of a stage's record file, with wildcards."""
    return f"{FOLDER}/{{sample}}/{stage}/{{shard}}.json"


def log_file(stage):
    """The log file of a stage's job, with wildcards."""
    return f"{FOLDER}/logs/{stage}/{{sample}}-{{shard}}.log"


def benchmark_file(stage):
    """The file in which Snakemake records time and memory of a job, with wildcards."""
    return f"{FOLDER}/benchmarks/{stage}/{{sample}}-{{shard}}.tsv"


def source(stage):
    """An input function: the record file of the stage before, of the sample that owns it; none for the first stage."""

    def files(wildcards):
        return INPUTS.record(wildcards.sample, stage, int(wildcards.shard))

    return files


def library_of(stage):
    """An input function: all files of the sample that a stage reads too, and the receipt that it is whole."""

    def files(wildcards):
        library = PLAN.library(wildcards.sample, stage)
        names = dict.fromkeys(sample for sample, _, _ in library)
        return [*(str(PLAN.file(*file)) for file in library), *verified(names)]

    return files


def read_from(wildcards, input):
    """A params function: the record file that a job reads, where its input is the sidecar of one that is not kept."""
    return [record_of(file) for file in input.events]


def stage_of(wildcards, output):
    """A params function: the stage of a job. Shell commands are worked out later than the loop that makes the rules."""
    return os.path.basename(os.path.dirname(output.events))


def content(stage):
    """Params functions by which jobs rerun by content: the digest of what the stage does, and of the first stage how
    many events a shard holds, for a last short shard is made again when the sample is extended.
    """

    def digest(wildcards):
        return PLAN.choice(wildcards.sample, stage)["digest"]

    def events(wildcards):
        return len(PLAN.events(wildcards.sample, int(wildcards.shard)))

    return {"content": digest} | ({"events": events} if stage == FIRST else {})


def samples_of(stage, device):
    """A wildcard constraint: the samples that do this stage themselves on this device."""
    names = [
        sample
        for sample in PLAN.samples
        if stage in PLAN.stages(sample)
        and PLAN.owner(sample, stage) == sample
        and PLAN.choice(sample, stage)["device"] == device
    ]
    return "|".join(names) or "none_at_all"


def used_models(sample, stages):
    """The receipts of the models of the campaign that these stages of a sample use."""
    made = [PLAN.choice(sample, stage).get("made") for stage in stages]
    return [
        str(trained_file(PLAN.folder, name)) for name in dict.fromkeys(made) if name
    ]


def model_of(stage):
    """An input function: the receipt of the model that a stage uses, if the campaign makes it. A newer receipt does not
    remake what was made by the same model."""

    def receipts(wildcards):
        found = used_models(wildcards.sample, [stage])
        if not found or not by_present_model(
            PLAN, wildcards.sample, stage, int(wildcards.shard)
        ):
            return found
        return [ancient(receipt) for receipt in found]

    return receipts


def models_of_sample(wildcards):
    """The receipts of all models of the campaign that a sample uses."""
    return used_models(wildcards.sample, PLAN.stages(wildcards.sample))


def models_on(device):
    """A wildcard constraint: the models that are trained on this device."""
    names = [name for name, model in PLAN.models.items() if model["device"] == device]
    return "|".join(names) or "none_at_all"


def verified(names):
    """The receipts of verified samples."""
    return [f"{FOLDER}/{name}/verified.json" for name in names]


def trained_on(wildcards):
    """What the training of a model reads: verified samples, and the receipt of the model of the campaign that it starts
    from. A newer receipt of the same model trains nothing anew.
    """
    model = PLAN.models[wildcards.model]
    parent = model.get("parent") or {"made": False, "data": {}}
    read = [*model["data"], *(model["held_out"] if model["reads_held_out"] else [])]
    found = verified(dict.fromkeys([*read, *parent["data"]]))
    if parent["made"]:
        receipt = str(trained_file(PLAN.folder, parent["model"]))
        same = from_present_parent(PLAN, wildcards.model)
        found.append(ancient(receipt) if same else receipt)
    return found


def processes_of(wildcards):
    """A threads function: the processes of a training."""
    return PLAN.models[wildcards.model].get("gpus", 1)


def judged_on(wildcards):
    """The verified held-out samples of a model."""
    return verified(PLAN.models[wildcards.model]["held_out"])


def model_content(key):
    """A params function by which jobs rerun by content: a digest of the model in the plan."""

    def digest(wildcards):
        return PLAN.models[wildcards.model][key]

    return digest


def judged_models():
    """The receipts of all models of the campaign, trained and judged."""
    return [
        str(receipt(PLAN.folder, name))
        for name in PLAN.models
        for receipt in (trained_file, judged_file)
    ]


def published_files():
    """The ntuples of every sample whose last stage publishes."""
    return [
        f"{FOLDER}/{sample}/publish/{shard:05d}.root"
        for sample in PLAN.samples
        if PLAN.publishes(sample)
        for shard in range(PLAN.shards(sample))
    ]


def last_record(wildcards):
    """The objects of a shard."""
    return INPUTS.objects(wildcards.sample, int(wildcards.shard))


def particles_of(wildcards):
    """The particles of a shard."""
    return INPUTS.particles(wildcards.sample, int(wildcards.shard))


def report_files():
    """The report and the metrics of every comparison."""
    return [
        f"{FOLDER}/report/{name}/{file}"
        for name in COMPARISONS
        for file in ("report.html", "metrics.json")
    ]


def shard_files(wildcards):
    """All record files of a sample, at every stage; the sidecars of those that are not kept."""
    return INPUTS.all_records(wildcards.sample)


def compared(wildcards):
    """The verified samples of a comparison, the reference first."""
    return verified([wildcards.sample, *COMPARISONS[wildcards.sample]])


onstart:
    try:
        start_driver(PLAN, workflow)
    except Gen2recoError as error:
        raise WorkflowError(str(error)) from None


onsuccess:
    end_driver(PLAN)
    if workflow.is_main_process:
        with suppress(Gen2recoError, OSError):
            learn_ntuples(PLAN)
        print("", *closing_lines(PLAN), sep="\n", file=sys.stderr)


onerror:
    end_driver(PLAN, failed=True)
