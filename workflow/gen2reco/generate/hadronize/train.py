"""Train a learned generator: read the samples, fit the three networks, distil two of them to one step, export.

Each step keeps its checkpoints in its own folder, so a run that is killed goes on where it stopped. Under `torchrun`
every network trains data-parallel.
"""

import json
import logging
import time
from dataclasses import asdict, fields
from pathlib import Path

import numpy as np
import torch
from pydantic import Field
from safetensors.torch import load_file, save_file
from torch import Tensor, nn

from gen2reco.campaign.config import Block, digest
from gen2reco.errors import InputError
from gen2reco.flow import objectives
from gen2reco.flow.sets import SetData
from gen2reco.flow.training import Draw, Objective, Part, Training, train
from gen2reco.generate.hadronize.dataset import Prepared, prepare, read_events, species_of
from gen2reco.generate.hadronize.model import Architecture, Hadronizer
from gen2reco.generate.hadronize.species import Species

logger = logging.getLogger(__name__)


class Sizes(Block):
    """Sizes of the networks."""

    counts_width: int = Field(default=96, ge=8)
    """Width of the counts' network."""
    shapes_width: int = Field(default=192, ge=8)
    """Width of the shapes' network."""
    shapes_depth: int = Field(default=4, ge=1)
    """Residual blocks of the shapes' network."""
    width: int = Field(default=96, ge=8)
    """Width of a particle's state."""
    depth: int = Field(default=4, ge=1)
    """Layers of the particles' network."""
    pooled: int = Field(default=64, ge=8)
    """Width of a hemisphere's state."""


class Distillation(Block):
    """From a many-step teacher to a one-step student."""

    pairs: int = Field(default=40_000, ge=1)
    """Teacher samples to learn from."""
    evaluations: int = Field(default=16, ge=2)
    """Network evaluations per teacher sample (midpoint rule)."""
    training: Training
    """How the student is trained on the pairs."""


class Recipe(Block):
    """A training of the learned generator."""

    samples: list[str] = Field(min_length=1)
    """Particles records to learn from, made with `ParticleDecays:limitTau0`; relative to the data folder."""
    events: int | None = Field(default=None, ge=1)
    """Most events to take of each sample; left out: all."""
    least_per_event: float = Field(default=1e-4, gt=0)
    """Rarer species are left out, with the events that hold them."""
    sizes: Sizes = Sizes()
    """Sizes of the networks."""
    counts: Training
    """Training of the counts."""
    shapes: Training
    """Training of the shapes' teacher."""
    shapes_distillation: Distillation
    """Distillation of the shapes' teacher."""
    particles: Training
    """Training of the particles' teacher."""
    particles_distillation: Distillation
    """Distillation of the particles' teacher."""
    finetune: Training
    """Fine-tuning of the one-step student against data, with an adversary and an energy distance."""


def load_data(recipe: Recipe, data: Path, cache: Path) -> tuple[Prepared, Species, float]:
    """The prepared training events (kept in `cache` once made), their species and sqrt(s)."""
    key = digest([recipe.samples, recipe.events, recipe.least_per_event])[:16]
    folder = cache / f"prepared-{key}"
    if not (folder / "facts.json").is_file():
        _prepare(recipe, data, folder)
    facts = json.loads((folder / "facts.json").read_text())
    arrays = {f.name: np.load(folder / f"{f.name}.npy", mmap_mode="r", allow_pickle=False) for f in fields(Prepared)}
    return Prepared(**arrays), Species(tuple(facts["pdg"]), tuple(facts["mass"])), facts["sqrt_s"]


def _prepare(recipe: Recipe, data: Path, folder: Path) -> None:
    events = [read_events(data / name, recipe.events) for name in recipe.samples]
    energies = np.concatenate([e.sqrt_s for e in events])
    if np.ptp(energies) > 1e-3 * energies.mean():
        raise InputError(f"{data}: samples of several energies ({energies.min():.4g} to {energies.max():.4g} GeV)")
    species = species_of(events, recipe.least_per_event)
    parts, kept = zip(*(prepare(e, species) for e in events))
    folder.mkdir(parents=True, exist_ok=True)
    for field in fields(Prepared):
        np.save(folder / f"{field.name}.npy", np.concatenate([getattr(p, field.name) for p in parts]))
    facts = {**asdict(species), "sqrt_s": float(energies.mean()), "kept": float(np.concatenate(kept).mean())}
    (folder / "facts.json").write_text(json.dumps(facts))
    logger.info("prepared %d events, %.3f %% kept", len(energies), 100 * facts["kept"])


