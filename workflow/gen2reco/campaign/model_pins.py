"""Pin the models that a campaign or a command names to the digests of their contents."""

import re
from collections.abc import Callable, Collection
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING

from gen2reco.config.model_choice import PACKAGE
from gen2reco.errors import InputError, about
from gen2reco.run.model_folder import keep_model, kept_models, located, model_digest

if TYPE_CHECKING:
    from gen2reco.campaign.campaign import StageChoice

_HEX = re.compile(r"(?:sha256:)?(?P<digest>[0-9a-f]{12,64})")
_registry: Callable[[str], Path] | None = None


def use_registry(find: Callable[[str], Path]) -> None:
    """Let `find` fetch the folder of a model that `models:/…`, or a digest not in the cache, names."""
    global _registry
    _registry = find


def pin(name: str, base: Path = Path()) -> str:
    """Put the model of that name into the cache and return its digest; a bare word, resolved by the backend, is
    returned as it is.

    A name is `models:/NAME@ALIAS`, `models:/NAME/VERSION`, a digest (12 hex digits or more), or a folder with a `/` in
    its name, relative to `base` or the working directory. Raises InputError if there is no such model.
    """
    if registered(name):
        return _kept(name) or keep_model(_from_registry(name))
    if "/" not in name:
        return name
    folder = next((place for place in (base / name, Path(name)) if place.is_dir()), None)
    if folder is None:
        raise InputError(
            f"model `{name}`: no such folder; give a folder, a digest, models:/NAME@ALIAS or models:/NAME/VERSION"
        )
    return keep_model(folder)


def registered(name: str) -> bool:
    """Whether a name is that of a model in the registry, or a digest."""
    return name.startswith("models:") or bool(_HEX.fullmatch(name))


def pin_option(options: dict, base: Path = Path()) -> dict:
    """The options of a backend with their `model` pinned."""
    named = options.get("model")
    return {**options, "model": pin(named, base)} if isinstance(named, str) else options


def restore(digest: str, named: str, base: Path) -> None:
    """Put a planned model that is missing from the cache back, by its digest or from its folder. Raises InputError."""
    if (kept_models() / digest).is_dir():
        located(digest)
    elif shipped := next((folder for folder in _shipped() if _digest_of(folder) == digest), None):
        keep_model(shipped)
    elif (found := pin(digest if registered(named) else named, base)) != digest:
        raise InputError(
            f"model `{named}`: its digest is {found}, the plan pins {digest}; put the planned one back, or plan with "
            "--new-revision"
        )


def _shipped() -> list[Path]:
    return [*PACKAGE.glob("*/release"), *PACKAGE.glob("*/release/*")]


def _digest_of(folder: Path) -> str:
    """The digest of a model's folder; empty where there is none."""
    with suppress(InputError):
        return model_digest(folder)
    return ""


def restore_models(lock: dict) -> None:
    """Fetch the models that a plan pins and the cache lacks. Raises InputError."""
    base = Path(lock["campaign_file"]).parent
    for name, model in _pinned(lock).items():
        restore(model, name, base)


def pin_models(
    campaign_file: Path | str,
    chains: dict[str, dict[str, "StageChoice"]],
    known: dict[str, str],
    made: Collection[str] = (),
) -> dict[tuple[str, str], str]:
    """Replace the models that stages name by their digests; returns (sample, stage) → the name.

    `known` gives the digests of names that an earlier plan pinned, which stay; `made`: names of models that the
    campaign itself makes, which are left alone. Raises InputError.
    """
    named, pinned = {}, dict(known)
    for sample, chain in chains.items():
        for stage, choice in chain.items():
            name = choice.options.get("model")
            if not isinstance(name, str) or name in made:
                continue
            with about(f"{campaign_file}: samples.{sample}.{stage}"):
                model = pinned[name] = pinned.get(name) or pin(name, Path(campaign_file).parent)
            if model != name or registered(name):
                named[sample, stage] = name
                chain[stage] = choice.model_copy(update={"options": {**choice.options, "model": model}})
    return named


def known_models(lock: dict | None) -> dict[str, str]:
    """The digests of registered models in a plan, by the names in the campaign."""
    return {name: digest for name, digest in _pinned(lock or {}).items() if registered(name)}


def _kept(name: str) -> str | None:
    """The full digest of a cached model, where `name` is the beginning of exactly one; None otherwise."""
    match = _HEX.fullmatch(name)
    found = sorted(kept_models().glob(f"{match['digest']}*")) if match and kept_models().is_dir() else []
    return located(found[0].name).name if len(found) == 1 else None


def _from_registry(name: str) -> Path:
    if _registry is None:
        raise InputError(
            f"model `{name}`: this process has no registry; give a folder, or a digest that is in the cache"
        )
    return _registry(name)


def _pinned(lock: dict) -> dict[str, str]:
    """The models that a plan pins, of stages and of trainings that start from them: name in the campaign -> digest."""
    stages = [entry for sample in lock.get("samples", {}).values() for entry in sample["stages"].values()]
    parents = [model["parent"] for model in lock.get("models", {}).values() if model.get("parent")]
    return {
        **{entry["named"]: entry["options"]["model"] for entry in stages if "named" in entry},
        **{one["model"]: one["digest"] for one in parents if not one["made"]},
    }
