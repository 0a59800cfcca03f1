"""Keep finished files of a running campaign under a second name until their sample is verified, and take those that
another campaign has made already.

Snakemake removes the outputs of a job before it starts it again; when one stage of a group fails, those of the earlier
stages too. A second name of the same file (a hard link, which takes no space) restores them at once.
"""

import json
import os
import shutil
import uuid
from collections.abc import Callable
from pathlib import Path

from gen2reco.errors import InputError
from gen2reco.files import file_digest, put_in_place, write_text
from gen2reco.run.sidecar import check_rows, read_facts, sidecar_path


def keep(output: Path, partial: Path, events: range) -> None:
    """Give a finished file and its sidecar a second name in the folder of its chunks, and remove the chunks."""
    try:
        for file in (output, sidecar_path(output)):
            draft = partial / f".{uuid.uuid4().hex}"
            os.link(file, draft)
            put_in_place(draft, _done(partial, events, file.suffix))
        for chunk in partial.glob("[0-9]*.parquet"):
            chunk.unlink(missing_ok=True)
    except OSError:  # a filesystem without hard links, or another run of this job that removed the folder
        shutil.rmtree(partial, ignore_errors=True)


def bring_back(output: Path, partial: Path, events: range, made_by: str) -> dict | None:
    """Restore the finished file and its sidecar under their names, and return its facts; None if there is no valid one.

    `made_by`: digest of everything that decides its bytes, which must equal that in its sidecar.
    """
    done, facts_file = (_done(partial, events, suffix) for suffix in (output.suffix, ".json"))
    draft = output.with_name(f".{output.name[:50]}.{uuid.uuid4().hex}.tmp")
    try:
        facts = read_facts(facts_file)
        whole = facts["sha256"] == file_digest(done) and facts["events_in"] == len(events)
        check_rows(done, facts)
        if not whole or facts["status"] != "ok" or facts.get("made_by") != made_by:
            return None
        os.link(done, draft)
        os.utime(draft)
        put_in_place(draft, output)
    except (OSError, InputError):
        return None
    finally:
        draft.unlink(missing_ok=True)
    write_text(sidecar_path(output), json.dumps(facts, indent=1, sort_keys=True) + "\n")
    return facts


def take(
    output: Path, events: range, made_by: str, failed_allowed: float, facts: dict, confirm: Callable[[], None]
) -> dict | None:
    """Copy the finished file of the same shard of another campaign in the results folder, and return the facts of its
    new sidecar, with the file's path in `taken_from`; None if there is none.

    The same: of the same sample, stage, seed, input and all else that decides its bytes (`made_by`), of the same
    events, and with no more failed ones than `failed_allowed`. `facts`: those of the campaign that takes it; `confirm`
    is called before the file takes its place. A copy, for Snakemake sets the time of what a job has made.
    """
    *_, sample, stage, _ = output.parts
    results = output.parent.parent.parent.parent
    for sidecar in sorted(results.glob(f"*/{sample}/{stage}/{sidecar_path(output).name}")):
        other = sidecar.with_suffix(output.suffix)
        if other == output:
            continue
        draft = output.with_name(f".{output.name[:50]}.{uuid.uuid4().hex}.tmp")
        try:
            known = read_facts(sidecar)
            same = (known.get("made_by"), known.get("first_event")) == (made_by, events.start)
            fine = known["status"] == "ok" and known["events_failed"] <= failed_allowed * len(events)
            if not (same and fine and known["events_in"] == len(events)):
                continue
            shutil.copyfile(other, draft)
            if file_digest(draft) != known["sha256"]:
                continue
            confirm()
            put_in_place(draft, output)
        except (OSError, InputError, KeyError):
            continue
        finally:
            draft.unlink(missing_ok=True)
        known |= {**facts, "taken_from": str(other)}
        write_text(sidecar_path(output), json.dumps(known, indent=1, sort_keys=True) + "\n")
        return known
    return None


def _done(partial: Path, events: range, suffix: str) -> Path:
    return partial / f"done-{events.start}-{events.stop}{suffix}"
