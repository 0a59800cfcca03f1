"""Train a learned generator: read the samples, fit the three networks, distil two of them to one step, export.

Each step keeps its checkpoints in its own folder, so a run that is killed goes on where it stopped. Under `torchrun`
every network trains data-parallel.
"""

import json
import logging
from dataclasses import asdict, fields
from pathlib import Path
from typing import Literal, Self

import numpy as np
import torch
from pydantic import Field, model_validator
from torch import Tensor, nn

from gen2reco.config.block import Block, digest
from gen2reco.errors import InputError
from gen2reco.flow import adversary, objectives
from gen2reco.flow.networks import Critic, SetNetwork
from gen2reco.flow.sets import SetData, Sets
from gen2reco.flow.training import Draw, Objective, Part, Training
from gen2reco.flow.training_parts import FIRST, Fit, Watch, fitter, kept_pairs
from gen2reco.generate.hadronize import dataset, hemispheres
from gen2reco.generate.hadronize.dataset import Prepared, prepare, read_events, species_of
from gen2reco.generate.hadronize.dijet_dataset import prepare_dijets, read_dijets
from gen2reco.generate.hadronize.hemisphere_features import features
from gen2reco.generate.hadronize.load import NETWORKS, AnyHadronizer
from gen2reco.generate.hadronize.pair_model import Architecture, Hadronizer
from gen2reco.generate.hadronize.species import Species
from gen2reco.run.model_folder import Model, save_model

logger = logging.getLogger(__name__)


_DATA = {"quark_pair": (read_events, prepare), "dijet": (read_dijets, prepare_dijets)}


