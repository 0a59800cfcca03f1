"""Train the fused model on pairs of the chain: configurations, marginals, then the flow (teacher and student).

Each part keeps its checkpoint in a folder of its own and is done once: killed and started again, a training goes on.
"""

import json
from collections import Counter
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from gen2reco.config.block import Block
from gen2reco.config.detector import Detector
from gen2reco.errors import InputError
from gen2reco.flow import objectives
from gen2reco.flow.sets import SetData
from gen2reco.flow.training import Draw, Training
from gen2reco.flow.training_parts import FIRST, Fit, Watch, fitter, kept_pairs
from gen2reco.flow.weights import halved
from gen2reco.fuse.assignment import Crowd
from gen2reco.fuse.domain import domain
from gen2reco.fuse.fused_config import Sizes
from gen2reco.fuse.fused_model import KIND, FusedModel, item_told, objects_told, surplus_of, with_flag
from gen2reco.fuse.inputs import N_NEAR, SPECIES, VERSION
from gen2reco.fuse.object_numbers import there
from gen2reco.fuse.pairs import Pairs
from gen2reco.run.model_folder import Model, save_model


class Recipe(Block):
    """A training of the fused model."""

    sizes: Sizes = Sizes()
    """Sizes of the networks."""
    reference_weight: int = Field(default=3, ge=1)
    """How many times a particle counts whose shower Geant4 made, beside one of a learned shower."""
    common_energy: float = Field(default=5.0, gt=0)
    """Particles of more energy, GeV, are rare: they count in proportion to it ..."""
    hard_weight: int = Field(default=8, ge=1)
    """... up to so many times."""
    lepton_weight: int = Field(default=5, ge=1)
    """How many times electrons and muons count."""
    rarest: int = Field(default=10, ge=1)
    """Configurations of objects seen less often are taken as the commonest with the same first objects."""
    choice: Training = Training(steps=8000, batch=1024)
    """Training of the configurations; a batch counts particles."""
    marginals: Training = Training(steps=8000, batch=768)
    """Training of the objects' numbers, one by one; a batch counts particles with objects, here and below."""
    teacher: Training = Training(steps=10_000, batch=512)
    """Training of the many-step teacher by flow matching."""
    pairs: int = Field(default=100_000, ge=1)
    """Particles of which the teacher draws objects for the student."""
    evaluations: int = Field(default=16, ge=2)
    """Network evaluations a teacher sample (midpoint rule)."""
    student: Training = Training(steps=8000, batch=512)
    """Distillation to one step."""


def make_fused(
    pairs: Pairs,
    detector: Detector,
    calibration: str,
    output: Path,
    recipe: Recipe,
    card: str | None,
    watch: Watch,
    device: str = "cpu",
) -> Model | None:
    """Train on pairs made behind the calibration of this digest, and write the model folder; checkpoints are kept in
    `output`.partial. The first process returns the model. Raises InputError where there are too few pairs."""
    if len(pairs.items) < 1000:
        raise InputError(f"{len(pairs.items)} objects to learn from, expected at least 1000; make more events")
    torch.manual_seed(recipe.choice.seed)
    known, choice = vocabulary(pairs.configurations, recipe.rarest)
    fate = np.where((choice == 0) & (pairs.taken >= 0), len(known) + pairs.taken, choice)
    model = FusedModel(known, recipe.sizes)
    fit = fitter(output.with_name(f"{output.name}.partial"), watch, device)
    hard = np.clip(pairs.entering.energy / recipe.common_energy, 1, recipe.hard_weight)
    lepton = np.isin(pairs.entering.species, [SPECIES.index("electron"), SPECIES.index("muon")])
    rare = np.where(lepton, recipe.lepton_weight, np.where(pairs.reference, recipe.reference_weight, 1))
    weight = np.round(hard * rare).astype(np.int64)
    _train_choice(model, pairs, fate, np.repeat(np.arange(len(fate)), weight), recipe, fit)
    _train_objects(model, pairs, fate, weight, recipe, fit, output.with_name(f"{output.name}.partial"), device)
    if not FIRST:
        return None
    config = {
        "sizes": recipe.sizes.model_dump(mode="json"),
        "configurations": [list(c) for c in known],
        "domain": domain(pairs),
        "detector": detector.model_dump(mode="json"),
        "recipe": recipe.model_dump(mode="json"),
    }
    pins = {"inputs": VERSION, "geometry": detector.geometry_digest, "calibration": calibration}
    return save_model(output, KIND, config, pins, halved(model), card or _card(pairs, recipe))


def vocabulary(configurations: list[tuple[int, ...]], rarest: int) -> tuple[list[tuple[int, ...]], NDArray[np.int64]]:
    """Configurations that are seen often enough, commonest first, and which of them each particle has: that of a rare
    one without its last objects."""
    seen = Counter(configurations)
    known = [c for c, count in seen.most_common() if count >= rarest or not c]
    known = known if () in known else [(), *known]
    place = {c: i for i, c in enumerate(known)}

    def nearest(c: tuple[int, ...]) -> int:
        while c not in place:
            c = c[:-1]
        return place[c]

    found = {c: nearest(c) for c in seen}
    return known, np.array([found[c] for c in configurations], np.int64)


