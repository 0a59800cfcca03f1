"""Shared by the tests of workflows: the tiny campaign, done once and undisturbed."""

import pytest
from tiny_campaign import TINY, start


@pytest.fixture(scope="session")
def quiet(tmp_path_factory):
    """A working folder with the tiny campaign done, undisturbed."""
    folder = tmp_path_factory.mktemp("quiet")
    run = start(folder, TINY, cores=2)
    assert run.wait(timeout=600) == 0, (folder / "driver.log").read_text()[-4000:]
    return folder
