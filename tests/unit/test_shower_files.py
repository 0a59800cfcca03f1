"""Showers as files: round trips, foreign readers, who gets which shower, and files that are refused."""

import json
import shutil

import h5py
import numpy as np
import pytest
import showerdata
from click.testing import CliRunner

from gen2reco.cli import cli
from gen2reco.config.block import load_block
from gen2reco.config.detector import Detector
from gen2reco.detector.digitise import Deposits
from gen2reco.detector.geometry import Geometry, decode, encode
from gen2reco.detector.propagate import enter
from gen2reco.errors import InputError
from gen2reco.events import records
from gen2reco.events.lists import flat, sizes, starts
from gen2reco.events.provenance import PROVENANCE_KEY
from gen2reco.exchange.point_files import PointFile, write
from gen2reco.exchange.shower_points import Showers, of_hits
from gen2reco.exchange.voxel_binning import read_binning
from gen2reco.exchange.voxel_files import VoxelFile
from gen2reco.exchange.voxel_files import write as write_voxels
from gen2reco.generate.gun import Gun
from gen2reco.run.stage import Chunk
from gen2reco.simulate.hits_record import hits_table
from gen2reco.simulate.placing import choose
from gen2reco.simulate.shower_file import ShowerFile
from gen2reco.validate.shower_files import compare

N = 30
BINNING = "configs/binning/hgcal.xml"


@pytest.fixture(scope="module")
def detector(repository) -> Detector:
    return load_block(repository / "configs/detectors/hgcal.yaml", Detector)


def deposits_of(at_face, geometry: Geometry, seed: int) -> Deposits:
    """Some 40 deposits about the axis of each particle, of 97 % of its energy."""
    rng, many = np.random.default_rng(seed), 40
    owner = np.repeat(np.arange(len(at_face)), many)
    layer = rng.integers(1, 20, len(owner))
    slope = at_face.momentum[:, :2] / np.abs(at_face.momentum[:, 2:])
    depth = geometry.z[layer - 1] - geometry.detector.front_face
    at = at_face.position[owner, :2] + slope[owner] * depth[:, None] + rng.normal(0, 15, (len(owner), 2))
    cell = encode(np.sign(at_face.position[owner, 2]), layer, *geometry.index(at.T))
    energy = rng.exponential(1.0, len(owner))
    energy *= 0.97 * (at_face.energy / np.bincount(owner, energy))[owner]
    time = rng.uniform(0, 1, len(owner))
    return Deposits(at_face.event[owner], cell, at_face.particle[owner], energy, time).merged()


@pytest.fixture(scope="module")
def sample(detector, tmp_path_factory):
    """The folder of a hits file of photons with deposits, the particles it is of, and its showers."""
    folder = tmp_path_factory.mktemp("showers")
    process = {"kind": "gun", "species": [22], "energy": [5.0, 50.0], "abs_eta": [1.8, 2.6]}
    gun = Gun(Gun.Options.model_validate({"process": process}))
    gun.prepare()
    events, geometry = gun.run(Chunk(0, 1, 0, N), None).table, Geometry(detector)
    at_face = enter(events, detector)
    hits = hits_table(events, at_face, deposits_of(at_face, geometry, 2), geometry, 3, keep_deposits=True)
    story = {"simulate": {"detector": detector.model_dump(mode="json"), "backend": "geant4"}}
    records.write(folder / "hits.parquet", hits, "hits", {PROVENANCE_KEY: json.dumps(story)})
    records.write(folder / "particles.parquet", events, "particles", {})
    return folder, events, of_hits(hits, detector, "hits")


def run(*arguments):
    found = CliRunner().invoke(cli, [str(one) for one in arguments])
    if isinstance(found.exception, InputError):
        return found.exception.exit_code, str(found.exception)
    return found.exit_code, found.output


def placed(folder, name, output, repository, *options):
    given = [o for pair in (f"file={folder / name}", *options) for o in ("--option", pair)]
    code, said = run("simulate", folder / "particles.parquet", output, "--backend", "showers", *given, "--option",
                     "keep_deposits=true", "--seed", 3, "--detector",
                     repository / "configs/detectors/hgcal.yaml")  # fmt: skip
    assert code == 0, said
    return records.awkward(records.read(output, "hits")), said


