"""Seeds of the fixed chunks of a shard; they do not depend on time, process, number of workers or batch."""

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


def chunk_seed(campaign_seed: int, sample: str, stage: str, shard: int, chunk: int) -> int:
    """A 63-bit seed: SHA-256 of the campaign's seed, sample, stage, shard and chunk."""
    name = f"{campaign_seed}/{sample}/{stage}/{shard}/{chunk}".encode()
    return int.from_bytes(hashlib.sha256(name).digest()[:8], "little") >> 1


def streams(seed: int) -> "tuple[np.random.Generator, np.random.Generator, np.random.Generator]":
    """A chunk's generators for showers, readout and tracks: a simulator's draws never shift those of the others."""
    import numpy as np

    showers, readout, tracks = (np.random.default_rng(s) for s in np.random.SeedSequence(seed).spawn(3))
    return showers, readout, tracks
