"""Observables of small events whose answer is known, and samples on disk."""

import json
from dataclasses import replace

import awkward as ak
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gen2reco.config.block import load_block
from gen2reco.config.detector import Detector
from gen2reco.config.validation import Validation
from gen2reco.detector.geometry import Geometry, encode
from gen2reco.errors import InputError
from gen2reco.events import records, schemas
from gen2reco.events.schemas import IDENTITIES
from gen2reco.events.truth import Properties
from gen2reco.validate import measure, true_particles
from gen2reco.validate.flat_lists import FlatList, flatten
from gen2reco.validate.observable_tables import concatenate, row_histograms
from gen2reco.validate.observe import cluster_observables as clusters
from gen2reco.validate.observe import event_shapes as shapes
from gen2reco.validate.observe import hit_observables as hits
from gen2reco.validate.observe import object_matching
from gen2reco.validate.observe import object_observables as objects
from gen2reco.validate.observe import particle_observables as particles
from gen2reco.validate.ruler import Ruler
from gen2reco.validate.samples import open_sample, open_samples


@pytest.fixture(scope="module")
def detector(repository) -> Detector:
    return load_block(repository / "configs/detectors/hgcal.yaml", Detector)


@pytest.fixture(scope="module")
def small_detector(detector) -> Detector:
    """Another face, another number of layers, another field, narrower."""
    sections = [
        detector.sections[0].model_copy(update={"layers": 5}),
        detector.sections[-1].model_copy(update={"layers": 3}),
    ]
    solenoid = detector.solenoid.model_copy(update={"field": 2.0})
    changes = {"sections": sections, "front_face": 2500.0, "solenoid": solenoid, "eta_min": 1.9, "eta_max": 2.6}
    return detector.model_copy(update=changes)


def particle(pdg=22, eta=2.0, phi=0.3, energy=50.0, **more) -> dict:
    pt = energy / np.cosh(eta)
    momentum = {"px": pt * np.cos(phi), "py": pt * np.sin(phi), "pz": pt * np.sinh(eta), "energy": energy}
    return {"pdg": pdg, **momentum, "vx": 0.0, "vy": 0.0, "vz": 0.0, "time": 0.0, **more}


def particles_table(events: list[list[dict]]):
    columns = {"event": np.arange(len(events)), "weight": np.ones(len(events)), "partons": ak.Array([[]] * len(events))}
    return records.table("particles", {**columns, "particles": ak.Array(events)})


def flat_particles(*members: dict) -> FlatList:
    return flatten(records.awkward(particles_table([list(members)])).particles)


# --- true particles at the face


def test_a_neutral_particle_flies_straight(detector):
    face = true_particles.at_face(flat_particles(particle(22, 2.0, 0.3), particle(22, -2.5, -2.0)), detector)
    assert face.reached.all()
    assert face.eta == pytest.approx([2.0, -2.5], abs=1e-5)
    assert face.phi == pytest.approx([0.3, -2.0], abs=1e-5)
    assert face.z.tolist() == [detector.front_face, -detector.front_face]


def test_a_charged_particle_follows_the_integrated_orbit(detector):
    """Against small steps of dp/dt = q v x B."""
    face = true_particles.at_face(
        flat_particles(particle(211, 1.9, 1.0, 15.0), particle(-211, 1.9, 1.0, 15.0)), detector
    )
    for index, charge in enumerate((1, -1)):
        p = np.array([particle(211, 1.9, 1.0, 15.0)[k] for k in ("px", "py", "pz")])
        x, steps = np.zeros(3), 20_000
        dz = detector.front_face / steps
        for _ in range(steps):
            turn = 0.299792458e-3 * charge * detector.solenoid.field * dz / p[2]
            half = p[0] + 0.5 * turn * p[1], p[1] - 0.5 * turn * p[0]
            x += np.array([half[0], half[1], p[2]]) / p[2] * dz
            p[:2] = p[0] + turn * half[1], p[1] - turn * half[0]
        assert (face.x[index], face.y[index]) == pytest.approx((x[0], x[1]), abs=0.1)
        assert (face.slope_x[index], face.slope_y[index]) == pytest.approx((p[0] / p[2], p[1] / p[2]), abs=1e-4)


