"""Lists of a record as flat arrays and back; azimuths in one turn; the detector that a file states."""

import json

import awkward as ak
import numpy as np
import pytest

from gen2reco.config.block import load_block
from gen2reco.config.detector import Detector
from gen2reco.detector.geometry import Geometry
from gen2reco.detector.made_with import detector_of, stated_detector
from gen2reco.errors import InputError
from gen2reco.events import lists, records
from gen2reco.units import wrapped

EVENTS = ak.Array([[{"x": 1.0, "n": 4}, {"x": 2.0, "n": 5}], [], [{"x": 3.0, "n": 6}]])


def test_flat_arrays_of_lists():
    assert {name: values.tolist() for name, values in lists.columns(EVENTS, ("x", "n")).items()} == {
        "x": [1.0, 2.0, 3.0],
        "n": [4, 5, 6],
    }
    assert lists.sizes(EVENTS).tolist() == [2, 0, 1]
    assert lists.offsets(EVENTS).tolist() == [0, 2, 2, 3]
    assert lists.event_of(EVENTS).tolist() == [0, 0, 2]


@pytest.mark.parametrize("seed", range(3))
def test_places_and_indices_are_inverse(seed):
    rng = np.random.default_rng(seed)
    counts = rng.integers(0, 5, 20)
    some = ak.unflatten(np.arange(counts.sum()), counts)
    event = lists.event_of(some)
    place = np.where(rng.random(len(event)) < 0.2, -1, np.arange(len(event)) - lists.offsets(some)[event])
    index = lists.flat_index(place, some, event)
    assert (lists.flat(some)[index][place >= 0] == np.flatnonzero(place >= 0)).all() and (index[place < 0] == -1).all()
    assert (lists.place_in_event(index, some, event) == place).all()


def test_one_list_an_event_and_back():
    event, n = lists.event_of(EVENTS), len(EVENTS)
    assert lists.per_event(event, n, lists.columns(EVENTS, EVENTS.fields)).to_list() == EVENTS.to_list()
    assert lists.per_event(event, n, np.array([7, 8, 9])).to_list() == [[7, 8], [], [9]]
    assert lists.per_event(event[:0], 2, np.zeros(0)).to_list() == [[], []]


@pytest.mark.parametrize("angle", [0.0, -np.pi, 3.0, np.pi, 3.5, -4.0, 20.0])
def test_azimuths_are_wrapped_into_one_turn(angle):
    found = float(wrapped(np.array([angle]))[0])
    assert -np.pi <= found < np.pi
    assert np.exp(1j * found) == pytest.approx(np.exp(1j * angle))
    assert ak.to_list(wrapped(ak.Array([[angle], []]))) == [[found], []]


def test_the_detector_that_a_file_states(repository, tmp_path):
    small = repository / "tests/data/small_detector.yaml"
    detector = load_block(small, Detector)
    columns = {"event": [0], "weight": [1.0], "particles": [[]], "partons": [[]]}
    story = {"simulate": {"detector": detector.model_dump(mode="json")}, "cluster": {}}
    for name, metadata in (("with", {"gen2reco.provenance": json.dumps(story)}), ("without", {})):
        records.write(tmp_path / name, records.table("particles", columns), "particles", metadata)
    assert stated_detector(story) == detector_of(tmp_path / "with") == detector
    assert detector_of(tmp_path / "without", small) == detector
    assert stated_detector({}) is None
    with pytest.raises(InputError, match="give --detector"):
        detector_of(tmp_path / "without")


def test_what_a_geometry_says_of_its_sections_and_edges(repository):
    geometry = Geometry(load_block(repository / "tests/data/small_detector.yaml", Detector))
    assert (geometry.n_layers, geometry.n_em_layers, geometry.electromagnetic.sum()) == (12, 8, 8)
    assert geometry.covers([1.5, -1.7, 2.7, 2.9]).tolist() == [False, True, True, False]
