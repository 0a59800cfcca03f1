"""Query Slurm through its commands: partitions and nodes, the queue, and the accounting of jobs."""

import getpass
import hashlib
import re
import shutil
import subprocess
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gen2reco.batch import slurm_words as words
from gen2reco.batch.slurm_words import Gres
from gen2reco.errors import InfrastructureError

SECONDS = 60
"""How long a Slurm command may take before it counts as failed."""
_UNUSABLE = {"DOWN", "DRAIN", "DRAINED", "DRAINING", "FAIL", "FAILING", "FUTURE", "ERROR", "INVAL", "UNKNOWN"}


@dataclass(frozen=True)
class Partition:
    """A partition: its time limit in minutes (None: no limit), the accounts that may use it (None: all)."""

    name: str
    up: bool
    default: bool
    minutes: float | None
    accounts: frozenset[str] | None
    no_accounts: frozenset[str] = frozenset()
    qos: frozenset[str] | None = None
    """The QoS that may use it; None: all."""
    no_qos: frozenset[str] = frozenset()
    memory_mb: int = 0
    """Default memory of a job, MB."""
    memory_per_cpu_mb: int = 0
    """Default memory for each CPU of a job, MB."""
    most_memory_mb: int | None = None
    """Largest memory of a job on one node; None: no limit."""
    most_cpus: int | None = None
    """Most CPUs of a job on one node; None: no limit."""
    unread: tuple[str, ...] = ()
    """Fields that could not be read."""


@dataclass(frozen=True)
class Node:
    """A compute node: memory in MB, number of GPUs by type (`""` for a GPU without a type)."""

    name: str
    partitions: frozenset[str]
    cpus: int
    memory_mb: int
    gpus: dict[str, int]
    gres: tuple[Gres, ...] = ()
    """Its other generic resources."""
    features: frozenset[str] = frozenset()
    usable: bool = True
    """Whether it is neither down nor draining."""
    unread: tuple[str, ...] = ()
    """Fields that could not be read."""


@dataclass(frozen=True)
class Spent:
    """The accounting's record of one job."""

    state: str
    seconds: float
    gpus: int
    nodes: str


def available() -> bool:
    """Whether this machine has Slurm's commands."""
    return shutil.which("sbatch") is not None


def query(*command: str, seconds: float | None = SECONDS) -> list[str]:
    """The lines that a Slurm command prints. Raises InfrastructureError with its error message."""
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
    """The accounts and QoS of this user; empty where the accounting gives none."""
    try:
        lines = query("sacctmgr", "-nP", "show", "assoc", f"user={getpass.getuser()}", "format=account,qos")
    except InfrastructureError:
        return set(), set()
    rows = [line.split("|") for line in lines if "|" in line]
    return {row[0] for row in rows if row[0]}, {q for row in rows for q in row[1].split(",") if q}


def job_prefix(campaign: str) -> str:
    """The prefix of the names of a campaign's jobs, at most 50 characters."""
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
    """The accounting's records by job id; empty where it does not answer."""
    found: dict[str, Spent] = {}
    for start in range(0, len(ids), 500):
        found |= _accounted("-j", ",".join(ids[start : start + 500]))
    return found


def gpu_hours(campaign: str, since: float) -> float | None:
    """GPU hours spent by the campaign's jobs since a time (seconds since 1970); None without accounting."""
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
    """`A=1 B=2 Reason=text A=3` → {"A": "1", "B": "2", "Reason": "text"}: the first counts, for free text comes
    last."""
    return dict(reversed([word.split("=", 1) for word in line.split() if "=" in word]))


class _Fields:
    """The fields of a line of scontrol; `unread` lists those that could not be read."""

    def __init__(self, fields: dict[str, str]):
        self.fields = fields
        self.unread: list[str] = []

    def read(self, key: str, read: Callable[[str], Any], default: Any) -> Any:
        """The value of a field; the default where it is missing or cannot be read."""
        text = self.fields.get(key)
        if text is None:
            return default
        try:
            return read(text)
        except ValueError:
            self.unread.append(f"{key}={text[:80]}")
            return default


def _partition(fields: dict[str, str]) -> Partition:
    of = _Fields(fields)
    return Partition(
        fields["PartitionName"],
        fields.get("State", "UP") == "UP",
        fields.get("Default") == "YES",
        of.read("MaxTime", words.minutes, None),
        of.read("AllowAccounts", _names, None),
        of.read("DenyAccounts", _names, None) or frozenset(),
        of.read("AllowQos", _names, None),
        of.read("DenyQos", _names, None) or frozenset(),
        of.read("DefMemPerNode", _limit(words.megabytes), None) or 0,
        of.read("DefMemPerCPU", _limit(words.megabytes), None) or 0,
        of.read("MaxMemPerNode", _limit(words.megabytes), None) or None,
        of.read("MaxCPUsPerNode", _limit(int), None),
        tuple(of.unread),
    )


def _node(fields: dict[str, str]) -> Node:
    of = _Fields(fields)
    found = of.read("Gres", words.gres, [])
    gpus: dict[str, int] = {}
    for one in found:
        if one.name == "gpu":
            gpus[one.type] = gpus.get(one.type, 0) + one.count
    return Node(
        fields["NodeName"],
        frozenset(fields.get("Partitions", "").split(",")),
        of.read("CPUEfctv", int, 0) or of.read("CPUTot", int, 0),
        of.read("RealMemory", int, 0),
        gpus,
        tuple(one for one in found if one.name != "gpu"),
        _features(fields),
        _usable(fields.get("State", "")),
        tuple(of.unread),
    )


def _features(fields: dict[str, str]) -> frozenset[str]:
    """The features that a node has, or can have after a reboot."""
    texts = (fields.get(key, "") for key in ("AvailableFeatures", "ActiveFeatures", "Features"))
    return frozenset(name for text in texts for name in text.split(",") if name not in ("", "(null)"))


def _usable(state: str) -> bool:
    """Whether a state lets jobs start: `IDLE`, `MIXED+PLANNED`, `idle~` (asleep) do; `IDLE+DRAIN`, `DOWN*`, `idle*`
    (not answering) do not."""
    flags = {flag.rstrip("*~#!%$@^-") for flag in state.upper().split("+")}
    return not flags & _UNUSABLE and "*" not in state


def _names(text: str) -> frozenset[str] | None:
    """The names in a list; None where it is empty or means all."""
    return None if text in ("ALL", "(null)", "") else frozenset(text.split(","))


def _limit(read: Callable[[str], Any]) -> Callable[[str], Any]:
    """`read`, with None for `UNLIMITED` and its like."""
    return lambda text: None if text in ("UNLIMITED", "INFINITE", "(null)", "N/A") else read(text)