@pytest.mark.parametrize(
    "member", [particle(22, 2.0, pz=0.0), particle(211, 1.6, energy=0.2), particle(22, 2.0, vz=4000.0)]
)
def test_who_never_reaches_the_face(member, detector):
    assert not true_particles.at_face(flat_particles(member), detector).reached[0]


@pytest.mark.parametrize(
    ("pdg", "kind"),
    [(22, "photon"), (-11, "electron"), (13, "muon"), (-211, "charged_hadron"), (2112, "neutral_hadron"), (14, None)],
)
def test_kinds(pdg, kind):
    index = true_particles.kind_of(np.array([pdg]))[0]
    assert (IDENTITIES[index] if index >= 0 else None) == kind


def test_nearest_neighbour_is_of_the_same_event_and_side(detector):
    table = particles_table([[particle(phi=0.0), particle(phi=0.1), particle(eta=-2.0)], [particle(phi=0.01)]])
    column = flatten(records.awkward(table).particles)
    face = true_particles.at_face(column, detector)
    distance = true_particles.nearest_neighbour(face, column.row, np.ones(4, bool))
    chord = 2 * detector.front_face / np.sinh(2.0) * np.sin(0.05)
    assert distance[:2] == pytest.approx([chord, chord], rel=1e-3)
    assert np.isinf(distance[2:]).all()


# --- particles


def momenta(rows) -> tuple[np.ndarray, np.ndarray]:
    p = np.array(rows, float)
    return p, np.array([0, len(p)])


MERCEDES = [(1, 0, 0), (-0.5, np.sqrt(3) / 2, 0), (-0.5, -np.sqrt(3) / 2, 0)]


@pytest.mark.parametrize(
    ("rows", "thrust", "c"),
    [
        ([(1, 0, 0), (-1, 0, 0)], 1.0, 0.0),
        (MERCEDES, 2 / 3, 0.75),
        (np.vstack([np.eye(3), -np.eye(3)]), 1 / np.sqrt(3), 1.0),
    ],
)
def test_shapes_of_simple_events(rows, thrust, c):
    p, starts = momenta(rows)
    assert shapes.thrust_axes(p, starts)[0, 0] == pytest.approx(thrust)
    assert shapes.c_parameter(p, np.zeros(len(p), int), 1)[0] == pytest.approx(c)


@settings(max_examples=25, deadline=None)
@given(st.integers(2, 12), st.integers(0, 10_000))
def test_no_axis_beats_the_thrust_axis(n, seed):
    rng = np.random.default_rng(seed)
    p = rng.normal(size=(n, 3))
    value, *axis = shapes.thrust_axes(p, np.array([0, n]))[0]
    total = np.linalg.norm(p, axis=1).sum()
    assert np.abs(p @ np.array(axis)).sum() / total == pytest.approx(value)
    tried = rng.normal(size=(2000, 3))
    tried /= np.linalg.norm(tried, axis=1, keepdims=True)
    assert (np.abs(tried @ p.T).sum(1) / total).max() <= value + 1e-9


def test_an_annihilation_has_shapes_and_a_gun_has_none():
    pair = [particle(211, 0.5, 0.1, 20.0), particle(-211, 0.3, 0.4, 20.0), particle(22, -0.2, 2.0, 15.0)]
    sums = -sum(np.array([m[k] for k in ("px", "py", "pz")]) for m in pair)
    last = {**particle(130), **dict(zip(("px", "py", "pz"), sums)), "energy": float(np.linalg.norm(sums))}
    found = particles.observe(particles_table([[*pair, last], [particle(energy=30.0)]]), None, Validation())["events"]
    assert np.isfinite(found.values["thrust"]).tolist() == [True, False]
    assert found.values["n_charged"].tolist() == [2, 0]
    assert found.values["n_kaon_long"].tolist() == [1, 0]
    assert found.values["y23"][0] > 0
    assert found.blocks["xi"].sum(1).tolist() == [2, 0]


