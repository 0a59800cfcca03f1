"""Train the fused model on pairs of the chain: configurations, marginals, then the flow (teacher and student).

Each part keeps its checkpoint in a folder of its own and is done once: killed and started again, a training goes on.
"""

from collections import Counter

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gen2reco.config.detector import Detector
from gen2reco.errors import InputError
from gen2reco.flow.model_cards import not_validated
from gen2reco.flow.sets import SetData
from gen2reco.flow.training import Draw
from gen2reco.flow.training_data import DataFiles
from gen2reco.flow.training_parts import Work
from gen2reco.flow.trainings import Trained
from gen2reco.flow.weights import halved
from gen2reco.fuse.assignment import Assignment
from gen2reco.fuse.domain import domain
from gen2reco.fuse.fused_config import FeatureConfig, FusedConfig
from gen2reco.fuse.fused_model import KIND, FusedModel, object_condition, object_features, surplus_of, with_flag
from gen2reco.fuse.fused_recipe import FusedRecipe
from gen2reco.fuse.inputs import N_NEIGHBOURS, VERSION
from gen2reco.fuse.object_numbers import defined
from gen2reco.fuse.pairs import Pairs

LEAST_OBJECTS = 1000


def train_fused(pairs: Pairs, files: DataFiles, recipe: FusedRecipe, work: Work) -> FusedModel:
    """Train the networks on the pairs of the files, top to bottom; every part is kept by `work`. Raises InputError
    where there are too few pairs."""
    if len(pairs.items) < LEAST_OBJECTS:
        raise InputError(
            f"{len(pairs.items)} objects to learn from, expected at least {LEAST_OBJECTS}; make more events"
        )
    torch.manual_seed(recipe.choice.seed)
    earlier = work.parent.model(KIND) if work.parent else None
    config = earlier.parsed(FusedConfig) if earlier else None
    given = [tuple(c) for c in config.configurations] if config else None
    known, choice = vocabulary(pairs.configurations, recipe.rarest, given)
    assigned = np.where((choice == 0) & (pairs.taken >= 0), len(known) + pairs.taken, choice)
    features = FeatureConfig.of(files.detector)
    model = FusedModel(known, recipe.sizes, features)
    if work.parent and earlier and config:
        own = {"sizes": recipe.sizes.model_dump(mode="json"), "features": features.model_dump(mode="json")}
        work.parent.into(model, earlier, config.model_dump(mode="json"), own)
    hard = np.clip(pairs.entering.energy / recipe.common_energy, 1, recipe.hard_weight)
    rare = np.where(
        pairs.entering.is_a("electron", "muon"),
        recipe.lepton_weight,
        np.where(pairs.reference, recipe.reference_weight, 1),
    )
    weight = np.round(hard * rare).astype(np.int64)
    weighted = np.repeat(np.arange(len(assigned)), weight)
    _train_choice(model, pairs, assigned, weighted[files.members(pairs.source[weighted])], recipe, work)
    _train_objects(model, pairs, files, assigned, weight, recipe, work)
    return model


def trained(
    model: FusedModel, pairs: Pairs, calibration: str, detector: Detector, recipe: FusedRecipe, makers: str
) -> Trained:
    """The model that `fuse --backend fused` reads, weights in half precision. calibration: digest of the one that made
    the objects; makers: who made the showers, in words."""
    config = {
        "sizes": recipe.sizes.model_dump(mode="json"),
        "configurations": [list(c) for c in model.configurations],
        "features": FeatureConfig.of(detector).model_dump(mode="json"),
        "domain": domain(pairs),
        "detector": detector.model_dump(mode="json"),
        "recipe": recipe.model_dump(mode="json"),
    }
    pins = {"inputs": VERSION, "geometry": detector.geometry_digest, "calibration": calibration}
    card = f"""# Fused model: particles to calibrated objects

Trained on {len(pairs.items)} objects of {int(pairs.event.max()) + 1} events, with showers made by {makers}.
{not_validated("gen2reco validate fused")}"""
    return Trained(KIND, config, pins, halved(model), card)


def vocabulary(
    configurations: list[tuple[int, ...]], rarest: int, given: list[tuple[int, ...]] | None = None
) -> tuple[list[tuple[int, ...]], NDArray[np.int64]]:
    """Configurations that occur at least `rarest` times, commonest first, or those that are given, and which of them
    each particle has (n,); another one counts as the longest known one that it starts with."""
    counted = Counter(configurations)
    known = given or [c for c, count in counted.most_common() if count >= rarest or not c]
    known = known if () in known else [(), *known]
    place = {c: i for i, c in enumerate(known)}

    def nearest(c: tuple[int, ...]) -> int:
        while c not in place:
            c = c[:-1]
        return place[c]

    found = {c: nearest(c) for c in counted}
    return known, np.array([found[c] for c in configurations], np.int64)


