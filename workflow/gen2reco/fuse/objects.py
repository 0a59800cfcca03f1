"""Objects as the fused model makes them: which a particle has, and the numbers of each of them.

An object belongs to a particle: that of its track, or that of most energy in it. First comes what objects a particle
has (a configuration: the codes of its objects), then the numbers of all its objects together.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gen2reco.events.schemas import IDENTITIES

N_CODES = 2 * len(IDENTITIES)
"""An object's code: its identity, and len(IDENTITIES) more if it has the particle's track."""
N_KINDS = 2 * N_CODES
"""Kinds of items: the code of the particle's first object, or that of another one."""
NUMBERS = ("log_energy", "log_raw", "log_sigma", "outward", "across", *(f"odds_{i}" for i in range(4)))
"""Logarithms of energy over that of the particles in it, raw energy over energy, uncertainty over energy; offset from
the particle (arcsinh(mm / OFFSET), not of tracked ones); logarithms of the other identities' probabilities over the
first's."""
OFFSET = 5.0
LEAST = 0.02
"""GeV; less raw energy is none."""


@dataclass(frozen=True)
class Items:
    """Objects one after the other, those of a particle together, sorted by kind. owner: (n,) index of the particle;
    kind: (n,); numbers: (n, len(NUMBERS)) float32."""

    owner: NDArray[np.int64]
    kind: NDArray[np.int64]
    numbers: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.owner)


def there(kind: NDArray) -> NDArray[np.bool_]:
    """Which numbers of objects of these kinds mean anything: (n, len(NUMBERS))."""
    mask = np.ones((len(kind), len(NUMBERS)), bool)
    mask[:, 3:5] = ~tracked(kind)[:, None]
    return mask


def tracked(kind: NDArray) -> NDArray[np.bool_]:
    """Whether objects of these kinds have their particle's track."""
    return kind % N_CODES >= len(IDENTITIES)


def configurations(owner: NDArray, code: NDArray, energy: NDArray, n: int) -> tuple[NDArray, list[tuple[int, ...]]]:
    """Order of the objects by particle, tracked ones first, then by energy; and the codes of each of n particles, the
    first object's before the others in rising order."""
    order = np.lexsort((-energy, code < len(IDENTITIES), owner))
    counts = np.bincount(owner, minlength=n)
    ends = np.cumsum(counts)
    codes = code[order].tolist()
    made = []
    for count, end in zip(counts.tolist(), ends.tolist()):
        own = codes[end - count : end]
        made.append((own[0], *sorted(own[1:])) if own else ())
    return order, made


def kinds_of(configuration: tuple[int, ...]) -> list[int]:
    """Kinds of the items of a configuration, in rising order."""
    return [code + N_CODES * (place > 0) for place, code in enumerate(configuration)]
