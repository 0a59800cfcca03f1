"""The model registry: versions of safetensors folders, aliases, and how a campaign's reference to a model resolves.

A version carries the content digest of its folder as tag `gen2reco.digest`; what is downloaded is checked against it.
"""

import re
import shutil
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from gen2reco.config.block import load_json
from gen2reco.errors import InputError
from gen2reco.run.evaluations import evaluation
from gen2reco.run.model_folder import (
    CARD,
    CONFIG,
    EVALUATION,
    MAX_CONFIG,
    PARTS,
    check_model,
    keep_model,
    kept_models,
    located,
    model_digest,
)
from gen2reco.track.address import Address, tracking_address
from gen2reco.track.files_read import NAME
from gen2reco.track.modelfiles import NAMES, PLACES, files_of
from gen2reco.track.secrets import scrub
from gen2reco.track.server import connect, experiment_id, explained

if TYPE_CHECKING:
    from mlflow import MlflowClient

CANDIDATE, CHAMPION = "candidate", "champion"
DIGEST, PARENT = "gen2reco.digest", "gen2reco.parent"
_REFERENCE = re.compile(r"models:/(?P<name>[A-Za-z0-9_-]+)(?:@(?P<alias>[A-Za-z0-9_-]+)|/(?P<version>[0-9]+))")
_HEX = re.compile(r"(?:sha256:)?(?P<digest>[0-9a-f]{12,64})")


@dataclass(frozen=True)
class Resolved:
    """What a reference means now: a local folder and the digest that a plan pins."""

    path: Path
    digest: str


def resolve(reference: str, uri: str | None = None, results: Path | str = "results") -> Resolved:
    """`models:/name@alias`, `models:/name/3`, a digest (12 hex digits or more) or a folder → its files and digest.

    Downloads once into the cache. Raises InputError for a reference that names nothing or a model whose files do not
    match its digest, InfrastructureError if a server is needed and cannot be reached.
    """
    if match := _REFERENCE.fullmatch(reference):
        return _from_registry(reference, match, tracking_address(results, uri))
    if reference.startswith("models:"):
        raise InputError(f"model `{reference}`: expected models:/NAME@ALIAS or models:/NAME/VERSION")
    folder = Path(reference)
    if folder.is_dir():
        return Resolved(folder, model_digest(folder))
    if match := _HEX.fullmatch(reference):
        return _cached(match["digest"]) or _from_digest(reference, match["digest"], tracking_address(results, uri))
    raise InputError(
        f"model `{reference}`: no such folder; give a folder, a digest, models:/NAME@ALIAS or models:/NAME/VERSION"
    )


def fetch(reference: str) -> Path:
    """The folder of the model that `resolve` finds."""
    return resolve(reference).path


def register(folder: Path | str, name: str, uri: str | None = None, results: Path | str = "results") -> Any:
    """Register a model folder as a new version of `name` and its candidate; the same content stays one version."""
    address, files = tracking_address(results, uri), files_of(Path(folder), _named(name))
    check_model(Path(folder))
    client = connect(address)
    with explained(address):
        experiment = experiment_id(client, "models", address, Path(results) / "models")
        return register_files(client, name, files, experiment)


def register_champion(client: "MlflowClient", name: str, folder: Path, experiment: str) -> None:
    """Register a model that ships with the package, and make it the champion of its name where there is none."""
    version = register_files(client, name, files_of(folder, _named(name)), experiment, alias=None)
    if CHAMPION not in client.get_registered_model(name).aliases:
        client.set_registered_model_alias(name, CHAMPION, version.version)


