"""What the cells of learned showers are drawn by: columns of each layer, tables and likelihoods, by hand."""

import numpy as np
import pytest
import torch
from calibrate_events import DETECTOR, GEOMETRY
from numba import njit
from scipy import special, stats

from gen2reco.simulate.showers import cells, shower_training
from gen2reco.simulate.showers.data import Showers
from gen2reco.simulate.showers.incidence import Incidence
from gen2reco.simulate.showers.kernels import sampler
from gen2reco.simulate.showers.layer_model import Drawn, start_layer, true_whole

N = GEOMETRY.n_layers


def straight(n: int) -> Incidence:
    """Photons that enter at x = 800 mm along the line from the origin."""
    slope = np.tile([800.0 / DETECTOR.front_face, 0.0], (n, 1))
    return Incidence(np.full(n, 22), np.full(n, 20.0), np.tile([800.0, 0.0], (n, 1)), slope, np.zeros(n))


def whole(counts: dict, mips: dict, start, radii) -> Drawn:
    """Numbers of showers from {(shower, layer from 1): number}."""
    n = len(start)
    made = [np.zeros((n, N), kind) for kind in (np.int64, float)]
    for table, given in zip(made, (counts, mips)):
        for (shower, layer), value in given.items():
            table[shower, layer - 1] = value
    return Drawn(np.array(start), *made, np.array(radii, float))


COUNTS = {(0, 1): 3, (0, 2): 9, (0, 30): 2, (1, 5): 40, (1, 7): 4}
MIPS = {(0, 1): 6.0, (0, 2): 45.0, (0, 30): 1.0, (1, 5): 900.0, (1, 7): 2.0}
SHOWERS = whole(COUNTS, MIPS, [1, 0], [[3.0, 3.5], [2.5, 3.0]])


def columns(shower: int, layer: int) -> list[float]:
    """The twelve numbers of a layer, by their meaning."""
    cells, mips = COUNTS[shower, layer], MIPS[shower, layer]
    before = COUNTS.get((shower, layer - 1), 0)
    own = [sum(v for (s, _), v in table.items() if s == shower) for table in (COUNTS, MIPS)]
    deep = layer - SHOWERS.start[shower]
    return [
        np.log(1 + cells) - 2,
        np.log(mips / cells) - 0.8,
        np.log(1 + before) - 2 if before else 0,
        np.log(MIPS[shower, layer - 1] / before) - 0.8 if before else 0,
        not before,
        min(max(deep / 10, -1), 3),
        deep < 0,
        SHOWERS.start[shower] == 0,
        SHOWERS.radii[shower, 0] - 2.8,
        SHOWERS.radii[shower, 1] - 3.3,
        np.log(own[1]) / 3 - 2,
        np.log(1 + own[0]) / 2 - 2.5,
    ]


def test_each_layer_with_cells_is_described_by_its_numbers():
    context = np.array([[7.0, 8.0], [9.0, 10.0]])
    rows = cells.layer_rows(straight(2), context, SHOWERS)
    assert list(zip(rows.shower.tolist(), (rows.layer + 1).tolist())) == list(COUNTS)
    assert rows.features.shape == (5, cells.N_LAYER + N + 2)
    for row, (shower, layer) in zip(rows.features, COUNTS):
        expected = np.array(columns(shower, layer), float)
        assert row[: cells.N_LAYER] == pytest.approx(expected, abs=1e-5), (shower, layer)
        assert np.flatnonzero(row[cells.N_LAYER : cells.N_LAYER + N]).tolist() == [layer - 1]
        assert row[-2:].tolist() == context[shower].tolist()


