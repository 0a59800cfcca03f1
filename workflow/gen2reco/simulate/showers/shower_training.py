"""Train the learned showers: family by family, layers (teacher, then student), then cells.

Each part keeps its checkpoint in a folder of its own and is done once: killed and started again, a training goes on.
"""

import json
from pathlib import Path

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from gen2reco import jit
from gen2reco.config.block import Block
from gen2reco.config.detector import Detector
from gen2reco.detector.geometry import Geometry
from gen2reco.errors import InputError
from gen2reco.flow import objectives
from gen2reco.flow.sets import members
from gen2reco.flow.training import Draw, Training
from gen2reco.flow.training_parts import FIRST, Fit, Watch, fitter, kept_pairs
from gen2reco.flow.weights import halved
from gen2reco.run.model_folder import Model, save_model
from gen2reco.simulate.showers.cells import CellModel, layer_rows, sampler
from gen2reco.simulate.showers.data import Showers, joined, read_showers
from gen2reco.simulate.showers.incidence import FAMILIES, Conditioning
from gen2reco.simulate.showers.layer_model import Drawn, LayerModel, axis_points, to_vectors, true_whole
from gen2reco.simulate.showers.shower_config import ContextScales, ShowerSizes
from gen2reco.simulate.showers.shower_model import KIND, FamilyModel
from gen2reco.simulate.showers.valid import covered


class Recipe(Block):
    """A training of learned showers."""

    families: list[str] = ["electromagnetic", "hadron", "muon"]
    """Families of species to train, of electromagnetic, hadron, muon."""
    sizes: ShowerSizes = ShowerSizes()
    """Sizes of the networks."""
    start: Training = Training(steps=1500, batch=512)
    """Training of the start layer, and of which layers have cells."""
    quantiles: Training = Training(steps=2500, batch=512)
    """Training of the quantiles."""
    teacher: Training = Training(steps=8000, batch=512)
    """Training of the many-step teacher by flow matching."""
    pairs: int = Field(default=60_000, ge=1)
    """Teacher samples that the student learns from."""
    evaluations: int = Field(default=32, ge=2)
    """Network evaluations a teacher sample (midpoint rule)."""
    student: Training = Training(steps=6000, batch=512)
    """Distillation to one step."""
    rows: int = Field(default=100_000, ge=1)
    """Layers that the cells are learned from."""
    cells: Training = Training(steps=6000, batch=128, learning_rate=2e-3, mixed_precision=False)
    """Training of the cells; a batch counts layers."""


def load_showers(paths: list[Path], detector: Detector) -> Showers:
    """All showers of hits records. Raises InputError if there are none."""
    if not paths:
        raise InputError("no hits records to train on; make the campaign first")
    return joined([read_showers(path, detector) for path in paths])


def train_family(
    family: str, showers: Showers, detector: Detector, recipe: Recipe, work: Path, watch: Watch, device: str = "cpu"
) -> FamilyModel:
    """Train the networks of a family on its showers, top to bottom; every part is kept in `work`."""
    geometry = Geometry(detector)
    showers = showers.take(np.flatnonzero(np.isin(showers.incidence.pdg, FAMILIES[family])))
    if len(showers) < 100:
        raise InputError(f"{len(showers)} showers of family `{family}`, expected at least 100; make more of them")
    torch.manual_seed(recipe.start.seed)
    conditioning = Conditioning(FAMILIES[family], ContextScales.of(detector))
    model = FamilyModel(conditioning, geometry.n_layers, recipe.sizes)
    fit = fitter(work / family, lambda part, *told: watch(f"{family}_{part}", *told), device)
    whole = true_whole(showers, geometry)
    context = conditioning.context(showers.incidence)
    _train_layers(model.layers, whole, context, showers.incidence.energy, geometry, recipe, fit, work / family, device)
    _train_cells(model.cells, showers, whole, context, geometry, recipe, fit)
    return model.eval()


def make_showers(
    paths: list[Path],
    detector: Detector,
    output: Path,
    recipe: Recipe,
    card: str | None,
    watch: Watch,
    device: str = "cpu",
) -> Model | None:
    """Train on hits records with deposits and write the model folder; checkpoints are kept in `output`.partial."""
    showers = load_showers(paths, detector)
    work = output.with_name(f"{output.name}.partial")
    made = {f: train_family(f, showers, detector, recipe, work, watch, device) for f in recipe.families}
    return export(made, showers, detector, recipe, output, card or _card(paths, showers, recipe))


def export(
    made: dict[str, FamilyModel], showers: Showers, detector: Detector, recipe: Recipe, output: Path, card: str
) -> Model | None:
    """Write the model folder that `simulate --backend ml` reads, weights in half precision; by one process alone."""
    weights = {}
    for family, model in made.items():
        weights |= {f"{family}.{name}": value for name, value in halved(model).items()}
    species = {family: list(model.conditioning.species) for family, model in made.items()}
    known = showers.incidence[np.isin(showers.incidence.pdg, [pdg for codes in species.values() for pdg in codes])]
    config = {
        "families": {family: recipe.sizes.model_dump(mode="json") for family in made},
        "species": species,
        "layers": detector.n_layers,
        "scales": ContextScales.of(detector).model_dump(mode="json"),
        "range": covered(known),
        "recipe": recipe.model_dump(mode="json"),
        "quality": [],
    }
    if not FIRST:
        return None
    return save_model(output, KIND, config, {"geometry": detector.geometry_digest}, weights, card)


def _card(paths: list[Path], showers: Showers, recipe: Recipe) -> str:
    """The card of a model that nobody has judged yet."""
    names = ", ".join(sorted({path.parent.parent.name for path in paths}))
    return f"""# Learned showers

Trained on {len(showers)} Geant4 showers ({names}). **Not validated**: compare it with Geant4 by `gen2reco validate
showers` before use, and write the numbers here.

Recipe: `{json.dumps(recipe.model_dump(mode="json"))}`"""


