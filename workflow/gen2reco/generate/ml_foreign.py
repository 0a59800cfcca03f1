"""What a process asks of shower, hadronisation and decays that no learned generator can do: those are learned."""

from typing import TYPE_CHECKING

from gen2reco.generate import ml_vertices, pythia_engine

if TYPE_CHECKING:
    import pythia8mc

# fmt: off
_HARD = frozenset((
    "Bottomonium", "Charmonium", "ContactInteractions", "DM", "ExcitedFermion", "ExtraDimensionsG*",
    "ExtraDimensionsLED", "ExtraDimensionsTEV", "ExtraDimensionsUnpart", "FourthBottom", "FourthGeneration",
    "FourthPair", "FourthTop", "HardQCD", "Higgs", "HiggsA3", "HiggsBSM", "HiggsH1", "HiggsH2", "HiggsHchg",
    "HiggsSM", "LeftRightSymmmetry", "LeptoQuark", "NewGaugeBoson", "Onia", "ParticleData", "PhaseSpace",
    "PhotonCollision", "PhotonParton", "ProcessLevel", "PromptPhoton", "ResonanceDecayFilter", "ResonanceWidths",
    "SLHA", "SUSY", "SUSYResonance", "SigmaProcess", "SoftQCD", "StandardModel", "Top", "WeakBosonAndParton",
    "WeakBosonExchange", "WeakDoubleBoson", "WeakSingleBoson", "WeakZ0", "Wprime", "Zp", "Zprime",
))
# fmt: on
"""Sections of Pythia8's settings that shape the hard process and nothing behind it."""
_QUIET = frozenset(("Check", "Init", "Main", "Next", "Parallelism", "Print", "Random", "Stat"))
_CONDITIONS = (
    frozenset(f"Beams:{name}" for name in ("idA", "idB", "eCM", "eA", "eB", "frameType", "LHEF", "newLHEFsameInit"))
    | {"MultipartonInteractions:pT0Ref", "PDF:lepton", "PartonLevel:MPI", "TimeShower:alphaSvalue"}
    | frozenset(ml_vertices.SETTINGS)
)
"""Settings by which the model judges whether it knows a run, which it takes as a condition, or which act here."""


def foreign_settings(pythia: "pythia8mc.Pythia") -> list[str]:
    """The settings, and particles with other properties than Pythia8's, with which no model was trained."""
    changed = pythia_engine.changed(pythia).items()
    lines = [f"setting `{name} = {_word(value)}`" for name, value in changed if not _harmless(name)]
    return lines + [f"another `{code}` than Pythia8's" for code in _changed_particles(pythia.particleData)]


def _harmless(name: str) -> bool:
    return name in _CONDITIONS or name.partition(":")[0] in _HARD | _QUIET


def _word(value: object) -> object:
    return {True: "on", False: "off"}[value] if isinstance(value, bool) else value


def _changed_particles(data: "pythia8mc.ParticleData") -> list[int]:
    """Codes of particles with changed properties or decays; resonances, which decay with the hard process, do not
    count."""
    found, code = [], 1
    while code:
        entry = data.particleDataEntryPtr(code)
        channels = (entry.channel(i) for i in range(entry.sizeChannels()))
        if not data.isResonance(code) and (entry.hasChanged() or any(c.hasChanged() for c in channels)):
            found.append(code)
        code = data.nextId(code)
    return found
