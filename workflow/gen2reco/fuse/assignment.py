"""Which objects a particle is assigned: objects of its own, or those of a neighbour that took it, or none.

An assignment is a number: of a configuration of own objects (the first is that of none), or, beyond those, of the place
among the particle's neighbours of the one whose object took it. Particles are decided by falling energy: the network
that decides is conditioned on the assignments of the more energetic neighbours, as in an autoregressive model, and is
evaluated once a particle.
"""

from dataclasses import dataclass
from functools import cached_property

import numpy as np
from numpy.typing import NDArray

from gen2reco import jit
from gen2reco.events.schemas import IDENTITIES
from gen2reco.fuse.fused_config import N_CODES
from gen2reco.fuse.inputs import N_NEIGHBOURS, Features

N_TAKEN = 2
"""Features of the particles that a particle's objects take: ln(1 + their number), ln(1 + their energy over its)."""
N_ASSIGNED = 7
"""Features of a neighbour's assignment: known, number of own objects, how many electromagnetic, hadronic and tracked
among them (two at most each); taken by another, taken by this particle."""
ELECTROMAGNETIC, HADRONIC = (
    [code for code in range(N_CODES) if IDENTITIES[code % len(IDENTITIES)] in names]
    for names in (("photon", "electron"), ("charged_hadron", "neutral_hadron"))
)
"""Codes of objects of these identities, with and without a track."""
TRACKED = list(range(len(IDENTITIES), N_CODES))
"""Codes of objects with a track."""


@dataclass(frozen=True)
class Assignment:
    """Particles whose objects are assigned together. energy: (n,) GeV; neighbours: (n, N_NEIGHBOURS);
    codes: (n_configurations, N_CODES) objects of each code in each configuration."""

    energy: NDArray[np.float64]
    neighbours: NDArray[np.int32]
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
        """The round in which each can be decided, from 0: (n,)."""
        found = np.zeros(len(self.energy), np.int64)
        jit.load("gen2reco.fuse.kernels.neighbours").rounds(self.order, self.energy, self.neighbours, found)
        return found

    def taker(self, assigned: NDArray) -> NDArray[np.int64]:
        """The particle whose object took each, -1 for none: (n,)."""
        place = assigned - len(self.codes)
        return np.where(place >= 0, self.neighbours[np.arange(len(assigned)), np.maximum(place, 0)], -1)

    def features(self, inputs: Features, assigned: NDArray, some: NDArray, earlier: bool) -> tuple[NDArray, NDArray]:
        """Features of some particles and their neighbours with what is known of the assignments (n,): of all, or only
        of the `earlier` ones, more energetic. own (m, n_own + N_TAKEN), pair (m, N_NEIGHBOURS, N_ASSIGNED + N_PAIR)."""
        taker, rank = self.taker(assigned), self.rank
        takes = taker >= 0
        if earlier:
            takes &= rank < rank[taker]
        target = taker[takes]
        number = np.bincount(target, minlength=len(assigned))[some]
        energy = np.bincount(target, self.energy[takes], len(assigned))[some] / self.energy[some]
        neighbours = self.neighbours[some]
        known = neighbours >= 0
        if earlier:
            known &= rank[neighbours] < rank[some][:, None]
        mine = taker[neighbours] == some[:, None]
        theirs = self._of_neighbours[assigned[neighbours]]
        theirs = np.concatenate([known[..., None], theirs, mine[..., None]], 2) * known[..., None]
        own = np.concatenate([inputs.own[some], np.log1p(np.stack([number, energy], 1))], 1)
        pair = np.concatenate([theirs, inputs.pair[some]], 2)
        return own.astype(np.float32), pair.astype(np.float32)

    @cached_property
    def _of_neighbours(self) -> NDArray[np.float32]:
        """Features of each assignment of a neighbour, but for whether it is known and whose object took the particle:
        (n_configurations + N_NEIGHBOURS, N_ASSIGNED - 2)."""
        codes = self.codes_of(np.arange(len(self.codes) + N_NEIGHBOURS))
        kinds = [codes, codes[:, ELECTROMAGNETIC], codes[:, HADRONIC], codes[:, TRACKED]]
        table = np.minimum(np.stack([k.sum(1) for k in kinds], 1), 2)
        return np.concatenate([table, np.arange(len(table))[:, None] >= len(self.codes)], 1)

    def codes_of(self, assigned: NDArray) -> NDArray[np.float32]:
        """Objects of each code that each particle has: (n, N_CODES)."""
        return np.concatenate([self.codes, np.zeros((N_NEIGHBOURS, N_CODES), np.float32)])[assigned]

    def groups(self, assigned: NDArray) -> NDArray[np.float64]:
        """Energy of each particle with all that its objects took, by way of others too: (n,) GeV."""
        root = np.where(self.taker(assigned) >= 0, self.taker(assigned), np.arange(len(assigned)))
        for _ in range(4):
            root = root[root]
        return np.bincount(root, self.energy, len(assigned)).astype(np.float64, copy=False)
