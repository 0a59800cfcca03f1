"""The training of learned showers by the contract of all trainings; imports no torch."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gen2reco.flow.trainings import Trained, Trainer
from gen2reco.simulate.showers.shower_recipe import ShowerRecipe

if TYPE_CHECKING:
    from gen2reco.simulate.showers.data import Showers


class ShowerTrainer(Trainer):
    """Train learned showers; the model folder is OUTPUT.

    SOURCE is a folder with `hits` files of single particles with deposits in it, or a campaign (.yaml), which is made
    first.
    """

    name, stage, backend, record, pattern = "showers", "simulate", "ml", "hits", "simulate/*.parquet"
    recipe_file = "configs/models/showers.yaml"
    Recipe = ShowerRecipe
    recipe: ShowerRecipe

    def load(self) -> "Showers":
        """All showers of the files. Raises InputError for events of several particles or without deposits."""
        from gen2reco.simulate.showers.shower_training import load_showers

        return load_showers(self.files)

    def train(self, data: "Showers") -> Iterator[Trained]:
        """Train family by family; one model holds them all."""
        from gen2reco.simulate.showers.shower_training import train_family, trained

        detector, families = self.files.detector, self.recipe.families
        made = {f: train_family(f, data, detector, self.recipe.of(f), self.work.within(f)) for f in families}
        yield trained(made, data, detector, self.recipe, self.files.made_by("simulate"))
