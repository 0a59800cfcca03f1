"""Training by hand: the average of the weights is what is kept and used, and no two draws of noise are the same."""

import numpy as np
import pytest
import torch
from safetensors.torch import load_file

from gen2reco.flow.networks import VectorNetwork
from gen2reco.flow.objectives import VectorData, energy_score, make_pairs, matching, reflow
from gen2reco.flow.sets import SetData
from gen2reco.flow.training import Part, Training, train
from gen2reco.flow.training_parts import Work

SETTINGS = Training(steps=6, batch=8, checkpoint_every=1, warmup=1, learning_rate=0.05, average=0.6)


def data(n: int = 32) -> VectorData:
    rng = np.random.default_rng(1)
    return VectorData(rng.normal(size=(n, 2)).astype(np.float32), rng.normal(size=(n, 1)).astype(np.float32))


def network(seed: int = 1) -> VectorNetwork:
    torch.manual_seed(seed)
    made = VectorNetwork(2, 1, 8, 1)
    for parameter in made.parameters():
        torch.nn.init.normal_(parameter, std=0.3)
    return made


def averaged_by_hand(tmp_path) -> tuple[dict, dict]:
    """(last weights, their exponential moving average) of a training, from its checkpoint at every step."""
    made = network()
    average = {name: value.clone() for name, value in made.state_dict().items()}
    steps = []

    def watch(step, _):
        fast = {name.removeprefix("network0."): value for name, value in load_file(path).items() if "network0" in name}
        decay = min(SETTINGS.average, step / (9 + step))
        for name, value in fast.items():
            average[name] = decay * average[name] + (1 - decay) * value
        steps.append(fast)

    path = tmp_path / "checkpoint.safetensors"
    train([Part(made, matching(made, data()))], SETTINGS, tmp_path, watch)
    return steps[-1], average


@pytest.mark.parametrize("way", ["train", "work"])
def test_the_network_that_is_used_is_the_average_of_the_weights(tmp_path, way):
    last, average = averaged_by_hand(tmp_path)
    made = network()
    if way == "train":
        used = train([Part(made, matching(made, data()))], SETTINGS, tmp_path / "again")
    else:
        fit = Work(tmp_path / "work").fit
        fit("part", made, matching(made, data()), SETTINGS)
        fit("part", used := network(7), matching(made, data()), SETTINGS)  # taken from what is kept
        assert all(torch.equal(a, b) for a, b in zip(made.state_dict().values(), used.state_dict().values()))
    assert not used.training
    for name, value in used.state_dict().items():
        torch.testing.assert_close(value, average[name], rtol=1e-5, atol=1e-6)
    assert any(not torch.allclose(value, last[name], atol=1e-3) for name, value in used.state_dict().items())


def test_no_two_steps_seeds_or_draws_share_noise_and_a_resumed_step_draws_the_same(tmp_path):
    def drawn(settings: Training, folder) -> list[tuple]:
        made, found = network(), []

        def objective(draw):
            found.append((tuple(draw.indices(10**6).tolist()), *(tuple(draw.normal(4).tolist()) for _ in range(2))))
            found[-1] += (tuple(draw.uniform(4).tolist()),)
            return sum(p.square().sum() for p in made.parameters()), {}

        train([Part(made, objective)], settings, folder)
        return found

    first = drawn(SETTINGS, tmp_path / "a")
    other = drawn(SETTINGS.model_copy(update={"seed": 2}), tmp_path / "b")
    parts = [part for step in (*first, *other) for part in step]
    assert len(parts) == len(set(parts)) == 2 * 6 * 4
    drawn(SETTINGS.model_copy(update={"steps": 3}), tmp_path / "c")
    assert drawn(SETTINGS, tmp_path / "c") == first[3:]


