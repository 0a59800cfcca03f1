"""A campaign to which everything happens at random ends in the bytes of the quiet run."""

import os
import random
import re
import resource
import signal
import subprocess
import sys
import time
from contextlib import suppress
from pathlib import Path

import pytest
from tiny_campaign import TINY, digests

from repository import FULL, REPOSITORY

SHARD_NAMED = re.compile(r"(results/tiny/\w+/\w+/\d{5})\.\w+")
SECONDS = 600.0 if FULL else 45.0


class Field:
    """A working folder with the tiny campaign and a driver that may be hurt."""

    def __init__(self, folder: Path):
        self.folder, self.driver = folder, None
        self.campaign = folder / "tiny.yaml"
        text = TINY.read_text().replace("../../configs", str(REPOSITORY / "configs"))
        self.campaign.write_text(text.replace("tiny_photons.yaml", str(TINY.with_name("tiny_photons.yaml"))))
        self.log = folder / "driver.log"

    def snakemake(self, *arguments: str) -> list[str]:
        """The command of a user who runs Snakemake on the campaign."""
        command = [sys.executable, "-m", "snakemake", "--snakefile", REPOSITORY / "Snakefile", "--cores", "2"]
        command += ["--workflow-profile", REPOSITORY / "profiles/default", *arguments, "--config", "campaign=tiny.yaml"]
        return list(map(str, command))

    def start(self, limits: dict[int, int] | None = None, **environment: str) -> None:
        """Start a driver, with resource limits if given."""

        def limited():
            for which, most in (limits or {}).items():
                resource.setrlimit(which, (most, most))

        with self.log.open("a") as log:
            self.driver = subprocess.Popen(
                self.snakemake(),
                cwd=self.folder,
                stdout=log,
                stderr=log,
                env={**os.environ, **environment},
                start_new_session=True,
                preexec_fn=limited,
            )

    def alive(self) -> bool:
        """Whether the driver runs."""
        return self.driver is not None and self.driver.poll() is None

    def signal(self, number: int) -> None:
        """Send a signal to the driver and all that it started."""
        with suppress(ProcessLookupError):
            os.killpg(self.driver.pid, number)

    def kill(self) -> None:
        """End the driver and its jobs at once."""
        if self.driver is not None:
            self.signal(signal.SIGKILL)
            self.driver.wait()

    def run(self, *command: str) -> subprocess.CompletedProcess:
        """Run a command in the folder to its end."""
        return subprocess.run(command, cwd=self.folder, capture_output=True, text=True, timeout=300)

    def gen2reco(self, *arguments: str) -> subprocess.CompletedProcess:
        """Run a command of gen2reco."""
        return self.run(sys.executable, "-m", "gen2reco.cli", *arguments)

    def finish(self, attempts: int = 12) -> None:
        """Run undisturbed drivers to the end; one that stops names a shard in one line, which is then removed."""
        for _ in range(attempts):
            at = self.log.stat().st_size if self.log.exists() else 0
            self.start()
            if self.driver.wait(timeout=600) == 0:
                return
            said = self.log.read_bytes()[at:].decode(errors="replace")
            named = SHARD_NAMED.findall(said)
            assert "error:" in said and named, f"no shard is named:\n{said[-4000:]}"
            assert "Traceback" not in said, said[-4000:]
            for shard in named:
                for file in self.folder.glob(f"{shard}.*"):
                    file.unlink()
        pytest.fail(f"not whole after {attempts} runs:\n{self.log.read_text()[-4000:]}")


@pytest.fixture
def field(tmp_path):
    """A folder to hurt; nothing that a test started goes on after it."""
    made = Field(tmp_path)
    yield made
    made.kill()


def wait_until_held(lock: Path, seconds: float = 120) -> None:
    """Wait until a first driver holds its campaign: it writes into the file who it is."""
    end = time.monotonic() + seconds
    while not (lock.is_file() and lock.stat().st_size):
        assert time.monotonic() < end, f"{lock}: no driver holds it after {seconds} s"
        time.sleep(0.1)


COMMANDS = {
    "plan": ("plan", "tiny.yaml"),
    "new revision": ("plan", "tiny.yaml", "--new-revision"),
    "recover": ("recover", "tiny.yaml", "--", "--cores", "1"),
    "status": ("status", "tiny.yaml"),
    "check": ("check", "tiny.yaml"),
    "verify": ("verify", "results/tiny/plan.lock.json", "photons", "verified.json"),
    "submit": ("submit", "tiny.yaml", "--profile", "slurm"),
}
DRIVERS = {
    "second driver": (),
    "dry run": ("--dry-run",),
    "delete all": ("--delete-all-output",),
    "delete temporary": ("--delete-temp-output",),
    "touch": ("--touch",),
    "forced": ("--forceall",),
}
CHANGES = ("events: 12", "events: 18"), ("seed: 3", "seed: 4"), ("chunk_events: 3}", "chunk_events: 2}")


