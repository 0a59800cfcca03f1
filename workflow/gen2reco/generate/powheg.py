"""POWHEG events matched to the shower: emissions harder than POWHEG's own are vetoed (hep-ph/0409146).

Settings, definitions of hardness and the choice of what is compared are those of the Pythia8 manual's page on POWHEG
matching, for the simple shower; Pythia8 has them in a C++ header, which its Python package does not hold.
"""

import weakref
from collections.abc import Iterator, Sequence

import numpy as np
import pythia8mc
from numpy.typing import NDArray

from gen2reco.errors import InputError

_LIMITS = {"SpaceShower:pTmaxMatch": 2, "TimeShower:pTmaxMatch": 2}
_MPI_LIMIT = {"MultipartonInteractions:pTmaxMatch": 2}


def wanted(pythia: "pythia8mc.Pythia") -> bool:
    """Whether the settings ask for the veto on emissions or on multiparton interactions."""
    return pythia.mode("POWHEG:veto") > 0 or pythia.mode("POWHEG:MPIveto") > 0


class PowhegVeto(pythia8mc.UserHooks):
    """Vetoes emissions of the hard system above the hardness of the POWHEG event; counts them by `vetoed`."""

    def __init__(self, pythia: "pythia8mc.Pythia"):
        """Before `init`: showers then start at the kinematical limit. Raises InputError for what is not offered."""
        super().__init__()
        names = ("nFinal", "veto", "vetoCount", "pThard", "pTemt", "emitted", "pTdef", "MPIveto", "QEDveto")
        self._of = {name: pythia.mode(f"POWHEG:{name}") for name in names}
        self._pythia = weakref.proxy(pythia)  # which owns this hook
        self._in_a_row, self._born, self._hardness, self._mpi_limit, self.vetoed = 0, True, 0.0, 0.0, 0
        if pythia.mode("PartonShowers:model") != 1:
            raise InputError("POWHEG:veto is offered for PartonShowers:model = 1 alone; choose that, or no veto")
        if self._of["nFinal"] < 1 and self._of["pThard"]:
            raise InputError("POWHEG:pThard = 1 or 2 needs POWHEG:nFinal, the number of outgoing Born particles")
        limits = (_LIMITS if self._of["veto"] else {}) | (_MPI_LIMIT if self._of["MPIveto"] else {})
        for name, value in limits.items():
            pythia.settings.mode(name, value)

    def canVetoMPIStep(self) -> bool:
        """Pythia8's switch; the first step shows the event as POWHEG made it."""
        return True

    def numberVetoMPIStep(self) -> int:
        """Steps after which the event is shown."""
        return 1

    def doVetoMPIStep(self, interactions: int, event: "pythia8mc.Event") -> bool:
        """Takes the hardness of a new event; vetoes none. Raises InputError for another number of particles."""
        if interactions > 1:
            return False
        final = _last_final(event)
        emission = self._emission(event, final)
        self._born, self._in_a_row = emission is None, 0
        if self._born or self._of["pThard"] == 0:
            self._hardness = self._pythia.infoPython().scalup()
        else:
            self._hardness = self._least(event, None if self._of["pThard"] == 2 else emission)
        transverse = [event[i].pT() for i in final]
        self._mpi_limit = transverse[0] if self._born and transverse else sum(transverse) / 2
        return False

    def canVetoISREmission(self) -> bool:
        """Pythia8's switch for the next method."""
        return self._of["veto"] > 0

    def doVetoISREmission(self, size: int, event: "pythia8mc.Event", system: int) -> bool:
        """True to drop an emission off an incoming parton. `size`: entries of the event before it."""
        if not self._checks(system):
            return False
        at = {event[i].status(): i for i in range(size, event.size())}
        radiator, emitted, recoiler = at[-41], at[43], at[-42]
        if self._of["pTemt"] == 0:
            kinematic = self._of["pTdef"] < 2
            found = event[emitted].pT() if kinematic else _shower_pt(event, radiator, emitted, recoiler, -1)
        else:
            found = self._least(event, None if self._of["pTemt"] == 2 else emitted)
        return self._vetoes(found, event[emitted])

    def canVetoFSREmission(self) -> bool:
        """Pythia8's switch for the next method."""
        return self._of["veto"] > 0

    def doVetoFSREmission(self, size: int, event: "pythia8mc.Event", system: int, resonance: bool) -> bool:
        """True to drop an emission off an outgoing parton: the last three entries are radiator, emitted, recoiler."""
        if not self._checks(system):
            return False
        radiator, emitted, recoiler = (event.size() - n for n in (3, 2, 1))
        if event[emitted].status() != 51 or event[recoiler].status() not in (52, -53):
            raise InputError(
                "POWHEG:veto: an emission with another recoil than the shower's own; leave that at default"
            )
        before, mode = event[emitted].mother1(), self._of["emitted"]
        swapped = mode in (1, 3) or (mode == 2 and self._pythia.rndm.flat() >= 0.5)
        first = radiator if swapped else emitted
        if self._of["pTemt"] == 0:
            found = self._final_pt(event, before, first, radiator, recoiler)
        elif self._of["pTemt"] == 1:
            found = self._least(event, first)
            found = min(found, self._least(event, emitted)) if mode == 3 else found
        else:
            found = self._least(event, None)
        return self._vetoes(found, event[emitted])

    def canVetoMPIEmission(self) -> bool:
        """Pythia8's switch for the next method."""
        return self._of["MPIveto"] > 0

    def doVetoMPIEmission(self, size: int, event: "pythia8mc.Event") -> bool:
        """True to drop a further interaction that is harder than the event."""
        return event[event.size() - 1].pT() > self._mpi_limit

    def _emission(self, event: "pythia8mc.Event", final: list[int]) -> int | None:
        """The entry that POWHEG emitted, if it did."""
        expected = self._of["nFinal"]
        if expected > 0 and len(final) not in (expected, expected + 1):
            raise InputError(
                f"POWHEG:nFinal = {expected}, but an event has {len(final)} outgoing particles; expected {expected} "
                f"or {expected + 1}"
            )
        if expected > 0:
            return event.size() - 1 if len(final) > expected else None
        partons = (i for i in reversed(final) if event[i].isParton() and event[event[i].mother1()].isParton())
        return next(partons, None)

    def _checks(self, system: int) -> bool:
        """Whether an emission of this system is compared: of the hard one, until enough were accepted in a row."""
        return system == 0 and self._in_a_row < self._of["vetoCount"]

    def _vetoes(self, pt: float, emitted: "pythia8mc.Particle") -> bool:
        harder = pt > self._hardness
        if harder and self._born and emitted.colType() == 0 and self._of["QEDveto"] == 2:
            self._in_a_row = self._of["vetoCount"]  # a hard photon off a Born event: the rest is accepted
            return False
        self._in_a_row = 0 if harder else self._in_a_row + 1
        self.vetoed += harder
        return harder

    def _final_pt(self, event: "pythia8mc.Event", before: int, emitted: int, radiator: int, recoiler: int) -> float:
        """Hardness of an emission off an outgoing parton, by POWHEG:pTdef."""
        if self._of["pTdef"] == 0:
            return event[emitted].pT()
        if self._of["pTdef"] == 1:
            return float(_powheg_distance(_momenta(event, [before]), _momenta(event, [emitted]), self._beta(event))[0])
        return _shower_pt(event, radiator, emitted, recoiler, 1)

    def _beta(self, event: "pythia8mc.Event") -> float:
        """Velocity of the hard system along z."""
        a, b = _momenta(event, [self._pythia.partonSystems.getInA(0), self._pythia.partonSystems.getInB(0)])
        return (a[2] + b[2]) / (a[3] + b[3])

    def _least(self, event: "pythia8mc.Event", emitted: int | None) -> float:
        """Least hardness of this outgoing parton, or of all, against all incoming and outgoing; −1 if none."""
        final = [i for i in range(event.size()) if event[i].isFinal() and self._counts(event[i])]
        chosen = final if emitted is None else [i for i in final if i == emitted]
        pairs = self._shower_pairs if self._of["pTdef"] == 2 else self._powheg_pairs
        pt = np.concatenate([np.ravel(part) for part in pairs(event, final, chosen)])
        return float(pt[pt > 0].min(initial=np.inf)) if (pt > 0).any() else -1.0

    def _counts(self, particle: "pythia8mc.Particle") -> bool:
        return self._of["QEDveto"] > 0 or particle.colType() != 0

    def _powheg_pairs(self, event: "pythia8mc.Event", final: list[int], chosen: list[int]) -> Iterator[NDArray]:
        """Transverse momenta of the chosen, and with POWHEG:pTdef = 1 their distances to the hard system's partons."""
        p = _momenta(event, chosen)
        yield np.hypot(p[:, 0], p[:, 1])
        systems = self._pythia.partonSystems
        others = [systems.getOut(0, n) for n in range(systems.sizeOut(0))] if self._of["pTdef"] else []
        others = [i for i in others if self._counts(event[i])]
        distance = _powheg_distance(_momenta(event, others)[:, None], p, self._beta(event))
        copied = [event[i].daughter1() if event[i].daughter1() == event[i].daughter2() else -1 for i in others]
        same = np.equal.outer(others, chosen) | np.equal.outer(copied, chosen)
        yield np.where(same.reshape(distance.shape), -1.0, distance)

    def _shower_pairs(self, event: "pythia8mc.Event", final: list[int], chosen: list[int]) -> Iterator[NDArray]:
        """Evolution variables of the chosen off each incoming parton, and off each outgoing one with any recoiler."""
        systems = self._pythia.partonSystems
        incoming = [_first(event, systems.getInA(0), 1), _first(event, systems.getInB(0), 2)]
        p, a, b = _momenta(event, chosen), *_momenta(event, incoming)
        masses = [_heavy_mass(event[i]) for i in (*incoming, *final)]
        yield _evolution_pt(a, p, b, masses[0], -1)
        yield _evolution_pt(b, p, a, masses[1], -1)
        recoilers = np.array([*incoming, *final])
        for radiator, mass in zip(final, masses[2:], strict=True):
            k = _momenta(event, [radiator])[0]
            pt = _evolution_pt(k, p[:, None], _momenta(event, recoilers.tolist()), mass, 1)
            own = np.equal.outer(chosen, recoilers) | (recoilers == radiator) | (np.array(chosen) == radiator)[:, None]
            yield np.where(own, -1.0, pt)


