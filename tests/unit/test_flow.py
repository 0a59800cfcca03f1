"""The generative core: sets, networks, path, solvers, counts, objectives."""

import numpy as np
import pytest
import torch

from gen2reco.flow.adversary import energy_distance
from gen2reco.flow.categorical import Counts
from gen2reco.flow.marginals import Marginals
from gen2reco.flow.networks import Critic, SetNetwork, VectorNetwork
from gen2reco.flow.objectives import TeacherPairs, VectorData, make_pairs, matching, ranked, reflow
from gen2reco.flow.path import flow_matching_loss, sample
from gen2reco.flow.sets import SetData, Sets, group_sums
from gen2reco.flow.training import Part, Training, train


def some_sets(counts=((2, 0), (1, 3)), kinds=None, n_context=3) -> Sets:
    counts = torch.tensor(counts)
    kinds = torch.arange(int(counts.sum())) % 2 if kinds is None else torch.tensor(kinds)
    context = torch.linspace(-1, 1, counts.numel() * n_context).view(*counts.shape, n_context)
    return Sets(kinds, counts, context)


def woken(network: torch.nn.Module) -> torch.nn.Module:
    """A network whose zeroed last layer is not zero any more."""
    torch.manual_seed(3)
    for p in network.parameters():
        torch.nn.init.normal_(p, std=0.3)
    return network


def test_items_know_their_group_and_set():
    sets = some_sets()
    assert sets.group.tolist() == [0, 0, 2, 3, 3, 3]
    assert sets.owner.tolist() == [0, 0, 1, 1, 1, 1]
    assert group_sums(torch.ones(6, 1), sets).tolist() == [[2], [0], [1], [3]]


def test_batches_gather_the_right_items():
    counts = np.array([[2, 1], [0, 0], [1, 2]])
    data = SetData(np.arange(6, dtype=np.float32)[:, None], np.arange(6), counts, np.zeros((3, 2, 1), np.float32))
    x, sets = data.batch(np.array([2, 0, 1, 2]))
    assert x[:, 0].tolist() == [3, 4, 5, 0, 1, 2, 3, 4, 5]
    assert sets.counts.tolist() == [[1, 2], [2, 1], [0, 0], [1, 2]]


def test_set_network_is_equivariant_and_sets_do_not_mix():
    network, sets = woken(SetNetwork(2, 2, 3, 2, width=8, depth=2, pooled=6)), some_sets(kinds=[0, 0, 1, 1, 1, 1])
    x, t = torch.randn(6, 2), torch.tensor([0.2, 0.7])
    v = network(x, t, sets)
    swap = [0, 1, 2, 5, 3, 4]
    torch.testing.assert_close(network(x[swap], t, sets), v[swap])
    moved = x.clone()
    moved[2:] += 1
    torch.testing.assert_close(network(moved, t, sets)[:2], v[:2])
    assert not torch.allclose(network(moved, t, sets)[2:], v[2:])


def test_groups_of_a_set_see_each_other():
    network, sets = woken(SetNetwork(2, 2, 3, 2, width=8, depth=3, pooled=6)), some_sets()
    x, t = torch.randn(6, 2), torch.zeros(2)
    moved = x.clone()
    moved[3:] += 1
    assert not torch.allclose(network(moved, t, sets)[2], network(x, t, sets)[2])


@pytest.mark.parametrize(("evaluations", "solver"), [(1, "euler"), (4, "euler"), (2, "midpoint"), (8, "midpoint")])
def test_solvers_count_evaluations_and_are_exact_for_constant_velocity(evaluations, solver):
    calls = []

    def network(x, t, condition):
        calls.append(t)
        return torch.full_like(x, 2.0)

    out = sample(network, torch.zeros(3, 2), torch.zeros(3, 1), evaluations, solver)
    assert len(calls) == evaluations
    torch.testing.assert_close(out, torch.full((3, 2), 2.0))


def test_midpoint_is_of_second_order():
    out = [sample(lambda x, t, c: x, torch.ones(1, 1), torch.zeros(1, 1), n, "midpoint").item() for n in (16, 32)]
    errors = [abs(value - np.e) for value in out]
    assert 3.5 < errors[0] / errors[1] < 4.5


def test_loss_vanishes_for_the_true_velocity():
    x_0, x_1 = torch.randn(5, 3), torch.randn(5, 3)
    assert flow_matching_loss(lambda x, t, c: x_1 - x_0, x_0, x_1, torch.rand(5), torch.zeros(5, 1)) == 0


def test_noise_is_ranked_within_kind_and_group_only():
    sets = Sets(torch.tensor([0, 0, 1, 1, 0, 0]), torch.tensor([[4, 2]]), torch.zeros(1, 2, 1))
    noise = torch.randn(6, 2)
    out = ranked(noise, sets)
    for part in ([0, 1], [2, 3], [4, 5]):
        assert out[part[0], 0] <= out[part[1], 0]
        assert sorted(out[part, 1].tolist()) == sorted(noise[part, 1].tolist())


