"""A campaign to take away: a Workflow Run RO-Crate with plan, configuration, digests, metrics, report and licence.

Event records and weights stay where they are; the crate holds their sha256, by which any copy can be recognised.
Profiles: Process Run Crate, Workflow Run Crate 0.5, Workflow RO-Crate 1.0 (w3id.org/ro/wfrun).
"""

import json
import shutil
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any

import gen2reco
from gen2reco.errors import InfrastructureError, InputError
from gen2reco.track.secrets import scrub
from gen2reco.track.shards import shards_of
from gen2reco.track.story import Run, Story, read_lock, stage_folders, tell

if TYPE_CHECKING:
    from rocrate.model.entity import Entity
    from rocrate.rocrate import ROCrate

PROFILES = {
    "https://w3id.org/ro/wfrun/process/0.5": ("Process Run Crate", "0.5"),
    "https://w3id.org/ro/wfrun/workflow/0.5": ("Workflow Run Crate", "0.5"),
    "https://w3id.org/workflowhub/workflow-ro-crate/1.0": ("Workflow RO-Crate", "1.0"),
}
LICENCE = "CC-BY-4.0"
_TEXT = {".json", ".html", ".md", ".txt", ".csv", ".svg", ".yaml", ".yml", ".cmnd"}
_STATUS = {"FINISHED": "CompletedActionStatus", "FAILED": "FailedActionStatus", "KILLED": "FailedActionStatus"}


def export(results: Path, output: Path, licence: str | None = None) -> Path:
    """Write the crate of a campaign: a new folder, or one file if `output` ends in `.zip`.

    Raises InputError if there is no campaign or the output exists already.
    """
    results, output = Path(results), Path(output)
    lock, story = read_lock(results), tell(results)
    if output.exists():
        raise InputError(f"{output}: exists already; give a new name")
    if not lock["samples"]:
        raise InputError(f"{results}: holds no plan.lock.json; only a planned campaign can be exported")
    with tempfile.TemporaryDirectory() as temporary:
        crate = _crate(results, story, lock, licence or lock.get("licence") or LICENCE, Path(temporary))
        try:
            output.parent.mkdir(parents=True, exist_ok=True)
            crate.write_zip(output) if output.suffix == ".zip" else crate.write(output)
        except OSError as error:
            raise InfrastructureError(f"{output}: cannot be written: {error.strerror or error}") from None
    return output


def _crate(results: Path, story: Story, lock: dict, licence: str, scratch: Path) -> "ROCrate":
    from rocrate.rocrate import ROCrate

    top = story.runs[0]
    crate = ROCrate(gen_preview=False, version="1.1")
    crate.name = f"gen2reco campaign {story.campaign}, plan revision {lock['revision']}"
    crate.description = f"Simulated and reconstructed collider events: {', '.join(lock['samples'])}."
    crate.datePublished = _moment(top.end) or datetime.now(UTC).isoformat(timespec="seconds")
    crate.root_dataset["license"] = _licence(crate, licence)
    crate.root_dataset["conformsTo"] = [_profile(crate, uri) for uri in PROFILES]
    workflow = _workflow(crate)
    inputs = [_add(crate, scratch, results / "plan.lock.json", "plan.lock.json", "the frozen plan")]
    inputs += _configuration(crate, scratch, lock)
    outputs = _digests(crate, scratch, results, lock)
    outputs += [
        _add(crate, scratch, path, f"{folder}/{path.name}", "part of the report")
        for path, folder in top.artifacts
        if folder != "plan"
    ]
    crate.root_dataset["mentions"] = _action(crate, story, workflow, inputs, outputs)
    _readme(crate, scratch, story)
    return crate


def _workflow(crate: "ROCrate") -> "Entity":
    """The Snakemake workflow and its rules."""
    root = next((p for p in (Path(gen2reco.__file__).parents[2], Path.cwd()) if (p / "Snakefile").is_file()), None)
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


def _configuration(crate: "ROCrate", scratch: Path, lock: dict) -> list["Entity"]:
    """The campaign file and those it names, as far as they are still what the plan was made from."""
    from gen2reco.campaign.sidecar import file_digest

    found = []
    for name, known in lock.get("files", {}).items():
        path = Path(name)
        if path.is_file() and path.suffix in _TEXT and file_digest(path) == known:
            inside = path.as_posix() if not path.is_absolute() and ".." not in path.parts else f"configs/{path.name}"
            found.append(_add(crate, scratch, path, inside, "configuration"))
    return found


