"""Snakemake profiles: the resources of each rule, and the Slurm requests that jobs will make under them."""

import subprocess
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field, replace
from itertools import groupby
from pathlib import Path
from typing import Any

from gen2reco.batch.request import Request
from gen2reco.batch.resources import first_attempt, pairs, pairs_of_rules
from gen2reco.config.block import load_yaml
from gen2reco.errors import InputError
from gen2reco.run.stage_table import STAGES, rule_name

REPOSITORY = Path(__file__).parents[3]
FILES = ("profile.yaml", "config.yaml")
NOT_VISIBLE = 33  # exit code of a probe


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
        """The resources of a rule's first attempt; expressions that need a running job stay as they are written."""
        threads = self._pairs("set-threads").get(rule, 1)
        return first_attempt({**self._pairs("default-resources"), **self.set_resources.get(rule, {})}, threads)

    @property
    def set_resources(self) -> dict[str, dict[str, Any]]:
        """The resources set for each rule, by its name."""
        return pairs_of_rules(self.settings.get("set-resources"), f"{self.path}: set-resources")

    @property
    def groups(self) -> dict[str, str]:
        """The group of each rule, by its name."""
        return {rule: str(group) for rule, group in self._pairs("groups").items()}

    def shards_at_once(self, group: str) -> int:
        """How many shards of a group run in one job. Raises InputError for what is no number from 1."""
        given = self._pairs("group-components").get(group, 1)
        if (number := _number(given)) is None or number < 1:
            raise InputError(f"{self.path}: group-components: {group} = {given!r}: expected a whole number from 1")
        return number

    def _pairs(self, key: str) -> dict[str, Any]:
        return pairs(self.settings.get(key), f"{self.path}: {key}")


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


def requests(
    profile: Profile, chains: Iterable[Sequence[tuple[str, str]]], others: Iterable[str] = ()
) -> list[Request]:
    """The requests of all jobs under a profile, for samples with these chains of (stage, device), and for other rules,
    each a job of its own; the rules of a group run as one job. Raises InputError for groups that cannot run."""
    jobs = {rules: None for chain in chains for rules in _jobs(profile, chain)} | {(rule,): None for rule in others}
    return [_request(profile, rules) for rules in jobs]


def _jobs(profile: Profile, chain: Sequence[tuple[str, str]]) -> list[tuple[str, ...]]:
    """The rules of each job of a shard, in the order in which they run."""
    rules = [rule_name(stage, device) for stage, device in chain]
    rules += ["publish"] if STAGES[chain[-1][0]].publishes else []
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
    """The request of one job of these rules, added up as Snakemake does: shards in parallel, rules one after the
    other."""
    each = [Request.of(rule, profile.resources(rule)) for rule in rules]
    named = {"partition": "slurm_partition", "account": "slurm_account", "qos": "qos", "constraint": "constraint"}
    for key, name in named.items():
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
        gres=tuple(dict.fromkeys(gres for one in each for gres in one.gres)),
        unread=tuple(dict.fromkeys(text for one in each for text in one.unread)),
    )


def job_name(rules: Sequence[str], shards: int = 1) -> str:
    """The name, in messages, of a job that runs these rules for so many shards."""
    if len(rules) == shards == 1:
        return f"rule {rules[0]}"
    many = f", up to {shards} of each" if shards > 1 else ""
    return f"rule{'s' * (len(rules) > 1)} {', '.join(rules)}{many}, as one job"


def not_visible(folder: Path, requests: Iterable[Request], seconds: int = 20) -> list[str]:
    """A line for each partition whose nodes have no access to the results folder, as a tiny job there finds out.

    A partition without a free node within so many seconds is left unchecked.
    """
    lines = []
    for name in sorted({request.partition or "" for request in requests}):
        where = [f"--partition={name}"] if name else []
        probe = ["srun", f"--immediate={seconds}", "-n1", "-t1", "--mem=50", "-D/", "-Jg2r-probe", "-Q", *where]
        look = ["sh", "-c", f'test -e "$0" || exit {NOT_VISIBLE}', str(folder.resolve())]
        try:
            done = subprocess.run([*probe, *look], capture_output=True, timeout=3 * seconds)
        except (OSError, subprocess.TimeoutExpired):
            continue
        if done.returncode == NOT_VISIBLE:
            lines.append(
                f"{folder.resolve()}: not visible on the compute nodes of partition `{name or 'default'}`; "
                "work in a folder of a shared filesystem"
            )
    return lines


def _number(value: Any) -> int | None:
    try:
        return int(value)
    except (TypeError, ValueError):
        return None


def _word(value: Any) -> str | None:
    return str(value) if isinstance(value, (str, int)) and str(value) else None
