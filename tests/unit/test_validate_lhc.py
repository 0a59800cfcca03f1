"""The LHC table and the comparison with it."""

import awkward as ak
import numpy as np
import pytest

from gen2reco.errors import InputError
from gen2reco.validate import lhc

TABLE = {m.observable: m for m in lhc.measurements()}


@pytest.mark.parametrize("m", lhc.measurements(), ids=lambda m: f"{m.experiment}-{m.observable}")
def test_measurements_are_consistent(m):
    assert (m.high > m.low).all() and (m.low[1:] == m.high[:-1]).all()
    assert (m.error > 0).all() and (m.value > 0).all() and (m.error < 0.25 * m.value).all()


def test_one_multiplicity_by_number_eta_and_pt():
    """Of ATLAS, whose three tables are of the same particles; pT by its mean in a bin of a falling spectrum."""
    n, eta, pt = (TABLE[name] for name in ("n_charged", "eta_charged", "pt_charged"))
    probability = n.value * (n.high - n.low)
    assert probability.sum() == pytest.approx(1, abs=1e-3)
    mean = probability @ (n.low + n.high) / 2
    assert eta.value @ (eta.high - eta.low) == pytest.approx(mean, rel=0.02)
    assert 10 * np.pi * pt.value @ (np.sqrt(pt.low * pt.high) * (pt.high - pt.low)) == pytest.approx(mean, rel=0.02)


def particle(pdg=211, eta=0.05, pt=0.55, vx=0.0) -> dict:
    momentum = {"px": pt, "py": 0.0, "pz": pt * np.sinh(eta), "energy": pt * np.cosh(eta) + 1}
    return {"pdg": pdg, **momentum, "vx": vx, "vy": 0.0, "vz": 40.0, "time": 0.0}


def sample(*kinds: list[dict], times: int = 100) -> ak.Array:
    """Each kind of event so many times."""
    return ak.Array({"particles": [list(event) for event in kinds for _ in range(times)]})


def compared(*kinds: list[dict]) -> dict[str, lhc.Comparison]:
    return {found.measurement.observable: found for found in lhc.compare(sample(*kinds), 13_000.0)}


ONE, TWO, NONE = [particle()], [particle(), particle(-321, 1.05, 0.65)], [particle(22)]


def at(found: lhc.Comparison, x: float) -> float:
    m = found.measurement
    return found.value[np.flatnonzero((m.low <= x) & (x < m.high))[0]]


def test_densities_of_known_events():
    """ATLAS counts two of the three kinds of events, in which half have one particle; CMS all three."""
    found = compared(ONE, TWO, NONE)
    assert [at(found["n_charged"], n) for n in (1, 2)] == [0.5, 0.5]
    assert at(found["eta_charged"], 0.05) == pytest.approx(1 / 0.1)
    assert at(found["eta_charged"], 1.05) == pytest.approx(0.5 / 0.1)
    assert at(found["pt_charged"], 0.65) == pytest.approx(0.5 / (2 * np.pi * 0.65 * 5 * 0.1))
    assert at(found["eta_hadrons"], 0.1) == pytest.approx(2 / 3 / 0.2)
    assert at(found["eta_hadrons"], 1.1) == pytest.approx(1 / 3 / 0.2)


def test_chi2_of_known_events():
    found, m = compared(ONE, TWO)["n_charged"], TABLE["n_charged"]
    error = 0.5 / np.sqrt(200)
    assert found.ndf == 2 and found.error[:2] == pytest.approx([error, error])
    assert found.chi2 == pytest.approx((((0.5 - m.value) ** 2 / (error**2 + m.error**2))[:2]).sum())


@pytest.mark.parametrize(
    ("one", "atlas", "cms"),
    [
        (particle(2212), True, True),
        (particle(13), True, False),
        (particle(pt=0.2), False, True),
        (particle(eta=2.2), True, False),
        (particle(eta=2.7), False, False),
        (particle(vx=25.0), False, False),
        (particle(vx=0.3), True, True),
        (particle(-3112), False, False),
        (particle(130), False, False),
    ],
    ids=["proton", "muon", "soft", "beyond CMS", "beyond both", "of a K0S", "of a D meson", "hyperon", "neutral"],
)
def test_particles_that_count(one, atlas, cms):
    found = compared([particle()], [particle(), one])
    assert at(found["n_charged"], 2) == pytest.approx(0.5 if atlas else np.nan, nan_ok=True)
    assert np.nansum(found["eta_hadrons"].value) * 0.2 == pytest.approx(1.5 if cms else 1.0)


def test_bins_with_few_entries_are_left_out():
    events = ak.concatenate([sample(ONE), sample(TWO, times=lhc.FEWEST_IN_BIN - 1)])
    found = next(f for f in lhc.compare(events, 13_000.0) if f.measurement.observable == "n_charged")
    assert found.ndf == 1 and np.isnan(at(found, 2))


@pytest.mark.parametrize(("times", "sqrt_s"), [(99, 13_000.0), (200, 14_000.0), (200, 0.0)])
def test_other_events_are_refused(times, sqrt_s):
    with pytest.raises(InputError, match="13000 GeV"):
        lhc.compare(sample(ONE, times=times), sqrt_s)


def story(*settings: str, sqrt_s=13_000.0, **process) -> dict:
    process = {"kind": "pythia8", "settings": settings, "filter": None, **process}
    return {"generate": {"options": {"process": process}, "info": {"sqrt_s": sqrt_s}}}


@pytest.mark.parametrize(
    ("said", "inelastic"),
    [
        (story("Beams:eCM = 13000.", "softQCD:inelastic=ON"), True),
        (story("SoftQCD:inelastic = on", sqrt_s=14_000.0), False),
        (story("SoftQCD:inelastic = on", filter={"pt_min": 30.0}), False),
        (story("SoftQCD:nonDiffractive = on"), False),
        (story("SoftQCD:inelastic = off"), False),
        ({"generate": {"options": {"process": "a file"}, "info": {"sqrt_s": 13_000.0}}}, False),
        ({}, False),
    ],
)
def test_what_files_say_they_hold(said, inelastic):
    assert lhc.are_inelastic(said) == inelastic
