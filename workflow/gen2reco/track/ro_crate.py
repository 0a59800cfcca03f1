"""A campaign to take away: a Workflow Run RO-Crate with plan, configuration, digests, metrics, report and licence.

Event records and weights stay where they are; the crate holds their sha256, by which any copy can be recognised.
Profiles: Process Run Crate, Workflow Run Crate 0.5, Workflow RO-Crate 1.0 (w3id.org/ro/wfrun).
"""

import hashlib
import json
import logging
import math
import os
import shutil
import tempfile
import uuid
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gen2reco
from gen2reco.campaign.campaign import named_files
from gen2reco.errors import InfrastructureError, InputError
from gen2reco.paths import LOCK_NAME, judged_file, made_model, trained_file
from gen2reco.run.model_folder import CARD, EVALUATION
from gen2reco.track.regular import NotTaken, read
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
_LARGEST, _LARGEST_OF_REPORT = 2**24, 2**28
"""Bytes of a file of the configuration, and of others."""
_TEXT = {".json", ".html", ".md", ".txt", ".csv", ".svg", ".yaml", ".yml", ".cmnd"}
_STATUS = {"FINISHED": "CompletedActionStatus", "FAILED": "FailedActionStatus", "KILLED": "FailedActionStatus"}


def export(results: Path, output: Path, licence: str | None = None) -> Path:
    """Write the crate of a campaign: a new folder, or one file if `output` ends in `.zip`.

    Only files of the campaign's results, its configuration and the workflow go into it: regular, no links, not large.
    Raises InputError if there is no campaign or the output exists already.
    """
    results, output = Path(results), Path(output)
    lock, tracked = read_lock(results), campaign_runs(results)
    if os.path.lexists(output):
        raise InputError(f"{output}: exists already; give a new name")
    if not lock["samples"]:
        raise InputError(f"{results}: holds no plan.lock.json; only a planned campaign can be exported")
    with tempfile.TemporaryDirectory() as temporary:
        crate = _crate(results, tracked, lock, licence or lock.get("licence") or LICENCE, Path(temporary))
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


def _crate(results: Path, tracked: CampaignRuns, lock: dict, licence: str, scratch: Path) -> "ROCrate":
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
    inputs += _configuration(crate, scratch, lock)
    outputs = _digests(crate, scratch, results, lock) + _models(crate, scratch, results, lock)
    outputs += [
        _add(crate, scratch, path, results, f"{folder}/{path.name}", "part of the report")
        for path, folder in top.artifacts
        if folder != "plan"
    ]
    crate.root_dataset["mentions"] = _action(crate, tracked, workflow, inputs, outputs)
    _readme(crate, scratch, tracked)
    return crate


def _workflow(crate: "ROCrate") -> "Entity":
    """The Snakemake workflow and its rules."""
    root = _checkout()
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


def _checkout() -> Path | None:
    """The folder of the workflow."""
    return next((p for p in (Path(gen2reco.__file__).parents[2], Path.cwd()) if (p / "Snakefile").is_file()), None)


def _configuration(crate: "ROCrate", scratch: Path, lock: dict) -> list["Entity"]:
    """The campaign file and those that its fields of paths name, as far as they lie in its folder or the checkout and
    are still what the plan was made from; the others are named in a warning."""
    files, campaign = lock["files"], Path(lock["campaign_file"])
    try:
        named = {os.path.normpath(file) for file in named_files(campaign)}
    except InputError as error:
        named = {os.path.normpath(campaign)}
        _left(str(error))
    found = []
    for name, known in files.items():
        if os.path.normpath(name) not in named:
            _left(f"{name}: is not named by a field that holds a path")
            continue
        try:
            inside, content = _configured(Path(os.path.normpath(name)), campaign.parent, known)
            found.append(_put(crate, scratch, content, inside, "configuration"))
        except NotTaken as error:
            _left(f"{name}: {error}")
    return found


def _configured(path: Path, folder: Path, known: str) -> tuple[str, bytes]:
    """Where a file of the configuration goes in the crate, and its content. Raises NotTaken."""
    roots = [(root.absolute(), place) for root, place in ((_checkout(), ""), (folder, "campaign")) if root]
    root, place = next((found for found in roots if path.absolute().is_relative_to(found[0])), (None, ""))
    if root is None:
        raise NotTaken("lies outside the campaign's folder and the checkout")
    inside = path.absolute().relative_to(root)
    if path.suffix not in _TEXT or any(part.startswith(".") for part in inside.parts):
        raise NotTaken("is hidden, or no configuration by its name")
    content = read(path, root, _LARGEST)
    if hashlib.sha256(content).hexdigest() != known:
        raise NotTaken("has changed since it was planned")
    return (Path(place) / inside).as_posix(), content


def _left(what: str) -> None:
    logging.getLogger(__name__).warning("not taken into the crate: %s", what)


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
                found.append(_put(crate, scratch, read(path, results, _LARGEST), inside, f"of the model {name}"))
            except NotTaken as error:
                _left(f"{path}: {error}")
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


def _readme(crate: "ROCrate", scratch: Path, tracked: CampaignRuns) -> None:
    text = f"# {crate.name}\n\n{crate.description} Event records are recognised by `sha256sums.txt`.\n\n"
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
    if suffix in _TEXT:
        content = scrub_file(content, suffix)
    copy = scratch / inside
    copy.parent.mkdir(parents=True, exist_ok=True)
    copy.write_bytes(content)
    formats = {".json": "application/json", ".html": "text/html", ".png": "image/png", ".yaml": "application/yaml"}
    form = formats.get(suffix, "text/plain")
    return crate.add_file(copy, inside, properties={"name": name, "encodingFormat": form})


def _licence(crate: "ROCrate", name: str) -> "Entity":
    uri = name if name.startswith(("http://", "https://")) else f"https://spdx.org/licenses/{name}"
    return (
        crate.add_jsonld({"@id": uri, "@type": "CreativeWork", "name": name}) if not crate.get(uri) else crate.get(uri)
    )


def _profile(crate: "ROCrate", uri: str) -> "Entity":
    name, version = PROFILES[uri]
    return crate.add_jsonld({"@id": uri, "@type": "CreativeWork", "name": name, "version": version})
