"""Particles to the front face: against the analytic circle, by symmetry, and what must be left out."""

import awkward as ak
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gen2reco.config.block import load_block
from gen2reco.config.detector import Detector
from gen2reco.detector.propagate import fly, propagate
from gen2reco.detector.tracks import make_tracks, tracks_at_origin
from gen2reco.events import records
from gen2reco.events.truth import ParticleProperties, Properties
from gen2reco.run.stage import Chunk, make_backend
from gen2reco.units import C_LIGHT

FACE = 3200.0
NAMES = ("pdg", "px", "py", "pz", "energy", "vx", "vy", "vz", "time")


@pytest.fixture(scope="module")
def detector(request) -> Detector:
    return load_block(request.config.rootpath / "configs/detectors/hgcal.yaml", Detector)


def particle(pdg=22, p=20.0, eta=2.2, phi=0.3, mass=0.0, vertex=(0.0, 0.0, 0.0), time=0.0) -> tuple:
    pt = p / np.cosh(eta)
    energy = np.hypot(p, mass)
    return (pdg, pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta), energy, *vertex, time)


def events(*lists: list[tuple]) -> ak.Array:
    """Events of particles, one list each."""
    flat = np.array([p for one in lists for p in one], dtype=np.float64).reshape(-1, len(NAMES))
    columns = dict(zip(NAMES, flat.T)) | {"pdg": flat[:, 0].astype(np.int32)}
    return ak.unflatten(ak.zip(columns), [len(one) for one in lists])


def test_a_neutral_particle_flies_straight(detector):
    vertex, time = (3.0, -2.0, 50.0), 0.25
    one = propagate(events([particle(2112, p=3.0, mass=0.9396, vertex=vertex, time=time)]), detector)
    p = one.momentum[0]
    t = (FACE - vertex[2]) / p[2]
    assert one.position[0] == pytest.approx([vertex[0] + p[0] * t, vertex[1] + p[1] * t, FACE])
    path = np.linalg.norm(one.position[0] - vertex)
    beta = 3.0 / np.hypot(3.0, 0.9396)
    assert one.time[0] == pytest.approx(time + path / (beta * C_LIGHT))


@pytest.mark.parametrize(("pdg", "sign"), [(211, -1), (-211, 1), (11, 1), (-13, -1)])
def test_a_charged_particle_follows_the_circle(detector, pdg, sign):
    """Radius pT / (0.2998 B), turning clockwise seen from +z if positive, by dz / (radius sinh eta)."""
    pt, eta, phi = 4.0, 2.1, 1.0
    one = propagate(events([particle(pdg, pt * np.cosh(eta), eta, phi)]), detector)
    radius = pt / (0.299792458e-3 * 3.8)
    turn = sign * FACE / np.sinh(eta) / radius
    centre = radius * np.array([-np.sin(phi), np.cos(phi)]) * sign
    x = centre[0] + radius * np.sin(phi + turn) * sign
    y = centre[1] - radius * np.cos(phi + turn) * sign
    assert one.position[0] == pytest.approx([x, y, FACE], abs=1e-3)
    assert np.arctan2(one.momentum[0, 1], one.momentum[0, 0]) == pytest.approx(phi + turn, abs=1e-6)
    assert np.hypot(*one.momentum[0, :2]) == pytest.approx(pt)


@settings(max_examples=40, deadline=None)
@given(
    st.sampled_from([22, 211, -211, 2212, 130]),
    st.floats(2.0, 200.0),
    st.floats(1.6, 2.9),
    st.floats(-3.1, 3.1),
    st.floats(-50.0, 50.0),
)
def test_mirror_image_and_opposite_charge_are_symmetric(detector, pdg, p, eta, phi, vz):
    """Reflection in z reverses the bending per dz, and so does the charge: both at once leave x and y as they were."""
    opposite = -pdg if pdg in (211, -211, 2212) else pdg
    there = propagate(events([particle(pdg, p, eta, phi, vertex=(0.0, 0.0, vz))]), detector)
    back = propagate(events([particle(pdg, p, -eta, phi, vertex=(0.0, 0.0, -vz))]), detector)
    assert len(there) == len(back)
    assert back.position[:, :2] == pytest.approx(there.position[:, :2], abs=1e-6)
    assert back.position[:, 2] == pytest.approx(-there.position[:, 2])
    assert back.time == pytest.approx(there.time)
    up = back.mirrored()
    assert up.position == pytest.approx(there.position, abs=1e-6)
    assert up.momentum == pytest.approx(there.momentum, abs=1e-6)
    conjugate = propagate(events([particle(opposite, p, eta, -phi, vertex=(0.0, 0.0, vz))]), detector)
    assert conjugate.position == pytest.approx(there.position * [1, -1, 1], abs=1e-6)


