"""The recipe of learned showers; imports no torch."""

from typing import Any, Literal, Self

from pydantic import Field, model_validator

from gen2reco.config.block import Block
from gen2reco.flow.recipes import Distillation, Training
from gen2reco.simulate.showers.shower_config import Family, Layers, NetworkSizes, ShowerSizes


class LayersRecipe(Block):
    """How the layers of a shower are drawn."""

    family: Layers = "flow"
    """`flow`: flow matching with a student of one evaluation; `depth`: a recurrent network over the layers, trained for
    the teacher's steps; or another generative model of the flow's size, for those of teacher and student together."""
    energies: Literal["cells", "shares"] = "cells"
    """What is drawn of a layer's energy: that of a cell, scaled to the response, or its share of what the layers before
    have left, which adds up to it. `depth` knows `cells` alone."""

    @model_validator(mode="after")
    def _known(self) -> Self:
        if self.family == "depth" and self.energies != "cells":
            raise ValueError("`energies`: the family `depth` knows `cells` alone; leave `energies` out")
        return self


class FamilyRecipe(Block):
    """A training of the showers of a family of species."""

    sizes: NetworkSizes = NetworkSizes()
    """Sizes of the networks."""
    layers: LayersRecipe = LayersRecipe()
    """How the layers are drawn."""
    start: Training = Training(steps=1500, batch=512)
    """Training of the start layer, and of which layers have cells."""
    quantiles: Training = Training(steps=2500, batch=512)
    """Training of the quantiles."""
    teacher: Training = Training(steps=8000, batch=512)
    """Training of the many-step teacher by flow matching."""
    pairs: int = Field(default=60_000, ge=1)
    """Teacher samples that the student learns from."""
    evaluations: int = Field(default=32, ge=2)
    """Network evaluations a teacher sample (midpoint rule)."""
    student: Training = Training(steps=6000, batch=512)
    """Distillation to one step."""
    rows: int = Field(default=100_000, ge=1)
    """Layers that the cells are learned from."""
    cells: Training = Training(steps=6000, batch=128, learning_rate=2e-3, mixed_precision=False)
    """Training of the cells; a batch counts layers."""

    @property
    def networks(self) -> ShowerSizes:
        """The networks of each family of species."""
        return ShowerSizes(
            **self.sizes.model_dump(), layers=self.layers.family, energies=self.layers.energies, halo="odds"
        )

    @property
    def distillation(self) -> Distillation:
        """From the many-step teacher to the one-step student."""
        return Distillation(pairs=self.pairs, evaluations=self.evaluations, training=self.student)


class ShowerRecipe(FamilyRecipe):
    """A training of learned showers."""

    families: list[Family] = ["electromagnetic", "hadron", "muon"]
    """Families of species to train, of electromagnetic, hadron, muon."""
    own: dict[Family, FamilyRecipe] = {}
    """What families train in another way than the rest: a key given here stands in the place of the whole one above."""

    @model_validator(mode="after")
    def _completed(self) -> Self:
        if other := [family for family in self.own if family not in self.families]:
            raise ValueError(f"`own`: `{other[0]}` is not in `families`; add it there, or leave it out")
        for family, given in self.own.items():
            theirs = {name: getattr(given, name) for name in given.model_fields_set}
            self.own[family] = FamilyRecipe(**self._shared | theirs)
        return self

    @property
    def _shared(self) -> dict[str, Any]:
        return {name: getattr(self, name) for name in FamilyRecipe.model_fields}

    def of(self, family: Family) -> FamilyRecipe:
        """How one family is trained."""
        return self.own.get(family) or FamilyRecipe(**self._shared)
