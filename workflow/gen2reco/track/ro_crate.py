"""A campaign to take away: a Workflow Run RO-Crate with plan, configuration, digests, metrics, report and licence.

Event records and weights stay where they are; the crate holds their sha256, by which any copy can be recognised.
Profiles: Process Run Crate, Workflow Run Crate 0.5, Workflow RO-Crate 1.0 (w3id.org/ro/wfrun).
"""

import json
import math
import os
import shutil
import tempfile
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gen2reco
from gen2reco.errors import InfrastructureError, InputError
from gen2reco.paths import LOCK_NAME, judged_file, made_model, trained_file
from gen2reco.run.model_folder import CARD, EVALUATION
from gen2reco.track.crate_inputs import LARGEST, TEXT, Inputs, checkout, inputs_of, left
from gen2reco.track.regular import NotTaken, check, read
from gen2reco.track.runs import CampaignRuns, Run, campaign_runs, read_lock, stage_folders
from gen2reco.track.secrets import scrub_file
from gen2reco.track.shards import shards_of

if TYPE_CHECKING:
    from rocrate.model.entity import Entity
    from rocrate.rocrate import ROCrate

PROFILES = {
    "https://w3id.org/ro/wfrun/process/0.5": ("Process Run Crate", "0.5"),
    "https://w3id.org/ro/wfrun/workflow/0.5": ("Workflow Run Crate", "0.5"),
    "https://w3id.org/workflowhub/workflow-ro-crate/1.0": ("Workflow RO-Crate", "1.0"),
}
LICENCE = "CC-BY-4.0"
_LARGEST_OF_REPORT, _LARGEST_NTUPLE = 2**28, 2**40
"""Bytes of a file."""
_FORMATS = {
    ".json": "application/json",
    ".html": "text/html",
    ".png": "image/png",
    ".yaml": "application/yaml",
    ".md": "text/markdown",
    ".root": "application/vnd.root",
    ".safetensors": "application/octet-stream",
}
_STATUS = {"FINISHED": "CompletedActionStatus", "FAILED": "FailedActionStatus", "KILLED": "FailedActionStatus"}


def export(results: Path, output: Path, licence: str | None = None, ntuples: bool = False) -> Path:
    """Write the crate of a campaign: a new folder, or one file if `output` ends in `.zip`. Unpacked elsewhere the
    campaign is fine to `check` and runs, where this version of gen2reco is installed.

    ntuples: take the ROOT files, too. Only files of the campaign's results, its configuration and the workflow go into
    it: regular, no links, not large. Raises InputError if there is no campaign or the output exists already.
    """
    results, output = Path(results), Path(output)
    lock, tracked = read_lock(results), campaign_runs(results)
    if os.path.lexists(output):
        raise InputError(f"{output}: exists already; give a new name")
    if not lock["samples"]:
        raise InputError(f"{results}: holds no plan.lock.json; only a planned campaign can be exported")
    with tempfile.TemporaryDirectory() as temporary:
        crate = _crate(results, tracked, lock, licence or lock.get("licence") or LICENCE, Path(temporary), ntuples)
        _write(crate, output)
    return output


def _write(crate: "ROCrate", output: Path) -> None:
    """Write a crate whole or not at all. Raises InfrastructureError."""
    draft = output.with_name(f".{uuid.uuid4().hex}.tmp{output.suffix}")
    try:
        output.parent.mkdir(parents=True, exist_ok=True)
        crate.write_zip(draft) if output.suffix == ".zip" else crate.write(draft)
        draft.rename(output)
    except OSError as error:
        raise InfrastructureError(f"{output}: cannot be written: {error.strerror or error}") from None
    finally:
        draft.unlink(missing_ok=True) if draft.is_file() else shutil.rmtree(draft, ignore_errors=True)