@pytest.mark.parametrize(
    ("mips", "start"),
    [({1: 12.0}, 1), ({1: 6.0, 2: 6.0}, 1), ({1: 5.9, 2: 6.0, 3: 6.1}, 2), ({3: 11.9}, 0), ({47: 12.0}, 46),
     ({46: 1.0, 47: 11.5}, 46), ({}, 0), ({1: 6.0, 3: 6.0}, 0)],
)  # fmt: skip
def test_a_shower_starts_where_two_layers_running_hold_twelve_mips(mips, start):
    table = np.zeros((1, N))
    for layer, value in mips.items():
        table[0, layer - 1] = value
    assert start_layer(table).tolist() == [start]


def planted(n: int = 400) -> Showers:
    """Showers of one cell in layer 3 and one in layer 40, at known distances from the axis, in x: with delays that tell
    the section, the distance and the energy apart."""
    rng = np.random.default_rng(1)
    layer = np.tile([3, 40], n)
    axis = 800.0 * GEOMETRY.z[layer - 1] / DETECTOR.front_face
    ix = GEOMETRY.index(axis + rng.choice([5.0, 300.0], 2 * n))
    mips = rng.choice([1.0, 500.0], 2 * n).astype(np.float32)
    return Showers(straight(n), np.arange(0, 2 * n + 1, 2), layer, ix, np.zeros(2 * n, int), mips, layer + 100.0 * mips)


def test_numbers_of_simulated_showers():
    showers = planted(5)
    made = true_whole(showers, GEOMETRY)
    assert made.cells[:, [2, 39]].tolist() == [[1, 1]] * 5 and made.cells.sum() == 10
    assert made.mips[:, [2, 39]].ravel().tolist() == showers.mips.tolist()
    size = DETECTOR.cell_size
    axis = 800.0 * GEOMETRY.z[showers.layer - 1] / DETECTOR.front_face
    r = np.hypot((showers.ix + 0.5) * size - axis, 0.5 * size).reshape(5, 2)
    mips = showers.mips.reshape(5, 2)
    assert made.radii[:, 0] == pytest.approx(np.log((r * mips).sum(1) / mips.sum(1)), rel=1e-6)
    assert made.radii[:, 1] == pytest.approx(np.log(r.mean(1)), rel=1e-6)


def model(width: int = 8) -> cells.CellModel:
    torch.manual_seed(2)
    return cells.CellModel(2, N, width, 4)


def test_delays_are_the_quantiles_of_their_section_distance_and_energy():
    showers, made = planted(), model()
    made.fit_delays(showers, GEOMETRY)
    size = DETECTOR.cell_size
    axis = 800.0 * GEOMETRY.z[showers.layer - 1] / DETECTOR.front_face
    r = np.hypot((showers.ix + 0.5) * size - axis, 0.5 * size)
    for section, layer in enumerate((3, 40)):
        own = showers.layer == layer
        for mips in (1.0, 500.0):
            for near in (True, False):
                some = own & (showers.mips == mips) & ((r < 100) == near)
                at = section, np.digitize(r[some][0], sampler.RADIUS_EDGES), np.digitize(mips, sampler.MIPS_EDGES)
                assert made.delays[at].numpy() == pytest.approx(layer + 100.0 * mips)
    assert (made.delays == 0).all(dim=-1).sum() == made.delays[..., 0].numel() - 8, "bins without deposits have none"


def test_the_halo_is_as_far_away_as_two_gaussians_say():
    """Hits of the halo alone: distances in units of the shower's mean one, e^3.5 mm; cells are 10 mm wide."""
    made, n = model(), 400
    made.halo.bias.data += 20
    made.halo.weight.data[:], made.halo_size.weight.data[:] = 0, 0
    made.halo_size.bias.data[:] = torch.tensor([np.log(3.0), 0.0, 1.2, 2.0, -3.0, -2.0])
    for head in (made.first, made.second):
        head.last.bias.data[:] = -20.0
    numbers = whole({(i, 5): 4 for i in range(n)}, {(i, 5): 8.0 for i in range(n)}, [0] * n, [[3.5, 3.5]] * n)
    _, layer, ix, iy, _, _ = made.draw(straight(n), np.zeros((n, 2)), numbers, GEOMETRY, np.random.default_rng(4))
    size = DETECTOR.cell_size
    axis = 800.0 * GEOMETRY.z[layer - 1] / DETECTOR.front_face
    logs = np.log(np.hypot((ix + 0.5) * size - axis, (iy + 0.5) * size)) - 3.5
    assert np.mean(logs < 1.6) == pytest.approx(0.75, abs=0.04)
    assert np.median(logs[logs < 1.6]) == pytest.approx(1.2, abs=0.02)
    assert np.median(logs[logs >= 1.6]) == pytest.approx(2.0, abs=0.03)


