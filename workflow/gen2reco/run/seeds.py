"""Seeds belong to fixed chunks of a shard: never to time, process, worker count or batch."""

import hashlib


def chunk_seed(campaign_seed: int, sample: str, stage: str, shard: int, chunk: int) -> int:
    """A 63-bit seed, derived by SHA-256 from what names the chunk."""
    name = f"{campaign_seed}/{sample}/{stage}/{shard}/{chunk}".encode()
    return int.from_bytes(hashlib.sha256(name).digest()[:8], "little") >> 1