def _crate(results: Path, tracked: CampaignRuns, lock: dict, licence: str, scratch: Path, ntuples: bool) -> "ROCrate":
    from rocrate.rocrate import ROCrate

    top = tracked.runs[0]
    crate = ROCrate(gen_preview=False, version="1.1")
    crate.name = f"gen2reco campaign {tracked.campaign}, plan revision {lock['revision']}"
    crate.description = f"Simulated and reconstructed collider events: {', '.join(lock['samples'])}."
    crate.datePublished = _moment(top.end) or datetime.now(UTC).isoformat(timespec="seconds")
    crate.root_dataset["license"] = _licence(crate, licence)
    crate.root_dataset["conformsTo"] = [_profile(crate, uri) for uri in PROFILES]
    workflow = _workflow(crate)
    inputs = [_add(crate, scratch, results / LOCK_NAME, results, LOCK_NAME, "the frozen plan")]
    taken = inputs_of(lock)
    inputs += _configuration(crate, scratch, taken)
    outputs = _digests(crate, scratch, results, lock) + _models(crate, scratch, results, lock)
    outputs += [
        _add(crate, scratch, path, results, f"{folder}/{path.name}", "part of the report")
        for path, folder in top.artifacts
        if folder != "plan"
    ]
    outputs += _ntuples(crate, results, lock) if ntuples else []
    crate.root_dataset["mentions"] = _action(crate, tracked, workflow, inputs, outputs)
    _readme(crate, scratch, tracked, taken.campaign)
    return crate


def _workflow(crate: "ROCrate") -> "Entity":
    """The Snakemake workflow and its rules."""
    root = checkout()
    if root is None:
        raise InputError("Snakefile: not found; run the export in the checkout of gen2reco")
    workflow = crate.add_workflow(root / "Snakefile", "Snakefile", main=True, lang="snakemake", gen_cwl=False)
    workflow["name"], workflow["version"] = "gen2reco", gen2reco.__version__
    workflow["encodingFormat"] = "text/plain"
    workflow["conformsTo"] = {"@id": "https://bioschemas.org/profiles/ComputationalWorkflow/1.0-RELEASE"}
    workflow["license"] = _licence(crate, "Apache-2.0")
    for rule in sorted((root / "workflow" / "rules").glob("*.smk")):
        crate.add_file(rule, f"workflow/rules/{rule.name}", properties={"encodingFormat": "text/plain"})
    if (root / "LICENSE").is_file():
        crate.add_file(
            root / "LICENSE", "LICENSE", properties={"name": "licence of the workflow", "encodingFormat": "text/plain"}
        )
    return workflow


def _configuration(crate: "ROCrate", scratch: Path, inputs: Inputs) -> list["Entity"]:
    """The campaign file, all that it names, and what else its workflow needs to run in an unpacked crate."""
    found = [_put(crate, scratch, content, inside, "configuration") for inside, content in inputs.files.items()]
    found += [_file(crate, path, inside, "a model that the campaign uses") for inside, path in inputs.models.items()]
    root = checkout()
    for path in (Path(root or "") / name for name in ("profiles/default/profile.yaml", "envs/gen2reco.yaml")):
        if root and path.is_file():
            _file(crate, path, path.relative_to(root).as_posix(), "how the workflow runs")
    return found


def _ntuples(crate: "ROCrate", results: Path, lock: dict) -> list["Entity"]:
    """The ROOT files of all samples."""
    found = []
    for sample in lock["samples"]:
        for path in sorted((results / sample / "publish").glob("*.root")):
            try:
                check(path, results, _LARGEST_NTUPLE)
                found.append(_file(crate, path, f"ntuples/{sample}/{path.name}", f"ntuple of {sample}"))
            except NotTaken as error:
                left(f"{path}: {error}")
    return found


def _file(crate: "ROCrate", path: Path, inside: str, name: str) -> "Entity":
    """Add a file as it is."""
    form = _FORMATS.get(path.suffix, "application/octet-stream")
    return crate.add_file(path, inside, properties={"name": name, "encodingFormat": form})


def _digests(crate: "ROCrate", scratch: Path, results: Path, lock: dict) -> list["Entity"]:
    """`sha256sums.txt` of all record files, and the sidecars of each sample's stage in one file."""
    lines, entities = [], []
    for sample, stage in stage_folders(results, lock):
        shards = shards_of(results, sample, stage)
        if shards is None:
            continue
        lines += [f"{fact.get('sha256')}  {sample}/{stage}/{n:05d}.parquet" for n, fact in sorted(shards.facts.items())]
        text = json.dumps([fact for _, fact in sorted(shards.facts.items())], indent=1, sort_keys=True)
        made = f"how {sample} {stage} was made, by shard"
        entities.append(_put(crate, scratch, text.encode(), f"sidecars/{sample}-{stage}.json", made))
    sums = ("\n".join(lines) + "\n").encode()
    return [*entities, _put(crate, scratch, sums, "sha256sums.txt", "digests of all event records")]


