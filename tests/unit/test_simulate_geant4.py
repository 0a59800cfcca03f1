"""The Geant4 backend through the command line: same bytes whatever the workers, mirror symmetry, bad inputs."""

import json
import shutil
import subprocess
import sys
from pathlib import Path

import awkward as ak
import numpy as np
import pytest

from gen2reco.detector.geometry import decode
from gen2reco.errors import InputError
from gen2reco.events import records
from gen2reco.run.runner import provenance
from gen2reco.simulate.geant4 import Geant4

DETECTOR = "configs/detectors/hgcal.yaml"


@pytest.fixture(scope="module")
def simulate(request, tmp_path_factory):
    """Run `gen2reco simulate` on a file of particles; returns the finished process and the output path."""
    folder = tmp_path_factory.mktemp("geant4")
    detector = request.config.rootpath / DETECTOR

    def run(source: Path, *options: str, name: str = "hits") -> tuple[subprocess.CompletedProcess, Path]:
        output = folder / f"{name}.parquet"
        command = [sys.executable, "-m", "gen2reco.cli", "simulate", str(source), str(output), "--backend", "geant4"]
        command += ["--detector", str(detector), "--seed", "7", *options]
        return subprocess.run(command, capture_output=True, text=True, timeout=300, check=False), output

    return run


def write(path: Path, lists: list[list[dict]]) -> Path:
    """A particles file; each particle a dict of the fields that are not zero, each list one event."""
    kind = records.SCHEMAS["particles"].field("particles").type.value_type
    full = [[{field.name: one.get(field.name, 0) for field in kind} for one in event] for event in lists]
    n = len(lists)
    columns = {
        "event": np.arange(n) + 100,
        "weight": np.ones(n),
        "partons": ak.Array([[]] * n),
        "particles": ak.Array(full),
    }
    records.write(path, records.table("particles", columns), "particles")
    return path


def photon(energy: float = 3.0, eta: float = 2.2, phi: float = 0.7, pdg: int = 22) -> dict:
    pt = energy / np.cosh(eta)
    return {"pdg": pdg, "px": pt * np.cos(phi), "py": pt * np.sin(phi), "pz": pt * np.sinh(eta), "energy": energy}


def test_same_bytes_whatever_the_workers(simulate, tmp_path):
    source = write(tmp_path / "p.parquet", [[photon(), photon(pdg=211, phi=-1.0)], [photon(5.0)], [], [photon(2.0)]])
    chunks = ("--chunk-events", "1")
    one, alone = simulate(source, *chunks, name="alone")
    two, together = simulate(source, *chunks, "--workers", "3", name="together")
    assert one.returncode == two.returncode == 0, one.stderr + two.stderr
    assert alone.read_bytes() == together.read_bytes()
    assert one.stdout == "" or "Geant4 version" not in one.stdout
    sidecar = json.loads(alone.with_suffix(".json").read_text())
    assert sidecar["particles_at_face"] == 4 and sidecar["not_simulated"] == {}
    assert "substitute low-energy tables" in sidecar["physics"] or "official" in sidecar["physics"]
    hits = records.read(alone, "hits")
    records.check(hits, "hits", "test")
    events = records.awkward(hits)
    assert events.event.to_list() == [100, 101, 102, 103]
    assert ak.num(events.contributions)[2] == 0 and ak.all(ak.num(events.contributions)[[0, 1, 3]] > 10)
    assert set(events.contributions[0].particle.to_list()) == {0, 1}


