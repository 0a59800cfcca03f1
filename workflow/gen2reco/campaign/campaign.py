"""The campaign file: which samples to make, each stage by which backend, and what to compare."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import AfterValidator, Field, create_model, model_validator

from gen2reco.config.block import Block, Name, load_block, load_yaml, parse_block
from gen2reco.config.detector import Detector
from gen2reco.config.model_choice import ModelChoice, not_shipped, with_families
from gen2reco.config.process import process_from
from gen2reco.config.promotion import Criterion
from gen2reco.config.validation import Validation
from gen2reco.errors import InputError, about
from gen2reco.paths import RESERVED
from gen2reco.run.stage import backend_class
from gen2reco.run.stage_table import MAX_DRAWS, STAGES, clash, exclude, gap, in_order, not_drawn

MAX_EVENTS, MAX_SHARDS, MAX_SAMPLES, MAX_MODELS = 10**12, 10**6, 1000, 1000
"""Most events and shards of a sample, and most samples and models of a campaign; more is taken for a mistake."""


def _free(name: str) -> str:
    if name in RESERVED:
        raise ValueError("the campaign itself uses this name; choose another")
    return name


SampleName = Annotated[Name, AfterValidator(_free)]
ModelName = Annotated[Name, AfterValidator(_free), AfterValidator(not_shipped)]


StageName = Annotated[str, Field(min_length=1, max_length=64)]


class StageChoice(Block):
    """Which backend does a stage; all other keys are options of that backend."""

    backend: str
    """Name of the backend."""
    chunk_events: int | None = Field(default=None, ge=1, le=MAX_EVENTS)
    """Events per chunk, to which seeds belong; left out: as many as take about a minute by the rates measured here,
    else the backend's usual number."""
    oversample: int = Field(default=1, ge=1, le=MAX_DRAWS)
    """How often each event is drawn, by a stage that draws at random (`simulate`, `fuse`): all later records hold as
    many times the events, each with the weight in equal parts and its original event in the column `source`."""
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


class _Size(Block):
    like: Name | None = None
    """Another sample, of which everything not stated here is taken: earlier stages that agree share its files,
    so that both samples hold the same events."""
    events: int | None = Field(default=None, ge=0, le=MAX_EVENTS)
    """Accepted events to make; raise it later to extend the sample."""
    shard_events: int | None = Field(default=None, ge=1, le=MAX_EVENTS)
    """Events per shard (one job per stage); left out: as many as keep a job busy for `job_minutes`."""
    keep: Literal["all"] | Annotated[list[StageName], Field(max_length=100)] | None = None
    """Stages whose files stay, and `publish` for the ntuples, such as `[publish, calibrate]`; `all`: everything. The
    files of other stages go as soon as the stages after them are made, and no report or model reads them. Left out: as
    the sample that this one is like, or else everything."""

    @model_validator(mode="after")
    def _bounded(self) -> Self:
        if problem := too_many_shards(self.events or 0, self.shard_events or MAX_EVENTS):
            raise ValueError(problem)
        return self


_FIELDS: dict[str, Any] = {
    stage.name: (StageChoice | None, Field(default=None, description=stage.step)) for stage in STAGES.values()
}
_CHOICES: Any = create_model("_CHOICES", __base__=Block, **_FIELDS)
"""A field for each stage of the table."""


class Sample(_CHOICES, _Size):
    """Events of one kind, taken down the road by one choice of backends."""

    @property
    def choices(self) -> dict[str, StageChoice]:
        """Stage → its choice, of the stages that the sample itself states."""
        return {stage: choice for stage in STAGES if (choice := getattr(self, stage)) is not None}

    @model_validator(mode="after")
    def _complete(self) -> Self:
        problem = clash(self.choices) or next(
            filter(None, (not_drawn(stage, choice.oversample) for stage, choice in self.choices.items())), None
        )
        if self.like is None and not problem:
            problem = (
                gap(self.choices) if self.events is not None else "`events` is missing; say how many events to make"
            )
        if problem:
            raise ValueError(problem)
        return self


