"""Train a learned generator: read the samples, fit the three networks, distil two of them to one step.

Each part keeps its checkpoints in its own folder, so a run that is killed goes on where it stopped. Under `torchrun`
every network trains data-parallel.
"""

import json
import logging
from collections.abc import Callable
from dataclasses import asdict, fields
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from gen2reco.config.block import digest
from gen2reco.errors import InputError
from gen2reco.events.lists import members
from gen2reco.files import whole, write_text
from gen2reco.flow import adversary, objectives
from gen2reco.flow.model_cards import not_validated
from gen2reco.flow.networks import Critic, SetNetwork
from gen2reco.flow.sets import SetData, Sets
from gen2reco.flow.training import Draw, Objective, Part
from gen2reco.flow.training_data import DataFiles
from gen2reco.flow.training_parts import Work
from gen2reco.flow.trainings import Trained
from gen2reco.flow.warm_start import Parent
from gen2reco.generate.hadronize import dataset, hemispheres
from gen2reco.generate.hadronize.dataset import Prepared, prepare, read_events, species_of
from gen2reco.generate.hadronize.dijet_dataset import DijetEvents, prepare_dijets, read_dijets
from gen2reco.generate.hadronize.generation_recipe import GenerationRecipe
from gen2reco.generate.hadronize.hemisphere_features import features
from gen2reco.generate.hadronize.load import NETWORKS, AnyHadronizer, GenerationConfig
from gen2reco.generate.hadronize.minbias import prepare_minimum_bias, read_minimum_bias
from gen2reco.generate.hadronize.pair_model import Architecture, Hadronizer
from gen2reco.generate.hadronize.species import Species
from gen2reco.paths import make_folder

logger = logging.getLogger(__name__)


ROOM = 2
"""Particles of a species in a group that a network can draw beyond the most in its data."""
LEAST_STD = 0.01
"""Of a shape that hardly varies, as the azimuth that others are measured from."""
PAIRS_AT_ONCE = 1000
"""Teacher samples that are drawn together; bounds memory."""
KIND = "generation"
_BY_ITEM = {"kinds", "group", "x"}
"""Columns of prepared events with a value for each particle."""
_DATA: dict[str, tuple[Callable, Callable]] = {
    "quark_pair": (read_events, prepare),
    "dijet": (read_dijets, prepare_dijets),
    "minimum_bias": (read_minimum_bias, prepare_minimum_bias),
}


def load_data(
    recipe: GenerationRecipe, files: DataFiles, cache: Path, parent: Parent | None = None
) -> tuple[Prepared, Species, float]:
    """The events of particles records, prepared (and kept in `cache` once made), their species and sqrt(s). Behind an
    earlier model its species are kept, and events beyond these, or with more of one than its data held, left out.

    Records are made with `ParticleDecays:limitTau0 = on` and `ParticleDecays:tau0Max` = LIFETIME; of others (HepMC,
    say) what is stable there is learned.
    """
    start = [parent.digest, files.replayed, files.replay] if parent else []
    key = digest([recipe.domain, files.content, recipe.events, recipe.least_per_event, *start])[:16]
    folder = cache / f"prepared-{key}"
    if not (folder / "facts.json").is_file():
        _prepare(recipe, files, folder, parent.model(KIND).parsed(GenerationConfig).architecture if parent else None)
    facts = json.loads((folder / "facts.json").read_text())
    arrays = {f.name: np.load(folder / f"{f.name}.npy", mmap_mode="r", allow_pickle=False) for f in fields(Prepared)}
    return Prepared(**arrays), Species(tuple(facts["pdg"]), tuple(facts["mass"])), facts["sqrt_s"]


def _prepare(recipe: GenerationRecipe, files: DataFiles, folder: Path, earlier: Architecture | None) -> None:
    (read, encode), samples = _DATA[recipe.domain], files.paths
    events = [read(path, recipe.events) for path in samples]
    if recipe.domain == "dijet":
        _check_interactions(samples, events)
    energies = np.concatenate([e.sqrt_s for e in events])
    if np.ptp(energies) > 1e-3 * energies.mean():
        raise InputError(
            f"{samples[0].parent}: samples of several energies ({energies.min():.4g} to {energies.max():.4g} GeV)"
        )
    species = species_of(events, recipe.least_per_event)
    if earlier:
        species = Species(tuple(earlier.pdg), tuple(earlier.mass))
    parts, kept = zip(*(encode(e, species) for e in events))
    if earlier:
        most = np.array(earlier.most) - ROOM
        within = [np.all(_by_slot(part.counts) <= most, axis=1) for part in parts]
        parts = tuple(_taken(part, np.flatnonzero(some)) for part, some in zip(parts, within))
        kept = tuple(np.arange(len(k)) < some.sum() for some, k in zip(within, kept))
    every = Prepared(**{f.name: np.concatenate([getattr(p, f.name) for p in parts]) for f in fields(Prepared)})
    if files.replay:
        sizes = [len(part.counts) for part in parts]
        every = _taken(every, files.members(np.repeat(np.arange(len(parts)), sizes)))
    make_folder(folder)
    for name, values in vars(every).items():
        with whole(folder / f"{name}.npy") as temporary, temporary.open("wb") as file:
            np.save(file, values)
    facts = {**asdict(species), "sqrt_s": float(energies.mean()), "kept": float(np.concatenate(kept).mean())}
    facts["alpha_s"] = [float(f([e.alpha_s.min() for e in events])) for f in (np.min, np.max)]
    write_text(folder / "facts.json", json.dumps(facts))
    logger.info("prepared %d events, %.3f %% kept", len(energies), 100 * facts["kept"])


