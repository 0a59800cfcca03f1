"""Where a shower model is valid: species, energies, slopes; and the nearest valid particle to one outside."""

from dataclasses import dataclass, replace

import numpy as np
from numpy.typing import NDArray

from gen2reco.events.truth import charge
from gen2reco.simulate.showers.incidence import Incidence
from gen2reco.simulate.showers.shower_config import ShowersConfig

_STANDS_FOR = {"charged": 211, "negative": -211, "baryon": 2112, "neutral": 130}
FEW = 20
"""Showers at either end of energies and slopes that a model is not trusted for."""
_TO_PHOTONS = (111, 221)
"""Neutral pions and etas, which decay to photons where they are."""


@dataclass(frozen=True)
class Range:
    """Valid species, incident energies (GeV) and steepness (transverse over longitudinal momentum)."""

    species: tuple[int, ...]
    energy: tuple[float, float]
    steepness: tuple[float, float]

    @classmethod
    def of(cls, config: ShowersConfig) -> "Range":
        """The range that a model's config states."""
        species = tuple(pdg for family in config.families for pdg in config.species[family])
        return cls(species, config.range.energy, config.range.steepness)

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

    @property
    def soft(self) -> str:
        """The reason of particles that have too little energy."""
        return f"energies below {self.energy[0]:g} GeV"

    def reasons(self, inc: Incidence) -> NDArray[np.str_]:
        """Why particles that are not valid are outside: (n,)."""
        species = np.array([f"species {code}" for code in inc.pdg.tolist()], str)
        tests = [~np.isin(inc.pdg, self.species), inc.energy < self.energy[0], inc.energy > self.energy[1]]
        texts = [species, *(np.array(text) for text in (self.soft, f"energies above {self.energy[1]:g} GeV"))]
        return np.select(tests, texts, f"slopes outside {self.steepness[0]:g} to {self.steepness[1]:g}")

    def without_stand_in(self) -> str:
        """The species that stand for others and that the model lacks; empty where it has all."""
        stand_ins = {22, *_STANDS_FOR.values(), -_STANDS_FOR["baryon"]}
        return ", ".join(str(code) for code in sorted(stand_ins - set(self.species)))

    def nearest(self, inc: Incidence) -> tuple[Incidence, NDArray[np.float64]]:
        """Particles moved to the nearest valid point, and the factor of their deposits' energies: (n,).

        Species stand for others of their kind and charge; a shower of less or more energy than the range holds is the
        nearest valid one, in proportion.
        """
        energy = np.clip(inc.energy, *self.energy)
        steep = np.maximum(inc.steepness, 1e-9)
        slope = inc.slope * (np.clip(steep, *self.steepness) / steep)[:, None]
        return replace(inc, pdg=self.stand_ins(inc.pdg), energy=energy, slope=slope), inc.energy / energy

    def stand_ins(self, pdg: NDArray) -> NDArray[np.int64]:
        """The species that are drawn for particles: theirs, or that which stands for it."""
        return np.where(np.isin(pdg, self.species), pdg, _like(pdg))


def _like(pdg: NDArray) -> NDArray[np.int64]:
    """The species that stands for each: one of its charge that showers alike."""
    q, size = charge(pdg), np.abs(pdg)
    baryon = (size >= 1000) & (size < 10_000)
    neutral = np.where(baryon, np.sign(pdg) * _STANDS_FOR["baryon"], _STANDS_FOR["neutral"])
    choices = [_STANDS_FOR["charged"], _STANDS_FOR["negative"], 22]
    return np.select([q > 0, q < 0, np.isin(pdg, _TO_PHOTONS)], choices, neutral)


def covered(inc: Incidence) -> dict[str, list[float]]:
    """The range that showers cover, but for FEW of them, at most a hundredth, at either end of energies and slopes, as
    `config.json` states it."""
    apart = min(0.01, FEW / len(inc))
    (low, high), (flat, steep) = (np.quantile(value, [apart, 1 - apart]) for value in (inc.energy, inc.steepness))
    return {
        "energy": [_below(low), float(np.ceil(high / 10) * 10)],
        "steepness": [float(np.floor(flat * 100) / 100), float(np.ceil(steep * 100) / 100)],
    }


def _below(energy: float) -> float:
    """The energy, rounded down to two digits."""
    step = 10.0 ** (np.floor(np.log10(energy)) - 1)
    return float(round(np.floor(energy / step + 1e-9) * step, 12))
