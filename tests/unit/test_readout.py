"""Readout as a stage: the simulation's own bytes, changed detectors by the same chance, pile-up and its truth."""

import json
import subprocess
import sys

import awkward as ak
import numpy as np
import pyarrow.parquet as pq
import pytest
from face_particles import events_of, particle

from gen2reco.config.block import load_block
from gen2reco.config.detector import Detector
from gen2reco.detector.digitise import Deposits, dead, deposit_lists, digitise
from gen2reco.detector.geometry import Geometry, decode
from gen2reco.errors import InputError
from gen2reco.events import records
from gen2reco.events.lists import flat
from gen2reco.events.provenance import PROVENANCE_KEY
from gen2reco.readout.crossing import joined, turned
from gen2reco.readout.library import Library
from gen2reco.run.runner import Job, provenance, run
from gen2reco.run.sidecar import read_sidecar
from gen2reco.run.stage import make_backend

EVENTS, CHUNK = 6, 3


@pytest.fixture(scope="module")
def detector(request) -> Detector:
    return load_block(request.config.rootpath / "configs/detectors/hgcal.yaml", Detector)


@pytest.fixture(scope="module", params=["geant4", "ml"])
def simulated(request, detector, tmp_path_factory):
    """Hits without and with deposits of the same few particles."""
    folder = tmp_path_factory.mktemp(request.param)
    lists = [[particle(pdg, 8.0, eta) for pdg in (22, 211, 11)] for eta in np.linspace(1.7, 2.7, EVENTS)]
    records.write(folder / "particles.parquet", events_of(lists), "particles", {})
    made = []
    for keep in ("false", "true"):
        output = folder / f"hits_{keep}.parquet"
        words = ["--backend", request.param, "--option", f"keep_deposits={keep}", "--chunk-events", str(CHUNK)]
        words += ["--detector", str(request.config.rootpath / "configs/detectors/hgcal.yaml"), "--seed", "5"]
        command = [sys.executable, "-m", "gen2reco.cli", "simulate", *words, "particles.parquet", output.name]
        subprocess.run(command, cwd=folder, check=True, capture_output=True)  # Geant4 wants a process of its own
        made.append(output)
    return made


def read_out(source, detector, name="plain", library=(), seed=5, **options):
    """The events that a readout makes of a file, and its sidecar."""
    backend = make_backend("readout", name, options, detector)
    backend.library = tuple(library)
    output = source.with_name("out.parquet")
    facts = run(Job(backend, output, seed, source, sample="other", shard=2))
    return records.awkward(records.read(output, "hits")), facts


def test_plain_gives_the_hits_of_the_simulation_byte_for_byte(simulated, detector):
    without, kept = simulated
    read_out(kept, detector)
    assert records.read(kept.with_name("out.parquet"), "hits") == records.read(without, "hits")
    assert provenance(kept.with_name("out.parquet"))["simulate"]["sample"] == "alone"


def test_a_changed_readout_draws_what_the_simulation_drew(simulated, detector):
    without, kept = simulated
    before = records.awkward(records.read(without, "hits"))
    again, facts = read_out(kept, detector, digitisation={"saturation": 1e9})
    assert facts["readout_changes"] == {"digitisation": {"saturation": 1e9}}
    assert ak.array_equal(again.hits.cell, before.hits.cell)  # noise-only hits too
    assert flat(again.hits.energy) == pytest.approx(flat(before.hits.energy), rel=2e-6)
    assert flat(again.hits.time) == pytest.approx(flat(before.hits.time), abs=1e-5)
    dying, _ = read_out(kept, detector, dead_cells=0.3)
    alive = ~dead(flat(before.hits.cell), 0.3)
    assert (flat(dying.hits.cell) == flat(before.hits.cell)[alive]).all() and 0.6 < alive.mean() < 0.8
    assert flat(dying.hits.energy) == pytest.approx(flat(before.hits.energy)[alive], rel=2e-6)
    weak, _ = read_out(kept, detector, em_scale=0.5)
    assert ak.sum(weak.contributions.energy) == pytest.approx(0.5 * ak.sum(before.contributions.energy), rel=0.05)


