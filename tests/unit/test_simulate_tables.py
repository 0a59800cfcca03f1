"""Geant4's data tables: made once under concurrent first use, official data where the variables point, clear errors."""

import math
import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest

from gen2reco.errors import Gen2recoError, InputError
from gen2reco.simulate.lowenergy import write_tables
from gen2reco.simulate.tables import VARIABLES, find_tables


@pytest.fixture
def clean(monkeypatch, tmp_path) -> Path:
    for variable in [*VARIABLES, "GEANT4_DATA_DIR"]:
        monkeypatch.delenv(variable, raising=False)
    monkeypatch.setenv("GEN2RECO_CACHE", str(tmp_path / "cache"))
    return tmp_path


def _digest(_: int) -> str:
    return find_tables().digest


def test_first_use_by_several_processes_at_once_makes_one_valid_set(clean):
    with ProcessPoolExecutor(3, mp_context=get_context("fork")) as pool:
        digests = set(pool.map(_digest, range(3)))
    assert len(digests) == 1 and len(digests.pop()) == 64
    left = sorted(path.name for path in (clean / "cache" / "geant4").iterdir())
    assert len(left) == 1 and left[0].startswith("substitute-")
    tables = find_tables()
    assert not tables.official and "substitute low-energy tables" in tables.label
    assert all(folder.is_dir() for folder in tables.folders.values())


def test_exported_substitutes_stay_substitutes(clean, monkeypatch):
    tables = find_tables()
    for variable, folder in tables.folders.items():
        monkeypatch.setenv(variable, str(folder))
    assert find_tables() == tables


def test_official_data_are_used_where_all_variables_point(clean, monkeypatch):
    for variable, folder in VARIABLES.items():
        (clean / folder).mkdir()
        (clean / folder / "data.dat").write_text("1 2 3\n")
        monkeypatch.setenv(variable, str(clean / folder))
    tables = find_tables()
    assert tables.official and tables.label.endswith("the official data")
    (clean / "G4EMLOW" / "data.dat").write_text("1 2 3 4\n")
    assert find_tables().digest != tables.digest
    assert not (clean / "cache").exists()


@pytest.mark.parametrize("points_to", [None, "nowhere"])
def test_half_set_variables_are_refused(clean, monkeypatch, points_to):
    for variable, folder in VARIABLES.items():
        (clean / folder).mkdir()
        monkeypatch.setenv(variable, str(clean / folder))
    if points_to is None:
        monkeypatch.delenv("G4LEDATA")
    else:
        monkeypatch.setenv("G4LEDATA", str(clean / points_to))
    with pytest.raises(InputError, match="G4LEDATA"):
        find_tables()


def test_a_cache_that_cannot_be_written_is_the_machines_fault(clean, monkeypatch):
    (clean / "file").write_text("")
    monkeypatch.setenv("GEN2RECO_CACHE", str(clean / "file"))
    with pytest.raises(Gen2recoError, match="GEN2RECO_CACHE") as error:
        find_tables()
    assert error.value.exit_code == 75


@pytest.fixture(scope="module")
def folder(tmp_path_factory) -> Path:
    folder = tmp_path_factory.mktemp("tables")
    write_tables(folder)
    return folder


def _vector(path: Path) -> tuple[np.ndarray, np.ndarray]:
    return np.loadtxt(path, skiprows=2).T


def test_every_element_has_its_files(folder):
    count = sum(len(files) for _, _, files in os.walk(folder))
    assert count > 900
    for name in ("brem_SB/br82", "epics2017/phot/pe-cs-14.dat", "epics2017/rayl/re-cs-29.dat"):
        assert (folder / "G4EMLOW" / name).is_file()


@pytest.mark.parametrize(
    ("z", "energy", "barn", "tolerance"),
    [(82, 0.1, 1804.0, 0.05), (82, 1.0, 5.93, 0.10), (14, 0.03, 54.7, 0.06), (29, 0.1, 32.0, 0.07)],
)
def test_photoelectric_cross_sections_agree_with_nist(folder, z, energy, barn, tolerance):
    """NIST XCOM: barn per atom; files hold E**3 sigma."""
    e, v = _vector(folder / f"G4EMLOW/epics2017/phot/pe-cs-{z}.dat")
    found = math.exp(np.interp(math.log(energy), np.log(e), np.log(v))) / energy**3
    assert found == pytest.approx(barn, rel=tolerance)


@pytest.mark.parametrize(("z", "mass", "expected"), [(82, 207.2, 6.37), (26, 55.845, 13.84), (14, 28.085, 21.82)])
def test_bremsstrahlung_gives_the_radiation_length(folder, z, mass, expected):
    """At 10 GeV the energy loss integral of k dsigma/dk over k/T is close to 1 / X0 (PDG, g/cm2)."""
    lines = (folder / f"G4EMLOW/brem_SB/br{z}").read_text().splitlines()
    kappa, log_t = (np.array(line.split(), float) for line in lines[1:3])
    rows = np.array([line.split() for line in lines[3:]], float)
    chi = rows[np.argmin(np.abs(log_t - math.log(1e4)))]
    loss = np.trapezoid(chi, kappa) * z**2 * 1e-27 * 6.022e23 / mass
    assert 1 / loss == pytest.approx(expected, rel=0.06)


def test_neutron_cross_sections_are_of_the_known_size(folder):
    e, v = _vector(folder / "G4PARTICLEXS/neutron/inel26")
    at_100_mev = np.interp(100.0, e, v) / 1e-22
    assert at_100_mev == pytest.approx(0.77, rel=0.1)
    e, v = _vector(folder / "G4PARTICLEXS/neutron/cap29")
    assert np.interp(2.53e-8, e, v) / 1e-22 == pytest.approx(3.78, rel=0.02)
