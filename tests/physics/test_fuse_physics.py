"""The fused model of the release against the learned chain on the same events of a process it has not seen.

Tolerances are three standard errors of the paired difference plus what the model card admits: 4 % in the number of
objects, 5 % in their energy and in jets.
"""

import subprocess
import sys

import awkward as ak
import numpy as np
import pytest

from gen2reco.events import records
from gen2reco.run.sidecar import read_sidecar

EVENTS = 40


@pytest.fixture(scope="module")
def pair(request, tmp_path_factory):
    """Objects of the same events by the learned chain and by the fused model."""
    folder, configs = tmp_path_factory.mktemp("fused"), request.config.rootpath / "configs"
    detector = ["--detector", configs / "detectors/hgcal.yaml"]
    for command in (
        ["generate", "--process", configs / "processes/pp_ttbar.yaml", "--events", EVENTS, "particles.parquet"],
        ["simulate", "--backend", "ml", *detector, "particles.parquet", "hits.parquet"],
        ["cluster", "hits.parquet", "clusters.parquet"],
        ["calibrate", "clusters.parquet", "chain.parquet"],
        ["fuse", "particles.parquet", "fused.parquet", "--backend", "fused"],
    ):
        arguments = [sys.executable, "-m", "gen2reco.cli", *map(str, command)]
        done = subprocess.run(arguments, cwd=folder, capture_output=True, text=True, timeout=500)
        assert done.returncode == 0, done.stderr
    facts = read_sidecar(folder / "fused.parquet")
    assert facts["network_evaluations"] == EVENTS and facts["events_outside_to_geant4"] <= 0.1 * EVENTS
    return tuple(records.awkward(records.read(folder / f"{name}.parquet", "objects")) for name in ("chain", "fused"))


OBSERVED = {
    "objects": (lambda e: ak.num(e.objects), 0.04),
    "energy": (lambda e: ak.sum(e.objects.energy, axis=1), 0.05),
    "photons": (lambda e: ak.sum(e.objects.pdg == 22, axis=1), 0.06),
    "tracked": (lambda e: ak.sum(abs(e.objects.pdg) == 211, axis=1), 0.06),
    "jet pt": (lambda e: ak.sum(e.jets.pt[e.jets.pt > 20], axis=1), 0.05),
}


@pytest.mark.parametrize("name", OBSERVED)
def test_events_have_the_objects_of_the_chain(pair, name):
    observe, allowed = OBSERVED[name]
    theirs, ours = (ak.to_numpy(observe(events)).astype(float) for events in pair)
    error = (ours - theirs).std() / np.sqrt(EVENTS)
    assert abs(ours.mean() - theirs.mean()) < 3 * error + allowed * theirs.mean()


def test_objects_belong_to_the_same_particles(pair):
    """Event by event the number of objects and their energy go together: the model sees each event, not the average."""
    for observe in (OBSERVED["objects"][0], OBSERVED["energy"][0]):
        theirs, ours = (ak.to_numpy(observe(events)).astype(float) for events in pair)
        assert np.corrcoef(theirs, ours)[0, 1] > 0.95