def test_another_tracker_makes_tracks_of_the_same_chance(simulated, detector):
    without, kept = simulated
    before = records.awkward(records.read(without, "hits"))
    again, _ = read_out(kept, detector, tracker={"pt_min": 0.4})
    assert ak.array_equal(again.tracks.particle, before.tracks.particle)
    assert flat(again.tracks.px) == pytest.approx(flat(before.tracks.px), rel=1e-5)
    worse, _ = read_out(kept, detector, tracker={"sigma_constant": 0.15, "sigma_linear": 0.0})
    ratio = (flat(worse.tracks.pz) / flat(before.tracks.pz) - 1) / 0.15
    assert 0.05 < np.abs(ratio).mean() < 2.0
    fewer, _ = read_out(kept, detector, tracker={"efficiency": 0.4})
    kept_tracks = ak.num(fewer.tracks)
    assert 0 < ak.sum(kept_tracks) < ak.sum(ak.num(before.tracks)) and ak.all(kept_tracks <= ak.num(before.tracks))
    assert ak.array_equal(fewer.hits, before.hits)


def test_dead_cells_of_a_larger_share_hold_those_of_a_smaller_one(detector):
    cells = Geometry(detector).nth_cell(np.arange(0, 8_000_000, 97))
    few, many = dead(cells, 0.05), dead(cells, 0.2)
    assert few.mean() == pytest.approx(0.05, abs=0.003) and many.mean() == pytest.approx(0.2, abs=0.005)
    assert (few <= many).all() and dead(cells, 1.0).all() and not dead(cells, 0.0).any()


def test_quarter_turns_are_those_of_the_positions(detector):
    geometry = Geometry(detector)
    cells = geometry.nth_cell(np.arange(0, 8_000_000, 9973))
    for quarters in range(4):
        there = turned(cells, np.full(len(cells), quarters))
        (x, y, z), (u, v, w) = geometry.position(cells), geometry.position(there)
        cos, sin = [(1, 0), (0, 1), (-1, 0), (0, -1)][quarters]
        assert (u == cos * x - sin * y).all() and (v == sin * x + cos * y).all() and (w == z).all()
        at = decode(there)
        assert geometry.exists(at.layer, at.ix, at.iy).all()


def hits_file(path, deposits, n_events, story, weights=None, **extra):
    """A file of hits that are all deposits."""
    nothing = dict.fromkeys(("tracks", "hits", "contributions"), [[]] * n_events)
    columns = {
        "event": np.arange(n_events),
        "weight": np.ones(n_events) if weights is None else weights,
        "particles": ak.Array([[particle(22, 10.0, 2.0)]] * n_events),
        **nothing,
        **({"deposits": deposit_lists(deposits, n_events)} if deposits else {}),
    }
    records.write(path, records.table("hits", columns), "hits", {PROVENANCE_KEY: json.dumps(story)})
    return path


def toy_deposits(geometry, n_events, each, seed):
    """Deposits of `each` cells an event, 5 MIP each, of the first particle."""
    cell = geometry.nth_cell(np.random.default_rng(seed).integers(0, 2 * int(geometry.n_cells.sum()), n_events * each))
    energy = 5.0 * geometry.gev_per_mip[decode(cell).layer - 1]
    event = np.repeat(np.arange(n_events), each)
    return Deposits(event, cell, np.zeros(len(cell), np.int64), energy, np.full(len(cell), 0.5)).merged()


def story_of(detector, sample, **generate):
    made = {"seed": 5, "sample": sample, "shard": 0, "chunk_events": 2, "detector": detector.model_dump(mode="json")}
    return {"generate": {"backend": "gun", "options": {}, "seed": 5, "sample": sample, **generate}, "simulate": made}


@pytest.fixture
def crossing(detector, tmp_path):
    """A signal of four events of 50 cells each, and a library of 12 events of 30 cells each in two files."""
    geometry = Geometry(detector)
    signal = hits_file(tmp_path / "s.parquet", toy_deposits(geometry, 4, 50, 1), 4, story_of(detector, "signal"))
    files = [
        hits_file(tmp_path / f"l{i}.parquet", toy_deposits(geometry, 6, 30, 2 + i), 6, story_of(detector, "minbias"))
        for i in range(2)
    ]
    return signal, files


def test_pile_up_is_added_and_is_no_particle_of_the_event(crossing, detector):
    signal, library = crossing
    hits, facts = read_out(signal, detector, "overlay", library, mean=7, profile="fixed")
    scale = Geometry(detector).gev_per_mip[flat(hits.hits.layer) - 1]
    before = ak.to_numpy(ak.num(hits.hits)).cumsum() - ak.to_numpy(ak.num(hits.hits))
    assert (facts["pileup_events"], facts["library_events"]) == (4 * 7, 12)
    assert facts["library_reuse"] == pytest.approx(28 / 12)
    assert ak.to_list(ak.num(hits.contributions)) == [50] * 4 and set(flat(hits.contributions.particle)) == {0}
    own = np.bincount(flat(hits.contributions.hit) + np.repeat(before, 50), flat(hits.contributions.energy), len(scale))
    noise = (flat(hits.hits.energy) - own - flat(hits.hit_pileup)) / scale
    assert np.abs(noise).max() < 6.0 and np.std(noise) < 0.3
    assert ak.to_list(ak.sum(hits.hit_pileup > 0, axis=1)) == pytest.approx([7 * 30] * 4, abs=3)
    again, _ = read_out(signal, detector, "overlay", library, mean=7, profile="fixed")
    other, _ = read_out(signal, detector, "overlay", library, seed=6, mean=7, profile="fixed")
    assert ak.array_equal(again, hits) and not ak.array_equal(other.hits, hits.hits)


