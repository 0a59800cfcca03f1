"""Train the learned showers: family by family, layers (teacher, then student), then cells.

Each part keeps its checkpoint in a folder of its own and is done once: killed and started again, a training goes on.
"""

import logging

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor

from gen2reco import jit
from gen2reco.config.detector import Detector
from gen2reco.detector.geometry import Geometry
from gen2reco.errors import InputError
from gen2reco.events.lists import members
from gen2reco.flow import objectives
from gen2reco.flow.model_cards import not_validated
from gen2reco.flow.training import Draw
from gen2reco.flow.training_data import DataFiles
from gen2reco.flow.training_parts import Work
from gen2reco.flow.trainings import Trained
from gen2reco.flow.warm_start import Parent
from gen2reco.flow.weights import halved
from gen2reco.run.model_folder import Model
from gen2reco.simulate.showers.cells import CellModel, layer_rows, sampler
from gen2reco.simulate.showers.data import Showers, joined, read_showers
from gen2reco.simulate.showers.depth_model import DepthModel
from gen2reco.simulate.showers.depth_training import train_depth, train_start
from gen2reco.simulate.showers.incidence import FAMILIES, Conditioning
from gen2reco.simulate.showers.layer_model import Drawn, LayerModel, axis_points, to_vectors, true_whole
from gen2reco.simulate.showers.shower_config import ContextScales, Family, ShowersConfig
from gen2reco.simulate.showers.shower_model import KIND, FamilyModel
from gen2reco.simulate.showers.shower_recipe import FamilyRecipe, ShowerRecipe
from gen2reco.simulate.showers.valid import covered

ROOM = 400
"""Candidates of a layer for which memory is taken at first; doubled where it is not enough."""
FEWEST, FEWEST_OF_SPECIES = 100, 20
"""Showers of a family, and of a species, that are enough to learn from."""
logger = logging.getLogger(__name__)


def load_showers(files: DataFiles) -> Showers:
    """All showers of hits records, of replayed ones their share. Raises InputError for events of several particles or
    without deposits."""
    parts = [read_showers(path, files.detector) for path in files.paths]
    every = joined(parts)
    return every.take(files.members(np.repeat(np.arange(len(parts)), [*map(len, parts)]))) if files.replay else every


def train_family(family: Family, showers: Showers, detector: Detector, recipe: FamilyRecipe, work: Work) -> FamilyModel:
    """Train the networks of a family on its showers, top to bottom; every part is kept by `work`.

    The model is one of the species that it saw at least FEWEST_OF_SPECIES showers of; started from an earlier one, of
    that one's. Raises InputError for fewer than FEWEST showers.
    """
    geometry = Geometry(detector)
    earlier = work.parent.model(KIND) if work.parent else None
    theirs = earlier.parsed(ShowersConfig).species if earlier else {}
    species = tuple(theirs.get(family) or _species(family, showers.incidence.pdg))
    showers = showers.take(np.flatnonzero(np.isin(showers.incidence.pdg, species)))
    if len(showers) < FEWEST:
        raise InputError(f"{len(showers)} showers of family `{family}`, expected at least {FEWEST}; make more of them")
    torch.manual_seed(recipe.start.seed)
    conditioning = Conditioning(species, ContextScales.of(detector))
    model = FamilyModel(conditioning, geometry.n_layers, recipe.networks)
    if work.parent and earlier:
        own = {
            "families": {family: recipe.networks.model_dump(mode="json")},
            "species": {family: [*species]},
        }
        _start(model, family, {**own, "layers": detector.n_layers}, work.parent, earlier)
    whole = true_whole(showers, geometry)
    context = conditioning.context(showers.incidence)
    train_layers = train_depth if isinstance(model.layers, DepthModel) else _train_layers
    train_layers(model.layers, whole, context, showers.incidence.energy, geometry, recipe, work)
    _train_cells(model.cells, showers, whole, context, geometry, recipe, work)
    return model.eval()


