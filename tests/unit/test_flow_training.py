"""The training loop: resumed runs end the same, mistakes are named, processes share the work."""

import os
import subprocess
import sys
import textwrap

import numpy as np
import pytest
import torch
from safetensors import safe_open

from gen2reco.errors import InfrastructureError, InputError
from gen2reco.flow.networks import VectorNetwork
from gen2reco.flow.objectives import VectorData, matching
from gen2reco.flow.training import Part, Training, train

SETTINGS = Training(steps=12, batch=16, checkpoint_every=4, warmup=2)


def parts(second=False):
    torch.manual_seed(1)
    rng = np.random.default_rng(1)
    data = VectorData(rng.normal(size=(64, 2)).astype(np.float32), rng.normal(size=(64, 1)).astype(np.float32))
    networks = [VectorNetwork(2, 1, 8, 1) for _ in range(1 + second)]
    return [Part(n, matching(n, data)) for n in networks]


class KilledError(Exception):
    """Stands for kill -9."""


@pytest.mark.parametrize("second", [False, True])
def test_a_killed_training_ends_with_the_same_weights(tmp_path, second):
    whole = train(parts(second), SETTINGS, tmp_path / "whole")

    def kill(step, numbers):
        if step == 8:
            raise KilledError

    with pytest.raises(KilledError):
        train(parts(second), SETTINGS, tmp_path / "cut", kill)
    steps = []
    resumed = train(parts(second), SETTINGS, tmp_path / "cut", lambda step, numbers: steps.append(step))
    assert steps == [12]
    for a, b in zip(whole.parameters(), resumed.parameters()):
        assert torch.equal(a, b)


def test_a_cpu_multiplies_in_full_precision_whatever_the_recipe(tmp_path):
    """bfloat16 is emulated there, 5 to 20 times slower."""
    mixed, full = (
        train(parts(), SETTINGS.model_copy(update={"mixed_precision": mixed}), tmp_path / str(mixed))
        for mixed in (True, False)
    )
    assert all(torch.equal(a, b) for a, b in zip(mixed.parameters(), full.parameters()))


@pytest.mark.parametrize(
    ("change", "message"),
    [({"batch": 8}, "other settings"), ({"seed": 2}, "other settings")],
)
def test_checkpoint_of_another_training_is_refused(tmp_path, change, message):
    train(parts(), SETTINGS, tmp_path)
    with pytest.raises(InputError, match=message):
        train(parts(), SETTINGS.model_copy(update=change), tmp_path)


def test_truncated_checkpoint_is_refused(tmp_path):
    train(parts(), SETTINGS, tmp_path)
    path = tmp_path / "checkpoint.safetensors"
    path.write_bytes(path.read_bytes()[:200])
    with pytest.raises(InputError, match="not a checkpoint of this training"):
        train(parts(), SETTINGS, tmp_path)


def test_checkpoint_of_another_network_is_refused(tmp_path):
    train(parts(), SETTINGS, tmp_path)
    torch.manual_seed(1)
    other = VectorNetwork(3, 1, 8, 1)
    data = VectorData(np.zeros((4, 3), np.float32), np.zeros((4, 1), np.float32))
    with pytest.raises(InputError, match="not a checkpoint of this training"):
        train([Part(other, matching(other, data))], SETTINGS, tmp_path)


def test_unwritable_folder_is_an_infrastructure_failure(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InfrastructureError, match="cannot be written"):
        train(parts(), SETTINGS, tmp_path / "file" / "folder")


def test_a_training_that_diverges_at_once_says_so(tmp_path):
    network = VectorNetwork(1, 1, 8, 1)
    bad = VectorData(np.full((4, 1), np.nan, np.float32), np.zeros((4, 1), np.float32))
    with pytest.raises(InputError, match=r"diverged at step 4: .*no checkpoint was written yet; lower `learning_rate`"):
        train([Part(network, matching(network, bad))], SETTINGS, tmp_path)
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("spoilt", ["loss", "gradient"])
def test_a_training_that_diverges_keeps_its_last_good_checkpoint(tmp_path, spoilt):
    """NaN in a loss, or in the gradient of a checkpoint's own step alone, where no loss shows it."""
    (part,) = parts()
    good = part.objective

    def objective(draw):
        loss, numbers = good(draw)
        calls.append(loss)
        if spoilt == "gradient" and len(calls) == 8:  # a loss of 0 with a gradient of NaN
            loss = torch.sqrt(0 * next(part.network.parameters()).sum()) + loss.detach()
        if spoilt == "loss" and len(calls) == 6:
            loss, numbers = loss * float("nan"), {"loss": float("nan")}
        return loss, numbers

    calls = []
    with pytest.raises(InputError, match=r"diverged at step 8: .*the checkpoint of step 4 is kept"):
        train([Part(part.network, objective)], SETTINGS, tmp_path)
    with safe_open(tmp_path / "checkpoint.safetensors", "pt") as file:
        assert file.metadata()["step"] == "4"
        assert all(torch.isfinite(file.get_tensor(name)).all() for name in file.keys())  # noqa: SIM118


SCRIPT = """
import numpy as np, torch, sys
from gen2reco.flow.networks import VectorNetwork
from gen2reco.flow.objectives import VectorData, matching
from gen2reco.flow.training import Part, Training, train
import torch.distributed as dist
torch.manual_seed(int(__import__("os").environ.get("RANK", 0)))
network = VectorNetwork(2, 1, 8, 1)
data = VectorData(np.ones((64, 2), np.float32), np.ones((64, 1), np.float32))
average = train([Part(network, matching(network, data))], Training(steps=4, batch=8, checkpoint_every=2), sys.argv[1])
mine = torch.cat([p.reshape(-1) for p in average.parameters()])
other = mine.clone(); dist.broadcast(other, 0)
assert torch.equal(mine, other)
dist.destroy_process_group()
"""


def test_processes_stay_in_step_under_torchrun(tmp_path):
    script = tmp_path / "script.py"
    script.write_text(textwrap.dedent(SCRIPT))
    command = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node=2", str(script)]
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    done = subprocess.run(
        [*command, str(tmp_path / "run")], capture_output=True, text=True, timeout=300, env=environment, check=False
    )
    assert done.returncode == 0, done.stderr[-2000:]
    assert (tmp_path / "run" / "checkpoint.safetensors").is_file()