def test_events_of_different_parts_of_the_library_share_no_pile_up(crossing, detector):
    signal, library = crossing
    hits, facts = read_out(signal, detector, "overlay", library, mean=2, profile="fixed")
    assert facts["library_parts"] == 6 and ak.to_list(hits.library_part) == [0, 1, 2, 3]
    some, facts = read_out(signal, detector, "overlay", library, mean=3, profile="fixed")  # too few for five parts
    assert facts["library_parts"] == 1 and "library_part" not in some.fields
    pool = Library(library, detector, story_of(detector, "signal"))
    pool.lay_flat()
    found = [set() for _ in range(4)]
    for part in range(4):
        for seed in range(5):
            cell = pool.crossing(2, np.random.default_rng(seed), part, 4)[1][0]
            found[part] |= set(np.min([turned(cell, np.full(len(cell), q)) for q in range(4)], axis=0).tolist())
    assert all(30 < len(one) <= 3 * 30 for one in found)
    assert sum(map(len, found)) == len(set.union(*found))
    with pytest.raises(InputError, match="a crossing of 4 interactions, but there are 3 events"):
        pool.crossing(4, np.random.default_rng(0), 1, 4)


def test_no_event_is_drawn_twice_in_a_crossing_and_detectors_see_the_same_crossings(crossing, detector):
    signal, library = crossing
    whole, _ = read_out(signal, detector, "overlay", library, mean=12, profile="fixed")
    assert ak.all(ak.sum(whole.hit_pileup > 0, axis=1) > 12 * 30 - 5)  # all of the library, each once
    noisy, facts = read_out(
        signal, detector, "overlay", library, mean=12, profile="fixed", digitisation={"noise": 0.01}
    )
    assert facts["readout_changes"] == {"digitisation": {"noise": 0.01}}
    real = [ak.to_list(one.hits.cell[one.hit_pileup > 0]) for one in (whole, noisy)]
    assert real[0] == real[1]
    none, facts = read_out(signal, detector, "overlay", library, mean=0)
    assert facts["library_parts"] == 1 and "library_part" not in none.fields
    assert ak.sum(none.hit_pileup) == 0 and ak.all(ak.num(none.contributions) == 50)


def test_time_of_a_hit_is_weighted_by_energy_over_signal_and_pile_up(detector):
    geometry = Geometry(detector)
    cell = geometry.nth_cell([123_456])
    own = Deposits(np.zeros(1, int), cell, np.zeros(1, int), np.ones(1), np.ones(1))
    both = joined(own, np.repeat(cell, 2), np.array([1.0, 2.0]), np.array([3.0, 6.0]))
    assert both.particle.tolist() == [-1, 0] and both.energy.tolist() == [3.0, 1.0] and both.time.tolist() == [5.0, 1.0]
    quiet = detector.digitisation.model_copy(update={"noise": 0.0, "time_constant": 0.0, "time_stochastic": 0.0})
    ideal = Geometry(detector.model_copy(update={"digitisation": quiet}))
    read = digitise(both, 1, ideal, np.random.default_rng(0))
    assert ak.to_list(read.hits.time) == [[pytest.approx(4.0)]] and ak.to_list(read.pileup) == [[pytest.approx(3.0)]]


def test_scores_count_pile_up_as_not_signal(crossing, detector, tmp_path):
    from gen2reco.cluster.association import associate, energy_shares

    zero = np.zeros(1, int)
    scores = [
        associate(zero, energy_shares(zero, np.array([e]), np.array([e]), zero, zero, np.ones(1))).reco_to_sim[0]
        for e in (1.0, 4.0)  # of which 1 GeV is the particle's
    ]
    assert scores == [0.0, pytest.approx((3 / 4) ** 2)]
    signal, library = crossing
    read_out(signal, detector, "overlay", library, mean=12, profile="fixed")
    output = tmp_path / "clusters.parquet"
    run(Job(make_backend("cluster", "clue", {}, detector), output, 5, tmp_path / "out.parquet"))
    found = records.awkward(records.read(output, "clusters"))
    assert ak.array_equal(ak.num(found.trackster_pileup), ak.num(found.tracksters))
    assert ak.all(found.trackster_pileup <= found.tracksters.energy * 1.5)