def test_points_are_read_by_the_package_of_their_layout_and_come_back_exactly(sample, tmp_path, repository, detector):
    folder, _, own = sample
    assert run("showers", "export", folder / "hits.parquet", folder / "p.h5")[0] == 0
    foreign = showerdata.load(folder / "p.h5")
    assert len(foreign) == len(own) == N and set(foreign.pdg) == {22}
    assert np.allclose(foreign.energies[:, 0], own.energy, rtol=1e-6)
    counts = np.diff(own.first)
    for i in (0, 7, N - 1):
        assert np.array_equal(foreign.points[i, : counts[i]], own.points[own.first[i] : own.first[i + 1]])
    assert np.all(foreign.points[..., 2] >= 0) and foreign.directions[:, 2].min() > 0.9
    showerdata.save(foreign, tmp_path / "theirs.h5")  # and what it writes is read here
    theirs = PointFile(tmp_path / "theirs.h5").read(np.arange(N))
    assert np.array_equal(theirs.points, own.points) and np.array_equal(theirs.first, own.first)
    before = records.awkward(records.read(folder / "hits.parquet", "hits")).deposits
    for name, where in (("p.h5", folder), ("theirs.h5", tmp_path)):
        shutil.copy(where / name, folder / "given.h5")
        back, _ = placed(folder, "given.h5", tmp_path / f"{name}.parquet", repository)
        assert sizes(back.deposits).tolist() == sizes(before).tolist()
        assert np.array_equal(flat(back.deposits.cell), flat(before.cell))
        assert np.array_equal(flat(back.deposits.energy), flat(before.energy))
        assert np.allclose(flat(back.deposits.time), flat(before.time), atol=2e-6)


def test_a_sample_gives_its_showers_without_a_file(sample, tmp_path, repository, detector):
    folder, _, _ = sample
    given = ("simulate", folder / "particles.parquet", tmp_path / "l.parquet", "--backend", "showers", "--seed", 3,
             "--detector", repository / "configs/detectors/hgcal.yaml", "--option", "keep_deposits=true")  # fmt: skip
    code, said = run(*given)
    assert code == 2 and "give `--option file=FILE` or `--library FILES`" in said
    code, said = run(*given, "--library", folder / "hits.parquet")
    assert code == 0, said
    back = records.awkward(records.read(tmp_path / "l.parquet", "hits")).deposits
    before = records.awkward(records.read(folder / "hits.parquet", "hits")).deposits
    assert np.array_equal(flat(back.cell), flat(before.cell))
    assert np.array_equal(flat(back.energy), flat(before.energy))


