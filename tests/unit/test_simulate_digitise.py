"""Deposits to hits: energy closure, threshold, saturation, noise, times, contributions."""

import awkward as ak
import numpy as np
import pytest

from gen2reco.config.block import load_block
from gen2reco.config.detector import Detector
from gen2reco.detector.digitise import Deposits, deposit_lists, digitise
from gen2reco.detector.geometry import Geometry, decode


@pytest.fixture(scope="module")
def geometry(request) -> Geometry:
    return Geometry(load_block(request.config.rootpath / "configs/detectors/hgcal.yaml", Detector))


def with_readout(geometry: Geometry, **change) -> Geometry:
    readout = geometry.detector.digitisation.model_copy(update=change)
    return Geometry(geometry.detector.model_copy(update={"digitisation": readout}))


def random_deposits(geometry: Geometry, n_events: int, n: int, rng: np.random.Generator) -> Deposits:
    """Deposits of 0-20 MIP in few cells, so that many share a cell."""
    cell = geometry.nth_cell(rng.integers(0, 2 * int(geometry.n_cells.sum()), 300))[rng.integers(0, 300, n)]
    mips = rng.uniform(0.0, 20.0, n)
    energy = mips * geometry.gev_per_mip[decode(cell).layer - 1]
    return Deposits(rng.integers(0, n_events, n), cell, rng.integers(0, 4, n), energy, rng.uniform(0.0, 5.0, n))


def mips_of(geometry: Geometry, hits: ak.Array) -> np.ndarray:
    return ak.to_numpy(ak.flatten(hits.energy)) / geometry.gev_per_mip[ak.to_numpy(ak.flatten(hits.layer)) - 1]


def shares_of(hits: ak.Array, contributions: ak.Array) -> np.ndarray:
    """Sum of the contributions to each hit of one event."""
    return np.bincount(
        ak.to_numpy(contributions.hit), ak.to_numpy(contributions.energy).astype(np.float64), minlength=len(hits)
    )


def test_without_noise_and_threshold_all_energy_is_read_out(geometry):
    ideal = with_readout(geometry, noise=0.0, threshold=1e-12, saturation=1e9)
    rng = np.random.default_rng(1)
    deposits = random_deposits(ideal, 5, 20_000, rng)
    read = digitise(deposits, 5, ideal, rng)
    expected = np.bincount(deposits.event, deposits.energy, minlength=5)
    assert ak.to_numpy(ak.sum(read.hits.energy, axis=1)) == pytest.approx(expected, rel=1e-9)
    assert ak.to_numpy(ak.sum(read.contributions.energy, axis=1)) == pytest.approx(expected, rel=1e-9)


def test_hits_are_merged_by_cell_and_contributions_point_to_them(geometry):
    rng = np.random.default_rng(2)
    deposits = random_deposits(geometry, 5, 20_000, rng)
    read = digitise(deposits, 5, geometry, rng)
    for event in range(5):
        hits, contributions = read.hits[event], read.contributions[event]
        cells = ak.to_numpy(hits.cell)
        assert (np.diff(cells.astype(np.int64)) > 0).all()
        pairs = list(zip(contributions.hit.to_list(), contributions.particle.to_list()))
        assert len(pairs) == len(set(pairs)) and pairs == sorted(pairs)
        of_cell = deposits.event == event
        for at in range(0, len(hits), 37):
            mine = of_cell & (deposits.cell == cells[at])
            shares = contributions[contributions.hit == at]
            assert set(shares.particle.to_list()) == set(deposits.particle[mine].tolist())
            assert ak.sum(shares.energy) == pytest.approx(deposits.energy[mine].sum())


def test_contributions_add_up_to_the_hit_within_the_noise(geometry):
    rng = np.random.default_rng(3)
    deposits = random_deposits(geometry, 40, 20_000, rng)
    read = digitise(deposits, 40, geometry, rng)
    pulls = []
    for event in range(40):
        hits, contributions = read.hits[event], read.contributions[event]
        truth = shares_of(hits, contributions)
        noise = (ak.to_numpy(hits.energy) - truth) / geometry.gev_per_mip[ak.to_numpy(hits.layer) - 1]
        pulls.append(noise[truth > 0] / geometry.detector.digitisation.noise)
    pulls = np.concatenate(pulls)
    assert np.abs(pulls).max() < 6.0
    assert pulls.std() == pytest.approx(1.0, abs=0.05)