def new_model(recipe: Recipe, prepared: Prepared, species: Species, sqrt_s: float) -> Hadronizer:
    """An untrained model with the scales of the data."""
    most = prepared.counts.max(0).T.reshape(-1) + 2
    torch.manual_seed(recipe.particles.seed)
    model = Hadronizer(
        Architecture(
            pdg=list(species.pdg),
            mass=list(species.mass),
            most=[int(m) for m in most],
            sqrt_s=sqrt_s,
            **recipe.sizes.model_dump(),
        )
    )
    model.shape_mean.copy_(torch.from_numpy(prepared.shapes.mean(0)))
    model.shape_std.copy_(torch.from_numpy(prepared.shapes.std(0)))
    mean, std = _scales(prepared.x, prepared.kinds, len(species))
    model.x_mean.copy_(mean)
    model.x_std.copy_(std)
    return model


def _scales(x: np.ndarray, kinds: np.ndarray, n_kinds: int, prior: float = 50.0) -> tuple[Tensor, Tensor]:
    """Mean and width of each kind's coordinates, rare kinds drawn towards all."""
    mean, square = x.mean(0, dtype=np.float64), (x.astype(np.float64) ** 2).mean(0)
    many = np.bincount(kinds, minlength=n_kinds)[:, None] + prior
    first, second = (
        np.stack([np.bincount(kinds, x[:, i].astype(np.float64) ** power, n_kinds) for i in range(3)], -1)
        for power in (1, 2)
    )
    m = (first + prior * mean) / many
    s = np.sqrt((second + prior * square) / many - m**2)
    return torch.from_numpy(m).float(), torch.from_numpy(s).float()


def learn_counts(model: Hadronizer, prepared: Prepared) -> Objective:
    """Likelihood of the counts."""

    def objective(draw: Draw) -> tuple[Tensor, dict[str, float]]:
        chosen = draw.indices(len(prepared.counts))
        counts = torch.from_numpy(prepared.counts[chosen]).transpose(1, 2).flatten(1)
        loss = model.counts.loss(counts.to(draw.device), torch.from_numpy(prepared.conditions[chosen]).to(draw.device))
        return loss, {"nll": loss.item()}

    return objective


@torch.no_grad()
def shapes_data(model: Hadronizer, prepared: Prepared) -> objectives.VectorData:
    """Standardised shapes and what they are drawn from."""
    shapes = (torch.from_numpy(np.array(prepared.shapes)) - model.shape_mean) / model.shape_std
    condition = model.shapes_condition(
        torch.from_numpy(np.array(prepared.counts)), torch.from_numpy(np.array(prepared.conditions))
    )
    return objectives.VectorData(shapes.numpy(), condition.numpy())


@torch.no_grad()
def particles_data(model: Hadronizer, prepared: Prepared) -> SetData:
    """Standardised coordinates and what the particles are told."""
    kinds = torch.from_numpy(np.array(prepared.kinds))
    z = model.normal(torch.from_numpy(np.array(prepared.x)), kinds)
    counts, shapes = torch.from_numpy(np.array(prepared.counts)), torch.from_numpy(np.array(prepared.shapes))
    context = model.context(counts, shapes, torch.from_numpy(np.array(prepared.conditions)))
    return SetData(z.numpy(), kinds.numpy(), counts.sum(2).numpy(), context.numpy())


def fit(
    name: str, network: nn.Module, objective: Objective, settings: Training, folder: Path, device: str = "cpu"
) -> nn.Module:
    """Train one network in its own folder, once; returns the averaged weights in `network`."""
    done = folder / name / "done.safetensors"
    if not done.is_file():

        def watch(step: int, numbers: dict) -> None:
            logger.info("%s %s", name, json.dumps({"step": step} | {k: round(v, 5) for k, v in numbers.items()}))
            with (folder / name / "log.jsonl").open("a") as log:
                log.write(json.dumps({"step": step, "time": time.time(), **numbers}) + "\n")

        average = train([Part(network, objective)], settings, folder / name, watch, device)
        save_file({k: v.cpu().contiguous() for k, v in average.state_dict().items()}, done)
    network.load_state_dict(load_file(done))
    return network.eval().cpu()
