"""The paths of everything that belongs to a campaign; no other module spells one out."""

import os
from pathlib import Path

from gen2reco.errors import InfrastructureError

RESULTS = Path("results")
LOCK_NAME = "plan.lock.json"
SHARD_FILE = "{shard:05d}.parquet"
RESERVED = frozenset(
    {"report", "logs", "benchmarks", "publish", "validate", "track", "tracked"}
    | {"plan", "driver", "submitted", "models", "none_at_all"}
)
"""Names that no sample, campaign or stage may have, because folders, rules or experiments of a campaign have them."""


def campaign_folder(name: str) -> Path:
    """`results/<campaign>`, below the working directory."""
    return RESULTS / name


def lock_file(name: str) -> Path:
    """The frozen plan of a campaign."""
    return campaign_folder(name) / LOCK_NAME


def record_file(folder: Path, sample: str, stage: str, shard: int) -> Path:
    """The record file of one shard; its sidecar has the same name with `.json`."""
    return folder / sample / stage / SHARD_FILE.format(shard=shard)


def ntuple_file(folder: Path, sample: str, shard: int) -> Path:
    """The ntuple of one shard."""
    return folder / sample / "publish" / f"{shard:05d}.root"


def benchmark_file(folder: Path, sample: str, stage: str, shard: int) -> Path:
    """What Snakemake measured of a job."""
    return folder / "benchmarks" / stage / f"{sample}-{shard:05d}.tsv"


def verified_file(folder: Path, sample: str) -> Path:
    """The receipt of a verified sample."""
    return folder / sample / "verified.json"


def report_folder(folder: Path, reference: str) -> Path:
    """The folder of the report on the samples that are compared with a reference."""
    return folder / "report" / reference


def tracked_file(folder: Path) -> Path:
    """The receipt of the replay into MLflow."""
    return folder / "tracked.json"


def made_model(folder: Path, name: str) -> Path:
    """The folder of a model that a campaign makes; its receipts and its checkpoints lie in the folder above."""
    return folder / "models" / name / "model"


def trained_file(folder: Path, name: str) -> Path:
    """The receipt of a model's training."""
    return folder / "models" / name / "trained.json"


def judged_file(folder: Path, name: str) -> Path:
    """The receipt of a model's judging."""
    return folder / "models" / name / "judged.json"


def make_folder(folder: Path) -> None:
    """Make a folder and its parents. Raises InfrastructureError naming the path that prevents it."""
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        place = next((place for place in (folder, *folder.parents) if os.path.lexists(place)), folder)
        reason = error.strerror or str(error)
        if place.is_symlink() and not place.exists():
            reason = f"{place} is a link to {os.readlink(place)}, which does not exist"  # noqa: PTH115
        elif not place.is_dir():
            reason = f"{place} is a file"
        raise InfrastructureError(f"{folder}: cannot be made: {reason}; see to it and start again") from None
