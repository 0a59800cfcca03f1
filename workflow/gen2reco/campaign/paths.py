"""Where everything lies; the only place that spells a path."""

import os
from pathlib import Path

RESULTS = Path("results")
LOCK_NAME = "plan.lock.json"
SHARD_FILE = "{shard:05d}.parquet"
RESERVED = frozenset(
    {"report", "logs", "benchmarks", "publish", "validate", "track", "tracked"}
    | {"plan", "driver", "submitted", "models", "none_at_all"}
)
"""Names that no sample and no campaign may have: of folders, rules and experiments of the campaign itself."""


def campaign_folder(name: str) -> Path:
    """`results/<campaign>`, below the working directory."""
    return RESULTS / name


def lock_file(name: str) -> Path:
    """The frozen plan of a campaign."""
    return campaign_folder(name) / LOCK_NAME


def record_file(folder: Path, sample: str, stage: str, shard: int) -> Path:
    """The record file of one shard; its sidecar has the same name with `.json`."""
    return folder / sample / stage / SHARD_FILE.format(shard=shard)


def cache_folder() -> Path:
    """Where derived data is kept between campaigns: `GEN2RECO_CACHE`, else `~/.cache/gen2reco`."""
    given = os.environ.get("GEN2RECO_CACHE")
    return Path(given) if given else Path(os.environ.get("XDG_CACHE_HOME", Path.home() / ".cache")) / "gen2reco"
