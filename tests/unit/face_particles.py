"""Events of a few given particles that start at the origin, for the tests of what enters the calorimeter."""

import awkward as ak
import numpy as np

from gen2reco.events import records


def particle(pdg: int = 22, energy: float = 20.0, eta: float = 2.0, phi: float = 0.4, **other: float) -> dict:
    pt = energy / np.cosh(eta)
    kind = records.SCHEMAS["particles"].field("particles").type.value_type
    given = {"pdg": pdg, "px": pt * np.cos(phi), "py": pt * np.sin(phi), "pz": pt * np.sinh(eta), "energy": energy}
    return {field.name: (given | other).get(field.name, 0) for field in kind}


def events_of(lists: list[list[dict]]):
    n = len(lists)
    some = ak.Array([*lists, [particle()]])[:n]  # the extra event fixes the type of empty lists
    columns = {"event": np.arange(n) + 100, "weight": np.ones(n), "partons": ak.Array([[]] * n), "particles": some}
    return records.table("particles", columns)
