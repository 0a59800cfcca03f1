"""Makes metrics: names, randomness and limits of one stage and pair of samples."""

import zlib

import numpy as np

from gen2reco.config.validation import Limits, Validation
from gen2reco.statistics.measured import Measured
from gen2reco.validate.verdict import Metric, held_against, judge


class Ruler:
    """Makes the metrics of one stage and pair of samples: names, randomness and limits are settled here.

    `floors` keeps what a classifier finds in the reference alone, by its name, for the next candidate.
    """

    def __init__(self, stage: str, samples: tuple[str, ...], settings: Validation, floors: dict | None = None):
        self.stage, self.samples, self.settings = stage, samples, settings
        self.floors: dict[str, dict[int, float]] = {} if floors is None else floors

    def rng(self, name: str) -> np.random.Generator:
        """Randomness that belongs to a metric, so that adding one moves no other."""
        return np.random.default_rng([self.settings.seed, zlib.crc32(f"{self.stage}/{name}".encode())])

    def metric(
        self,
        name: str,
        title: str,
        measured: Measured,
        n: int,
        limits: Limits | None = None,
        *,
        above_floor: bool = False,
        headline: bool = False,
    ) -> Metric:
        """One metric with its verdict, where there are limits."""
        verdict, reason = judge(measured, limits, above_floor=above_floor) if limits else (None, "")
        held = held_against(measured, above_floor=above_floor) if verdict else ()
        value, uncertainty, floor = measured[:3]
        return Metric(
            self.stage, name, title, value, uncertainty, floor, int(n), self.samples, limits, verdict, reason, headline,
            *held,
        )  # fmt: skip
