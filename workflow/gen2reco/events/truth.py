"""What a generator particle brings to a calorimeter: its charge, whether it is seen, and its true energy."""

from functools import lru_cache

import numpy as np
from numpy.typing import ArrayLike, NDArray

NUCLEON_MASS = {2112: 0.93956542, 2212: 0.93827209}
"""GeV; other baryons leave a nucleon of the mean mass behind."""
_MEAN_NUCLEON_MASS = sum(NUCLEON_MASS.values()) / 2
NEUTRINOS = (12, 14, 16)


def charge(pdg: ArrayLike) -> NDArray[np.int8]:
    """Electric charge in units of e; particles of unknown or fractional charge count as neutral."""
    return _lookup(pdg, _charge).astype(np.int8)


def known(pdg: ArrayLike) -> NDArray[np.bool_]:
    """Whether each number is a valid PDG code."""
    return _lookup(pdg, _known).astype(bool)


def is_neutrino(pdg: ArrayLike) -> NDArray[np.bool_]:
    """Whether each particle is a neutrino."""
    return np.isin(np.abs(np.asarray(pdg)), NEUTRINOS)


def incident_energy(pdg: ArrayLike, energy: ArrayLike) -> NDArray[np.float64]:
    """True energy of an object in the calorimeter, GeV, from the particles' codes and total energies.

    Total energy of photons, leptons and mesons; kinetic energy of nucleons, plus twice the mass for antinucleons,
    which annihilate; other baryons and nuclei leave nucleons behind, so these masses are taken off. Neutrinos: zero.
    """
    energy = np.asarray(energy, np.float64)
    seen = np.maximum(energy - _lookup(pdg, _locked_mass), 0.0)
    return np.where(is_neutrino(pdg), 0.0, seen)


def _lookup(pdg: ArrayLike, of_one) -> NDArray:
    codes, inverse = np.unique(np.asarray(pdg), return_inverse=True)
    return np.array([of_one(int(code)) for code in codes], dtype=np.float64)[inverse.reshape(np.shape(pdg))]


@lru_cache(maxsize=4096)
def _charge(code: int) -> float:
    from particle import PDGID

    value = PDGID(code).charge
    return value if value is not None and float(value).is_integer() else 0.0


@lru_cache(maxsize=4096)
def _known(code: int) -> bool:
    from particle import PDGID

    return bool(PDGID(code).is_valid)


@lru_cache(maxsize=4096)
def _locked_mass(code: int) -> float:
    """Rest energy that the calorimeter does not see, GeV; negative where annihilation adds to it."""
    from particle import PDGID

    pdgid = PDGID(code)
    if pdgid.is_nucleus:
        mass = _MEAN_NUCLEON_MASS * pdgid.A if abs(code) > 10**9 else NUCLEON_MASS[abs(code)]
    elif pdgid.is_baryon:
        mass = _MEAN_NUCLEON_MASS
    else:
        return 0.0
    return mass if code > 0 else -mass