def register_files(
    client: "MlflowClient",
    name: str,
    files: Mapping[str, Path],
    experiment: str,
    run_id: str | None = None,
    alias: str | None = CANDIDATE,
) -> Any:
    """Register the files of a model folder, by their names in it; the same content stays one version.

    A new version gets the `alias`. Raises InputError for files that are none of a model's.
    """
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary) / _named(name)
        for place, path in files.items():
            if place not in PLACES:
                raise InputError(f"model {name}: {place[:100]} is refused: only {', '.join(NAMES)} are registered")
            (folder / place).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, folder / place)
        digest = model_digest(folder)
        _make_name(client, name)
        if registered := _versions(client, name, digest):
            return registered[0]
        tags = {DIGEST: digest, **_parent_tags(folder), **_evaluation_tags(folder)}
        made = client.create_logged_model(experiment, name, run_id, tags, model_type="safetensors")
        client.log_model_artifacts(made.model_id, str(folder))
        client.finalize_logged_model(made.model_id, "READY")
        cards = [(folder / place).read_text("utf-8", "replace") for place in sorted(files) if Path(place).name == CARD]
        remote = client._tracking_client.tracking_uri.startswith("http")
        client.create_model_version(
            name,
            f"models:/{made.model_id}" if remote else made.artifact_location,
            run_id,
            tags,
            description=scrub("\n\n".join([_origin(experiment, run_id), *cards]))[:5_000],
            model_id=made.model_id if remote or run_id else None,
        )
    first, *surplus = _versions(client, name, digest)
    for version in surplus:  # another replay registered the same at once: the first stays
        client.delete_model_version(name, version.version)
    if alias:
        client.set_registered_model_alias(name, alias, first.version)
    return first


def _origin(experiment: str, run_id: str | None) -> str:
    """A sentence on where a version comes from, with a link to the page that tells more."""
    page = f"#/experiments/{experiment}" + (f"/runs/{run_id}" if run_id else "/runs")
    by = "Made by [its training](" if run_id else "Registered from a folder; [the campaigns and their reports]("
    return f"{by}{page})."


_DOES = {
    "calibration": "Turns tracksters into calibrated, identified objects and jets (`calibrate: {backend: dnn}`).",
    "fused": "Turns particles straight into calibrated objects (`fuse: {backend: fused}`).",
    "generation": "Turns hard processes into particles in place of Pythia8 (`generate: {backend: ml}`).",
    "showers": "Turns particles into calorimeter hits in place of Geant4 (`simulate: {backend: ml}`).",
}


def _about(name: str) -> str:
    """Sentences on a registered model."""
    does = next((sentence for kind, sentence in _DOES.items() if name.startswith(kind)), "A model of gen2reco.")
    return (
        f"{does} A campaign names it `models:/{name}@champion`; `gen2reco models promote {name}` lets the candidate "
        "take its place by held-out numbers. The card of each version says what it was trained on and how good it is."
    )


def version_of_digest(client: "MlflowClient", digest: str) -> Any | None:
    """The registered version of that content, the earliest if several names hold it."""
    found = client.search_model_versions(f"tags.`{DIGEST}` = '{digest}'")
    return min(found, key=lambda v: (v.creation_timestamp, v.name), default=None)


def listing(uri: str | None = None, results: Path | str = "results") -> list[dict]:
    """All versions of all models: name, version, aliases, digest, run."""
    address = tracking_address(results, uri)
    client = connect(address)
    rows = []
    with explained(address):
        for model in client.search_registered_models():
            aliases: dict[str, list[str]] = {}
            for alias, version in model.aliases.items():
                aliases.setdefault(str(version), []).append(alias)
            for v in sorted(client.search_model_versions(f"name = '{model.name}'"), key=lambda v: int(v.version)):
                row = {
                    "name": model.name,
                    "version": int(v.version),
                    "aliases": sorted(aliases.get(str(v.version), [])),
                }
                rows.append({**row, "digest": v.tags.get(DIGEST, ""), "run": v.run_id or ""})
    return rows


def _named(name: str) -> str:
    """A name for a model. Raises InputError for one that could not be a folder everywhere."""
    if not re.match(NAME, name):
        raise InputError(f"model name `{name[:100]}`: expected at most 100 lower-case letters, digits and `_`")
    return name


