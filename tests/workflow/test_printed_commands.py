"""Every command that README and docs print: its names and options exist, files that it names are there, and those that
cost little are run, cut in size; campaigns that pages show pass check."""

import json
import re
import shlex
import subprocess
import sys

import click
import pytest

from gen2reco.campaign.mistakes import check_campaign
from gen2reco.cli import cli
from gen2reco.commands.stages import _parse_options
from gen2reco.config.block import load_block
from gen2reco.config.detector import Detector
from gen2reco.config.process import options_for
from gen2reco.run.stage import make_backend
from gen2reco.run.stage_table import STAGES
from repository import REPOSITORY

PAGES = [REPOSITORY / "README.md", *sorted((REPOSITORY / "docs").glob("*.md"))]
PLACES = ("configs/", "profiles/", "benchmarks/", "docs/", "tests/", "envs/")
OWN = ("configs/campaigns/mine.yaml", "configs/campaigns/electrons.yaml")
"""Files that a page tells the reader to write."""


def commands(page):
    """(words, whether it stands in a block) of each command that a page prints; usage lines are left out."""
    text = page.read_text()
    blocks = [block for kind, block in re.findall(r"^```(\w*)\n(.*?)^```", text, re.S | re.M) if kind in ("", "sh")]
    lines = [(line, True) for block in blocks for line in block.replace("\\\n", " ").splitlines()]
    lines += [
        (" ".join(span.split()), False) for span in re.findall(r"`([^`]+)`", re.sub(r"```.*?```", "", text, flags=re.S))
    ]
    for line, whole in lines:
        line = re.split(r"\s+#\s|;|\s2?>", line)[0].strip().removeprefix("$ ").removeprefix(".venv/bin/")
        if re.match(r"(gen2reco|snakemake|make|python|torchrun) ", line) and not re.search(r"[…\[\]<>{}]|\.\.\.", line):
            yield shlex.split(line), whole


def of_examples(page):
    """Names of the stages, backends and trainings that a page tells the reader to announce: they are not installed."""
    toml = "".join(re.findall(r"^```toml\n(.*?)^```", (REPOSITORY / "docs" / page).read_text(), re.S | re.M))
    return set(re.findall(r"^(\w+) = ", toml, re.M))


PRINTED = [(page.name, words, whole) for page in PAGES for words, whole in commands(page)]


def parsed(words):
    """The click command of the words, with what they give. Raises UsageError."""
    command, words = cli, list(words)
    context = click.Context(cli, info_name="gen2reco")
    while isinstance(command, click.Group):
        known = command.list_commands(context)
        if not words:
            raise click.MissingParameter(param_type="command")
        name = words.pop(0) if words[0] in known or command.name != "validate" else "samples"
        command = command.get_command(context, name)
        assert command is not None, f"no command {name}"
    return command, command.make_context(command.name, words, parent=context).params


def test_pages_print_commands():
    assert len(PRINTED) > 70 and {"README.md", "tutorial.md", "slurm.md", "showers.md"} <= {
        page for page, *_ in PRINTED
    }


def test_every_printed_command_exists_with_its_options_and_files():
    detector = load_block(REPOSITORY / "configs/detectors/hgcal.yaml", Detector)
    targets = re.findall(r"^([\w./-]+):", (REPOSITORY / "Makefile").read_text(), re.M)
    for page, words, whole in PRINTED:
        where = f"{page}: {shlex.join(words)}"
        for word in words:
            named = word.partition("=")[2] or word
            if named.startswith(PLACES) and named not in OWN and not re.search(r"[*$A-Z]", named):
                assert (REPOSITORY / named).exists(), where
        if words[0] == "make":
            assert words[1] in targets, where
        if words[0] != "gen2reco" or words[1].startswith("-"):
            continue
        if page != "README.md" and of_examples(page) & {*words}:
            continue  # run by test_docs.py
        try:
            command, given = parsed([word for word in words[1:] if word != "--help"])
        except click.MissingParameter:
            assert not whole, where
            continue
        except (click.UsageError, AssertionError, TypeError) as error:
            raise AssertionError(f"{where}: {error}") from None
        options = _parse_options(given.get("options") or ())
        if command.name in STAGES and not {"model", "file"} & {*options}:
            backend = given["backend"] or STAGES[command.name].backend
            if process := given.get("process"):
                if not (REPOSITORY / process).is_file():
                    continue
                backend, options = options_for(REPOSITORY / process, backend, options)
            make_backend(command.name, backend, options, detector)


