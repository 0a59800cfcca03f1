"""The training of the fused model by the contract of all trainings; imports no torch."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gen2reco.flow.trainings import Trained, Trainer
from gen2reco.fuse.fused_recipe import FusedRecipe

if TYPE_CHECKING:
    from gen2reco.fuse.pairs import Pairs


class FusedTrainer(Trainer):
    """Train the fused model, particles straight to calibrated objects; the model folder is OUTPUT.

    SOURCE is a folder with `objects` files and the `clusters` files that they were made of, or a campaign (.yaml),
    which is made first.
    """

    name, stage, backend, record, pattern = "fused", "fuse", "fused", "objects", "calibrate/*.parquet"
    recipe_file = "configs/models/fused.yaml"
    Recipe = FusedRecipe
    recipe: FusedRecipe

    def load(self) -> "tuple[Pairs, str]":
        """Particles with the objects that the chain made of them, and the digest of their calibration. Raises
        InputError where they are not of one calibration `dnn`."""
        from gen2reco.fuse.pairs import load_pairs

        return load_pairs(self.files.paths, self.files.detector)

    def train(self, data: "tuple[Pairs, str]") -> Iterator[Trained]:
        """Train configurations, marginals and flow; one model holds them."""
        from gen2reco.fuse.fused_training import train_fused, trained

        pairs, calibration = data
        model = train_fused(pairs, self.files, self.recipe, self.work)
        yield trained(model, pairs, calibration, self.files.detector, self.recipe, self.files.made_by("simulate"))
