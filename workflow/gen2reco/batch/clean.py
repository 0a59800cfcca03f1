"""Remove what a campaign does not keep, and partial files."""

import os
import shutil
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from gen2reco.campaign.made import Made
from gen2reco.campaign.plan import Plan
from gen2reco.run.stage_table import PUBLISH

UNKEPT, PARTIAL = "made, used and not kept", "partial files"


@dataclass(frozen=True)
class Waste:
    """A file that a campaign does not need."""

    file: Path
    sample: str
    stage: str
    why: str


def waste(plan: Plan, partial: bool = True) -> list[Waste]:
    """The record files that are not kept and that no stage needs any more, with their second names; and, if `partial`,
    unfinished chunks and drafts of all stages. Checkpoints of trainings are none."""
    unneeded = dict.fromkeys(Made(plan).unneeded())
    found = [Waste(file, file.parts[-3], file.parts[-2], UNKEPT) for file in unneeded]
    for sample in plan.samples:
        for stage in (*plan.stages(sample), PUBLISH):
            if stage != PUBLISH and plan.owner(sample, stage) != sample:
                continue
            folder = plan.folder / sample / stage
            found += [Waste(file, sample, stage, why) for file, why in _halves(folder, unneeded, partial)]
    return found


def _halves(folder: Path, unneeded: dict[Path, None], partial: bool) -> Iterator[tuple[Path, str]]:
    """Files in the folder of chunks, and drafts, with what they are."""
    for file in sorted((folder / ".partial").glob("*/*")):
        own = folder / file.parent.name.rpartition("-")[0] in unneeded
        if own or partial:
            yield file, UNKEPT if own else PARTIAL
    if partial:
        drafts = [*folder.glob(".*.tmp"), *folder.glob(".*.root.*/*")]
        yield from ((file, PARTIAL) for file in drafts if file.is_file())


def freed(found: list[Waste]) -> int:
    """Bytes that removing the files frees; a file with several names counts once, where all of them go."""
    names: dict[tuple[int, int], list[os.stat_result]] = {}
    for one in found:
        with suppress(OSError):
            stat = one.file.stat()
            names.setdefault((stat.st_dev, stat.st_ino), []).append(stat)
    return sum(stats[0].st_size for stats in names.values() if len(stats) >= stats[0].st_nlink)


def remove(found: list[Waste]) -> None:
    """Remove the files, and folders of chunks that are empty then."""
    for one in found:
        one.file.unlink(missing_ok=True)
    for folder in {one.file.parent for one in found if ".partial" in one.file.parts}:
        with suppress(OSError):
            folder.rmdir()
            folder.parent.rmdir()
    for folder in {one.file.parent for one in found if one.file.parent.name.startswith(".")}:
        shutil.rmtree(folder, ignore_errors=True) if not any(folder.glob("*")) else None


def lines(found: list[Waste], dry: bool) -> list[str]:
    """What is removed, by sample, stage and reason, with bytes."""
    groups: dict[tuple[str, str, str], list[Waste]] = {}
    for one in found:
        groups.setdefault((one.sample, one.stage, one.why), []).append(one)
    word = "would remove" if dry else "removed"
    said = [
        f"{sample} {stage}: {word} {len(group)} files, {why}: {freed(group):,} bytes"
        for (sample, stage, why), group in groups.items()
    ]
    total = f"{freed(found):,} bytes {'would be ' if dry else ''}freed; sidecars stay"
    return [*said, total if found else "nothing to remove"]
