"""Settings of `validate`: selection and sizes of a comparison, and the limits of its verdict."""

from typing import Annotated, Self

from pydantic import Field, PositiveFloat, PositiveInt, model_validator

from gen2reco.config.block import Block

Limits = tuple[Annotated[float, Field(ge=0)], Annotated[float, Field(ge=0)]]
"""(pass, fail): at most the first passes, beyond the second fails, between them asks for attention."""


class Validation(Block):
    """Limits of the verdict, and the selection and sizes of the comparison."""

    auc: Limits = (0.60, 0.75)
    """Classifier two-sample test: area under the ROC curve (0.5 = no difference found)."""
    wasserstein: Limits = (0.10, 0.25)
    """Wasserstein-1 distance above its floor, in standard deviations of the reference."""
    mean: Limits = (0.01, 0.03)
    """Relative shift of a mean (multiplicity, energy response)."""
    width: Limits = (0.05, 0.15)
    """Relative shift of a width (multiplicity, resolution)."""
    profile: Limits = (0.03, 0.10)
    """Largest relative deviation of the mean energy per layer or ring, where these hold 95 % of the energy."""
    rate: Limits = (0.01, 0.03)
    """Absolute shift of an efficiency, purity, fake, merge, duplicate or split rate."""
    min_energy: PositiveFloat = 5.0
    """True particles below it take no part in response and rates, GeV."""
    abs_eta: tuple[PositiveFloat, PositiveFloat] = (1.7, 2.8)
    """Range of |eta| at the front face of the particles and jets that are judged."""
    min_jet_pt: PositiveFloat = 20.0
    """Jets below it take no part, GeV."""
    max_events: PositiveInt = 50_000
    """Events read per sample and stage."""
    classifier_events: PositiveInt = 1000
    """Largest number of units (events, showers, objects) of each sample that a classifier is trained and tested on."""
    resamples: Annotated[int, Field(ge=10)] = 100
    """Bootstrap resamples behind each uncertainty and floor."""
    seed: Annotated[int, Field(ge=0)] = 1
    """Seed of the resampling."""

    @model_validator(mode="after")
    def _ordered(self) -> Self:
        for name in ("auc", "wasserstein", "mean", "width", "profile", "rate", "abs_eta"):
            low, high = getattr(self, name)
            if low > high:
                raise ValueError(f"{name} = [{low:g}, {high:g}]: expected the smaller number first")
        return self
