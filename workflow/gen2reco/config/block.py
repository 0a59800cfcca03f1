"""Strict configuration blocks: models that are read from YAML files, with one clear line for each mistake."""

import difflib
import hashlib
import json
import re
from pathlib import Path
from types import NoneType
from typing import Annotated, Any, TypeVar, get_args, get_origin

from pydantic import (
    BaseModel,
    ConfigDict,
    StringConstraints,
    ValidationError,
    model_validator,
)
from pydantic_core import ErrorDetails

from gen2reco.config import strict_yaml
from gen2reco.errors import InputError, InputErrors
from gen2reco.files import read_text

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_]+$", max_length=64)]
"""Name of a campaign or a sample, of its folder and its jobs."""
MOST_MISTAKES = 20
"""Mistakes of a block that are told."""


class Block(BaseModel):
    """A frozen block of configuration; unknown keys are errors, NaN and infinities are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)

    @model_validator(mode="before")
    @classmethod
    def _true_is_no_number(cls, data: Any) -> Any:
        for name, value in data.items() if isinstance(data, dict) else ():
            values = value if isinstance(value, (list, tuple)) else [value]
            known = cls.model_fields.get(name)
            if known and not all(map(_may_be_number, values)) and _numeric(known.annotation):
                raise ValueError(f"`{name}` = {_cut(repr(value))}: expected a number")
        return data

    def digest(self) -> str:
        """The sha256 of the block's canonical JSON, defaults included."""
        return digest(self.model_dump(mode="json"))


def _may_be_number(value: Any) -> bool:
    """False for `true`, and for text such as `"0100"` or `"1_000"` that pydantic would convert to a number."""
    return not strict_yaml.is_doubtful(value) if isinstance(value, str) else not isinstance(value, bool)


def _numeric(annotation: Any) -> bool:
    """Whether a field takes only numbers or lists of numbers."""
    if get_origin(annotation) is Annotated:
        return _numeric(get_args(annotation)[0])
    inner = [one for one in get_args(annotation) if one not in (Ellipsis, NoneType)]
    return all(map(_numeric, inner)) if inner else annotation in (int, float)


BlockT = TypeVar("BlockT", bound=BaseModel)


def digest(value: Any) -> str:
    """The sha256 (hex) of a JSON-able value in canonical form."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def load_yaml(path: Path | str) -> dict:
    """Read one YAML mapping. Raises InputError for a file that is missing, unreadable, too large or no mapping."""
    data = parse_yaml(read_text(path, strict_yaml.MAX_BYTES), str(path))
    if not isinstance(data, dict):
        raise InputError(f"{path}: expected `key: value` pairs, found {type(data).__name__}")
    return data


def parse_yaml(text: str, source: str) -> Any:
    """The plain value of a YAML text, read by `strict_yaml`. Raises InputError naming `source` and the line."""
    try:
        return strict_yaml.parse(text)
    except strict_yaml.StrictYamlError as error:
        raise InputError(f"{source}: {error}") from None


def load_json(path: Path | str, most: int) -> dict:
    """Read one JSON mapping of at most `most` bytes, without NaN or duplicate keys. Raises InputError naming the
    file."""
    try:
        data = json.loads(read_text(path, most), parse_constant=_refuse_constant, object_pairs_hook=_unique)
    except (ValueError, RecursionError) as error:
        raise InputError(f"{path}: damaged: {str(error)[:200]}; restore it") from None
    if not isinstance(data, dict):
        raise InputError(f"{path}: damaged: expected `key: value` pairs, found {type(data).__name__}; restore it")
    return data


def _refuse_constant(word: str) -> None:
    raise ValueError(f"{word} is no number")


def _unique(pairs: list[tuple[str, Any]]) -> dict:
    found = dict(pairs)
    if len(found) < len(pairs):
        raise ValueError("a key stands twice in one block")
    return found


def load_block(path: Path | str, model: type[BlockT]) -> BlockT:
    """Read and validate one block from its YAML file. Raises InputError naming file, field and value."""
    return parse_block(load_yaml(path), model, source=str(path))


def parse_block(data: Any, model: type[BlockT], source: str) -> BlockT:
    """Validate plain data as a block. Raises InputErrors, a line for each mistake."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        found = [f"{source}: {_explain(e, model)}" for e in error.errors(include_url=False)[:MOST_MISTAKES]]
        more = error.error_count() - len(found)
        raise InputErrors([*found, f"{source}: {more} more mistakes"][: len(found) + bool(more)]) from None


def _explain(error: ErrorDetails, model: type[BaseModel]) -> str:
    where = ".".join(_cut(str(part)) for part in error["loc"])
    if error["type"] == "extra_forbidden":
        similar = difflib.get_close_matches(str(error["loc"][-1]), sorted(_known_keys(model)), n=1, cutoff=0.0)
        return f"unknown key `{where}`" + (f"; did you mean `{similar[0]}`?" if similar else "")
    if error["type"] == "missing":
        return f"`{where}` is missing"
    return f"`{where}` = {_cut(repr(error['input']))}: {_message(error)}" if where else _message(error)


def _cut(text: str) -> str:
    return text if len(text) < 80 else f"{text[:77]}..."


def _message(error: ErrorDetails) -> str:
    if error["type"] == "string_pattern_mismatch" and "a-z0-9_" in error["ctx"]["pattern"]:
        return "expected lower-case letters, digits and underscores only"
    return re.sub(r"^\w+ should (be|have)", "expected", error["msg"].removeprefix("Value error, "))


def _known_keys(model: type[BaseModel]) -> set[str]:
    """All field names of a model and of the blocks inside it."""
    keys, todo, visited = set(), [model], set()
    while todo:
        current = todo.pop()
        if current in visited:
            continue
        visited.add(current)
        for name, field in current.model_fields.items():
            keys.add(field.alias or name)
            todo.extend(_models_in(field.annotation))
    return keys


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [m for arg in getattr(annotation, "__args__", ()) for m in _models_in(arg)]


def strings(value: object) -> list[str]:
    """All texts in plain data."""
    if isinstance(value, dict):
        return [text for one in value.values() for text in strings(one)]
    if isinstance(value, list):
        return [text for one in value for text in strings(one)]
    return [value] if isinstance(value, str) else []