def test_nothing_below_threshold_and_nothing_far_above_saturation(geometry):
    rng = np.random.default_rng(4)
    tight = with_readout(geometry, saturation=10.0)
    read = digitise(random_deposits(tight, 5, 5_000, rng), 5, tight, rng)
    mips = mips_of(tight, read.hits)
    assert mips.min() > tight.detector.digitisation.threshold
    assert mips.max() < 10.0 + 6 * tight.detector.digitisation.noise
    assert (mips > 9.0).sum() > 100
    shares = np.concatenate([shares_of(h, c) for h, c in zip(read.hits, read.contributions)])
    layer = ak.to_numpy(ak.flatten(read.hits.layer))
    assert (shares / tight.gev_per_mip[layer - 1]).max() == pytest.approx(10.0)


@pytest.mark.parametrize(("mips", "low", "high"), [(0.2, 0.0, 0.02), (0.5, 0.45, 0.55), (1.0, 0.99, 1.0)])
def test_turn_on_of_the_threshold(geometry, mips, low, high):
    cells = geometry.nth_cell(np.arange(2000) * 100)
    energy = mips * geometry.gev_per_mip[decode(cells).layer - 1]
    zero = np.zeros(2000, int)
    read = digitise(Deposits(zero, cells, zero, energy, np.zeros(2000)), 1, geometry, np.random.default_rng(5))
    assert low <= len(np.unique(read.contributions[0].hit)) / 2000 <= high


def test_noise_occupancy_is_the_gaussian_tail_of_all_cells(geometry):
    from scipy.stats import norm

    noisy = with_readout(geometry, noise=0.2)
    read = digitise(Deposits.none(), 3, noisy, np.random.default_rng(6))
    expected = 2 * geometry.n_cells.sum() * norm.sf(2.5)
    found = ak.to_numpy(ak.num(read.hits))
    assert np.abs(found - expected).max() < 5 * np.sqrt(expected)
    mips = mips_of(noisy, read.hits)
    assert mips.min() > 0.5
    tail_mean = norm.pdf(2.5) / norm.sf(2.5) * 0.2
    assert mips.mean() == pytest.approx(tail_mean, abs=5 * mips.std() / np.sqrt(len(mips)))
    assert ak.sum(ak.num(read.contributions)) == 0
    assert ak.all(read.hits.time == -1.0)
    layer = ak.to_numpy(ak.flatten(read.hits.layer))
    assert np.bincount(layer, minlength=48)[1:] / len(layer) == pytest.approx(
        geometry.n_cells / geometry.n_cells.sum(), abs=2e-3
    )


def test_times_are_energy_weighted_smeared_and_absent_for_small_deposits(geometry):
    n = 4000
    cells = geometry.nth_cell(np.arange(n) * 50)
    scale = geometry.gev_per_mip[decode(cells).layer - 1]
    both = np.concatenate([cells, cells])
    energy = np.concatenate([7.5 * scale, 2.5 * scale])
    time = np.concatenate([np.full(n, 1.0), np.full(n, 3.0)])
    event, particle = np.zeros(2 * n, int), np.repeat([0, 1], n)
    read = digitise(Deposits(event, both, particle, energy, time), 1, geometry, np.random.default_rng(7))
    times = ak.to_numpy(read.hits[0].time[np.unique(read.contributions[0].hit)])
    readout = geometry.detector.digitisation
    sigma = np.hypot(readout.time_constant, readout.time_stochastic / 10.0)
    assert times.mean() == pytest.approx(1.5, abs=5 * sigma / np.sqrt(n))
    assert times.std() == pytest.approx(sigma, rel=0.06)
    small = Deposits(event[:n], cells, particle[:n], 2.0 * scale, np.ones(n))
    assert ak.all(digitise(small, 1, geometry, np.random.default_rng(8)).hits.time == -1.0)


def test_order_of_deposits_does_not_matter(geometry):
    deposits = random_deposits(geometry, 5, 3000, np.random.default_rng(9)).merged()
    order = np.random.default_rng(10).permutation(len(deposits))
    mixed = Deposits(*(getattr(deposits, name)[order] for name in ("event", "cell", "particle", "energy", "time")))
    a, b = (digitise(d, 5, geometry, np.random.default_rng(11)) for d in (deposits, mixed))
    assert ak.array_equal(a.hits, b.hits) and ak.array_equal(a.contributions, b.contributions)


def test_no_events_and_no_deposits_are_valid(geometry):
    quiet = with_readout(geometry, noise=0.0)
    for n_events in (0, 2):
        read = digitise(Deposits.none(), n_events, quiet, np.random.default_rng(12))
        assert len(read.hits) == len(read.contributions) == n_events
        assert ak.num(read.hits).to_list() == [0] * n_events
        assert len(deposit_lists(Deposits.none(), n_events)) == n_events
