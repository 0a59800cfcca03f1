"""Backends for the tests alone: they sleep, eat memory, or fail on demand, and make the same events whatever happens.

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
from gen2reco.run.stage import Backend, Chunk, Result

EMPTY = {"px", "py", "pz", "energy", "vx", "vy", "vz", "time"}


class Faulty(Backend):
    """Particles of random energies, `particles` an event."""

    name, stage, chunk_events = "faulty", "generate", 5

    class Options(Block):
        """How much to make."""

        particles: int = 10
        """Particles an event."""

    def run(self, chunk: Chunk, events: pa.Table | None = None) -> Result:
        """Meet the demands, then make the events of the chunk."""
        for name in ("all", str(chunk.start)):
            demand(name)
        rng, count = np.random.default_rng(chunk.seed), chunk.stop - chunk.start
        fields = {"pdg": np.full((count, self.options.particles), 22, np.int32)}
        fields |= {name: rng.random((count, self.options.particles), np.float32) for name in sorted(EMPTY)}
        fields["energy"] += 2  # above any momentum
        return Result(_table(chunk, fields), {"events_accepted": count})


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
