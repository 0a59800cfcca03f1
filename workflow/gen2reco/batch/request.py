"""A job's request to Slurm, derived from a rule's resources as Snakemake's Slurm executor turns them into options."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from gen2reco.batch import slurm_words as words
from gen2reco.batch.slurm_words import Gres

_WITHOUT_RESOURCES = """acctg-freq begin bell chdir comment cpu-freq deadline dependency distribution error exclusive
export export-file get-user-env gpu-bind gpu-freq gres-flags hint hold ignore-pbs input job-name kill-on-invalid-dep
mail-type mail-user mem-bind nice no-kill no-requeue ntasks-per-core ntasks-per-gpu ntasks-per-node open-mode output
overcommit oversubscribe parsable prefer priority profile propagate quiet reboot requeue signal spread-job
threads-per-core time-min use-min-nodes verbose wait wait-all-nodes wckey"""
"""Options of sbatch that need no resource of a node."""
_NOT_PASSED_ON = ("gpus", "nvidia_gpu")
_ELSEWHERE = ("cluster", "clusters", "slurm_cluster")


@dataclass(frozen=True)
class Request:
    """The resources that a job requests from Slurm, for these rules; `gpu_type` is empty where any type will do."""

    rules: str
    partition: str | None = None
    """One name, or several separated by commas."""
    account: str | None = None
    qos: str | None = None
    cpus: int = 1
    memory_mb: int = 0
    minutes: float = 0
    gpus: int = 0
    gpu_type: str = ""
    gres: tuple[Gres, ...] = ()
    """Further generic resources: GPUs of other types, shards."""
    constraint: str = ""
    nodes: frozenset[str] = frozenset()
    """Names of nodes that the job must run on."""
    excluded: frozenset[str] = frozenset()
    unread: tuple[str, ...] = ()
    """Parts of the request that could not be read."""

    @classmethod
    def of(cls, rules: str, resources: Mapping[str, Any]) -> "Request":
        """The request that Snakemake's Slurm executor makes for these resources."""
        return _Reader(resources).request(rules)


@dataclass
class _Reader:
    resources: Mapping[str, Any]
    unread: list[str] = field(default_factory=list)

    def request(self, rules: str) -> Request:
        gpu = self._read("gpu", words.gpus) or []
        model = self._text("gpu_model")
        gpu = [Gres("gpu", model, gpu[0].count if gpu else 1)] if model else gpu
        found = [*gpu, *(self._read("gres", words.gres) or [])]
        per_task = self._read("cpus_per_task", int)
        cpus = per_task or self._read("threads", int) or self._read("_cores", int) or 1
        of_gpus = _counted(found) * max(self._read("cpus_per_gpu", int) or 0, 0)
        cpus = of_gpus or max(cpus, 1) if per_task is None else max(per_task, 1)
        per_cpu = self._read("mem_mb_per_cpu", words.megabytes)
        memory = per_cpu * cpus if per_cpu else self._read("mem_mb", words.megabytes) or 0
        request = Request(
            rules,
            self._text("slurm_partition") or None,
            self._text("slurm_account").replace(",", " ").split(" ")[0] or None,
            self._text("qos") or None,
            cpus,
            memory,
            self._read("runtime", words.minutes) or 0,
            constraint=self._text("constraint"),
        )
        self.unread += [
            f"{key} `{self._text(key)}`: not passed on to Slurm; write `gpu`" for key in self._of(_NOT_PASSED_ON)
        ]
        self.unread += [f"{key} `{self._text(key)}`: another cluster" for key in self._of(_ELSEWHERE)]
        if self._read("nodes", int) not in (None, 1):
            self.unread.append(f"nodes `{self._text('nodes')}`: several nodes")
        if self._read("tasks", int) not in (None, 1):
            self.unread.append(f"tasks `{self._text('tasks')}`: several tasks, whose CPUs may be of several nodes")
        request, further = self._extra(request)
        return replace(_with_gres(request, [*found, *further]), unread=tuple(dict.fromkeys(self.unread)))

    def _of(self, keys: tuple[str, ...]) -> list[str]:
        return [key for key in keys if self._text(key)]

    def _text(self, key: str) -> str:
        """The text of a resource, without the quotes that a profile needs around one."""
        value = self.resources.get(key)
        text = "" if value is None or value is False else str(value).strip()
        return text[1:-1].strip() if len(text) > 1 and text[0] == text[-1] and text[0] in "'\"" else text

    def _read(self, key: str, read: Callable[[str], Any]) -> Any:
        """A resource as `read` understands it; None if it is not set, or cannot be read, which is noted."""
        text = self._text(key)
        if not text:
            return None
        try:
            return read(text)
        except ValueError:
            self.unread.append(f"{key} `{text[:80]}`")
            return None

    def _extra(self, request: Request) -> tuple[Request, list[Gres]]:
        """The request with the options of `slurm_extra` applied, and the generic resources among them."""
        further: list[Gres] = []
        tasks = self._read("tasks", int) or 1
        for name, value in self._read("slurm_extra", words.options) or []:
            try:
                request, added = _with_option(request, name, value, tasks)
                further += added
            except ValueError:
                self.unread.append(f"slurm_extra `--{name}{f'={value[:80]}' if value else ''}`")
        return request, further