@pytest.mark.parametrize("sets", [False, True], ids=["vectors", "sets"])
def test_the_noise_of_a_teachers_pairs_is_drawn_anew_in_every_batch(sets):
    def still(x, t, condition):
        return torch.zeros_like(x)

    wanted = data(50)
    if sets:
        counts = np.full((50, 1), 2)
        wanted = SetData(np.zeros((100, 2), np.float32), np.zeros(100, int), counts, np.zeros((50, 1, 1), np.float32))
    pairs = make_pairs(still, wanted, 2, 5, batch=8)
    assert len(np.unique(pairs.start, axis=0)) == len(pairs.start) == (100 if sets else 50)
    assert np.array_equal(pairs.start, pairs.data.x), "a still field leads noise nowhere"
    assert np.abs(pairs.start.mean()) < 0.4 and pairs.start.std() == pytest.approx(1, abs=0.2)
    again, other = (make_pairs(still, wanted, 2, seed, batch=8).start for seed in (5, 600))
    assert np.array_equal(again, pairs.start) and not np.isin(other, pairs.start).any()


def test_pairs_are_the_teachers_way_from_their_noise():
    """Along dx/dt = c, ends are starts plus the condition, row by row, whatever the batches."""
    wanted = data(20)
    pairs = make_pairs(lambda x, t, c: c.expand_as(x), wanted, 4, 1, batch=6)
    assert pairs.data.x == pytest.approx(pairs.start + wanted.condition, abs=1e-5)
    assert np.array_equal(pairs.data.condition, wanted.condition)


class Recorder:
    """A velocity network that keeps what it was given."""

    def __init__(self):
        self.given = []

    def __call__(self, x, t, condition):
        self.given.append((x.clone(), t.clone()))
        return torch.zeros_like(x, requires_grad=True)


def objective_draws(folder, make, n: int = 400):
    """(x, t) that a network is given by an objective in two steps of so many rows."""
    recorder, settings = Recorder(), Training(steps=2, batch=n, checkpoint_every=2)
    objective, dummy = make(recorder), network()

    def with_gradient(draw):
        loss, numbers = objective(draw)
        return loss + 0.0 * sum(p.sum() for p in dummy.parameters()), numbers

    train([Part(dummy, with_gradient)], settings, folder)
    return recorder.given


def test_flow_matching_draws_noise_and_times_anew(tmp_path):
    still = VectorData(np.zeros((30, 2), np.float32), np.zeros((30, 1), np.float32))
    (x, t), (y, u) = objective_draws(tmp_path, lambda recorder: matching(recorder, still))
    noise = torch.cat([x / (1 - t[:, None]), y / (1 - u[:, None])])
    assert len(torch.unique(noise.round(decimals=4), dim=0)) > 790
    assert noise.std().item() == pytest.approx(1, abs=0.06) and abs(noise.mean().item()) < 0.1
    times = torch.cat([t, u])
    assert times.mean().item() == pytest.approx(0.5, abs=0.05) and len(torch.unique(times)) > 790


@pytest.mark.parametrize("share", [0.0, 0.5, 1.0])
def test_the_student_starts_at_no_time_in_the_stated_share(tmp_path, share):
    pairs = make_pairs(lambda x, t, c: torch.ones_like(x), data(64), 2, 1)
    (x, t), _ = objective_draws(tmp_path, lambda recorder: reflow(recorder, pairs, share))
    at_start = (t == 0).float().mean().item()
    assert at_start == pytest.approx(share, abs=0.08)
    start = x - t[:, None]  # along the straight way from noise to noise + 1
    known = torch.from_numpy(pairs.start)
    apart = (start[:, None] - known).abs().amax(2)
    assert (apart.min(1).values < 1e-4).all(), "noise of no pair"


def test_the_energy_score_compares_two_independent_samples(tmp_path):
    (x, t), _ = objective_draws(tmp_path, lambda recorder: energy_score(recorder, data(64)))
    first, second = x.chunk(2)
    assert len(first) == 400 and (t == 0).all() and not torch.isclose(first, second).all(1).any()
    assert abs(np.corrcoef(first[:, 0], second[:, 0])[0, 1]) < 0.2
