"""A Slurm cluster for the session, and a campaign on it that a test may hurt."""

import os
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

HERE = Path(__file__).parent
sys.path.insert(0, str(HERE))

from production import Production  # noqa: E402
from slurm_cluster import Cluster, why_not  # noqa: E402


@pytest.fixture(scope="session")
def slurm() -> Iterator[Cluster]:
    """The cluster; where it cannot be had the tests skip with one line, and in CI they fail."""
    if reason := why_not():
        line = f"NO SLURM CLUSTER, ITS TESTS ARE SKIPPED: {reason}"
        if os.environ.get("CI"):
            pytest.fail(line)
        pytest.skip(line)
    with Cluster() as cluster:
        yield cluster


@pytest.fixture
def cluster(slurm: Cluster) -> Iterator[Cluster]:
    """The cluster, all of it there and idle before and after."""
    slurm.quiet()
    yield slurm
    slurm.quiet()


@pytest.fixture
def production(cluster: Cluster, tmp_path: Path) -> Iterator[Production]:
    """Three shards of three chunks."""
    made = Production(cluster, tmp_path)
    yield made
    made.end()
