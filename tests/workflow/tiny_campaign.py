"""The tiny campaign: a driver as a user starts it, and the bytes that it leaves."""

import hashlib
import subprocess
import sys
from pathlib import Path

from repository import REPOSITORY

TINY = REPOSITORY / "tests/data/tiny.yaml"


def digests(folder: Path) -> dict[str, str]:
    """Record file → sha256, below a working folder."""
    files = sorted(folder.glob("results/*/*/*/*.parquet"))
    return {str(f.relative_to(folder)): hashlib.sha256(f.read_bytes()).hexdigest() for f in files}


def start(folder: Path, campaign: Path, cores: int, *targets: str) -> subprocess.Popen:
    """Start Snakemake as a user does, in a process group of its own."""
    command = [sys.executable, "-m", "snakemake", *targets, "--snakefile", REPOSITORY / "Snakefile"]
    command += [
        "--cores",
        str(cores),
        "--workflow-profile",
        REPOSITORY / "profiles/default",
        "--set-threads",
        f"simulate={cores}",
    ]
    log = (folder / "driver.log").open("a")
    arguments = [*map(str, command), "--config", f"campaign={campaign}"]
    return subprocess.Popen(arguments, cwd=folder, stdout=log, stderr=log, start_new_session=True)
