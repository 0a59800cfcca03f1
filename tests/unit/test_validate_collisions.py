"""Observables of hadron collisions, of small events whose answer is known."""

import awkward as ak
import numpy as np
import pytest

from gen2reco.config.validation import Validation
from gen2reco.events import records
from gen2reco.statistics import profiles
from gen2reco.statistics.bootstrap import Units
from gen2reco.validate import measure
from gen2reco.validate.flat_lists import FlatList
from gen2reco.validate.observable_tables import ObservableTable
from gen2reco.validate.observables import PartObservables, Trend
from gen2reco.validate.observe import collision_observables as collisions
from gen2reco.validate.observe import particle_observables as particles
from gen2reco.validate.ruler import Ruler


def particle(pdg=211, eta=0.0, phi=0.0, pt=1.0, vx=0.0) -> dict:
    momentum = {"px": pt * np.cos(phi), "py": pt * np.sin(phi), "pz": pt * np.sinh(eta), "energy": pt * np.cosh(eta)}
    return {"pdg": pdg, **momentum, "vx": vx, "vy": 0.0, "vz": 50.0, "time": 0.0}


def parton(phi: float, pt: float, status: int = 23) -> dict:
    momentum = {"px": pt * np.cos(phi), "py": pt * np.sin(phi), "pz": 0.0, "energy": pt}
    return {"pdg": 21, "status": status, **momentum, "mass": 0.0, "color": 0, "anticolor": 0}


FAR = [particle(2112, eta=eta, phi=1.5, pt=0.2) for eta in (6.0, 6.1, 6.2, -6.3, -7.0)]
"""Neutrons along the beam: five particles, of no observable but the energy."""


def observe(*members: dict, partons=()) -> dict[str, ObservableTable]:
    """Tables of one event of these particles and five neutrons along the beam."""
    columns = {"event": [7], "weight": [1.0], "partons": ak.Array([list(partons)] if partons else [[]])}
    table = records.table("particles", {**columns, "particles": ak.Array([[*members, *FAR]])})
    return particles.observe(table, None, Validation())


def of_event(*members: dict) -> dict[str, float]:
    return {name: values[0] for name, values in observe(*members)["collisions"].values.items()}


LEADING = particle(phi=3.0, pt=10.0)


@pytest.mark.parametrize(
    ("others", "number", "pt"),
    [
        ([], 0, 0.0),
        ([particle(phi=3.0 + np.pi / 2, pt=2.0), particle(phi=3.0 - np.pi / 2, pt=1.0)], 2, 3.0),
        ([particle(phi=3.0 + np.radians(59)), particle(phi=3.0 - np.radians(121)), particle(phi=3.0 + np.pi)], 0, 0.0),
        ([particle(phi=3.0 + np.radians(61)), particle(phi=3.0 - np.radians(119))], 2, 2.0),
        ([particle(phi=4.5, pt=0.49), particle(phi=4.5, eta=2.6), particle(22, phi=4.5, pt=5.0)], 0, 0.0),
    ],
    ids=["alone", "across", "towards and away", "just inside", "soft, forward, neutral"],
)
def test_transverse_region(others, number, pt):
    found = of_event(LEADING, *others)
    assert found["leading_pt"] == pytest.approx(10.0)
    assert found["transverse_n"] == pytest.approx(number)
    assert found["transverse_pt"] == pytest.approx(pt)


@pytest.mark.parametrize(
    "only", [particle(pt=0.4), particle(eta=-2.7, pt=3.0), particle(22, pt=30.0)], ids=["soft", "forward", "neutral"]
)
def test_events_without_a_leading_charged_particle_have_no_transverse_region(only):
    found = of_event(only)
    assert all(np.isnan(found[name]) for name in ("leading_pt", "transverse_pt", "transverse_n"))


