"""Where results and caches lie: links, files in the way, odd paths, users without a home or a name."""

import os
import pwd
import shutil
import tempfile
from pathlib import Path

import pytest
from click.testing import CliRunner

from gen2reco.caches import cache_folder, settle
from gen2reco.campaign.plan import ensure_plan, make_plan
from gen2reco.cli import cli
from gen2reco.errors import InfrastructureError

VARIABLES = ("GEN2RECO_CACHE", "XDG_CACHE_HOME", "HOME", "MPLCONFIGDIR", "LOGNAME", "USER")


def tiny(repository, folder, name="tiny.yaml"):
    """The tiny campaign of the cases in a folder; returns its file."""
    shutil.copy(repository / "tests/data/cases/yaml/gun.yaml", folder)
    text = (repository / "tests/data/cases/yaml/tiny.yaml").read_text()
    (folder / name).write_text(text.replace("DETECTOR", str(repository / "configs/detectors/hgcal.yaml")))
    return folder / name


PLACES = {
    "results a broken link": (
        lambda p: (p / "results").symlink_to("nowhere"),
        "results is a link to nowhere, which does",
    ),
    "results a file": (lambda p: (p / "results").touch(), "results is a file"),
    "results where nothing can be made": (
        lambda p: (p / "results").symlink_to("/proc/self"),
        "results/tiny: cannot be made",
    ),
    "the campaign's folder a broken link": (
        lambda p: ((p / "results").mkdir(), (p / "results/tiny").symlink_to("../nowhere")),
        "results/tiny is a link to ../nowhere",
    ),
    "the campaign's folder a file": (
        lambda p: ((p / "results").mkdir(), (p / "results/tiny").touch()),
        "results/tiny is a file",
    ),
    "a folder as the hold": (lambda p: (p / "results/tiny/.driver").mkdir(parents=True), "cannot be written: Is a dir"),
}


@pytest.mark.parametrize("place", PLACES)
def test_results_that_cannot_be_written_are_one_line(tmp_path, repository, monkeypatch, place):
    make, message = PLACES[place]
    monkeypatch.chdir(tmp_path)
    make(tmp_path)
    done = CliRunner().invoke(cli, ["plan", str(tiny(repository, tmp_path))])
    assert isinstance(done.exception, InfrastructureError) and done.exception.exit_code == 75
    assert message in str(done.exception) and "\n" not in str(done.exception)


@pytest.mark.parametrize("link", ["results", "results/tiny"])
def test_results_may_be_a_link_to_scratch(tmp_path, repository, monkeypatch, link):
    (tmp_path / "scratch").mkdir()
    (tmp_path / "work/results").mkdir(parents=True)
    monkeypatch.chdir(tmp_path / "work")
    if link == "results":
        Path("results").rmdir()
    Path(link).symlink_to(tmp_path / "scratch")
    plan, written = make_plan(tiny(repository, tmp_path))
    assert written and list((tmp_path / "scratch").rglob("plan.lock.json"))
    assert ensure_plan(tmp_path / "tiny.yaml") == plan


def test_a_folder_and_a_file_of_odd_names(tmp_path, repository, monkeypatch):
    folder = tmp_path / "a o?r#k%'ü{x}"
    folder.mkdir()
    monkeypatch.chdir(folder)
    path = tiny(repository, folder, "my ti#n?y%'ü.yaml")
    assert make_plan(path.name)[1] and not make_plan(path.name)[1]


@pytest.fixture
def user(tmp_path, monkeypatch):
    """Set the environment of a user: a home (None: nobody knows one), and variables."""
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "tmp"))
    (tmp_path / "tmp").mkdir()

    def be(named=True, **variables):
        for name in VARIABLES:
            monkeypatch.delenv(name, raising=False)
        for name, value in variables.items():
            monkeypatch.setenv(name, str(value))
        if not named:
            monkeypatch.setattr(pwd, "getpwuid", lambda uid: {}[uid])

    return be


def test_one_rule_for_the_caches(user, tmp_path):
    home = tmp_path / "home"
    home.mkdir()
    mine = tmp_path / f"tmp/gen2reco-{os.getuid()}/gen2reco"
    table = [
        ({"GEN2RECO_CACHE": "/a", "XDG_CACHE_HOME": "/b", "HOME": home}, Path("/a")),
        ({"GEN2RECO_CACHE": "", "XDG_CACHE_HOME": "/b", "HOME": home}, Path("/b/gen2reco")),
        ({"XDG_CACHE_HOME": "", "HOME": home}, home / ".cache/gen2reco"),
        ({"XDG_CACHE_HOME": "relative", "HOME": home}, home / ".cache/gen2reco"),
        ({"XDG_CACHE_HOME": "/b", "HOME": "/nowhere"}, Path("/b/gen2reco")),
        ({"HOME": "/"}, mine),
    ]
    for variables, expected in table:
        user(**variables)
        assert cache_folder() == expected, variables
    user(named=False)
    assert cache_folder() == mine
    user(named=False, HOME="/nowhere/at/all")
    assert cache_folder() == mine
    user(named=False, XDG_CACHE_HOME="/b")
    assert cache_folder() == Path("/b/gen2reco")


def test_libraries_get_a_home_a_name_and_a_cache(user, tmp_path):
    import getpass

    user(named=False)
    settle()
    mine = tmp_path / f"tmp/gen2reco-{os.getuid()}"
    assert Path.home() == mine and getpass.getuser() == str(os.getuid())
    assert cache_folder() == mine / ".cache/gen2reco"
    user(named=False, HOME="/", XDG_CACHE_HOME=tmp_path)
    settle()
    assert os.environ["MPLCONFIGDIR"] == f"{tmp_path}/matplotlib" and os.environ["XDG_CACHE_HOME"] == str(tmp_path)


@pytest.fixture
def open_folder():
    """A folder that every user may enter and write in."""
    with tempfile.TemporaryDirectory() as folder:
        Path(folder).chmod(0o777)
        yield Path(folder)


def test_a_home_that_may_not_be_entered_is_none(open_folder, user, monkeypatch):
    (open_folder / "home").mkdir(mode=0o000)
    user(named=False, HOME=open_folder / "home")
    monkeypatch.setattr(tempfile, "tempdir", str(open_folder))
    reader, writer = os.pipe()
    if not (child := os.fork()):
        try:
            if os.getuid() == 0:
                os.setuid(54321)
            settle()
            os.write(writer, str(cache_folder()).encode())
        finally:
            os._exit(0)
    os.waitpid(child, 0)
    os.close(writer)
    with os.fdopen(reader) as found:
        assert found.read() == f"{open_folder}/gen2reco-{os.getuid() or 54321}/gen2reco"


def test_a_user_with_a_home_keeps_everything_as_it_is(user, tmp_path):
    user(HOME=tmp_path)
    before = dict(os.environ)
    settle()
    assert dict(os.environ) == before


def test_a_temporary_folder_of_somebody_else_is_not_used(user, tmp_path):
    user(named=False)
    mine = tmp_path / f"tmp/gen2reco-{os.getuid()}"
    mine.mkdir()
    mine.chmod(0o777)
    with pytest.raises(InfrastructureError, match="is not a folder of this user alone"):
        cache_folder()
    mine.rmdir()
    mine.symlink_to(tmp_path)
    with pytest.raises(InfrastructureError, match="is not a folder of this user alone"):
        cache_folder()
    user(named=False, HOME=mine)
    with pytest.raises(InfrastructureError, match="is not a folder of this user alone"):
        cache_folder()
