"""Compare the requests of jobs with what a cluster offers: a line for each misfit, and for what cannot be checked."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass, replace

from gen2reco.batch import slurm
from gen2reco.batch.request import Request
from gen2reco.batch.slurm import Node, Partition
from gen2reco.batch.slurm_words import Gres, has_features


@dataclass(frozen=True)
class Cluster:
    """What a cluster offers this user; accounts and QoS are empty where the accounting gives none."""

    partitions: dict[str, Partition]
    nodes: list[Node]
    accounts: set[str]
    qos: set[str]

    @classmethod
    def here(cls) -> "Cluster":
        """The cluster of this machine. Raises InfrastructureError where Slurm does not answer."""
        return cls(slurm.partitions(), slurm.nodes(), *slurm.associations())

    def names(self, request: Request) -> list[str]:
        """The partitions that a request names, or else the default one."""
        default = [name for name, partition in self.partitions.items() if partition.default]
        return [name.strip() for name in request.partition.split(",")] if request.partition else default[:1]


def problems(requests: Iterable[Request], cluster: Cluster | None = None) -> list[str]:
    """The requests that the cluster cannot satisfy, a line each. Raises InfrastructureError where Slurm does not
    answer."""
    cluster = cluster or Cluster.here()
    return _lines((request, [_problem(request, cluster)]) for request in requests)


def remarks(requests: Iterable[Request], cluster: Cluster | None = None) -> list[str]:
    """A line for each part of the requests, or of the cluster's description, that could not be read and so was not
    checked, and for each request that has to wait for nodes."""
    cluster = cluster or Cluster.here()
    return _lines((request, [*_unread(request, cluster), _waits(request, cluster)]) for request in requests)


def _lines(found: Iterable[tuple[Request, list[str | None]]]) -> list[str]:
    """Each text once, after the rules that it applies to."""
    lines: dict[str, list[str]] = {}
    for request, texts in found:
        for text in filter(None, texts):
            lines.setdefault(text, []).append(request.rules)
    return [f"{', '.join(dict.fromkeys(names))}: {text}" for text, names in lines.items()]


def _unread(request: Request, cluster: Cluster) -> Iterator[str]:
    """The parts of a request, and of the nodes it may use, that could not be read."""
    yield from (f"not checked: {text}" for text in request.unread)
    try:
        has_features(request.constraint or "any", ())
    except ValueError as error:
        yield f"not checked: constraint {error}"
    for name in cluster.names(request):
        if partition := cluster.partitions.get(name):
            yield from (f"not checked: partition `{name}` has {text}" for text in partition.unread)
        for node in _nodes(request, name, cluster):
            yield from (f"not checked: node {node.name} has {text}" for text in node.unread)


def _waits(request: Request, cluster: Cluster) -> str | None:
    """A text where all nodes that could take a request are down or draining."""
    nodes = [node for name in cluster.names(request) for node in _nodes(request, name, cluster)]
    able = [node for node in nodes if _fits_features(request, node) and _fits(request, node)]
    if not able or any(node.usable for node in able):
        return None
    return f"will wait: the nodes that could take it are down or draining: {', '.join(n.name for n in able[:5])}"


def _problem(request: Request, cluster: Cluster) -> str | None:
    """Why a request cannot be satisfied; where several partitions are named, only if none of them can."""
    found = None
    names = cluster.names(request)
    if not names:
        return "no partition is named, and this cluster has no default one; give `slurm_partition`"
    for name in names:
        if name not in cluster.partitions:
            known = ", ".join(sorted(cluster.partitions))
            return f"partition `{name}` does not exist on this cluster; it has {known}"
    for name in names:
        partition, nodes = cluster.partitions[name], _nodes(request, name, cluster)
        request_here = _with_defaults(request, partition)
        found = (
            _not_yours(request, cluster)
            or _not_taken(request, partition)
            or _limits(request_here, partition)
            or _placed(request, partition, nodes, cluster)
            or _gpu_type(request, partition, nodes)
            or _size(request_here, partition, nodes)
        )
        if found is None:
            return None
    return found


def _nodes(request: Request, name: str, cluster: Cluster) -> list[Node]:
    """The nodes of a partition that a request does not exclude."""
    here = [node for node in cluster.nodes if name in node.partitions and node.name not in request.excluded]
    return [node for node in here if not request.nodes or node.name in request.nodes]


def _with_defaults(request: Request, partition: Partition) -> Request:
    """The request with the partition's default memory, where it names none."""
    default = partition.memory_mb or partition.memory_per_cpu_mb * request.cpus
    return replace(request, memory_mb=request.memory_mb or default)


