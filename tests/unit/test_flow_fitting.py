"""Trainings in parts: what is done is kept whole, and by the first process alone; from a teacher to its student."""

import numpy as np
import pytest
import torch
from torch import nn

from gen2reco.flow import objectives, training_parts
from gen2reco.flow.networks import VectorNetwork
from gen2reco.flow.objectives import VectorData
from gen2reco.flow.recipes import Distillation, Training
from gen2reco.flow.sets import SetData
from gen2reco.flow.training import Part
from gen2reco.flow.training_parts import Work, kept_pairs

SHORT = Training(steps=3, batch=8, checkpoint_every=1, warmup=1)
TO_ONE_STEP = Distillation(pairs=10, evaluations=2, training=SHORT)


def some_data(n: int = 40) -> VectorData:
    rng = np.random.default_rng(1)
    return VectorData(rng.normal(size=(n, 2)).astype(np.float32), rng.normal(size=(n, 3)).astype(np.float32))


def network() -> VectorNetwork:
    torch.manual_seed(1)
    return VectorNetwork(2, 3, 8, 1)


def weights(network: nn.Module) -> list:
    return [p.tolist() for p in network.parameters()]


def test_a_part_is_done_once(tmp_path):
    watched, made = [], []
    for _ in range(2):
        teacher = network()
        work = Work(tmp_path, lambda *numbers: watched.append(numbers[:2]))
        work.fit("teacher", teacher, objectives.matching(teacher, some_data()), SHORT)
        made.append(weights(teacher))
        assert not teacher.training
    assert made[0] == made[1] and watched == [("teacher", step) for step in (1, 2, 3)]


def test_parts_in_a_folder_of_their_own_are_named_after_it(tmp_path):
    watched, one = [], network()
    work = Work(tmp_path, lambda *numbers: watched.append(numbers[:2])).within("muon")
    work.fit("start", one, objectives.matching(one, some_data()), SHORT)
    assert watched[0] == ("muon_start", 1) and (tmp_path / "muon/start/done.safetensors").is_file()


def test_a_part_has_an_adversary(tmp_path):
    one, other = network(), network()
    before = weights(other)
    against = Part(other, objectives.matching(other, some_data()), 1e-2)
    Work(tmp_path).fit("tuned", one, objectives.matching(one, some_data()), SHORT, against)
    assert weights(other) != before


def test_a_student_starts_from_its_teacher(tmp_path):
    """Without steps of its own it is the teacher; with some it is not. It may be the same network."""
    teacher, student = network(), VectorNetwork(2, 3, 8, 1)
    still = TO_ONE_STEP.model_copy(update={"training": SHORT.model_copy(update={"steps": 0})})
    Work(tmp_path / "still").distil("", teacher, student, some_data(), SHORT, still)
    assert weights(student) == weights(teacher) != weights(network())
    before = weights(teacher)
    Work(tmp_path / "other").distil("x_", teacher, student, some_data(), None, TO_ONE_STEP)
    Work(tmp_path / "same").distil("x_", teacher, teacher, some_data(), None, TO_ONE_STEP)
    assert weights(student) == weights(teacher) != before
    assert sorted(path.name for path in (tmp_path / "same").iterdir()) == ["x_pairs", "x_student"]


def test_a_teacher_draws_under_the_chosen_conditions(tmp_path):
    teacher, data = network(), some_data()
    chosen = np.array([3, 3, 39])
    Work(tmp_path).distil("", teacher, network(), data, None, TO_ONE_STEP, chosen, batch=2)
    wanted = objectives.make_pairs(teacher, data.take(chosen), 2, SHORT.seed, 2)
    np.testing.assert_array_equal(np.load(tmp_path / "pairs/start.npy"), wanted.start)
    np.testing.assert_array_equal(np.load(tmp_path / "pairs/end.npy"), wanted.data.x)


def test_sets_are_taken_with_their_items():
    counts = np.array([[1, 1], [0, 0], [2, 1]])
    data = SetData(np.arange(5.0)[:, None], np.arange(5), counts, np.arange(6).reshape(3, 2, 1))
    taken = data.take(np.array([2, 1, 2]))
    assert taken.kinds.tolist() == [2, 3, 4, 2, 3, 4] and taken.counts.tolist() == counts[[2, 1, 2]].tolist()
    assert len(taken) == 3 and taken.context[0].tolist() == [[4], [5]]


def test_pairs_are_kept_whole(tmp_path, monkeypatch):
    teacher, wanted = network().eval(), some_data()

    def killed(file, array, save=np.save):
        if "end" in file.name:
            file.write(b"half")
            raise KeyboardInterrupt
        save(file, array)

    with monkeypatch.context() as patch:
        patch.setattr(np, "save", killed)
        with pytest.raises(KeyboardInterrupt):
            kept_pairs(teacher, wanted, 2, 1, tmp_path, "cpu")
    made = kept_pairs(teacher, wanted, 2, 1, tmp_path, "cpu")
    again = kept_pairs(VectorNetwork(2, 3, 8, 1), wanted, 2, 1, tmp_path, "cpu")
    np.testing.assert_array_equal(made.start, again.start)
    np.testing.assert_array_equal(made.data.x, again.data.x)


def test_other_processes_write_nothing(tmp_path, monkeypatch):
    monkeypatch.setattr(training_parts, "FIRST", False)
    kept_pairs(network(), some_data(), 2, 1, tmp_path, "cpu")
    assert not list(tmp_path.iterdir())
