"""The jet calibration: a small network on a jet's constituents that gives ln(true pT / pT) and its width.

As ATLAS and CMS regress jet momenta (arXiv:1912.06046, 2311.08885); a set network here, since constituents are few.
"""

from typing import Self

import awkward as ak
import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field, model_validator
from torch import Tensor, nn

from gen2reco.calibrate.jet_features import CONSTITUENT_NAMES, JET_NAMES, JetInputs
from gen2reco.config.block import Block
from gen2reco.flow.weights import fill
from gen2reco.run.model_folder import Bounds, Model, ModelConfig

KIND = "jet_calibration"
LOG_SHARE = 0
CLIP = 6.0
PT_REFERENCE = 50.0
"""GeV"""


class JetSizes(Block):
    """Sizes of the jet calibration."""

    jet: int = Field(ge=1, le=4096)
    """Features of a jet."""
    constituents: int = Field(ge=1, le=4096)
    """Features of a constituent."""
    constituent_width: int = Field(default=24, ge=1, le=4096)
    """Width of the layers that act on a constituent."""
    width: int = Field(default=48, ge=1, le=4096)
    """Width of the layers that act on a jet."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Dropout on the latter."""


class JetConfig(ModelConfig):
    """What of a jet calibration's config is used."""

    sizes: JetSizes
    closure: list[float] = Field(min_length=1, max_length=32)
    """Polynomial in ln(pT / PT_REFERENCE), highest power first."""
    closure_range: Bounds

    @model_validator(mode="after")
    def _fits_the_features(self) -> Self:
        if (self.sizes.jet, self.sizes.constituents) != (len(JET_NAMES), len(CONSTITUENT_NAMES)):
            raise ValueError(
                f"expected `jet` = {len(JET_NAMES)} and `constituents` = {len(CONSTITUENT_NAMES)} features"
            )
        return self


class JetNetwork(nn.Module):
    """The scale of the jet is a weighted sum of its constituents, each weighted by what the network makes of it."""

    def __init__(self, sizes: JetSizes):
        super().__init__()
        self.sizes = sizes
        for name, n in (("jet", sizes.jet), ("constituents", sizes.constituents)):
            self.register_buffer(f"{name}_mean", torch.zeros(n))
            self.register_buffer(f"{name}_std", torch.ones(n))
        w, h = sizes.constituent_width, sizes.width
        self.each = nn.Sequential(nn.Linear(sizes.constituents + sizes.jet, w), nn.ReLU(), nn.Linear(w, w), nn.ReLU())
        self.scale = nn.Linear(w, 1)
        self.whole = nn.Sequential(
            nn.Linear(2 * w + sizes.jet, h), nn.ReLU(), nn.Dropout(sizes.dropout), nn.Linear(h, h), nn.ReLU()
        )
        self.out = nn.Linear(h, 2)
        for layer in (self.scale, self.out):
            nn.init.zeros_(layer.weight)
            nn.init.zeros_(layer.bias)
        with torch.no_grad():
            self.out.bias[1] = -2.0

    def standardise(self, name: str, values: Tensor) -> None:
        """Set the scales of one kind of input from a sample of it: (n, features)."""
        getattr(self, f"{name}_mean").copy_(values.mean(0))
        getattr(self, f"{name}_std").copy_(values.std(0).clamp(min=1e-3))

    def forward(self, jet: Tensor, constituents: Tensor, mask: Tensor) -> tuple[Tensor, Tensor]:
        """(B, F), (B, P, K), (B, P) → mean and ln(width) of ln(true pT / pT): (B,) each."""
        share = torch.exp(constituents[..., LOG_SHARE]) * mask
        f = ((jet - self.jet_mean) / self.jet_std).clamp(-CLIP, CLIP)
        x = ((constituents - self.constituents_mean) / self.constituents_std).clamp(-CLIP, CLIP)
        x = self.each(torch.cat([x, f[:, None].expand(-1, x.shape[1], -1)], 2))
        factor = torch.exp(self.scale(x).squeeze(-1).clamp(-2.0, 2.0))
        total = ((share * factor).sum(1) + 1e-6) / (share.sum(1) + 1e-6)
        pool = [(share[..., None] * x).sum(1), (mask[..., None] * x).sum(1) / (mask.sum(1, keepdim=True) + 1e-6)]
        mean, log_sigma = self.out(self.whole(torch.cat([*pool, f], 1))).unbind(1)
        return mean + torch.log(total), log_sigma.clamp(-4.0, 1.0)


class JetScale:
    """A jet calibration at work: the network, and the closure fitted after its training. Raises InputError for weights
    that do not fit the config."""

    def __init__(self, model: Model):
        config = model.parsed(JetConfig)
        self.network = JetNetwork(config.sizes)
        fill(self.network, model.weights(), str(model.folder))
        self.network.eval()
        self.closure, self.limits = np.array(config.closure), np.array(config.closure_range)

    def apply(self, jets: ak.Array, inputs: JetInputs) -> ak.Array:
        """(events, var) jets with pt and mass scaled, hardest first again."""
        factor = ak.unflatten(scales(self.network, inputs, self.closure, self.limits), ak.num(jets))
        columns = {name: jets[name] for name in ("eta", "phi", "constituents")}
        scaled = ak.zip({"pt": jets.pt * factor, "mass": jets.mass * factor, **columns}, depth_limit=2)
        return scaled[ak.argsort(scaled.pt, axis=1, ascending=False)]


@torch.inference_mode()
def scales(network: JetNetwork, inputs: JetInputs, closure: NDArray, limits: NDArray) -> NDArray[np.float64]:
    """Factors on the four-momenta of n jets.

    closure: polynomial in ln(pT / PT_REFERENCE), held within `limits`, of ln(response) after the network, taken off.
    """
    if not len(inputs):
        return np.zeros(0)
    arrays = (inputs.jet, inputs.constituents, inputs.mask)
    mean = network(*(torch.from_numpy(np.ascontiguousarray(a, np.float32)) for a in arrays))[0].numpy()
    at = np.clip(inputs.jet[:, 0] + mean - np.log(PT_REFERENCE), *limits)
    return np.exp(mean.astype(np.float64) - np.polyval(closure, at))
