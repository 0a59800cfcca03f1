"""The fused model: which objects each particle has, then the numbers of all of them by one evaluation of a flow."""

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
from gen2reco.fuse.assignment import N_BESIDE, N_TAKEN, Crowd
from gen2reco.fuse.fused_config import FusedConfig, Sizes
from gen2reco.fuse.inputs import N_NEAR, N_OWN, N_PAIR, Told
from gen2reco.fuse.object_numbers import N_CODES, N_KINDS, NUMBERS, Items, kinds_of
from gen2reco.run.model_folder import Model

KIND = "fused"
N_SURPLUS, SURPLUS = 2, 2.0
"""What objects are told of the surplus of a neighbour, within this: it, and whether it is known."""
BATCH = 2048
"""Particles that a network looks at together when many are asked."""


class Encoder(nn.Module):
    """What there is to know of a particle: (n, n_own) and its neighbours (n, k, n_pair) to (n, width), and of each
    neighbour: (n, k, width // 2). Neighbours that are not there have zeros alone, the last feature of others is one."""

    def __init__(self, n_own: int, n_pair: int, width: int):
        super().__init__()
        self.own, self.pair = nn.Linear(n_own, width), nn.Linear(n_pair, width // 2)
        self.seen = nn.Linear(n_own, width // 2)
        self.between = nn.Linear(width // 2, width // 2)
        self.first, self.last = nn.Linear(width + width // 2, width), nn.Linear(width, width)

    def forward(self, own: Tensor, pair: Tensor) -> tuple[Tensor, Tensor]:
        """States of the particles and of their neighbours."""
        act = nn.functional.silu
        near = act(self.between(act(self.pair(pair) + self.seen(own)[:, None]))) * pair[..., -1:]
        h = act(self.own(own))
        return self.last(act(self.first(torch.cat([h, near.sum(1)], 1)))) + h, near


class Choice(nn.Module):
    """Which fate a particle has."""

    def __init__(self, n_configurations: int, width: int):
        super().__init__()
        self.encoder = Encoder(N_OWN + 1 + N_TAKEN, N_BESIDE + N_PAIR, width)
        self.own, self.asked = nn.Linear(width, n_configurations), nn.Linear(width, width // 2)
        self.taken = nn.Linear(width // 2, 1)

    def forward(self, own: Tensor, pair: Tensor) -> Tensor:
        """Logits of the fates: (n, n_configurations + N_NEAR)."""
        h, near = self.encoder(own, pair)
        taken = self.taken(near)[..., 0] + (near * self.asked(h)[:, None]).sum(2)
        taken = taken.masked_fill(pair[..., -1] == 0, -1e4)
        return torch.cat([self.own(h), taken], 1).float()


class Objects(nn.Module):
    """What the numbers of objects depend on, and their marginal distributions."""

    def __init__(self, width: int):
        super().__init__()
        self.encoder = Encoder(N_OWN + 1 + N_TAKEN + N_CODES, N_SURPLUS + N_BESIDE + N_PAIR, width)
        self.marginals = Marginals(len(NUMBERS), width + N_KINDS, 96)

    @torch.no_grad()
    def contexts(self, own: Tensor, pair: Tensor) -> Tensor:
        """What is known of each of many particles, in batches that fit a processor's cache: (n, width)."""
        return torch.cat([self.encoder(a, b)[0] for a, b in zip(own.split(BATCH), pair.split(BATCH))])


class FusedModel(nn.Module):
    """Fates, marginal distributions of the objects' numbers, and the flow with its one-step student."""

    def __init__(self, configurations: list[tuple[int, ...]], sizes: Sizes):
        super().__init__()
        self.configurations = configurations
        width, dim = sizes.encoder, len(NUMBERS)
        self.choice, self.objects = Choice(len(configurations), width), Objects(width)
        self.teacher = SetNetwork(dim, N_KINDS, width, 1, sizes.width, sizes.depth, sizes.pooled)
        self.student = SetNetwork(dim, N_KINDS, width, 1, sizes.width, sizes.depth, sizes.pooled)
        self.codes = np.zeros((len(configurations), N_CODES), np.float32)
        for i, configuration in enumerate(configurations):
            np.add.at(self.codes[i], list(configuration), 1.0)

    @torch.no_grad()
    def draw(
        self, told: Told, energy: NDArray, rng: np.random.Generator, network: str = "student", evaluations: int = 1
    ) -> Items:
        """The objects of particles (n,), energies in GeV, as the chain behind Geant4 would make them."""
        crowd, told = Crowd(energy, told.near, self.codes), with_flag(told, 1.0)
        rounds = _split(crowd.rounds())
        fate = self._fates(crowd, told, rounds, rng)
        groups, surplus = crowd.groups(fate), np.zeros(len(fate), np.float32)
        kinds = [np.array(kinds_of(c), np.int64) for c in self.configurations] + [np.zeros(0, np.int64)] * N_NEAR
        size = np.array([len(k) for k in kinds])[fate]
        owners, all_kinds, numbers = [np.zeros(0, np.int64)], [np.zeros(0, np.int64)], [np.zeros((0, len(NUMBERS)))]
        for some in (now[size[now] > 0] for now in rounds):
            if not len(some):
                continue
            kind = np.concatenate([kinds[f] for f in fate[some]])
            inputs = objects_told(crowd, told, fate, surplus, some)
            x = self._numbers(*inputs, kind, size[some], rng, network, evaluations)
            owner = np.repeat(some, size[some])
            x[:, 0] += np.log(groups[owner])
            surplus[some] = surplus_of(owner, np.exp(x[:, 0]), groups)[some]
            for parts, part in zip((owners, all_kinds, numbers), (owner, kind, x)):
                parts.append(part)
        owner, kind, x = (np.concatenate(parts) for parts in (owners, all_kinds, numbers))
        order = np.argsort(owner, kind="stable")
        return Items(owner[order], kind[order], x[order].astype(np.float32))

    def _fates(self, crowd: Crowd, told: Told, rounds: list[NDArray], rng: np.random.Generator) -> NDArray[np.int64]:
        """The fate of each particle, round by round: (n,)."""
        draws, fate = rng.random(len(told), dtype=np.float32), np.zeros(len(told), np.int64)
        for some in rounds:
            inputs = (torch.from_numpy(x).to(self.device) for x in crowd.told(told, fate, some, earlier=True))
            chance = self.choice(*inputs).softmax(1).cumsum(1)[:, :-1].cpu().numpy()
            fate[some] = (draws[some, None] > chance).sum(1)
        return fate

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
        x = self.objects.marginals.outward(white, item_told(context, sets.owner, sets.kinds)).cpu().numpy()
        x[:, 5:] = np.minimum(x[:, 5:], 0.0)
        return x.astype(np.float64)

    @property
    def device(self) -> torch.device:
        """Where the weights are."""
        return self.student.last.weight.device


def _split(rounds: NDArray) -> list[NDArray]:
    """Indices by round."""
    return np.split(np.argsort(rounds, kind="stable"), np.cumsum(np.bincount(rounds))[:-1])


def surplus_of(owner: NDArray, energy: NDArray, groups: NDArray) -> NDArray[np.float32]:
    """Logarithm of the energy of each particle's objects over that of the particles in them, 0 for none: (n,)."""
    total = np.bincount(owner, energy, len(groups))
    ratio = np.where(total > 0, total, groups) / np.maximum(groups, 1e-9)
    return np.clip(np.log(np.maximum(ratio, 1e-9)), -SURPLUS, SURPLUS).astype(np.float32)


def objects_told(crowd: Crowd, told: Told, fate: NDArray, surplus: NDArray, some: NDArray) -> tuple[Tensor, Tensor]:
    """What the objects' encoder is told of some particles: all fates, and the surplus (n,) of more energetic ones."""
    own, pair = crowd.told(told, fate, some, earlier=False)
    near = crowd.near[some]
    harder = (near >= 0) & (crowd.rank[near] < crowd.rank[some][:, None])
    pair = np.concatenate([(harder * surplus[near])[..., None], harder[..., None], pair], 2, dtype=np.float32)
    return torch.from_numpy(np.concatenate([own, crowd.codes_of(fate[some])], 1)), torch.from_numpy(pair)


def with_flag(told: Told, reference: NDArray | float) -> Told:
    """Features with one more: whether Geant4 made, or is to be taken to have made, the showers."""
    flag = np.broadcast_to(np.asarray(reference, np.float32), (len(told),))
    return replace(told, own=np.concatenate([told.own, flag[:, None]], 1))


def item_told(context: Tensor, owner: Tensor, kind: Tensor) -> Tensor:
    """What the marginals of objects are told: their particles' contexts, and their kinds."""
    return torch.cat([context[owner], nn.functional.one_hot(kind, N_KINDS).to(context.dtype)], 1)


def load(model: Model, device: str = "cpu") -> FusedModel:
    """The networks of a model folder. Raises InputError if its weights do not fit its config."""
    config = model.parsed(FusedConfig)
    network = FusedModel([tuple(c) for c in config.configurations], config.sizes)
    fill(network, model.weights(), f"{model.folder}: fused model")
    return network.eval().to(device)
