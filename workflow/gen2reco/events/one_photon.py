"""One photon, for backends that start warm: what they load and compile at their first event, they load for it."""

import numpy as np
import pyarrow as pa

from gen2reco.events import records


def one_photon() -> pa.Table:
    """A particles record of one event: a photon of 20 GeV from the origin at an eta of 2.2."""
    energy, eta = 20.0, 2.2
    momentum = {"px": energy / np.cosh(eta), "py": 0.0, "pz": energy * np.tanh(eta), "energy": energy}
    photon = {"pdg": 22, **momentum, "vx": 0.0, "vy": 0.0, "vz": 0.0, "time": 0.0}
    return records.table("particles", {"event": [0], "weight": [1.0], "partons": [[]], "particles": [[photon]]})