def _species(family: str, pdg: NDArray) -> list[int]:
    """The species of a family with showers enough; a line tells of those with few, which are left out."""
    number = {code: int((pdg == code).sum()) for code in FAMILIES[family]}
    if few := {code: n for code, n in number.items() if 0 < n < FEWEST_OF_SPECIES}:
        told = ", ".join(f"{n} of {code}" for code, n in few.items())
        logger.warning("%s showers: too few to learn from, left out: %s", family, told)
    return [code for code, n in number.items() if n >= FEWEST_OF_SPECIES]


def _start(model: FamilyModel, family: str, own: dict, parent: Parent, earlier: Model) -> None:
    """Put the weights of the family of an earlier model into this one. Raises InputError where they do not fit."""
    config = earlier.parsed(ShowersConfig).model_dump(mode="json")
    theirs = {key: {family: config[key].get(family)} for key in ("families", "species")}
    parent.into(model, earlier, {**config, **theirs}, own, f"{family}.")


def trained(
    made: dict[Family, FamilyModel], showers: Showers, detector: Detector, recipe: ShowerRecipe, makers: str
) -> Trained:
    """The model that `simulate --backend ml` reads, weights in half precision. makers: of the showers, in words."""
    weights = {f"{f}.{name}": value for f, model in made.items() for name, value in halved(model).items()}
    species = {family: list(model.conditioning.species) for family, model in made.items()}
    pdg = showers.incidence.pdg
    every = [code for codes in species.values() for code in codes]
    learned = np.isin(pdg, every)
    known = showers.incidence[learned]
    numbers = ", ".join(f"{(pdg == code).sum()} of {code}" for code in every)
    if not learned.all():
        other = ", ".join(map(str, np.unique(pdg[~learned])))
        logger.warning("%d of %d showers are of no species of this model (%s)", (~learned).sum(), len(pdg), other)
    config = {
        "families": {family: recipe.of(family).networks.model_dump(mode="json") for family in made},
        "species": species,
        "layers": detector.n_layers,
        "scales": ContextScales.of(detector).model_dump(mode="json"),
        "range": covered(known),
        "recipe": recipe.model_dump(mode="json"),
        "quality": [],
    }
    card = f"""# Learned showers

Trained on {len(known)} showers made by {makers}, by species: {numbers}.
{not_validated("gen2reco validate showers")}"""
    return Trained(KIND, config, {"geometry": detector.geometry_digest}, weights, card)


def _train_layers(
    model: LayerModel, whole: Drawn, context: NDArray, energy: NDArray, geometry: Geometry, recipe: FamilyRecipe,
    work: Work,
) -> None:  # fmt: skip
    rng = np.random.default_rng(recipe.teacher.seed)
    x, mask = (torch.from_numpy(a) for a in to_vectors(whole, energy, geometry, rng, model.shares))
    condition = model.condition(torch.from_numpy(context), torch.from_numpy(whole.start))
    if not work.parent:
        model.fit_scale(x, mask)
    train_start(model.start, context, whole.start, recipe, work)
    _train_marginals(model, condition, x, mask, recipe, work)
    noise = torch.Generator().manual_seed(recipe.teacher.seed)
    model.fit_whitening(x, mask, condition, noise)
    data = objectives.VectorData(model.inward(x, mask, condition, noise).numpy(), condition.numpy())
    if generator := model.generator:
        both = recipe.teacher.model_copy(update={"steps": recipe.teacher.steps + recipe.student.steps})
        objective, others = generator.objective(data), generator.others(data)
        work.fit("layers", generator, objective, generator.settings(both), *others)
        return
    chosen = np.arange(recipe.pairs) % len(data)
    work.distil("", model.teacher, model.student, data, recipe.teacher, recipe.distillation, chosen)


