"""Finished files of a running campaign, kept beside the output until their sample is verified.

Snakemake removes the outputs of a job before it starts it again: when one stage of a group of jobs fails, those of the
stages before it too. A second name of the same file (a hard link, no space) brings them back at once.
"""

import json
import os
import shutil
import uuid
from pathlib import Path

from gen2reco.errors import InputError
from gen2reco.files import file_digest, put_in_place, write_text
from gen2reco.run.sidecar import check_rows, read_facts, sidecar_path


def keep(output: Path, partial: Path, events: range) -> None:
    """Give a finished file and its sidecar a second name in its folder of chunks, and remove those."""
    try:
        for file in (output, sidecar_path(output)):
            draft = partial / f".{uuid.uuid4().hex}"
            os.link(file, draft)
            put_in_place(draft, _done(partial, events, file.suffix))
        for chunk in partial.glob("[0-9]*.parquet"):
            chunk.unlink(missing_ok=True)
    except OSError:  # a filesystem without hard links, or a twin that tidied up
        shutil.rmtree(partial, ignore_errors=True)


def bring_back(output: Path, partial: Path, events: range, made_by: str) -> dict | None:
    """The file made before, under its name again, whole and with its sidecar; None if there is none to be believed.

    `made_by`: what fixes its bytes, which its sidecar must tell as well.
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


def _done(partial: Path, events: range, suffix: str) -> Path:
    return partial / f"done-{events.start}-{events.stop}{suffix}"
