"""What a readout may change of a detector: noise, thresholds, times, dead cells, signal and tracks, no showers."""

from pydantic import Field, PositiveFloat

from gen2reco.config.block import Block
from gen2reco.config.detector import Detector, Fraction


class OtherDigitisation(Block):
    """Values that replace those of the detector's digitisation; left out: as there. Those by which showers are made
    (`mip_energy`, `em_scale`, `time_window`) cannot be changed by a readout."""

    noise: float | None = Field(default=None, ge=0.0)
    """Standard deviation of a cell's noise, MIP."""
    threshold: PositiveFloat | None = None
    """Cells below it are not read out, MIP."""
    saturation: PositiveFloat | None = None
    """Largest deposit that a cell measures, MIP."""
    time_threshold: PositiveFloat | None = None
    """Deposits below it have no time, MIP."""
    time_constant: float | None = Field(default=None, ge=0.0)
    """Constant term of the time resolution, ns."""
    time_stochastic: float | None = Field(default=None, ge=0.0)
    """Time resolution times the deposit, ns MIP."""


class OtherTracker(Block):
    """Values that replace those of the detector's tracker; left out: as there."""

    eta_min: PositiveFloat | None = None
    """Smallest |eta| of the momentum at the production vertex."""
    eta_max: PositiveFloat | None = None
    """Largest |eta|."""
    pt_min: PositiveFloat | None = None
    """Smallest transverse momentum, GeV."""
    efficiency: Fraction | None = None
    """Probability that a particle in acceptance has a track."""
    sigma_constant: float | None = Field(default=None, ge=0.0)
    """Constant term of sigma(pT)/pT."""
    sigma_linear: float | None = Field(default=None, ge=0.0)
    """Term of sigma(pT)/pT that grows with pT, 1/GeV."""


class ReadoutChange(Block):
    """Differences of a sample's readout from that of the campaign's detector; the showers stay the same."""

    digitisation: OtherDigitisation = OtherDigitisation()
    """Values that replace those of the detector's digitisation."""
    em_scale: float = Field(default=1.0, gt=0, le=10)
    """Factor on all deposits ahead of noise and threshold: signal that is lost or gained and that no calibration knows
    of."""
    dead_cells: Fraction = 0.0
    """Share of the cells that are not read out, the same ones in every event; a larger share holds a smaller one."""
    tracker: OtherTracker = OtherTracker()
    """Values that replace those of the detector's tracker."""

    def applied(self, detector: Detector) -> Detector:
        """The detector with this digitisation and tracker."""
        digitisation, tracker = (
            getattr(detector, name).model_copy(update=getattr(self, name).model_dump(exclude_none=True))
            for name in ("digitisation", "tracker")
        )
        return detector.model_copy(update={"digitisation": digitisation, "tracker": tracker})

    def stated(self) -> dict:
        """The changes alone, as plain data; {} where there are none."""
        plain = self.model_dump(mode="json", include=set(ReadoutChange.model_fields), exclude_defaults=True)
        blocks = {key: value for key, value in plain.items() if isinstance(value, dict)}
        return plain | {key: {k: v for k, v in value.items() if v is not None} for key, value in blocks.items()}
