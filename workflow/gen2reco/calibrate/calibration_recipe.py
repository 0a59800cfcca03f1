"""The recipe of the calibration, and its training by the contract of all trainings; imports no torch."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from pydantic import Field

from gen2reco.config.block import Block
from gen2reco.flow.recipes import Training
from gen2reco.flow.trainings import Trained, Trainer

if TYPE_CHECKING:
    from gen2reco.calibrate.calibration_training import ObjectData


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


class CalibrationTrainer(Trainer):
    """Train the calibration of objects and of jets; they go to OUTPUT/objects and OUTPUT/jets.

    SOURCE is a folder with `clusters` files in it, or a campaign (.yaml), which is made first.
    """

    name, stage, backend, record, pattern = "calibration", "calibrate", "dnn", "clusters", "cluster*/*.parquet"
    parts, own_metrics = ("objects", "jets"), True
    recipe_file = "configs/models/calibration.yaml"
    Recipe = CalibrationRecipe

    def load(self) -> "ObjectData":
        """Candidates of the files. Raises InputError if the files differ in geometry or clustering."""
        from gen2reco.calibrate.calibration_training import load_objects

        return load_objects(self.files)

    def train(self, data: "ObjectData") -> Iterator[Trained]:
        """Train the calibration of objects, then, if there are jets, that of jets behind it."""
        from gen2reco.calibrate.calibration_training import train_objects
        from gen2reco.calibrate.jet_training import train_jets

        yield train_objects(data, self.files, self.recipe.objects, self.work)
        if jets := train_jets(self.files, self.output, self.recipe.jets, self.work):
            yield jets