@pytest.mark.parametrize(
    ("reason", "one"),
    [
        ("neutrino", particle(14)),
        ("outside the annulus", particle(22, eta=1.4)),
        ("in the beam pipe", particle(22, eta=3.1)),
        ("transverse", particle(22, eta=0.0)),
        ("starts behind the face", particle(22, vertex=(600.0, 0.0, 3300.0))),
        ("starts behind the other face", particle(22, vertex=(600.0, 0.0, -3300.0))),
        ("turns more than once", particle(211, p=0.55, eta=1.6, mass=0.1396)),
    ],
)
def test_what_never_enters(detector, reason, one):
    assert len(propagate(events([one]), detector)) == 0, reason


@pytest.mark.parametrize(
    ("reason", "one"),
    [
        ("reaches it on a straight line", particle(22, eta=1.878, vertex=(0.0, 0.0, -1500.0))),
        ("starts outside", particle(22, eta=2.0, phi=3.1, vertex=(1300.0, 0.0, 0.0))),
        ("swings through it and back", particle(211, p=1.23, eta=0.992, phi=0.0, mass=0.1396)),
    ],
)
def test_what_the_barrel_stops(detector, reason, one):
    wide = detector.model_copy(update={"solenoid": detector.solenoid.model_copy(update={"radius": 1e5})})
    assert len(propagate(events([one]), wide)) == 1
    assert len(propagate(events([one]), detector)) == 0, reason


@pytest.mark.parametrize("side", [1, -1])
@pytest.mark.parametrize("beyond", [0.0, 2e-4, -1.0])
def test_a_particle_on_the_face_enters_there(detector, side, beyond):
    one = (22, 0.0, 0.3, side * 4.0, 5.0, 500.0, 0.0, side * (FACE + beyond), 11.0)
    found = propagate(events([one]), detector)
    assert found.position[0] == pytest.approx([500.0, 0.0, side * FACE], abs=0.1)
    assert found.time[0] == pytest.approx(11.0, abs=0.01)
    assert len(propagate(events([(*one[:3], side * -0.004, *one[4:])]), detector)) == 0  # inward, and misses the other


@pytest.mark.parametrize("eta", [1.6, 2.2, 2.9])
def test_a_gun_on_the_face_misses_nothing(detector, eta):
    process = {"kind": "gun", "species": [22, 211, 2112], "energy": [2, 100], "abs_eta": [eta, eta], "start_z": FACE}
    gun = make_backend("generate", "gun", {"process": process})
    gun.prepare()
    made = gun.run(Chunk(0, 3, 0, 200), None).table
    records.check(made, "particles", "gun")
    found = propagate(records.awkward(made).particles, detector)
    assert len(found) == 200 and np.hypot(*found.position.T[:2]) == pytest.approx(FACE / np.sinh(eta), rel=1e-5)


@pytest.mark.parametrize(
    ("code", "properties", "charge"),
    [
        (1000022, None, None),
        (52, None, None),
        (4900211, None, None),
        (9000005, None, 0),
        (1000015, None, -1),
        (-1000522, None, 1),
        (21, None, 0),
        (9000005, {"charge": 1.0}, 1),
        (9000005, {"charge": 0.0, "visible": False}, None),
        (1000022, {"charge": -1.0}, -1),
    ],
)
def test_what_enters_as_the_generator_says(detector, code, properties, charge):
    """Unseen particles do not, all others do, with the charge that the event's generator gave them and a track."""
    base = {"name": "X", "charge": 0.0, "coloured": False, "visible": True}
    own = Properties({} if properties is None else {code: ParticleProperties(**base | properties)})
    made = events([particle(code, p=200.0, mass=100.0)])
    found = propagate(made, detector, own)
    assert found.charge.tolist() == ([] if charge is None else [charge])
    tracks = make_tracks(found, made, detector, np.random.default_rng(1))[0]
    assert tracks.charge.tolist() == ([charge] if charge else [])


EXTREME = st.sampled_from([0.0, 1e-45, -1e-30, 1.0, -5.0, 3200.0, -3200.0, 1e5, 1e9, -1e30, 3e38, 1e200, -1e300])


@settings(max_examples=100, deadline=None, derandomize=True)
@given(st.lists(st.tuples(st.sampled_from([22, 211, -13, 21, 0, 2**31 - 1]), *[EXTREME] * 8), max_size=8))
@pytest.mark.filterwarnings("error")
def test_no_number_is_too_large_or_small(detector, particles):
    made = events([(*p[:4], abs(p[4]), *p[5:]) for p in particles])
    found = propagate(made, detector)
    assert (np.abs(found.position[:, 2]) == FACE).all()
    for values in (found.position, found.momentum, found.energy, found.time):
        assert np.isfinite(values).all()
    tracks = ak.flatten(make_tracks(found, made, detector, np.random.default_rng(1)))
    assert all(np.isfinite(ak.to_numpy(tracks[name])).all() for name in tracks.fields)