def _train_layers(
    model: LayerModel, whole: Drawn, context: NDArray, energy: NDArray, geometry: Geometry, recipe: Recipe, fit: Fit,
    work: Path, device: str,
) -> None:  # fmt: skip
    rng = np.random.default_rng(recipe.teacher.seed)
    x, mask = (torch.from_numpy(a) for a in to_vectors(whole, energy, geometry, rng))
    start, known = torch.from_numpy(whole.start), torch.from_numpy(context)
    told = model.condition(known, start)
    model.fit_scale(x, mask)
    _train_marginals(model, known, start, told, x, mask, recipe, fit)
    noise = torch.Generator().manual_seed(recipe.teacher.seed)
    model.fit_whitening(x, mask, told, noise)
    data = objectives.VectorData(model.inward(x, mask, told, noise).numpy(), told.numpy())
    fit("teacher", model.teacher, objectives.matching(model.teacher, data), recipe.teacher)
    model.student.load_state_dict(model.teacher.state_dict())
    again = np.arange(recipe.pairs) % len(data)
    wanted = objectives.VectorData(data.x[again], data.condition[again])
    pairs = kept_pairs(model.teacher, wanted, recipe.evaluations, recipe.student.seed, work / "pairs", device)
    fit("student", model.student, objectives.reflow(model.student, pairs), recipe.student)


def _train_marginals(
    model: LayerModel, known: Tensor, start: Tensor, told: Tensor, x: Tensor, mask: Tensor, recipe: Recipe, fit: Fit
) -> None:
    """What is drawn before the flow (start layers, which layers have cells), and the quantiles."""

    def batch(draw: Draw, *columns: Tensor) -> list[Tensor]:
        at = torch.from_numpy(draw.indices(len(x)))
        return [column[at].to(draw.device) for column in columns]

    def start_loss(draw: Draw) -> tuple[Tensor, dict[str, float]]:
        context, layer = batch(draw, known, start)
        loss = nn.functional.cross_entropy(model.start(context), layer)
        return loss, {"nll": loss.item()}

    def occupied_loss(draw: Draw) -> tuple[Tensor, dict[str, float]]:
        loss = model.occupied_loss(*batch(draw, mask, told))
        return loss, {"nll": loss.item()}

    def quantiles_loss(draw: Draw) -> tuple[Tensor, dict[str, float]]:
        loss = model.quantiles_loss(*batch(draw, x, mask, told))
        return loss, {"loss": loss.item()}

    fit("start", model.start, start_loss, recipe.start)
    fit("occupied", model.occupied, occupied_loss, recipe.start)
    fit("quantiles", model.quantiles, quantiles_loss, recipe.quantiles)


def _train_cells(
    model: CellModel, showers: Showers, whole: Drawn, context: NDArray, geometry: Geometry, recipe: Recipe, fit: Fit
) -> None:
    rows = layer_rows(showers.incidence, context, whole)
    rng = np.random.default_rng(recipe.cells.seed)
    chosen = np.sort(rng.permutation(len(rows.shower))[: recipe.rows])
    seen = _looked(showers, whole, np.stack([rows.shower[chosen], rows.layer[chosen]], 1), geometry)
    told = torch.from_numpy(rows.features[chosen])

    def objective(draw: Draw) -> tuple[Tensor, dict[str, float]]:
        at = draw.indices(len(told))
        occupancy, energy, halo = model.loss(*(torch.as_tensor(a).to(draw.device) for a in (told[at], *seen.of(at))))
        return occupancy + energy + halo, {"occupancy": occupancy.item(), "energy": energy.item(), "halo": halo.item()}

    fit("cells", model, objective, recipe.cells)
    model.fit_tables(showers, whole, geometry)


class _Looked:
    """Candidates of the chosen layers, one layer after the other; see `kernels.candidate_cells`."""

    def __init__(self, n_rows: int, n: int):
        self.first = np.zeros(n_rows + 1, np.int64)
        self.seen = np.zeros((n, sampler.N_FEATURES), np.float32)
        self.role, self.log_mips = np.zeros(n, np.uint8), np.zeros(n, np.float32)
        self.halo = np.zeros((n_rows, 2), np.float32)

    def of(self, rows: NDArray) -> tuple[NDArray, ...]:
        """Number of candidates of the chosen rows, what they are told, what they hold, and the rows' halo."""
        at, counts = members(self.first, rows)
        return counts, self.seen[at], self.role[at], self.log_mips[at], self.halo[rows]


def _looked(showers: Showers, whole: Drawn, rows: NDArray, geometry: Geometry) -> _Looked:
    out = _Looked(len(rows), 400 * len(rows) + 20_000)
    cells, _ = showers.per_layer(geometry.n_layers)
    edges = showers.first[:-1, None] + np.concatenate([np.zeros((len(cells), 1), int), np.cumsum(cells, 1)], 1)
    seeds = np.random.default_rng(0).integers(0, 2**32, len(rows))
    done = jit.load("gen2reco.simulate.showers.kernels.candidate_cells", ("maths", "window")).candidates(
        seeds, edges, axis_points(showers.incidence, geometry), np.ascontiguousarray(showers.incidence.slope),
        np.exp(whole.radii), geometry.detector.cell_size, geometry.r_min, geometry.r_max, showers.ix, showers.iy,
        showers.mips, rows, out.first, out.seen, out.role, out.log_mips, out.halo,
    )  # fmt: skip
    assert done == len(rows), "more candidates than room was made for"
    return out
