"""Settings that act only through what is added to Pythia8: here it is added, or the setting is refused by its name.

The table was made from all pages of the Pythia8 8.317 manual that speak of user hooks, plugins, pointers or the main
program.
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

import pythia8mc
from pythia8mc import Pythia

from gen2reco.errors import InputError
from gen2reco.generate import powheg
from gen2reco.generate.settings import entries

HOPELESS = 100_000  # decays of one hard process that the filter drops before it is called wrong


class DecayFilter(pythia8mc.ResonanceDecayFilterHook):
    """Pythia8's filter of decays, which draws decays anew until they pass, and so without end where none ever does."""

    def __init__(self, settings: "pythia8mc.Settings"):
        super().__init__(settings)
        self._misses = 0

    def doVetoResonanceDecays(self, process: "pythia8mc.Event") -> bool:
        """True to draw the decays anew. Raises InputError when they never pass."""
        vetoed = super().doVetoResonanceDecays(process)
        self._misses = self._misses + 1 if vetoed else 0
        if self._misses >= HOPELESS:
            raise InputError(
                f"Pythia8 setting `ResonanceDecayFilter:filter`: none of {HOPELESS} decays of a hard process passes; "
                "ask for decays that it has (those that an event file fixes stay as they are)"
            )
        return vetoed


@dataclass(frozen=True)
class Hook:
    """What Pythia8's Python package or this package holds: when it is wanted, and how it is made."""

    settings: tuple[str, ...]
    """Those that ask for it if they are on or above 0."""
    make: Callable[[Pythia], Any]
    only_files: bool = True
    """Whether it acts on the events of a file alone."""


@dataclass(frozen=True)
class Missing:
    """Values of a setting that ask for what is not installed."""

    setting: str
    values: Sequence
    through: str
    when: Callable[[Pythia], bool] = lambda pythia: True


HOOKS = (
    Hook(("JetMatching:merge",), lambda p: _jet_matching(p)()),
    Hook(("POWHEG:veto", "POWHEG:MPIveto"), powheg.PowhegVeto),
    Hook(("SetLHEDecayProduct:filter",), lambda p: pythia8mc.SetLHEDecayProductHook(p.settings, p.particleData)),
    Hook(("ResonanceDecayFilter:filter",), lambda p: DecayFilter(p.settings), only_files=False),
)

_ALPGEN, _MAIN = "the reader of ALPGEN's own files", "a main program that"
MISSING = (
    Missing("Alpgen:setHeavyMasses", (False,), _ALPGEN),
    Missing("Alpgen:setLightMasses", (True,), _ALPGEN),
    Missing("Alpgen:setMLM", (False,), _ALPGEN),
    Missing("Alpgen:setNjet", (False,), _ALPGEN),
    Missing("Angantyr:cascadeMode", (True,), f"{_MAIN} changes beams between events"),
    Missing("Beams:allowIDAswitch", (True,), f"{_MAIN} changes beams between events"),
    Missing("Beams:allowVariableEnergy", (True,), f"{_MAIN} changes energies between events"),
    Missing("JetMatching:doVeto", (False,), f"{_MAIN} vetoes events", lambda p: p.flag("JetMatching:merge")),
    Missing("Merging:applyVeto", (False,), f"{_MAIN} vetoes events"),
    Missing("Merging:doMerging", (True,), "a shower from outside Pythia8"),
    Missing("Merging:doMGMerging", (True,), "MadGraph's own file names; give its ktdurham as Merging:doKTMerging"),
    Missing("Merging:doUserMerging", (True,), "a merging scale written in C++"),
    Missing("Merging:runtimeAMCATNLOInterface", (True,), "an interface to aMC@NLO"),
    Missing("Merging:unlopsTMSdefinition", range(2**31), "a merging scale written in C++"),
    Missing("Merging:useShowerPlugin", (True,), "a shower from outside Pythia8"),
    Missing("LHAPDF:bSymmetric", (False,), "LHAPDF"),
    Missing("LHAPDF:cSymmetric", (False,), "LHAPDF"),
    Missing("LHAPDF:sSymmetric", (True,), "LHAPDF"),
    Missing("ProcessLevel:all", (False,), f"{_MAIN} fills the event"),
    Missing("SpaceShower:pdfMode", (1, 2), "an interface to aMC@NLO"),
    Missing("TimeShower:pdfMode", (1, 2), "an interface to aMC@NLO"),
    Missing("Tune:preferLHAPDF", (1, 2, 3), "LHAPDF"),
    Missing(
        "Vincia:EWmode", (3,), "a MadGraph library of matrix elements", lambda p: p.mode("PartonShowers:model") == 2
    ),
    Missing(
        "Vincia:modeMECs", (1,), "a MadGraph library of matrix elements", lambda p: not p.flag("Vincia:useInternalMEs")
    ),
    Missing("WeakShower:externalSetup", (True,), "merging", lambda p: not p.flag("Merging:allowWeakClustering")),
)


def missing(pythia: Pythia) -> list[Missing]:
    """What the settings ask for and is not installed."""
    return [row for row in MISSING if value_of(pythia, row.setting) in row.values and row.when(pythia)]


def add_hooks(pythia: Pythia) -> list[Any]:
    """Add, before `init`, what the settings act through. Returns it, to be kept as long as Pythia8.

    Raises InputError naming a setting that acts on the events of a file where Pythia8 makes its own.
    """
    wanted = [(hook, name) for hook in HOOKS for name in hook.settings if value_of(pythia, name)]
    for hook, name in wanted:
        if hook.only_files and pythia.mode("Beams:frameType") != 4:
            raise InputError(f"Pythia8 setting `{name}` acts only on the events of an LHE file; remove it")
    made = [_made(hook, pythia) for hook in dict.fromkeys(hook for hook, _ in wanted)]
    for hook in made:
        pythia.addUserHooksPtr(hook)
    return made


def _made(hook: Hook, pythia: Pythia) -> Any:
    """The hook, made without loss of its settings, which some of Pythia8's own reset when they are made."""
    groups = tuple({name.partition(":")[0] + ":" for name in hook.settings})
    before = [(kind, name, e.valNow) for kind, name, e in entries(pythia.settings) if name.startswith(groups)]
    made = hook.make(pythia)
    for kind, name, value in before:
        getattr(pythia.settings, kind.lower())(name, value)
    return made


def value_of(pythia: Pythia, name: str) -> bool | int:
    """The value of a flag or mode. Raises KeyError for a name that Pythia8 does not know."""
    if pythia.settings.isFlag(name):
        return pythia.flag(name)
    if pythia.settings.isMode(name):
        return pythia.mode(name)
    raise KeyError(name)


def _jet_matching(pythia: Pythia) -> Callable[[], Any]:
    by_scheme = {1: pythia8mc.JetMatchingMadgraph, 2: pythia8mc.JetMatchingAlpgen}
    return by_scheme[pythia.mode("JetMatching:scheme")]
