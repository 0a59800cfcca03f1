"""The command line with bad input: one clear line, an exit code, nothing half written; and what it may not load."""

import resource
import subprocess
import sys

import pytest

from repository import REPOSITORY

PROCESS = REPOSITORY / "configs/processes/gun_photon.yaml"
DETECTOR = REPOSITORY / "configs/detectors/hgcal.yaml"


@pytest.fixture
def particles(gen2reco, tmp_path):
    """Three photons."""
    assert gen2reco("generate", "--process", PROCESS, "--events", 3, "p.parquet").returncode == 0
    return tmp_path / "p.parquet"


def mistakes(folder):
    (folder / "readonly").mkdir()
    (folder / "empty.parquet").touch()
    (folder / "bad.cmnd").write_text("SLHA:file = /etc/passwd\n")
    (folder / "cut.lhe").write_text('<LesHouchesEvents version="3.0">\n<init>\n')
    process = ("--process", PROCESS)
    return {
        "missing input": (("cluster", "none.parquet", "out.parquet"), "none.parquet: no such file"),
        "empty input": (("cluster", "empty.parquet", "out.parquet"), "empty.parquet: empty file"),
        "wrong record": (
            ("cluster", "p.parquet", "out.parquet"),
            "p.parquet: these are particles, `cluster` reads hits: run `simulate` first",
        ),
        "same file": (("simulate", "p.parquet", "p.parquet", "--detector", DETECTOR), "input and output are the same"),
        "no detector": (("simulate", "p.parquet", "out.parquet"), "needs a detector"),
        "missing detector": (("simulate", "p.parquet", "out.parquet", "--detector", "d.yaml"), "d.yaml: no such file"),
        "unknown backend": (("simulate", "p.parquet", "out.parquet", "--backend", "fluka"), "known: "),
        "unknown option": (
            ("simulate", "p.parquet", "out.parquet", "--detector", DETECTOR, "--option", "keep_depositz=1"),
            "did you mean `keep_deposits`",
        ),
        "option without value": (("generate", *process, "--option", "x", "out.parquet"), "expected KEY=VALUE"),
        "missing process": (("generate", "--process", "none.yaml", "out.parquet"), "none.yaml: no such file"),
        "process of no kind": (("generate", "--process", "p.parquet", "out.parquet"), "not a process; expected"),
        "card that opens files": (("generate", "--process", "bad.cmnd", "out.parquet"), "SLHA:file"),
        "LHE cut short": (("generate", "--process", "cut.lhe", "out.parquet"), "cut.lhe"),
        "no such folder": (("generate", *process, "/proc/x/out.parquet"), "/proc/x/out.parquet: cannot be written"),
        "publish to nowhere": (("publish", "p.parquet", "out.txt"), "expected .hepmc"),
        "missing plan": (("plan", "none.yaml"), "none.yaml: no such file"),
        "no plan yet": (("generate", "--plan", "l.json", "--sample", "a", "--shard", 0, "o.parquet"), "no such plan"),
    }


def test_bad_input_is_one_clear_line(gen2reco, particles, tmp_path):
    cases = mistakes(tmp_path)
    before = sorted(tmp_path.rglob("*"))
    for name, (arguments, message) in cases.items():
        run = gen2reco(*arguments)
        lines = [line for line in run.stderr.splitlines() if not line.startswith("$ ")]
        assert run.returncode != 0, name
        assert "Traceback" not in run.stderr, (name, run.stderr)
        assert len(lines) == 1 and message in lines[0], (name, run.stderr)
        assert sorted(tmp_path.rglob("*")) == before, name


def test_a_full_disk_is_one_clear_line_to_be_retried(gen2reco, tmp_path):
    def small_files_only():
        resource.setrlimit(resource.RLIMIT_FSIZE, (2000, 2000))

    run = gen2reco("generate", "--process", PROCESS, "--events", 300, "out.parquet", preexec_fn=small_files_only)
    assert run.returncode == 75
    assert "cannot be written: File too large" in run.stderr and "Traceback" not in run.stderr
    assert not [p for p in tmp_path.rglob("*") if p.is_file()]


def in_python(code: str) -> subprocess.CompletedProcess:
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, cwd=REPOSITORY)


@pytest.mark.parametrize("module", ["gen2reco", "gen2reco.cli", "gen2reco.batch.driver", "gen2reco.campaign.plan"])
def test_what_every_job_imports_is_light(module):
    heavy = ["torch", "numba", "mlflow", "matplotlib", "awkward", "pyarrow", "uproot", "pythia8mc", "geant4_pybind"]
    run = in_python(f"import sys, {module}; print([m for m in {heavy} if m in sys.modules])")
    assert run.stdout.strip() == "[]", run.stdout + run.stderr


def test_the_package_is_imported_in_no_time():
    """Beside what it is built on, in the same run: machines and their load differ (1.5 on a quiet one)."""
    run = in_python(
        "from time import process_time as now; a = now(); import numpy, pydantic, yaml; b = now();"
        "import gen2reco.batch.driver; print((now() - b) / (b - a))"
    )
    assert float(run.stdout) < 2.5, run.stdout + run.stderr


def test_planning_a_hundred_thousand_shards(gen2reco, tmp_path):
    campaign = tmp_path / "big.yaml"
    campaign.write_text(
        f"name: big\ndetector: {DETECTOR}\nsamples:\n  a:\n    events: 100000\n    shard_events: 1\n"
        f"    generate: {{backend: gun, process: {PROCESS}}}\n"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    run = gen2reco("plan", campaign)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert run.returncode == 0 and "100,000" in run.stdout
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 60
    assert (tmp_path / "results/big/plan.lock.json").stat().st_size < 100_000