HALOS = {
    "candidates as likely as not": (np.zeros(4), 5, 1.5),
    "sure candidates": (np.array([8.0, 8.0, -8.0, -8.0, -8.0]), 3, 0.7),
    "fewer candidates than hits": (np.array([1.0, -1.0]), 6, 0.2),
    "no candidate": (np.zeros(0), 2, 3.0),
    "none of the halo expected": (np.array([2.0, 1.0, 0.5]), 2, 0.0),
}
"""Logarithms of the candidates' odds, hits in all, and the rate of the halo's."""


@pytest.mark.parametrize("what", HALOS)
def test_how_many_hits_are_of_the_halo_follows_from_the_others_odds(what):
    """Poisson's distribution times that of the number of the candidates' hits, about normal, given their sum."""
    odds, count, rate = HALOS[what]
    chance = 1 / (1 + np.exp(-odds))
    mean, variance = chance.sum(), (chance * (1 - chance)).sum() + 0.05
    halo = np.arange(max(count - len(odds), 0), count + 1)
    log = halo * np.log(max(rate, 1e-6)) - special.gammaln(halo + 1) - (count - halo - mean) ** 2 / variance / 2
    expected = np.exp(log - log.max())

    @njit
    def drawn(keys, n, count, rate, state, times):
        return [sampler.halo_of(keys, n, count, rate, state) for _ in range(times)]

    keys = np.append(odds, -1e4).astype(np.float32)  # the last is taken
    found = np.array(drawn(keys, len(keys), count, np.float32(rate), np.array([7], np.uint64), 20_000))
    assert set(found) <= set(halo)
    seen = np.bincount(found, minlength=count + 1)[halo] / len(found)
    assert seen == pytest.approx(expected / expected.sum(), abs=0.015)


def energies(n: int, hits: int, mips: float, log_mean: float, log_width: float) -> np.ndarray:
    """Energies (n, hits) of layers that share some MIP, drawn by one Gaussian of ln(MIP) and its logarithmic width."""
    made = model()
    made.halo.bias.data -= 20
    made.energy.last.weight.data[:] = 0
    made.energy.last.bias.data[:] = torch.tensor([9.0, 0, 0, 0, log_mean, 0, 0, 0, log_width, 0, 0, 0])
    numbers = whole({(i, 5): hits for i in range(n)}, {(i, 5): mips for i in range(n)}, [0] * n, [[3.0, 3.0]] * n)
    drawn = made.draw(straight(n), np.zeros((n, 2)), numbers, GEOMETRY, np.random.default_rng(4))
    return drawn[4].reshape(n, hits)


def test_energies_of_a_layer_add_up_and_follow_what_they_were_drawn_by():
    """Two cells that share 1,000 MIP: one is drawn by the mixture, the other takes the rest."""
    mips = energies(2000, 2, 1000.0, 1.0, -1.0)
    assert mips.sum(1) == pytest.approx(1000.0, rel=1e-5)
    logs = np.log(mips.min(1))
    assert stats.kstest(logs, stats.norm(1.0, np.exp(-1.0)).cdf).pvalue > 1e-3


def test_a_cell_leaves_something_to_those_after_it():
    """Six cells of half a MIP together, drawn by a mixture that would have every one take more."""
    mips = energies(50, 6, 0.5, 3.0, -3.0)
    assert mips.sum(1) == pytest.approx(0.5, rel=1e-4) and mips.min() > 0.01


