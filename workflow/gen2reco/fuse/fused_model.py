"""The fused model: which objects each particle is assigned, then the numbers of all of them by one flow evaluation."""

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gen2reco.flow.marginals import Marginals
from gen2reco.flow.networks import SetNetwork
from gen2reco.flow.path import sample
from gen2reco.flow.sets import Sets
from gen2reco.flow.weights import fill
from gen2reco.fuse.assignment import N_ASSIGNED, N_TAKEN, Assignment
from gen2reco.fuse.fused_config import N_CODES, FeatureConfig, FusedConfig, FusedSizes
from gen2reco.fuse.inputs import N_NEIGHBOURS, N_PAIR, Features
from gen2reco.fuse.object_numbers import N_KINDS, NUMBERS, Items, kinds_of
from gen2reco.run.model_folder import Model

KIND = "fused"
N_SURPLUS, SURPLUS = 2, 2.0
"""Features of a neighbour's surplus, cut at this: the surplus, and whether it is known."""
BATCH = 2048
"""Particles that a network is evaluated on at once."""


class Encoder(nn.Module):
    """States of particles and of their neighbours: own features (n, n_own) and pair features (n, k, n_pair) to
    (n, width) and (n, k, width // 2). A missing neighbour has zeros alone, the last feature of the others is one."""

    def __init__(self, n_own: int, n_pair: int, width: int):
        super().__init__()
        self.own, self.pair = nn.Linear(n_own, width), nn.Linear(n_pair, width // 2)
        self.seen = nn.Linear(n_own, width // 2)  # named so in the weights of models
        self.between = nn.Linear(width // 2, width // 2)
        self.first, self.last = nn.Linear(width + width // 2, width), nn.Linear(width, width)

    def forward(self, own: Tensor, pair: Tensor) -> tuple[Tensor, Tensor]:
        """States of the particles and of their neighbours."""
        act = nn.functional.silu
        near = act(self.between(act(self.pair(pair) + self.seen(own)[:, None]))) * pair[..., -1:]
        h = act(self.own(own))
        return self.last(act(self.first(torch.cat([h, near.sum(1)], 1)))) + h, near


class Choice(nn.Module):
    """Logits of the assignments of a particle."""

    def __init__(self, n_configurations: int, n_own: int, width: int):
        super().__init__()
        self.encoder = Encoder(n_own + 1 + N_TAKEN, N_ASSIGNED + N_PAIR, width)
        self.own = nn.Linear(width, n_configurations)
        self.asked = nn.Linear(width, width // 2)  # named so in the weights of models: a query to the neighbours
        self.taken = nn.Linear(width // 2, 1)

    def forward(self, own: Tensor, pair: Tensor) -> Tensor:
        """Logits: (n, n_configurations + N_NEIGHBOURS)."""
        h, near = self.encoder(own, pair)
        taken = self.taken(near)[..., 0] + (near * self.asked(h)[:, None]).sum(2)
        taken = taken.masked_fill(pair[..., -1] == 0, -1e4)
        return torch.cat([self.own(h), taken], 1).float()


class Objects(nn.Module):
    """The context by which objects' numbers are drawn, and their marginal distributions."""

    def __init__(self, n_own: int, width: int):
        super().__init__()
        self.encoder = Encoder(n_own + 1 + N_TAKEN + N_CODES, N_SURPLUS + N_ASSIGNED + N_PAIR, width)
        self.marginals = Marginals(len(NUMBERS), width + N_KINDS, 96)

    @torch.no_grad()
    def contexts(self, own: Tensor, pair: Tensor) -> Tensor:
        """Context of each of many particles, in batches that fit a processor's cache: (n, width)."""
        return torch.cat([self.encoder(a, b)[0] for a, b in zip(own.split(BATCH), pair.split(BATCH))])


class FusedModel(nn.Module):
    """Assignments, marginal distributions of the objects' numbers, and the flow with its one-step student."""

    def __init__(self, configurations: list[tuple[int, ...]], sizes: FusedSizes, features: FeatureConfig):
        super().__init__()
        self.configurations = configurations
        width, dim = sizes.encoder, len(NUMBERS)
        self.choice = Choice(len(configurations), features.size, width)
        self.objects = Objects(features.size, width)
        self.teacher = SetNetwork(dim, N_KINDS, width, 1, sizes.width, sizes.depth, sizes.pooled)
        self.student = SetNetwork(dim, N_KINDS, width, 1, sizes.width, sizes.depth, sizes.pooled)
        self.codes = np.zeros((len(configurations), N_CODES), np.float32)
        for i, configuration in enumerate(configurations):
            np.add.at(self.codes[i], list(configuration), 1.0)

    @torch.no_grad()
    def draw(
        self,
        inputs: Features,
        energy: NDArray,
        rng: np.random.Generator,
        network: str = "student",
        evaluations: int = 1,
    ) -> Items:
        """The objects of particles (n,), energies in GeV, as the chain behind Geant4 would make them."""
        particles, inputs = Assignment(energy, inputs.neighbours, self.codes), with_flag(inputs, 1.0)
        rounds = _split(particles.rounds())
        assigned = self._assigned(particles, inputs, rounds, rng)
        groups, surplus = particles.groups(assigned), np.zeros(len(assigned), np.float32)
        kinds = [np.array(kinds_of(c), np.int64) for c in self.configurations] + [np.zeros(0, np.int64)] * N_NEIGHBOURS
        size = np.array([len(k) for k in kinds])[assigned]
        drawn = [(np.zeros(0, np.int64), np.zeros(0, np.int64), np.zeros((0, len(NUMBERS))))]
        for some in (now[size[now] > 0] for now in rounds):
            if not len(some):
                continue
            kind = np.concatenate([kinds[a] for a in assigned[some]])
            features = object_features(particles, inputs, assigned, surplus, some)
            x = self._numbers(*features, kind, size[some], rng, network, evaluations)
            owner = np.repeat(some, size[some])
            x[:, 0] += np.log(groups[owner])
            surplus[some] = surplus_of(owner, np.exp(x[:, 0]), groups)[some]
            drawn.append((owner, kind, x))
        owner, kind, x = (np.concatenate(columns) for columns in zip(*drawn))
        order = np.argsort(owner, kind="stable")
        return Items(owner[order], kind[order], x[order].astype(np.float32))

    def _assigned(
        self, particles: Assignment, inputs: Features, rounds: list[NDArray], rng: np.random.Generator
    ) -> NDArray[np.int64]:
        """The assignment of each particle, round by round: (n,)."""
        draws, assigned = rng.random(len(inputs), dtype=np.float32), np.zeros(len(inputs), np.int64)
        for some in rounds:
            features = particles.features(inputs, assigned, some, earlier=True)
            chance = self.choice(*(torch.from_numpy(x).to(self.device) for x in features)).softmax(1).cumsum(1)
            assigned[some] = (draws[some, None] > chance[:, :-1].cpu().numpy()).sum(1)
        return assigned

    def _numbers(
        self,
        own: Tensor,
        pair: Tensor,
        kind: NDArray,
        size: NDArray,
        rng: np.random.Generator,
        network: str,
        evaluations: int,
    ) -> NDArray[np.float64]:
        """Numbers of the objects (n, len(NUMBERS)) of particles that have `size` of them each."""
        context = self.objects.contexts(own.to(self.device), pair.to(self.device))
        sets = Sets(torch.from_numpy(kind), torch.from_numpy(size)[:, None], context[:, None].cpu()).to(self.device)
        white = torch.from_numpy(rng.standard_normal((len(kind), len(NUMBERS)), dtype=np.float32)).to(self.device)
        white = sample(getattr(self, network), white, sets, evaluations)
        x = self.objects.marginals.outward(white, object_condition(context, sets.owner, sets.kinds)).cpu().numpy()
        x[:, 5:] = np.minimum(x[:, 5:], 0.0)
        return x.astype(np.float64)

    @property
    def device(self) -> torch.device:
        """The device that holds the weights."""
        return self.student.last.weight.device


def _split(rounds: NDArray) -> list[NDArray]:
    """Indices by round."""
    return np.split(np.argsort(rounds, kind="stable"), np.cumsum(np.bincount(rounds))[:-1])


def surplus_of(owner: NDArray, energy: NDArray, groups: NDArray) -> NDArray[np.float32]:
    """Logarithm of the energy of each particle's objects over that of the particles in them, 0 for none: (n,)."""
    total = np.bincount(owner, energy, len(groups))
    ratio = np.where(total > 0, total, groups) / np.maximum(groups, 1e-9)
    return np.clip(np.log(np.maximum(ratio, 1e-9)), -SURPLUS, SURPLUS).astype(np.float32)


def object_features(
    particles: Assignment, inputs: Features, assigned: NDArray, surplus: NDArray, some: NDArray
) -> tuple[Tensor, Tensor]:
    """Inputs of the objects' encoder for some particles: all assignments, and the surplus (n,) of more energetic ones.
    own (m, n_own + 1 + N_TAKEN + N_CODES), pair (m, N_NEIGHBOURS, N_SURPLUS + N_ASSIGNED + N_PAIR)."""
    own, pair = particles.features(inputs, assigned, some, earlier=False)
    neighbours, rank = particles.neighbours[some], particles.rank
    harder = (neighbours >= 0) & (rank[neighbours] < rank[some][:, None])
    pair = np.concatenate([(harder * surplus[neighbours])[..., None], harder[..., None], pair], 2, dtype=np.float32)
    return torch.from_numpy(np.concatenate([own, particles.codes_of(assigned[some])], 1)), torch.from_numpy(pair)


def with_flag(inputs: Features, reference: NDArray | float) -> Features:
    """Features with one more: whether Geant4 made, or is to be taken to have made, the showers."""
    flag = np.broadcast_to(np.asarray(reference, np.float32), (len(inputs),))
    return replace(inputs, own=np.concatenate([inputs.own, flag[:, None]], 1))


def object_condition(context: Tensor, owner: Tensor, kind: Tensor) -> Tensor:
    """Condition of the objects' marginals: their particles' contexts, and their kinds one-hot."""
    return torch.cat([context[owner], nn.functional.one_hot(kind, N_KINDS).to(context.dtype)], 1)


def load(model: Model) -> FusedModel:
    """The networks of a model folder. Raises InputError if its weights do not fit its config."""
    config = model.parsed(FusedConfig)
    network = FusedModel([tuple(c) for c in config.configurations], config.sizes, config.features)
    fill(network, model.weights(), f"{model.folder}: fused model")
    return network.eval()
