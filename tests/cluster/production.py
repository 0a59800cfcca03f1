"""A campaign that a test may hurt: its driver, its jobs, and the bytes it must come to."""

import hashlib
import os
import signal
import subprocess
import sys
from contextlib import suppress
from pathlib import Path

import pytest
import yaml
from slurm_cluster import Cluster, wait_for

HERE = Path(__file__).parent
REPOSITORY = HERE.parents[1]
PATIENCE = 450


class Production:
    """A campaign of faulty shards in a folder of its own, its driver, and the bytes it must come to."""

    def __init__(self, cluster: Cluster, folder: Path, shards: int = 3, chunks: int = 3):
        self.cluster, self.folder, self.shards = cluster, folder, shards
        self.shard_events = 5 * chunks
        self.drivers: list[subprocess.Popen] = []
        self.results = folder / "results" / "faults"
        self.demands = folder / "demands"
        self.demands.mkdir()
        self.env = {
            **{k: v for k, v in cluster.env.items() if k != "PYTHONDONTWRITEBYTECODE"},
            "PYTHONPATH": f"{HERE / 'plugin'}",
            "GEN2RECO_FAULTS": str(self.demands),
            "GEN2RECO_CACHE": str(folder / "cache"),
            "OMP_NUM_THREADS": "1",
        }
        self.env["PATH"] = f"{cluster.folder}/bin:{Path(sys.executable).parent}:{self.env['PATH']}"
        self.write()

    def write(self, **changed: object) -> None:
        """Write the campaign file."""
        sample = {"events": self.shards * self.shard_events, "shard_events": self.shard_events}
        sample["generate"] = {"backend": "faulty", **changed.pop("generate", {})}
        data = {"name": "faults", "detector": str(REPOSITORY / "configs/detectors/hgcal.yaml"), **changed}
        samples = {"one": sample, **data.pop("samples", {})}
        (self.folder / "campaign.yaml").write_text(yaml.safe_dump({**data, "samples": samples}))

    @property
    def targets(self) -> list[str]:
        """The record files of all shards."""
        return [f"results/faults/one/generate/{shard:05d}.parquet" for shard in range(self.shards)]

    def demand(self, what: str, shard: int | None = None, chunk: int = 0) -> None:
        """Ask the backend for a fault in one chunk, or in all."""
        name = "all" if shard is None else str(shard * self.shard_events + 5 * chunk)
        (self.demands / name).write_text(what)

    def hold(self, *shards: int) -> None:
        """Let shards wait in their second chunk."""
        for shard in shards:
            self.demand("hold", shard, chunk=1)

    def release(self) -> None:
        """Let all go on."""
        for file in self.demands.iterdir():
            file.unlink()

    def start(self, *arguments: str, targets: list[str] | None = None) -> subprocess.Popen:
        """Start a driver under the shipped profile, quick in all that is slow for good reasons."""
        command = [sys.executable, str(HERE / "quick_driver.py"), "--snakefile", str(REPOSITORY / "Snakefile")]
        command += ["--workflow-profile", str(REPOSITORY / "profiles/slurm"), "--latency-wait", "5"]
        command += ["--slurm-init-seconds-before-status-checks", "1", "--slurm-jobname-prefix", "g2r-faults"]
        command += [*arguments, "--config", "campaign=campaign.yaml", "--", *(targets or self.targets)]
        with (self.folder / "driver.log").open("a") as log:
            driver = subprocess.Popen(
                command, cwd=self.folder, env=self.env, stdout=log, stderr=log, start_new_session=True
            )
        self.drivers.append(driver)
        return driver

    def run(self, *arguments: str, seconds: float = PATIENCE, **given: object) -> int:
        """Run a driver to its end; returns its exit code."""
        return self.finish(self.start(*arguments, **given), seconds)

    def finish(self, driver: subprocess.Popen, seconds: float = PATIENCE) -> int:
        """Wait for a driver to end; its exit code."""
        try:
            return driver.wait(seconds)
        except subprocess.TimeoutExpired:
            queue = self.cluster.run("squeue -a --states=all -o '%A %j %T %r %N'", check=False)
            pytest.fail(f"the driver does not end\n{queue}\n{self.log[-3000:]}")

    def command(self, *arguments: str, check: bool = True, **given: object) -> subprocess.CompletedProcess:
        """Run `gen2reco …` in the campaign's folder."""
        command = [sys.executable, "-m", "gen2reco.cli", *arguments]
        options = {"cwd": self.folder, "env": self.env, "capture_output": True, "text": True, "timeout": 300}
        done = subprocess.run(command, **{**options, **given})
        assert not check or done.returncode == 0, done.stdout + done.stderr
        return done

    @property
    def log(self) -> str:
        """What the drivers wrote."""
        return (self.folder / "driver.log").read_text()

    def shard_log(self, shard: int) -> str:
        """What the newest job of a shard wrote."""
        try:
            return (self.results / f"logs/generate/one-{shard:05d}.log").read_text()
        except OSError:
            return ""

    def job(self, shard: int, chunks_done: int = 1, seconds: float = 300) -> str:
        """Wait until a shard's job runs and has finished so many chunks; returns its Slurm id."""

        def working() -> str | None:
            if self.chunks_done(shard) < chunks_done:
                return None
            found = [line.split()[2] for line in self.shard_log(shard).splitlines() if line.startswith("Slurm job")]
            return found[0] if found and found[0] in self.cluster.jobs() else None

        try:
            return wait_for(working, seconds, f"job of shard {shard} after {chunks_done} chunks")
        except TimeoutError as error:
            pytest.fail(f"{error}\n{self.log[-3000:]}")

    def chunks_done(self, shard: int) -> int:
        """Unfinished business of a shard: chunk files there."""
        return len(list((self.results / "one/generate/.partial").glob(f"{shard:05d}.parquet-*/[0-9]*.parquet")))

    def stage_pids(self, shard: int) -> list[int]:
        """Processes of the stage that work on a shard."""
        wanted, found = f"results/faults/one/generate/{shard:05d}.parquet".encode(), []
        for pid in self.cluster.processes():
            with suppress(OSError):
                words = Path(f"/proc/{pid}/cmdline").read_bytes().split(b"\0")
                if b"generate" in words and b"--shard" in words and wanted in words:
                    found.append(pid)
        return found

    def digests(self) -> list[str]:
        """sha256 of the final files."""
        return [hashlib.sha256((self.folder / file).read_bytes()).hexdigest() for file in self.targets]

    def expected(self) -> list[str]:
        """sha256 of the files that a quiet run makes: the stages by hand, one after the other."""
        quiet = self.folder / "quiet"
        code = (
            "import sys; from pathlib import Path; from gen2reco.campaign.job import planned_job;"
            "from gen2reco.run.runner import run\n"
            "for shard in range(int(sys.argv[2])):\n"
            "    run(planned_job(Path(sys.argv[1]), 'generate', 'one', shard,"
            " Path(sys.argv[3]) / f'{shard:05d}.parquet', None, 1))"
        )
        quiet.mkdir(exist_ok=True)
        lock = self.results / "plan.lock.json"
        env = {**self.env, "GEN2RECO_FAULTS": "/nonexistent"}
        subprocess.run([sys.executable, "-c", code, lock, str(self.shards), quiet], env=env, check=True)
        return [hashlib.sha256(file.read_bytes()).hexdigest() for file in sorted(quiet.glob("*.parquet"))]

    def same_as_quiet(self) -> None:
        """All files are there with the bytes of a quiet run, their sidecars say so, and no debris is left."""
        assert self.digests() == self.expected(), self.log[-3000:]
        self.command("verify", "results/faults/plan.lock.json", "one", "checked.json")
        debris = [file for file in (self.results / "one/generate").rglob("*") if file.suffix == ".tmp"]
        assert not debris and not list(self.results.rglob(".partial/*/*"))

    def end(self) -> None:
        """End the drivers that are left."""
        for driver in self.drivers:
            if driver.poll() is None:
                os.killpg(driver.pid, signal.SIGKILL)
                driver.wait()
