"""Talk to Slurm by its commands: what the cluster has, what is in the queue, what jobs came to and cost."""

import getpass
import hashlib
import re
import shutil
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from gen2reco.errors import InfrastructureError

SECONDS = 60
"""How long a Slurm command may take before it counts as failed."""


@dataclass(frozen=True)
class Partition:
    """A queue: its longest job in minutes (None: no limit), the accounts it takes (None: all)."""

    name: str
    up: bool
    default: bool
    minutes: float | None
    accounts: frozenset[str] | None


@dataclass(frozen=True)
class Node:
    """A compute node: memory in MB, GPUs by type (`""` for a GPU without a type)."""

    name: str
    partitions: frozenset[str]
    cpus: int
    memory_mb: int
    gpus: dict[str, int]


@dataclass(frozen=True)
class Spent:
    """What the accounting tells of one job."""

    state: str
    seconds: float
    gpus: int
    nodes: str


def available() -> bool:
    """Whether Slurm's commands are here."""
    return shutil.which("sbatch") is not None


def query(*command: str, seconds: float | None = SECONDS) -> list[str]:
    """The lines that a Slurm command prints. Raises InfrastructureError with what it complained of."""
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=seconds)
    except FileNotFoundError:
        raise InfrastructureError(f"`{command[0]}` is not here; run on a login node of the cluster") from None
    except subprocess.TimeoutExpired:
        raise InfrastructureError(f"`{command[0]}` gave no answer in {SECONDS} s; is the controller up?") from None
    if done.returncode:
        complaint = done.stderr.strip().splitlines() or [f"exit code {done.returncode}"]
        raise InfrastructureError(f"`{command[0]}` failed: {complaint[-1]}")
    return done.stdout.splitlines()


def partitions() -> dict[str, Partition]:
    """The partitions by name."""
    found = [_fields(line) for line in query("scontrol", "show", "partition", "-o")]
    return {f["PartitionName"]: _partition(f) for f in found if "PartitionName" in f}


def nodes() -> list[Node]:
    """All compute nodes."""
    return [_node(f) for f in map(_fields, query("scontrol", "show", "node", "-o")) if "NodeName" in f]


def associations() -> tuple[set[str], set[str]]:
    """The accounts and QoS that the accounting lets this user have; empty where it cannot tell."""
    try:
        lines = query("sacctmgr", "-nP", "show", "assoc", f"user={getpass.getuser()}", "format=account,qos")
    except InfrastructureError:
        return set(), set()
    rows = [line.split("|") for line in lines if "|" in line]
    return {row[0] for row in rows if row[0]}, {q for row in rows for q in row[1].split(",") if q}


def job_prefix(campaign: str) -> str:
    """What the names of a campaign's jobs start with: at most 50 characters."""
    short = campaign if len(campaign) <= 40 else f"{campaign[:31]}{hashlib.sha256(campaign.encode()).hexdigest()[:8]}"
    return f"g2r-{short}"


def shard_jobs(campaign: str) -> list[str]:
    """Ids of the jobs, queued or running, that a driver of the campaign submitted from this folder."""
    return _queued(re.compile(re.escape(job_prefix(campaign)) + "_" + _UUID))


def driver_jobs(campaign: str) -> list[str]:
    """Ids of the campaign's drivers, queued or running as Slurm jobs, of this folder."""
    return _queued(re.compile(re.escape(f"{job_prefix(campaign)}-driver")))


def cancel(ids: list[str], seconds: float = 300.0) -> None:
    """Cancel jobs and wait until they have left their nodes. Raises InfrastructureError if some do not."""
    for start in range(0, len(ids), 500):
        query("scancel", *ids[start : start + 500])
    end = time.monotonic() + seconds
    while left := set(ids) & _alive():
        if time.monotonic() > end:
            raise InfrastructureError(f"jobs {', '.join(sorted(left)[:5])} do not end {seconds:g} s after scancel")
        time.sleep(1)