def _last_final(event: "pythia8mc.Event") -> list[int]:
    """The final entries at the end of the event, in one block."""
    start = event.size()
    while start > 1 and event[start - 1].isFinal():
        start -= 1
    return list(range(start, event.size()))


def _first(event: "pythia8mc.Event", i: int, beam: int) -> int:
    """The incoming parton of this beam from which entry i came."""
    while event[i].mother1() != beam:
        i = event[i].mother1()
    return i


def _momenta(event: "pythia8mc.Event", at: Sequence[int]) -> NDArray[np.float64]:
    """Four-momenta px, py, pz, E of entries: (n, 4), GeV."""
    vectors = (event[int(i)].p() for i in at)
    return np.array([(p.px(), p.py(), p.pz(), p.e()) for p in vectors]).reshape(-1, 4)


def _product(p: NDArray, q: NDArray) -> NDArray:
    return p[..., 3] * q[..., 3] - (p[..., :3] * q[..., :3]).sum(-1)


def _powheg_distance(p: NDArray, q: NDArray, beta: float) -> NDArray:
    """POWHEG's d_ij in the rest frame of the hard system along z, which moves with `beta`, in GeV."""
    a, b = p[..., 3] - beta * p[..., 2], q[..., 3] - beta * q[..., 2]
    return np.sqrt(np.maximum(_product(p + q, p + q) * a * b, 0.0)) / (a + b)


