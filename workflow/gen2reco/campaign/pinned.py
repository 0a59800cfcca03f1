"""Models that a campaign or a command names, pinned: whatever the name, what is used is the content of this digest."""

import re
from collections.abc import Callable
from pathlib import Path

from gen2reco.campaign.models import keep_model, kept_models, located
from gen2reco.errors import InputError

_HEX = re.compile(r"(?:sha256:)?(?P<digest>[0-9a-f]{12,64})")
_registry: Callable[[str], Path] | None = None


def use_registry(find: Callable[[str], Path]) -> None:
    """Let `find` fetch the folder of a model that `models:/…`, or a digest not in the cache, names."""
    global _registry
    _registry = find


def pin(name: str, near: Path = Path()) -> str:
    """The digest of the model of that name, now in the cache; a bare word, which a backend knows itself, stays.

    `models:/NAME@ALIAS`, `models:/NAME/VERSION`, a digest (12 hex digits or more), or a folder with a `/` in its name,
    relative to `near` or the working directory. Raises InputError if it names nothing.
    """
    if registered(name):
        return _kept(name) or keep_model(_from_registry(name))
    if "/" not in name:
        return name
    folder = next((place for place in (near / name, Path(name)) if place.is_dir()), None)
    if folder is None:
        raise InputError(
            f"model `{name}`: no such folder; give a folder, a digest, models:/NAME@ALIAS or models:/NAME/VERSION"
        )
    return keep_model(folder)


def registered(name: str) -> bool:
    """Whether a name is one of the registry's, or a digest."""
    return name.startswith("models:") or bool(_HEX.fullmatch(name))


def pin_option(options: dict, near: Path = Path()) -> dict:
    """Options of a backend with their `model` pinned."""
    named = options.get("model")
    return {**options, "model": pin(named, near)} if isinstance(named, str) else options


def restore(digest: str, named: str, near: Path) -> None:
    """Bring a planned model that left the cache back, by its digest or from its folder. Raises InputError."""
    if (kept_models() / digest).is_dir():
        located(digest)
    elif (found := pin(digest if registered(named) else named, near)) != digest:
        raise InputError(
            f"model `{named}`: its digest is {found}, the plan pins {digest}; put the planned one back, or plan with "
            "--new-revision"
        )


def _kept(name: str) -> str | None:
    """The digest in the cache that starts as this one does, if `name` is a digest and there is one."""
    match = _HEX.fullmatch(name)
    found = sorted(kept_models().glob(f"{match['digest']}*")) if match and kept_models().is_dir() else []
    return located(found[0].name).name if len(found) == 1 else None


def _from_registry(name: str) -> Path:
    if _registry is None:
        raise InputError(
            f"model `{name}`: no registry is at hand here; give a folder, or a digest that is in the cache"
        )
    return _registry(name)
