"""Corrections with planted answers, uncertainties in closed form, jets and score limits by their definitions."""

from types import SimpleNamespace

import awkward as ak
import numpy as np
import pytest
from calibrate_events import DETECTOR

from gen2reco.calibrate.corrections import REFERENCE, Corrections, Predicted, fit_closure, fit_temperature, fit_width
from gen2reco.calibrate.dnn import of_tracks
from gen2reco.calibrate.jets import PT_MIN, RADIUS, jets
from gen2reco.events.schemas import IDENTITIES

PHOTON, MUON, HADRON, NEUTRAL = (
    IDENTITIES.index(name) for name in ("photon", "muon", "charged_hadron", "neutral_hadron")
)


def sure(kind, n: int) -> np.ndarray:
    """Logits (n, 5) of certainty: of one kind, or one for each."""
    return 60.0 * np.eye(len(IDENTITIES))[np.broadcast_to(kind, n)]


def predicted(n: int, **given) -> Predicted:
    columns = {
        "logits": np.zeros((n, 5)),
        "log_ratio": np.zeros(n),
        "sigma": np.full(n, 0.1),
        "shift": np.zeros((n, 2)),
        "log_energy": np.full(n, np.log(REFERENCE)),
        "crowding": np.zeros(n),
    }
    return Predicted(**columns | given)


def corrections(**given) -> Corrections:
    none = {"temperature": np.zeros(3), "closure": np.zeros((2, 1)), "closure_range": np.array([-10.0, 10.0])}
    return Corrections(**none | {"width": np.zeros(7)} | given)


# --- energies and uncertainties


def test_the_planted_ratio_multiplies_the_plain_sum_and_sigma_is_relative():
    raw, log_ratio, sigma = np.array([10.0, 40.0, 7.0]), np.log([1.5, 0.5, 1.0]), np.array([0.1, 0.2, 0.5])
    energy, error = corrections().energy(raw, predicted(3, log_ratio=log_ratio, sigma=sigma))
    assert energy == pytest.approx([15.0, 20.0, 7.0]) and error == pytest.approx([1.5, 4.0, 3.5])


@pytest.mark.parametrize(("kind", "response"), [(PHOTON, 1.25), (HADRON, 0.8)])
def test_a_planted_response_is_divided_out_for_its_kind(kind, response):
    closure = np.log([[1.25], [0.8]])
    energy, error = corrections(closure=closure).energy(np.full(2, 30.0), predicted(2, logits=sure(kind, 2)))
    assert energy == pytest.approx([30.0 / response] * 2) and error == pytest.approx(0.1 * energy)


def test_the_response_follows_the_corrected_energy_within_its_range():
    """A slope of one tenth in ln(E / 20 GeV), held beyond 5 and 80 GeV; highest power first."""
    closure, limits = np.array([[0.1, 0.0], [0.1, 0.0]]), np.log([5 / 20, 80 / 20])
    raw = np.array([1.0, 10.0, 40.0, 400.0])
    given = predicted(4, log_ratio=np.full(4, np.log(2.0)))
    energy, _ = corrections(closure=closure, closure_range=limits).energy(raw, given)
    at = np.clip(np.log(2 * raw / 20), *limits)
    assert energy == pytest.approx(2 * raw * np.exp(-0.1 * at))


WIDTHS = {  # place of the coefficient: what it multiplies, for (energy in GeV, photon or not, crowding)
    0: lambda energy, photon, crowding: 1.0,
    1: lambda energy, photon, crowding: photon,
    2: lambda energy, photon, crowding: np.log(energy / 20),
    3: lambda energy, photon, crowding: np.log(energy / 20) ** 2,
    4: lambda energy, photon, crowding: crowding,
    5: lambda energy, photon, crowding: photon * np.log(energy / 20),
    6: lambda energy, photon, crowding: photon * crowding,
}


