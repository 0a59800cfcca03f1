"""Every file that a command replaces is whole at any moment: a process is killed in the middle of writing it anew."""

import os
import resource
import signal

import awkward as ak
import numpy as np
import pytest
import torch
from face_particles import events_of, particle

from gen2reco.campaign.plan_lock import write_lock
from gen2reco.events import records, root
from gen2reco.events.hepmc_export import write_hepmc
from gen2reco.files import write_text
from gen2reco.flow.networks import VectorNetwork
from gen2reco.flow.objectives import VectorData, matching
from gen2reco.flow.training import Part, Training, train
from gen2reco.run.sidecar import sidecar_path, write_sidecar


def some(n):
    return events_of([[particle(energy=energy) for energy in np.linspace(5, 90, 40)] for _ in range(n)])


def objects(n):
    empty = ak.Array([[]] * n)
    columns = dict.fromkeys(("objects", "jets", "gen_jets"), empty)
    return records.table("objects", {name: some(n)[name] for name in ("event", "weight", "particles")} | columns)


def training(folder, n):
    torch.manual_seed(1)
    data = VectorData(np.ones((8, 2), np.float32), np.ones((8, 1), np.float32))
    network = VectorNetwork(2, 1, 64, 2)
    train([Part(network, matching(network, data))], Training(steps=n, batch=4, checkpoint_every=1), folder)


WRITERS = {  # name of the file that is replaced: how it is written, n being different content
    "text.txt": lambda path, n: write_text(path, f"{n}\n" * 9000),
    "out.json": lambda path, n: write_sidecar(path, {f"fact_{i}": n for i in range(900)}),
    "plan.lock.json": lambda path, n: write_lock(path, {f"key_{i}": n for i in range(900)}),
    "out.parquet": lambda path, n: records.write(path, some(n), "particles"),
    "stream.parquet": lambda path, n: records.write_stream(path, iter([some(n), some(n)]), "particles"),
    "out.root": lambda path, n: root.write_root(objects(n), path),
    "out.hepmc": lambda path, n: write_hepmc(some(n), path),
    "out.hepmc.gz": lambda path, n: write_hepmc(some(n), path),
    "checkpoint.safetensors": lambda path, n: training(path.parent, n),
}


def killed_after(size: int, write) -> None:
    """Run `write` in a child that the kernel kills (SIGXFSZ) as soon as a file grows beyond this size."""
    if (child := os.fork()) == 0:
        signal.signal(signal.SIGXFSZ, signal.SIG_DFL)
        resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, size))
        try:
            write()
        finally:
            os._exit(0)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == -signal.SIGXFSZ


@pytest.mark.parametrize("name", WRITERS)
def test_a_file_is_the_old_one_until_the_new_one_is_whole(tmp_path, name):
    path, write = tmp_path / name, WRITERS[name]
    write(path, 2)
    written = sidecar_path(path) if name == "out.json" else path
    old = written.read_bytes()
    killed_after(len(old) // 2, lambda: write(path, 3))
    assert written.read_bytes() == old
    write(path, 3)
    assert written.read_bytes() != old
