"""The training of learned generators by the contract of all trainings; imports no torch."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from gen2reco.flow.trainings import Trained, Trainer
from gen2reco.generate.hadronize.generation_recipe import GenerationRecipe

if TYPE_CHECKING:
    from gen2reco.generate.hadronize.dataset import Prepared
    from gen2reco.generate.hadronize.species import Species


class GenerationTrainer(Trainer):
    """Train a learned parton shower and hadronisation; the model folder is OUTPUT.

    SOURCE is a folder with `particles` files in it, or a campaign (.yaml), which is made first.
    """

    name, stage, backend, record = "generation", "generate", "ml", "particles"
    recipe_file, recipe_needed = "configs/models/generation_ee_qq_91.yaml", True
    Recipe = GenerationRecipe
    recipe: GenerationRecipe

    def load(self) -> "tuple[Prepared, Species, float]":
        """Prepared events, their species and sqrt(s), GeV. Raises InputError for events that are not of the recipe's
        domain, or of several energies."""
        from gen2reco.generate.hadronize.generation_training import load_data

        return load_data(self.recipe, self.files, self.work.folder, self.work.parent)

    def train(self, data: "tuple[Prepared, Species, float]") -> Iterator[Trained]:
        """Train counts, shapes and particles; one model holds them."""
        from gen2reco.generate.hadronize.generation_training import train_generation, trained

        yield trained(train_generation(self.recipe, *data, self.work), self.recipe, self.files)
