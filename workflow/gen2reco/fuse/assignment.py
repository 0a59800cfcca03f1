"""What becomes of a particle: it has objects of its own, or went into those of a neighbour, or into none.

A fate is a number: of a configuration of own objects (the first is that of none), or, beyond those, of the place among
the particle's neighbours of the one whose object took it. Particles are decided by falling energy: each is told of the
fates of its more energetic neighbours, as in an autoregressive model, and each is asked once.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from gen2reco import jit
from gen2reco.fuse.inputs import N_NEAR, Told
from gen2reco.fuse.object_numbers import N_CODES

N_TAKEN = 2
"""What is told of the particles that a particle's objects take: ln(1 + their number), ln(1 + their energy over its)."""
N_BESIDE = 7
"""What is told of a neighbour's fate: known, number of own objects, any electromagnetic, hadronic, tracked among them;
taken by another, taken by this particle."""


@dataclass(frozen=True)
class Crowd:
    """Particles that are decided together. energy: (n,) GeV; near: (n, N_NEAR); codes: (n_configurations, N_CODES)
    objects of each code in each configuration."""

    energy: NDArray[np.float64]
    near: NDArray[np.int32]
    codes: NDArray[np.float32]

    @cached_property
    def order(self) -> NDArray[np.int64]:
        """Particles by falling energy."""
        return np.lexsort((np.arange(len(self.energy)), -self.energy))

    @cached_property
    def rank(self) -> NDArray[np.int64]:
        """Place of each particle in that order."""
        rank = np.empty(len(self.energy), np.int64)
        rank[self.order] = np.arange(len(rank))
        return rank

    def rounds(self) -> NDArray[np.int64]:
        """When each can be decided, from 0: (n,)."""
        found = np.zeros(len(self.energy), np.int64)
        jit.load("gen2reco.fuse.kernels.neighbours").rounds(self.order, self.energy, self.near, found)
        return found

    def taker(self, fate: NDArray) -> NDArray[np.int64]:
        """The particle whose object took each, -1 for none: (n,)."""
        place = fate - len(self.codes)
        return np.where(place >= 0, self.near[np.arange(len(fate)), np.maximum(place, 0)], -1)

    def told(self, told: Told, fate: NDArray, some: NDArray, earlier: bool) -> tuple[NDArray, NDArray]:
        """Features of some particles and their neighbours with what is known of fates (n,): of all, or only of the
        `earlier` ones, more energetic. own (m, N_OWN + N_TAKEN), pair (m, N_NEAR, N_BESIDE + N_PAIR)."""
        taker, rank = self.taker(fate), self.rank
        takes = taker >= 0
        if earlier:
            takes &= rank < rank[taker]
        target = taker[takes]
        number = np.bincount(target, minlength=len(fate))[some]
        energy = np.bincount(target, self.energy[takes], len(fate))[some] / self.energy[some]
        near = self.near[some]
        seen = near >= 0
        if earlier:
            seen &= rank[near] < rank[some][:, None]
        beside = self._beside[fate[near]]
        mine = taker[near] == some[:, None]
        beside = np.concatenate([seen[..., None], beside, mine[..., None]], 2) * seen[..., None]
        own = np.concatenate([told.own[some], np.log1p(np.stack([number, energy], 1))], 1)
        pair = np.concatenate([beside, told.pair[some]], 2)
        return own.astype(np.float32), pair.astype(np.float32)

    @cached_property
    def _beside(self) -> NDArray[np.float32]:
        """What neighbours are told of each fate, but for whether it is known and whom the particle went to."""
        codes = self.codes_of(np.arange(len(self.codes) + N_NEAR))
        kinds = [codes, codes[:, [0, 1, 5, 6]], codes[:, [3, 4, 8, 9]], codes[:, 5:]]
        table = np.minimum(np.stack([k.sum(1) for k in kinds], 1), 2)
        return np.concatenate([table, np.arange(len(table))[:, None] >= len(self.codes)], 1)

    def codes_of(self, fate: NDArray) -> NDArray[np.float32]:
        """Objects of each code that each particle has: (n, N_CODES)."""
        return np.concatenate([self.codes, np.zeros((N_NEAR, N_CODES), np.float32)])[fate]

    def groups(self, fate: NDArray) -> NDArray[np.float64]:
        """Energy of each particle with all that its objects took, by way of others too: (n,) GeV."""
        root = np.where(self.taker(fate) >= 0, self.taker(fate), np.arange(len(fate)))
        for _ in range(4):
            root = root[root]
        return np.bincount(root, self.energy, len(fate))
