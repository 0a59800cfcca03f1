"""The table of stages, in the order in which they run; commands, rules, plans, groups and costs derive from it.

A stage of an installed package is announced as entry point of `gen2reco.stages` (docs/stages.md). Its module must
import fast, because every command and every job of a campaign reads this table.
"""

import re
import sys
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from importlib.metadata import entry_points

from gen2reco.paths import RESERVED


@dataclass(frozen=True)
class Stage:
    """One step of a sample, done by one of several backends: a command, a rule, and a key of a sample in a campaign."""

    name: str
    """Name of its command, rule and folder, and its key in a campaign; different from all others of these."""
    reads: str | None
    """The record that it reads; None for a stage that makes events."""
    writes: str
    """The record that it writes."""
    backend: str
    """The backend that the command uses by default."""
    help: str
    """One sentence for the command line: what the command does."""
    step: str
    """One sentence for the campaign reference: what is turned into what."""
    publishes: bool = False
    """Whether its output is written to ntuples where it is the last stage of a sample."""
    draws: bool = False
    """Whether it draws at random, so that it may take each event several times (`oversample`)."""

    takes_library: bool = False
    """Whether a backend of it reads files of another sample too (`--library`)."""

    @property
    def spans(self) -> tuple[str, ...]:
        """The stages of the chain that it replaces; none for a stage of the chain, and for one that reads and writes
        the same record."""
        steps = chain(self.reads, self.writes)
        return steps if len(steps) > 1 else ()


_BUILT_IN = (
    Stage(
        name="generate",
        reads=None,
        writes="particles",
        backend="pythia8",
        help="Make particles: Pythia8, a gun, LHE or HepMC files, or a learned generator.",
        step="Hard process to stable particles.",
    ),
    Stage(
        name="simulate",
        reads="particles",
        writes="hits",
        backend="geant4",
        help="Make calorimeter hits of particles: Geant4 or a learned simulation.",
        step="Particles to calorimeter hits.",
        draws=True,
        takes_library=True,
    ),
    Stage(
        name="readout",
        reads="hits",
        writes="hits",
        backend="plain",
        help="Read hits out again: with pile-up, or by a detector that differs in noise, dead cells or tracks.",
        step="Hits with deposits to hits of another readout, or with pile-up; left out: those of simulate.",
        takes_library=True,
    ),
    Stage(
        name="cluster",
        reads="hits",
        writes="clusters",
        backend="clue",
        help="Make layer clusters and tracksters of hits.",
        step="Hits to layer clusters and tracksters.",
    ),
    Stage(
        name="calibrate",
        reads="clusters",
        writes="objects",
        backend="dnn",
        help="Make calibrated, identified objects and jets of clusters.",
        step="Tracksters to calibrated objects.",
        publishes=True,
    ),
    Stage(
        name="fuse",
        reads="particles",
        writes="objects",
        backend="fused",
        help="Make calibrated objects straight of particles, in one network evaluation an event.",
        step="Particles straight to calibrated objects; replaces simulate, cluster and calibrate.",
        publishes=True,
        draws=True,
    ),
)
RECORDS = tuple(dict.fromkeys(stage.writes for stage in _BUILT_IN))
"""The records in the order in which they are made."""
CHAIN = tuple({stage.writes: stage.name for stage in reversed(_BUILT_IN)}[record] for record in RECORDS)
"""The stages that make these records step by step."""
LIBRARY_STAGE = "simulate"
"""The stage whose files, which may hold deposits, are read as a library of another sample."""
FIRST = CHAIN[0]
"""The stage that every sample begins with."""
PUBLISH = "publish"
"""The step after the last stage that writes ntuples."""


def chain(reads: str | None, writes: str | None) -> tuple[str, ...]:
    """The stages of the chain that lead from one record, or from none, to another."""
    return CHAIN[_place(reads) + 1 : _place(writes) + 1]


def _place(record: str | None) -> int:
    return -1 if record is None else RECORDS.index(record)


