"""The frozen plan: `plan.lock.json` fixes shards, chunks, seeds and digests, and only the driver writes it.

It holds ranges, not lists of shards, for every job reads it. A larger `events` extends it in place: shard size, seeds
and digests stay. Any other change needs a new revision.
"""

import json
from dataclasses import dataclass
from functools import lru_cache
from pathlib import Path
from typing import TYPE_CHECKING

from gen2reco import __version__
from gen2reco.campaign.config import digest
from gen2reco.campaign.paths import LOCK_NAME, campaign_folder, record_file
from gen2reco.campaign.pinned import known_models, pin_models, within
from gen2reco.campaign.sidecar import file_digest, write_text
from gen2reco.errors import InputError

if TYPE_CHECKING:
    from gen2reco.campaign.campaign import Campaign, StageChoice
    from gen2reco.campaign.detector import Detector
    from gen2reco.campaign.runner import Job

LOCK_VERSION = 1


@dataclass(frozen=True)
class Plan:
    """A plan as read from its lock; `folder` is the results folder it stands in."""

    folder: Path
    lock: dict

    @property
    def samples(self) -> dict[str, dict]:
        """Sample name → its entry of the lock."""
        return self.lock["samples"]

    def shards(self, sample: str) -> int:
        """Number of shards of a sample."""
        entry = self.samples[sample]
        return -(-entry["events"] // entry["shard_events"])

    def events(self, sample: str, shard: int) -> range:
        """Event numbers of a shard."""
        entry = self.samples[sample]
        start = shard * entry["shard_events"]
        return range(start, min(start + entry["shard_events"], entry["events"]))

    def stages(self, sample: str) -> list[str]:
        """The stages of a sample in the order of the road."""
        return list(self.samples[sample]["stages"])

    def owner(self, sample: str, stage: str) -> str:
        """The sample whose files hold this stage of the sample (itself, or one it is like)."""
        return self.samples[sample]["stages"][stage]["owner"]

    def choice(self, sample: str, stage: str) -> dict:
        """The entry of a stage: backend, options, digest, chunk size, device."""
        return self.samples[self.owner(sample, stage)]["stages"][stage]

    def file(self, sample: str, stage: str, shard: int) -> Path:
        """The record file of a shard."""
        return record_file(self.folder, self.owner(sample, stage), stage, shard)

    def own_shards(self, stage: str) -> list[tuple[str, int]]:
        """Every (sample, shard) made by a stage itself."""
        owners = [s for s in self.samples if stage in self.stages(s) and self.owner(s, stage) == s]
        return [(sample, shard) for sample in owners for shard in range(self.shards(sample))]


@lru_cache(maxsize=4)
def read_plan(path: Path | str) -> Plan:
    """Read a lock file. Raises InputError if it is missing, damaged or of another version."""
    path = Path(path)
    try:
        lock = json.loads(path.read_text(encoding="utf-8"))
    except FileNotFoundError:
        raise InputError(f"{path}: no such plan; make it with `gen2reco plan CAMPAIGN`") from None
    except (OSError, ValueError) as error:
        raise InputError(f"{path}: damaged plan ({error}); restore it or plan the campaign in a new folder") from None
    found = lock.get("version") if isinstance(lock, dict) else None
    if found != LOCK_VERSION:
        raise InputError(f"{path}: plan version {found}, expected {LOCK_VERSION}; use the release that made it")
    return Plan(path.parent, lock)


def make_plan(campaign_file: Path | str, new_revision: bool = False) -> tuple[Plan, bool]:
    """Plan a campaign: a new lock, an extended one, or the one there is; returns (plan, lock written).

    Raises InputError when the campaign changed otherwise than in size and no new revision is asked for.
    """
    from gen2reco.campaign.campaign import load_campaign

    campaign, detector, chains = load_campaign(campaign_file)
    folder = campaign_folder(campaign.name)
    path = folder / LOCK_NAME
    old = read_plan(path).lock if path.exists() else None
    if old is not None and Path(old["campaign_file"]).resolve() != Path(campaign_file).resolve():
        _refuse_stranger(path, old, campaign_file)
    named = pin_models(campaign_file, chains, {} if new_revision else known_models(old))
    lock = _lock(campaign_file, campaign, detector, chains, named, old, new_revision)
    changed = _changes(old, lock) if old else []
    if changed and not new_revision:
        raise InputError(
            f"{campaign_file}: changed since plan revision {old['revision']} in {', '.join(changed)}; "
            f"run `gen2reco plan {campaign_file} --new-revision` to remake what depends on it, or undo the change"
        )
    if lock == old:
        return Plan(folder, lock), False
    if changed:
        lock["revision"] = old["revision"] + 1
    folder.mkdir(parents=True, exist_ok=True)
    write_text(path, json.dumps(lock, indent=1) + "\n")
    read_plan.cache_clear()
    return Plan(folder, lock), True


def ensure_plan(campaign_file: Path | str) -> Plan:
    """The plan of a campaign, made or extended if it is missing or stale; cheap when no file has changed."""
    from gen2reco.campaign.config import load_yaml

    name = load_yaml(campaign_file).get("name")
    path = campaign_folder(str(name)) / LOCK_NAME
    if path.exists():
        plan = read_plan(path)
        same_file = Path(plan.lock["campaign_file"]).resolve() == Path(campaign_file).resolve()
        if same_file and all(_unchanged(Path(file), known) for file, known in plan.lock["files"].items()):
            return plan
    return make_plan(campaign_file)[0]


def planned_job(
    lock: Path, stage: str, sample: str | None, shard: int | None, output: Path, source: Path | None, workers: int
) -> "Job":
    """The job of one stage of one shard, all its settings from the plan. Raises InputError."""
    from gen2reco.campaign.detector import Detector
    from gen2reco.campaign.runner import Job
    from gen2reco.campaign.stage import make_backend

    plan = read_plan(lock)
    if sample not in plan.samples or stage not in plan.stages(sample):
        raise InputError(f"{lock}: no stage `{stage}` of a sample `{sample}`; known samples: {', '.join(plan.samples)}")
    if shard is None or shard >= plan.shards(sample):
        raise InputError(f"{lock}: sample `{sample}` has {plan.shards(sample)} shards; there is no shard {shard}")
    choice = plan.choice(sample, stage)
    detector = Detector.model_validate(plan.lock["detector"])
    backend = make_backend(stage, choice["backend"], choice["options"], detector)
    if backend.model_digest != choice["model"]:
        raise InputError(
            f"{lock}: {sample}.{stage} was planned with model {choice['model']}, here it is {backend.model_digest}; "
            "put the planned one back, or run `gen2reco plan CAMPAIGN --new-revision`"
        )
    return Job(
        backend,
        Path(output),
        plan.lock["seed"],
        source,
        plan.events(sample, shard),
        sample=plan.owner(sample, stage),
        shard=shard,
        chunk_events=choice["chunk_events"],
        workers=workers,
        failed_events_allowed=plan.lock["failed_events"],
        facts={"config_digest": choice["digest"], "plan_digest": plan.lock["digest"]},
    )


def _lock(
    campaign_file: Path | str,
    campaign: "Campaign",
    detector: "Detector",
    chains: dict[str, dict[str, "StageChoice"]],
    named: dict[tuple[str, str], str],
    old: dict | None,
    new_revision: bool,
) -> dict:
    from gen2reco.campaign.campaign import comparisons, parents_first, too_many_shards
    from gen2reco.campaign.rates import shard_events

    samples = {}
    for name in parents_first(campaign.samples):
        sample, stages = campaign.samples[name], {}
        like = samples.get(sample.like)
        shared = like is not None
        for stage, choice in chains[name].items():
            with within(campaign_file, name, stage):
                entry = _stage_entry(stage, choice, detector, campaign.seed)
            shared = shared and like["stages"].get(stage, {}).get("digest") == entry["digest"]
            entry["owner"] = like["stages"][stage]["owner"] if shared else name
            entry |= {"named": named[name, stage]} if (name, stage) in named else {}
            stages[stage] = entry
        kept = (old or {}).get("samples", {}).get(name)
        size = like["shard_events"] if like else sample.shard_events
        if size is None:
            size = kept["shard_events"] if kept and not new_revision else shard_events(stages, campaign.job_minutes)
        events = like["events"] if sample.events is None else sample.events
        if like and (events > like["events"] or sample.shard_events not in (None, size)):
            raise InputError(
                f"{campaign_file}: samples.{name}: expected at most the {like['events']} events, in shards of {size}, "
                f"of `{sample.like}`, which it is like; leave `events` and `shard_events` out"
            )
        if problem := too_many_shards(events, size):
            raise InputError(f"{campaign_file}: samples.{name}: {problem}")
        samples[name] = {"like": sample.like, "events": events, "shard_events": size, "stages": stages}
    content = {
        "seed": campaign.seed,
        "detector": detector.model_dump(mode="json"),
        "samples": {name: samples[name] for name in campaign.samples},
    }
    return {
        "version": LOCK_VERSION,
        "name": campaign.name,
        "revision": old["revision"] if old else 1,
        "digest": digest(content),
        "code_version": old["code_version"] if old else __version__,
        "campaign_file": str(campaign_file),
        "files": {str(file): file_digest(file) for file in _files(Path(campaign_file))},
        "failed_events": campaign.failed_events,
        "failed_shards": campaign.failed_shards,
        "job_minutes": campaign.job_minutes,
        "allow_cpu": campaign.allow_cpu,
        "licence": campaign.licence,
        "validation": campaign.validation.model_dump(mode="json"),
        "compare": [c.model_dump(mode="json") for c in comparisons(campaign)],
        **content,
    }


def _stage_entry(stage: str, choice: "StageChoice", detector: "Detector", seed: int) -> dict:
    from gen2reco.campaign.stage import RECORDS, backend_class, make_backend
    from gen2reco.events.schemas import VERSIONS

    cls = backend_class(stage, choice.backend)
    model = make_backend(stage, choice.backend, choice.options, detector).model_digest
    fixed = {
        "backend": choice.backend,
        "version": cls.version,
        "options": choice.options,
        "chunk_events": choice.chunk_events,
        "model": model,
    }
    known = {**fixed, "seed": seed, "detector": detector.digest() if cls.needs_detector else None}
    known["record"] = VERSIONS[RECORDS[stage][1]]
    return {**fixed, "device": choice.device, "digest": digest(known)}


def _changes(old: dict, new: dict) -> list[str]:
    """What differs besides sizes that grew: names of blocks, for the message."""
    changed = [key for key in ("seed",) if old[key] != new[key]]
    for name, entry in new["samples"].items():
        before = old["samples"].get(name)
        if before is None:
            continue
        stages = {*before["stages"], *entry["stages"]}
        differ = [s for s in stages if _content(before["stages"].get(s)) != _content(entry["stages"].get(s))]
        changed += [f"samples.{name}.{stage}" for stage in sorted(differ)]
        if entry["events"] < before["events"]:
            changed.append(f"samples.{name}.events (smaller)")
        if entry["shard_events"] != before["shard_events"]:
            changed.append(f"samples.{name}.shard_events")
    return changed + [f"samples.{name} (removed)" for name in old["samples"] if name not in new["samples"]]


def _content(entry: dict | None) -> tuple | None:
    return entry and (entry["digest"], entry["owner"])


def _files(campaign_file: Path) -> list[Path]:
    """The campaign file and every file it names."""
    from gen2reco.campaign.config import load_yaml

    def strings(value: object) -> list[str]:
        if isinstance(value, dict):
            return [s for v in value.values() for s in strings(v)]
        if isinstance(value, list):
            return [s for v in value for s in strings(v)]
        return [value] if isinstance(value, str) else []

    named = [campaign_file.parent / s for s in strings(load_yaml(campaign_file)) if len(s) < 512]
    return [campaign_file, *sorted({file for file in named if file.is_file()})]


def _unchanged(file: Path, known: str) -> bool:
    return file.is_file() and file_digest(file) == known


def _refuse_stranger(path: Path, old: dict, campaign_file: Path | str) -> None:
    if Path(old["campaign_file"]).is_file():
        raise InputError(
            f"{path.parent}: holds the results of another campaign ({old['campaign_file']}); "
            f"give {campaign_file} another `name`"
        )
