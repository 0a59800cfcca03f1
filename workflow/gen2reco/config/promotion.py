"""Criteria by which a new version of a model is promoted."""

from typing import Literal

from pydantic import Field

from gen2reco.config.block import Block


class Criterion(Block):
    """What one held-out metric must do for a candidate to be promoted."""

    metric: str
    """Name of the metric in the models' evaluations."""
    better: Literal["lower", "higher"] = "lower"
    """Which way is better."""
    sigmas: float = Field(default=2.0, ge=0)
    """How many combined standard deviations worse than the champion is still no loss; 0: any loss counts."""
    limit: float | None = None
    """A value that the candidate must keep to, whatever the champion does."""