def _train_choice(
    model: FusedModel, pairs: Pairs, assigned: NDArray, weighted: NDArray, recipe: FusedRecipe, work: Work
) -> None:
    particles = Assignment(pairs.entering.energy, pairs.features.neighbours, model.codes)
    inputs, every = with_flag(pairs.features, pairs.reference), np.arange(len(assigned))
    features = particles.features(inputs, assigned, every, earlier=True)
    own, pair, wanted = (torch.from_numpy(a) for a in (*features, assigned))

    def objective(draw: Draw) -> tuple[Tensor, dict[str, float]]:
        at = torch.from_numpy(weighted[draw.indices(len(weighted))])
        logits = model.choice(own[at].to(draw.device), pair[at].to(draw.device))
        loss = nn.functional.cross_entropy(logits, wanted[at].to(draw.device))
        return loss, {"nll": loss.item()}

    work.fit("choice", model.choice, objective, recipe.choice)


def _train_objects(
    model: FusedModel, pairs: Pairs, files: DataFiles, assigned: NDArray, weight: NDArray, recipe: FusedRecipe,
    work: Work,
) -> None:  # fmt: skip
    particles = Assignment(pairs.entering.energy, pairs.features.neighbours, model.codes)
    groups = np.maximum(particles.groups(assigned), 1e-3)
    surplus = surplus_of(pairs.items.owner, pairs.energy, groups)
    some, data = _sets(model, pairs, assigned, np.log(groups))
    weighted = np.repeat(np.arange(len(some)), weight[some])
    weighted = weighted[files.members(pairs.source[some][weighted])]
    own, pair = object_features(particles, with_flag(pairs.features, pairs.reference), assigned, surplus, some)
    x, mask, kinds = torch.from_numpy(data.x), torch.from_numpy(defined(data.kinds)), torch.from_numpy(data.kinds)
    marginals, encoder = model.objects.marginals, model.objects.encoder
    if not work.parent:
        marginals.fit_scale(x, mask)

    def objective(draw: Draw) -> tuple[Tensor, dict[str, float]]:
        chosen = weighted[draw.indices(len(weighted))]
        at, rows = torch.from_numpy(data.items(chosen)), torch.from_numpy(chosen)
        context, _ = encoder(own[rows].to(draw.device), pair[rows].to(draw.device))
        owner = torch.from_numpy(np.repeat(np.arange(len(chosen)), data.counts[chosen, 0])).to(draw.device)
        known = object_condition(context, owner, kinds[at].to(draw.device))
        loss = marginals.quantiles_loss(x[at].to(draw.device), mask[at].to(draw.device), known)
        return loss, {"loss": loss.item()}

    work.fit("objects", model.objects, objective, recipe.marginals)
    noise = torch.Generator().manual_seed(recipe.teacher.seed)
    context = model.objects.contexts(own, pair)
    known = object_condition(context, torch.from_numpy(np.repeat(np.arange(len(some)), data.counts[:, 0])), kinds)
    marginals.fit_whitening(x, mask, known, noise)
    x = marginals.inward(x, mask, known, noise).numpy()
    white = SetData(x, data.kinds, data.counts, context[:, None].numpy())
    data = white.take(weighted)
    rng = np.random.default_rng(recipe.student.seed)
    chosen = rng.permutation(len(data))[np.arange(recipe.pairs) % len(data)]
    work.distil("", model.teacher, model.student, data, recipe.teacher, recipe.distillation, chosen)


def _sets(model: FusedModel, pairs: Pairs, assigned: NDArray, log_energy: NDArray) -> tuple[NDArray, SetData]:
    """Particles that have objects, all of them as their configuration says, and those objects, with energies relative
    to those of the particles in them, log_energy (n,)."""
    known = [*model.configurations, *[()] * N_NEIGHBOURS]
    own = [own == known[c] and bool(own) for own, c in zip(pairs.configurations, assigned)]
    some, items = np.flatnonzero(own), pairs.items
    at = np.isin(items.owner, some)
    counts = np.bincount(items.owner[at], minlength=len(assigned))[some, None]
    x = items.numbers[at]
    x[:, 0] -= log_energy[items.owner[at]]
    return some, SetData(x, items.kind[at], counts, np.zeros((len(some), 1, 0), np.float32))
