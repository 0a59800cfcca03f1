"""The campaign file: which samples to make, each stage by which backend, and what to compare."""

from pathlib import Path
from typing import Any, Self

from pydantic import Field, model_validator

from gen2reco.campaign.config import Block, Name, load_yaml, parse_block
from gen2reco.campaign.detector import Detector
from gen2reco.campaign.process import process_from
from gen2reco.campaign.promotion import Criterion
from gen2reco.campaign.stage import RECORDS, backend_class
from gen2reco.campaign.validation import Validation
from gen2reco.errors import InputError

CHAIN = ("generate", "simulate", "cluster", "calibrate")


class StageChoice(Block):
    """Which backend does a stage; all other keys are options of that backend."""

    backend: str
    """Name of the backend."""
    chunk_events: int | None = Field(default=None, ge=1)
    """Events per chunk, to which seeds belong; left out: the backend's usual number."""
    device: str = Field(default="cpu", pattern="^(cpu|cuda)$")
    """Where the backend runs; `cuda` jobs ask the cluster for a GPU."""
    options: dict[str, Any] = {}
    """Options of the backend; may also be written beside `backend`."""

    @model_validator(mode="before")
    @classmethod
    def _gather_options(cls, data: Any) -> Any:
        if not isinstance(data, dict):
            return data
        own = {key: value for key, value in data.items() if key in cls.model_fields}
        rest = {key: value for key, value in data.items() if key not in cls.model_fields}
        return {**own, "options": {**own.get("options", {}), **rest}} if rest else own


class Sample(Block):
    """Events of one kind, taken down the road by one choice of backends."""

    like: Name | None = None
    """Another sample, of which everything not stated here is taken: earlier stages that agree share its files,
    so that both samples hold the same events."""
    events: int | None = Field(default=None, ge=0)
    """Accepted events to make; raise it later to extend the sample."""
    shard_events: int | None = Field(default=None, ge=1)
    """Events per shard (one job per stage); left out: as many as keep a job busy for `job_minutes`."""
    generate: StageChoice | None = None
    """Hard process to stable particles."""
    simulate: StageChoice | None = None
    """Particles to calorimeter hits."""
    cluster: StageChoice | None = None
    """Hits to layer clusters and tracksters."""
    calibrate: StageChoice | None = None
    """Tracksters to calibrated objects."""
    fuse: StageChoice | None = None
    """Particles straight to calibrated objects; replaces simulate, cluster and calibrate."""

    @model_validator(mode="after")
    def _complete(self) -> Self:
        if self.fuse and (self.simulate or self.cluster or self.calibrate):
            raise ValueError("`fuse` spans simulate to calibrate; give one or the other")
        if self.like is None:
            if self.events is None:
                raise ValueError("`events` is missing; say how many events to make")
            if self.generate is None:
                raise ValueError("`generate` names no backend; every sample starts with one")
            gap = [s for s in CHAIN if getattr(self, s) is None]
            late = [s for s in CHAIN if getattr(self, s) is not None and gap and CHAIN.index(s) > CHAIN.index(gap[0])]
            if late and not self.fuse:
                raise ValueError(f"`{gap[0]}` has no backend but `{late[0]}` has one; give it a backend")
        return self


class Comparison(Block):
    """Candidates against the reference they are judged by."""

    reference: Name
    """The sample taken as the truth."""
    candidates: list[Name] = []
    """The samples compared with it; none: the report shows the reference alone."""


class Campaign(Block):
    """A production: what is wanted. `gen2reco plan` freezes it."""

    name: Name
    """Name of the campaign; also of its results folder and its MLflow experiment."""
    seed: int = Field(default=1, ge=0, lt=2**63)
    """Seed from which every chunk's seed is derived."""
    detector: str
    """The detector file, relative to the campaign file."""
    samples: dict[Name, Sample] = Field(min_length=1)
    """The samples by name."""
    compare: list[Comparison] = []
    """What the report compares; left out: every sample with those that are `like` it."""
    job_minutes: float = Field(default=45.0, gt=0)
    """How long one job of the slowest stage shall last; sizes the shards."""
    failed_events: float = Field(default=0.0, ge=0, le=1)
    """Tolerated fraction of a shard's events that cannot be processed."""
    failed_shards: float = Field(default=0.0, ge=0, le=1)
    """Tolerated fraction of a sample's shards that fail."""
    allow_cpu: bool = False
    """Let `cuda` stages run on the CPU where no device is visible."""
    validation: Validation = Validation()
    """Limits of the report's verdict."""
    promotion: list[Criterion] = []
    """What a new version of a model must hold to become the champion (`gen2reco models promote`)."""
    licence: str = Field(default="CC-BY-4.0", min_length=1, max_length=200)
    """Licence of the results, an SPDX name or an address; stated by `gen2reco export`."""


