"""Generate the reference page and the JSON schema of the configuration from its models."""

import json
import typing
from pathlib import Path

from pydantic import BaseModel
from pydantic.fields import FieldInfo

from gen2reco.campaign.campaign import Campaign, Comparison, Sample, StageChoice
from gen2reco.config.detector import Detector
from gen2reco.config.field_words import default_of, first_paragraph, kind_of, meaning_of
from gen2reco.config.model_choice import ModelChoice, WarmStart
from gen2reco.config.process import KINDS
from gen2reco.config.promotion import Criterion
from gen2reco.config.validation import Validation
from gen2reco.files import check_folder, check_output, write_text
from gen2reco.run.stage import backend_class, backend_names
from gen2reco.run.stage_table import STAGES

HEAD = """# Campaign reference

Generated from the configuration models by `make docs`; do not edit. Units are GeV, mm, ns and radians.
Every block refuses unknown keys. A path in a campaign file is relative to that file.
"""


def write_reference(folder: Path) -> list[Path]:
    """Write `reference.md` and `campaign.schema.json` into a folder; returns the two paths."""
    page, schema = folder / "reference.md", folder / "campaign.schema.json"
    check_folder(folder)
    check_output(schema, own=("$defs", "properties"))
    folder.mkdir(parents=True, exist_ok=True)
    write_text(page, reference_page())
    write_text(schema, json.dumps(Campaign.model_json_schema(), indent=1, sort_keys=True) + "\n")
    return [page, schema]


def reference_page() -> str:
    """The reference page as Markdown: every block, field by field, with type, default and meaning."""
    parts = [HEAD]
    for model in (Campaign, Sample, StageChoice, ModelChoice, WarmStart, Comparison, Validation, Criterion):
        parts.append(_section(model.__name__, model, 2))
    parts.append("## Backends\n\nTheir options stand beside `backend` in a stage of a sample.\n")
    for stage in STAGES:
        for name in backend_names(stage):
            cls = backend_class(stage, name)
            parts.append(_section(f"{stage}: {name}", cls.Options, 3, first_paragraph(cls)))
    parts.append("## Process files\n\n`kind` decides which keys a process file has.\n")
    parts += [_section(f"kind: {kind}", model, 3) for kind, model in KINDS.items()]
    parts.append(_section("Detector files", Detector, 2))
    parts += [_section(model.__name__, model, 3) for model in _inner(Detector)]
    return "\n".join(parts)


def _section(title: str, model: type[BaseModel], level: int, text: str | None = None) -> str:
    lines = [f"{'#' * level} {title}\n", (text or first_paragraph(model)) + "\n"]
    if model.model_fields:
        lines += ["| key | type | default | meaning |", "|---|---|---|---|"]
        lines += [_row(name, field) for name, field in model.model_fields.items()]
    return "\n".join(lines) + "\n"


def _row(name: str, field: FieldInfo) -> str:
    text = default_of(field)
    default = "required" if text is None else f"`{text}`" if len(text) <= 60 else "see the shipped file"
    meaning = meaning_of(field).replace("|", "\\|")
    return f"| `{field.alias or name}` | {kind_of(field.annotation)} | {default} | {meaning} |"


def _inner(model: type[BaseModel]) -> list[type[BaseModel]]:
    """The blocks inside a block, depth first, each once."""
    found: list[type[BaseModel]] = []

    def visit(annotation: object) -> None:
        if isinstance(annotation, type) and issubclass(annotation, BaseModel) and annotation not in found:
            found.append(annotation)
            for field in annotation.model_fields.values():
                visit(field.annotation)
        for argument in typing.get_args(annotation):
            visit(argument)

    for field in model.model_fields.values():
        visit(field.annotation)
    return found
