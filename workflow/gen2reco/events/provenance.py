"""How the events of a record file were made: facts by stage, in its metadata."""

import json
from collections.abc import Mapping
from pathlib import Path

from pydantic import BaseModel, ConfigDict, TypeAdapter, ValidationError

from gen2reco.errors import InputError, first_line

PROVENANCE_KEY = "gen2reco.provenance"
_UNKNOWN = {"backend": "?", "version": 0, "options": {}, "info": {}}


class _GeneratorFacts(BaseModel):
    """Those facts of the generator that later steps compute with."""

    model_config = ConfigDict(allow_inf_nan=False)

    cross_section_pb: float = 0.0
    cross_section_error_pb: float = 0.0
    beams: list[tuple[int, float, float]] = []
    weight_names: list[str] = []


class _Stage(BaseModel):
    """One stage; more facts are kept as they are."""

    backend: str = "?"
    version: int = 0
    options: dict = {}
    info: dict = {}
    detector: dict = {}


_STORY = TypeAdapter(dict[str, _Stage])


def story_of(metadata: Mapping[str, str], source: Path | str) -> dict[str, dict]:
    """Facts by stage from a file's metadata ({} for one from outside), each with `backend`, `version`, `options` and
    `info`. Raises InputError naming `source` where they are damaged."""
    text = metadata.get(PROVENANCE_KEY, "{}")
    try:
        story = json.loads(text)
        _STORY.validate_python(story, strict=True)
        _GeneratorFacts.model_validate(story.get("generate", {}).get("info", {}))
    except ValidationError as error:
        first = error.errors(include_url=False)[0]
        reason = f"`{'.'.join(map(str, first['loc']))}`: {first['msg']}"
    except (ValueError, RecursionError) as error:
        reason = first_line(error)
    else:
        return {stage: {**_UNKNOWN, **facts} for stage, facts in story.items()}
    raise InputError(f"{source}: its metadata `{PROVENANCE_KEY}` is damaged: {reason}; make the file again")
