"""The Geant4 backend through the command line: same bytes whatever the workers, mirror symmetry, bad inputs."""

import json
import subprocess
import sys
from pathlib import Path

import awkward as ak
import numpy as np
import pytest

from gen2reco.events import records
from gen2reco.events.geometry import decode

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
    assert done.stderr.count("not simulated: 1 g (21, 3 GeV); 3 GeV of it at the front face") == 1


@pytest.mark.parametrize(
    ("particle", "words"),
    [
        (photon() | {"px": float("nan")}, ["event 101", "particles.px", "nan"]),
        (photon() | {"energy": -3.0}, ["event 101", "particles.energy", "-3.0"]),
    ],
)
def test_bad_particles_are_one_clear_line(simulate, tmp_path, particle, words):
    source = write(tmp_path / "bad.parquet", [[], [photon(eta=0.1), particle]])
    done, output = simulate(source, name="bad")
    lines = done.stderr.strip().splitlines()
    assert done.returncode == 2 and not output.exists()
    assert all(word in lines[-1] for word in words), done.stderr
    assert "Traceback" not in done.stderr
