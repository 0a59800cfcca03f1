"""Where and when beams collide, as Pythia8's settings spread it: of events that a learned generator makes."""

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    import pythia8mc

_AXES = ("VertexX", "VertexY", "VertexZ", "Time")
SETTINGS = (
    "Beams:allowVertexSpread",
    "Beams:maxDevVertex",
    "Beams:maxDevTime",
    *(f"Beams:{kind}{axis}" for kind in ("sigma", "offset") for axis in _AXES),
)


@dataclass(frozen=True)
class VertexSpread:
    """Normal distributions of x, y, z, t in mm: offset, width and largest deviation in widths, (4,) each; Pythia8's
    BeamShape."""

    offset: np.ndarray
    sigma: np.ndarray
    most: np.ndarray

    @classmethod
    def of(cls, pythia: "pythia8mc.Pythia") -> "VertexSpread":
        """That of a Pythia8's settings, initialised or not."""
        on = pythia.flag("Beams:allowVertexSpread")
        offset, sigma = (
            np.array([pythia.parm(f"Beams:{kind}{axis}") if on else 0.0 for axis in _AXES])
            for kind in ("offset", "sigma")
        )
        most = [pythia.parm(f"Beams:maxDev{name}") for name in ("Vertex", "Vertex", "Vertex", "Time")]
        return cls(offset, sigma, np.array(most))

    def draw(self, n: int, rng: np.random.Generator) -> np.ndarray:
        """Vertices (n, 4) in mm; no random number is drawn where nothing is spread."""
        if not self.sigma.any():
            return np.tile(self.offset, (n, 1))
        z = rng.standard_normal((n, 4))
        while (far := np.abs(z) > self.most).any():
            z[far] = rng.standard_normal(int(far.sum()))
        return self.offset + self.sigma * z
