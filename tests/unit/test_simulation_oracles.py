"""Planted steps and streams through the simulators: energies per layer, times less the light's, nothing drawn twice."""

from types import SimpleNamespace

import awkward as ak
import numpy as np
import pytest
from calibrate_events import DETECTOR, GEOMETRY
from face_particles import events_of, particle

from gen2reco.detector.digitise import Deposits
from gen2reco.detector.geometry import decode
from gen2reco.detector.propagate import enter, propagate
from gen2reco.events import records
from gen2reco.run.seeds import streams
from gen2reco.run.stage import Chunk, make_backend
from gen2reco.simulate.hits_record import hits_table
from gen2reco.units import C_LIGHT

READOUT = DETECTOR.digitisation


class Planted:
    """Stands for Geant4: the same steps for each particle, given as (layer, x, y, deposit in MeV, delay in ns)."""

    def __init__(self, steps):
        layer, x, y, deposit, delay = np.array(steps).T
        z = GEOMETRY.z[layer.astype(int) - 1]
        self.steps = np.column_stack([deposit, x, y, z, np.sqrt(x**2 + y**2 + z**2) / C_LIGHT + delay])

    def shoot(self, at_face, seeds):
        assert (at_face.position[:, 2] > 0).all() and len(np.unique(seeds)) == seeds.size
        return np.tile(self.steps, (len(at_face), 1)), np.repeat(np.arange(len(at_face)), len(self.steps))


def deposits_of(steps, *sides: int) -> Deposits:
    """What the reference makes of these steps, for one photon in each of the endcaps."""
    backend = make_backend("simulate", "geant4", {}, DETECTOR)
    backend.engine = Planted(steps)
    lists = [[particle(eta=side * 2.0) for side in sides]]
    at_face = propagate(records.awkward(events_of(lists)).particles, DETECTOR)
    return backend.deposits(at_face, np.random.default_rng(1))


def test_deposits_over_weight_are_the_sums_of_the_steps_in_each_layer():
    rng = np.random.default_rng(2)
    layers = np.repeat(np.arange(1, 48), 20)
    xy = rng.normal([800, -300], 25, (len(layers), 2))
    steps = np.column_stack([layers, xy, rng.exponential(0.1, len(layers)), rng.uniform(0, 0.5, len(layers))])
    found = deposits_of(steps, 1, -1)
    cells = decode(found.cell)
    silicon = np.array([steps[layers == k, 3].sum() for k in range(1, 48)])
    for number, side in enumerate((1, -1)):
        mine = found.particle == number
        assert (cells.side[mine] == side).all() and (found.event[mine] == 0).all()
        energy = np.bincount(cells.layer[mine] - 1, found.energy[mine], 47)
        assert energy / GEOMETRY.gev_per_mip * READOUT.mip_energy == pytest.approx(silicon)
    assert len(np.unique(GEOMETRY.gev_per_mip)) > 3, "layers of one weight would hide a neighbour's"


def test_steps_fall_into_the_cell_that_holds_them():
    steps = [(3, 700.0 + x, -400.0 + y, 1.0, 0.1) for x in (-4.0, 4.0) for y in (-4.0, 4.0)]
    found = deposits_of([*steps, steps[0]], 1)
    x, y, z = GEOMETRY.position(found.cell)
    assert len(found) == 4 and (z == GEOMETRY.z[2]).all()
    for at in steps:
        (nearest,) = np.flatnonzero((np.abs(x - at[1]) <= 5) & (np.abs(y - at[2]) <= 5))
        weight = found.energy[nearest] / GEOMETRY.gev_per_mip[2] * READOUT.mip_energy
        assert weight == pytest.approx(2.0 if at == steps[0] else 1.0)


def test_times_are_less_the_lights_and_energy_weighted_late_and_outer_steps_are_lost():
    cell = np.array([705.0, -395.0])
    late = READOUT.time_window
    steps = [
        (5, *cell, 3.0, 0.2),
        (5, *cell, 1.0, 1.0),
        (5, *(cell + 40), 1.0, late - 0.05),
        (5, *(cell + 80), 1.0, late + 0.05),
        (5, 5000.0, 5000.0, 1.0, 0.2),
    ]
    found = deposits_of(steps, 1, -1)
    assert found.time.tolist() == pytest.approx([0.4, late - 0.05] * 2, abs=1e-9)


# --- streams


def chunk(n: int):
    """Events of one charged pion, with deposits of 10 MIP in cells of their own."""
    events = events_of([[particle(211, energy=60.0, phi=phi)] for phi in np.linspace(-3, 3, n)])
    cells = GEOMETRY.nth_cell(np.arange(n) * 500 + 7)
    energy = 10 * GEOMETRY.gev_per_mip[decode(cells).layer - 1]
    at = np.arange(n)
    return events, cells, Deposits(at, cells, np.zeros(n, int), energy, np.zeros(n))


