"""Shared by all tests: the repository, and commands run as a user runs them."""

import os
import subprocess
import sys
import tempfile
from pathlib import Path

import pytest

from repository import FULL, REPOSITORY

RATES = Path(tempfile.mkdtemp(prefix="gen2reco-rates-"), "rates.json")
os.environ["GEN2RECO_RATES"] = str(RATES)


@pytest.fixture(autouse=True)
def no_learned_rates():
    """Each test plans as on a machine that has measured nothing: rates that another one learned would size chunks."""
    from gen2reco.campaign.rates import known_rates

    RATES.unlink(missing_ok=True)
    known_rates.cache_clear()


LONGEST_FIRST = ("cluster", "workflow", "physics", "unit")
TOGETHER = {"tests/cluster/": "the Slurm cluster"}
TOGETHER |= dict.fromkeys(("tests/workflow/test_chaos", "tests/workflow/test_tiny_campaign"), "the tiny campaign")
"""How the paths of tests begin that share what is made once a process."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Skip tests marked `slow` unless GEN2RECO_FULL_TESTS is set, as `make test-full` sets it; the longest go first."""
    for item in items:
        if not FULL and item.get_closest_marker("slow"):
            item.add_marker(pytest.mark.skip(reason="slow: run by make test-full"))
    items.sort(key=lambda item: LONGEST_FIRST.index(item.path.relative_to(REPOSITORY / "tests").parts[0]))


@pytest.hookimpl(optionalhook=True)
def pytest_xdist_make_scheduler(config: pytest.Config, log: object) -> object:
    """Share files of tests between processes; those of TOGETHER stay in one."""
    from xdist.scheduler import LoadScopeScheduling

    class Files(LoadScopeScheduling):
        def _split_scope(self, nodeid: str) -> str:
            return next((what for start, what in TOGETHER.items() if nodeid.startswith(start)), nodeid.split("::")[0])

    return Files(config, log)


def pytest_make_parametrize_id(val: object) -> str | None:
    """Bytes are named by their number: compressed ones hold the time of day, and all processes collect the same."""
    return f"{len(val)} bytes" if isinstance(val, bytes) else None


@pytest.fixture(scope="session")
def repository() -> Path:
    """The top of the checkout."""
    return REPOSITORY


@pytest.fixture
def gen2reco(tmp_path):
    """Run `gen2reco …` in an empty folder; returns the completed process with text output."""

    def call(*arguments, cwd=tmp_path, **given):
        command = [sys.executable, "-m", "gen2reco.cli", *map(str, arguments)]
        return subprocess.run(command, cwd=cwd, capture_output=True, text=True, timeout=300, **given)

    return call


@pytest.fixture
def snakemake(tmp_path):
    """Run Snakemake on a campaign in an empty folder, as `snakemake --config campaign=…` does."""

    def call(campaign, *arguments, cwd=tmp_path, check=True, **given):
        command = [sys.executable, "-m", "snakemake", "--snakefile", REPOSITORY / "Snakefile", "--cores", "2"]
        command += [
            "--workflow-profile",
            REPOSITORY / "profiles/default",
            *arguments,
            "--config",
            f"campaign={campaign}",
        ]
        done = subprocess.run(list(map(str, command)), cwd=cwd, capture_output=True, text=True, timeout=600, **given)
        assert not check or done.returncode == 0, done.stdout[-3000:] + done.stderr[-3000:]
        return done

    return call