@pytest.mark.parametrize(
    ("members", "energy", "balance"),
    [
        ([particle(22, 2.0), particle(211, -2.0)], 2 * np.cosh(2.0), 0.5),
        ([particle(22, 2.0), particle(14, -2.0)], np.cosh(2.0), 0.0),
        ([particle(22, 1.6, pt=3.0), particle(130, -1.6)], 4 * np.cosh(1.6), 0.25),
        ([particle(22, 1.4), particle(22, -3.1)], collisions.FAINT, np.nan),
    ],
    ids=["both sides", "a neutrino", "unequal sides", "outside"],
)
def test_energy_in_the_endcaps(members, energy, balance):
    found = of_event(*members)
    assert found["endcap_energy"] == pytest.approx(energy)
    assert found["endcap_balance"] == pytest.approx(balance, nan_ok=True)


@pytest.mark.parametrize(
    ("pdg", "vx", "strange"),
    [
        (321, 0, True), (130, 0, True), (310, 0, True), (-3122, 0, True), (3334, 0, True), (-321, 20, True),
        (211, 20, True), (22, -20, True), (2212, 20, True), (211, 0.5, False), (22, 0, False), (2212, 0, False),
        (-2112, 0, False), (411, 0, False), (13, 0, False), (1000010030, 0, False),
    ],
)  # fmt: skip
def test_strange_share_of_the_energy(pdg, vx, strange):
    one, rest = particle(pdg, pt=500.0, vx=vx), sum(p["energy"] for p in FAR)
    assert of_event(one)["strange_energy"] == pytest.approx(500 / (500 + rest) if strange else 0.0)


def test_densities_are_per_unit_of_eta():
    blocks = observe(particle(eta=0.1), particle(eta=-4.9), particle(eta=5.1), particle(22, 1.6, pt=2.0))
    blocks = blocks["collisions"].blocks
    assert blocks["eta_charged"].sum() * 0.25 == pytest.approx(2) and blocks["eta_charged"][0, 20] == pytest.approx(4)
    assert blocks["energy_flow"][0].tolist() == pytest.approx([2 * np.cosh(1.6) / 0.25, 0, 0, 0, 0, 0])


JET = [particle(211, 0.05 * i, 0.05 * i, 10.0) for i in (-1, 0, 1)]
"""Three particles about eta = phi = 0: a jet of 30 GeV, near enough."""


@pytest.mark.parametrize(
    ("partons", "energy"),
    [
        ([parton(0.1, 40.0), parton(3.0, 40.0)], [40.0]),
        ([parton(3.0, 40.0), parton(-0.3, 25.0)], [25.0]),
        ([parton(0.0, 99.0, 21), parton(0.0, 40.0), parton(3.0, 40.0)], [40.0]),
        ([parton(0.2, 25.0), parton(-0.1, 60.0)], [60.0]),
        ([parton(0.5, 40.0), parton(3.0, 40.0)], []),
        ([parton(0.0, 40.0)], []),
        ([parton(0.0, 40.0), parton(3.0, 40.0), parton(1.5, 9.0)], []),
        ([], []),
    ],
    ids=["matched", "the second", "not the incoming", "the nearest", "too far", "one", "three", "none"],
)
def test_response_of_the_leading_jet(partons, energy):
    found = observe(*JET, particle(22, 0.0, 3.0, 21.0), partons=partons)["leading_jet"]
    assert found.values["energy"].tolist() == pytest.approx(energy)
    assert found.values["response"].tolist() == pytest.approx([30 / e for e in energy], rel=0.01)
    assert found.event.tolist() == [7] * len(energy)


def test_files_without_partons_have_no_response():
    table = records.table(
        "particles",
        {"event": [0], "weight": [1.0], "partons": ak.Array([[]]), "particles": ak.Array([[*JET, *FAR]])},
    )
    found = particles.observe(table.drop_columns(["partons"]), None, Validation())
    assert {"events", "jets", "collisions"} == set(found)


@pytest.mark.parametrize(
    "members",
    [
        [particle(22, pt=20.0)],
        [particle(22, phi=phi, pt=20.0) for phi in (0.0, np.pi / 2, np.pi, 3 * np.pi / 2, 1.0, 1.0 + np.pi)],
    ],
    ids=["a gun", "balanced: e+e-"],
)
def test_other_events_are_no_collisions(members):
    columns = {"event": [0], "weight": [1.0], "partons": ak.Array([[]]), "particles": ak.Array([members])}
    assert set(particles.observe(records.table("particles", columns), None, Validation())) == {"events"}


