"""Area, density and pT without pile-up of jets, against FastJet's own; the pile-up share of objects."""

import awkward as ak
import numpy as np
import pytest
from calibrate_events import DETECTOR, FACE, event, table

from gen2reco import stdout
from gen2reco.calibrate import candidates as cand
from gen2reco.calibrate.jets import RADIUS, object_jets
from gen2reco.calibrate.pileup import active_areas, density, jet_columns, pileup_share
from gen2reco.events import records


@pytest.fixture(scope="module")
def objects():
    """Four events: spread over both endcaps with a jet at eta = 2.2; empty; that jet alone; soft objects alone."""
    rng = np.random.default_rng(4)

    def spread(n):
        eta = rng.choice([-1, 1], n) * rng.uniform(1.5, 3.0, n)
        return [{"energy": np.cosh(a), "eta": a, "phi": p} for a, p in zip(eta, rng.uniform(-np.pi, np.pi, n))]

    jet = [{"energy": 40 * np.cosh(2.2), "eta": 2.2, "phi": 0.5}, {"energy": 0.0, "eta": 2.0, "phi": 0.0}]
    return ak.Array([jet + spread(600), [], jet, spread(20)])


def test_density_is_that_of_fastjets_grid(objects):
    """600 objects of 1 GeV of pT over 3 x 2 pi; the cells of one endcap alone are FastJet's, at massless rapidity."""
    rho = density(objects, DETECTOR)
    assert rho[0] == pytest.approx(600 / (3 * 2 * np.pi), rel=0.1) and rho[1:].tolist() == [0, 0, 0]
    up = objects[:1][objects[:1].eta > 0]
    both = ak.concatenate([up, ak.with_field(up, -up.eta, "eta")], axis=1)
    fastjet = stdout.fastjet()
    grid = fastjet.GridMedianBackgroundEstimator(fastjet.RectangularGrid(1.5, 3.0, 0.5, 2 * np.pi / 13))
    pt = up.energy / np.cosh(up.eta)
    momenta = ak.zip({"px": pt * np.cos(up.phi), "py": pt * np.sin(up.phi), "pz": pt * np.sinh(up.eta), "E": up.energy})
    grid.set_particles([fastjet.PseudoJet(p["px"], p["py"], p["pz"], p["E"]) for p in momenta[0].to_list()])
    assert density(both, DETECTOR)[0] == pytest.approx(grid.rho(), rel=1e-6)


def test_areas_and_corrected_momenta(objects):
    plain = object_jets(objects)
    scaled = ak.with_field(plain, plain.pt * ak.where(ak.local_index(plain.pt) == 0, 0.1, 1.0), "pt")
    jets = scaled[ak.argsort(scaled.pt, axis=1, ascending=False)]
    found = jet_columns(objects, jets, plain, DETECTOR)
    assert ak.num(found["jet_area"]).tolist() == ak.num(jets).tolist() and ak.num(jets)[2] == 1
    assert found["jet_area"][2, 0] == pytest.approx(np.pi * RADIUS**2, rel=0.05)
    hardest = ak.argmax(plain.pt, axis=1)[0]
    at = int(np.flatnonzero(ak.firsts(jets.constituents, axis=2)[0] == plain.constituents[0, hardest, 0])[0])
    left = 1 - found["rho"][0] * found["jet_area"][0, at] / plain.pt[0, hardest]
    assert found["jet_pt_corrected"][0, at] == pytest.approx(0.1 * plain.pt[0, hardest] * left)
    assert left * plain.pt[0, hardest] == pytest.approx(40, rel=0.15) and plain.pt[0, hardest] > 48
    assert found["jet_pt_corrected"][2].to_list() == jets.pt[2].to_list()
    assert ak.all(active_areas(objects, plain, DETECTOR)[2:3] == found["jet_area"][2:3])


def test_the_pileup_share_is_that_of_the_candidates_tracksters():
    data = records.awkward(table([event([(2.0, 0.5, 30.0), (2.0, 0.52, 10.0), (2.0, 1.5, 5.0)]), event([])]))
    data = ak.with_field(data, ak.Array([[3.0, 9.0, 6.0], []]), "trackster_pileup")
    assert pileup_share(data, cand.build(data, FACE)).tolist() == [0.3, 1.0]
