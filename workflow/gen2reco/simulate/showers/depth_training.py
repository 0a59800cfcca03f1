"""Train layers that are drawn one after the other: the network over depth, then the responses of both sides."""

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from gen2reco.detector.geometry import Geometry
from gen2reco.flow.training import Draw
from gen2reco.flow.training_parts import Work
from gen2reco.simulate.showers.depth_model import DepthModel, Given, Response, shape_of
from gen2reco.simulate.showers.layer_model import Drawn
from gen2reco.simulate.showers.shower_recipe import FamilyRecipe

BATCH = 2000
"""Showers that the network draws at a time."""


def train_depth(
    model: DepthModel,
    whole: Drawn,
    context: NDArray[np.float32],
    energy: NDArray,
    geometry: Geometry,
    recipe: FamilyRecipe,
    work: Work,
) -> None:
    """Train on whole showers, context (n, n_context), energy (n,) GeV: by `start` of the recipe the start layer,
    by `teacher` the network over depth, by `quantiles` the responses, those of its own showers from `pairs` draws."""
    if not work.parent:
        model.fit_bounds(whole)
    train_start(model.start, context, whole.start, recipe, work)
    of_particle = [torch.from_numpy(a) for a in (context, energy.astype(np.float32), whole.start)]
    columns = [torch.from_numpy(a).float() for a in (whole.cells, whole.mips, whole.radii)]

    def layers(draw: Draw) -> tuple[Tensor, dict[str, float]]:
        at = torch.from_numpy(draw.indices(len(context)))
        given = Given(*(column[at].to(draw.device) for column in of_particle))
        cells, mips, radii = (column[at].to(draw.device) for column in columns)
        loss = model.loss(given, cells, mips, radii, draw.uniform(len(at), model.n_layers))
        return loss, {"nll": loss.item()}

    work.fit("layers", model, layers, recipe.teacher)
    _train_response("response", model.true, context, whole, energy, geometry, recipe, work)
    chosen = np.arange(recipe.pairs) % len(context)
    rng = np.random.default_rng(recipe.student.seed)
    parts = [
        model.unscaled(torch.from_numpy(context[some]), energy[some], rng)
        for some in np.split(chosen, range(BATCH, len(chosen), BATCH))
    ]
    own = Drawn(*(np.concatenate(columns) for columns in zip(*(vars(part).values() for part in parts))))
    _train_response("own_response", model.own, context[chosen], own, energy[chosen], geometry, recipe, work)


def train_start(network: nn.Module, context: NDArray, start: NDArray, recipe: FamilyRecipe, work: Work) -> None:
    """Train a network of the chances of start layers (n,), given the context (n, n_context), by `start` of the
    recipe."""
    known, layer = torch.from_numpy(context), torch.from_numpy(start)

    def objective(draw: Draw) -> tuple[Tensor, dict[str, float]]:
        at = torch.from_numpy(draw.indices(len(known)))
        loss = nn.functional.cross_entropy(network(known[at].to(draw.device)), layer[at].to(draw.device))
        return loss, {"nll": loss.item()}

    work.fit("start", network, objective, recipe.start)


def _train_response(
    name: str,
    response: Response,
    context: NDArray,
    whole: Drawn,
    energy: NDArray,
    geometry: Geometry,
    recipe: FamilyRecipe,
    work: Work,
) -> None:
    some = whole.mips.any(1)
    shape, log_response = shape_of(whole, energy, geometry)
    inputs, known = torch.from_numpy(np.concatenate([context, shape], 1)[some]), torch.from_numpy(log_response[some])

    def objective(draw: Draw) -> tuple[Tensor, dict[str, float]]:
        at = torch.from_numpy(draw.indices(len(known)))
        loss = response.loss(inputs[at].to(draw.device), known[at].to(draw.device))
        return loss, {"nll": loss.item()}

    work.fit(name, response, objective, recipe.quantiles)
