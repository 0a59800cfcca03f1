"""Base class of the backends of stages, and their look-up by name."""

import importlib
from collections import Counter
from dataclasses import dataclass, field
from importlib.metadata import EntryPoint, entry_points
from pathlib import Path
from typing import TYPE_CHECKING, Any, ClassVar

from gen2reco.config.block import Block, parse_block
from gen2reco.errors import InputError
from gen2reco.events.truth import STANDARD, Properties
from gen2reco.run.stage_table import Stage, chain, is_built_in

if TYPE_CHECKING:
    import pyarrow as pa

    from gen2reco.config.detector import Detector


@dataclass(frozen=True)
class Chunk:
    """A fixed range of events of a shard with the seed that belongs to it."""

    index: int
    seed: int
    start: int
    stop: int


@dataclass
class Result:
    """The events a backend made of one chunk, and JSON-able facts about it.

    Numbers, and those in dictionaries, are summed over chunks. An event without a row counts as `events_vetoed` where
    it was dropped on purpose, else as failed; `failure_reasons`, {reason: events}, gives the engine's own words.
    """

    table: "pa.Table"
    info: dict[str, Any] = field(default_factory=dict)


class Backend:
    """One way to do one stage. Subclasses state the class attributes and implement `run`.

    `isolate`: each chunk runs in a child forked from the process that called `prepare`, so engines that keep state
    start each chunk fresh, and several chunks may run at once. `version` is raised by hand when the output changes.
    `devices`: those that the backend makes use of; what isolates moves its network to the device in `run`, since CUDA
    does not outlive a fork. `seeded_by`: an earlier stage whose sample names the seeds, so that samples that share its
    files draw the same numbers. `chunks_of`: an earlier stage whose chunks are also its own. `takes_library`: whether
    it reads the files of another sample too, which `library` then holds. `kept`: whether its files stay where a
    campaign does not say which stages to keep.
    """

    name: ClassVar[str]
    stage: ClassVar[str]
    version: ClassVar[int] = 1
    isolate: ClassVar[bool] = False
    needs_detector: ClassVar[bool] = False
    chunk_events: int = 100
    seeded_by: ClassVar[str | None] = None
    chunks_of: ClassVar[str | None] = None
    takes_library: ClassVar[bool] = False
    kept: ClassVar[bool] = True
    devices: ClassVar[tuple[str, ...]] = ("cpu",)

    class Options(Block):
        """No options."""

    device: str = "cpu"
    model_digest: str | None = None
    library: tuple[Path, ...] = ()

    def __init__(self, options: Block, detector: "Detector | None" = None):
        self.options, self.detector, self.properties = options, detector, STANDARD

    @classmethod
    def own_detector(cls, options: Block) -> "Detector | None":
        """The detector that the model was made for, used where none is given; None if the model names none."""
        return None

    def accept(self, story: dict) -> None:
        """Check the provenance of the input, facts by stage ({} if unknown), before `prepare`. The base class keeps the
        properties of its particles. Raises InputError."""
        self.properties = Properties.of(story)

    @classmethod
    def check_chain(cls, options: dict, stages: dict[str, dict], library: dict | None) -> None:
        """Check the other stages of a planned sample, and the entry of its library, if any. Raises InputError."""

    def prepare(self) -> None:
        """Do the heavy start-up once (imports, compilation, engine initialisation)."""

    def run(self, chunk: Chunk, events: "pa.Table | None") -> Result:
        """Process one chunk: `events` is its slice of the input record, None for generate."""
        raise NotImplementedError

    def summary(self, infos: list[dict]) -> dict:
        """Merge the chunks' facts into those of the shard: numbers are summed, also in dictionaries, other values must
        agree. The runner merges `failure_reasons` itself."""
        total: dict[str, Any] = {}
        for info in infos:
            for key, value in info.items():
                total[key] = _added(total[key], value) if key in total else value
        return total

    def notices(self, facts: dict) -> list[str]:
        """Lines for the terminal on what the shard's facts (its sidecar) count: events or particles that fell back to
        another backend, were dropped, capped or not simulated. Empty where there are none."""
        return []


def _added(total: Any, value: Any) -> Any:
    if isinstance(value, dict) and isinstance(total, dict):
        return {**total, **{key: _added(total[key], v) if key in total else v for key, v in value.items()}}
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    return total + value if number else value


def failure_reasons(infos: list[dict], most: int = 20, length: int = 300) -> dict[str, int]:
    """Why events of these chunks failed: {reason: events}, the `most` frequent first, each one line cut to `length`."""
    total: Counter[str] = Counter()
    for info in infos:
        for reason, events in info.get("failure_reasons", {}).items():
            total[" ".join(reason.split())[:length]] += int(events)
    kept = dict(total.most_common(most))
    rest = total.total() - sum(kept.values())
    return {**kept, "other reasons": rest} if rest else kept


def wrong_record(stage: Stage, found: str) -> str:
    """What to say of events of the record `found` where a stage reads another one, by the table of stages."""
    before = " and ".join(f"`{name}`" for name in chain(found, stage.reads))
    remedy = f"run {before} first" if before else f"give the {stage.reads} that they were made of"
    return f"these are {found}, `{stage.name}` reads {stage.reads}: {remedy}"


def backend_names(stage: str) -> list[str]:
    """Names of a stage's backends in this package."""
    return list(_built_in(stage))


def _built_in(stage: str) -> dict[str, str]:
    """Name → `module:class` of a stage's backends in this package."""
    return importlib.import_module(f"gen2reco.{stage}").BACKENDS if is_built_in(stage) else {}


def backend_class(stage: str, name: str) -> type[Backend]:
    """The backend class of that name: built in, or else announced by an installed package as entry point
    `gen2reco.<stage>`. Raises InputError naming the known ones."""
    built_in = _built_in(stage)
    if name in built_in:
        return EntryPoint(name, built_in[name], f"gen2reco.{stage}").load()
    announced = {entry.name: entry for entry in entry_points(group=f"gen2reco.{stage}")}
    if name not in announced:
        known = ", ".join(sorted({*built_in, *announced})) or "none"
        raise InputError(f"`{stage}` has no backend `{name}`; known: {known}")
    return announced[name].load()


def make_backend(stage: str, name: str, options: dict | None = None, detector: "Detector | None" = None) -> Backend:
    """Look up, validate the options, and build a backend. Raises InputError."""
    cls = backend_class(stage, name)
    parsed = parse_block(options or {}, cls.Options, source=f"{stage} backend `{name}`")
    if cls.needs_detector and detector is None:
        detector = cls.own_detector(parsed)
        if detector is None:
            raise InputError(
                f"backend `{name}` of `{stage}` needs a detector; give --detector configs/detectors/hgcal.yaml"
            )
    return cls(parsed, detector)
