"""The model of `plan.lock.json`: what is read back is checked as strictly as what a user writes."""

import json
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, Field, StringConstraints, model_validator

from gen2reco.campaign.campaign import MAX_EVENTS, MAX_MODELS, MAX_SAMPLES, Comparison, lineage, too_many_shards
from gen2reco.config.block import Block, Name, digest, load_json, parse_block
from gen2reco.config.detector import Detector
from gen2reco.config.validation import Validation
from gen2reco.errors import InputError
from gen2reco.files import write_text
from gen2reco.run.stage import Backend
from gen2reco.run.stage_table import FIRST, STAGES, in_order

LOCK_VERSION = 2
MAX_BYTES = 64_000_000

Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Word = Annotated[str, StringConstraints(min_length=1, max_length=4096)]
Count = Annotated[int, Field(ge=1, le=MAX_EVENTS, strict=True)]
Fraction = Annotated[float, Field(ge=0, le=1)]


class _Read(BaseModel):
    model_config = Block.model_config


class LibraryEntry(_Read):
    """Another sample whose files a stage reads too."""

    sample: Name
    """The sample."""
    digest: Sha256
    """Digest of all that decides its files."""


class StageEntry(_Read):
    """How one stage of a sample is done, and by the files of which sample."""

    backend: Word
    """Name of the backend."""
    version: int = Field(ge=0, strict=True)
    """The backend's own version."""
    options: dict[str, Any]
    """All its options."""
    chunk_events: Count
    """Events per chunk."""
    oversample: int = Field(default=1, ge=1, strict=True)
    """How often each event is drawn; left out: once."""
    model: Word | None
    """Digest of its model; of one that the campaign makes, that of its training."""
    device: Literal["cpu", "cuda"]
    """Where it runs."""
    digest: Sha256
    """Digest of all that decides what comes out."""
    owner: Name
    """The sample whose files hold this stage."""
    named: Word | None = None
    """What the campaign called the model."""
    made: Name | None = None
    """The model of the campaign that it uses."""
    library: LibraryEntry | None = None
    """The sample whose files it reads too."""


class SampleEntry(_Read):
    """One sample: its size, and its stages in the order in which they run."""

    like: Name | None
    """The sample it is like."""
    events: int = Field(ge=0, le=MAX_EVENTS, strict=True)
    """Events to make."""
    shard_events: Count
    """Events per shard."""
    stages: dict[Word, StageEntry] = Field(min_length=1)
    """Its stages by name."""
    keep: list[Word] | None = None
    """Its stages whose files stay, and `publish` if its ntuples are made; none stated: all of that."""

    @model_validator(mode="after")
    def _possible(self) -> Self:
        if list(self.stages) != in_order(self.stages) or FIRST not in self.stages:
            raise ValueError(f"stages {', '.join(self.stages)[:80]}: expected some of {', '.join(STAGES)}, in order")
        if problem := too_many_shards(self.events, self.shard_events):
            raise ValueError(problem)
        return self


class ParentEntry(_Read):
    """The earlier model that a training starts from."""

    model: Word
    """What the campaign called it."""
    digest: Sha256
    """Its digest; of one that the campaign makes, that of its training."""
    made: bool
    """Whether the campaign makes it."""
    replay: float = Field(ge=0, lt=1)
    """Share of each batch from its data."""
    data: dict[Name, Sha256]
    """Samples that are replayed, with digests of all that decides their records."""


class ModelEntry(_Read):
    """A model that the campaign makes: all that decides it, by content."""

    train: Word
    """Name of the training."""
    version: int = Field(ge=0, strict=True)
    """The training's own version."""
    recipe: dict[str, Any]
    """The whole recipe."""
    recipe_digest: Sha256
    """Digest of the recipe."""
    data: dict[Name, Sha256] = Field(min_length=1)
    """Samples to train on, with digests of all that decides their records."""
    parent: ParentEntry | None = None
    """The earlier model that it starts from."""
    gpus: int = Field(default=1, ge=1, le=64)
    """Processes that share out the batches."""
    held_out: dict[Name, Sha256]
    """Samples that it is judged on, likewise."""
    reads_held_out: bool
    """Whether the training itself reads these, because it judges its models."""
    device: Literal["cpu", "cuda"]
    """Where it is trained."""
    digest: Sha256
    """Digest of all that decides the model."""
    judging: Sha256
    """Digest of all that decides its evaluation."""


