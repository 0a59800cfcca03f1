"""What a generator particle brings to a calorimeter: its charge, whether it leaves a signal, and its true energy.

Properties come from the generator that made the event where its facts hold them (Pythia8's table with SLHA and `:new`
lines), else from one table: the PDG's, and Pythia8's own for what the PDG does not list.
"""

import locale
from collections.abc import Callable, Mapping
from contextlib import suppress
from functools import lru_cache
from typing import TYPE_CHECKING, Annotated, NamedTuple

import numpy as np
from numpy.typing import ArrayLike, NDArray
from pydantic import BaseModel, Field, StringConstraints

from gen2reco.config.block import Block, parse_block
from gen2reco.units import C_LIGHT

if TYPE_CHECKING:
    from pythia8mc import Pythia

NUCLEON_MASS = {2112: 0.93956542, 2212: 0.93827209}
"""GeV; other baryons leave a nucleon of the mean mass behind."""
_MEAN_NUCLEON_MASS = sum(NUCLEON_MASS.values()) / 2
HIGHEST_ENERGY = 1e5
"""GeV; the models of FTFP_BERT are valid up to 100 TeV (Geant4, Guide for Physics Lists)."""
_ION = 10**9
_BOTH_SIGNS = (11, 13, 15, 211, 311, 321, 411, 421, 431, 511, 521, 531, 541, 2112, 2212, 3112, 3122, 3212, 3222, 3312,
               3322, 3334, 4112, 4122, 4132, 4212, 4222, 4232, 4332, 5112, 5122, 5132, 5212, 5222, 5232, 5332,
               1000010020, 1000010030, 1000020030, 1000020040, 1010010030, 1010010040, 1010020040, 1010020050,
               1020000040, 1020010040)  # fmt: skip
TRACKED = frozenset({22, 111, 130, 221, 310, 331, 441, 443, 553, *_BOTH_SIGNS, *(-code for code in _BOTH_SIGNS)})
"""Codes that the reference simulation tracks: the particles of Geant4 11.4 with processes in FTFP_BERT."""


class ParticleProperties(Block):
    """Properties of one particle, as a generator's facts give them by PDG code."""

    name: Annotated[str, StringConstraints(max_length=100)]
    charge: float = Field(ge=-127, le=127)
    """In units of e."""
    coloured: bool
    """Whether it carries colour, as quarks and gluons do; hadrons are colourless."""
    visible: bool
    mass: float | None = Field(default=None, ge=0)
    """GeV."""
    lifetime: float | None = Field(default=None, ge=0)
    """Mean proper lifetime, ns."""


class _Info(BaseModel):
    particle_properties: dict[int, ParticleProperties] = {}


class _Generate(BaseModel):
    info: _Info = _Info()


class _Story(BaseModel):
    """The part of a file's facts by stage that is read here."""

    generate: _Generate = _Generate()


class _Facts(NamedTuple):
    """Properties of one code."""

    charge: int
    visible: bool
    coloured: bool
    known: bool
    unseen: bool
    mass: float
    name: str


_INTERNAL = ParticleProperties(name="generator's own", charge=0, coloured=True, visible=True)
"""Codes 81 to 100: clusters, strings and systems."""
_UNKNOWN = _Facts(charge=0, visible=False, coloured=False, known=False, unseen=False, mass=np.nan, name="unknown")


class Properties:
    """Properties of particles by arrays of PDG codes; the same code has the same properties everywhere."""

    def __init__(self, own: Mapping[int, ParticleProperties] | None = None):
        self._own = {code: _facts_of(code, stated) for code, stated in (own or {}).items()}

    @classmethod
    def of(cls, *stories: Mapping) -> "Properties":
        """The properties that the generate stage noted, from the facts by stage of files. Raises InputError."""
        own: dict[int, ParticleProperties] = {}
        for story in stories:
            own |= parse_block(story, _Story, "metadata of the input").generate.info.particle_properties
        return cls(own)

    def charge(self, pdg: ArrayLike) -> NDArray[np.int8]:
        """Electric charge in units of e; particles of unknown or fractional charge count as neutral."""
        return self._lookup(pdg, lambda facts: facts.charge).astype(np.int8)

    def visible(self, pdg: ArrayLike) -> NDArray[np.bool_]:
        """Whether each leaves a signal in an ideal detector: charged, a photon, a hadron, a nucleus or coloured."""
        return self._lookup(pdg, lambda facts: facts.visible).astype(bool)

    def unseen(self, pdg: ArrayLike) -> NDArray[np.bool_]:
        """Whether each is known to pass every detector without a signal: neutrinos, neutralinos, dark matter."""
        return self._lookup(pdg, lambda facts: facts.unseen).astype(bool)

    def coloured(self, pdg: ArrayLike) -> NDArray[np.bool_]:
        """Whether each is no final particle of nature: quarks, gluons, diquarks, clusters, strings."""
        return self._lookup(pdg, lambda facts: facts.coloured).astype(bool)

    def known(self, pdg: ArrayLike) -> NDArray[np.bool_]:
        """Whether any table holds each code."""
        return self._lookup(pdg, lambda facts: facts.known).astype(bool)

    def mass(self, pdg: ArrayLike) -> NDArray[np.float64]:
        """Mass in GeV, NaN where no table has it."""
        return self._lookup(pdg, lambda facts: facts.mass)

    def incident_energy(self, pdg: ArrayLike, energy: ArrayLike) -> NDArray[np.float64]:
        """True energy of an object in the calorimeter, GeV, from the particles' codes and total energies.

        Total energy of photons, leptons and mesons; kinetic energy of nucleons, plus twice the mass for antinucleons,
        which annihilate; other baryons and nuclei leave nucleons behind, so these masses are taken off. Zero for what
        is not visible.
        """
        left = np.maximum(np.asarray(energy, np.float64) - _each(pdg, _locked_mass), 0.0)
        return np.where(self.visible(pdg), left, 0.0)

    def name(self, code: int) -> str:
        """The particle's name, `unknown` if no table has it."""
        return self._facts(int(code)).name

    def _lookup(self, pdg: ArrayLike, of_facts: Callable[[_Facts], float]) -> NDArray:
        return _each(pdg, lambda code: of_facts(self._facts(code)))

    def _facts(self, code: int) -> _Facts:
        if code in self._own:
            return self._own[code]
        if -code in self._own:
            other = self._own[-code]
            return other._replace(charge=-other.charge, name=f"anti-{other.name}")
        return _standard(code)


