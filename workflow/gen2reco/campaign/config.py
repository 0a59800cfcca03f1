"""Strict configuration blocks: one model, one YAML file, one clear line for each mistake."""

import difflib
import hashlib
import json
from pathlib import Path
from typing import Annotated, Any, TypeVar

import yaml
from pydantic import BaseModel, ConfigDict, StringConstraints, ValidationError

from gen2reco.errors import InputError

Name = Annotated[str, StringConstraints(pattern=r"^[a-z0-9_]+$")]


class Block(BaseModel):
    """A frozen block of configuration; unknown keys are errors, NaN and infinities are refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, allow_inf_nan=False, use_attribute_docstrings=True)

    def digest(self) -> str:
        """The sha256 of the block's canonical JSON, defaults included."""
        return digest(self.model_dump(mode="json"))


BlockT = TypeVar("BlockT", bound=BaseModel)


def digest(value: Any) -> str:
    """The sha256 (hex) of a JSON-able value in canonical form."""
    return hashlib.sha256(json.dumps(value, sort_keys=True, separators=(",", ":")).encode()).hexdigest()


def load_yaml(path: Path | str) -> dict:
    """Read one YAML mapping. Raises InputError for a file that is missing, unreadable or no mapping."""
    try:
        text = Path(path).read_text(encoding="utf-8")
        data = yaml.load(text, Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader))
    except FileNotFoundError:
        raise InputError(f"{path}: no such file; check the path") from None
    except (OSError, UnicodeDecodeError) as error:
        raise InputError(f"{path}: cannot be read as text: {error}") from None
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        where = f" at line {mark.line + 1}" if mark else ""
        problem = getattr(error, "problem", None) or "syntax error"
        raise InputError(f"{path}: not valid YAML{where}: {problem}") from None
    if not isinstance(data, dict):
        raise InputError(f"{path}: expected `key: value` pairs, found {type(data).__name__}")
    return data


def load_block(path: Path | str, model: type[BlockT]) -> BlockT:
    """Read and validate one block from its YAML file. Raises InputError naming file, field and value."""
    return parse_block(load_yaml(path), model, source=str(path))


def parse_block(data: Any, model: type[BlockT], source: str) -> BlockT:
    """Validate plain data as a block. Raises InputError with every mistake, one after the other, on one line."""
    try:
        return model.model_validate(data)
    except ValidationError as error:
        raise InputError(f"{source}: " + "; ".join(_explain(e, model) for e in error.errors())) from None


def _explain(error: dict, model: type[BaseModel]) -> str:
    where = ".".join(str(part) for part in error["loc"]) or "(top level)"
    if error["type"] == "extra_forbidden":
        near = difflib.get_close_matches(str(error["loc"][-1]), sorted(_known_keys(model)), n=1, cutoff=0.0)
        return f"unknown key `{where}`" + (f"; did you mean `{near[0]}`?" if near else "")
    if error["type"] == "missing":
        return f"`{where}` is missing"
    value = repr(error["input"])
    return f"`{where}` = {value if len(value) < 80 else value[:77] + '...'}: {_message(error)}"


def _message(error: dict) -> str:
    if error["type"] == "string_pattern_mismatch" and "a-z0-9_" in error["ctx"]["pattern"]:
        return "expected lower-case letters, digits and underscores only"
    return error["msg"].removeprefix("Value error, ").replace("Input should be", "expected")


def _known_keys(model: type[BaseModel]) -> set[str]:
    """All field names of a model and of the blocks inside it."""
    keys, todo, seen = set(), [model], set()
    while todo:
        current = todo.pop()
        if current in seen:
            continue
        seen.add(current)
        for name, field in current.model_fields.items():
            keys.add(name)
            todo.extend(_models_in(field.annotation))
    return keys


def _models_in(annotation: Any) -> list[type[BaseModel]]:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return [annotation]
    return [m for arg in getattr(annotation, "__args__", ()) for m in _models_in(arg)]