def log(part: str, step: int, numbers: dict[str, float]) -> None:
    """Write the losses to the log."""
    logger.info("%s %d %s", part, step, json.dumps({name: round(value, 5) for name, value in numbers.items()}))


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

    domain: Literal["quark_pair", "dijet"] = "quark_pair"
    """What is learned: a quark and its antiquark at rest (e+e-), or two partons scattered in a hadron collision."""
    events: int | None = Field(default=None, ge=1)
    """Most events to take of each sample; left out: all."""
    least_per_event: float = Field(default=1e-4, gt=0)
    """Rarer species are left out, with the events that hold them."""
    sizes: Sizes = Sizes()
    """Sizes of the networks."""
    counts: Training | None = None
    """Training of the counts; left out: the closed form."""
    shapes: Training | None = None
    """Training of the shapes' teacher; left out: the closed form."""
    shapes_score: Training | None = None
    """Training of the one-step shapes by their energy score, after whatever comes before."""
    shapes_distillation: Distillation | None = None
    """Distillation of the shapes' teacher; left out: the teacher is used as it is."""
    particles: Training | None = None
    """Training of the particles' teacher; left out: the student starts from the closed form."""
    particles_distillation: Distillation | None = None
    """Distillation of the particles' teacher."""
    finetune: Training | None = None
    """Quark pairs only. Fine-tuning of the one-step student against data, with an adversary and an energy distance."""
    critic_learning_rate: float = Field(default=1e-3, gt=0)
    """Largest learning rate of the adversary."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.finetune and self.domain != "quark_pair":
            raise ValueError(f"`finetune` does not know domain `{self.domain}`; leave it out")
        return self


def load_data(recipe: Recipe, samples: list[Path], cache: Path) -> tuple[Prepared, Species, float]:
    """The events of particles records, prepared (and kept in `cache` once made), their species and sqrt(s).

    Records are made with `ParticleDecays:limitTau0 = on` and `ParticleDecays:tau0Max` = LIFETIME; of others (HepMC,
    say) what is stable there is learned.
    """
    key = digest([recipe.domain, [path.name for path in samples], recipe.events, recipe.least_per_event])[:16]
    folder = cache / f"prepared-{key}"
    if not (folder / "facts.json").is_file():
        _prepare(recipe, samples, folder)
    facts = json.loads((folder / "facts.json").read_text())
    arrays = {f.name: np.load(folder / f"{f.name}.npy", mmap_mode="r", allow_pickle=False) for f in fields(Prepared)}
    return Prepared(**arrays), Species(tuple(facts["pdg"]), tuple(facts["mass"])), facts["sqrt_s"]


def _prepare(recipe: Recipe, samples: list[Path], folder: Path) -> None:
    read, encode = _DATA[recipe.domain]
    events = [read(path, recipe.events) for path in samples]
    energies = np.concatenate([e.sqrt_s for e in events])
    if np.ptp(energies) > 1e-3 * energies.mean():
        raise InputError(
            f"{samples[0].parent}: samples of several energies ({energies.min():.4g} to {energies.max():.4g} GeV)"
        )
    species = species_of(events, recipe.least_per_event)
    parts, kept = zip(*(encode(e, species) for e in events))
    folder.mkdir(parents=True, exist_ok=True)
    for field in fields(Prepared):
        np.save(folder / f"{field.name}.npy", np.concatenate([getattr(p, field.name) for p in parts]))
    facts = {**asdict(species), "sqrt_s": float(energies.mean()), "kept": float(np.concatenate(kept).mean())}
    facts["alpha_s"] = [float(f([e.alpha_s.min() for e in events])) for f in (np.min, np.max)]
    (folder / "facts.json").write_text(json.dumps(facts))
    logger.info("prepared %d events, %.3f %% kept", len(energies), 100 * facts["kept"])


def new_model(recipe: Recipe, prepared: Prepared, species: Species, sqrt_s: float) -> AnyHadronizer:
    """An untrained model with the scales of the data."""
    most = prepared.counts.max(0).T.reshape(-1) + 2
    torch.manual_seed(recipe.particles.seed if recipe.particles else 1)
    model = NETWORKS[recipe.domain](
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
    model.fit_range(torch.from_numpy(np.array(prepared.conditions)))
    _fit_starts(model, prepared)
    return model


@torch.no_grad()
def _fit_starts(model: AnyHadronizer, prepared: Prepared, most: int = 40_000, most_items: int = 1_200_000) -> None:
    """Fit the closed forms of counts and shapes to `most` evenly chosen events, that of particles to `most_items`."""
    n, counted = len(prepared.counts), prepared.counts.sum((1, 2))
    rows = np.unique(np.linspace(0, n - 1, most).astype(int))
    counts, shapes, known = _rows(prepared, rows)
    model.counts.fit_start(counts.transpose(1, 2).flatten(1), known)
    model.shapes_start.fit(shapes, torch.zeros(len(rows)), model.shapes_condition(counts, known))
    rows = rows[np.unique(np.linspace(0, len(rows) - 1, min(most, int(most_items / counted.mean()))).astype(int))]
    counts, shapes, known = _rows(prepared, rows)
    first = np.concatenate([[0], np.cumsum(counted)])
    items = np.concatenate([np.arange(first[row], first[row + 1]) for row in rows])
    sets = model.sets(counts, shapes, known)
    model.particles_start.fit(torch.from_numpy(prepared.x[items]), sets.kinds, sets.context.flatten(0, 1)[sets.group])


def _rows(prepared: Prepared, rows: np.ndarray) -> list[Tensor]:
    return [torch.from_numpy(column[rows]) for column in (prepared.counts, prepared.shapes, prepared.conditions)]


def learn_counts(model: AnyHadronizer, prepared: Prepared) -> Objective:
    """Likelihood of the counts."""

    def objective(draw: Draw) -> tuple[Tensor, dict[str, float]]:
        chosen = draw.indices(len(prepared.counts))
        counts = torch.from_numpy(prepared.counts[chosen]).transpose(1, 2).flatten(1)
        loss = model.counts.loss(counts.to(draw.device), torch.from_numpy(prepared.conditions[chosen]).to(draw.device))
        return loss, {"nll": loss.item()}

    return objective


@torch.no_grad()
def shapes_data(model: AnyHadronizer, prepared: Prepared) -> objectives.VectorData:
    """Standardised shapes and what they are drawn from."""
    shapes = torch.from_numpy(np.array(prepared.shapes))
    condition = model.shapes_condition(
        torch.from_numpy(np.array(prepared.counts)), torch.from_numpy(np.array(prepared.conditions))
    )
    row = torch.arange(len(shapes))
    z = model.shapes_start.inward(shapes, torch.zeros_like(row), condition, row)
    return objectives.VectorData(z.numpy(), condition.numpy())


@torch.no_grad()
def particles_data(model: AnyHadronizer, prepared: Prepared) -> SetData:
    """Standardised coordinates and what the particles are told."""
    parts = []
    first = np.concatenate([[0], np.cumsum(prepared.counts.sum((1, 2)))])
    for start in range(0, len(prepared.counts), 5_000):
        some = slice(start, start + 5_000)
        counts, shapes = torch.from_numpy(prepared.counts[some]), torch.from_numpy(prepared.shapes[some])
        sets = model.sets(counts, shapes, torch.from_numpy(prepared.conditions[some]))
        x = torch.from_numpy(prepared.x[first[start] : first[start + len(counts)]])
        z = model.particles_start.inward(x, sets.kinds, sets.context.flatten(0, 1), sets.group)
        parts.append([a.numpy() for a in (z, sets.kinds, sets.counts, sets.context)])
    return SetData(*(np.concatenate(column) for column in zip(*parts)))


def judge(model: Hadronizer, prepared: Prepared) -> adversary.Look:
    """What the energy distance and the adversary see of particles: projected onto their hemispheres, as shipped."""
    charge = torch.from_numpy(model.species.numbers[:, 0]).float()
    classes = model.classes.T.contiguous()

    def project(x: Tensor, sets: Sets, rows: np.ndarray) -> tuple[Tensor, Tensor]:
        counts = torch.from_numpy(prepared.counts[rows])
        return model.decode(x, sets, counts, torch.from_numpy(prepared.shapes[rows]))

    def summary(x: Tensor, sets: Sets, rows: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
        momenta, scale = project(x, sets, rows)
        momenta = momenta.float()
        kinds, n_groups = sets.kinds, len(sets.group_sizes)
        seen = features(momenta, classes[kinds], charge[kinds], sets.group, n_groups, model.architecture.sqrt_s)
        return momenta, seen, scale

    with torch.no_grad():
        rows = np.arange(min(2000, len(prepared.counts)))
        data = particles_data(model, _first(prepared, len(rows)))
        x, sets = data.batch(rows)
        reference = summary(x, sets, rows)[1]
        mean, std = reference.mean(0), reference.std(0).clamp(min=1e-3)

        local = hemispheres.stretched(_outward(summary(x, sets, rows)[0], sets.group))
        center, spread = _scales(local, sets.kinds, len(model.species))

    def look(x: Tensor, sets: Sets, rows: np.ndarray) -> adversary.Seen:
        momenta, seen, scale = summary(x, sets, rows)
        local = _outward(momenta, sets.group)
        again = (hemispheres.stretched(local) - center[sets.kinds]) / spread[sets.kinds]
        return adversary.Seen(again, (seen - mean) / std, scale.float().square().mean())

    return look


def _outward(momenta: Tensor, group: Tensor) -> Tensor:
    """Four-momenta with z away from the other hemisphere."""
    flip = torch.ones_like(momenta)
    flip[group % 2 == 1, 2] = -1
    return momenta * flip


def _scales(x: Tensor, kinds: Tensor, n_kinds: int, prior: float = 50.0) -> tuple[Tensor, Tensor]:
    """Mean and width of each kind's coordinates (n_items, 3), rare kinds drawn towards all."""
    many = torch.bincount(kinds, minlength=n_kinds)[:, None] + prior
    first, second = (torch.zeros(n_kinds, x.shape[1]).index_add(0, kinds, x**power) for power in (1, 2))
    mean = (first + prior * x.mean(0)) / many
    return mean, ((second + prior * x.square().mean(0)) / many - mean**2).clamp(min=1e-4).sqrt()


