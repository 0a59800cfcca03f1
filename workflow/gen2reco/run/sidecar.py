"""The sidecar of a record file: a JSON file of the same name with status, provenance and cost."""

import json
import os
import platform
import resource
from pathlib import Path
from typing import Annotated, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints

from gen2reco import __version__
from gen2reco.config.block import load_json, parse_block
from gen2reco.errors import InputError
from gen2reco.files import MAX_TEXT, file_digest, write_text

SIDECAR_KEYS = ("status", "stage", "sha256", "events_in", "events_out")
Count = Annotated[int, Field(ge=0, lt=2**63)]
Cost = Annotated[float, Field(ge=0, lt=1e12)]


def sidecar_path(output: Path | str) -> Path:
    """`hits.parquet` → `hits.json`."""
    return Path(output).with_suffix(".json")


def write_sidecar(output: Path, facts: dict) -> None:
    """Write the sidecar of `output` whole or not at all, with host, code version and Slurm job added."""
    slurm = {"slurm_job_id": os.environ["SLURM_JOB_ID"]} if "SLURM_JOB_ID" in os.environ else {}
    facts = {**facts, "host": platform.node(), "code_version": __version__, **slurm}
    write_text(sidecar_path(output), json.dumps(facts, indent=1, sort_keys=True) + "\n")


class Sidecar(BaseModel):
    """The fields of every sidecar; backends add facts of their own.

    `startup_seconds`: those of `cpu_seconds` (on an accelerator, of `wall_seconds`) that passed before the first chunk,
    in imports, compilation and the engine's start, whatever the number of events; missing in older sidecars.
    """

    model_config = ConfigDict(strict=True, extra="allow", allow_inf_nan=False)

    status: Literal["ok", "failed"]
    stage: Annotated[str, StringConstraints(max_length=64)]
    sha256: Annotated[str, StringConstraints(pattern="^[0-9a-f]{64}$")]
    events_in: Count
    events_out: Count
    events_failed: Count = 0
    oversample: Annotated[int, Field(ge=1)] = 1
    network_evaluations: Count = 0
    wall_seconds: Cost = 0.0
    cpu_seconds: Cost = 0.0
    startup_seconds: Cost = 0.0
    peak_memory_mb: Cost = 0.0
    failure_reasons: dict[str, Count] = {}


def read_sidecar(output: Path | str) -> dict:
    """The sidecar of a record file. Raises InputError if it is missing, damaged or of another program."""
    path = sidecar_path(output)
    if not path.exists():
        raise InputError(f"{path}: no such file; every stage writes one with its output")
    return read_facts(path)


def read_facts(path: Path) -> dict:
    """The facts in a sidecar file. Raises InputError if it is damaged or of another program."""
    facts = load_json(path, MAX_TEXT)
    parse_block(facts, Sidecar, f"{path}: no sidecar of a stage, make the stage again")
    return facts


def check_source(path: Path, failed: bool = False) -> str:
    """The sha256 of a stage's input, compared with its sidecar if it has one.

    Raises InputError where the two differ, or where the status is `failed` and `failed` does not allow it.
    """
    found = file_digest(path)
    if not sidecar_path(path).exists():
        return found
    facts = read_sidecar(path)
    if facts["sha256"] != found:
        raise InputError(f"{path}: its bytes are not those that {sidecar_path(path)} tells; make or copy both again")
    if facts["status"] == "failed" and not failed:
        raise InputError(f"{path}: its status is `failed`: {failure(facts)}; make it again")
    return found


def check_rows(file: Path, facts: dict) -> None:
    """Raises InputError where a record file does not hold as many events as its sidecar counts."""
    from gen2reco.events.records import Source

    if (rows := Source(file).num_rows) != facts["events_out"]:
        raise InputError(
            f"{file}: holds {rows} events, its sidecar counts {facts['events_out']}; delete both, run again"
        )


def is_whole(output: Path) -> bool:
    """Whether a stage's file exists, has the sha256 of its sidecar, and did not fail."""
    try:
        return sidecar_path(output).exists() and bool(check_source(output))
    except InputError:
        return False


def failure(facts: dict) -> str:
    """A text on how many events of a stage failed and why, from its sidecar."""
    text = f"{facts.get('events_failed', 0)} of {facts['events_in']} events cannot be processed"
    reasons = facts.get("failure_reasons", {})
    return text + (": " if reasons else "") + "; ".join(f"{reason} ({n})" for reason, n in reasons.items())


def peak_memory_mb() -> int:
    """Peak resident memory of this process so far, MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
