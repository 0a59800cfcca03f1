"""Draft the content of a plan from a campaign: shard sizes, owners of shared files, digests of stages."""

import os
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from gen2reco import __version__
from gen2reco.campaign.campaign import (
    Campaign,
    StageChoice,
    load_campaign,
    too_many_shards,
)
from gen2reco.campaign.keep import check_kept, comparable, kept_stages
from gen2reco.campaign.libraries import library_entry, library_of
from gen2reco.campaign.model_entries import check_use, made_model_of, making_order, model_entry, needed
from gen2reco.campaign.model_pins import known_models, pin_models
from gen2reco.campaign.plan_lock import LOCK_VERSION, checksum, stage_digest
from gen2reco.campaign.rates import chunk_events, draws_of, shard_events
from gen2reco.config.block import digest, load_yaml, strings
from gen2reco.config.detector import Detector
from gen2reco.errors import InputError, Mistakes, about
from gen2reco.files import file_digest
from gen2reco.run.chunks import too_many_chunks
from gen2reco.run.stage import backend_class, make_backend
from gen2reco.run.stage_table import FIRST


@dataclass(frozen=True)
class Loaded:
    """A campaign and the files it names: the detector, and for each sample the choices of its stages."""

    file: Path
    campaign: Campaign
    detector: Detector
    chains: dict[str, dict[str, StageChoice]]

    @classmethod
    def of(cls, campaign_file: Path | str) -> "Loaded":
        """Read a campaign file. Raises InputError."""
        return cls(Path(campaign_file), *load_campaign(campaign_file))


def draft(loaded: Loaded, old: dict | None = None, new_revision: bool = False) -> dict:
    """The lock of a campaign. Sizes of shards and chunks that the campaign does not state are those of the `old` lock,
    those of a sample whose first stage changed excepted; so are digests of registered models, except for a new
    revision. Raises InputError where anything else has changed without one."""
    campaign, detector = loaded.campaign, loaded.detector
    chains = {name: dict(chain) for name, chain in loaded.chains.items()}
    known = {} if new_revision else known_models(old)
    named = pin_models(loaded.file, chains, known, campaign.models)
    samples, models = _entries(loaded, chains, named, known, old)
    with about(str(loaded.file)):
        check_kept(campaign, samples)
        compared = comparable(campaign, samples)
    content = {
        "seed": campaign.seed,
        "detector": detector.model_dump(mode="json"),
        "samples": samples,
        **({"models": models} if models else {}),
    }
    lock: dict[str, Any] = {
        "version": LOCK_VERSION,
        "name": campaign.name,
        "revision": old["revision"] if old else 1,
        "digest": digest(content),
        "code_version": old["code_version"] if old else __version__,
        "campaign_file": str(loaded.file),
        "files": {str(file): file_digest(file) for file in _files(loaded.file)},
        "failed_events": campaign.failed_events,
        "failed_shards": campaign.failed_shards,
        "job_minutes": campaign.job_minutes,
        "allow_cpu": campaign.allow_cpu,
        "licence": campaign.licence,
        "validation": campaign.validation.model_dump(mode="json"),
        "compare": [c.model_dump(mode="json") for c in compared],
        **content,
    }
    if old and (changed := changes(old, lock)):
        if not new_revision:
            raise InputError(
                f"{loaded.file}: changed since plan revision {old['revision']} in {_first(changed)}; "
                f"run `gen2reco plan {loaded.file} --new-revision` to remake what depends on it, or undo the change"
            )
        lock["revision"] += 1
    return {**lock, "checksum": checksum(lock)}


def _first(changed: list[str], most: int = 6) -> str:
    """The first of what changed, and how many more there are."""
    more = f" and {len(changed) - most} more" if len(changed) > most else ""
    return ", ".join(changed[:most]) + more


def _entries(
    loaded: Loaded, chains: dict, named: dict, known: dict[str, str], old: dict | None
) -> tuple[dict[str, dict], dict[str, dict]]:
    """The entries of the samples and of the models, each drafted after those that it is made of."""
    campaign = loaded.campaign
    samples: dict[str, dict] = {}
    models: dict[str, dict] = {}
    made: dict[tuple, dict] = {}
    mistakes = Mistakes()
    with about(str(loaded.file)):
        needs = needed(campaign, chains)
        order = making_order(needs)
    for kind, name in order:
        if not all(one in (samples if what == "samples" else models) for what, one in needs[kind, name]):
            continue  # a mistake in what it is made of is told there
        if kind == "models":
            with mistakes.caught(f"{loaded.file}: models.{name}"):
                models[name] = model_entry(loaded.file, campaign.models[name], samples, models, known)
            continue
        like = samples.get(campaign.samples[name].like or "")
        stages: dict[str, dict] = {}
        kept = (old or {}).get("samples", {}).get(name)
        for stage, choice in chains[name].items():
            choice = _in_chunks(stage, choice, stages, [like, kept], loaded, campaign.samples[name].shard_events)
            key = (stage, choice.model_dump_json())
            if key not in made:
                with mistakes.caught(f"{loaded.file}: samples.{name}.{stage}"):
                    made[key] = _stage_entry(stage, choice, loaded, models, samples)
            if key in made:
                stages[stage] = {**made[key], "owner": _owner(name, stage, made[key], like, stages)}
                stages[stage] |= {"named": named[name, stage]} if (name, stage) in named else {}
        if len(stages) < len(chains[name]):
            continue
        for stage, choice in chains[name].items():
            with mistakes.caught(f"{loaded.file}: samples.{name}.{stage}"):
                library = samples.get(library_of(stage, choice) or "")
                backend_class(stage, choice.backend).check_chain(choice.options, stages, library)
        if kept and kept["stages"].get(FIRST, {}).get("digest") != stages[FIRST]["digest"]:
            kept = None
        with mistakes.caught():
            with about(f"{loaded.file}: samples.{name}.keep"):
                keep = kept_stages(campaign.samples[name].keep, stages, like)
            sizes = _sizes(f"{loaded.file}: samples.{name}", loaded, name, stages, like, kept)
            samples[name] = {"like": campaign.samples[name].like, **sizes, "stages": stages}
            samples[name] |= {} if keep is None else {"keep": keep}
    mistakes.tell()
    return {name: samples[name] for name in campaign.samples}, {name: models[name] for name in campaign.models}