def states(ids: list[str]) -> dict[str, Spent]:
    """Job id → what the accounting tells, of those it knows; nothing at all where it does not answer."""
    found: dict[str, Spent] = {}
    for start in range(0, len(ids), 500):
        found |= _accounted("-j", ",".join(ids[start : start + 500]))
    return found


def gpu_hours(campaign: str, since: float) -> float | None:
    """GPU hours spent by the campaign's jobs since a time (seconds since 1970); None where Slurm cannot tell."""
    begin = time.strftime("%Y-%m-%dT%H:%M:%S", time.localtime(since))
    spent = _accounted("-S", begin, "-u", getpass.getuser(), name=job_prefix(campaign))
    return sum(job.seconds * job.gpus for job in spent.values()) / 3600 if spent else None


_UUID = r"[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}"


def _queued(name: re.Pattern) -> list[str]:
    here = str(Path.cwd())
    rows = [line.split("|", 2) for line in query("squeue", "-h", "-u", getpass.getuser(), "-o", "%A|%j|%Z")]
    return [job for job, title, folder in rows if name.fullmatch(title) and folder == here]


def _alive() -> set[str]:
    return set(query("squeue", "-h", "-u", getpass.getuser(), "-o", "%A"))


def _accounted(*which: str, name: str = "") -> dict[str, Spent]:
    columns = "--format=JobIDRaw,JobName,State,ElapsedRaw,AllocTRES,NodeList"
    try:
        lines = query("sacct", "-X", "-n", "-P", columns, *which)
    except InfrastructureError:
        return {}
    rows = [line.split("|") for line in lines]
    return {
        row[0]: Spent(row[2].split(" ")[0], float(row[3] or 0), _gpus_in(row[4]), row[5])
        for row in rows
        if len(row) == 6 and (not name or row[1] == name or row[1].startswith((f"{name}_", f"{name}-")))
    }


def _gpus_in(tres: str) -> int:
    """`billing=1,cpu=4,gres/gpu=2,gres/gpu:a100=2` → 2."""
    counts = re.findall(r"gres/gpu(:[^=,]+)?=(\d+)", tres)
    plain = [int(count) for kind, count in counts if not kind]
    return plain[0] if plain else sum(int(count) for _, count in counts)


def _fields(line: str) -> dict[str, str]:
    return dict(word.split("=", 1) for word in line.split() if "=" in word)


def _partition(fields: dict[str, str]) -> Partition:
    accounts = fields.get("AllowAccounts", "ALL")
    return Partition(
        fields["PartitionName"],
        fields.get("State") == "UP",
        fields.get("Default") == "YES",
        _minutes(fields.get("MaxTime", "UNLIMITED")),
        None if accounts == "ALL" else frozenset(accounts.split(",")),
    )


def _node(fields: dict[str, str]) -> Node:
    return Node(
        fields["NodeName"],
        frozenset(fields.get("Partitions", "").split(",")),
        int(fields.get("CPUEfctv", fields.get("CPUTot", 0))),
        int(fields.get("RealMemory", 0)),
        _gres(fields.get("Gres", "")),
    )


def _gres(text: str) -> dict[str, int]:
    """`gpu:a100:4(S:0-1),gpu:t4:2` → {"a100": 4, "t4": 2}; `gpu:4` → {"": 4}."""
    found: dict[str, int] = {}
    for kind, count in re.findall(r"gpu(?::([A-Za-z_][^:,()]*))?:(\d+)", text):
        found[kind] = found.get(kind, 0) + int(count)
    return found


def _minutes(text: str) -> float | None:
    """Slurm's `days-hours:minutes:seconds`, in minutes; None for no limit."""
    if text in ("UNLIMITED", "NONE", "INFINITE"):
        return None
    days, _, clock = text.rpartition("-")
    parts = [int(part) for part in clock.split(":")]
    seconds = parts + [0] * (3 - len(parts))
    return int(days or 0) * 1440 + seconds[0] * 60 + seconds[1] + seconds[2] / 60