def _with_option(request: Request, name: str, value: str, tasks: int) -> tuple[Request, list[Gres]]:
    """The request with one more option of sbatch. Raises ValueError for an option or a value that cannot be read."""
    match name:
        case "gres":
            return request, words.gres(value)
        case "gpus" | "gpus-per-node":
            return request, words.gpus(value)
        case "gpus-per-task":
            return request, [one._replace(count=one.count * tasks) for one in words.gpus(value)]
        case "tres-per-job" | "tres-per-node" | "tres-per-task":
            return _with_tres(request, words.tres(value), tasks if name == "tres-per-task" else 1)
        case "mem":
            return replace(request, memory_mb=words.megabytes(value)), []
        case "mem-per-cpu":
            return replace(request, memory_mb=words.megabytes(value) * request.cpus), []
        case "time":
            return replace(request, minutes=words.minutes(value) or 0), []
        case "cpus-per-task" | "mincpus":
            return replace(request, cpus=max(request.cpus, int(value))), []
        case "partition" | "account" | "qos" | "constraint":
            text: dict[str, Any] = {name: value}
            return replace(request, **text), []
        case "nodelist":
            return replace(request, nodes=frozenset(words.hosts(value))), []
        case "exclude":
            return replace(request, excluded=frozenset(words.hosts(value))), []
    if name in _WITHOUT_RESOURCES.split() or (name in ("nodes", "ntasks") and value == "1"):
        return request, []
    raise ValueError(name)


def _with_tres(request: Request, tres: Mapping[str, str], times: int) -> tuple[Request, list[Gres]]:
    further = [one for name, count in tres.items() if name.startswith("gres") for one in words.gres(f"{name}={count}")]
    if others := tres.keys() - {"cpu", "mem"} - {name for name in tres if name.startswith("gres")}:
        raise ValueError(", ".join(others))
    cpus = max(request.cpus, int(tres.get("cpu", 0)) * times)
    memory = max(request.memory_mb, words.megabytes(tres["mem"]) if "mem" in tres else 0)
    further = [one._replace(count=one.count * times) for one in further]
    return replace(request, cpus=cpus, memory_mb=memory), further


def _with_gres(request: Request, found: list[Gres]) -> Request:
    """The request with these generic resources; its fields for GPUs hold the first kind."""
    found = [one for one in found if one.count]
    first = next((one for one in found if one.name == "gpu"), None)
    if first is None:
        return replace(request, gres=tuple(found))
    others = tuple(one for one in found if one is not first)
    return replace(request, gpus=first.count, gpu_type=first.type, gres=others)


def _counted(found: list[Gres]) -> int:
    return sum(one.count for one in found if one.name == "gpu")
