"""The record files that a model is trained on and judged on, and how they were made, by their own provenance."""

from collections import Counter
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from gen2reco.config.block import digest
from gen2reco.config.detector import Detector
from gen2reco.detector.made_with import stated_detector
from gen2reco.errors import InputError
from gen2reco.events import records
from gen2reco.run import fallback
from gen2reco.run.sidecar import read_sidecar, sidecar_path
from gen2reco.run.stage_table import FIRST, STAGES

HELD_OUT = "held_out"
"""A sample of this name is judged, never trained on."""


@dataclass(frozen=True)
class DataFiles:
    """Record files of a training. held_out: files that a model is only judged on, by the name of their sample; digest:
    that of the training files' content, as the log of the training has it; replayed: how many of the last `paths` are
    data of the earlier model that the training starts from; replay: their share of each batch."""

    paths: list[Path]
    held_out: Mapping[str, list[Path]] = field(default_factory=dict)
    digest: str = ""
    replayed: int = 0
    replay: float = 0.0

    @cached_property
    def provenance(self) -> list[dict[str, dict]]:
        """How each file to train on was made: facts by stage ({} for a file from outside). Raises InputError."""
        return [records.Source(path).story for path in self.paths]

    @cached_property
    def content(self) -> str:
        """Identifies the files, for what is derived of them and kept: their digest, or else names and sizes."""
        return self.digest or digest([[str(path.resolve()), path.stat().st_size] for path in self.paths])

    @cached_property
    def detector(self) -> Detector:
        """The detector that all files to train on were made with. Raises InputError where one does not say, or where
        two differ."""
        found: dict[str, tuple[Path, Detector]] = {}
        for path, story in zip(self.paths, self.provenance):
            stated = stated_detector(story)
            if stated is None:
                raise InputError(
                    f"{path}: does not say with which detector it was made; make it by `gen2reco simulate`"
                )
            found.setdefault(stated.digest(), (path, stated))
        (first, detector), *others = found.values()
        if others:
            raise InputError(f"{first} and {others[0][0]} were made with different detectors; train on files of one")
        return detector

    def chances(self, chance: NDArray[np.float64], source: NDArray[np.int64]) -> NDArray[np.float64]:
        """Relative chances of members to be drawn, (n,), with the share `replay` for those of replayed files.

        source: (n,) the file of each member, by its place in `paths`.
        """
        old = source >= len(self.paths) - self.replayed
        if not self.replay or old.all() or not old.any():
            return chance
        share = np.where(old, self.replay, 1 - self.replay)
        return chance * share / np.where(old, chance[old].sum(), chance[~old].sum())

    def members(self, source: NDArray[np.int64]) -> NDArray[np.int64]:
        """Members to draw from evenly, by index: all of the new files, and so many of replayed ones that these have
        the share `replay`, spread evenly over them and repeated where there are too few. All where nothing is
        replayed. source: as for `chances`."""
        old = source >= len(self.paths) - self.replayed
        if not self.replay or old.all() or not old.any():
            return np.arange(len(source))
        new, known = np.flatnonzero(~old), np.flatnonzero(old)
        wanted = max(1, round(self.replay / (1 - self.replay) * len(new)))
        return np.concatenate([new, known[np.arange(wanted) * len(known) // wanted]])

    def made_by(self, stage: str) -> str:
        """The backends that did a stage of the files, in words, such as "`geant4` and an unknown backend"."""
        names = Counter(story[stage]["backend"] if stage in story else "?" for story in self.provenance)
        words = [f"`{name}`" for name, _ in names.most_common() if name != "?"]
        return " and ".join([*words, *(["an unknown backend"] if "?" in names else [])])

    def check_made(self) -> None:
        """Raises InputError where a part of the data went to a fallback that no sample states: what is learned of them
        would be a mixture that nobody chose."""
        for path, story in zip(self.paths, self.provenance):
            silent = {stage: facts for stage, facts in story.items() if not facts.get("options", {}).get("outside")}
            if lines := _fallbacks([silent]):
                raise InputError(
                    f"{path}: {lines[0]}; a model is trained on data of one making: narrow the process, or state "
                    "`outside` in the sample to have the mixture learned"
                )

    def card(self) -> str:
        """The section of a model's card that says what the data were (Markdown): each way in which files were made,
        what was left to a fallback, events that failed, files of unknown provenance."""
        ways: dict[str, list[int]] = {}
        for number, story in enumerate(self.provenance):
            ways.setdefault(_way(story), []).append(number)
        unknown = ways.pop("", [])
        lines = [f"- {self._which(numbers)}: {way}." for way, numbers in ways.items()]
        if len(ways) + bool(unknown) > 1:
            lines.append("- **Several provenances**: the files were not all made alike.")
        if unknown:
            lines.append(f"- **Unknown provenance**: {self._which(unknown)}; nothing says how they were made.")
        lines += [f"- **Fallback**: {line}." for line in _fallbacks(self.provenance)]
        if failed := sum(_failed(path) for path in self.paths):
            lines.append(f"- **Failed**: {failed} events could not be made and are missing.")
        content = f"Digest of the content: `{self.digest}`." if self.digest else ""
        return "\n".join(["## Training data", "", *lines, *(["", content] if content else [])])

    def _which(self, numbers: list[int]) -> str:
        """Some of the files in words: their samples, how many there are, and their events."""
        paths = [self.paths[number] for number in numbers]
        events = sum(records.Source(path).num_rows for path in paths)
        names = ", ".join(f"`{name}`" for name in sorted({_sample(path) for path in paths}))
        return f"{names} ({len(paths)} {'file' if len(paths) == 1 else 'files'}, {events} events)"


def find_files(source: Path, pattern: str, others: Iterable[Path] = ()) -> tuple[list[Path], list[Path]]:
    """The record files in a folder to train on, and the samples that are only judged: `others`, and the sample
    `held_out` of the folder. Raises InputError where nothing is left to train on."""
    own = source / HELD_OUT
    judged = [*others, *([own] if own.is_dir() else [])]
    apart = {path.resolve() for path in judged}
    paths = [
        path for path in matching_files(source, pattern) if apart.isdisjoint([path.resolve(), *path.resolve().parents])
    ]
    if not paths:
        raise InputError(f"{source}: holds no records to train on ({pattern}); make the campaign first")
    return paths, judged


def matching_files(source: Path, pattern: str = "*.parquet") -> list[Path]:
    """The record files under a folder whose path ends as the pattern says, in order, or the file itself; those of
    unfinished jobs are left out."""
    if source.is_file():
        return [source]
    found = ((path, path.relative_to(source).parts) for path in source.rglob("*.parquet"))
    return sorted(path for path, parts in found if path.match(pattern) and not any(p.startswith(".") for p in parts))


def _sample(path: Path) -> str:
    """The sample that a file belongs to: results/<campaign>/<sample>/<stage>/<shard>.parquet; of others its name."""
    return path.resolve().parent.parent.name if path.stem.isdecimal() else path.name


def _way(story: dict[str, dict]) -> str:
    """How a file was made, stage by stage, in words; empty if unknown."""
    stages = [*(stage for stage in STAGES if stage in story), *(stage for stage in story if stage not in STAGES)]
    words = [f"{stage} by {_backend(story[stage])}" for stage in stages]
    if stages and stages[0] != FIRST:
        words.insert(0, f"unknown before {stages[0]}")
    return "; ".join(words)


def _backend(facts: dict) -> str:
    """A backend with its version, the digest of its model, and what it says of its physics."""
    if facts["backend"] == "?":
        return "an unknown backend"
    more = [f"version {facts['version']}"]
    if facts.get("model"):
        more.append(f"model `{facts['model']}`")
    if physics := facts["info"].get("physics"):
        more.append(str(physics))
    return f"`{facts['backend']}` ({', '.join(more)})"


def _fallbacks(stories: list[dict[str, dict]]) -> list[str]:
    """What backends left to their fallback, one line a backend, with the reasons."""
    total: dict[tuple[str, str], fallback.Reasons] = {}
    for story in stories:
        for stage, facts in story.items():
            reasons = total.setdefault((stage, facts["backend"]), {})
            for reason, one in fallback.reasons_of(facts["info"]).items():
                known = reasons.setdefault(reason, {"count": 0, "energy": 0.0})
                reasons[reason] = {key: known[key] + one.get(key, 0) for key in known}
    return [f"{stage} by `{backend}` left {_left(reasons)}" for (stage, backend), reasons in total.items() if reasons]


def _left(reasons: fallback.Reasons) -> str:
    """How many events or particles went to a fallback, with their energy where it is known, and why."""
    energy = fallback.energy(reasons)
    amount = f"{fallback.number(reasons)} ({energy:.4g} GeV)" if energy else str(fallback.number(reasons))
    return f"{amount} to its fallback, because of {fallback.sentence(reasons)}"


def _failed(path: Path) -> int:
    """Events of a file that could not be made, by its sidecar; 0 where it has none."""
    return int(read_sidecar(path).get("events_failed", 0)) if sidecar_path(path).exists() else 0
