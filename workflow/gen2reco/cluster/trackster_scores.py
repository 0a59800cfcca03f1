"""How well tracksters match particles: TICL's efficiency, purity, fake, merge and duplicate rates, and the split rate.

Definitions of the CMS TICL validation, on the scores that the `clusters` record holds. Per particle: efficient if one
trackster holds at least half of its energy, pure if one has a sim-to-reco score below 0.2, duplicate if more than one
has, split if two or more hold a tenth of its energy each. Per trackster: fake if no particle has a reco-to-sim score
below 0.6, merged if more than one has. Particles count above 5 GeV and where the hits hold 70 % of their energy.

Beyond TICL, whose merge rate is blind to a particle swallowed by one of 1.3 times its energy: a particle is absorbed if
another one has more energy in its best trackster; a trackster is surplus if it is no particle's best.
"""

from dataclasses import dataclass
from typing import NamedTuple

import awkward as ak
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gen2reco.events import records
from gen2reco.events.lists import event_of, flat, flat_index, sizes
from gen2reco.events.truth import incident_energy

MIN_ENERGY = 5.0
MIN_DEPOSITED = 0.7
EFFICIENT = 0.5
PURE = 0.2
LINKED = 0.6
SPLIT = 0.1
MIN_NEIGHBOUR = 1.0
"""GeV; softer particles are nobody's neighbours."""
Entries = tuple[NDArray[np.float64], NDArray[np.float64], NDArray[np.float64]]

PARTICLE_RATES = ("efficiency", "purity", "duplicate", "split", "absorbed")
TRACKSTER_RATES = ("fake", "merge", "surplus")


class Count(NamedTuple):
    """How many of the things that count pass."""

    passed: int
    tried: int


@dataclass(frozen=True)
class ParticleScores:
    """The particles of a file that entered the calorimeter, flat: all arrays (n_particles,)."""

    event: NDArray[np.int64]
    pdg: NDArray[np.int64]
    energy: NDArray[np.float64]
    """True energy, GeV."""
    eta: NDArray[np.float64]
    """Pseudorapidity of where it enters the calorimeter, from the origin."""
    distance: NDArray[np.float64]
    """To the nearest other particle above 1 GeV at the front face, mm; infinite if there is none."""
    counted: NDArray[np.bool_]
    """Whether it is in the denominators."""
    best_share: NDArray[np.float64]
    """Largest share of its energy in the hits that one trackster holds."""
    clustered: NDArray[np.float64]
    """Share of its energy in the hits that all tracksters hold."""
    efficiency: NDArray[np.bool_]
    purity: NDArray[np.bool_]
    duplicate: NDArray[np.bool_]
    split: NDArray[np.bool_]
    absorbed: NDArray[np.bool_]


@dataclass(frozen=True)
class TracksterScores:
    """The tracksters (or fragments) of a file, flat: all arrays (n_tracksters,)."""

    event: NDArray[np.int64]
    energy: NDArray[np.float64]
    eta: NDArray[np.float64]
    """NaN for fragments."""
    distance: NDArray[np.float64]
    """Distance of the particle that it shares most energy with to that particle's nearest neighbour, mm."""
    fake: NDArray[np.bool_]
    merge: NDArray[np.bool_]
    surplus: NDArray[np.bool_]


def score(events: pa.Table, face: float, iteration: int | None = None) -> tuple[ParticleScores, TracksterScores]:
    """Scores of a `clusters` table with its `deposited` column, after linking or of one iteration's fragments; |z| of
    the front face, mm."""
    data = records.awkward(events)
    final = iteration is None
    found = data["associations" if final else "fragment_associations"]
    lists = data["tracksters" if final else "fragments"]
    chosen = np.ones(int(sizes(lists).sum()), bool) if iteration is None else flat(lists["iteration"]) == iteration
    event = event_of(found)
    trackster = flat_index(flat(found["trackster" if final else "fragment"]).astype(np.int64), lists, event)
    kept = chosen[trackster]
    particle = flat_index(flat(found["particle"]).astype(np.int64), data["particles"], event)
    trackster, particle = trackster[kept], particle[kept]
    scores = {name: flat(found[name])[kept] for name in ("reco_to_sim", "sim_to_reco", "shared_energy")}
    order = np.argsort(scores["shared_energy"], kind="stable")
    best, top = np.full(int(sizes(data["particles"]).sum()), -1), np.full(len(chosen), -1)
    best[particle[order]], top[trackster[order]] = trackster[order], particle[order]  # the largest stays
    absorbed = (best >= 0) & (np.append(top, -1)[best] != np.arange(len(best)))
    entries = _entries(data, face)
    apart = _distances(data, entries)
    particles = _score_particles(data, particle, scores, absorbed, entries, apart)
    n = len(chosen)
    linked = np.bincount(trackster, scores["reco_to_sim"] < LINKED, n)
    nearest = np.full(n, np.inf)
    nearest[top >= 0] = apart[top[top >= 0]]
    surplus = np.ones(n, bool)
    surplus[best[best >= 0]] = False
    eta = flat(lists["eta"]) if final else np.full(n, np.nan)
    fields: tuple[NDArray, ...] = (
        event_of(lists),
        flat(lists["energy"]),
        eta,
        nearest,
        linked == 0,
        linked > 1,
        surplus,
    )
    return particles, TracksterScores(*(values[chosen] for values in fields))