def test_a_library_may_have_smaller_cells_but_no_other_geometry(sample, tmp_path, repository, detector):
    folder, events, _ = sample
    fine = detector.model_copy(update={"cell_size": detector.cell_size / 5})
    deposits = deposits_of(enter(events, detector), Geometry(fine), 2)
    hits = hits_table(events, enter(events, detector), deposits, Geometry(fine), 3, keep_deposits=True)
    other = detector.model_copy(update={"front_face": detector.front_face + 10})
    for name, made in (("fine", fine), ("other", other)):
        story = {"simulate": {"detector": made.model_dump(mode="json"), "backend": "geant4"}}
        records.write(tmp_path / f"{name}.parquet", hits, "hits", {PROVENANCE_KEY: json.dumps(story)})
    given = ("simulate", folder / "particles.parquet", tmp_path / "l.parquet", "--backend", "showers", "--seed", 3,
             "--detector", repository / "configs/detectors/hgcal.yaml", "--option", "keep_deposits=true")  # fmt: skip
    code, said = run(*given, "--library", tmp_path / "fine.parquet")
    assert code == 0, said
    back = records.awkward(records.read(tmp_path / "l.parquet", "hits")).deposits
    cell = decode(deposits.cell)
    coarse = encode(cell.side, cell.layer, cell.ix // 5, cell.iy // 5)
    kept = Geometry(detector).exists(cell.layer, cell.ix // 5, cell.iy // 5)
    whole = Deposits(deposits.event, coarse, deposits.particle, deposits.energy, deposits.time).take(kept).merged()
    assert np.array_equal(flat(back.cell), whole.cell) and np.allclose(flat(back.energy), whole.energy, rtol=1e-6)
    code, said = run(*given, "--library", tmp_path / "other.parquet")
    assert code == 2 and "showers of another geometry than that of detector `hgcal`" in said


CHAINS = {
    "nothing": ({}, None, "`file` is missing"),
    "no deposits": ({"library": "l"}, {"generate": {"owner": "l"}, "simulate": {"options": {}}}, "no deposits to take"),
    "itself": ({"library": "l"}, {"generate": {"owner": "a"}, "simulate": {"options": {"keep_deposits": True}}},
               "its particles are those of the sample itself"),
}  # fmt: skip


@pytest.mark.parametrize("what", CHAINS)
def test_a_planned_sample_without_showers_is_refused(what):
    options, library, words = CHAINS[what]
    with pytest.raises(InputError, match=words):
        ShowerFile.check_chain(options, {"generate": {"owner": "a"}}, library and {"stages": library})


def test_voxels_keep_the_energy_and_follow_the_challenge(sample, tmp_path, repository, detector):
    folder, _, own = sample
    binning = read_binning(repository / BINNING)
    code, said = run("showers", "export", folder / "hits.parquet", folder / "v.h5", "--format", "calochallenge",
                     "--binning", repository / BINNING)  # fmt: skip
    assert code == 0 and "0.00% of the energy lies beyond" in said
    with h5py.File(folder / "v.h5") as file:
        voxels, incident = file["showers"][:], file["incident_energies"][:]
    assert voxels.shape == (N, len(binning)) and np.allclose(incident[:, 0], 1000 * own.energy, rtol=1e-6)
    total = np.bincount(own.owner, own.points[:, 3])
    assert np.allclose(voxels.sum(1), 1000 * total, rtol=1e-5)
    planes = Geometry(detector).z - detector.front_face
    back = VoxelFile(folder / "v.h5", binning).read(np.arange(N), planes)
    assert np.allclose(np.bincount(back.owner, back.points[:, 3]), total, rtol=1e-5)
    again = tmp_path / "again.h5"
    write_voxels([back], again, binning, planes, "")
    with h5py.File(again) as file:
        assert np.allclose(file["showers"][:], voxels, rtol=1e-4, atol=1e-3)
    hits, said = placed(folder, "v.h5", tmp_path / "v.parquet", repository, f"binning={repository / BINNING}")
    deposited = np.bincount(np.repeat(np.arange(N), sizes(hits.deposits)), flat(hits.deposits.energy), N)
    assert np.allclose(deposited, total, rtol=0.03)  # what falls out of the calorimeter is told


XML = '<Bins><Bin pid="22" name="photon"><Layer id="0" r_edges="0,5,10" n_bin_alpha="4"/>\
<Layer id="1" r_edges="0" n_bin_alpha="1"/><Layer id="2" r_edges="0,20" n_bin_alpha="1"/></Bin></Bins>'


def test_voxels_lie_sector_after_sector_from_minus_pi_on(tmp_path):
    (tmp_path / "b.xml").write_text(XML)
    binning = read_binning(tmp_path / "b.xml")
    assert (len(binning), binning.layers, binning.n_layers) == (9, (0, 2), 3)
    # radius 3 and 7 at -135, -45, 45, 135 degrees: sectors in this order, in each the rings from the axis out
    angle = np.repeat(np.radians([-135, -45, 45, 135]), 2)
    off = np.tile([3.0, 7.0], 4)[:, None] * np.stack([np.cos(angle), np.sin(angle)], axis=1)
    assert binning.voxel(np.zeros(8, int), off)[0].tolist() == list(range(8))
    found, inside = binning.voxel(np.array([2, 1, 0]), np.array([[0.0, 0.0], [0.0, 0.0], [90.0, 1.0]]))
    assert found.tolist() == [8, -1, 5] and inside.tolist() == [True, False, False]
    assert np.allclose(binning.centre[5], 7.5 * np.array([np.cos(np.pi / 4), np.sin(np.pi / 4)]))
    assert np.isclose(binning.area[:8].sum(), np.pi * 100)


def test_each_particle_gets_the_nearest_shower_and_none_twice_until_all_are_used():
    rng = np.random.default_rng(4)
    held, energy = rng.uniform(1, 100, 300), rng.uniform(1, 100, 300)
    chosen, again = choose(energy, np.full(300, 0.3), held, np.full(300, 0.3), rng)
    assert again == 0 and sorted(chosen) == list(range(300))
    few, again = choose(energy[:40], np.full(40, 0.3), held, np.full(300, 0.3), rng)
    assert again == 0 and len(set(few)) == 40 and np.median(np.abs(np.log(held[few] / energy[:40]))) < 0.03
    many, again = choose(energy, np.full(300, 0.3), held[:100], np.full(100, 0.3), rng)
    assert again == 200 and np.bincount(many, minlength=100).tolist() == [3] * 100
    lean = np.array([0.1, 0.5])  # of equal energy the one that leans alike
    assert choose(np.array([10.0]), np.array([0.45]), np.array([10.0, 10.0]), lean, rng)[0].tolist() == [1]
    own, _ = choose(held, lean[np.zeros(300, int)], held, lean[np.zeros(300, int)], rng)
    assert own.tolist() == list(range(300))  # each its own, if it is there


def flat_showers(n: int, seed: int, scale: float = 1.0) -> Showers:
    rng = np.random.default_rng(seed)
    energy = rng.uniform(10, 20, n)
    first = starts(np.full(n, 20))
    points = np.zeros((20 * n, 5), np.float32)
    points[:, :2] = rng.normal(0, 10, (20 * n, 2))
    points[:, 2] = np.tile(np.repeat([10.0, 20.0], 10), n)
    points[:, 3] = rng.dirichlet(np.ones(20), n).ravel() * np.repeat(energy, 20) * scale
    return Showers(np.full(n, 22), energy, np.tile([0.0, 0.0, 1.0], (n, 1)), first, points)


def test_metrics_tell_equal_showers_from_others(tmp_path):
    planes = np.array([10.0, 20.0])
    for name, showers in (("a", flat_showers(600, 1)), ("b", flat_showers(600, 2)), ("c", flat_showers(600, 3, 1.1))):
        write([showers], tmp_path / f"{name}.h5", planes, "")
    same = {row["metric"]: row for row in compare(tmp_path / "a.h5", tmp_path / "b.h5", None)}
    other = {row["metric"]: row for row in compare(tmp_path / "a.h5", tmp_path / "c.h5", None)}
    auc = "classifier AUC, high-level features"
    assert abs(same[auc]["value"] - 0.5) < 4 * same[auc]["uncertainty"] and other[auc]["value"] > 0.65
    response = "separation power, E / incident E"
    assert same[response]["value"] < same[response]["floor"] + 5 * same[response]["uncertainty"]
    assert other[response]["value"] > 0.9
    assert set(same) <= set(other) and len(same) >= 12


def test_files_of_two_geometries_are_not_compared(tmp_path):
    for name, planes in (("a", [10.0, 20.0]), ("b", [10.0, 20.0, 30.0])):
        write([flat_showers(300, 1)], tmp_path / f"{name}.h5", np.array(planes), "")
    with pytest.raises(InputError, match=r"b.h5: layers at other depths than in .*a.h5"):
        compare(tmp_path / "a.h5", tmp_path / "b.h5", None)


def text_rows():
    return np.array(["1 2 3"] * N, dtype=h5py.string_dtype())


def emptied(file):
    for name in ("energies", "directions", "pdg", "num_points", "showers"):
        file[name].resize(0, axis=0)


def grouped(file):
    del file["energies"]
    file.create_group("energies")


def huge(file):
    del file["energies"]
    file.create_dataset("energies", (2**40, 1), "f4", chunks=(1024, 1))


def virtual(file):
    del file["energies"]
    layout = h5py.VirtualLayout((N, 1), "f4")
    layout[:] = h5py.VirtualSource("/etc/x.h5", "energies", (N, 1))
    file.create_virtual_dataset("energies", layout)


BAD = {
    "text": (lambda f: None, "no readable HDF5 file"),
    "nothing": (lambda f: f.clear(), "expected points (ShowerData) or voxels"),
    "no energies": (lambda f: f.__delitem__("energies"), "`energies` is missing"),
    "NaN": (lambda f: f["energies"].__setitem__((3, 0), np.nan), "`energies`[3, 0] is nan"),
    "negative": (lambda f: points(f, 2, 3, -1.0), "a point of energy -1 GeV"),
    "not a number": (lambda f: points(f, 2, 0, np.inf), "is inf"),
    "GeV for MeV": (lambda f: f["energies"].__setitem__(..., f["energies"][:] / 1000), "are these GeV for MeV"),
    "another count": (lambda f: f["num_points"].__setitem__(4, 7), "expected 5 for each of its 7 points"),
    "other planes": (lambda f: points(f, 1, 2, 2.0), "showers of another geometry"),
    "no energy": (lambda f: f["energies"].__setitem__((1, 0), 0.0), "an incident energy of 0 GeV"),
    "backwards": (lambda f: f["directions"].__setitem__((0, 2), -1.0), "a direction away from the calorimeter"),
    "along the face": (lambda f: f["directions"].__setitem__(0, (1, 0, 1e-5)), "a direction along the face"),
    "endless direction": (lambda f: replaced(f, "directions", np.full((N, 3), 1e200)), "of no sensible length"),
    "half a species": (lambda f: replaced(f, "pdg", np.full(N, 22.5)), "`pdg`[0] is 22.5, expected whole numbers"),
    "endless species": (lambda f: replaced(f, "pdg", np.full(N, 1e30)), "`pdg`[0] is 1e+30, expected whole numbers"),
    "half a point": (lambda f: replaced(f, "num_points", f["num_points"][:] + 0.5), ".5, expected whole numbers"),
    "fewer than no points": (lambda f: f["num_points"].__setitem__(4, -1), "`num_points` from -1"),
    "no showers": (emptied, "holds no showers"),
    "objects": (
        lambda f: replaced(f, "showers", text_rows()),
        "`showers` is of type object, expected lists of numbers",
    ),
    "a table": (
        lambda f: replaced(f, "showers", np.zeros((N, 25), "f4")),
        "`showers` is of type float32, expected lists",
    ),
    "a group": (grouped, "`energies` is a group, expected a dataset"),
    "complex": (lambda f: replaced(f, "energies", np.ones((N, 1), complex)), "of type complex128, expected plain"),
    "too large": (huge, "more than 4 GiB; split the file"),
    "virtual": (virtual, "lies in other files"),
    "soft link": (lambda f: link(f, h5py.SoftLink("/pdg")), "is a link to elsewhere"),
    "other file": (lambda f: link(f, h5py.ExternalLink("/etc/x.h5", "/energies")), "is a link to elsewhere"),
    "external data": (lambda f: external(f), "lies in other files"),
    "text for numbers": (lambda f: replaced(f, "pdg", np.array([b"22"] * N)), "expected plain numbers"),
    "other species": (lambda f: f["pdg"].__setitem__(..., 211), "has no shower for gamma"),
    "too soft": (lambda f: scaled(f, 0.01), "gamma above"),
}


def points(file, shower, column, value):
    row = file["showers"][shower].reshape(-1, 5)
    row[0, column] = value
    file["showers"][shower] = row.reshape(-1)


def scaled(file, factor):
    file["energies"][...] = file["energies"][:] * factor
    for i in range(N):
        row = file["showers"][i].reshape(-1, 5)
        row[:, 3] *= factor
        file["showers"][i] = row.reshape(-1)


def link(file, to):
    del file["energies"]
    file["energies"] = to


def external(file):
    del file["energies"]
    file.create_dataset("energies", (N, 1), "f4", external=[("/etc/hostname", 0, 4 * N)])


def replaced(file, name, values):
    del file[name]
    file[name] = values


@pytest.mark.parametrize("what", BAD)
def test_a_bad_file_gets_one_line(what, sample, tmp_path, repository):
    folder, _, own = sample
    change, words = BAD[what]
    path = tmp_path / "bad.h5"
    write([own], path, np.zeros(0), "")
    if what == "text":
        path.write_text("no HDF5")
    else:
        with h5py.File(path, "a") as file:
            change(file)
    code, said = run("simulate", folder / "particles.parquet", tmp_path / "out.parquet", "--backend", "showers",
                     "--option", f"file={path}", "--detector", repository / "configs/detectors/hgcal.yaml")  # fmt: skip
    assert code == 2 and words in said and "\n" not in said.strip() and not (tmp_path / "out.parquet").exists()


def test_points_that_are_nowhere_near_the_calorimeter_are_counted_as_lost(sample, tmp_path, repository):
    folder, _, own = sample
    path = tmp_path / "far.h5"
    write([own], path, np.zeros(0), "")
    with h5py.File(path, "a") as file:
        for shower in range(N):
            points(file, shower, 0, 1e30)
    code, said = run("simulate", folder / "particles.parquet", tmp_path / "out.parquet", "--backend", "showers",
                     "--option", f"file={path}", "--detector", repository / "configs/detectors/hgcal.yaml")  # fmt: skip
    assert code == 0 and "Traceback" not in said and "GeV" in said and "Warning" not in said


BAD_BINNINGS = {
    "no XML": ("<Bins>", "no XML"),
    "entities": ('<!DOCTYPE b [<!ENTITY a "1">]>' + XML, "a document type or entities"),
    "no particle": ("<Bins/>", "no `<Bin pid="),
    "falling": (XML.replace("0,5,10", "0,10,5"), "expected finite radii that rise"),
    "words": (XML.replace("0,5,10", "zero,five"), "expected radii in mm"),
    "no number": (XML.replace('n_bin_alpha="4"', ""), "expected a whole number"),
    "too many": (XML.replace('n_bin_alpha="4"', 'n_bin_alpha="999999"'), "expected 1 to 10000"),
    "order": (XML.replace('id="2"', 'id="5"'), "expected all layers in order"),
    "two": (XML.replace("</Bins>", '<Bin pid="11"/></Bins>'), "binnings of 2 particles"),
}


@pytest.mark.parametrize("what", BAD_BINNINGS)
def test_a_bad_binning_gets_one_line(what, tmp_path):
    text, words = BAD_BINNINGS[what]
    (tmp_path / "b.xml").write_text(text)
    with pytest.raises(InputError) as caught:
        read_binning(tmp_path / "b.xml")
    assert words in str(caught.value)


def test_voxels_of_another_binning_or_detector_are_refused(sample, tmp_path, repository, detector):
    _, _, own = sample
    binning = read_binning(repository / BINNING)
    write_voxels([own], tmp_path / "v.h5", binning, Geometry(detector).z - detector.front_face, "")
    (tmp_path / "b.xml").write_text(XML)
    with pytest.raises(InputError, match=r"expected .30, 9. by the binning of `photon`"):
        VoxelFile(tmp_path / "v.h5", read_binning(tmp_path / "b.xml"))
    with h5py.File(tmp_path / "v.h5", "a") as file:
        file["showers"][2, 5] = -3.0
    with pytest.raises(InputError, match="a voxel of -3 MeV"):
        VoxelFile(tmp_path / "v.h5", binning).voxels(np.arange(N))


@pytest.mark.parametrize("seed", range(20))
def test_damaged_bytes_are_refused_or_read(seed, sample, tmp_path):
    rng, path = np.random.default_rng(seed), tmp_path / "p.h5"
    write([sample[2]], path, np.zeros(0), "")
    data = bytearray(path.read_bytes())
    for at in rng.integers(0, len(data), 30):
        data[at] = rng.integers(256)
    path.write_bytes(bytes(data[: rng.integers(len(data) // 2, len(data) + 1)]))
    try:
        PointFile(path).read(np.arange(3))
    except InputError as error:
        assert str(path) in str(error)
