"""Snakemake's profiles as far as a cluster is concerned: what their jobs ask for, and whether the cluster has it."""

import re
import subprocess
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import Any

from gen2reco.campaign import slurm
from gen2reco.campaign.config import load_yaml
from gen2reco.campaign.resources import first_attempt, pairs, pairs_of_rules
from gen2reco.errors import InputError

REPOSITORY = Path(__file__).parents[3]
FILES = ("profile.yaml", "config.yaml")
NOT_SEEN = 33  # exit code of a probe


@dataclass(frozen=True)
class Profile:
    """A profile as read from its file."""

    path: Path
    settings: dict[str, Any] = field(default_factory=dict)

    @property
    def on_slurm(self) -> bool:
        """Whether its jobs go to Slurm."""
        return self.settings.get("executor") == "slurm"

    def resources(self, rule: str) -> dict[str, Any]:
        """The resources of a rule's first attempt; what only a running job can work out stays as it is written."""
        threads = self._pairs("set-threads").get(rule, 1)
        return first_attempt({**self._pairs("default-resources"), **self.set_resources.get(rule, {})}, threads)

    @property
    def set_resources(self) -> dict[str, dict[str, Any]]:
        """Rule → the resources that are set for it."""
        return pairs_of_rules(self.settings.get("set-resources"), f"{self.path}: set-resources")

    @property
    def groups(self) -> dict[str, str]:
        """Rule → the group it goes with."""
        return {rule: str(group) for rule, group in self._pairs("groups").items()}

    def shards_at_once(self, group: str) -> int:
        """How many shards of a group go as one job."""
        given = self._pairs("group-components").get(group, 1)
        if (number := _number(given)) is None or number < 1:
            raise InputError(f"{self.path}: group-components: {group} = {given!r}: expected a whole number from 1")
        return number

    def _pairs(self, key: str) -> dict[str, Any]:
        return pairs(self.settings.get(key), f"{self.path}: {key}")


@dataclass(frozen=True)
class Request:
    """What a job asks Slurm for. `rules` tells whose job it is; `gpu_type` is empty where any type will do."""

    rules: str
    partition: str | None = None
    account: str | None = None
    qos: str | None = None
    cpus: int = 1
    memory_mb: int = 0
    minutes: float = 0
    gpus: int = 0
    gpu_type: str = ""

    @classmethod
    def of(cls, rules: str, resources: Mapping[str, Any]) -> "Request":
        """The request that Snakemake's Slurm executor makes of these resources."""
        cpus = (
            _number(resources.get("cpus_per_task")) or _number(resources.get("threads", resources.get("_cores"))) or 1
        )
        per_cpu = _number(resources.get("mem_mb_per_cpu"))
        gres = re.fullmatch(r"gpu(?::([A-Za-z_]\w*))?(?::(\d+))?", str(resources.get("gres", "")))
        gpus, gpu_type = _number(resources.get("gpu")) or 0, str(resources.get("gpu_model") or "")
        if gres:
            gpus, gpu_type = int(gres[2] or 1), gres[1] or ""
        return cls(
            rules,
            _word(resources.get("slurm_partition")),
            _word(resources.get("slurm_account")),
            _word(resources.get("qos")),
            cpus,
            per_cpu * cpus if per_cpu else _number(resources.get("mem_mb")) or 0,
            _number(resources.get("runtime")) or 0,
            gpus,
            gpu_type,
        )


def load_profile(name: str) -> Profile:
    """Read a profile by its path, or by its name in `profiles/`, here or in the repository. Raises InputError."""
    places = [Path(name), Path("profiles", name), REPOSITORY / "profiles" / name]
    files = [place / file for place in places for file in FILES] + [place for place in places if place.is_file()]
    path = next((file for file in files if file.is_file()), None)
    if path is None:
        known = sorted(folder.name for folder in (REPOSITORY / "profiles").glob("*/"))
        raise InputError(f"no profile `{name}`; known: {', '.join(known)}, or give the path of its folder")
    settings = load_yaml(path)
    if "__use_yte__" in settings:
        raise InputError(f"{path}: a template (`__use_yte__`), whose text is run; expected plain YAML")
    return Profile(path, settings)


