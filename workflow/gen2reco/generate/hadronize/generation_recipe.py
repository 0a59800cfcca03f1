"""The recipe of learned generators; imports no torch."""

from typing import Literal, Self

from pydantic import Field, model_validator

from gen2reco.config.block import Block
from gen2reco.flow.recipes import Distillation, Training

Domain = Literal["quark_pair", "dijet", "minimum_bias"]


class GenerationSizes(Block):
    """Sizes of the networks."""

    counts_width: int = Field(default=96, ge=8)
    """Width of the counts' network."""
    shapes_width: int = Field(default=192, ge=8)
    """Width of the shapes' network."""
    shapes_depth: int = Field(default=4, ge=1)
    """Residual blocks of the shapes' network."""
    width: int = Field(default=96, ge=8)
    """Width of a particle's state."""
    depth: int = Field(default=4, ge=1)
    """Layers of the particles' network."""
    pooled: int = Field(default=64, ge=8)
    """Width of a hemisphere's state."""


class GenerationRecipe(Block):
    """A training of the learned generator."""

    domain: Domain = "quark_pair"
    """What is learned: a quark and its antiquark at rest (e+e-), two partons scattered in a hadron collision (`dijet`),
    or whole inelastic collisions of protons (`minimum_bias`)."""
    events: int | None = Field(default=None, ge=1)
    """Most events to take of each sample; left out: all."""
    least_per_event: float = Field(default=1e-4, gt=0)
    """Rarer species are left out, with the events that hold them."""
    sizes: GenerationSizes = GenerationSizes()
    """Sizes of the networks."""
    counts: Training | None = None
    """Training of the counts; left out: the closed form."""
    shapes: Training | None = None
    """Training of the shapes' teacher; left out: the closed form."""
    shapes_score: Training | None = None
    """Training of the one-step shapes by their energy score, after whatever comes before."""
    shapes_distillation: Distillation | None = None
    """Distillation of the shapes' teacher; left out: the teacher is used as it is."""
    particles: Training | None = None
    """Training of the particles' teacher; left out: the student starts from the closed form."""
    particles_distillation: Distillation | None = None
    """Distillation of the particles' teacher."""
    finetune: Training | None = None
    """Quark pairs only. Fine-tuning of the one-step student against data, with an adversary and an energy distance."""
    critic_learning_rate: float = Field(default=1e-3, gt=0)
    """Largest learning rate of the adversary."""

    @model_validator(mode="after")
    def _consistent(self) -> Self:
        if self.finetune and self.domain != "quark_pair":
            raise ValueError(f"`finetune` does not know domain `{self.domain}`; leave it out")
        return self