def simulated(pdg: ArrayLike, energy: ArrayLike) -> NDArray[np.bool_]:
    """Whether the simulations take each particle: one of `TRACKED` of at most `HIGHEST_ENERGY` (total, GeV)."""
    return _each(pdg, TRACKED.__contains__).astype(bool) & (np.asarray(energy) <= HIGHEST_ENERGY)


def _each(pdg: ArrayLike, of_one: Callable[[int], float]) -> NDArray[np.float64]:
    codes, inverse = np.unique(np.asarray(pdg), return_inverse=True)
    return np.array([of_one(int(code)) for code in codes], dtype=np.float64)[inverse.reshape(np.shape(pdg))]


@lru_cache(maxsize=4096)
def _standard(code: int) -> _Facts:
    if 81 <= abs(code) <= 100:
        return _facts_of(code, _INTERNAL)
    stated = _of_pdg(code) or _of_pythia8(code)
    return _UNKNOWN if stated is None else _facts_of(code, stated)


def _facts_of(code: int, p: ParticleProperties) -> _Facts:
    visible = p.charge != 0 or (p.visible and (p.coloured or code == 22 or _strong(code)))
    decays = 23 <= abs(code) <= 49 and abs(code) != 39  # Z and Higgs bosons: final ones are not simulated, not unseen
    whole = int(p.charge) if float(p.charge).is_integer() else 0
    unseen = not visible and not p.visible and not decays
    return _Facts(whole, visible, p.coloured, True, unseen, np.nan if p.mass is None else p.mass, p.name)


def _strong(code: int) -> bool:
    """Whether the code is that of a hadron, R-hadron or nucleus; digits of other models do not count quarks."""
    from particle import PDGID

    pdgid, size = PDGID(code), abs(code)
    if pdgid.is_nucleus or pdgid.is_Rhadron:
        return True
    return pdgid.is_hadron and (size < 10**6 or 9 * 10**6 < size < 99 * 10**5 or 10**8 < size < _ION)


def _of_pdg(code: int) -> ParticleProperties | None:
    from particle import PDGID, InvalidParticle, Particle, ParticleNotFound

    try:
        p = Particle.from_pdgid(code)
    except (ParticleNotFound, InvalidParticle):
        pdgid = PDGID(code)
        if abs(code) < _ION or not pdgid.is_nucleus:
            return None
        return ParticleProperties(name=f"nucleus {code}", charge=pdgid.Z, coloured=False, visible=True)
    coloured = bool(p.pdgid.is_quark or p.pdgid.is_diquark or code == 21)
    charge = (p.three_charge or 0) / 3
    return ParticleProperties(
        name=p.name,
        charge=charge,
        coloured=coloured,
        visible=charge != 0 or code == 22 or coloured or _strong(code),
        mass=None if p.mass is None else p.mass / 1000,
        lifetime=p.lifetime if p.lifetime is not None and np.isfinite(p.lifetime) else None,
    )


def _of_pythia8(code: int) -> ParticleProperties | None:
    table = as_shipped().particleData
    if abs(code) >= 2**31 or not table.isParticle(code):
        return None
    return ParticleProperties(
        name=table.name(code),
        charge=table.chargeType(code) / 3,
        coloured=table.colType(code) != 0,
        visible=table.isVisible(code),
        mass=table.m0(code),
        lifetime=table.tau0(code) / C_LIGHT,
    )


def new_pythia() -> "Pythia":
    """A Pythia8 with its tables read, nothing more.

    It compares names in small letters, as the user's locale makes them: in Turkish `I` is none of `i`, and it knows no
    `onIfAny`. So letters are English from here on, as they are without a locale.
    """
    import pythia8mc

    with suppress(locale.Error):
        locale.setlocale(locale.LC_CTYPE, "C.UTF-8")
    return pythia8mc.Pythia("", False)


@lru_cache(maxsize=1)
def as_shipped() -> "Pythia":
    """Pythia8 as it starts, to be looked up and compared with, and never changed."""
    return new_pythia()


@lru_cache(maxsize=4096)
def _locked_mass(code: int) -> float:
    """Rest energy that the calorimeter does not measure, GeV; negative where annihilation adds to it."""
    from particle import PDGID

    pdgid = PDGID(code)
    if pdgid.is_nucleus:
        mass = _MEAN_NUCLEON_MASS * pdgid.A if abs(code) > _ION else NUCLEON_MASS[abs(code)]
    elif pdgid.is_baryon and abs(code) < 10**6:
        mass = _MEAN_NUCLEON_MASS
    else:
        return 0.0
    return mass if code > 0 else -mass


STANDARD = Properties()
"""The table alone."""
charge, visible, incident_energy = STANDARD.charge, STANDARD.visible, STANDARD.incident_energy
