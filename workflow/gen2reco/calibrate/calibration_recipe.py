"""The recipe of the calibration; imports no torch."""

from pydantic import Field

from gen2reco.config.block import Block
from gen2reco.flow.recipes import Training


class ObjectRecipe(Block):
    """How the calibration network is trained."""

    point_width: int = Field(default=32, ge=1)
    """Width of the layers that act on each layer cluster."""
    width: int = Field(default=96, ge=1)
    """Width of the layers that act on a candidate."""
    dropout: float = Field(default=0.05, ge=0, lt=1)
    """Dropout on the latter."""
    jet_share: float = Field(default=0.3, ge=0, le=1)
    """Share of each batch drawn from events of many particles."""
    identity_weight: float = Field(default=1.0, ge=0)
    """Weight of the identity's cross-entropy, that of the energy's likelihood being 1."""
    direction_weight: float = Field(default=0.2, ge=0)
    """Weight of the direction's loss."""
    training: Training = Training(steps=6000, batch=256, learning_rate=2e-3, weight_decay=1e-3, average=0.998)
    """The optimisation."""


class JetRecipe(Block):
    """How the jet calibration is trained."""

    constituent_width: int = Field(default=24, ge=1)
    """Width of the layers that act on a constituent."""
    width: int = Field(default=48, ge=1)
    """Width of the layers that act on a jet."""
    dropout: float = Field(default=0.1, ge=0, lt=1)
    """Dropout on the latter."""
    training: Training = Training(steps=2000, batch=256, learning_rate=1e-3, weight_decay=1e-2, average=0.995)
    """The optimisation."""


class CalibrationRecipe(Block):
    """The release calibration: how its networks are trained."""

    objects: ObjectRecipe = ObjectRecipe()
    """The network that calibrates objects."""
    jets: JetRecipe = JetRecipe()
    """The network that calibrates jets of them."""