def requests(profile: Profile, roads: Iterable[Sequence[tuple[str, str]]]) -> list[Request]:
    """What jobs will ask for under a profile, of samples that go these roads of (stage, device): the rules of a group
    go as one job. Raises InputError for groups that cannot be."""
    jobs = {rules: None for road in roads for rules in _jobs(profile, road)}
    return [_request(profile, rules) for rules in jobs]


def _jobs(profile: Profile, road: Sequence[tuple[str, str]]) -> list[tuple[str, ...]]:
    """The rules of each job of a shard, in the order of the road."""
    rules = [f"{stage}_gpu" if device == "cuda" else stage for stage, device in road]
    rules += ["publish"] if road[-1][0] in ("calibrate", "fuse") else []
    grouped = [(name, tuple(of)) for name, of in groupby(rules, lambda rule: profile.groups.get(rule, rule))]
    names = [name for name, _ in grouped]
    for name in names:
        if names.count(name) > 1 and profile.shards_at_once(name) > 1:
            between = grouped[names.index(name) + 1][1][0]
            raise InputError(
                f"{profile.path}: group-components: {name}: {profile.shards_at_once(name)} cannot be where {between} "
                f"comes between the rules of `{name}`; make it 1, or give the rules after {between} another group"
            )
    return [of for _, of in grouped]


def _request(profile: Profile, rules: tuple[str, ...]) -> Request:
    """What a job of these rules asks for: as Snakemake adds it up, shards side by side, rules one after the other."""
    each = [Request.of(rule, profile.resources(rule)) for rule in rules]
    for key, name in {"partition": "slurm_partition", "account": "slurm_account", "qos": "qos"}.items():
        if len({getattr(one, key) for one in each}) > 1:
            wanted = ", ".join(f"{one.rules} `{getattr(one, key) or 'none'}`" for one in each)
            raise InputError(
                f"{profile.path}: {name}: the rules of a group go as one job, but ask for {wanted}; "
                "give all of them the same, or other `groups`"
            )
    shards = profile.shards_at_once(profile.groups.get(rules[0], ""))
    return replace(
        each[0],
        rules=job_name(rules, shards),
        cpus=shards * max(one.cpus for one in each),
        memory_mb=shards * max(one.memory_mb for one in each),
        minutes=sum(one.minutes for one in each),
        gpus=shards * max(one.gpus for one in each),
    )


def job_name(rules: Sequence[str], shards: int = 1) -> str:
    """How a job of these rules, for so many shards at once, is called in messages."""
    if len(rules) == shards == 1:
        return f"rule {rules[0]}"
    many = f", up to {shards} of each" if shards > 1 else ""
    return f"rule{'s' * (len(rules) > 1)} {', '.join(rules)}{many}, as one job"


def problems(asked: Iterable[Request]) -> list[str]:
    """What the cluster cannot give of what is asked for, a line each. Raises InfrastructureError if it is not up."""
    partitions, nodes, (accounts, qos) = slurm.partitions(), slurm.nodes(), slurm.associations()
    default = next((name for name, partition in partitions.items() if partition.default), None)
    lines: dict[str, list[str]] = {}
    for request in asked:
        name = request.partition or default
        if name not in partitions:
            found = f"partition `{name}` does not exist on this cluster; it has {', '.join(sorted(partitions))}"
            lines.setdefault(found, []).append(request.rules)
            continue
        here = [node for node in nodes if name in node.partitions]
        for check in (_accounts(accounts, qos), _limits, _gpu_type, _size):
            if found := check(request, partitions[name], here):
                lines.setdefault(found, []).append(request.rules)
                break
    return [f"{', '.join(names)}: {text}" for text, names in lines.items()]