def _train_marginals(
    model: LayerModel, condition: Tensor, x: Tensor, mask: Tensor, recipe: FamilyRecipe, work: Work
) -> None:
    """Train which layers have cells, and the quantiles."""

    def batch(draw: Draw, *columns: Tensor) -> list[Tensor]:
        at = torch.from_numpy(draw.indices(len(x)))
        return [column[at].to(draw.device) for column in columns]

    def occupied_loss(draw: Draw) -> tuple[Tensor, dict[str, float]]:
        loss = model.occupied_loss(*batch(draw, mask, condition))
        return loss, {"nll": loss.item()}

    def quantiles_loss(draw: Draw) -> tuple[Tensor, dict[str, float]]:
        loss = model.quantiles_loss(*batch(draw, x, mask, condition))
        return loss, {"loss": loss.item()}

    work.fit("occupied", model.occupied, occupied_loss, recipe.start)
    work.fit("quantiles", model.quantiles, quantiles_loss, recipe.quantiles)


def _train_cells(
    model: CellModel,
    showers: Showers,
    whole: Drawn,
    context: NDArray,
    geometry: Geometry,
    recipe: FamilyRecipe,
    work: Work,
) -> None:
    rows = layer_rows(showers.incidence, context, whole)
    rng = np.random.default_rng(recipe.cells.seed)
    chosen = np.sort(rng.permutation(len(rows.shower))[: recipe.rows])
    shower, layer = rows.shower[chosen], rows.layer[chosen]
    cells = _candidates(showers, whole, np.stack([shower, layer], 1), geometry)
    features = torch.from_numpy(rows.features[chosen])

    def objective(draw: Draw) -> tuple[Tensor, dict[str, float]]:
        at = draw.indices(len(features))
        columns = (torch.as_tensor(column).to(draw.device) for column in (features[at], *cells.of(at)))
        occupancy, energy, halo = model.loss(*columns)
        return occupancy + energy + halo, {"occupancy": occupancy.item(), "energy": energy.item(), "halo": halo.item()}

    work.fit("cells", model, objective, recipe.cells)
    model.fit_delays(showers, geometry)


class _Candidates:
    """Candidate cells of the chosen layers, one layer after the other, in room for n; see `kernels.candidate_cells`."""

    def __init__(self, n_rows: int, n: int):
        self.first = np.zeros(n_rows + 1, np.int64)
        self.features = np.zeros((n, sampler.N_FEATURES + sampler.N_LEFT), np.float32)
        self.role, self.log_mips = np.zeros(n, np.uint8), np.zeros(n, np.float32)
        self.halo = np.zeros((n_rows, 2), np.float32)

    def of(self, rows: NDArray) -> tuple[NDArray, ...]:
        """Number of candidates of the chosen rows, their features, what they hold, and the rows' halo."""
        at, counts = members(self.first, rows)
        return counts, self.features[at], self.role[at], self.log_mips[at], self.halo[rows]


def _candidates(showers: Showers, whole: Drawn, rows: NDArray, geometry: Geometry) -> _Candidates:
    cells, _ = showers.per_layer(geometry.n_layers)
    edges = showers.first[:-1, None] + np.concatenate([np.zeros((len(cells), 1), int), np.cumsum(cells, 1)], 1)
    seeds = np.random.default_rng(0).integers(0, 2**32, len(rows))
    kernel = jit.load("gen2reco.simulate.showers.kernels.candidate_cells", ("maths", "window", "energies")).candidates
    room, done = ROOM * (len(rows) + 50), -1
    while done < len(rows):
        out = _Candidates(len(rows), room)
        done = kernel(
            seeds, edges, axis_points(showers.incidence, geometry), np.ascontiguousarray(showers.incidence.slope),
            np.exp(whole.radii), geometry.detector.cell_size, geometry.r_min, geometry.r_max, showers.ix, showers.iy,
            showers.mips, rows, out.first, out.features, out.role, out.log_mips, out.halo,
        )  # fmt: skip
        room *= 2
    return out