def test_commands_fired_at_random_while_a_driver_runs_change_nothing(field, quiet):
    rng = random.Random(14)
    field.start()
    wait_until_held(field.folder / "results/tiny/.driver")
    fired = []
    while field.alive() and len(fired) < (80 if FULL else 12):
        edited = rng.random() < 0.4
        text = field.campaign.read_text()
        if edited:
            field.campaign.write_text(text.replace(*rng.choice(CHANGES)))
        name = rng.choice([*COMMANDS, *DRIVERS])
        done = field.gen2reco(*COMMANDS[name]) if name in COMMANDS else field.run(*field.snakemake(*DRIVERS[name]))
        field.campaign.write_text(text)
        fired.append(name)
        said = done.stdout + done.stderr
        assert "Traceback" not in said, f"{name}: {said[-3000:]}"
        fine = (0, 3) if name == "status" else (0,)
        assert done.returncode in fine or "error" in said.lower(), f"{name}: {said[-3000:]}"
    assert fired, "the driver ended before the first command"
    assert field.driver.wait(timeout=600) == 0, field.log.read_text()[-4000:]
    assert digests(field.folder) == digests(quiet), fired


LIMITS = {}, {}, {}, {resource.RLIMIT_FSIZE: 20_000}, {resource.RLIMIT_AS: 1_200_000_000}, {resource.RLIMIT_NOFILE: 40}


def flip(rng: random.Random, file: Path) -> None:
    """Change one byte of a file, or cut it off."""
    data = bytearray(file.read_bytes())
    if rng.random() < 0.3:
        data = data[: rng.randrange(len(data) + 1)]
    elif data:
        data[rng.randrange(len(data))] ^= 1 << rng.randrange(8)
    file.write_bytes(bytes(data))


def damage(rng: random.Random, field: Field, pattern: str) -> None:
    """Flip or cut one of the files that match, or put another in its place."""
    files = sorted(f for f in field.folder.glob(pattern) if f.is_file())
    if not files:
        return
    file = rng.choice(files)
    with suppress(FileNotFoundError):
        if rng.random() < 0.3:
            file.write_bytes(rng.choice(files).read_bytes())
        else:
            flip(rng, file)


def test_chaos_ends_in_the_bytes_of_the_quiet_run(field, quiet):
    rng, end = random.Random(int(SECONDS)), time.monotonic() + SECONDS
    lock = None
    while time.monotonic() < end:
        limits = rng.choice(LIMITS)
        environment = rng.choice([{}, {"MLFLOW_TRACKING_URI": "http://127.0.0.1:9"}])
        field.start(limits, **environment)
        with suppress(subprocess.TimeoutExpired):
            field.driver.wait(timeout=rng.uniform(2.0, 25.0))
        plan = field.folder / "results/tiny/plan.lock.json"
        lock = lock or (plan.read_bytes() if plan.is_file() and plan.stat().st_size else None)
        what = rng.choice(["kill", "stop", "chunks", "records", "sidecars", "edit the campaign", "edit the plan"])
        if what == "stop" and field.alive():
            field.signal(signal.SIGSTOP)
            time.sleep(rng.uniform(0.5, 2.0))
            field.signal(signal.SIGCONT)
            time.sleep(1.0)
        elif what == "chunks":
            damage(rng, field, "results/tiny/*/*/.partial/*/*.parquet")
        elif what == "records":
            damage(rng, field, "results/tiny/*/*/*.parquet")
        elif what == "sidecars":
            damage(rng, field, "results/tiny/*/*/*.json")
        elif what == "edit the campaign":
            text = field.campaign.read_text()
            field.campaign.write_text(text.replace("seed: 3", rng.choice(["seed: x", "seed: 3\nseed: 3", "}"])))
            time.sleep(1.0)
            field.campaign.write_text(text)
        elif what == "edit the plan" and lock:
            plan.write_bytes(lock.replace(b'"seed": 3', b'"seed": 5'))
            time.sleep(1.0)
            field.kill()
            plan.write_bytes(lock)
        field.kill()
    field.finish()
    assert digests(field.folder) == digests(quiet)
