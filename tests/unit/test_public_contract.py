"""What users and other tools rely on stays as `tests/data/contract.json` holds it: commands and their options, keys of
the configuration, columns of the records, digests of the shipped models and of planned stages.

A change that is meant is written by `PYTHONPATH=tests python tests/unit/test_public_contract.py`; its reason goes into
the commit.
"""

import importlib
import json
from pathlib import Path

import click
import pytest

from gen2reco.campaign.campaign import Campaign
from gen2reco.campaign.plan import make_plan
from gen2reco.cli import COMMANDS, cli
from gen2reco.config.clustering import Clustering
from gen2reco.config.detector import Detector
from gen2reco.config.process import KINDS
from gen2reco.events import schemas
from gen2reco.run.model_folder import model_digest
from gen2reco.run.stage import backend_class
from gen2reco.run.stage_table import STAGES
from repository import REPOSITORY

HELD = REPOSITORY / "tests/data/contract.json"
TINY = REPOSITORY / "tests/data/tiny.yaml"


def commands() -> dict:
    """Command → its options, and its arguments in order, each with names, type and default."""
    found: dict = {}

    def walk(command: click.Command, name: str) -> None:
        if isinstance(command, click.Group):
            context = click.Context(command)
            for sub in command.list_commands(context):
                walk(command.get_command(context, sub), f"{name} {sub}".strip())
        else:
            options = sorted(_parameter(p) for p in command.params if isinstance(p, click.Option))
            found[name] = options + [_parameter(p) for p in command.params if isinstance(p, click.Argument)]

    walk(cli, "")
    return found


def _parameter(parameter: click.Parameter) -> list:
    default = parameter.to_info_dict().get("default")
    names = " ".join([*parameter.opts, *parameter.secondary_opts])
    return [names, str(parameter.type.name), parameter.required, parameter.multiple, str(default)]


def keys(schema: dict, definitions: dict, above: tuple[str, ...] = ()) -> object:
    """A JSON schema with its references resolved and its sentences left out."""
    if "$ref" in schema:
        name = schema["$ref"].rpartition("/")[2]
        return "..." if name in above else keys(definitions[name], definitions, (*above, name))
    kept = {}
    for key, value in sorted(schema.items()):
        if key == "properties":
            kept[key] = {name: keys(block, definitions, above) for name, block in sorted(value.items())}
        elif key in ("anyOf", "oneOf", "allOf"):
            kept[key] = [keys(block, definitions, above) for block in value]
        elif isinstance(value, dict) and key not in ("default", "discriminator"):
            kept[key] = keys(value, definitions, above)
        elif key not in ("description", "title", "$defs", "discriminator"):
            kept[key] = value
    return kept


def options() -> dict:
    """Stage and backend → version of its output, events of a chunk, and its options."""
    found = {}
    for stage in STAGES:
        for name in importlib.import_module(f"gen2reco.{stage}").BACKENDS:
            cls = backend_class(stage, name)
            schema = cls.Options.model_json_schema()
            held = [cls.version, cls.chunk_events, keys(schema, schema.get("$defs", {}))]
            found[f"{stage} {name}"] = held
    return found


def configuration() -> dict:
    """The campaign file and all that it refers to."""
    blocks = {"campaign": Campaign, "detector": Detector, "clustering": Clustering} | {
        f"process {k}": v for k, v in KINDS.items()
    }
    found = {}
    for name, block in blocks.items():
        schema = block.model_json_schema()
        found[name] = keys(schema, schema.get("$defs", {}))
    return found


def columns() -> dict:
    """Record → version and Arrow types of its columns, optional ones too."""
    found = {name: [version, str(schemas.SCHEMAS[name])] for name, version in schemas.VERSIONS.items()}
    return found | {"optional": {r: {n: str(k) for n, k in columns.items()} for r, columns in schemas.OPTIONAL.items()}}


def models() -> dict:
    """Shipped model → digest."""
    package = REPOSITORY / "workflow/gen2reco"
    folders = sorted(file.parent for file in package.rglob("weights.safetensors"))
    return {str(folder.relative_to(package)): model_digest(folder) for folder in folders}


def planned(folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict:
    """Sample and stage of the tiny campaign → digest by which jobs rerun."""
    monkeypatch.chdir(folder)
    lock = make_plan(TINY)[0].lock["samples"]
    return {f"{name} {stage}": e["digest"] for name, s in lock.items() for stage, e in s["stages"].items()}


PARTS = {f.__name__: f for f in (commands, options, configuration, columns, models)}


@pytest.mark.parametrize("part", PARTS)
def test_the_contract_holds(part):
    held = json.loads(HELD.read_text())[part]
    now = json.loads(json.dumps(PARTS[part]()))
    assert sorted(now) == sorted(held)
    assert {name: now[name] for name in now if now[name] != held[name]} == {}


def test_planned_digests_hold(tmp_path, monkeypatch):
    assert planned(tmp_path, monkeypatch) == json.loads(HELD.read_text())["planned"]


def test_the_records_are_those_of_the_road():
    """A guard of this file itself: every stage's record has a version that is held."""
    assert {stage.writes for stage in STAGES.values()} == set(schemas.VERSIONS)
    assert set(COMMANDS) == {name.split()[0] for name in commands()}


if __name__ == "__main__":
    import tempfile

    with tempfile.TemporaryDirectory() as folder, pytest.MonkeyPatch.context() as patch:
        held = {name: part() for name, part in PARTS.items()} | {"planned": planned(Path(folder), patch)}
    HELD.write_text(json.dumps(held, indent=1, sort_keys=True) + "\n")
