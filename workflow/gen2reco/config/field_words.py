"""Fields of configuration blocks in words: type, default and meaning."""

import json
import types
import typing

from pydantic import BaseModel
from pydantic.fields import FieldInfo

_NAMES = {str: "text", int: "integer", float: "number", bool: "true/false", dict: "map", type(None): "null"}


def kind_of(annotation: object) -> str:
    """The name of a type."""
    origin, args = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is typing.Annotated:
        return kind_of(args[0])
    if origin is typing.Literal:
        return " or ".join(f"`{value}`" for value in args)
    if origin in (typing.Union, types.UnionType):
        return " or ".join(kind_of(a) for a in args)
    if origin in (list, tuple):
        inner = [a for a in args if a is not Ellipsis]
        return ("list of " if origin is list else "") + ", ".join(kind_of(a) for a in inner)
    if origin is dict:
        return f"map of {kind_of(args[0])} to {kind_of(args[1])}"
    known = [word for kind, word in _NAMES.items() if kind is annotation]
    return known[0] if known else str(getattr(annotation, "__name__", annotation))


def default_of(field: FieldInfo) -> str | None:
    """The default as JSON; None where a value is required."""
    if field.is_required():
        return None
    return json.dumps(_plain(field.get_default(call_default_factory=True)), default=_plain)


def meaning_of(field: FieldInfo) -> str:
    """The sentence of a field in one line."""
    return " ".join((field.description or "").split())


def first_paragraph(cls: type) -> str:
    """The first paragraph of a docstring in one line."""
    return " ".join((cls.__doc__ or "").strip().split("\n\n")[0].split())


def _plain(value: object) -> object:
    return value.model_dump(mode="json") if isinstance(value, BaseModel) else value if _is_json(value) else str(value)


def _is_json(value: object) -> bool:
    return value is None or isinstance(value, (str, int, float, bool, list, tuple, dict))
