"""The recipe of the fused model; imports no torch."""

from pydantic import Field

from gen2reco.config.block import Block
from gen2reco.flow.recipes import Distillation, Training
from gen2reco.fuse.fused_config import FusedSizes


class FusedRecipe(Block):
    """A training of the fused model."""

    sizes: FusedSizes = FusedSizes()
    """Sizes of the networks."""
    reference_weight: int = Field(default=3, ge=1)
    """How many times a particle counts whose shower Geant4 made, compared with one of a learned shower."""
    common_energy: float = Field(default=5.0, gt=0)
    """Particles of more energy, GeV, are rare: they count in proportion to it ..."""
    hard_weight: int = Field(default=8, ge=1)
    """... up to so many times."""
    lepton_weight: int = Field(default=5, ge=1)
    """How many times electrons and muons count."""
    rarest: int = Field(default=10, ge=1)
    """Configurations of objects that occur less often are taken as the commonest with the same first objects."""
    choice: Training = Training(steps=8000, batch=1024)
    """Training of the configurations; a batch counts particles."""
    marginals: Training = Training(steps=8000, batch=768)
    """Training of the objects' numbers, one by one; a batch counts particles with objects, here and below."""
    teacher: Training = Training(steps=10_000, batch=512)
    """Training of the many-step teacher by flow matching."""
    pairs: int = Field(default=100_000, ge=1)
    """Particles of which the teacher draws objects for the student."""
    evaluations: int = Field(default=16, ge=2)
    """Network evaluations a teacher sample (midpoint rule)."""
    student: Training = Training(steps=8000, batch=512)
    """Distillation to one step."""

    @property
    def distillation(self) -> Distillation:
        """From the many-step teacher to the one-step student."""
        return Distillation(pairs=self.pairs, evaluations=self.evaluations, training=self.student)