def test_energy_distance_tells_distributions_apart():
    torch.manual_seed(1)
    a, b, c = torch.randn(400, 3), torch.randn(400, 3), torch.randn(400, 3) + 0.5
    assert abs(energy_distance(a, b)) < 0.02 < energy_distance(a, c)


def test_critic_scores_sets():
    sets = some_sets()
    critic = Critic(SetNetwork(2, 2, 3, 2, width=8, depth=1, pooled=6), n_summary=4)
    assert critic(torch.randn(6, 2), torch.randn(2, 4), sets).shape == (2,)


def test_counts_learn_a_table_and_keep_a_sum(tmp_path):
    rng = np.random.default_rng(1)
    first = rng.integers(0, 3, 4000)
    table = torch.tensor(np.stack([first, first], 1))
    condition = torch.zeros(4000, 1)
    counts = Counts([4, 4], 1, width=16)
    counts.fit_start(table, condition)

    def objective(draw):
        at = draw.indices(4000)
        loss = counts.loss(table[at], condition[at])
        return loss, {"nll": loss.item()}

    train([Part(counts, objective)], Training(steps=300, batch=128, learning_rate=0.03, average=0.9), tmp_path)
    generator = torch.Generator().manual_seed(1)
    drawn = counts.sample(torch.zeros(3000, 1), generator)
    assert (drawn[:, 0] == drawn[:, 1]).float().mean() > 0.95
    torch.testing.assert_close(
        torch.bincount(drawn[:, 0], minlength=4)[:3] / 3000, torch.full((3,), 1 / 3), atol=0.05, rtol=0
    )
    closed = counts.sample(torch.zeros(100, 1), generator, {1: torch.tensor([1, -1])})
    assert ((closed[:, 0] == closed[:, 1]) | (closed[:, 1] == -1)).all()


def test_closing_samples_the_model_under_the_constraint():
    counts, n = Counts([4, 4], 1, width=8), 20_000
    counts.fit_start(torch.poisson(torch.full((n, 2), 1.2)).clamp(max=3).long(), torch.zeros(n, 1))
    generator = torch.Generator().manual_seed(2)
    free = counts.sample(torch.zeros(n, 1), generator)
    wanted = torch.bincount(free[free[:, 0] == free[:, 1], 0], minlength=4).float()
    closed = counts.sample(torch.zeros(n, 1), generator, {1: torch.tensor([1, -1])})
    found = torch.bincount(closed[closed[:, 1] >= 0, 0], minlength=4).float()
    torch.testing.assert_close(found / found.sum(), wanted / wanted.sum(), atol=0.03, rtol=0)


def test_flow_learns_a_gaussian_and_reflow_keeps_it_in_one_step(tmp_path):
    rng = np.random.default_rng(2)
    c = rng.uniform(-1, 1, (4000, 1)).astype(np.float32)
    x = (3 * c + 0.5 * rng.normal(size=(4000, 1))).astype(np.float32)
    data, network = VectorData(x, c), VectorNetwork(1, 1, width=32, depth=2)
    settings = Training(steps=400, batch=256, learning_rate=5e-3, average=0.98, mixed_precision=False)
    teacher = train([Part(network, matching(network, data))], settings, tmp_path / "teacher")
    pairs = make_pairs(teacher, data, 16, seed=1)
    student = train([Part(network, reflow(network, pairs))], settings, tmp_path / "student")
    with torch.no_grad():
        drawn = sample(
            student, torch.randn(4000, 1, generator=torch.Generator().manual_seed(5)), torch.from_numpy(c), 1
        )
    residual = drawn.numpy() - 3 * c
    assert abs(residual.mean()) < 0.06
    assert 0.42 < residual.std() < 0.58


def test_pairs_stay_aligned_with_sets():
    counts = np.array([[1, 1], [2, 0]])
    data = SetData(np.zeros((4, 1), np.float32), np.zeros(4, int), counts, np.zeros((2, 2, 1), np.float32))
    pairs = make_pairs(lambda x, t, c: torch.ones_like(x), data, 2, seed=3, batch=1)
    assert isinstance(pairs, TeacherPairs)
    x_0, x_1, _ = pairs.batch(np.array([1, 0]))
    torch.testing.assert_close(x_1, x_0 + 1)


def test_marginals_are_learned_where_their_network_is():
    marginals = Marginals(4, 3)
    marginals.quantiles.to("meta")
    x, condition = torch.zeros(5, 4, device="meta"), torch.zeros(5, 3, device="meta")
    assert marginals.quantiles_loss(x, x == 0, condition).device == x.device
