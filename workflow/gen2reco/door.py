"""The stages as functions of Python, on awkward arrays and without files; the table of stages says which there are.

A call runs the command of the stage in a process of its own, so it gives the same events for the same seed, and neither
torch nor Geant4 is loaded here. Arrays remember how they were made (`attrs["provenance"]`, facts by stage) and what was
counted on the way (`attrs["sidecar"]`).
"""

import inspect
import json
import logging
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gen2reco.errors import Gen2recoError, InfrastructureError, InputError
from gen2reco.run.stage import Backend, backend_class, backend_names, wrong_record
from gen2reco.run.stage_table import RECORDS, STAGES, Stage

if TYPE_CHECKING:
    import awkward as ak

PARAMETERS = {
    "backend": (None, "which backend does the stage"),
    "detector": (None, "a file or a Detector; left out: the events' own, else configs/detectors/hgcal.yaml"),
    "seed": (1, "of the run: the same seed gives the same events"),
    "workers": (1, "processes at once"),
    "chunk_events": (None, "events per chunk, which is part of the seeds; left out: the backend's own number"),
}
"""Keyword → (default, meaning); every other keyword is an option of the backend."""
_ERRORS = {error.exit_code: error for error in (InputError, InfrastructureError)}


def call(name: str, source: Any, **given: Any) -> "ak.Array":
    """Do a stage: of a process (a file, or a mapping) for a stage that makes events, else of events of the record that
    it reads (an array that another stage returned, or a record file).

    given: `PARAMETERS`, for a stage that makes events also `events`, and options of the backend. Returns the events of
    the record that the stage writes. Raises InputError and InfrastructureError as the command does.
    """
    from gen2reco.events import records
    from gen2reco.run.sidecar import read_sidecar

    stage = STAGES[name]
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary)
        made = folder / "events.parquet"
        words = _of_process(source, given, folder) if stage.reads is None else _of_events(source, stage, given, folder)
        own = {key: given.pop(key, default) for key, (default, _) in PARAMETERS.items()}
        options = [f"--option={key}={json.dumps(value, default=str)}" for key, value in given.items()]
        words += [f"--{key.replace('_', '-')}={value}" for key, value in own.items() if value is not None]
        _run([name, *words, str(made), *options], folder)
        found = records.Source(made)
        array = records.awkward(found.slice(0, found.num_rows))
        array.attrs = {"provenance": found.story, "sidecar": read_sidecar(made)}
        return array


def _run(words: list[str], folder: Path) -> None:
    """Run a command quietly; what it tells of events that fell back or failed goes to the log `gen2reco`."""
    here = os.pathsep.join([str(Path(__file__).parents[1]), os.environ.get("PYTHONPATH", "")])
    done = subprocess.run(
        [sys.executable, "-m", "gen2reco.cli", "-q", *words],
        env={**os.environ, "PYTHONPATH": here.rstrip(os.pathsep)},
        stderr=subprocess.PIPE,
        text=True,
    )
    said = [line.replace(f"{folder}/", "") for line in done.stderr.splitlines()]
    if done.returncode:
        begin = "gen2reco: error: "
        text = "; ".join(line.removeprefix(begin) for line in said if line.startswith(begin)) or "\n".join(said)
        raise _ERRORS.get(done.returncode, Gen2recoError)(f"{words[0]}: {text}")
    for line in said:
        logging.getLogger("gen2reco").warning("%s: %s", words[0], line)


def _of_process(source: Any, given: dict, folder: Path) -> list[str]:
    """The command's words for a process, by its file or as it stands. Raises InputError."""
    if isinstance(source, dict):
        plain = {**source, **({"file": str(Path(source["file"]).absolute())} if "file" in source else {})}
        source = folder / "process.yaml"
        source.write_text(json.dumps(plain, default=str), encoding="utf-8")
    if not isinstance(source, str | Path):
        raise InputError(f"expected a process file or a mapping, got {type(source).__name__}")
    return [f"--process={source}", f"--events={given.pop('events', 1000)}"]


def _of_events(source: Any, stage: Stage, given: dict, folder: Path) -> list[str]:
    """The command's words for events: their file, and the detector. Raises InputError for another record."""
    import awkward as ak

    from gen2reco.config.detector import Detector
    from gen2reco.detector.known import DETECTORS
    from gen2reco.events import records
    from gen2reco.events.provenance import PROVENANCE_KEY
    from gen2reco.events.record_columns import record_with

    assert stage.reads is not None, "a stage of events"
    if isinstance(given.get("detector"), Detector):
        text, given["detector"] = given["detector"].model_dump_json(), folder / "detector.yaml"
        given["detector"].write_text(text, encoding="utf-8")
    elif given.get("detector") is None and stage.reads == RECORDS[0]:
        cls = backend_class(stage.name, given.get("backend") or stage.backend)
        own = getattr(cls.own_detector, "__func__", None) is not getattr(Backend.own_detector, "__func__", None)
        given["detector"] = None if own else DETECTORS / "hgcal.yaml"
    if isinstance(source, str | Path):
        return [str(source)]
    if not isinstance(source, ak.Array) or not source.fields:
        raise InputError(f"{stage.name}: expected an array of {stage.reads} or a file, got {type(source).__name__}")
    if (found := record_with(source.fields)) not in (None, stage.reads):
        raise InputError(f"{stage.name}: {wrong_record(stage, str(found))}")
    story = {PROVENANCE_KEY: json.dumps(source.attrs["provenance"])} if "provenance" in source.attrs else None
    table = records.table(stage.reads, {name: ak.to_packed(source[name]) for name in source.fields})
    records.write(folder / "source.parquet", table, stage.reads, story)
    return [str(folder / "source.parquet")]


def describe(name: str) -> str:
    """The docstring of a stage's function, from the table of stages."""
    stage = STAGES[name]
    first = f"events: of the record `{stage.reads}`: an array that another stage returned, or a record file."
    if stage.reads is None:
        first = "process: a process file, Pythia8 card or event file, or a mapping as in a process file.\n"
        first += "events: how many events to make."
    names = ", ".join(f"`{one}`" for one in backend_names(name)) or "those of an installed package"
    return "\n".join(
        [
            f"{stage.help}\n",
            first,
            *(f"{key}: {meaning}." for key, (_, meaning) in PARAMETERS.items()),
            f"Every other keyword is an option of the backend; `gen2reco backends {name}` lists them.\n",
            f"Backends: {names}; `{stage.backend}` by default. Returns events of the record `{stage.writes}`.",
        ]
    )


def signature(name: str) -> inspect.Signature:
    """The parameters of a stage's function."""
    makes = STAGES[name].reads is None
    only = inspect.Parameter.KEYWORD_ONLY
    found = [inspect.Parameter("process" if makes else "events", inspect.Parameter.POSITIONAL_ONLY)]
    found += [inspect.Parameter("events", only, default=1000)] if makes else []
    found += [inspect.Parameter(key, only, default=default) for key, (default, _) in PARAMETERS.items()]
    return inspect.Signature([*found, inspect.Parameter("options", inspect.Parameter.VAR_KEYWORD)])