def _in_chunks(
    stage: str,
    choice: StageChoice,
    before: dict[str, dict],
    others: list[dict | None],
    loaded: Loaded,
    most: int | None,
) -> StageChoice:
    """The choice of a stage with its chunk size: the stated one; else that of the stage whose chunks it shares; else
    that which the stage has, alike, in one of the `others` (the sample that this one is like, the plan that there is);
    else one by the measured rates, of at most the `most` events of a shard."""
    if choice.chunk_events is not None:
        return choice
    if same := before.get(backend_class(stage, choice.backend).chunks_of or ""):
        return choice.model_copy(update={"chunk_events": same["chunk_events"]})
    for other in others:
        entry = (other or {}).get("stages", {}).get(stage)
        if entry and (entry["backend"], entry["options"]) == (choice.backend, choice.options):
            return choice.model_copy(update={"chunk_events": entry["chunk_events"]})
    usual, detector = backend_class(stage, choice.backend).chunk_events, loaded.detector.digest()
    stages = {**before, stage: {**choice.model_dump(), "chunk_events": 1}}
    most = most or shard_events(stages, loaded.campaign.job_minutes, detector)
    return choice.model_copy(update={"chunk_events": chunk_events(stages, stage, detector, usual, most)})


def _owner(name: str, stage: str, entry: dict, like: dict | None, before: dict[str, dict]) -> str:
    """The sample whose files hold the stage: that of the sample this one is like, if all stages so far agree."""
    stages = like["stages"] if like else {}
    if stage not in stages or any(done["owner"] != stages.get(s, {}).get("owner") for s, done in before.items()):
        return name
    return stages[stage]["owner"] if stages[stage]["digest"] == entry["digest"] else name


def _sizes(where: str, loaded: Loaded, name: str, stages: dict, like: dict | None, kept: dict | None) -> dict:
    """Events and events per shard of a sample. Raises InputError where they do not fit those of the one it is like."""
    sample, detector = loaded.campaign.samples[name], loaded.detector.digest()
    size = like["shard_events"] if like else sample.shard_events
    if size is None:
        size = kept["shard_events"] if kept else shard_events(stages, loaded.campaign.job_minutes, detector)
    events = like["events"] if like and sample.events is None else sample.events
    assert events is not None, "a sample that is like no other states its events"
    if like and (events > like["events"] or sample.shard_events not in (None, size)):
        raise InputError(
            f"{where}: expected at most the {like['events']} events, in shards of {size}, of `{sample.like}`, which it "
            "is like; leave `events` and `shard_events` out"
        )
    if like and events < like["events"] and events % size:
        raise InputError(f"{where}.events: {events} are no whole shards of {size} of `{sample.like}`, which it is like")
    if problem := too_many_shards(events, size):
        raise InputError(f"{where}: {problem}")
    for stage, entry in stages.items():
        draws = draws_of(stages, stage)
        if problem := too_many_chunks(min(events, size) * draws, entry["chunk_events"]):
            raise InputError(f"{where}.{stage}: {problem}: lower `shard_events`, or raise `chunk_events`")
    return {"events": events, "shard_events": size}


def _stage_entry(
    stage: str, choice: StageChoice, loaded: Loaded, models: dict[str, dict], samples: dict[str, dict]
) -> dict:
    """The entry of a stage. For a model that the campaign makes, the digest of its training stands in for that of the
    model, which is not known yet."""
    cls, detector = backend_class(stage, choice.backend), loaded.detector
    if made := made_model_of(choice.options, models):
        check_use(stage, made, loaded.campaign.models[made])
        model = models[made]["digest"]
    else:
        model = make_backend(stage, choice.backend, choice.options, detector).model_digest
    fixed = {
        "backend": choice.backend,
        "version": cls.version,
        "options": choice.options,
        "chunk_events": choice.chunk_events,
        "model": model,
        **({"oversample": choice.oversample} if choice.oversample > 1 else {}),
        **({"library": library_entry(library, samples[library])} if (library := library_of(stage, choice)) else {}),
    }
    content = stage_digest(stage, fixed, cls, loaded.campaign.seed, detector.digest())
    return {**fixed, "device": choice.device, "digest": content, **({"made": made} if made else {})}


def changes(old: dict, new: dict) -> list[str]:
    """The names of blocks that changed, other than by more events."""
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
    models, before = new.get("models", {}), old.get("models", {})
    changed += [f"models.{n}" for n, entry in models.items() if before.get(n, entry)["digest"] != entry["digest"]]
    changed += [f"models.{name} (removed)" for name in before if name not in models]
    return changed + [f"samples.{name} (removed)" for name in old["samples"] if name not in new["samples"]]


def _content(entry: dict | None) -> tuple | None:
    return (entry["digest"], entry["owner"]) if entry else None


def _files(campaign_file: Path) -> list[Path]:
    """The campaign file and every file it names."""
    named = {campaign_file.parent / text for text in strings(load_yaml(campaign_file))}
    return [campaign_file, *sorted(file for file in named if os.path.isfile(file))]  # noqa: PTH113 - any text may come