@pytest.mark.parametrize("pdg", [22, 13, -13, 211, 130, 2112, 11, 321])
def test_what_enters(detector, pdg):
    at_face = propagate(events([], [particle(12), particle(pdg)], [particle(pdg, eta=-2.5)]), detector)
    assert at_face.event.tolist() == [1, 2] and at_face.particle.tolist() == [1, 0]
    assert np.sign(at_face.position[:, 2]).tolist() == [1, -1]
    assert at_face.pdg.tolist() == [pdg, pdg]


def test_no_particles_at_all_is_valid(detector):
    assert len(propagate(events([], []), detector)) == 0


def test_bending_is_undone_for_tracks_from_the_beam_line(detector):
    """Whatever the resolution, which keeps the direction: pT alone is smeared."""
    rng = np.random.default_rng(1)
    pdg = rng.choice([211, -211, 11], 200)
    made = events([particle(int(c), rng.uniform(3, 100), rng.uniform(1.7, 2.8), rng.uniform(-3, 3)) for c in pdg])
    tracks = make_tracks(propagate(made, detector), made, detector, rng)
    back, truth = tracks_at_origin(tracks)[0], made[0][tracks[0].particle]
    assert ak.to_numpy(back.phi) == pytest.approx(ak.to_numpy(np.arctan2(truth.py, truth.px)), abs=1e-5)
    assert ak.to_numpy(back.eta) == pytest.approx(ak.to_numpy(np.arcsinh(truth.pz / np.hypot(truth.px, truth.py))))


def test_flights_of_all_particles_whatever_is_in_the_way(detector):
    """Two that reach the face outside the annulus, one that moves along it, one from behind it, one that loops."""
    momentum = np.array([[0.3, 0.0, 30.0], [30.0, 0.0, 3.0], [1.0, 0.0, 0.0], [0.0, 0.0, 1.0], [0.5, 0.0, 0.05]])
    vertex = np.array([[0.0, 0.0, 0.0]] * 3 + [[0.0, 0.0, 3300.0], [0.0, 0.0, 0.0]])
    charge = np.array([0, 0, 0, 0, 1])
    flight = fly(charge, momentum, vertex, detector)
    assert flight.forward.tolist() == [True, True, False, False, True]
    assert flight.position[:2] == pytest.approx(np.array([[32.0, 0.0, 3200.0], [32000.0, 0.0, 3200.0]]))
    assert np.abs(flight.turn[4]) > 2 * np.pi and (flight.turn[:2] == 0).all()
    assert np.hypot(*flight.momentum[4, :2]) == pytest.approx(0.5)
    assert flight.path[0] == pytest.approx(3200.0 / 30.0)
    assert not fly(charge, momentum, vertex, detector, np.zeros(5, bool)).forward.any()


def test_tracks_of_charged_particles_in_acceptance(detector):
    rng = np.random.default_rng(2)
    n = 4000
    lists = [
        [particle(211, 50.0, 2.2, rng.uniform(-3, 3)), particle(22, 50.0, 2.2), particle(11, 1.2, 2.2)]
        for _ in range(n)
    ]
    made = events(*lists)
    at_face = propagate(made, detector)
    tracks = make_tracks(at_face, made, detector, np.random.default_rng(3))
    assert len(tracks) == n
    flat = ak.flatten(tracks)
    assert set(flat.particle.to_list()) == {0}  # no photons, no electrons below the smallest pT
    efficiency = detector.tracker.efficiency
    assert len(flat) / n == pytest.approx(efficiency, abs=5 * np.sqrt(efficiency * (1 - efficiency) / n))
    pt = np.hypot(flat.px, flat.py)
    true_pt = 50.0 / np.cosh(2.2)
    sigma = np.hypot(detector.tracker.sigma_constant, detector.tracker.sigma_linear * true_pt)
    assert np.mean(pt / true_pt) == pytest.approx(1.0, abs=5 * sigma / np.sqrt(n))
    assert np.std(pt / true_pt) == pytest.approx(sigma, rel=0.08)
    assert set(flat.charge.to_list()) == {1}
    assert ak.all(flat.z == FACE)
    at = {int(e): i for i, e in enumerate(at_face.event[at_face.particle == 0])}
    has = ak.num(tracks) == 1
    first = int(np.flatnonzero(ak.to_numpy(has))[0])
    expected = at_face.position[at_face.particle == 0][at[first]]
    assert [tracks[first, 0][c] for c in "xyz"] == pytest.approx(expected)
