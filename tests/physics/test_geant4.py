"""Geant4 showers against the plausibility figures of this build; tolerances are about three standard errors.

The whole table takes some two CPU minutes and is `slow`; a first look at 10 GeV runs always. Normal incidence.
"""

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from gen2reco.config.block import load_block
from gen2reco.config.detector import Detector
from gen2reco.detector.geometry import Geometry

pytestmark = pytest.mark.timeout(3600)  # the first of the slow tests waits for all the showers
DETECTOR = "configs/detectors/hgcal.yaml"
PROBE = Path(__file__).with_name("geant4_probe.py")
PHOTON_10, PHOTON_50, PHOTON_100 = "22:10", "22:50", "22:100"
PION_10, PION_50, PION_100 = "211:10", "211:50", "211:100"
FULL = {PHOTON_10: 150, PHOTON_50: 60, PHOTON_100: 40, PION_10: 250, PION_50: 100, PION_100: 60}


@pytest.fixture(scope="module")
def shoot(request, tmp_path_factory):
    """Shoot beams {"PDG:GEV": count}; returns {"PDG:GEV/what": array}."""

    def run(beams: dict[str, int]) -> dict[str, np.ndarray]:
        output = tmp_path_factory.mktemp("probe") / "probe.npz"
        command = [sys.executable, str(PROBE), str(request.config.rootpath / DETECTOR), str(output)]
        command += [f"{beam}:{count}" for beam, count in beams.items()]
        subprocess.run(command, check=True, timeout=3600, env={**os.environ, "OMP_NUM_THREADS": "1"})
        with np.load(output) as found:
            return dict(found)

    return run


@pytest.fixture(scope="module")
def quick(shoot):
    return shoot({PHOTON_10: 60, PION_10: 60})


@pytest.fixture(scope="module")
def full(shoot):
    return shoot(FULL)


@pytest.fixture(scope="module")
def geometry(request) -> Geometry:
    return Geometry(load_block(request.config.rootpath / DETECTOR, Detector))


def energy_of(beam: str) -> float:
    return float(beam.split(":")[1])


def fraction(found: dict, beam: str) -> float:
    """Energy in silicon over incident energy."""
    return found[f"{beam}/silicon"].mean() / energy_of(beam)


def response(found: dict, beam: str) -> float:
    return found[f"{beam}/weighted"].mean() / energy_of(beam)


def resolution(values: np.ndarray) -> float:
    return values.std(ddof=1) / values.mean()


def effective_resolution(values: np.ndarray) -> float:
    """Half the smallest interval that holds 68.3 %, over the mean: pion showers have a long upper tail."""
    ordered = np.sort(values)
    held = int(np.ceil(0.683 * len(ordered)))
    return (ordered[held - 1 :] - ordered[: len(ordered) - held + 1]).min() / 2 / values.mean()


def test_a_first_look_at_10_gev(quick):
    assert fraction(quick, PHOTON_10) == pytest.approx(0.00905, rel=0.04)
    assert resolution(quick[f"{PHOTON_10}/silicon"]) * np.sqrt(10) == pytest.approx(0.235, abs=0.07)
    assert response(quick, PHOTON_10) == pytest.approx(1.0, abs=0.04)
    assert response(quick, PION_10) == pytest.approx(1.0, abs=0.15)
    assert effective_resolution(quick[f"{PION_10}/weighted"]) == pytest.approx(0.20, abs=0.08)


@pytest.mark.slow
@pytest.mark.parametrize(("beam", "tolerance"), [(PHOTON_10, 0.02), (PHOTON_50, 0.014), (PHOTON_100, 0.012)])
def test_sampling_fraction_and_linearity(full, beam, tolerance):
    assert fraction(full, beam) == pytest.approx(0.00905, rel=tolerance)
    assert fraction(full, beam) == pytest.approx(fraction(full, PHOTON_50), rel=1.5 * tolerance)


@pytest.mark.slow
def test_electromagnetic_resolution(full):
    """23-24 %/sqrt(E); each beam's estimate has a relative error of 1/sqrt(2n)."""
    beams = (PHOTON_10, PHOTON_50, PHOTON_100)
    terms = [resolution(full[f"{beam}/silicon"]) * np.sqrt(energy_of(beam)) for beam in beams]
    mean = np.average(terms, weights=[FULL[beam] for beam in beams])
    assert mean == pytest.approx(0.235, abs=0.032)


@pytest.mark.slow
@pytest.mark.parametrize(("beam", "x0"), [(PHOTON_10, 6.9), (PHOTON_50, 8.6), (PHOTON_100, 9.2)])
def test_shower_maximum(full, geometry, beam, x0):
    """Maximum of a parabola through the seven layers around the highest."""
    depth, profile = geometry.depth_in("radiation_length")[:26], full[f"{beam}/layers"].mean(axis=0)[:26]
    near = slice(max(profile.argmax() - 3, 0), profile.argmax() + 4)
    a, b, _ = np.polyfit(depth[near], profile[near], 2)
    assert -b / (2 * a) == pytest.approx(x0, abs=0.8)


@pytest.mark.slow
def test_containment_radius(full):
    assert full[f"{PHOTON_50}/r90"] == pytest.approx(35.0, abs=5.0)


@pytest.mark.slow
@pytest.mark.parametrize(
    ("beam", "width", "tolerance"), [(PION_10, 0.20, 0.05), (PION_50, 0.13, 0.035), (PION_100, 0.105, 0.035)]
)
def test_pion_resolution_and_response(full, beam, width, tolerance):
    weighted = full[f"{beam}/weighted"]
    assert effective_resolution(weighted) == pytest.approx(width, abs=tolerance)
    ratio = response(full, beam) / response(full, beam.replace("211", "22"))
    assert ratio == pytest.approx(1.01, abs=0.01 + 3 * resolution(weighted) / np.sqrt(FULL[beam]))


@pytest.mark.slow
def test_photon_response_is_one(full):
    for beam, tolerance in ((PHOTON_10, 0.03), (PHOTON_50, 0.02), (PHOTON_100, 0.02)):
        assert response(full, beam) == pytest.approx(1.0, abs=tolerance)


@pytest.mark.slow
def test_minimum_ionising_crossing_of_the_electromagnetic_section(full):
    """A pion crosses like a muon if fewer than three of the 26 layers hold more than 4 MIP."""
    layers = np.concatenate([full[f"{beam}/layers"] for beam in (PION_10, PION_50, PION_100)])[:, :26]
    crossing = (layers > 4.0).sum(axis=1) < 3
    assert crossing.mean() == pytest.approx(0.235, abs=0.025 + 3 * np.sqrt(0.235 * 0.765 / len(layers)))
