"""Warm start: networks begin with the weights of an earlier model, whose digest the new model states as `parent`."""

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gen2reco.errors import InputError
from gen2reco.run.model_folder import Model, located, model_digest, open_model

if TYPE_CHECKING:
    from torch import nn


@dataclass(frozen=True)
class Parent:
    """The earlier model of a training: its folder, or that of its parts, and the digest of the whole."""

    folder: Path
    digest: str

    @classmethod
    def of(cls, digest: str) -> "Parent":
        """The parent in the cache. Raises InputError if it is not there."""
        folder = located(digest)
        return cls(folder, model_digest(folder))

    def model(self, kind: str, part: str = "") -> Model:
        """The earlier model, or a part of it. Raises InputError where it is of another kind."""
        return open_model(self.folder / part, kind)

    def into(
        self, network: "nn.Module", model: Model, theirs: Mapping[str, Any], own: Mapping[str, Any], prefix: str = ""
    ) -> None:
        """Put the earlier weights whose names begin with `prefix` into a network, tables and scales included.

        theirs, own: what the configs of the earlier and of the new model say; of what `own` holds nothing may differ.
        Raises InputError naming the first field that does.
        """
        from gen2reco.flow.weights import fill

        if differs := difference({key: theirs.get(key) for key in own}, own):
            field, theirs, ours = differs
            raise InputError(
                f"{model.folder}: cannot start from this model: its `{field}` is {_short(theirs)}, here it is "
                f"{_short(ours)}; set the recipe to the former, or train without `from`"
            )
        weights = {name.removeprefix(prefix): w for name, w in model.weights().items() if name.startswith(prefix)}
        fill(network, weights, str(model.folder))


def difference(theirs: Any, ours: Any, where: str = "") -> tuple[str, Any, Any] | None:
    """The path of the first field in which two plain values differ, and both values; None where they agree."""
    if not isinstance(theirs, Mapping) or not isinstance(ours, Mapping):
        return None if theirs == ours else (where, theirs, ours)
    for key in (*ours, *(key for key in theirs if key not in ours)):
        path = f"{where}.{key}" if where else str(key)
        if found := difference(theirs.get(key), ours.get(key), path):
            return found
    return None


def _short(value: Any) -> str:
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
