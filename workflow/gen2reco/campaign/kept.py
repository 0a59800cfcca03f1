"""Finished files of a running campaign, kept beside the output until their sample is verified.

Snakemake removes the outputs of a job before it starts it again: when one stage of a group of jobs fails, those of the
stages before it too. A second name of the same file (a hard link, no space) brings them back at once.
"""

import json
import os
import shutil
import uuid
from contextlib import suppress
from pathlib import Path

from gen2reco.campaign.plan import Plan
from gen2reco.campaign.sidecar import file_digest, sidecar_path, write_text


def keep(output: Path, partial: Path, events: range) -> None:
    """Give a finished file and its sidecar a second name in its folder of chunks, and remove those."""
    try:
        for file in (output, sidecar_path(output)):
            draft = partial / f".{uuid.uuid4().hex}"
            os.link(file, draft)
            draft.replace(_done(partial, events, file.suffix))
        for chunk in partial.glob("[0-9]*.parquet"):
            chunk.unlink(missing_ok=True)
    except OSError:  # a filesystem without hard links, or a twin that tidied up
        shutil.rmtree(partial, ignore_errors=True)


def bring_back(output: Path, partial: Path, events: range) -> dict | None:
    """The file made before, under its name again, whole and with its sidecar; None if there is none."""
    done = _done(partial, events, output.suffix)
    draft = output.with_name(f".{output.name}.{uuid.uuid4().hex}.tmp")
    try:
        facts = json.loads(_done(partial, events, ".json").read_text(encoding="utf-8"))
        if file_digest(done) != facts["sha256"]:
            return None
        os.link(done, draft)
        os.utime(draft)
        draft.replace(output)
    except (OSError, ValueError, KeyError):
        return None
    finally:
        draft.unlink(missing_ok=True)
    write_text(sidecar_path(output), json.dumps(facts, indent=1, sort_keys=True) + "\n")
    return facts


def forget(plan: Plan, sample: str) -> None:
    """Remove what was kept of a sample that is whole."""
    for stage in plan.stages(sample):
        with suppress(OSError):
            shutil.rmtree(plan.file(sample, stage, 0).parent / ".partial")


def _done(partial: Path, events: range, suffix: str) -> Path:
    return partial / f"done-{events.start}-{events.stop}{suffix}"