def _by_slot(counts: np.ndarray) -> np.ndarray:
    """Counts (n, groups, kinds) in the order of the architecture's `most`: (n, kinds * groups)."""
    return counts.transpose(0, 2, 1).reshape(len(counts), -1)


def _taken(prepared: Prepared, rows: np.ndarray) -> Prepared:
    """The chosen events, some of them perhaps several times."""
    items = members(np.concatenate([[0], np.cumsum(prepared.counts.sum((1, 2)))]), rows)[0]
    return Prepared(
        **{f.name: getattr(prepared, f.name)[items if f.name in _BY_ITEM else rows] for f in fields(Prepared)}
    )


def new_model(
    recipe: GenerationRecipe, prepared: Prepared, species: Species, sqrt_s: float, parent: Parent | None = None
) -> AnyHadronizer:
    """A model with the scales of the data, untrained, or with the scales and weights of an earlier model. Raises
    InputError where that one's networks are others."""
    most = _by_slot(prepared.counts).max(0) + ROOM
    earlier = parent.model(KIND) if parent else None
    config = earlier.parsed(GenerationConfig) if earlier else None
    if config and len(known := config.architecture.most) == len(most):
        most = np.maximum(most, known)  # fewer particles than the earlier model's data hold are no other network
    torch.manual_seed(recipe.particles.seed if recipe.particles else 1)
    model = NETWORKS[recipe.domain](
        Architecture(
            pdg=list(species.pdg),
            mass=list(species.mass),
            most=[int(m) for m in most],
            sqrt_s=sqrt_s,
            tuned=recipe.domain != "quark_pair",
            **recipe.sizes.model_dump(),
        )
    )
    if parent and earlier and config:
        own = {"domain": recipe.domain, "architecture": model.architecture.model_dump(mode="json")}
        parent.into(model, earlier, config.model_dump(mode="json"), own)
        model.fit_range(torch.from_numpy(np.array(prepared.conditions)))
        return model
    model.shape_mean.copy_(torch.from_numpy(prepared.shapes.mean(0)))
    model.shape_std.copy_(torch.from_numpy(prepared.shapes.std(0)).clamp(min=LEAST_STD))
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
    """Standardised shapes, and the conditions that they are drawn under."""
    shapes = torch.from_numpy(np.array(prepared.shapes))
    condition = model.shapes_condition(
        torch.from_numpy(np.array(prepared.counts)), torch.from_numpy(np.array(prepared.conditions))
    )
    row = torch.arange(len(shapes))
    z = model.shapes_start.inward(shapes, torch.zeros_like(row), condition, row)
    return objectives.VectorData(z.numpy(), condition.numpy())


@torch.no_grad()
def particles_data(model: AnyHadronizer, prepared: Prepared) -> SetData:
    """Standardised coordinates, and the conditions of the particles."""
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


def feature_map(model: Hadronizer, prepared: Prepared) -> adversary.FeatureMap:
    """Features of particles for the energy distance and the adversary, projected onto their hemispheres as in use."""
    charge = torch.from_numpy(model.species.numbers[:, 0]).float()
    classes = model.classes.T.contiguous()

    def project(x: Tensor, sets: Sets, rows: np.ndarray) -> tuple[Tensor, Tensor]:
        counts = torch.from_numpy(prepared.counts[rows])
        return model.decode(x, sets, counts, torch.from_numpy(prepared.shapes[rows]))

    def summary(x: Tensor, sets: Sets, rows: np.ndarray) -> tuple[Tensor, Tensor, Tensor]:
        momenta, scale = project(x, sets, rows)
        momenta = momenta.float()
        kinds, n_groups = sets.kinds, len(sets.group_sizes)
        summed = features(momenta, classes[kinds], charge[kinds], sets.group, n_groups, model.architecture.sqrt_s)
        return momenta, summed, scale

    with torch.no_grad():
        rows = np.arange(min(2000, len(prepared.counts)))
        data = particles_data(model, _first(prepared, len(rows)))
        x, sets = data.batch(rows)
        reference = summary(x, sets, rows)[1]
        mean, std = reference.mean(0), reference.std(0).clamp(min=1e-3)

        local = hemispheres.stretched(_outward(summary(x, sets, rows)[0], sets.group))
        center, spread = _scales(local, sets.kinds, len(model.species))

    def features_of(x: Tensor, sets: Sets, rows: np.ndarray) -> adversary.Features:
        momenta, summed, scale = summary(x, sets, rows)
        local = _outward(momenta, sets.group)
        again = (hemispheres.stretched(local) - center[sets.kinds]) / spread[sets.kinds]
        return adversary.Features(again, (summed - mean) / std, scale.float().square().mean())

    return features_of


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
    return Prepared(
        **{f.name: getattr(prepared, f.name)[: items if f.name in _BY_ITEM else n] for f in fields(Prepared)}
    )


