"""What reaches the front face, against the equation of motion in small steps: displaced, curling, of any sign."""

import awkward as ak
import numpy as np
import pytest
from calibrate_events import DETECTOR

from gen2reco.detector.propagate import propagate

FACE, SOLENOID = DETECTOR.front_face, DETECTOR.solenoid
BENDING = 0.299792458e-3 * SOLENOID.field
"""GeV/mm: what a unit charge gains across the field in 1 mm."""
CHARGES = {211: 1, -211: -1, 11: -1, 22: 0, 2112: 0, 2212: 1}
MASSES = {211: 0.13957, -211: 0.13957, 11: 0.000511, 22: 0.0, 2112: 0.93957, 2212: 0.93827}


def stepped(pdg, p, vertex, time, steps=3000):
    """(x, y, px, py; time at the face; largest r within the barrel's length; turn) of n particles by RK4 in z."""
    q = np.array([CHARGES[int(code)] for code in pdg])
    mass = np.array([MASSES[int(code)] for code in pdg])
    pz, h = p[:, 2], (np.sign(p[:, 2]) * FACE - vertex[:, 2]) / steps
    speed = p[:, 2] / np.hypot(np.linalg.norm(p, axis=1), mass) * 299.792458

    def slope(state):
        x_slope, y_slope = state[2] / pz, state[3] / pz
        return np.stack([x_slope, y_slope, q * BENDING * y_slope, -q * BENDING * x_slope])

    state, z = np.stack([vertex[:, 0], vertex[:, 1], p[:, 0], p[:, 1]]), vertex[:, 2].copy()
    in_barrel = np.where(z * np.sign(pz) < SOLENOID.half_length, np.hypot(state[0], state[1]), 0.0)
    turn = np.zeros(len(pdg))
    for _ in range(steps):
        a = slope(state)
        b = slope(state + 0.5 * h * a)
        c = slope(state + 0.5 * h * b)
        d = slope(state + h * c)
        after = state + h / 6 * (a + 2 * b + 2 * c + d)
        turn += np.arctan2(state[2] * after[3] - state[3] * after[2], state[2] * after[2] + state[3] * after[3])
        state, z = after, z + h
        inside = z * np.sign(pz) < SOLENOID.half_length
        in_barrel = np.where(inside, np.maximum(in_barrel, np.hypot(state[0], state[1])), in_barrel)
    return state, time + steps * h / speed, in_barrel, np.abs(turn)


def some(n, seed, radius, reach_z, pt):
    """Random particles: kinds, momenta, vertices within a radius and |z|, times."""
    rng = np.random.default_rng(seed)
    pdg = rng.choice(list(CHARGES), n)
    pt, phi = np.exp(rng.uniform(*np.log(pt), n)), rng.uniform(-np.pi, np.pi, n)
    eta = rng.uniform(0.8, 3.4, n) * rng.choice([-1, 1], n)
    r, angle = radius * np.sqrt(rng.random(n)), rng.uniform(-np.pi, np.pi, n)
    vertex = np.stack([r * np.cos(angle), r * np.sin(angle), rng.uniform(-reach_z, reach_z, n)], axis=1)
    momentum = np.stack([pt * np.cos(phi), pt * np.sin(phi), pt * np.sinh(eta)], axis=1)
    return pdg, momentum, vertex, rng.uniform(0, 5, n)


def as_event(pdg, p, vertex, time):
    mass = np.array([MASSES[int(code)] for code in pdg])
    columns = {"pdg": pdg.astype(np.int32), **dict(zip(("px", "py", "pz"), p.T))}
    columns |= {"energy": np.hypot(np.linalg.norm(p, axis=1), mass), **dict(zip(("vx", "vy", "vz"), vertex.T))}
    return ak.unflatten(ak.zip({**columns, "time": time}), [len(pdg)])


CASES = {
    "from the interaction point": {"radius": 0.1, "reach_z": 50.0, "pt": (0.4, 50.0)},
    "displaced": {"radius": 900.0, "reach_z": 1500.0, "pt": (0.5, 20.0)},
    "displaced and curling": {"radius": 1250.0, "reach_z": 2500.0, "pt": (0.25, 1.5)},
    "born before the face": {"radius": 1500.0, "reach_z": 3190.0, "pt": (0.3, 10.0)},
}


@pytest.mark.parametrize("case", CASES)
def test_what_arrives_is_what_the_equation_of_motion_says(case):
    """Which particles, where, with what momentum, when; those within rounding of a limit are left aside."""
    given = some(400, 5, **CASES[case])
    (x, y, px, py), time, in_barrel, turn = stepped(*given)
    pdg, p = given[:2]
    r = np.hypot(x, y)
    inner, outer = FACE / np.sinh(DETECTOR.eta_max), FACE / np.sinh(DETECTOR.eta_min)
    arrives = (r > inner) & (r < outer) & (in_barrel <= SOLENOID.radius) & (turn < 2 * np.pi)
    margins = (r - inner, r - outer, in_barrel - SOLENOID.radius, 1000 * (turn - 2 * np.pi))
    clear = np.min(np.abs(margins), axis=0) > 1.0
    found = propagate(as_event(*given), DETECTOR)
    got = np.zeros(len(pdg), bool)
    got[found.particle] = True
    assert (got == arrives)[clear].all() and clear.mean() > 0.95 and 10 < arrives.sum() < len(pdg) - 50
    mine = found.particle
    assert found.position == pytest.approx(np.stack([x, y, np.sign(p[:, 2]) * FACE], axis=1)[mine], abs=0.05)
    assert found.momentum == pytest.approx(np.stack([px, py, p[:, 2]], axis=1)[mine], abs=1e-4)
    assert found.time == pytest.approx(time[mine], abs=1e-4)
    assert found.charge.tolist() == [CHARGES[int(code)] for code in pdg[mine]]


def test_the_cases_stop_particles_of_every_kind_in_the_barrel():
    """So the comparison above would see a wrong sign: of both charges, in either direction, born within it."""
    given = some(400, 5, **CASES["displaced and curling"])
    pdg, p, vertex, _ = given
    stopped = (stepped(*given)[2] > SOLENOID.radius) & (np.hypot(*vertex[:, :2].T) < SOLENOID.radius)
    charge = np.array([CHARGES[int(code)] for code in pdg])
    kinds = [stopped & (charge == q) & (np.sign(p[:, 2]) == side) for q in (-1, 0, 1) for side in (-1, 1)]
    assert min(kind.sum() for kind in kinds) > 5