def test_jets_of_a_hadronic_event():
    rng = np.random.default_rng(2)
    jet = [particle(211 if i % 2 else 22, 2.0 + 0.1 * rng.normal(), 0.1 * rng.normal(), 60.0) for i in range(8)]
    soft = [particle(2212, 4.5, 2.0, 100.0)]
    found = particles.observe(particles_table([jet + soft]), None, Validation())
    assert found["events"].values["n_jets"].tolist() == [1]
    assert found["jets"].values["n_constituents"].tolist() == [8]
    assert found["jets"].values["eta"][0] == pytest.approx(2.0, abs=0.15)
    assert found["jets"].values["dispersion"][0] == pytest.approx(8**-0.5, abs=0.02)
    assert 0 < found["jets"].values["girth"][0] < 0.4


# --- hits


def shower_table(detector, energies=(1.0, 2.0, 1.0), layers=(5, 6, 7), offset=0.0, linked=True, times=0.1):
    """One photon of 50 GeV at eta 2, one hit a layer on its axis, moved in x by `offset`, mm."""
    axis = particle()
    z = Geometry(detector).z[np.array(layers) - 1]
    x, y = z * axis["px"] / axis["pz"] + offset, z * axis["py"] / axis["pz"]
    size = detector.cell_size
    cell = encode(1, np.array(layers), np.floor(x / size), np.floor(y / size))
    fields = {"cell": cell, "layer": np.array(layers), "x": x, "y": y, "z": z, "energy": np.array(energies)}
    fields["time"] = np.broadcast_to(np.array(times), len(layers))
    own = [{"hit": i, "particle": 0, "energy": e} for i, e in enumerate(energies)] if linked else []
    empty = particles_table([[axis]])
    return records.table(
        "hits",
        {
            "event": [4], "weight": [1.0], "particles": empty["particles"], "tracks": ak.Array([[]]),
            "hits": ak.Array([[dict(zip(fields, values)) for values in zip(*fields.values())]]),
            "contributions": ak.Array([own]),
        },
    )  # fmt: skip


def test_a_shower_on_its_axis(detector):
    found = hits.observe(shower_table(detector), detector, Validation())
    photon = {name: value[0] for name, value in found["photon"].values.items()}
    assert photon["energy_ratio"] == pytest.approx(4 / 50)
    assert photon["depth"] == pytest.approx(6)
    assert photon["depth_width"] == pytest.approx(np.sqrt(0.5))
    assert photon["radius"] == pytest.approx(0, abs=0.5)
    assert photon["hottest"] == pytest.approx(0.5) and photon["second"] == pytest.approx(0.25)
    assert photon["start"] == 5 and photon["last"] == 7
    assert found["photon"].blocks["layers"][0, 4:7] == pytest.approx(np.array([1, 2, 1]) / 50)
    assert found["events"].values["n_unlinked"].tolist() == [0]


def test_a_shower_off_its_axis(detector):
    found = hits.observe(shower_table(detector, offset=40.0), detector, Validation())["photon"]
    assert found.values["offset_x"][0] == pytest.approx(40, abs=0.5)
    assert found.values["radius"][0] == pytest.approx(40, abs=0.5)
    assert found.values["width_x"][0] == pytest.approx(0, abs=0.5)


def test_a_particle_without_hits_is_a_shower_of_no_energy(detector):
    found = hits.observe(shower_table(detector, linked=False), detector, Validation())
    assert found["photon"].values["energy_ratio"].tolist() == [0]
    assert np.isnan(found["photon"].values["depth"][0])
    assert found["events"].values["n_unlinked"].tolist() == [3]


