"""The training of the calibration by the contract of all trainings; imports no torch."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gen2reco.calibrate.calibration_recipe import CalibrationRecipe
from gen2reco.flow.trainings import Trained, Trainer

if TYPE_CHECKING:
    from gen2reco.calibrate.calibration_training import ObjectData


class CalibrationTrainer(Trainer):
    """Train the calibration of objects and of jets; they go to OUTPUT/objects and OUTPUT/jets.

    SOURCE is a folder with `clusters` files in it, or a campaign (.yaml), which is made first.
    """

    name, stage, backend, record, pattern = "calibration", "calibrate", "dnn", "clusters", "cluster*/*.parquet"
    parts, own_metrics = ("objects", "jets"), True
    recipe_file = "configs/models/calibration.yaml"
    Recipe = CalibrationRecipe
    recipe: CalibrationRecipe

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