def test_campaigns_that_pages_show_pass_check(tmp_path):
    (tmp_path / "configs/campaigns").mkdir(parents=True)
    for name in ("detectors", "processes", "models", "clustering"):
        (tmp_path / "configs" / name).symlink_to(REPOSITORY / "configs" / name)
    shown = [
        (page.name, text)
        for page in PAGES
        for text in re.findall(r"^```yaml\n(.*?)^```", page.read_text(), re.S | re.M)
    ]
    whole = [(page, text) for page, text in shown if re.search(r"^detector:", text, re.M)]
    assert len(whole) >= 2
    for number, (_, text) in enumerate(whole):
        file = tmp_path / f"configs/campaigns/c{number}.yaml"
        file.write_text(text)
        check_campaign(file)


CUT = {"--events": "1"}
RUN = """
import json, sys
from gen2reco.cli import cli
for words in json.loads(sys.argv[1]):
    try:
        cli.main(words, prog_name="gen2reco", standalone_mode=False)
    except BaseException as error:
        if words[0] != "status" or getattr(error, "code", 0) != 3:  # not complete, as the page says
            raise SystemExit(f"{words}: {error!r}")
"""


def small(words):
    """A command for one event."""
    words = list(words)
    for option, value in CUT.items():
        if option in words:
            words[words.index(option) + 1] = value
    return [str(REPOSITORY / word) if word.startswith("configs/") and word not in OWN else word for word in words[1:]]


@pytest.fixture(scope="module")
def by_hand(tmp_path_factory):
    """A folder in which the stages were run one by one as README has it."""
    folder = tmp_path_factory.mktemp("by_hand")
    (block,) = re.findall(r"## One stage at a time\n+```\n(.*?)```", (REPOSITORY / "README.md").read_text(), re.S)
    for line in block.splitlines():
        words = shlex.split(line)
        if words[1] == "validate":
            for name in words[2:4]:
                (folder / name).write_bytes((folder / "hits.parquet").read_bytes())
        command = [sys.executable, "-m", "gen2reco.cli", *small(words)]
        done = subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=300)
        assert done.returncode == 0, (line, done.stderr)
    return folder


def test_the_stages_one_at_a_time(by_hand):
    assert (by_hand / "events.root").stat().st_size > 1000 and (by_hand / "comparison/report.html").is_file()


def test_printed_commands_on_events_and_on_the_campaign_of_the_tutorial(by_hand, repository):
    """In one process: the fused model, and a campaign checked, planned and shown."""
    campaign = by_hand / "configs/campaigns/electrons.yaml"
    campaign.parent.mkdir(parents=True)
    (text,) = [
        t
        for t in re.findall(r"```yaml\n(.*?)```", (REPOSITORY / "docs/tutorial.md").read_text(), re.S)
        if "name: electrons" in t
    ]
    campaign.write_text(text.replace("../", f"{REPOSITORY}/configs/"))
    pages = {"fused.md": "fuse", "tutorial.md": "check plan status"}
    chosen = [
        small(words)
        for page, words, whole in PRINTED
        if whole and words[0] == "gen2reco" and words[1] in pages.get(page, "").split()
        and not any(word.startswith("model=") for word in words)
    ]  # fmt: skip
    assert [words[0] for words in chosen].count("fuse") >= 2 and {"check", "plan", "status"} <= {w[0] for w in chosen}
    done = subprocess.run(
        [sys.executable, "-c", RUN, json.dumps(chosen)], cwd=by_hand, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stderr
    assert "electrons_raw" in done.stdout and (by_hand / "results/electrons/plan.lock.json").is_file()


def test_the_exchange_of_showers_from_first_to_last(tmp_path):
    """Photons by learned showers, which take less time; as few as are compared."""
    (tmp_path / "configs").symlink_to(REPOSITORY / "configs")
    run = []
    for words, whole in commands(REPOSITORY / "docs/exchange.md"):
        if not whole or words[0] != "gen2reco":
            continue
        words = small(words)
        words = ["ml" if word == "geant4" else word for word in words]
        if "--events" in words:
            words[words.index("--events") + 1] = "210"
        run.append(words)
    assert len(run) == 8
    done = subprocess.run(
        [sys.executable, "-c", RUN, json.dumps(run)], cwd=tmp_path, capture_output=True, text=True, timeout=600
    )
    assert done.returncode == 0, done.stderr
    metrics = json.loads((tmp_path / "metrics.json").read_text())
    assert {row["showers"] for row in metrics} <= {105, 210} and len(metrics) > 12