def test_smeared_times_below_zero_are_times(detector):
    """Energies 1, 2 and 4 at -0.05, 0.1 and no time; what counts as measured is not cut at zero."""
    table = shower_table(detector, energies=(1.0, 2.0, 4.0), times=(-0.05, 0.1, schemas.NO_TIME))
    found = hits.observe(table, detector, Validation())
    photon, events = found["photon"], found["events"]
    assert photon.values["time"][0] == pytest.approx((2 * 0.1 - 0.05) / 3)
    assert photon.values["time_width"][0] == pytest.approx(np.sqrt((2 * 0.05**2 + 0.1**2) / 3))
    assert photon.blocks["times"].sum() == 2 == events.blocks["times"].sum()
    early = hits.observe(
        shower_table(detector, energies=(2.0, 2.0, 4.0), times=(-0.05, 0.1, -1.0)), detector, Validation()
    )
    assert early["events"].values["first_time"][0] == pytest.approx(-0.05)


def test_the_time_of_a_trackster_may_be_negative(detector):
    trackster = dict.fromkeys(records.SCHEMAS["clusters"].field("tracksters").type.value_type.names, 1.0)
    one = {"layer": 3, "x": 1.0, "y": 1.0, "z": 1.0, "energy": 2.0, "time": -1.0, "size": 4}
    table = records.table(
        "clusters",
        {
            "event": [0], "weight": [1.0], "particles": particles_table([[particle()]])["particles"],
            "tracks": ak.Array([[]]), "layer_clusters": ak.Array([[one, one]]), "hit_cluster": ak.Array([[0, 1]]),
            "tracksters": ak.Array([[{**trackster, "iteration": 0, "time": t} for t in (-0.02, schemas.NO_TIME)]]),
            "cluster_trackster": ak.Array([[0, 1]]), "associations": ak.Array([[]]),
        },
    )  # fmt: skip
    times = clusters.observe(table, detector, Validation())["tracksters"].values["time"]
    assert times[0] == pytest.approx(-0.02) and np.isnan(times[1])


def test_neighbours_in_a_layer_are_counted(detector):
    size, z = detector.cell_size, Geometry(detector).z[4]
    ix, iy = 60, 40
    cell = encode(1, 5, np.array([ix, ix + 1, ix + 4]), np.array([iy, iy, iy]))
    x = (np.array([ix, ix + 1, ix + 4]) + 0.5) * size
    fields = [
        {"cell": int(c), "layer": 5, "x": a, "y": (iy + 0.5) * size, "z": z, "energy": 1.0, "time": -1.0}
        for c, a in zip(cell, x)
    ]
    base = shower_table(detector)
    columns = {name: base[name] for name in base.schema.names}
    table = records.table("hits", {**columns, "hits": ak.Array([fields])})
    found = hits.observe(table, detector, Validation())["photon"]
    assert found.values["pairs"][0] == pytest.approx(1 / 3)


def test_layers_face_and_edges_are_the_detectors(small_detector):
    """The same shower in a detector of eight layers, five of them electromagnetic."""
    found = hits.observe(shower_table(small_detector, layers=(4, 6, 8)), small_detector, Validation())
    photon, events = found["photon"], found["events"]
    assert photon.blocks["layers"].shape == (1, 8) == events.blocks["layers"].shape
    assert photon.blocks["layer_groups"].shape == (1, 4)
    assert photon.values["hadronic"][0] == pytest.approx(3 / 4)
    assert (photon.values["start"][0], photon.values["last"][0]) == (4, 8)
    assert photon.values["radius"][0] == pytest.approx(0, abs=0.5)
    assert events.values["energy_ratio"][0] == pytest.approx(4 / 50)
    wide = small_detector.model_copy(update={"eta_min": 2.1})
    assert np.isnan(hits.observe(shower_table(wide), wide, Validation())["events"].values["energy_ratio"][0])


