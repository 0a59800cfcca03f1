"""Weights of Les Houches files by their ratios, and rows that stay in place when a shower has to be tried again."""

import awkward as ak
import lhe_files
import numpy as np
import pytest

from gen2reco.events import records
from gen2reco.run.stage import Chunk, make_backend

QUICK = ["HadronLevel:all = off", "PartonLevel:all = off"]


def rwgt(values: dict[str, float]) -> str:
    return "<rwgt>\n" + "".join(f"<wgt id='{name}'>{value}</wgt>\n" for name, value in values.items()) + "</rwgt>\n"


def backend(folder, weights, further, strategy, settings=QUICK, processes=((10.0, 0.1, 30.0, 1),)):
    """The backend on a file of events with these weights and further ones, the i-th of gluons of 100 + i GeV."""
    events = [
        lhe_files.event(weight, energy=100.0 + i, tail=rwgt(more))
        for i, (weight, more) in enumerate(zip(weights, further, strict=True))
    ]
    path = lhe_files.written(folder, lhe_files.lhe(events, strategy, processes))
    made = make_backend(
        "generate", "lhe", {"process": {"kind": "lhe", "file": str(path), "mpi": False, "settings": settings}}
    )
    made.prepare()
    return made


@pytest.mark.parametrize("strategy", [-4, -3, 3, 4, -2, 2, -1, 1])
def test_further_weights_keep_their_ratio_to_the_nominal_one(tmp_path, strategy):
    """Negative events, variations of either sign, larger and smaller ones, whatever IDWTUP makes of the nominal one."""
    sign = -1 if strategy < 0 else 1
    weights = [30.0, sign * 30.0, 30.0, 30.0] if abs(strategy) == 3 else [30.0, sign * 10.0, 25.0, 4.0]
    further = [{"up": w * 1.1, "flipped": -w * 0.5, "plus": abs(w) + 1.0} for w in weights]
    made = backend(tmp_path, weights, further, strategy)
    result = made.run(Chunk(0, 5, 0, 4))
    assert made.summary([result.info])["weight_names"] == ["Weight", "up", "flipped", "plus"]
    found = np.array(result.table["weights"].to_pylist())
    expected = [[1.0, *(value / w for value in more.values())] for w, more in zip(weights, further, strict=True)]
    assert found / found[:, :1] == pytest.approx(np.array(expected))
    assert found[:, 0] == pytest.approx(result.table["weight"].to_numpy())
    assert np.sign(found[:, 0]).tolist() == np.sign(weights).tolist()


@pytest.mark.parametrize("fails", [[1], [0, 2], [3], [0, 1, 2, 3, 4]], ids=str)
def test_events_that_are_showered_again_stay_in_their_place(tmp_path, monkeypatch, fails):
    """In the first attempt Pythia8 is not given some events, as if it had lost them: rows, weights and partons are in
    the order of the file all the same."""
    weights = [float(i + 1) for i in range(5)]
    further = [{"tenfold": 10.0 * w} for w in weights]
    made = backend(tmp_path, weights, further, -4, ["HadronLevel:all = off", "PartonLevel:ISR = off"])
    start, attempts = made.shower._start, []

    def losing(events):
        attempts.append([event.process for event in events])
        start([event for event in events if len(attempts) > 1 or event.process not in fails])

    monkeypatch.setattr(made.shower, "_start", losing)
    result = made.run(Chunk(0, 5, 0, 5))
    assert attempts == [[0, 1, 2, 3, 4], fails]
    assert result.table["event"].to_pylist() == [0, 1, 2, 3, 4]
    assert result.table["weight"].to_pylist() == weights
    assert result.table["weights"].to_pylist() == [[w, 10 * w] for w in weights]
    partons = records.awkward(result.table).partons
    assert ak.max(partons.energy[partons.status == 23], axis=1).tolist() == pytest.approx([100 + i for i in range(5)])
    assert (result.info["events_failed"], result.info["events_vetoed"]) == (0, 0)


def test_an_event_that_is_lost_every_time_is_counted_and_its_row_left_out(tmp_path, monkeypatch):
    made = backend(tmp_path, [1.0, 2.0, 3.0], [{"up": w} for w in (4.0, 5.0, 6.0)], -4)
    start, attempts = made.shower._start, []

    def losing(events):
        attempts.append([event.process for event in events])
        start([event for event in events if event.process != 1])

    monkeypatch.setattr(made.shower, "_start", losing)
    result = made.run(Chunk(0, 5, 0, 3))
    assert attempts == [[0, 1, 2], [1], [1]]
    assert result.table["event"].to_pylist() == [0, 2]
    assert result.table["weights"].to_pylist() == [[1.0, 4.0], [3.0, 6.0]]
    assert result.info["events_failed"] == 1


def test_each_attempt_and_chunk_draws_its_own_numbers(tmp_path, monkeypatch):
    """The same hard process in two chunks, or lost and tried again, is showered differently."""
    weights = [1.0] * 3
    made = backend(tmp_path, weights, [{}] * 3, 3, ["HadronLevel:all = off", "PartonLevel:ISR = off"])

    def energies(seed, fails=()):
        start, first = type(made.shower)._start.__get__(made.shower), []

        def losing(events):
            first.append(1)
            start([event for event in events if len(first) > 1 or event.process not in fails])

        with monkeypatch.context() as patch:
            patch.setattr(made.shower, "_start", losing)
            table = made.run(Chunk(0, seed, 0, 3)).table
        return [tuple(row) for row in records.awkward(table).particles.energy.tolist()]

    plain, other, again = energies(5), energies(6), energies(5, fails=[0])
    assert energies(5) == plain
    assert not set(plain) & set(other) and plain[0] != again[0]
