"""The sidecar beside each record file: what was done, by what, at what cost."""

import hashlib
import json
import os
import platform
import resource
from pathlib import Path

from gen2reco import __version__
from gen2reco.campaign.whole import regular_file, whole
from gen2reco.errors import InputError


def sidecar_path(output: Path | str) -> Path:
    """`hits.parquet` → `hits.json`."""
    return Path(output).with_suffix(".json")


def write_sidecar(output: Path, facts: dict) -> None:
    """Write the sidecar of `output` atomically, with host, code version and Slurm job added."""
    slurm = {"slurm_job_id": os.environ["SLURM_JOB_ID"]} if "SLURM_JOB_ID" in os.environ else {}
    facts = {**facts, "host": platform.node(), "code_version": __version__, **slurm}
    write_text(sidecar_path(output), json.dumps(facts, indent=1, sort_keys=True) + "\n")


def write_text(path: Path, text: str) -> None:
    """Write a text file atomically. Raises InfrastructureError when the folder or disk refuses."""
    with whole(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def read_sidecar(output: Path | str) -> dict:
    """The sidecar of a record file. Raises InputError if missing or damaged."""
    path = sidecar_path(output)
    try:
        return json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; every stage writes one beside its output") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: damaged sidecar: {error}") from None


def file_digest(path: Path | str) -> str:
    """The sha256 (hex) of a regular file's bytes. Raises InputError, OSError."""
    with regular_file(path).open("rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def peak_memory_mb() -> int:
    """The largest resident set of this process so far, in MB."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
