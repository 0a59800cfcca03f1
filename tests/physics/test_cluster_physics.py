"""The whole clustering on Geant4 showers made for the test: one object a particle, energies kept, neighbours apart.

Tolerances are about three standard errors of these samples.
"""

import awkward as ak
import numpy as np
import pytest

from gen2reco.cluster.trackster_scores import score
from gen2reco.detector.made_with import detector_of
from gen2reco.events import records

pytestmark = pytest.mark.timeout(1800)
GUN = "kind: gun\nspecies: [{species}]\nparticles: {particles}\nenergy: {energy}\nspectrum: log\nabs_eta: [1.8, 2.6]\n"
APART = "start_z: 3195.\nseparation: [120., 300.]\n"


@pytest.fixture
def clusters(gen2reco, repository, tmp_path):
    """Shoot, simulate and cluster as a user does: the clusters, scores of particles and of tracksters."""

    def make(species, events, energy, particles=1, extra=""):
        process = tmp_path / "gun.yaml"
        process.write_text(GUN.format(species=", ".join(map(str, species)), energy=energy, particles=particles) + extra)
        detector = repository / "configs/detectors/hgcal.yaml"
        for command in (
            ("generate", "particles.parquet", "--process", process, "--events", events, "--seed", 5),
            ("simulate", "particles.parquet", "hits.parquet", "--detector", detector, "--seed", 6),
            ("cluster", "hits.parquet", "clusters.parquet"),
        ):
            done = gen2reco(*command)
            assert done.returncode == 0, done.stderr
        found = records.read(tmp_path / "clusters.parquet", "clusters")
        records.check(found, "clusters", "clusters")
        return found, *score(found, detector_of(tmp_path / "clusters.parquet").front_face)

    return make


def test_photons_are_one_object_each_and_keep_their_energy(clusters):
    found, particles, tracksters = clusters([22], 25, [8.0, 20.0])
    assert np.mean(ak.num(records.awkward(found).tracksters) == 1) >= 0.95
    assert particles.efficiency.all()
    assert particles.clustered.mean() > 0.97
    assert tracksters.fake.sum() == 0


def test_pions_are_mostly_one_object(clusters):
    found, particles, _ = clusters([211], 30, [8.0, 25.0])
    assert np.mean(ak.num(records.awkward(found).tracksters) == 1) >= 0.75
    assert particles.efficiency[particles.counted].mean() >= 0.93


def test_neighbours_stay_apart(clusters):
    """Photons and pions 12 to 30 cm apart at the front face: each is the main part of a trackster of its own."""
    _, particles, tracksters = clusters([22, 211], 15, [10.0, 25.0], particles=2, extra=APART)
    counted = particles.counted
    assert counted.sum() >= 20
    assert particles.efficiency[counted].mean() >= 0.85
    assert particles.absorbed[counted].mean() <= 0.15
    assert tracksters.merge.mean() <= 0.15
    assert (particles.distance[counted] > 110).all()