def unseen(folder: Path, asked: Iterable[Request], seconds: int = 20) -> list[str]:
    """A line for each partition whose nodes do not see the results folder, found by a tiny job there.

    A partition without a free node within so many seconds is left unchecked.
    """
    lines = []
    for name in sorted({request.partition or "" for request in asked}):
        where = [f"--partition={name}"] if name else []
        probe = ["srun", f"--immediate={seconds}", "-n1", "-t1", "--mem=50", "-D/", "-Jg2r-probe", "-Q", *where]
        look = ["sh", "-c", f'test -e "$0" || exit {NOT_SEEN}', str(folder.resolve())]
        try:
            done = subprocess.run([*probe, *look], capture_output=True, timeout=3 * seconds)
        except (OSError, subprocess.TimeoutExpired):
            continue
        if done.returncode == NOT_SEEN:
            lines.append(
                f"{folder.resolve()}: not visible on the compute nodes of partition `{name or 'default'}`; "
                "work in a folder of a shared filesystem"
            )
    return lines


def _accounts(accounts: set[str], qos: set[str]) -> Callable:
    def check(request: Request, partition: slurm.Partition, nodes: list[slurm.Node]) -> str | None:
        if request.account and accounts and request.account.lower() not in accounts:
            return f"account `{request.account}` is not one of yours; you have {', '.join(sorted(accounts))}"
        if request.account and partition.accounts is not None and request.account not in partition.accounts:
            takes = ", ".join(sorted(partition.accounts))
            return f"partition `{partition.name}` takes no account `{request.account}`; it takes {takes}"
        if request.qos and qos and request.qos not in qos:
            return f"QoS `{request.qos}` is not one of yours; you have {', '.join(sorted(qos))}"
        return None

    return check


def _limits(request: Request, partition: slurm.Partition, nodes: list[slurm.Node]) -> str | None:
    if not partition.up:
        return f"partition `{partition.name}` is not up; choose another or wait"
    if partition.minutes is not None and request.minutes > partition.minutes:
        return (
            f"runtime {request.minutes:g} min is beyond the {partition.minutes:g} min of partition "
            f"`{partition.name}`; lower `runtime` and the campaign's `job_minutes`"
        )
    return None


def _gpu_type(request: Request, partition: slurm.Partition, nodes: list[slurm.Node]) -> str | None:
    types = sorted({kind or "any" for node in nodes for kind in node.gpus})
    if request.gpus and not types:
        return f"partition `{partition.name}` has no GPU; give `slurm_partition` one that has"
    if request.gpu_type and request.gpu_type not in types:
        return f"partition `{partition.name}` has no GPU of type `{request.gpu_type}`; it has {', '.join(types)}"
    return None


def _size(request: Request, partition: slurm.Partition, nodes: list[slurm.Node]) -> str | None:
    def fits(node: slurm.Node) -> bool:
        gpus = node.gpus.get(request.gpu_type, 0) if request.gpu_type else sum(node.gpus.values())
        return node.cpus >= request.cpus and node.memory_mb >= request.memory_mb and gpus >= request.gpus

    if not nodes or any(map(fits, nodes)):
        return None
    largest = max(nodes, key=lambda node: (sum(node.gpus.values()) if request.gpus else 0, node.memory_mb, node.cpus))
    gpus = f", {request.gpus} GPU" if request.gpus else ""
    return (
        f"{request.cpus} CPU, {request.memory_mb} MB{gpus} are more than any node of partition `{partition.name}` has; "
        f"its largest has {largest.cpus} CPU, {largest.memory_mb} MB, {sum(largest.gpus.values())} GPU"
    )


def _number(value: Any) -> int | None:
    try:
        return int(value)
    except (TypeError, ValueError):
        return None


def _word(value: Any) -> str | None:
    return str(value) if isinstance(value, (str, int)) and str(value) else None