def _from_registry(reference: str, match: re.Match, address: Address) -> Resolved:
    client = connect(address)
    from mlflow.exceptions import MlflowException

    with explained(address):
        try:
            if match["alias"]:
                version = client.get_model_version_by_alias(match["name"], match["alias"])
            else:
                version = client.get_model_version(match["name"], match["version"])
        except MlflowException as error:
            if error.error_code not in ("RESOURCE_DOES_NOT_EXIST", "INVALID_PARAMETER_VALUE"):
                raise
            raise InputError(
                f"model `{reference}`: not in the registry {address}; `gen2reco models list` shows what is"
            ) from None
        return _download(client, version, reference)


def _cached(digest: str) -> Resolved | None:
    """The one model of the cache whose digest begins so; needs no server."""
    cached = sorted(kept_models().glob(f"{digest}*")) if kept_models().is_dir() else []
    return Resolved(located(cached[0].name), cached[0].name) if len(cached) == 1 else None


def _from_digest(reference: str, digest: str, address: Address) -> Resolved:
    client = connect(address)
    with explained(address):
        if len(digest) == 64:
            found = list(client.search_model_versions(f"tags.`{DIGEST}` = '{digest}'"))
        else:
            found = [v for v in client.search_model_versions() if v.tags.get(DIGEST, "").startswith(digest)]
        if len({v.tags[DIGEST] for v in found}) != 1:
            number = "no registered model" if not found else "several registered models"
            raise InputError(f"model `{reference}`: {number} of this digest in {address}; give all 64 digits")
        return _download(client, found[0], reference)


def _download(client: "MlflowClient", version: Any, reference: str) -> Resolved:
    """The files of a version in the cache, checked against its digest."""
    digest = version.tags.get(DIGEST)
    if not digest or not re.fullmatch(r"[0-9a-f]{64}", digest):
        raise InputError(f"model `{reference}`: was not registered by gen2reco: its version has no tag `{DIGEST}`")
    if not (kept_models() / digest).is_dir():
        from mlflow.artifacts import download_artifacts

        source = version.source
        if source.startswith("models:/"):
            source = client.get_logged_model(source.removeprefix("models:/")).artifact_location
        place = client._tracking_client.tracking_uri
        with tempfile.TemporaryDirectory() as draft:
            fetched = Path(download_artifacts(artifact_uri=source, dst_path=draft, tracking_uri=place))
            if (found := model_digest(fetched)) != digest:
                raise InputError(
                    f"model `{reference}`: its digest is {found}, expected {digest}: its files were changed in the "
                    "store; register the model anew"
                )
            keep_model(fetched)
    return Resolved(located(digest), digest)


def _versions(client: "MlflowClient", name: str, digest: str) -> list:
    found = client.search_model_versions(f"name = '{name}' and tags.`{DIGEST}` = '{digest}'")
    return sorted(found, key=lambda v: int(v.version))


def _make_name(client: "MlflowClient", name: str) -> None:
    from mlflow.exceptions import MlflowException

    try:
        client.create_registered_model(name, description=_about(name))
    except MlflowException as error:
        if error.error_code != "RESOURCE_ALREADY_EXISTS":
            raise


def _parent_tags(folder: Path) -> dict[str, str]:
    """The digest of the model that this one was started from, as a tag of the version; none for a cold start."""
    for config in (folder / CONFIG, *(folder / part / CONFIG for part in PARTS)):
        parent = load_json(config, MAX_CONFIG).get("parent") if config.is_file() else None
        if isinstance(parent, str) and re.fullmatch("[0-9a-f]{64}", parent):
            return {PARENT: parent}
    return {}


def _evaluation_tags(folder: Path) -> dict[str, str]:
    """The held-out metrics as tags of the version, shown on its page."""
    if not (folder / EVALUATION).exists():
        return {}
    found = evaluation(folder)
    numbers = {f"eval.{name}": f"{row['value']:.6g}" for name, row in list(found["metrics"].items())[:50]}
    return {"eval.sample": found["sample"]["name"], **numbers}