@pytest.mark.parametrize("place", WIDTHS)
def test_uncertainties_are_scaled_by_what_each_coefficient_says(place):
    """The energy is the predicted one: 15 GeV of plain sum and a ratio of two are 30 GeV."""
    width = np.zeros(7)
    width[place] = 0.3
    kinds, crowding = np.array([PHOTON, PHOTON, NEUTRAL, NEUTRAL]), np.array([0.0, 0.7, 0.0, 0.7])
    given = predicted(
        4,
        logits=sure(kinds, 4),
        crowding=crowding,
        log_energy=np.full(4, np.log(15.0)),
        log_ratio=np.full(4, np.log(2)),
    )
    energy, error = corrections(width=width).energy(np.full(4, 15.0), given)
    wanted = [WIDTHS[place](30.0, float(k == PHOTON), c) for k, c in zip(kinds, crowding)]
    assert energy == pytest.approx([30.0] * 4)
    assert error == pytest.approx(3.0 * np.exp(0.3 * np.array(wanted)))


def softmax(x):
    return np.exp(x) / np.exp(x).sum(axis=1, keepdims=True)


@pytest.mark.parametrize(
    ("temperature", "divisor"),
    [
        ([np.log(2), 0, 0], lambda energy, crowding: 2.0),
        ([0, 0.5, 0], lambda energy, crowding: np.sqrt(energy / 20)),
        ([0, 0, 1.0], lambda energy, crowding: np.exp(crowding)),
    ],
    ids=["two", "with the energy", "with the crowding"],
)
def test_a_planted_temperature_divides_the_logits(temperature, divisor):
    rng = np.random.default_rng(1)
    logits, crowding, energy = rng.normal(0, 3, (50, 5)), rng.random(50), rng.uniform(5, 80, 50)
    given = predicted(50, logits=logits, crowding=crowding, log_energy=np.log(energy))
    found = corrections(temperature=np.array(temperature, float)).probabilities(given)
    assert found == pytest.approx(softmax(logits / np.broadcast_to(divisor(energy, crowding), 50)[:, None]))


@pytest.mark.parametrize("planted", [0.15, 0.5, 1.0, 2.0, 15.0])
def test_a_planted_temperature_is_found(planted):
    """Kinds drawn with the probabilities of logits that are then multiplied by the temperature."""
    rng = np.random.default_rng(2)
    true = rng.normal(0, 1.5, (6000, 5))
    kind = (softmax(true).cumsum(axis=1) < rng.random((6000, 1))).sum(axis=1)
    found = fit_temperature(planted * true, kind, np.ones((6000, 1)), np.full(6000, 1 / 6000))
    assert np.exp(found[0]) == pytest.approx(planted, rel=0.06)


def test_weights_of_the_fits_count_as_often():
    """Half of the pulls are twice as wide: where the others weigh nothing, theirs is the width."""
    rng = np.random.default_rng(3)
    pull = rng.normal(size=8000) * np.repeat([1.0, 2.0], 4000)
    for wide in (False, True):
        weight = np.repeat([0.0, 1.0] if wide else [1.0, 0.0], 4000) / 4000
        assert np.exp(fit_width(pull, np.ones((8000, 1)), weight)) == pytest.approx([1.0 + wide], rel=0.06)


def test_a_planted_response_is_found_and_taken_off():
    rng = np.random.default_rng(4)
    true = np.exp(rng.uniform(np.log(5), np.log(200), 20_000))
    energy = true * (1.1 - 0.05 * np.log(true / 20)) * rng.normal(1, 0.05, len(true))
    fit = fit_closure(energy, true)
    corrected = energy / np.exp(np.polyval(fit, np.log(energy / 20)))
    for low, high in ((5, 15), (15, 50), (50, 200)):
        assert (corrected / true)[(true > low) & (true < high)].mean() == pytest.approx(1.0, abs=0.006)


# --- tracks


def plain(momentum, energy, eta):
    return SimpleNamespace(momentum=np.array(momentum), energy=np.array(energy), eta=np.array(eta))


@pytest.mark.parametrize("eta", [1.6, -2.9])
def test_a_muon_has_the_momentum_of_its_track_with_the_trackers_uncertainty(eta):
    """sigma(p) / p is sigma(pT) / pT = constant (+) linear pT: of the transverse momentum, which differs much."""
    p, tracker = np.array([20.0, 200.0]), DETECTOR.tracker
    energy, sigma = of_tracks(
        np.full(2, 5.0), np.full(2, 9.0), np.full(2, MUON), plain(p, [4.0, 4.0], [eta, eta]), tracker
    )
    pt = p * np.sin(2 * np.arctan(np.exp(-abs(eta))))
    assert energy == pytest.approx(p)
    assert sigma == pytest.approx(p * np.sqrt(tracker.sigma_constant**2 + (tracker.sigma_linear * pt) ** 2))


