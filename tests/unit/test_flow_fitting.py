"""Trainings in parts: what is done is kept whole, and by the first process alone."""

import numpy as np
import pytest
import torch
from torch import nn

from gen2reco.flow import objectives, training_parts
from gen2reco.flow.networks import VectorNetwork
from gen2reco.flow.objectives import VectorData
from gen2reco.flow.training import Part, Training
from gen2reco.flow.training_parts import fitter, kept_pairs

SHORT = Training(steps=3, batch=8, checkpoint_every=1, warmup=1)


def some_data(n: int = 40) -> VectorData:
    rng = np.random.default_rng(1)
    return VectorData(rng.normal(size=(n, 2)).astype(np.float32), rng.normal(size=(n, 3)).astype(np.float32))


def weights(network: nn.Module) -> list:
    return [p.tolist() for p in network.parameters()]


def test_a_part_is_done_once(tmp_path):
    told, made = [], []
    for _ in range(2):
        torch.manual_seed(1)
        network = VectorNetwork(2, 3, 8, 1)
        fit = fitter(tmp_path, lambda *numbers: told.append(numbers[:2]), "cpu")
        fit("teacher", network, objectives.matching(network, some_data()), SHORT)
        made.append(weights(network))
        assert not network.training
    assert made[0] == made[1] and told == [("teacher", step) for step in (1, 2, 3)]


def test_a_part_has_an_adversary(tmp_path):
    network, other = (VectorNetwork(2, 3, 8, 1) for _ in range(2))
    before = weights(other)
    against = Part(other, objectives.matching(other, some_data()), 1e-2)
    fit = fitter(tmp_path, lambda *_: None, "cpu")
    fit("tuned", network, objectives.matching(network, some_data()), SHORT, against)
    assert weights(other) != before


def test_pairs_are_kept_whole(tmp_path, monkeypatch):
    teacher, wanted = VectorNetwork(2, 3, 8, 1).eval(), some_data()

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
    kept_pairs(VectorNetwork(2, 3, 8, 1), some_data(), 2, 1, tmp_path, "cpu")
    assert not list(tmp_path.iterdir())