def too_many_shards(events: int, shard_events: int) -> str | None:
    """A message where the events of a sample would make more than MAX_SHARDS shards; None otherwise."""
    if (shards := -(-events // shard_events)) <= MAX_SHARDS:
        return None
    return (
        f"`events` = {events} in shards of {shard_events} are {shards} shards; expected at most {MAX_SHARDS}: "
        "raise `shard_events` or `job_minutes`"
    )


class Comparison(Block):
    """Candidates against the reference they are judged by."""

    reference: Name
    """The sample taken as the truth."""
    candidates: list[Name] = []
    """The samples compared with it; none: the report shows the reference alone."""


class Campaign(Block):
    """A production: what is wanted. `gen2reco plan` freezes it."""

    name: SampleName
    """Name of the campaign; also of its results folder and its MLflow experiment."""
    seed: int = Field(default=1, ge=0, lt=2**63)
    """Seed from which every chunk's seed is derived."""
    detector: str
    """The detector file, relative to the campaign file."""
    samples: dict[SampleName, Sample] = Field(min_length=1, max_length=MAX_SAMPLES)
    """The samples by name."""
    models: dict[ModelName, ModelChoice] = Field(default={}, max_length=MAX_MODELS)
    """Models that the campaign makes, by name."""
    compare: list[Comparison] = []
    """What the report compares; left out: every sample with those that are `like` it."""
    job_minutes: float = Field(default=45.0, gt=0, le=1e6)
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

    _each_member = model_validator(mode="before")(with_families)

    @model_validator(mode="after")
    def _one_report_each(self) -> Self:
        references = [comparison.reference for comparison in self.compare]
        if twice := {name for name in references if references.count(name) > 1}:
            raise ValueError(f"`compare` has reference `{min(twice)}` twice; put the candidates in one entry")
        return self

    @model_validator(mode="after")
    def _all_samples_known(self) -> Self:
        for problem in unknown_names(self.samples, self.compare, self.models):
            raise ValueError(problem)
        return self


def unknown_names(
    samples: Mapping[str, Any], compare: Iterable[Comparison], models: Mapping[str, ModelChoice]
) -> list[str]:
    """A message for each name that should be that of a sample and is none, and for each circle of samples."""
    found = []
    for name in samples:
        try:
            lineage(samples, name)
        except ValueError as error:
            found.append(str(error))
    named = [("compare", name) for one in compare for name in (one.reference, *one.candidates)]
    for key, one in models.items():
        named += [
            (f"models.{key}", name) for name in (*one.data, *one.held_out, *(one.start.data if one.start else ()))
        ]
    return found + [
        f"`{where}` names no sample `{name}`; known: {some_of(samples)}" for where, name in named if name not in samples
    ]


def load_campaign(path: Path | str) -> tuple[Campaign, Detector, dict[str, dict[str, StageChoice]]]:
    """Read a campaign file and the files it names: the campaign, its detector, and for each sample the choices of its
    stages, with all options and the contents of files. Raises InputError naming file, field, value and what was
    expected."""
    path = Path(path)
    campaign = load_block(path, Campaign)
    detector = load_block(path.parent / campaign.detector, Detector)
    chains = _chains(path, campaign.samples)
    return campaign, detector, chains


def comparisons(campaign: Campaign) -> list[Comparison]:
    """The comparisons that the campaign states, or else one for each sample that is like no other, with those like
    it."""
    if campaign.compare:
        return campaign.compare
    root = {name: lineage(campaign.samples, name)[-1] for name in campaign.samples}
    like = {name: [other for other in root if root[other] == name] for name in root if root[name] == name}
    return [Comparison(reference=name, candidates=[o for o in like[name] if o != name]) for name in like]


def lineage(samples: Mapping[str, Any], name: str) -> list[str]:
    """A sample, the sample it is like, the one that is like, and so on. Raises ValueError for a circle or an unknown
    name."""
    line, last = {name: None}, name
    while (like := samples[last].like) is not None:
        if like not in samples:
            raise ValueError(f"sample `{last}` is like `{like}`, which is no sample; known: {some_of(samples)}")
        if like in line:
            raise ValueError(f"sample `{name}` is like itself ({some_of([*line, like], ' -> ')}); break the circle")
        line[like], last = None, like
    return list(line)


def parents_first(samples: dict[str, Sample]) -> list[str]:
    """The samples, each after the one it is like. Raises ValueError for a circle or an unknown name."""
    return sorted(samples, key=lambda name: len(lineage(samples, name)))


def some_of(names: Iterable[str], between: str = ", ") -> str:
    """At most ten of the names as text, for a message."""
    names = list(names)
    return between.join(names if len(names) <= 10 else [*names[:9], "…", names[-1]])


def _chains(path: Path, samples: dict[str, Sample]) -> dict[str, dict[str, StageChoice]]:
    """The stages of each sample: its own, and those of the sample it is like that it does not replace. Raises
    InputError."""
    chains: dict[str, dict[str, StageChoice]] = {}
    for name in parents_first(samples):
        own = {stage: complete_choice(path, name, stage, choice) for stage, choice in samples[name].choices.items()}
        inherited = chains.get(samples[name].like or "", {})
        chain = {stage: choice for stage, choice in inherited.items() if not any(exclude(stage, o) for o in own)} | own
        if problem := gap(chain):
            raise InputError(f"{path}: samples.{name}: {problem}")
        chains[name] = {stage: chain[stage] for stage in in_order(chain)}
    return {name: chains[name] for name in samples}


def complete_choice(path: Path, sample: str, stage: str, choice: StageChoice) -> StageChoice:
    """A stage's choice with its options validated and complete, and files that they name read in. Raises InputError."""
    where = f"{path}: samples.{sample}.{stage}"
    with about(where):
        cls = backend_class(stage, choice.backend)
        if cls.chunks_of and choice.chunk_events:
            raise InputError(f"`chunk_events` = {choice.chunk_events}: its chunks are those of `{cls.chunks_of}`")
    options = {}
    for key, value in choice.options.items():
        with about(f"{where}.{key}"):
            options[key] = _resolve(path, key, value)
    complete = parse_block(options, cls.Options, where)
    return choice.model_copy(update={"options": complete.model_dump(mode="json")})


FILES = ("file", "binning")
"""Options of stages that name a file, relative to the campaign."""


def named_files(path: Path) -> list[Path]:
    """The campaign file, its detector file, the recipes of its models, and the process and YAML files that options of
    its stages name. Raises InputError."""
    campaign = parse_block(load_yaml(path), Campaign, str(path))
    choices = [choice for sample in campaign.samples.values() for choice in sample.choices.values()]
    options = [(key, value) for choice in choices for key, value in choice.options.items()]
    named = [
        v for k, v in options if isinstance(v, str) and (k in ("process", *FILES) or v.endswith((".yaml", ".yml")))
    ]
    named += [choice.recipe for choice in campaign.models.values() if choice.recipe]
    return [path, *(path.parent / name for name in dict.fromkeys([campaign.detector, *named]))]


def _resolve(path: Path, key: str, value: Any) -> Any:
    """The value of an option; the content of the process or YAML file where it names one, relative to the campaign."""
    if not isinstance(value, str):
        return value
    if key == "process":
        return process_from(path.parent / value).model_dump(mode="json")
    if value.endswith((".yaml", ".yml")):
        return load_yaml(path.parent / value)
    return str(path.parent / value) if key in FILES else value