def _first(prepared: Prepared, n: int) -> Prepared:
    """The first n events."""
    items = int(prepared.counts[:n].sum())
    by_item = {"kinds", "group", "x"}
    return Prepared(
        **{f.name: getattr(prepared, f.name)[: items if f.name in by_item else n] for f in fields(Prepared)}
    )


def finetune(model: Hadronizer, data: SetData, prepared: Prepared, recipe: Recipe) -> tuple[Objective, Part]:
    """What the student minimises, and its adversary."""
    a = model.architecture
    network = SetNetwork(3, len(a.pdg), data.context.shape[2], 2, 64, 2, 48)
    look = judge(model, prepared)
    with torch.no_grad():
        x, sets = data.batch(np.arange(2))
        n_features = look(x, sets, np.arange(2)).summary.shape[1]
    critic = Critic(network, n_features)
    weights = adversary.Weights()
    objective = adversary.student_objective(model.particles, critic, data, look, weights)
    against = adversary.critic_objective(model.particles, critic, data, look)
    return objective, Part(critic, against, recipe.critic_learning_rate)


def run(recipe: Recipe, samples: list[Path], work: Path, device: str = "cpu", watch: Watch = log) -> AnyHadronizer:
    """The whole training, top to bottom; every part is done once and kept in `work`."""
    prepared, species, sqrt_s = load_data(recipe, samples, work)
    model = new_model(recipe, prepared, species, sqrt_s)
    fit = fitter(work, watch, device)
    if recipe.counts:
        fit("counts", model.counts, learn_counts(model, prepared), recipe.counts)

    shapes = shapes_data(model, prepared)
    if recipe.shapes:
        fit("shapes_teacher", model.shapes, objectives.matching(model.shapes, shapes), recipe.shapes)
    if recipe.shapes_distillation:
        distil("shapes", model.shapes, shapes, recipe.shapes_distillation, fit, work, device)
    if recipe.shapes_score:
        fit("shapes_scored", model.shapes, objectives.energy_score(model.shapes, shapes), recipe.shapes_score)

    particles = particles_data(model, prepared)
    if recipe.particles:
        fit("particles_teacher", model.particles, objectives.matching(model.particles, particles), recipe.particles)
    if recipe.particles_distillation:
        distil("particles", model.particles, particles, recipe.particles_distillation, fit, work, device)
    if recipe.finetune:
        objective, critic = finetune(model, particles, prepared, recipe)
        fit("particles_finetuned", model.particles, objective, recipe.finetune, critic)
    return model


