"""Models that a campaign or a command names, pinned: whatever the name, what is used is the content of this digest."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

from gen2reco.errors import InputError, about
from gen2reco.run.model_folder import keep_model, kept_models, located

if TYPE_CHECKING:
    from gen2reco.campaign.campaign import StageChoice

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


def restore_models(lock: dict) -> None:
    """See that the models that a plan pins are in the cache, else fetch them. Raises InputError."""
    near = Path(lock["campaign_file"]).parent
    for name, model in {entry["named"]: entry["options"]["model"] for entry in _entries(lock)}.items():
        restore(model, name, near)


def pin_models(
    campaign_file: Path | str, chains: dict[str, dict[str, "StageChoice"]], known: dict[str, str]
) -> dict[tuple[str, str], str]:
    """Replace the models that stages name by their digests; returns (sample, stage) → the name it had.

    Names of the registry that the plan knows keep their digest, whatever they mean by now. Raises InputError.
    """
    named, pinned = {}, dict(known)
    for sample, chain in chains.items():
        for stage, choice in chain.items():
            name = choice.options.get("model")
            if not isinstance(name, str):
                continue
            with about(f"{campaign_file}: samples.{sample}.{stage}"):
                model = pinned[name] = pinned.get(name) or pin(name, Path(campaign_file).parent)
            if model != name or registered(name):
                named[sample, stage] = name
                chain[stage] = choice.model_copy(update={"options": {**choice.options, "model": model}})
    return named


def known_models(lock: dict | None) -> dict[str, str]:
    """Names of registered models in a plan → their digests."""
    return {entry["named"]: entry["options"]["model"] for entry in _entries(lock or {}) if registered(entry["named"])}


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


def _entries(lock: dict) -> list[dict]:
    """The stages of a plan whose model had another name."""
    stages = [entry for sample in lock.get("samples", {}).values() for entry in sample["stages"].values()]
    return [entry for entry in stages if "named" in entry]