def _models(crate: "ROCrate", scratch: Path, results: Path, lock: dict) -> list["Entity"]:
    """Receipts, cards and evaluations of the models that the campaign made; the weights are known by the digest in the
    receipt."""
    found = []
    for name in lock["models"]:
        folder = made_model(results, name).parent
        files = [trained_file(results, name), judged_file(results, name)]
        files += [path for kind in (CARD, EVALUATION) for path in sorted(folder.glob(f"model/**/{kind}"))]
        for path in filter(os.path.lexists, files):
            inside = path.relative_to(results).as_posix()
            try:
                found.append(_put(crate, scratch, read(path, results, LARGEST), inside, f"of the model {name}"))
            except NotTaken as error:
                left(f"{path}: {error}")
    return found


def _action(
    crate: "ROCrate", tracked: CampaignRuns, workflow: "Entity", inputs: list["Entity"], outputs: list["Entity"]
) -> "Entity":
    """The run of the campaign, with metrics and costs as properties."""
    top = tracked.runs[0]
    properties = {**_times(top), "name": top.name, "description": _summary(tracked)}
    sources = inputs if len(inputs) > 1 else inputs[0]
    action = crate.add_action(workflow, f"#{top.key.replace('/', '-')}", sources, outputs, properties)
    for run in tracked.runs:
        for key, value in _latest(run).items():
            if not key.startswith("shard/"):
                action.append_to("additionalProperty", _property(crate, f"{run.name}: {key}", value))
    return action


def _readme(crate: "ROCrate", scratch: Path, tracked: CampaignRuns, campaign: str) -> None:
    text = f"# {crate.name}\n\n{crate.description} Event records are recognised by `sha256sums.txt`.\n\n"
    if campaign:
        text += (
            f"To make it again, install gen2reco {gen2reco.__version__} and run in this folder\n\n"
            f"    gen2reco check {campaign}\n    snakemake --cores all --config campaign={campaign}\n\n"
        )
    content = f"{text}{tracked.runs[0].note}\n".encode()
    readme = _put(crate, scratch, content, "README.md", "what this crate holds")
    readme["encodingFormat"], readme["about"] = "text/markdown", crate.root_dataset


def _summary(tracked: CampaignRuns) -> str:
    return f"{len(tracked.runs) - 1} runs: " + ", ".join(
        f"{run.name} ({run.status.lower()})" for run in tracked.runs[1:]
    )


def _property(crate: "ROCrate", name: str, value: float) -> "Entity":
    content = {"@id": f"#property-{len(crate.contextual_entities)}", "@type": "PropertyValue"}
    return crate.add_jsonld({**content, "name": name, "value": value})


def _latest(run: Run) -> dict[str, float]:
    return {p.key: p.value for p in sorted(run.points, key=lambda p: (p.step, p.time)) if math.isfinite(p.value)}


def _times(run: Run) -> dict[str, Any]:
    status = f"http://schema.org/{_STATUS.get(run.status, 'ActiveActionStatus')}"
    times = {"startTime": _moment(run.start), "endTime": _moment(run.end)}
    return {"actionStatus": status, **{key: value for key, value in times.items() if value}}


def _moment(milliseconds: int | None) -> str | None:
    if not milliseconds:
        return None
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="seconds")


def _add(crate: "ROCrate", scratch: Path, source: Path, root: Path, inside: str, name: str) -> "Entity":
    """Add a copy of a file below `root`. Raises InfrastructureError if it went, or became a link, meanwhile."""
    try:
        return _put(crate, scratch, read(source, root, _LARGEST_OF_REPORT), inside, name)
    except NotTaken as error:
        raise InfrastructureError(f"{source}: {error}; export again when nothing changes it") from None


def _put(crate: "ROCrate", scratch: Path, content: bytes, inside: str, name: str) -> "Entity":
    """Add a file of that content without credentials."""
    suffix = Path(inside).suffix
    if suffix in TEXT:
        content = scrub_file(content, suffix)
    copy = scratch / inside
    copy.parent.mkdir(parents=True, exist_ok=True)
    copy.write_bytes(content)
    form = _FORMATS.get(suffix, "text/plain")
    return crate.add_file(copy, inside, properties={"name": name, "encodingFormat": form})


def _licence(crate: "ROCrate", name: str) -> "Entity":
    uri = name if name.startswith(("http://", "https://")) else f"https://spdx.org/licenses/{name}"
    return (
        crate.add_jsonld({"@id": uri, "@type": "CreativeWork", "name": name}) if not crate.get(uri) else crate.get(uri)
    )


def _profile(crate: "ROCrate", uri: str) -> "Entity":
    name, version = PROFILES[uri]
    return crate.add_jsonld({"@id": uri, "@type": "CreativeWork", "name": name, "version": version})