def _announced() -> Iterator[Stage]:
    """The stages of installed packages, sorted by name; one that cannot be used is left out, with a line on stderr."""
    for entry in sorted(entry_points(group="gen2reco.stages"), key=lambda entry: entry.name):
        try:
            stage = entry.load()
            _check(entry.name, stage)
            yield stage
        except Exception as error:
            print(f"gen2reco: stage `{entry.name}` ({entry.value}) is left out: {error}", file=sys.stderr)


TAKEN = (
    RESERVED
    | {"calibrate_rates", "check", "docs", "export", "export_model", "recover", "show", "status", "submit", "train"}
    | {"backends", "release", "tune", "verify", "all", "events", "like", "shard_events"}
    | {"keep", "watch", "clean", "merge", "showers", "validate_showers"}
    | {"make_model", "judge_model", "judge", "train_gpu"}
)
"""Names that no stage may have: of other commands and rules, and of other keys of a sample."""


def _check(name: str, stage: object) -> None:
    """Raises ValueError for what cannot be a stage of another package."""
    if not isinstance(stage, Stage) or stage.name != name:
        raise ValueError(f"expected a Stage named `{name}`")
    if not re.fullmatch("[a-z0-9_]+", name) or name in TAKEN or is_built_in(name):
        raise ValueError("its name is taken, or holds other than lower-case letters, digits and underscores")
    if not {stage.reads, stage.writes} <= set(RECORDS):
        raise ValueError(f"reads {stage.reads} and writes {stage.writes}, expected two of {', '.join(RECORDS)}")
    if stage.reads != stage.writes and not stage.spans:
        raise ValueError(f"reads {stage.reads} and writes {stage.writes}: a backend of a stage of the chain does that")


def is_built_in(name: str) -> bool:
    """Whether a stage is of this package, where `gen2reco.<stage>.BACKENDS` lists its backends."""
    return any(stage.name == name for stage in _BUILT_IN)


def _table() -> dict[str, Stage]:
    """All stages, each after the others that make its record."""
    found = sorted([*_BUILT_IN, *_announced()], key=lambda stage: _place(stage.writes))
    return {stage.name: stage for stage in found}


STAGES = _table()
"""Name → stage, in the order in which they run."""


def rule_name(stage: str, device: str) -> str:
    """The name of the Snakemake rule that does a stage on a device, `cpu` or `cuda`."""
    return f"{stage}_gpu" if device == "cuda" else stage


def chains_to(record: str) -> list[tuple[str, ...]]:
    """The chains of stages from particles to a record: each stage that spans others, then the chain step by step."""
    spanning = [(stage.name,) for stage in STAGES.values() if stage.spans and stage.writes == record]
    return [*spanning, chain(RECORDS[0], record)]


MAX_DRAWS = 10_000
"""Most draws of an event; more is taken for a mistake."""


def not_drawn(stage: str, times: int) -> str | None:
    """A message where a stage is to draw each event several times and cannot; None if all is well."""
    if times == 1 or STAGES[stage].draws:
        return None
    able = ", ".join(name for name, one in STAGES.items() if one.draws)
    return f"`oversample` = {times}: {stage} does not draw at random; give it to {able}, or leave it out"


def in_order(names: Collection[str]) -> list[str]:
    """The given stages in the order in which they run."""
    return [name for name in STAGES if name in names]


def exclude(one: str, other: str) -> bool:
    """Whether a sample can have only one of two stages, because one does work of the other."""
    a, b = STAGES[one], STAGES[other]
    return _place(a.reads) < _place(b.writes) and _place(b.reads) < _place(a.writes)


def clash(names: Collection[str]) -> str | None:
    """A message where a stage of a sample does work of another one; None if all is well."""
    for name in in_order(names):
        if (spans := STAGES[name].spans) and any(exclude(name, other) for other in names if other != name):
            return f"`{name}` spans {spans[0]} to {spans[-1]}; give one or the other"
    return None


def gap(names: Collection[str]) -> str | None:
    """A message where a sample lacks a stage, because each must read what the one before it writes; None if all is
    well."""
    if FIRST not in names:
        return f"`{FIRST}` names no backend; every sample starts with one"
    record = None
    for name in in_order(names):
        if missing := chain(record, STAGES[name].reads):
            return f"`{missing[0]}` has no backend but `{name}` has one; give it a backend"
        record = STAGES[name].writes
    return None
