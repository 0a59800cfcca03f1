"""The script of checks for an accelerator, on the CPU: every check runs and holds."""

import subprocess
import sys

from repository import REPOSITORY

SMALLEST = ["--device", "cpu", "--events", "40", "--repeats", "0", "--points", "20000"]


def test_the_checks_of_the_gpu_script_hold_on_the_cpu():
    done = subprocess.run(
        [sys.executable, "benchmarks/gpu.py", *SMALLEST], cwd=REPOSITORY, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr[-2000:]
    found = [line.split()[0] for line in done.stdout.splitlines()]
    assert found == ["pass"] * 18, done.stdout
