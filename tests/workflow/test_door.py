"""The stages as functions of Python: the notebook of the docs, mistakes, and what is loaded."""

import inspect
import json
import subprocess
import sys

import pytest
from click.shell_completion import BashComplete
from click.testing import CliRunner

import gen2reco as g
from gen2reco.cli import cli
from gen2reco.errors import InputError
from gen2reco.events import records
from gen2reco.run.stage_table import STAGES
from repository import REPOSITORY

GUN = REPOSITORY / "configs/processes/gun_photon.yaml"
CELLS = """
import json, sys
cells = json.load(open("docs/python.ipynb"))["cells"]
for cell in cells:
    if cell["cell_type"] == "code":
        exec("".join(cell["source"]))
heavy = sorted({"torch", "geant4_pybind", "numba", "pythia8mc"} & {*sys.modules})
share = [float(x) for x in found / true]
print(json.dumps([heavy, share, list(made), counted["network_evaluations"], pions.particles.energy.to_list()]))
"""


def test_the_notebook_runs_from_top_to_bottom(tmp_path, gen2reco):
    done = subprocess.run([sys.executable, "-c", CELLS], cwd=REPOSITORY, capture_output=True, text=True, timeout=300)
    assert done.returncode == 0, done.stderr
    heavy, share, made, evaluations, pions = json.loads(done.stdout.splitlines()[-1])
    assert heavy == [] and made == ["calibrate", "cluster", "generate", "simulate"] and evaluations == 10
    assert len(share) == 10 and 0.8 < sorted(share)[5] < 1.2
    (tmp_path / "pions.yaml").write_text("{kind: gun, species: [211, -211], energy: [20, 50]}")
    command = gen2reco("-q", "generate", "--process", "pions.yaml", "--events", 5, "--seed", 4, "p.parquet")
    assert (command.returncode, command.stderr) == (0, "")
    assert records.awkward(records.read(tmp_path / "p.parquet")).particles.energy.to_list() == pions


def test_mistakes_are_errors_that_say_what_to_do():
    hits = records.awkward(records.empty("hits"))
    cases = [
        (lambda: g.calibrate(hits), "these are hits, `calibrate` reads clusters: run `cluster` first"),
        (
            lambda: g.simulate(hits),
            "these are hits, `simulate` reads particles: give the particles that they were made of",
        ),
        (lambda: g.simulate(3), "expected an array of particles or a file, got int"),
        (lambda: g.generate(3), "expected a process file or a mapping, got int"),
        (lambda: g.generate(str(GUN), events=2, enrgy=3), "did you mean `energy`"),
        (lambda: g.generate("none.yaml"), "none.yaml: no such file"),
    ]
    for call, message in cases:
        with pytest.raises(InputError, match=message):
            call()
    with pytest.raises(AttributeError, match="gen2reco has no `simulat`"):
        _ = g.simulat


def test_every_stage_of_the_table_is_a_function_with_its_sentence():
    for name, stage in STAGES.items():
        function = getattr(g, name)
        assert callable(function) and function.__doc__.startswith(stage.help) and stage.backend in function.__doc__
        assert ("process" in inspect.signature(function).parameters) == (stage.reads is None)
        assert function.BACKENDS
    assert set(STAGES) <= set(dir(g))


def complete(*words):
    """What a shell offers for the last of these words."""
    found = BashComplete(cli, {}, "gen2reco", "_GEN2RECO_COMPLETE").get_completions(list(words[:-1]), words[-1])
    return [item.value for item in found]


def test_a_shell_completes_commands_backends_options_samples_and_profiles(monkeypatch):
    monkeypatch.chdir(REPOSITORY)
    assert complete("ca") == ["calibrate", "calibrate-rates"]
    assert complete("simulate", "--backend", "") == ["geant4", "ml", "showers"]
    assert complete("simulate", "--backend", "ml", "--option", "eval") == ["evaluations="]
    samples = ["photons", "photons_learned", "photons_fused"]
    assert complete("verify", "configs/campaigns/quickstart.yaml", "ph") == samples
    assert {"slurm", "slurm-gres"} <= set(complete("check", "--profile", "sl"))


def test_help_and_backends_name_options_types_and_defaults():
    helped, listed = (CliRunner().invoke(cli, words).output for words in (["cluster", "--help"], ["backends"]))
    for text in (helped, listed):
        assert "Backend clue" in text and "--option" in text and "default" in text
    for name in STAGES:
        assert f"{name}: " in listed
    assert all(f"Backend {one}" in listed for one in ("pythia8", "lhe", "ml", "geant4", "raw", "dnn", "fused"))
    assert "evaluations=" in listed and "integer, default 1" in listed
    odd = CliRunner().invoke(cli, ["backends", "nothing"]).exception
    assert isinstance(odd, InputError) and str(odd).startswith("there is no stage `nothing`; known: generate")


def test_loud_and_quiet(gen2reco):
    given = ("generate", "--process", GUN, "--events", 2, "p.parquet")
    loud = gen2reco("-v", *given).stderr
    assert "  seed: 1" in loud and "  cpu_seconds: " in loud
    assert "Traceback" in gen2reco("-v", "generate", "--process", "none.yaml", "p.parquet").stderr
    assert CliRunner().invoke(cli, ["-v", "-q", "backends"]).exit_code == 2