def counts(particles: ParticleScores, tracksters: TracksterScores) -> dict[str, Count]:
    """The particles and tracksters that pass, and those that count, by name of the rate."""
    found = {}
    for name in PARTICLE_RATES:
        found[name] = Count(int(getattr(particles, name)[particles.counted].sum()), int(particles.counted.sum()))
    for name in TRACKSTER_RATES:
        found[name] = Count(int(getattr(tracksters, name).sum()), len(tracksters.event))
    return found


def _score_particles(
    data: ak.Array, particle: NDArray, scores: dict[str, NDArray], absorbed: NDArray, entries: Entries, apart: NDArray
) -> ParticleScores:
    pdg, energy = flat(data["particles"]["pdg"]), flat(data["particles"]["energy"])
    n, deposited = len(pdg), flat(data["deposited"]).astype(float)
    truth = incident_energy(pdg, energy)
    share = scores["shared_energy"] / np.where(deposited > 0, deposited, 1.0)[particle]
    best = np.zeros(n)
    np.maximum.at(best, particle, share)
    pure = np.bincount(particle, scores["sim_to_reco"] < PURE, n)
    x, y, z = entries
    hit = deposited > 0
    fields: tuple[NDArray, ...] = (
        event_of(data["particles"]),
        pdg.astype(np.int64),
        truth,
        np.arcsinh(z / np.maximum(np.hypot(x, y), 1e-9)),
        apart,
        (truth > MIN_ENERGY) & (deposited >= MIN_DEPOSITED * truth),
        best,
        np.bincount(particle, share, n),
        best >= EFFICIENT,
        pure > 0,
        pure > 1,
        np.bincount(particle, share >= SPLIT, n) > 1,
        absorbed,
    )
    return ParticleScores(*(values[hit] for values in fields))


def _entries(data: ak.Array, face: float) -> Entries:
    """Where particles enter the calorimeter, x, y and z: with their track, else on the straight line from their vertex.

    Charged particles without a track are taken along their momentum: good to the bending of those few, which is what a
    distance of neighbours needs.
    """
    particles, tracks = data["particles"], data["tracks"]
    x, y, z, px, py, pz = (flat(particles[k]).astype(float) for k in ("vx", "vy", "vz", "px", "py", "pz"))
    along = (np.copysign(face, pz) - z) / np.where(pz == 0, 1e-9, pz)
    x, y, z = x + along * px, y + along * py, np.copysign(face, pz)
    tracked = flat_index(flat(tracks["particle"]).astype(np.int64), particles, event_of(tracks))
    for values, name in ((x, "x"), (y, "y"), (z, "z")):
        values[tracked] = flat(tracks[name])
    return x, y, z


def _distances(data: ak.Array, entries: Entries) -> NDArray[np.float64]:
    """Distance of each particle to its nearest other one above `MIN_NEIGHBOUR` in the same endcap, mm."""
    from scipy.spatial import cKDTree

    x, y, z = entries
    heavy = (flat(data["deposited"]) > 0) & (flat(data["particles"]["energy"]) > MIN_NEIGHBOUR)
    side = 2 * event_of(data["particles"]) + (z > 0)
    apart = np.full(len(x), np.inf)
    if heavy.sum() > 1:
        # events and sides are moved so far apart in a third coordinate that neighbours are always of the same one
        points = np.column_stack([x, y, side * 1e6])
        found, _ = cKDTree(points[heavy]).query(points, k=2)
        apart = np.where(heavy, found[:, 1], found[:, 0])
        apart[apart > 1e5] = np.inf
    return apart
