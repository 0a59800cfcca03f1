"""Backends and a training for the tests alone: they sleep, eat memory, or fail on demand, and make the same events and
weights whatever happens.

Demands are files in the folder GEN2RECO_FAULTS, out of the plan's sight: `all` and `<first event of a chunk>` hold
words as `sleep 2`, `memory 900`, or `hold`: wait while the file is there. A demand whose first word ends in `!` is met
once, and then forgotten.
"""

import os
import time
from pathlib import Path

import numpy as np
import pyarrow as pa

from gen2reco.config.block import Block
from gen2reco.events import records
from gen2reco.flow.recipes import Training
from gen2reco.flow.trainings import Trained, Trainer
from gen2reco.run.model_folder import located, open_model
from gen2reco.run.stage import Backend, Chunk, Result

EMPTY = {"px", "py", "pz", "energy", "vx", "vy", "vz", "time"}


class Faulty(Backend):
    """Particles of random energies, `particles` an event."""

    name, stage, chunk_events = "faulty", "generate", 5

    class Options(Block):
        """How much to make."""

        particles: int = 10
        """Particles an event."""
        model: str | None = None
        """A model of kind `taught`, by whose number the energies are raised."""

    def __init__(self, options, detector=None):
        super().__init__(options, detector)
        if options.model:
            self.taught = open_model(located(options.model), "taught")
            self.model_digest = self.taught.digest

    def run(self, chunk: Chunk, events: pa.Table | None = None) -> Result:
        """Meet the demands, then make the events of the chunk."""
        for name in ("all", str(chunk.start)):
            demand(name)
        rng, count = np.random.default_rng(chunk.seed), chunk.stop - chunk.start
        fields = {"pdg": np.full((count, self.options.particles), 22, np.int32)}
        fields |= {name: rng.random((count, self.options.particles), np.float32) for name in sorted(EMPTY)}
        fields["energy"] += 2  # above any momentum
        if self.options.model:
            fields["energy"] += np.abs(self.taught.weights()["weight"]).sum()
        return Result(_table(chunk, fields), {"events_accepted": count})


class Taught(Trainer):
    """Fit a number by the loop of all trainings, over all processes."""

    name, stage, backend, record, pattern = "taught", "generate", "faulty", "particles", "generate/*.parquet"

    def load(self):
        """Energies of all particles."""
        tables = [records.awkward(records.read(path, self.record)) for path in self.files.paths]
        return np.concatenate([np.asarray(table.particles.energy).reshape(-1) for table in tables])

    def train(self, data):
        """Meet the demand `train` at every step."""
        import torch

        torch.manual_seed(1)
        network, energies = torch.nn.Linear(1, 1), torch.from_numpy(data.astype(np.float32))

        def objective(draw):
            demand("train")
            wanted = energies[draw.indices(len(energies))]
            return (network(torch.ones(draw.size, 1))[:, 0] - wanted).square().mean(), {}

        self.work.fit("line", network, objective, Training(steps=6, batch=8, checkpoint_every=1, warmup=1))
        processes = int(os.environ.get("WORLD_SIZE", "1"))
        weights = {name: value.numpy() for name, value in network.state_dict().items()}
        yield Trained("taught", {"processes": processes}, {}, weights, "# Taught")


def demand(name: str) -> None:
    """Meet the demand of this name, if there is one."""
    file = Path(os.environ.get("GEN2RECO_FAULTS", "/nonexistent")) / name
    try:
        what, _, value = file.read_text().strip().partition(" ")
    except OSError:
        return
    if what.endswith("!"):
        file.rename(file.with_name(f"{name}.met"))
    what = what.rstrip("!")
    if what == "sleep":
        time.sleep(float(value))
    elif what == "hold":
        while file.exists():
            time.sleep(0.1)
    elif what == "memory":
        held = np.ones(int(value) << 17)  # MB
        time.sleep(8)
        del held


def _table(chunk: Chunk, fields: dict[str, np.ndarray]) -> pa.Table:
    import awkward as ak

    count = chunk.stop - chunk.start
    none = {name: np.empty((count, 0), np.int32) for name in ("pdg", "status", "color", "anticolor")}
    none |= {name: np.empty((count, 0)) for name in ("px", "py", "pz", "energy", "mass")}
    columns = {
        "event": np.arange(chunk.start, chunk.stop),
        "weight": np.ones(count),
        "partons": ak.zip({name: ak.from_regular(values) for name, values in none.items()}),
        "particles": ak.zip({name: ak.from_regular(values) for name, values in fields.items()}),
    }
    return records.table("particles", columns)
