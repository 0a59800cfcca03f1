"""The learned showers of the release against Geant4 on the same particles.

Tolerances are three standard errors plus what the model card admits: 2 % in response and number of hits."""

import subprocess
import sys

import awkward as ak
import numpy as np
import pytest

from gen2reco.events import records
from gen2reco.run.sidecar import read_sidecar

GUN = "kind: gun\nspecies: [{pdg}]\nenergy: [{energy}, {energy}]\nabs_eta: [1.8, 2.7]\n"
DETECTOR = "configs/detectors/hgcal.yaml"


@pytest.fixture(scope="module")
def pair(request, tmp_path_factory):
    """Hits of the same gun particles by Geant4 and by the release, as functions of species, energy and number."""

    def make(pdg: int, energy: float, n: int) -> tuple[ak.Array, ak.Array]:
        folder = tmp_path_factory.mktemp(f"gun{abs(pdg)}")
        (folder / "gun.yaml").write_text(GUN.format(pdg=pdg, energy=energy))
        source = ["--backend", "gun", "--process", "gun.yaml", "--events", str(n), "particles.parquet"]
        detector = ["--detector", str(request.config.rootpath / DETECTOR)]
        commands = [["generate", *source]]
        commands += [
            ["simulate", "particles.parquet", f"{b}.parquet", "--backend", b, *detector] for b in ("geant4", "ml")
        ]
        for command in commands:
            done = subprocess.run(
                [sys.executable, "-m", "gen2reco.cli", *command],
                cwd=folder,
                capture_output=True,
                text=True,
                timeout=1500,
            )
            assert done.returncode == 0, done.stderr
        facts = read_sidecar(folder / "ml.parquet")
        assert facts["network_evaluations"] == facts["showers"] and facts["particles_outside_to_geant4"] == 0
        return tuple(records.awkward(records.read(folder / f"{b}.parquet", "hits")) for b in ("geant4", "ml"))

    return make


def observed(hits: ak.Array, energy: float) -> dict[str, np.ndarray]:
    """Of each shower: response, number of hits and mean layer, of hits above 20 MeV."""
    signal = hits.hits[hits.hits.energy > 0.02]
    total = ak.to_numpy(ak.sum(signal.energy, axis=1))
    depth = ak.to_numpy(ak.sum(signal.energy * signal.layer, axis=1)) / np.maximum(total, 1e-6)
    return {"energy": total / energy, "hits": ak.to_numpy(ak.num(signal)) * 1.0, "depth": depth}


@pytest.mark.parametrize(("pdg", "energy", "n"), [(22, 10.0, 80), (211, 10.0, 150)])
def test_energy_hits_and_depth(pair, pdg, energy, n):
    theirs, ours = (observed(hits, energy) for hits in pair(pdg, energy, n))
    for name, a in theirs.items():
        allowed = 3 * np.hypot(a.std(), ours[name].std()) / np.sqrt(len(a)) + 0.02 * a.mean()
        assert abs(ours[name].mean() - a.mean()) < allowed, name


@pytest.mark.slow
@pytest.mark.timeout(1800)
@pytest.mark.parametrize(("pdg", "allowed"), [(22, 0.05), (211, 0.18)])
def test_widths(pair, pdg, allowed):
    """Within three standard errors of two widths of 600 showers, 12 %, beyond what the release is known to miss: the
    response of its pions of 10 GeV is 18 % narrower than Geant4's."""
    theirs, ours = (observed(hits, 10.0) for hits in pair(pdg, 10.0, 600))
    for name, a in theirs.items():
        assert ours[name].std() == pytest.approx(a.std(), rel=allowed + 3 / np.sqrt(len(a))), name