def test_a_charged_particle_bends_as_the_detector_says(small_detector):
    straight = small_detector.model_copy(update={"solenoid": small_detector.solenoid.model_copy(update={"field": 0.0})})
    face = [true_particles.at_face(flat_particles(particle(211, energy=20.0)), d) for d in (small_detector, straight)]
    pz = particle(211, energy=20.0)["pz"]
    assert face[1].phi[0] == pytest.approx(0.3)
    assert face[1].phi[0] - face[0].phi[0] == pytest.approx(0.5 * 0.299792458e-3 * 2.0 * 2500.0 / pz, rel=1e-6)


def test_histograms_of_rows():
    found = row_histograms(np.array([0, 0, 1, 1]), np.array([0.5, 1.5, 1.0, 2.0]), np.arange(3.0), 3, np.arange(1.0, 5))
    assert found.tolist() == [[1, 2], [0, 3], [0, 0]]


# --- clusters and objects


def test_a_file_without_deposits_has_shapes_but_no_rates(detector):
    trackster = dict.fromkeys(records.SCHEMAS["clusters"].field("tracksters").type.value_type.names, 1.0)
    one = {"layer": 3, "x": 1.0, "y": 1.0, "z": 1.0, "energy": 2.0, "time": -1.0, "size": 4}
    table = records.table(
        "clusters",
        {
            "event": [0], "weight": [1.0], "particles": particles_table([[particle()]])["particles"],
            "tracks": ak.Array([[]]),
            "layer_clusters": ak.Array([[one]]),
            "hit_cluster": ak.Array([[0, 0, 0, 0, -1]]), "tracksters": ak.Array([[{**trackster, "iteration": 0}]]),
            "cluster_trackster": ak.Array([[0]]), "associations": ak.Array([[]]),
        },
    )  # fmt: skip
    found = clusters.observe(table, detector, Validation())
    assert set(found) == {"tracksters", "events"}
    assert found["events"].values["hits_clustered"].tolist() == [0.8]
    assert found["events"].values["clustered"].tolist() == [1.0]


def object_of(eta=2.0, phi=0.3, energy=49.0, **more) -> dict:
    chances = dict.fromkeys(("p_electron", "p_muon", "p_charged_hadron", "p_neutral_hadron"), 0.025)
    plain = {"pdg": 22, "p_photon": 0.9, **chances, "energy_raw": 45.0, "energy": energy, "energy_sigma": 2.0}
    return {**plain, "eta": eta, "phi": phi, "trackster": 0, **more}


def objects_table(members, found, jets=(), gen_jets=()):
    return records.table(
        "objects",
        {
            "event": [0], "weight": [1.0], "particles": particles_table([list(members)])["particles"],
            "objects": ak.Array([list(found)]), "jets": ak.Array([list(jets)]), "gen_jets": ak.Array([list(gen_jets)]),
        },
    )  # fmt: skip


def test_response_pull_and_identity_of_an_object(detector):
    found = objects.observe(objects_table([particle()], [object_of()]), detector, Validation())
    photon = {name: value[0] for name, value in found["photon"].values.items()}
    assert photon["response"] == pytest.approx(0.98) and photon["raw_response"] == pytest.approx(0.9)
    assert photon["pull"] == pytest.approx(-0.5)
    assert (photon["efficiency"], photon["split"], photon["identified"]) == (1, 0, 1)
    assert found["objects"].values["fake"].tolist() == [0]


def test_an_object_far_from_all_particles_is_fake(detector):
    far = object_of(phi=2.0, energy=10.0)
    found = objects.observe(objects_table([particle()], [object_of(), far]), detector, Validation())
    assert found["objects"].values["fake"].tolist() == [0, 1]


def test_two_large_parts_are_a_split_and_none_is_a_loss(detector):
    parts = [object_of(energy=30.0), object_of(phi=0.33, energy=18.0)]
    split = objects.observe(objects_table([particle()], parts), detector, Validation())["photon"]
    lost = objects.observe(objects_table([particle()], []), detector, Validation())["photon"]
    assert split.values["split"].tolist() == [1]
    assert lost.values["efficiency"].tolist() == [0] and np.isnan(lost.values["response"][0])


