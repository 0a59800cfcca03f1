"""The fused model: which objects each particle has, then the numbers of all of them by one evaluation of a flow."""

from dataclasses import replace

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from gen2reco.campaign.config import Block, parse_block
from gen2reco.campaign.models import Model
from gen2reco.errors import InputError
from gen2reco.flow.marginals import Marginals
from gen2reco.flow.networks import SetNetwork
from gen2reco.flow.path import sample
from gen2reco.flow.sets import Sets
from gen2reco.fuse.fates import N_BESIDE, N_TAKEN, Crowd
from gen2reco.fuse.inputs import N_NEAR, N_OWN, N_PAIR, Told
from gen2reco.fuse.objects import N_CODES, N_KINDS, NUMBERS, Items, kinds_of

KIND = "fused"
BATCH = 2048
"""Particles that a network looks at together when many are asked."""


class Sizes(Block):
    """Sizes of the networks."""

    encoder: int = Field(default=64, ge=1)
    """Width of the networks that look at a particle and its neighbours."""
    width: int = Field(default=48, ge=1)
    """Width of the flow's network for objects."""
    pooled: int = Field(default=32, ge=1)
    """Width of what the objects of a particle share in it."""
    depth: int = Field(default=2, ge=1)
    """Its layers."""


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
        self.encoder = Encoder(N_OWN + 1 + N_TAKEN + N_CODES, N_BESIDE + N_PAIR, width)
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
        device = self.student.last.weight.device
        crowd = Crowd(energy, told.near, self.codes)
        told = with_flag(told, 1.0)
        fate = self._fates(crowd, told, rng, device)
        kinds = [kinds_of(configuration) for configuration in self.configurations]
        has = np.array([len(k) for k in kinds] + [0] * N_NEAR)[fate]
        some = np.flatnonzero(has)
        kind = np.concatenate([np.zeros(0, np.int64), *(kinds[c] for c in fate[some])]).astype(np.int64)
        context = self.objects.contexts(*(x.to(device) for x in objects_told(crowd, told, fate, some)))
        sets = Sets(torch.from_numpy(kind), torch.from_numpy(has[some])[:, None], context[:, None].cpu()).to(device)
        white = torch.from_numpy(rng.standard_normal((len(kind), len(NUMBERS)), dtype=np.float32)).to(device)
        white = sample(getattr(self, network), white, sets, evaluations)
        x = self.objects.marginals.outward(white, item_told(context, sets.owner, sets.kinds)).cpu().numpy()
        owner = np.repeat(some, has[some])
        x[:, 0] += np.log(crowd.groups(fate)[owner])
        x[:, 5:] = np.minimum(x[:, 5:], 0.0)
        return Items(owner, kind, x)

    def _fates(self, crowd: Crowd, told: Told, rng: np.random.Generator, device: torch.device) -> NDArray[np.int64]:
        """The fate of each particle, round by round: (n,)."""
        rounds, draws = crowd.rounds(), rng.random(len(told), dtype=np.float32)
        fate = np.zeros(len(told), np.int64)
        for some in np.split(np.argsort(rounds, kind="stable"), np.cumsum(np.bincount(rounds))[:-1]):
            inputs = (torch.from_numpy(x).to(device) for x in crowd.told(told, fate, some, earlier=True))
            chance = self.choice(*inputs).softmax(1).cumsum(1)[:, :-1].cpu().numpy()
            fate[some] = (draws[some, None] > chance).sum(1)
        return fate


def objects_told(crowd: Crowd, told: Told, fate: NDArray, some: NDArray) -> tuple[Tensor, Tensor]:
    """What the objects' encoder is told of some particles, all fates being known."""
    own, pair = crowd.told(told, fate, some, earlier=False)
    return torch.from_numpy(np.concatenate([own, crowd.codes[fate[some]]], 1)), torch.from_numpy(pair)


def with_flag(told: Told, reference: NDArray | float) -> Told:
    """Features with one more: whether Geant4 made, or is to be taken to have made, the showers."""
    flag = np.broadcast_to(np.asarray(reference, np.float32), (len(told),))
    return replace(told, own=np.concatenate([told.own, flag[:, None]], 1))


def item_told(context: Tensor, owner: Tensor, kind: Tensor) -> Tensor:
    """What the marginals of objects are told: their particles' contexts, and their kinds."""
    return torch.cat([context[owner], nn.functional.one_hot(kind, N_KINDS).to(context.dtype)], 1)


def load(model: Model, device: str = "cpu") -> FusedModel:
    """The networks of a model folder. Raises InputError if its weights do not fit its config."""
    source = f"{model.folder}: fused model"
    sizes = parse_block(model.config["sizes"], Sizes, source=source)
    network = FusedModel([tuple(c) for c in model.config["configurations"]], sizes)
    try:
        network.load_state_dict({name: torch.from_numpy(value).float() for name, value in model.weights().items()})
    except RuntimeError as error:
        raise InputError(f"{source}: weights do not fit: {str(error).splitlines()[0]}; fetch it anew") from None
    return network.eval().to(device)
