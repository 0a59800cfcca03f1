"""Whether an event lies in the fused model's training domain: scores of its particles, and of the objects drawn."""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gen2reco.fuse.fused_config import INPUTS, DomainConfig
from gen2reco.fuse.inputs import Entering
from gen2reco.fuse.pairs import Pairs

N_BINS = 8
MARGIN = 1.25
"""Summed energies of the objects over that of the particles may leave the training's range by this factor."""


def input_scores(e: Entering, around: NDArray, event: NDArray, n: int) -> NDArray[np.float64]:
    """Scores of n events, (n, len(INPUTS)); around: (n_particles,) energy around each particle, GeV."""
    hardest, density = np.zeros(n), np.zeros(n)
    np.maximum.at(hardest, event, e.energy)
    np.maximum.at(density, event, e.energy + around)
    return np.stack([np.bincount(event, minlength=n), np.bincount(event, e.energy, n), hardest, density], 1)


@dataclass(frozen=True)
class Domain:
    """Bounds of the scores."""

    largest: NDArray[np.float64]
    """Of INPUTS."""
    edges: NDArray[np.float64]
    """Bins of an event's energy, GeV."""
    response: NDArray[np.float64]
    """(n_bins, 2) smallest and largest ratio of the objects' energy to that of the particles."""

    @classmethod
    def of(cls, stated: DomainConfig) -> "Domain":
        """As a model's config states it."""
        largest = np.array([stated.largest[name] for name in INPUTS])
        return cls(largest, np.array(stated.edges), np.array(stated.response))

    def inputs_outside(self, scores: NDArray) -> NDArray[np.bool_]:
        """Which scores of the particles are too large: (n, len(INPUTS))."""
        return scores > self.largest

    def response_outside(self, energy: NDArray, objects: NDArray) -> NDArray[np.bool_]:
        """Whether the objects' energies (n,) do not go with those of the particles (n,), GeV."""
        bins = np.clip(np.searchsorted(self.edges, energy) - 1, 0, len(self.response) - 1)
        ratio = objects / np.maximum(energy, 1e-9)
        return (energy > self.edges[0]) & ((ratio < self.response[bins, 0]) | (ratio > self.response[bins, 1]))


def domain(pairs: Pairs) -> dict:
    """The bounds that training pairs set, as `config.json` states them."""
    e, items = pairs.entering, pairs.items
    n = int(pairs.event.max()) + 1
    scores = input_scores(e, pairs.features.around, pairs.event, n)
    total = np.bincount(pairs.event[items.owner], pairs.energy, n)
    some = scores[:, 1] > 0
    incoming, ratio = scores[some, 1], total[some] / scores[some, 1]
    edges = np.quantile(incoming, np.linspace(0, 1, N_BINS + 1))
    bins = np.clip(np.searchsorted(edges, incoming) - 1, 0, N_BINS - 1)
    ranges = [np.quantile(ratio[bins == i], [0.0005, 0.9995]) for i in range(N_BINS)]
    return {
        "largest": dict(zip(INPUTS, scores.max(0).tolist())),
        "edges": edges.tolist(),
        "response": [[float(low / MARGIN), float(high * MARGIN)] for low, high in ranges],
    }
