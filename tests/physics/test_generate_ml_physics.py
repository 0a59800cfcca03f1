"""The release models of the learned generator: conserved quantities on every event, and gross physics.

These bounds catch a broken release, they are not its quality, which its card states.
"""

import awkward as ak
import numpy as np
import pytest

from gen2reco.config.process import process_from
from gen2reco.events import records
from gen2reco.events.truth import charge
from gen2reco.generate.learned import RELEASE, Learned
from gen2reco.run.stage import Chunk


@pytest.fixture(scope="module")
def events() -> ak.Array:
    process = process_from("configs/processes/ee_qq_91.yaml")
    backend = Learned(Learned.Options(process=process, model="ee_qq_91", outside="refuse"))
    backend.prepare()
    return records.awkward(backend.run(Chunk(0, 3, 0, 500)).table)


def test_release_conserves_momentum_and_charge(events):
    p = events.particles
    for name, expected in (("px", 0), ("py", 0), ("pz", 0), ("energy", 91.2)):
        total = ak.to_numpy(ak.sum(ak.values_astype(p[name], np.float64), axis=1))
        np.testing.assert_allclose(total, expected, atol=1e-6 * 91.2)
    charges = ak.unflatten(charge(ak.to_numpy(ak.flatten(p.pdg))), ak.num(p.pdg))
    assert np.all(ak.to_numpy(ak.sum(charges, axis=1)) == 0)


def test_release_multiplicity_is_of_a_z(events):
    charged = ak.sum(charge(ak.to_numpy(ak.flatten(events.particles.pdg))) != 0) / len(events)
    assert 19.5 < charged < 21.5  # Pythia8: 20.5, four errors of 500 events about it


def test_beauty_flies_and_light_flavours_do_not(events):
    partons = events.partons
    flavour = ak.to_numpy(partons.pdg[(partons.status == 23) & (partons.pdg > 0)][:, 0])
    p = events.particles
    near = np.hypot(p.vx, p.vy)
    flown = ak.to_numpy(ak.sum((near > 0.05) & (near < 5) & (abs(p.pdg) == 211), axis=1))
    assert flown[flavour == 5].mean() > 3 * flown[flavour <= 2].mean()


@pytest.fixture(scope="module")
def dijets() -> ak.Array:
    process = process_from("configs/processes/pp_dijet_endcap.yaml")
    backend = Learned(Learned.Options(process=process, model="pp_dijet_endcap"))
    backend.prepare()
    return records.awkward(backend.run(Chunk(0, 3, 0, 300)).table)


def test_dijets_conserve_momentum_and_charge(dijets):
    p = dijets.particles
    scalar = ak.to_numpy(ak.sum(np.hypot(p.px, p.py), axis=1))
    for name in ("px", "py"):
        assert np.all(np.abs(ak.to_numpy(ak.sum(ak.values_astype(p[name], np.float64), axis=1))) < 1e-6 * scalar)
    energy = ak.to_numpy(ak.sum(ak.values_astype(p.energy, np.float64), axis=1))
    np.testing.assert_allclose(energy, 14000, rtol=1e-6)
    charges = ak.unflatten(charge(ak.to_numpy(ak.flatten(p.pdg))), ak.num(p.pdg))
    assert np.all(ak.to_numpy(ak.sum(charges, axis=1)) == 2)


def test_dijets_hold_about_as_many_particles_as_pythia8s(dijets):
    charged = ak.sum(charge(ak.to_numpy(ak.flatten(dijets.particles.pdg))) != 0) / len(dijets)
    assert 206 < charged < 246  # Pythia8: 226.3, four errors of 300 events about it


@pytest.mark.parametrize("name", ["ee_qq_91", "pp_dijet_endcap", "pp_minbias"])
def test_release_is_small(name):
    assert sum(path.stat().st_size for path in (RELEASE / name).iterdir()) < 15e6
