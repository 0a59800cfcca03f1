"""The LEP table and the comparison with it."""

import awkward as ak
import numpy as np
import pytest

from gen2reco.errors import InputError
from gen2reco.validate import lep


@pytest.mark.parametrize("m", lep.measurements(), ids=lambda m: f"{m.experiment}-{m.observable}")
def test_measurements_are_consistent(m):
    assert (m.high > m.low).all() and (m.error > 0).all() and (m.value >= 0).all()
    if m.observable in ("thrust", "heavy_mass", "c_parameter", "y23"):
        assert abs(m.value @ (m.high - m.low) - 1) < 0.01
    if m.observable == "x_p":
        assert 19.5 < m.value @ (m.high - m.low) < 21.5


def test_chi2_of_a_known_sample():
    observed = {m.observable: np.array([]) for m in lep.measurements()}
    observed["n_charged"] = np.tile([19.0, 23.0], 5000)
    mean = next(c for c in lep.compare(observed) if c.measurement.observable == "mean_n_charged")
    expected = (21 - 20.91) ** 2 / (0.222036**2 + 4 / 10000)
    assert mean.chi2 == pytest.approx(expected, rel=1e-4)
    twos = next(c for c in lep.compare(observed) if c.measurement.observable == "n_charged")
    assert twos.value.sum() == pytest.approx(1)


def test_other_events_are_refused():
    one = {"pdg": 22, **dict.fromkeys(("px", "py", "pz", "energy", "vx", "vy", "vz", "time"), 1.0)}
    events = ak.Array({"event": np.arange(200), "weight": np.ones(200), "particles": [[one]] * 200})
    with pytest.raises(InputError, match="hadronic"):
        lep.observe(events)
