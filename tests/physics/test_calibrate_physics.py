"""The release calibration on fresh Geant4 showers, made by the chain's own commands: response, resolution, identity."""

import subprocess
import sys
from pathlib import Path

import awkward as ak
import numpy as np
import pytest

from gen2reco.events import records

ROOT = Path(__file__).parents[2]
DETECTOR = ROOT / "configs/detectors/hgcal.yaml"
GUN = "kind: gun\nspecies: [{pdg}]\nenergy: [30., 70.]\nspectrum: flat\nabs_eta: [1.8, 2.7]\n"
EVENTS = {22: 30, 211: 45, 13: 20}
IN_CHUNKS = ("--backend", "geant4", "--chunk-events", 15, "--workers", 2)


def gen2reco(*arguments):
    command = [sys.executable, "-m", "gen2reco.cli", *map(str, arguments)]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


@pytest.fixture(scope="module")
def objects(tmp_path_factory):
    """PDG code of the gun → (objects of the network, objects of the plain sums)."""
    folder = tmp_path_factory.mktemp("chain")

    def make(pdg):
        process, stem = folder / f"{pdg}.yaml", folder / f"{pdg}"
        process.write_text(GUN.format(pdg=pdg))
        particles, hits, clusters = (Path(f"{stem}-{name}.parquet") for name in ("particles", "hits", "clusters"))
        gen2reco("generate", particles, "--process", process, "--events", EVENTS[pdg], "--seed", 11)
        gen2reco("simulate", particles, hits, "--detector", DETECTOR, "--seed", 12, *IN_CHUNKS)
        gen2reco("cluster", hits, clusters)
        found = []
        for backend in ("dnn", "raw"):
            gen2reco("calibrate", clusters, f"{stem}-{backend}.parquet", "--backend", backend)
            found.append(records.awkward(records.read(f"{stem}-{backend}.parquet", "objects")))
        return found

    return {pdg: make(pdg) for pdg in EVENTS}


def response(events):
    return ak.to_numpy(ak.sum(events.objects.energy, axis=1) / events.particles.energy[:, 0])


@pytest.mark.parametrize(("pdg", "tolerance", "spread"), [(22, 0.02, 0.045), (211, 0.04, 0.16)])
def test_response_is_one(objects, pdg, tolerance, spread):
    found = response(objects[pdg][0])
    error = np.std(found) / np.sqrt(len(found))
    assert abs(found.mean() - 1) < tolerance + 2 * error
    assert np.std(found) / found.mean() < spread * (1 + 2 / np.sqrt(2 * len(found)))


def test_pions_are_better_than_the_plain_sum(objects):
    network, plain = (response(events) for events in objects[211])
    assert np.median(np.abs(network - 1)) < np.median(np.abs(plain / np.median(plain) - 1)) * 1.05


@pytest.mark.parametrize(
    ("pdg", "names"), [(22, ("photon",)), (211, ("charged_hadron", "neutral_hadron")), (13, ("muon",))]
)
def test_identities(objects, pdg, names):
    events = objects[pdg][0]
    leading = ak.argmax(events.objects.energy, axis=1, keepdims=True)
    right = sum(ak.to_numpy(ak.flatten(events.objects[f"p_{name}"][leading])) for name in names)
    assert np.median(right) > 0.9


def test_photons_point_where_they_come_from(objects):
    events = objects[22][0]
    p = events.particles[:, 0]
    leading = ak.flatten(events.objects[ak.argmax(events.objects.energy, axis=1, keepdims=True)])
    dphi = (leading.phi - np.arctan2(p.py, p.px) + np.pi) % (2 * np.pi) - np.pi
    off = ak.to_numpy(np.hypot(leading.eta - np.arcsinh(p.pz / np.hypot(p.px, p.py)), dphi), allow_missing=False)
    assert np.median(off) < 0.005
