"""What tracking reads back from files, as strict models: whatever a file holds, it is understood or left out."""

from typing import Annotated, Any, Literal

from pydantic import BaseModel, ConfigDict, Field, StringConstraints, TypeAdapter, ValidationError

from gen2reco.run.evaluations import Key, Number, Tolerant, Word

NAME = r"^[a-z0-9_]{1,100}$"
"""Names that become folders, or names in MLflow."""
Name = Annotated[str, StringConstraints(pattern=NAME)]
Text = Annotated[str, StringConstraints(pattern=r"^[^\x00]*$")]
Count = Annotated[int, Field(strict=True, ge=0, le=2**53)]
Step = Annotated[int, Field(strict=True, ge=-(2**53), le=2**53)]
Amount = Annotated[float, Field(strict=True, ge=0, le=1e18, allow_inf_nan=False)]
Sha256 = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}$")]
Kept = Annotated[str, StringConstraints(pattern=r"^[0-9a-f]{64}/[A-Za-z0-9_.-]{1,200}$")]
"""A file in the spool: digest / name."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class _Event(_Strict):
    attempt: Annotated[str, StringConstraints(pattern=r"^[A-Za-z0-9_.-]{1,100}$")]
    n: Count
    t: Count


class Params(_Event):
    """Settings of a training."""

    kind: Literal["params"]
    values: dict[Key, Text]


class Tags(_Event):
    """Labels of a training."""

    kind: Literal["tags"]
    values: dict[Key, Text]


class Metrics(_Event):
    """Numbers at a step."""

    kind: Literal["metrics"]
    step: Step
    values: dict[Key, Number]


class Dataset(_Event):
    """Data that a training uses."""

    kind: Literal["dataset"]
    name: Key
    digest: Word
    context: Word
    source: Text = ""
    facts: dict[Key, Any] = {}


class Artifact(_Event):
    """A file to keep with the run; no file, where the disk was full."""

    kind: Literal["artifact"]
    file: Kept | None
    folder: Word = ""


class ModelFiles(_Event):
    """A model to register: the names of its files in the model folder, and in the spool."""

    kind: Literal["model"]
    name: Name
    files: dict[Key, Kept | None]


class End(_Event):
    """How an attempt ended."""

    kind: Literal["end"]
    status: Literal["FINISHED", "FAILED", "KILLED"]


EVENT: TypeAdapter = TypeAdapter(
    Annotated[Params | Tags | Metrics | Dataset | Artifact | ModelFiles | End, Field(discriminator="kind")]
)
"""One line of a spool."""


class Choice(Tolerant):
    """A stage in a plan."""

    backend: Word = ""
    version: Count | None = None
    chunk_events: Count | None = None
    owner: Name | None = None
    digest: Word | None = None
    model: Word | None = None
    named: Word | None = None
    made: Name | None = None
    options: dict[Key, Any] = {}


class Entry(Tolerant):
    """A sample in a plan."""

    events: Count = 0
    shard_events: Annotated[Count, Field(ge=1)] | None = None
    stages: dict[Name, Choice] = {}


class PlanLock(Tolerant):
    """A plan, as far as it is tracked."""

    name: Name | None = None
    revision: Annotated[Count, Field(ge=1)] = 1
    digest: Word = ""
    seed: Annotated[int, Field(strict=True)] | None = None
    samples: dict[Name, Entry] = {}
    models: dict[Name, dict] = {}
    files: dict[Key, Sha256] = {}
    failed_shards: Amount = 0.0
    campaign_file: Text = ""
    licence: Word | None = None


class Row(Tolerant):
    """A metric of a report."""

    stage: Word
    name: Key
    value: Number | None
    uncertainty: Number | None = None
    floor: Number | None = None
    samples: list[Word] = []
    headline: bool = False


class Decided(Tolerant):
    """The number that decides an answer of a report; nothing where none does."""

    stage: Word = ""
    metric: Word = ""
    value: Number | None = None
    uncertainty: Number | None = None


class Answer(Tolerant):
    """What a report says of one candidate for one use."""

    use: Word
    candidate: Word
    answer: Word
    text: Word
    why: Text = ""
    decided_by: Decided = Decided()


class Answers(Tolerant):
    """The answers of a report."""

    reference: Word
    uses: list[Answer] = []


def first_mistake(error: ValidationError) -> str:
    """The field and the mistake, in one line that quotes no value."""
    found = error.errors(include_url=False, include_input=False)[0]
    where = ".".join(str(part)[:60] for part in found["loc"]) or "the whole"
    return f"`{where}`: {found['msg']}".replace("\n", " ")[:200]
