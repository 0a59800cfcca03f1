"""Training over the devices of a node by torchrun in a Slurm job: two CPU processes here."""

import sys
from pathlib import Path

import pytest
from slurm_cluster import wait_for

SCRIPT = Path(__file__).with_name("two_processes.py")


def digests(folder: Path) -> list[str]:
    return [(folder / f"rank{rank}").read_text() for rank in (0, 1)]


@pytest.mark.slow
def test_two_processes_agree_and_go_on_after_a_requeue(cluster, tmp_path):
    """Both hold the same weights; a job requeued in the middle ends with those of an undisturbed one."""

    def submit(name: str, **env: str) -> str:
        words = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", SCRIPT, name]
        settings = " ".join(f"{key}={value}" for key, value in {**env, "OMP_NUM_THREADS": "1"}.items())
        command = f"env {settings} {' '.join(map(str, words))}"
        return cluster.run(
            f"sbatch --parsable --requeue -c2 --mem=4000 -t10 -o {name}.log --wrap '{command}'", cwd=tmp_path
        )

    def finished(job: str) -> bool:
        return job not in cluster.jobs("RUNNING,PENDING,COMPLETING")

    quiet = submit("quiet")
    hurt = submit("hurt", SLOW="0.3")
    wait_for((tmp_path / "hurt/checkpoint.safetensors").exists, 300, "first checkpoint")
    cluster.run(f"scontrol requeue {hurt}")
    for job in (quiet, hurt):
        wait_for(lambda job=job: finished(job), 300, f"job {job}")
    log = (tmp_path / "hurt.log").read_text()
    assert digests(tmp_path / "quiet")[0] == digests(tmp_path / "quiet")[1], log
    assert digests(tmp_path / "quiet")[0].startswith("2 ")
    assert digests(tmp_path / "hurt") == digests(tmp_path / "quiet"), log