def _digests(crate: "ROCrate", scratch: Path, results: Path, lock: dict) -> list["Entity"]:
    """`sha256sums.txt` of all record files, and the sidecars of each sample's stage in one file."""
    lines, entities = [], []
    for sample, stage in stage_folders(results, lock):
        shards = shards_of(results, sample, stage)
        if shards is None:
            continue
        lines += [f"{fact.get('sha256')}  {sample}/{stage}/{n:05d}.parquet" for n, fact in sorted(shards.facts.items())]
        text = json.dumps([fact for _, fact in sorted(shards.facts.items())], indent=1, sort_keys=True)
        path = scratch / f"{sample}-{stage}.json"
        path.write_text(text, encoding="utf-8")
        entities.append(_add(crate, scratch, path, f"sidecars/{path.name}", f"how {sample} {stage} was made, by shard"))
    sums = scratch / "sha256sums.txt"
    sums.write_text("\n".join(lines) + "\n", encoding="utf-8")
    return [*entities, _add(crate, scratch, sums, "sha256sums.txt", "digests of all event records")]


def _action(
    crate: "ROCrate", story: Story, workflow: "Entity", inputs: list["Entity"], outputs: list["Entity"]
) -> "Entity":
    """The run of the campaign, with metrics and costs as properties."""
    top = story.runs[0]
    properties = {**_times(top), "name": top.name, "description": _summary(story)}
    sources = inputs if len(inputs) > 1 else inputs[0]
    action = crate.add_action(workflow, f"#{top.key.replace('/', '-')}", sources, outputs, properties)
    for run in story.runs:
        for key, value in _latest(run).items():
            if not key.startswith("shard/"):
                action.append_to("additionalProperty", _property(crate, f"{run.name}: {key}", value))
    return action


def _readme(crate: "ROCrate", scratch: Path, story: Story) -> None:
    path = scratch / "README.md"
    text = f"# {crate.name}\n\n{crate.description} Event records are recognised by `sha256sums.txt`.\n\n"
    path.write_text(text + story.runs[0].note + "\n", encoding="utf-8")
    readme = _add(crate, scratch, path, "README.md", "what this crate holds")
    readme["encodingFormat"], readme["about"] = "text/markdown", crate.root_dataset


def _summary(story: Story) -> str:
    return f"{len(story.runs) - 1} runs: " + ", ".join(f"{run.name} ({run.status.lower()})" for run in story.runs[1:])


def _property(crate: "ROCrate", name: str, value: float) -> "Entity":
    content = {"@id": f"#property-{len(crate.contextual_entities)}", "@type": "PropertyValue"}
    return crate.add_jsonld({**content, "name": name, "value": value})


def _latest(run: Run) -> dict[str, float]:
    return {p.key: p.value for p in sorted(run.points, key=lambda p: (p.step, p.time)) if p.value == p.value}


def _times(run: Run) -> dict[str, Any]:
    status = f"http://schema.org/{_STATUS.get(run.status, 'ActiveActionStatus')}"
    times = {"startTime": _moment(run.start), "endTime": _moment(run.end)}
    return {"actionStatus": status, **{key: value for key, value in times.items() if value}}


def _moment(milliseconds: int | None) -> str | None:
    if not milliseconds:
        return None
    return datetime.fromtimestamp(milliseconds / 1000, UTC).isoformat(timespec="seconds")


def _add(crate: "ROCrate", scratch: Path, source: Path, inside: str, name: str) -> "Entity":
    """Add a copy of a file without credentials."""
    copy = scratch / "files" / inside
    copy.parent.mkdir(parents=True, exist_ok=True)
    if source.suffix in _TEXT:
        copy.write_text(scrub(source.read_text(encoding="utf-8", errors="replace")), encoding="utf-8")
    else:
        shutil.copyfile(source, copy)
    formats = {".json": "application/json", ".html": "text/html", ".png": "image/png", ".yaml": "application/yaml"}
    form = formats.get(source.suffix, "text/plain")
    return crate.add_file(copy, inside, properties={"name": name, "encodingFormat": form})


def _licence(crate: "ROCrate", name: str) -> "Entity":
    uri = name if name.startswith(("http://", "https://")) else f"https://spdx.org/licenses/{name}"
    return (
        crate.add_jsonld({"@id": uri, "@type": "CreativeWork", "name": name}) if not crate.get(uri) else crate.get(uri)
    )


def _profile(crate: "ROCrate", uri: str) -> "Entity":
    name, version = PROFILES[uri]
    return crate.add_jsonld({"@id": uri, "@type": "CreativeWork", "name": name, "version": version})
