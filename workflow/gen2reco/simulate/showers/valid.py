"""Where a shower model is valid: species, energies, slopes; and the nearest valid particle to one outside."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gen2reco.campaign.models import Model
from gen2reco.events.truth import charge
from gen2reco.simulate.showers.incidence import FAMILIES, Incidence

_STANDS_FOR = {"charged": 211, "negative": -211, "baryon": 2112, "neutral": 130}


@dataclass(frozen=True)
class Range:
    """Valid species, incident energies (GeV) and steepness (transverse over longitudinal momentum)."""

    species: tuple[int, ...]
    energy: tuple[float, float]
    steepness: tuple[float, float]

    @classmethod
    def of(cls, model: Model) -> "Range":
        """The range that a model's config states."""
        stated = model.config["range"]
        species = tuple(pdg for family in model.config["families"] for pdg in FAMILIES[family])
        return cls(species, tuple(stated["energy"]), tuple(stated["steepness"]))

    def __str__(self) -> str:
        return (
            f"species {', '.join(map(str, self.species))}; {self.energy[0]:g} to {self.energy[1]:g} GeV; slopes "
            f"{self.steepness[0]:.3g} to {self.steepness[1]:.3g}"
        )

    def valid(self, inc: Incidence) -> NDArray[np.bool_]:
        """Which particles are inside."""
        inside = np.isin(inc.pdg, self.species)
        for value, (low, high) in ((inc.energy, self.energy), (inc.steepness, self.steepness)):
            inside &= (value >= low) & (value <= high)
        return inside

    def nearest(self, inc: Incidence) -> tuple[Incidence, NDArray[np.float64]]:
        """Particles moved to the nearest valid point, and the factor of their deposits' energies: (n,).

        Species stand for others of their kind and charge; a shower of less or more energy than the model knows is the
        nearest one it knows, in proportion.
        """
        energy = np.clip(inc.energy, *self.energy)
        steep = np.maximum(inc.steepness, 1e-9)
        slope = inc.slope * (np.clip(steep, *self.steepness) / steep)[:, None]
        pdg = np.where(np.isin(inc.pdg, self.species), inc.pdg, _like(inc.pdg))
        return replace(inc, pdg=pdg, energy=energy, slope=slope), inc.energy / energy


def _like(pdg: NDArray) -> NDArray[np.int64]:
    """The species that stands for each: one of its charge that showers alike."""
    q, size = charge(pdg), np.abs(pdg)
    baryon = (size >= 1000) & (size < 10_000)
    neutral = np.where(baryon, np.sign(pdg) * _STANDS_FOR["baryon"], _STANDS_FOR["neutral"])
    return np.select([q > 0, q < 0], [_STANDS_FOR["charged"], _STANDS_FOR["negative"]], neutral)


def covered(inc: Incidence) -> dict[str, list[float]]:
    """The range that showers cover, but for a hundredth at either end of the energies, as `config.json` states it."""
    (low, high), steep = np.quantile(inc.energy, [0.01, 0.99]), inc.steepness
    return {
        "energy": [float(np.floor(low * 10) / 10), float(np.ceil(high / 10) * 10)],
        "steepness": [float(np.floor(steep.min() * 100) / 100), float(np.ceil(steep.max() * 100) / 100)],
    }