class Lock(_Read):
    """A frozen plan. `digest` is of what decides the results, `checksum` of the whole lock but itself."""

    version: int
    """Version of this format."""
    name: Name
    """Name of the campaign."""
    revision: int = Field(ge=1)
    """Counts the changes that were accepted."""
    digest: Sha256
    """Digest of seed, detector and samples."""
    code_version: Word
    """The release that planned it first."""
    campaign_file: Word
    """Where the campaign was read from."""
    files: dict[Word, Sha256]
    """The files that were read, with their digests."""
    failed_events: Fraction
    """Tolerated fraction of a shard's events."""
    failed_shards: Fraction
    """Tolerated fraction of a sample's shards."""
    job_minutes: float
    """How long a job was to last."""
    allow_cpu: bool
    """Whether GPU stages may run on the CPU."""
    licence: Word
    """Licence of the results."""
    validation: Validation
    """Limits of the report's verdict."""
    compare: list[Comparison]
    """What the report compares."""
    seed: int = Field(ge=0, lt=2**63, strict=True)
    """Seed of the campaign."""
    detector: Detector
    """The detector."""
    samples: dict[Name, SampleEntry] = Field(min_length=1, max_length=MAX_SAMPLES)
    """The samples by name."""
    models: dict[Name, ModelEntry] = Field(default={}, max_length=MAX_MODELS)
    """The models that the campaign makes, by name."""
    checksum: Sha256
    """Digest of everything above."""

    @model_validator(mode="after")
    def _hangs_together(self) -> Self:
        for name, sample in self.samples.items():
            line = lineage(self.samples, name)
            for stage, entry in sample.stages.items():
                owner = self.samples[entry.owner] if entry.owner in line else None
                if owner is None or owner.stages.get(stage, entry).owner != entry.owner:
                    raise ValueError(f"samples.{name}.{stage}: `{entry.owner}` owns no such files")
                if owner.stages[stage].digest != entry.digest or not _within(sample, owner):
                    raise ValueError(f"samples.{name}.{stage}: does not agree with that of its owner `{entry.owner}`")
                if entry.library and entry.library.sample not in self.samples:
                    raise ValueError(f"samples.{name}.{stage}: library `{entry.library.sample}` is no sample")
                if entry.made and (entry.made not in self.models or self.models[entry.made].digest != entry.model):
                    raise ValueError(f"samples.{name}.{stage}: `{entry.made}` is no such model")
        for name, model in self.models.items():
            parent = model.parent
            if unknown := {*model.data, *model.held_out, *(parent.data if parent else ())} - {*self.samples}:
                raise ValueError(f"models.{name}: `{min(unknown)}` is no sample")
            earlier = self.models.get(parent.model) if parent and parent.made else None
            if parent and parent.made and (earlier is None or earlier.digest != parent.digest):
                raise ValueError(f"models.{name}: `{parent.model}` is no such model")
        for name in (name for one in self.compare for name in (one.reference, *one.candidates)):
            if name not in self.samples:
                raise ValueError(f"compares `{name}`, which is no sample")
        return self


def _within(sample: SampleEntry, owner: SampleEntry) -> bool:
    return sample.events <= owner.events and sample.shard_events == owner.shard_events


def read_lock(path: Path) -> dict:
    """Read a lock file. Raises InputError if it is missing, of another version, edited, or no plan."""
    if not path.exists():
        raise InputError(f"{path}: no such plan; make it with `gen2reco plan CAMPAIGN`")
    lock = load_json(path, MAX_BYTES)
    if lock.get("version") != LOCK_VERSION:
        raise InputError(
            f"{path}: plan version {str(lock.get('version'))[:20]}, expected {LOCK_VERSION}; finish with the release "
            "that made it, or remove it and plan anew: files that fit the new plan are kept"
        )
    if lock.get("checksum") != checksum(lock):
        raise InputError(f"{path}: was edited since it was written; restore it, or remove it and plan anew")
    parse_block(lock, Lock, str(path))
    return lock


def stage_digest(stage: str, choice: dict, backend: type[Backend], seed: int, detector: str) -> str:
    """The digest of everything that decides the content of a stage's files, with the versions of backend and record of
    this release; `detector` is the digest of the detector."""
    from gen2reco.events.schemas import VERSIONS

    known = {key: choice[key] for key in ("backend", "options", "chunk_events", "model")}
    known |= {"oversample": choice["oversample"]} if "oversample" in choice else {}
    known |= {"library": choice["library"]} if "library" in choice else {}
    known |= {"version": backend.version, "record": VERSIONS[STAGES[stage].writes], "seed": seed}
    return digest({**known, "detector": detector if backend.needs_detector else None})


def write_lock(path: Path, lock: dict) -> None:
    """Write a lock file whole or not at all."""
    write_text(path, json.dumps(lock, indent=1) + "\n")


def checksum(lock: dict) -> str:
    """The digest of a lock without its checksum."""
    return digest({key: value for key, value in lock.items() if key != "checksum"})