def finetune(model: Hadronizer, data: SetData, prepared: Prepared, recipe: GenerationRecipe) -> tuple[Objective, Part]:
    """What the student minimises, and its adversary."""
    a = model.architecture
    network = SetNetwork(3, len(a.pdg), data.context.shape[2], 2, 64, 2, 48)
    features_of = feature_map(model, prepared)
    with torch.no_grad():
        x, sets = data.batch(np.arange(2))
        n_features = features_of(x, sets, np.arange(2)).summary.shape[1]
    critic = Critic(network, n_features)
    weights = adversary.Weights()
    objective = adversary.student_objective(model.particles, critic, data, features_of, weights)
    against = adversary.critic_objective(model.particles, critic, data, features_of)
    return objective, Part(critic, against, recipe.critic_learning_rate)


def train_generation(
    recipe: GenerationRecipe, prepared: Prepared, species: Species, sqrt_s: float, work: Work
) -> AnyHadronizer:
    """The whole training, top to bottom; every part is done once and kept by `work`."""
    model = new_model(recipe, prepared, species, sqrt_s, work.parent)
    if recipe.counts:
        work.fit("counts", model.counts, learn_counts(model, prepared), recipe.counts)

    shapes = shapes_data(model, prepared)
    work.distil(
        "shapes_", model.shapes, model.shapes, shapes, recipe.shapes, recipe.shapes_distillation, batch=PAIRS_AT_ONCE
    )
    if recipe.shapes_score:
        work.fit("shapes_scored", model.shapes, objectives.energy_score(model.shapes, shapes), recipe.shapes_score)

    particles = particles_data(model, prepared)
    networks = (model.particles, model.particles)
    work.distil(
        "particles_", *networks, particles, recipe.particles, recipe.particles_distillation, batch=PAIRS_AT_ONCE
    )
    if recipe.finetune:
        objective, critic = finetune(model, particles, prepared, recipe)
        work.fit("particles_finetuned", model.particles, objective, recipe.finetune, critic)
    return model


def trained(model: AnyHadronizer, recipe: GenerationRecipe, files: DataFiles) -> Trained:
    """The model that `generate --backend ml` reads, weights in half precision. It is experimental until somebody has
    judged it, which is said whenever it runs."""
    sqrt_s = model.architecture.sqrt_s
    config = {
        "architecture": model.architecture.model_dump(mode="json"),
        "domain": recipe.domain,
        "range": {
            "sqrt_s": [sqrt_s * (1 - 1e-3), sqrt_s * (1 + 1e-3)],
            **process_range(files.paths, recipe.domain),
            **model.valid_range(),
        },
        "recipe": recipe.model_dump(mode="json"),
        "experimental": "not validated",
    }
    weights = {name: value.half().numpy() for name, value in model.state_dict().items()}
    card = f"""# Learned parton shower and hadronisation

Trained on {len(files.paths)} particles records made by {files.made_by("generate")}.
{not_validated("gen2reco validate")}"""
    return Trained(KIND, config, {}, weights, card)


def _check_interactions(samples: list[Path], events: list[DijetEvents]) -> None:
    """Raises InputError for samples with and without multiparton interactions."""
    without = [bool(np.isnan(e.pt0_ref).all()) for e in events]
    if any(without) and not all(without):
        path = samples[without.index(True)]
        raise InputError(f"{path}: has no multiparton interactions, other samples have; train on either")


def process_range(samples: list[Path], domain: str) -> dict[str, list[float]]:
    """The part of the valid range that the samples' process gives: alpha_s, pT0Ref of multiparton interactions of
    hadrons, and |eta| of the endcap in which a hard parton was demanded, if all demanded one."""
    made = [dataset.made_of(path) for path in samples]
    alpha_s = [one.alpha_s for one in made]
    pt0_ref = [one.pt0_ref for one in made if one.pt0_ref is not None and domain != "quark_pair"]
    endcaps = [one.endcap for one in made if one.endcap]
    found = {"alpha_s": [min(alpha_s), max(alpha_s)]}
    if pt0_ref:
        found["pt0_ref"] = [min(pt0_ref), max(pt0_ref)]
    if len(endcaps) == len(made):
        found["endcap_abs_eta"] = [min(low for low, _ in endcaps), max(high for _, high in endcaps)]
    return found