def oversampled(files, detector):
    """A column of oversampled events is added to a file of the library."""
    events = pq.read_table(files[0])
    pq.write_table(events.append_column("source", events["event"]), files[0])
    return files


def changed_library(**change):
    """Write the library anew with a change; returns a function of (its files, detector)."""

    def make(files, detector):
        geometry = Geometry(detector)
        story = story_of(change.pop("detector", lambda d: d)(detector), change.pop("sample", "minbias"))
        story["generate"] |= change.pop("generate", {})
        deposits = None if change.pop("empty", False) else toy_deposits(geometry, 6, 30, 2)
        if "cell" in change:
            deposits = Deposits(deposits.event, deposits.cell + np.uint64(change.pop("cell")), deposits.particle,
                                deposits.energy, deposits.time)  # fmt: skip
        return [hits_file(files[0], deposits, 6, story, **change)]

    return make


BAD = {
    "no deposits": ({"mean": 1}, changed_library(empty=True), "library without deposits"),
    "geometry": (
        {"mean": 1},
        changed_library(detector=lambda d: d.model_copy(update={"cell_size": 12.0})),
        "simulated in detector `hgcal` of geometry",
    ),
    "cells": ({"mean": 0.01}, changed_library(cell=0xFF << 32), "cells that detector `hgcal` does not have"),
    "filtered": (
        {"mean": 1},
        changed_library(generate={"options": {"process": {"filter": {"pt_min": 30}}}}),
        "library of filtered events",
    ),
    "weighted": (
        {"mean": 0.01},
        changed_library(weights=np.array([1.0, 1, 1, 1, 1, 2])),
        "events of different weights",
    ),
    "oversampled": ({"mean": 1}, oversampled, "an oversampled sample"),
    "itself": ({"mean": 1}, changed_library(sample="signal"), "the library is the signal sample itself"),
    "too small": ({"mean": 4}, None, "12 events is too small: the largest crossing holds"),
    "fixed": ({"mean": 13, "profile": "fixed"}, None, "the largest crossing holds 13"),
    "negative": ({"mean": -1}, None, "`mean` = -1"),
    "broken": ({"mean": 1.5, "profile": "fixed"}, None, "takes a whole number"),
    "none": ({"mean": 1}, lambda files, detector: [], "no library; give its files"),
}


@pytest.mark.parametrize("case", BAD)
def test_a_library_that_cannot_be_one_is_refused_in_a_line(case, crossing, detector):
    options, change, said = BAD[case]
    signal, library = crossing
    library = change(library, detector) if change else library
    with pytest.raises(InputError, match=said) as error:
        read_out(signal, detector, "overlay", library, **options)
    assert "\n" not in str(error.value) and not (signal.parent / "out.parquet").exists()


def test_hits_without_deposits_or_read_out_before_are_refused(crossing, detector, tmp_path):
    signal, _ = crossing
    read_out(signal, detector)
    with pytest.raises(InputError, match="read out before"):
        read_out((signal.parent / "out.parquet").rename(tmp_path / "first.parquet"), detector)
    bare = hits_file(tmp_path / "bare.parquet", None, 2, story_of(detector, "signal"))
    with pytest.raises(InputError, match="no deposits to read out"):
        read_out(bare, detector, dead_cells=0.1)
    assert read_sidecar(signal.parent / "out.parquet")["stage"] == "readout"


READOUTS = {
    "none": ({}, {}, None),
    "plain": ({"backend": "plain", "options": {"em_scale": 1.0, "digitisation": {"noise": None}}}, {}, None),
    "pile-up": ({"backend": "overlay", "options": {"mean": 140.0}}, {}, "overlay (mean = 140)"),
    "trained": ({"backend": "overlay", "options": {"mean": 60.0}}, {"readout": "overlay (mean = 60); plain"}, None),
    "aged": (
        {"backend": "plain", "options": {"em_scale": 0.97, "digitisation": {"noise": 0.22}}},
        {"readout": "overlay (mean = 60)"},
        "plain (em_scale = 0.97, digitisation.noise = 0.22)",
    ),
}


@pytest.mark.parametrize("case", READOUTS)
def test_a_calibration_says_whether_it_was_trained_for_the_readout(case):
    from gen2reco.calibrate.dnn import not_trained_for

    made, pins, said = READOUTS[case]
    line = not_trained_for({"readout": made}, pins)
    assert (line is None) if said is None else (f"these hits are of {said}:" in line)