def test_only_hadron_collisions_have_a_row():
    gun = [particle(22, pt=20.0)]
    columns = {"event": [3, 4], "weight": [1.0, 2.0], "partons": ak.Array([[], []])}
    table = records.table("particles", {**columns, "particles": ak.Array([gun, [LEADING, *FAR]])})
    found = particles.observe(table, None, Validation())["collisions"]
    assert (found.event.tolist(), found.weight.tolist()) == ([4], [2.0])


def test_no_particles_at_all():
    nothing = FlatList({name: np.zeros(0) for name in particle()}, np.zeros(0, int), np.zeros(2, int))
    basic = {"pt": np.zeros(0), "charge": np.zeros(0), "code": np.zeros(0, int), "invisible": np.zeros(0, bool)}
    basic["total"] = np.zeros(2)
    table = collisions.collisions(nothing, basic, np.arange(2), np.ones(2), np.ones(2, bool))
    assert np.isnan(table.values["leading_pt"]).all() and np.isnan(table.values["strange_energy"]).all()


def test_observables_of_collisions_are_in_no_classifier():
    parts = {part.name: part for part in particles.PARTS}
    assert not parts["collisions"].classifiers and not parts["leading_jet"].classifiers


# --- trends: means in bins

EDGES = np.array([0.0, 1.0, 2.0, 4.0])


def test_means_in_bins_are_weighted():
    y, x = np.array([1.0, 3.0, 5.0, np.nan, 7.0, 9.0]), np.array([0.0, 0.5, 1.0, 1.5, 4.0, np.nan])
    weight = np.array([3.0, 1.0, 1.0, 1.0, 1.0, 1.0])
    found = profiles.bin_means(weight @ profiles.content_and_number(y, x, EDGES))
    assert found == pytest.approx([1.5, 5.0, np.nan], nan_ok=True)


def trending(n: int, slope: float, seed: int) -> ObservableTable:
    rng = np.random.default_rng(seed)
    x = rng.uniform(0, 4, n)
    return ObservableTable(np.arange(n), np.ones(n), {"y": rng.normal(1 + slope * x, 0.2), "x": x})


TREND = Trend("y", "x", "y", "x", EDGES)


def deviation(a: ObservableTable, b: ObservableTable):
    ruler = Ruler("particles", ("a", "b"), Validation(resamples=60))
    part = PartObservables("part", "Part", trends=(TREND,))
    return {m.name: m for m in measure.compared(part, ruler, a, b)}["part/profile_y"]


def test_a_trend_is_told_from_another_though_all_else_is_equal():
    flat, same, steep = trending(2000, 0.0, 1), trending(2000, 0.0, 2), trending(2000, 0.1, 3)
    assert abs(deviation(flat, same).value) < deviation(flat, same).floor + 4 * deviation(flat, same).uncertainty
    found = deviation(flat, steep)
    assert found.value == pytest.approx(0.3, abs=5 * found.uncertainty) and found.verdict == "fail"


def test_other_numbers_in_the_bins_are_no_deviation():
    """Half of the units of one bin left out: its mean stays."""
    a = trending(2000, 0.2, 4)
    b = a.select((a.values["x"] < 2) | (np.arange(2000) % 2 == 0))
    assert deviation(a, b).value < 0.02


@pytest.mark.parametrize("x", [np.full(20, 9.0), np.full(20, np.nan)], ids=["beyond the edges", "not finite"])
def test_a_trend_without_units_is_not_measured(x):
    table = ObservableTable(np.arange(20), np.ones(20), {"y": np.ones(20), "x": x})
    assert np.isnan(deviation(table, table).value)


def test_a_bin_that_the_candidate_leaves_empty_does_not_deviate():
    a = trending(200, 0.0, 5)
    b = a.select(a.values["x"] < 2)
    units = [Units(np.zeros(len(t)), t.weight, t.event) for t in (a, b)]
    found = profiles.trend_measured(TREND.block(a), units[0], TREND.block(b), units[1], 20, np.random.default_rng(6))
    assert found.value == pytest.approx(0, abs=1e-9)