@pytest.mark.parametrize(
    ("kind", "momentum", "shower", "own"),
    [(MUON, 20.0, 4.0, True), (HADRON, 20.0, 4.0, False), (HADRON, 20.0, 0.0, True), (PHOTON, 0.0, 4.0, False),
     (MUON, 0.0, 4.0, False)],
    ids=["muon", "shower and track", "track alone", "no track", "muon without track"],
)  # fmt: skip
def test_whose_energy_it_is(kind, momentum, shower, own):
    found = of_tracks(
        np.array([5.0]), np.array([9.0]), np.array([kind]), plain([momentum], [shower], [2.0]), DETECTOR.tracker
    )
    assert found[0][0] == (momentum if own else 5.0) and (found[1][0] == 9.0) == (not own)


# --- jets


def brute_antikt(p: np.ndarray) -> list[tuple[float, list[int]]]:
    """(pT, constituents) of anti-kt jets of four-momenta (n, 4) px, py, pz, E by the definition, hardest first."""
    left = {i: (p[i], [i]) for i in range(len(p))}
    found = []

    def place(v):
        return 0.5 * np.log((v[3] + v[2]) / (v[3] - v[2])), np.arctan2(v[1], v[0])

    while left:
        best = None
        for i, (a, _) in left.items():
            for j, (b, _) in left.items():
                ka, kb = 1 / (a[0] ** 2 + a[1] ** 2), 1 / (b[0] ** 2 + b[1] ** 2)
                if j > i:
                    (ya, fa), (yb, fb) = place(a), place(b)
                    turn = abs(fa - fb)
                    d2 = (ya - yb) ** 2 + min(turn, 2 * np.pi - turn) ** 2
                    value = min(ka, kb) * d2 / RADIUS**2
                elif j == i:
                    value = ka
                else:
                    continue
                if best is None or value < best[0]:
                    best = value, i, j
        _, i, j = best
        a, mine = left.pop(i)
        if i == j:
            found.append((float(np.hypot(*a[:2])), sorted(mine)))
        else:
            b, theirs = left.pop(j)
            left[i] = a + b, mine + theirs
    return sorted((one for one in found if one[0] >= PT_MIN), reverse=True)


def four_momenta(pt, eta, phi, mass=0.14) -> np.ndarray:
    pz = pt * np.sinh(eta)
    return np.stack([pt * np.cos(phi), pt * np.sin(phi), pz, np.sqrt(pt**2 + pz**2 + mass**2)], axis=1)


def found_jets(p: np.ndarray) -> list[tuple[float, list[int]]]:
    event = ak.zip(dict(zip(("px", "py", "pz", "E"), p.T)))
    made = jets(ak.Array([event]))[0]
    return [(float(pt), sorted(members)) for pt, members in zip(made.pt, made.constituents.tolist())]


@pytest.mark.parametrize("seed", range(6))
def test_jets_are_anti_kt_by_its_definition(seed):
    """Crowded so that kt and Cambridge/Aachen would divide it otherwise, also across the turn of phi."""
    rng = np.random.default_rng(seed)
    n = 24
    p = four_momenta(rng.exponential(6, n) + 0.3, rng.normal(2.0, 0.45, n), np.pi + rng.normal(0, 0.5, n))
    expected = brute_antikt(p)
    found = found_jets(p)
    assert [members for _, members in found] == [members for _, members in expected]
    assert [pt for pt, _ in found] == pytest.approx([pt for pt, _ in expected])
    assert len(found) > 1


def test_soft_particles_gather_around_the_hard_one_not_among_themselves():
    """Two soft ones near each other, within reach of a hard one: kt joins the soft ones first to a jet that runs away
    from it; anti-kt takes each that is within the radius of the hard one."""
    p = four_momenta(np.array([50.0, 6.0, 6.0]), np.array([2.0, 2.35, 2.5]), np.zeros(3))
    assert found_jets(p) == [(pytest.approx(56.0, rel=0.01), [0, 1]), (pytest.approx(6.0), [2])]