def test_the_hits_that_were_no_candidates_are_told_with_their_distance():
    """A hit 300 mm from the axis is the halo's, one in the core is not."""
    showers = planted(40)
    rows = np.stack([np.repeat(np.arange(40), 2), np.tile([2, 39], 40)], 1)
    found = shower_training._candidates(showers, true_whole(showers, GEOMETRY), rows, GEOMETRY)
    far = np.flatnonzero(found.role[: found.first[-1]] == 5)
    row = np.searchsorted(found.first, far, "right") - 1
    size, axis = DETECTOR.cell_size, 800.0 * GEOMETRY.z[showers.layer - 1] / DETECTOR.front_face
    r = np.hypot((showers.ix + 0.5) * size - axis, 0.5 * size)
    assert row.tolist() == np.flatnonzero(r > 100).tolist() and found.halo.sum() == len(row)
    assert 10 * np.expm1(found.features[far, 0]) == pytest.approx(r[row], rel=1e-4)


@pytest.mark.parametrize("bias", [0.0, 9.0, -20.0])
def test_the_likelihoods_are_those_of_their_distributions(bias):
    """Occupancy by logistic, energy by a mixture of Gaussians in ln(MIP), halo by Poisson, whose mean is held between
    exp(-12) and exp(6), and its distance by two Gaussians of its logarithm, per row."""
    made = model()
    made.halo.bias.data += bias
    rng = torch.Generator().manual_seed(1)
    features = torch.randn(3, cells.N_LAYER + N + 2, generator=rng)
    counts = torch.tensor([4, 0, 3])
    x = torch.randn(7, sampler.N_FEATURES + sampler.N_LEFT, generator=rng)
    role = torch.tensor([0, 1, 4, 2, 3, 5, 4])
    x[6, -1] = 1  # the last of its layer, whose energy is what is left
    log_mips, halo = torch.randn(7, generator=rng), torch.tensor([[0.0, 2.0], [1.0, 0.0], [3.0, 3.0]])
    found = [part.item() for part in made.loss(features, counts, x, role, log_mips, halo)]
    known, row = made.layer(features), [0, 0, 0, 0, 2, 2, 2]
    occupancy = energy = 0.0
    for i, kind in enumerate(role.tolist()):
        if i == 6:
            continue
        if kind < 4:
            half = kind // 2
            logit = (made.first, made.second)[half](
                x[i : i + 1, : sampler.N_FEATURES], made.biases[half](known)[row[i]]
            )[0, 0]
            occupancy -= torch.nn.functional.logsigmoid(logit if kind % 2 else -logit).item()
        else:
            out = made.energy(x[i : i + 1], made.biases[2](known)[row[i]])[0].double()
            logit, mean, log_width = out.view(3, sampler.MIXTURE)
            mixed = torch.distributions.MixtureSameFamily(
                torch.distributions.Categorical(logits=logit),
                torch.distributions.Normal(mean, log_width.clamp(-4.0, 1.5).exp()),
            )
            energy -= mixed.log_prob(log_mips[i].double()).item()
    rate = made.halo(known).clamp(-12.0, 6.0).exp()
    poisson = -(torch.distributions.Poisson(rate).log_prob(halo) + torch.lgamma(halo + 1)).sum().item()
    distance = (10 * x[5, 0].expm1()).clamp(min=1).log() - features[2, 9] - 3.3
    logit, mean, log_width = made.halo_size(known)[2].double().view(3, 2)
    two = torch.distributions.Normal(mean, log_width.clamp(-4.0, 1.5).exp())
    far = -torch.distributions.MixtureSameFamily(torch.distributions.Categorical(logits=logit), two).log_prob(
        distance.double()
    )
    assert found == pytest.approx([occupancy / 3, energy / 3, (poisson + far.item()) / 3], rel=1e-4)
