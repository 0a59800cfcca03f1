"""A shower model of one family of species, and the model folder that holds all of them."""

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from torch import nn

from gen2reco.detector.geometry import Geometry
from gen2reco.flow.weights import fill
from gen2reco.run.model_folder import Model
from gen2reco.simulate.showers.cells import CellModel
from gen2reco.simulate.showers.depth_model import DepthModel
from gen2reco.simulate.showers.incidence import Conditioning, Incidence
from gen2reco.simulate.showers.layer_model import LayerModel
from gen2reco.simulate.showers.shower_config import ShowersConfig, ShowerSizes

KIND = "showers"


@dataclass(frozen=True)
class Cells:
    """Deposits of showers, arrays (n,). owner: index of the shower; layer from 1; delay: ns behind light."""

    owner: NDArray[np.int64]
    layer: NDArray[np.int64]
    ix: NDArray[np.int64]
    iy: NDArray[np.int64]
    mips: NDArray[np.float64]
    delay: NDArray[np.float64]


class FamilyModel(nn.Module):
    """Layers, then cells, of the showers of one family."""

    def __init__(self, conditioning: Conditioning, n_layers: int, sizes: ShowerSizes):
        super().__init__()
        self.conditioning = conditioning
        layers = DepthModel if sizes.layers == "depth" else LayerModel
        self.layers = layers(len(conditioning), n_layers, sizes)
        self.cells = CellModel(len(conditioning), n_layers)

    @torch.no_grad()
    def draw(
        self,
        inc: Incidence,
        geometry: Geometry,
        rng: np.random.Generator,
        evaluations: int = 1,
        network: str = "student",
    ) -> Cells:
        """Showers of particles of this family; `evaluations` of the flow network each."""
        context = self.conditioning.context(inc)
        known = torch.from_numpy(context).to(next(self.parameters()).device)
        whole = self.layers.draw(known, inc.energy, geometry, rng, network, evaluations)
        return Cells(*self.cells.draw(inc, context, whole, geometry, rng))


def load(model: Model) -> dict[str, FamilyModel]:
    """The networks of a model folder, by family. Raises InputError if its weights do not fit its config."""
    config = model.parsed(ShowersConfig)
    networks = nn.ModuleDict(
        {
            family: FamilyModel(Conditioning(tuple(config.species[family]), config.scales), config.layers, sizes)
            for family, sizes in config.families.items()
        }
    )
    fill(networks, model.weights(), str(model.folder))
    return {family: network.eval() for family, network in networks.items()}
