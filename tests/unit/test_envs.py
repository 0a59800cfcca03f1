"""The conda environment and the container agree with the package's own requirements; neither is built here."""

import re
import tomllib

import pytest
import yaml
from packaging.requirements import Requirement
from packaging.specifiers import SpecifierSet


@pytest.fixture(scope="module")
def project(repository):
    return tomllib.loads((repository / "pyproject.toml").read_text())["project"]


@pytest.fixture(scope="module")
def conda(repository):
    return yaml.safe_load((repository / "envs/gen2reco.yaml").read_text())


@pytest.fixture(scope="module")
def definition(repository):
    """Section of the container's definition → its lines."""
    head, *parts = re.split(r"^%(\w+)\n", (repository / "envs/gen2reco.def").read_text(), flags=re.M)
    sections = {"head": head, **dict(zip(parts[::2], parts[1::2]))}
    return {name: [line.strip() for line in text.splitlines() if line.strip()] for name, text in sections.items()}


def pinned(repository):
    lines = (repository / "envs/constraints.txt").read_text().splitlines()
    return {re.sub(r"[-_.]+", "-", name).lower(): version for name, version in (line.split("==") for line in lines)}


def test_what_is_pinned_satisfies_every_requirement(project, repository):
    versions = pinned(repository)
    wanted = [*project["dependencies"], *(r for extra in project["optional-dependencies"].values() for r in extra)]
    for requirement in map(Requirement, wanted):
        name = re.sub(r"[-_.]+", "-", requirement.name).lower()
        assert name in versions, f"{name} is not in envs/constraints.txt"
        assert versions[name] in requirement.specifier, f"{name} {versions[name]} is not {requirement.specifier}"


def test_conda_installs_this_checkout_with_what_is_pinned(conda, project, repository):
    plain = [entry for entry in conda["dependencies"] if isinstance(entry, str)]
    (python,) = [entry.partition("=")[2] for entry in plain if entry.startswith("python")]
    assert f"{python}.0" in SpecifierSet(project["requires-python"])
    (options,) = [entry["pip"] for entry in conda["dependencies"] if isinstance(entry, dict)]
    given = dict(option.split(" ", 1) for option in options)
    assert (repository / "envs" / given["--constraint"]).samefile(repository / "envs/constraints.txt")
    where, extra = re.fullmatch(r"(.+)\[(\w+)\]", given["--editable"]).groups()
    assert (repository / "envs" / where).samefile(repository) and extra in project["optional-dependencies"]


def test_the_container_holds_what_its_installation_needs(definition, project, repository):
    (python,) = [re.search(r"python:([\d.]+)", line)[1] for line in definition["head"] if line.startswith("From:")]
    assert f"{python}.0" in SpecifierSet(project["requires-python"])
    copied = dict(line.split() for line in definition["files"])
    assert all((repository / source).exists() for source in copied)
    assert {"pyproject.toml", project["readme"], "workflow", "envs"} <= copied.keys()
    (install,) = [line.split() for line in definition["post"] if line.startswith("pip install")]
    assert install[-1] == "/opt/gen2reco" and all(place.startswith(install[-1]) for place in copied.values())
    assert install[install.index("--constraint") + 1] == f"{copied['envs']}/constraints.txt"


def test_the_workflow_names_what_is_built(conda, definition, repository):
    rules = (repository / "workflow/rules/common.smk").read_text()
    assert f'ENVIRONMENT = "{conda["name"]}"' in rules
    image = re.search(r'container: os.path.join\(workflow.basedir, "(\w+)", "([\w.]+)"\)', rules)
    assert any(f"build {image[1]}/{image[2]} envs/gen2reco.def" in line for line in definition["help"])