def test_particles_too_near_to_each_other_have_no_response(detector):
    near = [particle(), particle(phi=0.35)]
    found = objects.observe(objects_table(near, [object_of()]), detector, Validation())
    assert "photon" not in found


def test_a_bent_particle_is_matched_at_the_face_or_at_its_vertex(detector):
    """Calorimeter objects lie where the particle enters, those with a track along its momentum."""
    soft = particle(211, 2.2, 0.3, 8.0)
    face = true_particles.at_face(flat_particles(soft), detector)
    assert abs(face.phi[0] - 0.3) > 0.15
    for phi in (0.3, float(face.phi[0])):
        table = objects_table([soft], [object_of(eta=2.2, phi=phi, energy=8.0)])
        assert objects.observe(table, detector, Validation())["charged_hadron"].values["efficiency"].tolist() == [1]


def test_pairs_are_found_across_the_seam_in_phi():
    first = (np.array([0, 1]), np.array([2.0, 2.0]), np.array([3.13, 3.13]))
    second = (np.array([0]), np.array([2.0]), np.array([-3.13]))
    i, j, distance = object_matching.close_pairs(first, second, 0.1)
    assert (i.tolist(), j.tolist()) == ([0], [0])
    assert distance[0] == pytest.approx(2 * np.pi - 6.26)


def test_the_best_partner_costs_least():
    best = object_matching.best_partner(np.array([0, 0, 2]), np.array([5, 6, 5]), np.array([2.0, 1.0, 3.0]), 3)
    assert best.tolist() == [6, -1, 5]
    found = object_matching.of_partner(np.arange(7.0), best)
    assert found[[0, 2]].tolist() == [6.0, 5.0] and np.isnan(found[1])


def test_jets_are_compared_with_the_nearest_particle_jet(detector):
    members = [particle(phi=0.3 + 0.01 * i, energy=40.0) for i in range(6)]
    jet = {"pt": 45.0, "eta": 2.02, "phi": 0.31, "mass": 4.0, "constituents": [0, 1]}
    true = {"pt": 50.0, "eta": 2.0, "phi": 0.3, "mass": 5.0, "constituents": [0]}
    found = objects.observe(objects_table(members, [object_of(), object_of()], [jet], [true]), detector, Validation())
    jets = {name: value[0] for name, value in found["jets"].values.items()}
    assert jets["response"] == pytest.approx(0.9) and jets["mass_response"] == pytest.approx(0.8)
    assert jets["raw_response"] == pytest.approx(2 * 45 / np.cosh(2.0) / 50, rel=1e-5)
    assert "corrected_response" not in jets and "n_hard_jets_corrected" not in found["events"].values


def test_jets_are_measured_before_and_after_pile_up_is_subtracted(detector):
    members = [particle(phi=0.3 + 0.01 * i, energy=40.0) for i in range(6)]
    far = {"pt": 25.0, "eta": -2.0, "phi": 0.3, "mass": 1.0, "constituents": [1]}
    jet = {"pt": 60.0, "eta": 2.02, "phi": 0.31, "mass": 4.0, "constituents": [0]}
    true = {"pt": 50.0, "eta": 2.0, "phi": 0.3, "mass": 5.0, "constituents": [0]}
    table = objects_table(members, [object_of(), object_of()], [jet, far], [true])
    field = pa.field("jet_pt_corrected", pa.list_(pa.float32()), nullable=False)
    table = table.append_column(field, pa.array([[51.0, 9.0]], field.type))
    found = objects.observe(table, detector, Validation())
    jets, events = found["jets"].values, found["events"].values
    assert jets["response"].tolist() == [1.2] and jets["corrected_response"].tolist() == [1.02]
    assert events["n_hard_jets"].tolist() == [2] and events["n_hard_jets_corrected"].tolist() == [1]
    scaled = [{name: value * (1 + (i - 14.5) / 1000) for name, value in jets.items()} for i in range(30)]
    many = concatenate([replace(found["jets"], event=np.array([i]), values=one) for i, one in enumerate(scaled)])
    ruler = Ruler("objects", ("a", "b"), Validation(resamples=20), {})
    names = {m.name: m for m in measure.absolute(objects.JETS, ruler, many)}
    assert names["jets/response"].value == pytest.approx(1.2)
    assert names["jets/corrected_response"].value == pytest.approx(1.02)
    shifts = {m.name: m for m in measure.compared(objects.JETS, ruler, many, many)}
    assert shifts["jets/corrected_shift_response"].value == 0 and not shifts["jets/corrected_shift_response"].headline
    bare = replace(many, values={k: v for k, v in many.values.items() if k != "corrected_response"})
    assert "jets/corrected_shift_response" not in {m.name for m in measure.compared(objects.JETS, ruler, many, bare)}