def _heavy_mass(particle: "pythia8mc.Particle") -> float:
    return particle.m0() if 4 <= particle.idAbs() <= 6 else 0.0


def _shower_pt(event: "pythia8mc.Event", radiator: int, emitted: int, recoiler: int, sign: int) -> float:
    a, b, c = _momenta(event, [radiator, emitted, recoiler])
    return float(_evolution_pt(a, b, c, _heavy_mass(event[radiator]), sign))


def _evolution_pt(a: NDArray, b: NDArray, c: NDArray, mass: float, sign: int) -> NDArray:
    """The simple shower's evolution variable in GeV of radiator a, emitted b and recoiler c, −1 where it has none.

    `sign`: 1 for an outgoing radiator, −1 for an incoming one, whose energy fraction is of the incoming masses.
    """
    q = a + sign * b
    with np.errstate(divide="ignore", invalid="ignore"):
        if sign > 0:
            x, y = _product(a + b + c, a), _product(a + b + c, b)
            factor = x * y / (x + y) ** 2
        else:
            factor = 1 - _product(a - b + c, a - b + c) / _product(a + c, a + c)
        squared = factor * (sign * _product(q, q) - sign * mass**2)
        return np.where(squared >= 0, np.sqrt(np.maximum(squared, 0.0)), -1.0)
