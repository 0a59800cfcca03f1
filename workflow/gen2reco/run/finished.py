"""Keep finished files of a running campaign under a second name until their sample is verified.

Snakemake removes the outputs of a job before it starts it again; when one stage of a group fails, those of the earlier
stages too. A second name of the same file (a hard link, which takes no space) restores them at once.
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


def _done(partial: Path, events: range, suffix: str) -> Path:
    return partial / f"done-{events.start}-{events.stop}{suffix}"