def _train_choice(model: FusedModel, pairs: Pairs, fate: NDArray, weighted: NDArray, recipe: Recipe, fit: Fit) -> None:
    crowd = Crowd(pairs.entering.energy, pairs.told.near, model.codes)
    told = crowd.told(with_flag(pairs.told, pairs.reference), fate, np.arange(len(fate)), earlier=True)
    own, pair, wanted = (torch.from_numpy(a) for a in (*told, fate))

    def objective(draw: Draw) -> tuple[Tensor, dict[str, float]]:
        at = torch.from_numpy(weighted[draw.indices(len(weighted))])
        logits = model.choice(own[at].to(draw.device), pair[at].to(draw.device))
        loss = nn.functional.cross_entropy(logits, wanted[at].to(draw.device))
        return loss, {"nll": loss.item()}

    fit("choice", model.choice, objective, recipe.choice)


def _train_objects(
    model: FusedModel, pairs: Pairs, fate: NDArray, weight: NDArray, recipe: Recipe, fit: Fit, work: Path, device: str
) -> None:
    crowd = Crowd(pairs.entering.energy, pairs.told.near, model.codes)
    groups = np.maximum(crowd.groups(fate), 1e-3)
    surplus = surplus_of(pairs.items.owner, pairs.energy, groups)
    some, data = _sets(model, pairs, fate, np.log(groups))
    weighted = np.repeat(np.arange(len(some)), weight[some])
    own, pair = objects_told(crowd, with_flag(pairs.told, pairs.reference), fate, surplus, some)
    x, mask, kinds = torch.from_numpy(data.x), torch.from_numpy(there(data.kinds)), torch.from_numpy(data.kinds)
    marginals, encoder = model.objects.marginals, model.objects.encoder
    marginals.fit_scale(x, mask)

    def objective(draw: Draw) -> tuple[Tensor, dict[str, float]]:
        chosen = weighted[draw.indices(len(weighted))]
        at, rows = torch.from_numpy(data.items(chosen)), torch.from_numpy(chosen)
        context, _ = encoder(own[rows].to(draw.device), pair[rows].to(draw.device))
        owner = torch.from_numpy(np.repeat(np.arange(len(chosen)), data.counts[chosen, 0])).to(draw.device)
        known = item_told(context, owner, kinds[at].to(draw.device))
        loss = marginals.quantiles_loss(x[at].to(draw.device), mask[at].to(draw.device), known)
        return loss, {"loss": loss.item()}

    fit("objects", model.objects, objective, recipe.marginals)
    noise = torch.Generator().manual_seed(recipe.teacher.seed)
    context = model.objects.contexts(own, pair)
    known = item_told(context, torch.from_numpy(np.repeat(np.arange(len(some)), data.counts[:, 0])), kinds)
    marginals.fit_whitening(x, mask, known, noise)
    x = marginals.inward(x, mask, known, noise).numpy()
    white = SetData(x, data.kinds, data.counts, context[:, None].numpy())
    _train_flow(model, white, weighted, recipe, fit, work, device)


def _train_flow(
    model: FusedModel, white: SetData, weighted: NDArray, recipe: Recipe, fit: Fit, work: Path, device: str
) -> None:
    data = _taken(white, weighted)
    fit("teacher", model.teacher, objectives.matching(model.teacher, data), recipe.teacher)
    model.student.load_state_dict(model.teacher.state_dict())
    chosen = np.random.default_rng(recipe.student.seed).permutation(weighted)[np.arange(recipe.pairs) % len(weighted)]
    wanted = _taken(white, chosen)
    drawn = kept_pairs(model.teacher, wanted, recipe.evaluations, recipe.student.seed, work / "pairs", device)
    fit("student", model.student, objectives.reflow(model.student, drawn), recipe.student)


def _taken(data: SetData, chosen: NDArray) -> SetData:
    """The chosen sets, some of them several times."""
    at = data.items(chosen)
    return SetData(data.x[at], data.kinds[at], data.counts[chosen], data.context[chosen])


def _sets(model: FusedModel, pairs: Pairs, fate: NDArray, log_energy: NDArray) -> tuple[NDArray, SetData]:
    """Particles that have objects, all of them as their configuration says, and those objects; energies are told as
    multiples of those of the particles in them, log_energy (n,)."""
    known = [*model.configurations, *[()] * N_NEAR]
    own = [own == known[c] and bool(own) for own, c in zip(pairs.configurations, fate)]
    some, items = np.flatnonzero(own), pairs.items
    at = np.isin(items.owner, some)
    counts = np.bincount(items.owner[at], minlength=len(fate))[some, None]
    x = items.numbers[at]
    x[:, 0] -= log_energy[items.owner[at]]
    return some, SetData(x, items.kind[at], counts, np.zeros((len(some), 1, 0), np.float32))


def _card(pairs: Pairs, recipe: Recipe) -> str:
    """The card of a model that nobody has judged yet."""
    return f"""# Fused model: particles to calibrated objects

Trained on {len(pairs.items)} objects of {int(pairs.event.max()) + 1} events. **Not validated**: compare it with the
chain by `gen2reco validate fused` before use, and write the numbers here.

Recipe: `{json.dumps(recipe.model_dump(mode="json"))}`"""
