"""Decays of what lives long enough to be an item of the learned set: neutral pions, strange and heavy hadrons.

Decays to two bodies of neutral pions and strange hadrons are done here on arrays, with Pythia8's lifetimes, branching
ratios and masses; heavy hadrons and rare channels are Pythia8's own. Vertices come from the drawn lifetimes.
"""

from dataclasses import dataclass

import numpy as np
import pythia8mc

from gen2reco.errors import InputError
from gen2reco.generate import pythia_engine
from gen2reco.generate.hadronize import LIFETIME

TRIES = 10
SIMPLE = (111, 310, 3122, 3222, 3112, 3312, 3322, 3334)


@dataclass
class Particles:
    """Flat particles. pdg, event: (n,) int64; p: (n, 4) px, py, pz, E in GeV; vertex: (n, 4) x, y, z, t in mm."""

    pdg: np.ndarray
    event: np.ndarray
    p: np.ndarray
    vertex: np.ndarray

    def take(self, at: np.ndarray) -> "Particles":
        """The chosen particles."""
        return Particles(self.pdg[at], self.event[at], self.p[at], self.vertex[at])


def joined(parts: list[Particles]) -> Particles:
    """Several lists as one."""
    return Particles(*(np.concatenate([getattr(part, f) for part in parts]) for f in ("pdg", "event", "p", "vertex")))