def _not_yours(request: Request, cluster: Cluster) -> str | None:
    if request.account and cluster.accounts and request.account.lower() not in cluster.accounts:
        return f"account `{request.account}` is not one of yours; you have {', '.join(sorted(cluster.accounts))}"
    if request.qos and cluster.qos and request.qos not in cluster.qos:
        return f"QoS `{request.qos}` is not one of yours; you have {', '.join(sorted(cluster.qos))}"
    return None


def _not_taken(request: Request, partition: Partition) -> str | None:
    for what, given, taken, refused in (
        ("account", request.account, partition.accounts, partition.no_accounts),
        ("QoS", request.qos, partition.qos, partition.no_qos),
    ):
        if given and taken is not None and given not in taken:
            return f"partition `{partition.name}` takes no {what} `{given}`; it takes {', '.join(sorted(taken))}"
        if given and given in refused:
            return f"partition `{partition.name}` takes no {what} `{given}`"
    return None


def _limits(request: Request, partition: Partition) -> str | None:
    if not partition.up:
        return f"partition `{partition.name}` is not up; choose another or wait"
    if partition.minutes is not None and request.minutes > partition.minutes:
        return (
            f"runtime {request.minutes:g} min is beyond the {partition.minutes:g} min of partition "
            f"`{partition.name}`; lower `runtime` and the campaign's `job_minutes`"
        )
    for wanted, most, unit in (
        (request.memory_mb, partition.most_memory_mb, "MB"),
        (request.cpus, partition.most_cpus, "CPU"),
    ):
        if most and wanted > most:
            return f"{wanted} {unit} are more than the {most} {unit} a node that partition `{partition.name}` allows"
    return None


def _placed(request: Request, partition: Partition, nodes: list[Node], cluster: Cluster) -> str | None:
    """Whether the partition has the nodes or features that a request names."""
    if missing := request.nodes - {node.name for node in nodes}:
        return f"partition `{partition.name}` has no node {', '.join(sorted(missing)[:5])}"
    if nodes and request.constraint and not any(_fits_features(request, node) for node in nodes):
        known = ", ".join(sorted({name for node in nodes for name in node.features})) or "none"
        return f"no node of partition `{partition.name}` has the features `{request.constraint}`; there are {known}"
    return None


def _gpu_type(request: Request, partition: Partition, nodes: list[Node]) -> str | None:
    if any(node.unread for node in nodes):
        return None
    types = sorted({kind or "any" for node in nodes for kind in node.gpus})
    if request.gpus and not types:
        return f"partition `{partition.name}` has no GPU; give `slurm_partition` one that has"
    if request.gpus and request.gpu_type and request.gpu_type not in types:
        return f"partition `{partition.name}` has no GPU of type `{request.gpu_type}`; it has {', '.join(types)}"
    for one in request.gres:
        if not any(_count(node, one) for node in nodes):
            return f"partition `{partition.name}` has no `{one.name}{f':{one.type}' if one.type else ''}`"
    return None


def _size(request: Request, partition: Partition, nodes: list[Node]) -> str | None:
    nodes = [node for node in nodes if _fits_features(request, node)]
    if not nodes or any(node.unread or _fits(request, node) for node in nodes):
        return None
    largest = max(nodes, key=lambda node: (sum(node.gpus.values()) if request.gpus else 0, node.memory_mb, node.cpus))
    gpus = f", {request.gpus} GPU" if request.gpus else ""
    further = "".join(f", {one.count} {one.name}" for one in request.gres)
    return (
        f"{request.cpus} CPU, {request.memory_mb} MB{gpus}{further} are more than any node of partition "
        f"`{partition.name}` has; its largest has {largest.cpus} CPU, {largest.memory_mb} MB, "
        f"{sum(largest.gpus.values())} GPU"
    )


def _fits(request: Request, node: Node) -> bool:
    wanted = [Gres("gpu", request.gpu_type, request.gpus), *request.gres]
    if sum(one.count for one in wanted if one.name == "gpu") > sum(node.gpus.values()):
        return False
    enough = all(_count(node, one) >= one.count for one in wanted)
    return enough and node.cpus >= request.cpus and node.memory_mb >= request.memory_mb


def _fits_features(request: Request, node: Node) -> bool:
    """Whether a node satisfies the constraint; true where the constraint cannot be read."""
    try:
        return not request.constraint or has_features(request.constraint, node.features)
    except ValueError:
        return True


def _count(node: Node, one: Gres) -> int:
    """How many units of a generic resource a node has; of all types where none is named."""
    here = [Gres("gpu", kind, count) for kind, count in node.gpus.items()] + list(node.gres)
    return sum(found.count for found in here if found.name == one.name and one.type in ("", found.type))
