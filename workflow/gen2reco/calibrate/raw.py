"""The baseline: sums of dE/dx-weighted energy within each candidate's cone, and an identity by simple cuts."""

import awkward as ak
import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gen2reco.calibrate import candidates as cand
from gen2reco.calibrate.jets import object_jets
from gen2reco.calibrate.objects import Links, Summary, object_pdg, objects_of, objects_table, summarise
from gen2reco.config.detector import Detector
from gen2reco.detector.geometry import Geometry
from gen2reco.events import records
from gen2reco.events.schemas import IDENTITIES
from gen2reco.run.stage import Backend, Chunk, Result

EM_FRACTION = 0.95
"""Candidates with at least this share of their energy in the electromagnetic section count as photon or electron."""
MIP_FRACTION = 0.3
"""A track with less than this share of its momentum in the calorimeter counts as a muon,"""
MIP_LAYERS = 3
"""if at least so many layers are hit behind the electromagnetic section."""
STOCHASTIC = {"photon": 0.24, "electron": 0.24, "muon": 1.0, "charged_hadron": 0.92, "neutral_hadron": 0.92}
"""Resolution sigma/sqrt(E), sqrt(GeV), that stands in for the uncertainty of the plain sum."""


class Raw(Backend):
    """Energy sums in cones of tracksters: what a calibration is measured against."""

    name, stage, version, needs_detector = "raw", "calibrate", 3, True
    detector: Detector

    def run(self, chunk: Chunk, events: pa.Table | None) -> Result:
        """Objects and jets of one chunk."""
        data = records.awkward(events)
        candidates = cand.build(data, self.detector.front_face)
        objects, links = self.reconstruct(data, candidates), Links.of(data, candidates)
        table = objects_table(events, data, objects, object_jets(objects), links, properties=self.properties)
        return Result(table, {"objects": int(ak.sum(ak.num(objects)))})

    def reconstruct(self, data: ak.Array, candidates: cand.Candidates) -> ak.Array:
        """Objects of `clusters` events, jets not yet made."""
        plain = summarise(data, candidates, Geometry(self.detector))
        identity = guess_identity(plain)
        energy = np.where(plain.energy > 0, plain.energy, plain.momentum)
        columns = {
            "pdg": object_pdg(identity, plain.charge),
            **{f"p_{name}": (identity == i).astype(np.float32) for i, name in enumerate(IDENTITIES)},
            "energy_raw": plain.energy,
            "energy": energy,
            "energy_sigma": np.array([STOCHASTIC[name] for name in IDENTITIES])[identity] * np.sqrt(energy),
            "eta": plain.eta,
            "phi": plain.phi,
            "trackster": candidates.trackster,
        }
        return objects_of(columns, candidates.event, len(data))


def guess_identity(plain: Summary) -> NDArray[np.int64]:
    """Index in `IDENTITIES` of each candidate, by cuts on its track, electromagnetic share and depth."""
    charged = plain.momentum > 0
    electromagnetic = (plain.em_energy >= EM_FRACTION * plain.energy) & (plain.energy > 0)
    crossing = charged & (plain.energy < MIP_FRACTION * plain.momentum) & (plain.layers_behind >= MIP_LAYERS)
    choices = [crossing, electromagnetic & ~charged, electromagnetic, charged]
    names = ("muon", "photon", "electron", "charged_hadron")
    return np.select(choices, [IDENTITIES.index(name) for name in names], IDENTITIES.index("neutral_hadron"))