def distil(
    name: str,
    network: nn.Module,
    data: "objectives.VectorData | SetData",
    recipe: Distillation,
    fit: Fit,
    work: Path,
    device: str,
) -> None:
    """Make the teacher's pairs (kept in `work`) and train the network on them, from the teacher's weights."""
    some = data.first_sets(recipe.pairs) if isinstance(data, SetData) else data.first_vectors(recipe.pairs)
    seed, folder = recipe.training.seed, work / f"{name}_pairs"
    pairs = kept_pairs(network, some, recipe.evaluations, seed, folder, device, batch=1000)
    fit(f"{name}_student", network, objectives.reflow(network, pairs), recipe.training)


def export(
    model: AnyHadronizer, recipe: Recipe, told: dict, folder: Path, card: str, experimental: str = ""
) -> Model | None:
    """Write the model folder that `generate --backend ml` reads, weights in half precision; by one process alone.

    `told` is what `seen` gives of the samples, `experimental` why a model is not to be trusted yet, which is said
    whenever it runs.
    """
    if not FIRST:
        return None
    weights = {name: value.half().numpy() for name, value in model.state_dict().items()}
    config = {
        "architecture": model.architecture.model_dump(mode="json"),
        "domain": recipe.domain,
        "range": {
            "sqrt_s": [model.architecture.sqrt_s * (1 - 1e-3), model.architecture.sqrt_s * (1 + 1e-3)],
            **told,
            **model.valid_range(),
        },
        "recipe": recipe.model_dump(mode="json"),
        "experimental": experimental,
    }
    return save_model(folder, "generation", config, {}, weights, card)


def make_generation(
    samples: list[Path], output: Path, recipe: Recipe, card: str | None, device: str = "cpu", watch: Watch = log
) -> Model | None:
    """Train on particles records and write the model folder `output`; checkpoints are kept in `output`.partial."""
    work = output.with_name(f"{output.name}.partial")
    model = run(recipe, samples, work, device, watch)
    return export(model, recipe, seen(samples), output, card or _card(samples, recipe), "not validated")


def seen(samples: list[Path]) -> dict[str, list[float]]:
    """What the samples tell of the model's range: alpha_s, and where a hard parton was asked for."""
    alpha_s, endcaps = [dataset.alpha_s_of(path) for path in samples], [dataset.endcap_of(path) for path in samples]
    told = {"alpha_s": [min(alpha_s), max(alpha_s)]}
    if all(endcaps):
        told["endcap_abs_eta"] = [min(e[0] for e in endcaps), max(e[1] for e in endcaps)]
    return told


def _card(samples: list[Path], recipe: Recipe) -> str:
    """The card of a model that nobody has judged yet."""
    names = ", ".join(sorted({path.parent.parent.name for path in samples}))
    return f"""# Learned parton shower and hadronisation

Trained on {len(samples)} particles records ({names}). **Not validated**: compare it with its reference by
`gen2reco validate` before use, and write the numbers here.

Recipe: `{json.dumps(recipe.model_dump(mode="json"))}`"""