def test_showers_readout_and_tracks_draw_from_streams_of_their_own():
    """The noise of the hits and the smearing of the tracks are no numbers that another stream of the chunk begins with,
    whether drawn at once or after as many uniform ones."""
    n, seed = 400, 11
    events, cells, deposits = chunk(n)
    made = records.awkward(hits_table(events, enter(events, DETECTOR), deposits, GEOMETRY, seed, False))
    flat = ak.flatten(made.hits)
    own = np.isin(ak.to_numpy(flat.cell), cells)
    energy, layer = (ak.to_numpy(flat[name])[own] for name in ("energy", "layer"))
    noise = (energy / GEOMETRY.gev_per_mip[layer - 1] - 10) / READOUT.noise
    tracked = ak.to_numpy(ak.num(made.tracks)) == 1
    momentum = np.hypot(*(ak.to_numpy(made.tracks[name][tracked, 0]).astype(float) for name in ("px", "py")))
    assert len(noise) == n and tracked.sum() > 0.9 * n
    for number, stream in enumerate(streams(seed)):
        at_once = np.random.Generator(type(stream.bit_generator)())
        at_once.bit_generator.state = stream.bit_generator.state
        drawn = at_once.normal(size=n)
        stream.random(n)
        after = stream.normal(size=n)
        assert [bool(abs(np.corrcoef(noise, one)[0, 1]) > 0.5) for one in (drawn, after)] == [number == 1, False]
        smeared = [abs(np.corrcoef(momentum, one[tracked])[0, 1]) > 0.5 for one in (drawn, after)]
        assert smeared == [False, number == 2]


def test_streams_of_chunks_differ():
    firsts = [stream.integers(2**62) for seed in range(50) for stream in streams(seed)]
    assert len(set(firsts)) == 150


# --- times end to end, and what the learned simulation counts


@pytest.fixture(scope="module")
def learned():
    backend = make_backend("simulate", "ml", {"outside": "nearest", "keep_deposits": True}, DETECTOR)
    backend.prepare()
    return backend


def prompt(n: int, time: float = 0.0):
    """Photons from the origin into both endcaps."""
    etas = [side * eta for eta in np.linspace(1.7, 2.8, n) for side in (1, -1)]
    return events_of([[particle(22, 40.0, eta, time=time)] for eta in etas])


def median(times) -> float:
    """Of those that have a time, -1 being none."""
    flat = ak.to_numpy(ak.flatten(times, axis=None))
    return float(np.median(flat[flat != -1.0]))


def reconstructed(made) -> SimpleNamespace:
    """The clusters record of a hits table."""
    clue = make_backend("cluster", "clue", {}, DETECTOR)
    clue.prepare()
    return records.awkward(clue.run(Chunk(0, 1, 0, made.num_rows), made).table)


@pytest.mark.parametrize("late", [0.0, 2.5])
def test_times_of_prompt_photons_are_near_none_from_deposits_to_tracksters(learned, late):
    """A shower is a little later than light from the origin to each of its cells; a late photon is late throughout."""
    made = learned.run(Chunk(0, 3, 0, 12), prompt(6, late)).table
    data = records.awkward(made)
    assert median(data.deposits.time) == pytest.approx(late + 0.1, abs=0.3)
    assert median(data.hits.time) == pytest.approx(late + 0.1, abs=0.3)
    found = reconstructed(made)
    assert median(found.layer_clusters.time) == pytest.approx(late + 0.1, abs=0.3)
    assert ak.to_numpy(found.tracksters.time[:, 0]) == pytest.approx(np.full(12, late + 0.1), abs=0.3)


def test_times_of_displaced_photons_follow_their_way(learned):
    """Born 500 mm before the origin's plane with the light's time, straight at the endcap: as if from the origin."""
    straight = events_of([[particle(22, 40.0, 2.6, vz=-500.0, time=-500.0 / C_LIGHT)]] * 4)
    made = records.awkward(learned.run(Chunk(0, 3, 0, 4), straight).table)
    assert median(made.deposits.time) == pytest.approx(0.1, abs=0.3)


@pytest.mark.parametrize("evaluations", [1, 4])
def test_evaluations_are_counted_as_often_as_the_network_is_evaluated(evaluations):
    backend = make_backend("simulate", "ml", {"outside": "nearest", "evaluations": evaluations}, DETECTOR)
    backend.prepare()
    rows = []
    for name in ("electromagnetic", "muon"):
        backend.families[name].layers.student.register_forward_hook(lambda _, given, out: rows.append(len(out)))
    lists = [[particle(22), particle(211, phi=2.0)], [particle(13, phi=-1.0)]]
    facts = backend.run(Chunk(0, 3, 0, 2), events_of(lists)).info
    assert sum(rows) == 2 * evaluations and facts["showers"] == 3
    assert facts["network_evaluations"] == sum(rows) + 1, "a hadron is one pass over its layers"
    assert backend.summary([facts, facts])["network_evaluations"] == 2 * (sum(rows) + 1)