# --- samples


def store(folder, stage, table, record, **sidecar):
    path = folder / stage / "00000.parquet"
    path.parent.mkdir(parents=True, exist_ok=True)
    records.write(path, table, record)
    if sidecar:
        made = {"stage": stage, "status": "ok", "sha256": "0" * 64, "events_out": table.num_rows, "device": "cpu"}
        path.with_suffix(".json").write_text(json.dumps(made | sidecar))
    return folder


def test_kinds_follow_the_files_generator():
    stated = {"name": "X", "charge": 1.0, "coloured": False, "visible": True}
    own = Properties.of({"generate": {"info": {"particle_properties": {"9000005": stated}}}}, {})
    pdg = np.array([22, -11, 13, 211, 130, 12, 1000022, 52, 9000005, -9000005])
    assert true_particles.kind_of(pdg).tolist() == [0, 1, 2, 3, 4, -1, -1, -1, -1, -1]
    assert true_particles.kind_of(pdg, own).tolist() == [0, 1, 2, 3, 4, -1, -1, -1, 3, 3]


def test_a_sample_knows_its_records_and_costs(tmp_path, detector):
    folder = store(tmp_path / "a", "generate", particles_table([[particle()]]), "particles")
    store(
        folder,
        "simulate",
        shower_table(detector),
        "hits",
        events_in=4,
        cpu_seconds=2.0,
        wall_seconds=9.0,
        backend="geant4",
    )
    sample = open_sample(folder)
    assert list(sample.shards) == ["particles", "hits"]
    assert list(sample.costs) == ["simulate"]
    assert sample.costs["simulate"].seconds_per_event == pytest.approx(0.5)


def test_samples_of_one_name_are_told_apart(tmp_path):
    folders = [
        store(tmp_path / c / "gun", "generate", particles_table([[particle()]]), "particles") for c in ("one", "two")
    ]
    assert [s.name for s in open_samples(folders)] == ["one_gun", "two_gun"]


def missing(tmp_path, detector):
    return [tmp_path / "nowhere"], "no such sample"


def empty_folder(tmp_path, detector):
    (tmp_path / "empty").mkdir()
    return [tmp_path / "empty"], "holds no record files"


def nothing_shared(tmp_path, detector):
    first = store(tmp_path / "a", "generate", particles_table([[particle()]]), "particles")
    return [first, store(tmp_path / "b", "simulate", shower_table(detector), "hits")], "a stage that both have"


def not_parquet(tmp_path, detector):
    (tmp_path / "x.parquet").write_text("no")
    return [tmp_path / "x.parquet"], "not a readable Parquet file"


@pytest.mark.parametrize("mistake", [missing, empty_folder, nothing_shared, not_parquet])
def test_bad_samples_are_one_clear_line(mistake, tmp_path, detector):
    paths, said = mistake(tmp_path, detector)
    with pytest.raises(InputError, match=said):
        open_samples(paths)