class Decays:
    """Decays particles until all are stable. One Pythia8 is started; `reseed` fixes what it draws."""

    def __init__(self) -> None:
        self._pythia = pythia_engine.start([], None, own=["ProcessLevel:all = off"])
        data = self._pythia.particleData
        self._channels = {code: self._two_body(code) for code in SIMPLE}
        products = {abs(int(c)) for _, pairs in self._channels.values() for c in pairs.flat}
        self._mass = {code: data.m0(code) for code in products}
        self._lifetime = {code: data.tau0(code) for code in SIMPLE}
        for code in SIMPLE:
            data.mayDecay(code, False)

    def _two_body(self, code: int) -> tuple[np.ndarray, np.ndarray]:
        """Branching ratios and products (n, 2) of two-body channels, which are then closed in Pythia8."""
        entry = self._pythia.particleData.particleDataEntryPtr(code)
        channels = [entry.channel(i) for i in range(entry.sizeChannels())]
        pairs = [c for c in channels if c.multiplicity() == 2 and abs(c.product(0)) > 20 and abs(c.product(1)) > 20]
        total = sum(c.bRatio() for c in channels)
        ratios = np.array([c.bRatio() / total for c in pairs])
        products = np.array([(c.product(0), c.product(1)) for c in pairs])
        for channel in pairs:
            channel.onMode(0)
        return ratios, products

    def reseed(self, seed: int) -> None:
        """Fix what Pythia8 draws from here on."""
        pythia_engine.reseed(self._pythia, seed)

    def unstable(self, pdg: np.ndarray) -> np.ndarray:
        """Which particles decay before they could meet a detector: (n,) bool."""
        codes, inverse = np.unique(pdg, return_inverse=True)
        data = self._pythia.particleData
        decays = [abs(c) in SIMPLE or (bool(data.canDecay(int(c))) and bool(data.mayDecay(int(c)))) for c in codes]
        return np.array(decays, bool)[inverse]

    def __call__(self, particles: Particles, rng: np.random.Generator) -> Particles:
        """Decay everything that decays; products follow the stable particles, ordered by event."""
        done, todo = [], particles
        while len(todo.pdg):
            unstable = self.unstable(todo.pdg)
            done.append(todo.take(~unstable))
            todo = todo.take(unstable)
            simple = np.isin(np.abs(todo.pdg), SIMPLE)
            todo = joined([self._simple(todo.take(simple), rng), self._by_pythia(todo.take(~simple), None)])
        every = joined(done) if done else particles
        return every.take(np.argsort(every.event, kind="stable"))

    def _simple(self, mothers: Particles, rng: np.random.Generator) -> Particles:
        """Two-body decays; rare channels go to Pythia8, one species at a time."""
        parts = []
        for code in np.unique(np.abs(mothers.pdg)):
            chosen = mothers.take(np.abs(mothers.pdg) == code)
            ratios, products = self._channels[int(code)]
            channel = np.searchsorted(np.cumsum(ratios), rng.random(len(chosen.pdg)), side="right")
            rare = channel == len(ratios)
            parts.append(self._by_pythia(chosen.take(rare), int(code)))
            parts.append(self._pairs(chosen.take(~rare), products[channel[~rare]], int(code), rng))
        return joined(parts) if parts else mothers

    def _pairs(self, mothers: Particles, products: np.ndarray, code: int, rng: np.random.Generator) -> Particles:
        """Isotropic two-body decays at the end of an exponential lifetime."""
        n = len(mothers.pdg)
        m = np.sqrt(np.maximum(mothers.p[:, 3] ** 2 - (mothers.p[:, :3] ** 2).sum(1), 1e-12))
        m_a, m_b = (np.array([self._mass[abs(int(c))] for c in column]) for column in products.reshape(n, 2).T)
        k = np.sqrt(np.maximum((m**2 - (m_a + m_b) ** 2) * (m**2 - (m_a - m_b) ** 2), 0)) / (2 * m)
        cos, phi = rng.uniform(-1, 1, n), rng.uniform(-np.pi, np.pi, n)
        sin = np.sqrt(1 - cos**2)
        rest = k[:, None] * np.column_stack([sin * np.cos(phi), sin * np.sin(phi), cos])
        first = boosted(rest, np.sqrt(k**2 + m_a**2), m_a, mothers.p, m)
        second = boosted(-rest, np.sqrt(k**2 + m_b**2), m_b, mothers.p, m)
        vertex = mothers.vertex + mothers.p / m[:, None] * rng.exponential(self._lifetime[code], n)[:, None]
        flip = np.sign(mothers.pdg)[:, None] * np.where(np.isin(products, (22, 111, 130, 310)), 0, 1)
        codes = np.where(flip != 0, products * np.where(flip < 0, -1, 1), products)
        return Particles(
            codes.reshape(-1).astype(np.int64),
            np.repeat(mothers.event, 2),
            np.stack([first, second], 1).reshape(-1, 4),
            np.repeat(vertex, 2, axis=0),
        )

    def _by_pythia(self, mothers: Particles, only: int | None) -> Particles:
        """Pythia8 decays each mother down to stable or simple ones; `only` opens the rare channels of one species."""
        if not len(mothers.pdg):
            return mothers
        pythia, data = self._pythia, self._pythia.particleData
        if only is not None:
            data.mayDecay(only, True)
        rows, owner = [], []
        lifetimes = {int(c): data.tau0(int(c)) for c in np.unique(mothers.pdg)}
        masses = np.sqrt(np.maximum(mothers.p[:, 3] ** 2 - (mothers.p[:, :3] ** 2).sum(1), 0)).tolist()
        for i, (pdg, p, v) in enumerate(zip(mothers.pdg.tolist(), mothers.p.tolist(), mothers.vertex.tolist())):
            for _ in range(TRIES):
                event = pythia.event
                event.reset()
                event.append(pdg, 1, 0, 0, *p, masses[i])
                event[1].tau(lifetimes[pdg] * pythia.rndm.exp())
                event[1].vProd(*v)
                if pythia.next():
                    break
            else:
                raise InputError(f"Pythia8 does not decay particle {pdg} of {p[3]:.4g} GeV; report the seed")
            for j in range(1, event.size()):
                entry = event[j]
                if entry.isFinal():
                    rows.append(_row(entry))
                    owner.append(i)
        if only is not None:
            data.mayDecay(only, False)
        table = np.array(rows)
        return Particles(
            table[:, 0].astype(np.int64), mothers.event[np.array(owner)], table[:, 1:5].copy(), table[:, 5:].copy()
        )


def _row(entry: "pythia8mc.Particle") -> tuple[float, ...]:
    p, v = entry.p(), entry.vProd()
    return (entry.id(), p.px(), p.py(), p.pz(), p.e(), v.px(), v.py(), v.pz(), v.e())


def boosted(
    rest: np.ndarray, energy: np.ndarray, mass: np.ndarray, mother: np.ndarray, mother_mass: np.ndarray
) -> np.ndarray:
    """Momenta (n, 3) in the rest frames of mothers (n, 4) to the frame in which those move; energies on shell."""
    along = (mother[:, :3] * rest).sum(1)
    factor = (along / (mother[:, 3] + mother_mass) + energy) / mother_mass
    p = rest + factor[:, None] * mother[:, :3]
    return np.column_stack([p, np.sqrt((p**2).sum(1) + mass**2)])


__all__ = ["LIFETIME", "SIMPLE", "Decays", "Particles", "boosted", "joined"]