def test_smaller_cells_hold_the_same_shower_in_finer_places(simulate, tmp_path):
    source = write(tmp_path / "p.parquet", [[photon(8.0, eta=2.0)], [photon(6.0, pdg=211)]])
    keep = ("--option", "keep_deposits=true")
    done, usual = simulate(source, *keep, name="usual")
    more, small = simulate(source, *keep, "--option", "cell_size=2", name="small")
    assert done.returncode == more.returncode == 0, done.stderr + more.stderr
    energies = []
    for path, times in ((usual, 1), (small, 5)):
        deposits = records.awkward(records.read(path, "hits")).deposits
        cells = decode(ak.flatten(deposits.cell).to_numpy())
        coarse = np.stack([cells.side, cells.layer, cells.ix // times, cells.iy // times], 1)
        of, which = np.unique(coarse, axis=0, return_inverse=True)
        energies.append((of, np.bincount(which.ravel(), ak.flatten(deposits.energy).to_numpy()), len(coarse)))
    (cells, energy, n), (others, same, finer) = energies
    assert np.array_equal(cells, others) and np.allclose(energy, same, rtol=1e-5) and finer > 1.3 * n
    stated = provenance(usual)["simulate"]
    assert "cell_size" not in stated["options"]  # samples made before there was such an option stay what they are
    command = [sys.executable, "-m", "gen2reco.cli", "cluster", str(small), str(tmp_path / "c.parquet"), "--detector",
               str(Path(__file__).parents[2] / DETECTOR)]  # fmt: skip
    refused = subprocess.run(command, capture_output=True, text=True, timeout=100, check=False)
    assert refused.returncode == 2 and "never the showers: simulate them in this detector" in refused.stderr
    assert "Traceback" not in refused.stderr and not (tmp_path / "c.parquet").exists()


CELLS = {
    "too_small": (0.01, "greater than or equal to 0.1"),
    "text": ("x", "cell_size"),
    "too_large": (20, "expected at most 10, that of detector"),
}


@pytest.mark.parametrize("what", CELLS)
def test_bad_cell_sizes_are_one_clear_line(simulate, tmp_path, what):
    size, words = CELLS[what]
    source = write(tmp_path / "p.parquet", [[photon()]])
    done, output = simulate(source, "--option", f"cell_size={size}", name=what)
    assert done.returncode == 2 and words in done.stderr and "Traceback" not in done.stderr and not output.exists()


def test_learned_showers_are_scanned_setting_by_setting(simulate, tmp_path):
    """Each setting falls back to Geant4, of which there can be one in a process."""
    source = write(tmp_path / "p.parquet", [[photon(20.0), photon(0.2, phi=2.0)], [photon(30.0, phi=1.0)]])
    done, hits = simulate(source, name="scanned")
    assert done.returncode == 0, done.stderr
    sample = tmp_path / "sample"
    for file, stage in ((source, "generate"), (hits, "simulate"), (hits.with_suffix(".json"), "simulate")):
        (sample / stage).mkdir(parents=True, exist_ok=True)
        shutil.copy(file, sample / stage / f"00000{file.suffix}")
    command = [sys.executable, "-m", "gen2reco.cli", "validate", "showers", str(sample), "--vary",
               "network=student,teacher", "--vary", "evaluations=1,2", "--out", str(tmp_path / "out")]  # fmt: skip
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0 and "EEEE" not in done.stderr + done.stdout, done.stderr
    names = {f"ml_{network}_{n}" for network in ("student", "teacher") for n in (1, 2)}
    assert names <= {path.name for path in (tmp_path / "out").iterdir()} and (tmp_path / "out/metrics.json").is_file()


def test_a_second_geometry_in_one_process_is_refused(request):
    code = """
import sys
from gen2reco.config.block import load_block
from gen2reco.config.detector import Detector
from gen2reco.errors import InputError
from gen2reco.simulate.geant4 import Geant4
detector = load_block(sys.argv[1], Detector)
for made in (detector, detector, detector.model_copy(update={"cell_size": 5.0})):
    Geant4(Geant4.Options(), made).prepare()
try:
    Geant4(Geant4.Options(), detector.model_copy(update={"eta_min": 1.6, "name": "other"})).prepare()
except InputError as error:
    print(error)
"""
    command = [sys.executable, "-c", code, str(request.config.rootpath / DETECTOR)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr
    assert "detector `other`: Geant4 has built another geometry in this process (`hgcal`)" in done.stdout


def test_a_planned_sample_of_smaller_cells_is_not_clustered():
    own = {"generate": {}, "simulate": {}}
    Geant4.check_chain({"cell_size": 2.0}, own, None)
    Geant4.check_chain({}, {**own, "cluster": {}}, None)
    with pytest.raises(
        InputError, match="`cell_size` = 2: `cluster` reads cells of the detector; leave `cell_size` out"
    ):
        Geant4.check_chain({"cell_size": 2.0}, {**own, "cluster": {}}, None)


def test_the_endcaps_are_mirror_images(simulate, tmp_path):
    found = []
    for name, eta in (("up", 2.0), ("down", -2.0)):
        source = write(tmp_path / f"{name}.parquet", [[photon(eta=eta)]])
        done, output = simulate(source, "--option", "keep_deposits=true", name=name)
        assert done.returncode == 0, done.stderr
        deposits = records.awkward(records.read(output, "hits")).deposits[0]
        cells = decode(ak.to_numpy(deposits.cell))
        assert set(cells.side.tolist()) == {1 if eta > 0 else -1}
        order = np.lexsort((cells.iy, cells.ix, cells.layer))
        found.append([np.asarray(a)[order] for a in (*cells[1:], deposits.energy, deposits.time)])
    for up, down in zip(*found):
        assert up == pytest.approx(down, rel=1e-5, abs=1e-5)
    *_, energy, time = found[0]  # what both have wrong would not show
    assert energy.sum() == pytest.approx(3.0, rel=0.4) and np.median(time) == pytest.approx(0.1, abs=0.3)


def test_a_shower_does_not_depend_on_what_comes_after_it(simulate, tmp_path):
    shared = [photon(), photon(eta=-1.8)]
    found = []
    for name, particles in (("few", shared), ("more", [*shared, photon(eta=2.7)])):
        source = write(tmp_path / f"{name}.parquet", [particles])
        done, output = simulate(source, "--option", "keep_deposits=true", name=name)
        assert done.returncode == 0, done.stderr
        deposits = records.awkward(records.read(output, "hits")).deposits[0]
        found.append(deposits[deposits.particle < 2])
    assert ak.array_equal(*found)


AXIS = {"px": 0.0, "py": 0.0, "vx": 500.0}
EDGES = {  # event: (particle, whether it leaves energy, whether it has a track, whether it is left out)
    "on the face": (photon() | AXIS | {"pz": 3.0, "vz": 3200.0, "time": 11.0}, True, False, False),
    "on the other face": (photon() | AXIS | {"pz": -3.0, "vz": -3200.0, "time": 11.0}, True, False, False),
    "at rest": (photon(pdg=211) | AXIS | {"pz": 0.0, "energy": 0.13957, "vz": 3200.0}, False, False, False),
    "hardly moving": (photon(pdg=2112) | AXIS | {"pz": 1e-30, "energy": 0.93957, "vz": 3200.0}, False, False, False),
    "of no energy": (photon() | AXIS | {"pz": 0.0, "energy": 0.0}, False, False, False),
    "far away": (photon() | {"vx": 1e30}, False, False, False),
    "behind": (photon() | {"vz": -1e30}, False, False, False),
    "too late": (photon(5.0, pdg=130) | {"time": 1e30}, False, False, False),
    "of too much energy": (photon(1e9), False, False, True),
    "muon of too much energy": (photon(1e30, pdg=13), False, False, True),
    "neutralino": (photon(500.0, pdg=1000022), False, False, False),
    "dark matter": (photon(500.0, pdg=52), False, False, False),
    "stau": (photon(500.0, pdg=1000015), False, True, True),
    "R-hadron": (photon(500.0, pdg=-1009213), False, True, True),
    "lead": (photon(9000.0, pdg=1000822080), False, True, True),
    "quark": (photon(50.0, pdg=2), False, False, True),
    "cluster": (photon(50.0, pdg=91), False, False, True),
    "unknown": (photon(50.0, pdg=9000005), False, False, True),
    "no code": (photon(50.0, pdg=0), False, False, True),
    "Lambda_b": (photon(15.0, pdg=5122), True, False, False),
    "triton": (photon(15.0, pdg=1000010030), True, True, False),
}


def test_particles_at_the_edges(simulate, tmp_path):
    source = write(tmp_path / "edges.parquet", [[one] for one, *_ in EDGES.values()])
    done, output = simulate(source, "--option", "keep_deposits=true", name="edges")
    assert done.returncode == 0 and "Warning" not in done.stderr, done.stderr
    events = records.awkward(records.read(output, "hits"))
    records.check(records.read(output), "hits", "test")
    left = ak.sum(events.deposits.energy, axis=1) > 0.1
    expected = [row[1:] for row in EDGES.values()]
    assert dict(zip(EDGES, zip(left.to_list(), (ak.num(events.tracks) > 0).to_list()))) == {
        name: row[:2] for name, row in zip(EDGES, expected)
    }
    sidecar = json.loads(output.with_suffix(".json").read_text())
    codes = {str(one["pdg"]): one["energy"] for one, *_, counted in EDGES.values() if counted}
    assert {code: one["energy"] for code, one in sidecar["not_simulated"].items()} == pytest.approx(codes)
    assert sidecar["not_simulated"]["9000005"]["name"] == sidecar["not_simulated"]["0"]["name"] == "unknown"


def test_particles_are_what_the_files_generator_says(simulate, tmp_path):
    """A declared charged state has a track and is named; without the generator's facts it is unknown."""
    stated = {"name": "X+", "charge": 1.0, "coloured": False, "visible": True, "mass": 100.0, "lifetime": 0.0}
    story = {"generate": {"info": {"particle_properties": {"9000005": stated}}}}
    source = write(tmp_path / "known.parquet", [[photon(500.0, pdg=code) for code in (9000005, -9000005) * 6]])
    records.write(source, records.read(source), "particles", {"gen2reco.provenance": json.dumps(story)})
    done, output = simulate(source, name="declared")
    assert done.returncode == 0, done.stderr
    assert set(records.awkward(records.read(output, "hits")).tracks.charge[0]) == {1, -1}
    assert "not simulated: 6 anti-X+ (-9000005, 3000 GeV), 6 X+ (9000005, 3000 GeV)" in done.stderr


PARTICLES = """
import sys
from gen2reco.config.block import load_block
from gen2reco.config.detector import Detector
from gen2reco.detector.geometry import Geometry
from gen2reco.events.truth import TRACKED, charge
from gen2reco.simulate.tables import find_tables
find_tables().export()
from gen2reco.simulate.geant4_engine import Engine, g4
from particle import Particle
engine = Engine(Geometry(load_block(sys.argv[1], Detector)))
table = g4.G4ParticleTable.GetParticleTable()
nuclei = [10**9 + s * 10**7 + z * 10**4 + a * 10 for s in range(3) for z in range(3) for a in range(1, 6)]
codes = {int(p.pdgid) for p in Particle.all()} | {*nuclei, *(-code for code in nuclei)} | TRACKED
found = {code: kind for code in codes if (kind := table.FindParticle(code))}
known = {code for code, kind in found.items() if not kind.IsShortLived() and kind.GetProcessManager()}
assert known - {12, 14, 16, -12, -14, -16} == TRACKED, known ^ TRACKED
wrong = {code for code, kind in found.items() if abs(kind.GetPDGCharge() - charge([code])[0]) > 1e-3}
assert all(abs(found[code].GetPDGCharge()) % 1 for code in wrong), wrong  # quarks and diquarks
"""


def test_geant4_tracks_the_codes_that_the_table_says(request):
    """All codes of the PDG, and nuclei up to helium with up to two strange quarks; charges agree too."""
    command = [sys.executable, "-c", PARTICLES, str(request.config.rootpath / DETECTOR)]
    done = subprocess.run(command, capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == 0, done.stderr[-2000:]


def test_events_without_particles_at_the_face_are_valid(simulate, tmp_path):
    source = write(
        tmp_path / "p.parquet", [[], [photon(pdg=14)], [photon(eta=0.1)], [photon(pdg=9900012), photon(pdg=21)]]
    )
    done, output = simulate(source, name="nothing")
    assert done.returncode == 0, done.stderr
    events = records.awkward(records.read(output, "hits"))
    assert ak.sum(ak.num(events.contributions)) == ak.sum(ak.num(events.tracks)) == 0
    assert ak.all(ak.flatten(events.hits.time) == -1.0)
    sidecar = json.loads(output.with_suffix(".json").read_text())
    assert sidecar["events_out"] == 4 and list(sidecar["not_simulated"]) == ["21"]
    gluon = {"name": "g", "particles": 1, "energy": 3.0, "energy_at_face": pytest.approx(3.0)}
    assert sidecar["not_simulated"]["21"] == gluon
    assert sidecar["particles_at_face"] == 1 and sidecar["energy_at_face"] == pytest.approx(3.0)


@pytest.mark.parametrize(
    ("particle", "words"),
    [
        (photon() | {"px": float("nan")}, ["event 101", "particles.px", "nan"]),
        (photon() | {"energy": -3.0}, ["event 101", "particles.energy", "-3.0"]),
        (photon() | {"energy": 1.0}, ["event 101", "particles.energy", "momentum 3 GeV", "energy 1 GeV"]),
        (
            photon() | {"energy": 9.0},
            ["event 101", "code 22 (gamma)", "energy 9 GeV and momentum 3 GeV", "of 0 GeV"],
        ),
    ],
)
def test_bad_particles_are_one_clear_line(simulate, tmp_path, particle, words):
    source = write(tmp_path / "bad.parquet", [[], [photon(eta=0.1), particle]])
    done, output = simulate(source, name="bad")
    lines = done.stderr.strip().splitlines()
    assert done.returncode == 2 and not output.exists()
    assert all(word in lines[-1] for word in words), done.stderr
    assert "Traceback" not in done.stderr