def load_campaign(path: Path | str) -> tuple[Campaign, Detector, dict[str, dict[str, StageChoice]]]:
    """Read a campaign and all it refers to: the campaign, its detector, and per sample the choice of each stage with
    options complete and files read in. Raises InputError naming file, field, value and what was expected."""
    path = Path(path)
    campaign = parse_block(_unique_samples(path), Campaign, str(path))
    detector = parse_block(load_yaml(path.parent / campaign.detector), Detector, str(path.parent / campaign.detector))
    chains = {name: _complete_chain(path, campaign, name) for name in campaign.samples}
    for comparison in campaign.compare:
        for name in (comparison.reference, *comparison.candidates):
            if name not in campaign.samples:
                raise InputError(f"{path}: `compare` names no sample `{name}`; known: {', '.join(campaign.samples)}")
    return campaign, detector, chains


def comparisons(campaign: Campaign) -> list[Comparison]:
    """What to compare: as stated, else each sample that others are like with those, and the rest alone."""
    if campaign.compare:
        return campaign.compare
    references = [name for name, sample in campaign.samples.items() if sample.like is None]
    like = {name: [other for other in campaign.samples if _root(campaign, other) == name] for name in references}
    return [Comparison(reference=name, candidates=[o for o in like[name] if o != name]) for name in references]


def _root(campaign: Campaign, name: str) -> str:
    while (like := campaign.samples[name].like) is not None:
        name = like
    return name


def _unique_samples(path: Path) -> dict:
    import yaml

    data = load_yaml(path)
    node = yaml.compose(path.read_text(encoding="utf-8"))
    for key, value in node.value:
        if key.value == "samples" and isinstance(value, yaml.MappingNode):
            names = [k.value for k, _ in value.value]
            twice = sorted({name for name in names if names.count(name) > 1})
            if twice:
                raise InputError(f"{path}: two samples are named `{twice[0]}`; give each its own name")
    return data


def _chain(path: Path, campaign: Campaign, name: str, above: tuple[str, ...] = ()) -> dict[str, StageChoice]:
    """The stages of a sample as stated: its own over those of the sample it is like."""
    known = ", ".join(campaign.samples)
    if name not in campaign.samples:
        raise InputError(f"{path}: sample `{above[-1]}` is like `{name}`, which is no sample; known: {known}")
    if name in above:
        raise InputError(f"{path}: sample `{name}` is like itself ({' -> '.join([*above, name])}); break the circle")
    sample = campaign.samples[name]
    chain = _chain(path, campaign, sample.like, (*above, name)) if sample.like else {}
    own = {stage: getattr(sample, stage) for stage in RECORDS if getattr(sample, stage)}
    dropped = CHAIN[1:] if "fuse" in own else ("fuse",) if own.keys() & CHAIN[1:] else ()
    return {stage: choice for stage, choice in chain.items() if stage not in dropped} | own


def _complete_chain(path: Path, campaign: Campaign, name: str) -> dict[str, StageChoice]:
    chain = _chain(path, campaign, name)
    return {stage: _complete_choice(path, name, stage, chain[stage]) for stage in RECORDS if stage in chain}


def _complete_choice(path: Path, sample: str, stage: str, choice: StageChoice) -> StageChoice:
    """Options validated, with defaults, and with the process file read in."""
    where = f"{path}: samples.{sample}.{stage}"
    cls = backend_class(stage, choice.backend)
    options = {key: _resolve(path, key, value) for key, value in choice.options.items()}
    complete = parse_block(options, cls.Options, where)
    return choice.model_copy(
        update={"options": complete.model_dump(mode="json"), "chunk_events": choice.chunk_events or cls.chunk_events}
    )


def _resolve(path: Path, key: str, value: Any) -> Any:
    """Files that options name, relative to the campaign file: a process or YAML block is read in."""
    if not isinstance(value, str):
        return value
    if key == "process":
        return process_from(path.parent / value).model_dump(mode="json")
    if value.endswith((".yaml", ".yml")):
        return load_yaml(path.parent / value)
    return value
