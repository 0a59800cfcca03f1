"""Anti-kt jets (arXiv:0802.1189) of reconstructed objects and of generator particles, by fastjet, events at once."""

import awkward as ak
import numpy as np

from gen2reco import stdout
from gen2reco.events.truth import STANDARD, Properties

RADIUS = 0.4
PT_MIN = 5.0
"""GeV; softer jets are not kept."""


def massless(energy: ak.Array, eta: ak.Array, phi: ak.Array) -> ak.Array:
    """Four-momenta of massless objects: awkward records px, py, pz, E of the shape of `energy`, GeV."""
    pt = energy / np.cosh(eta)
    return ak.zip({"px": pt * np.cos(phi), "py": pt * np.sin(phi), "pz": pt * np.sinh(eta), "E": energy})


def jets(momenta: ak.Array, index: ak.Array | None = None) -> ak.Array:
    """Jets of events of four-momenta (px, py, pz, E), hardest first.

    momenta: (events, var) records, GeV. index: (events, var) int, what `constituents` shall hold for each of them
    (default: their place in the event). Returns (events, var) records pt, eta, phi, mass, constituents.
    """
    fastjet = stdout.fastjet()
    if index is None:
        index = ak.local_index(momenta, axis=1)
    used = momenta.E > 0
    momenta, index = ak.to_packed(momenta[used]), ak.to_packed(index[used])
    records = ak.zip({name: ak.values_astype(momenta[name], np.float64) for name in ("px", "py", "pz", "E")})
    sequence = fastjet.ClusterSequence(records, fastjet.JetDefinition(fastjet.antikt_algorithm, RADIUS))
    found, members = sequence.inclusive_jets(min_pt=PT_MIN), sequence.constituent_index(min_pt=PT_MIN)
    pt = np.hypot(found.px, found.py)
    order = ak.argsort(pt, axis=1, ascending=False)
    found, members, pt = found[order], members[order], pt[order]
    flat = ak.unflatten(index[ak.flatten(members, axis=2)], ak.flatten(ak.num(members, axis=2)), axis=1)
    mass2 = found.E**2 - found.px**2 - found.py**2 - found.pz**2
    columns = {
        "pt": pt,
        "eta": np.arcsinh(found.pz / pt),
        "phi": np.arctan2(found.py, found.px),
        "mass": np.sqrt(ak.where(mass2 > 0, mass2, 0.0)),
        "constituents": flat,
    }
    return ak.zip(columns, depth_limit=2)


def object_jets(objects: ak.Array) -> ak.Array:
    """Jets of objects (energy, eta, phi), taken as massless."""
    return jets(massless(objects.energy, objects.eta, objects.phi))


def gen_jets(particles: ak.Array, properties: Properties = STANDARD) -> ak.Array:
    """Jets of the visible final particles, without neutrinos and the like; `constituents` point into `particles`."""
    pdg = ak.flatten(particles.pdg)
    visible = ak.unflatten(properties.visible(ak.to_numpy(pdg)), ak.num(particles))
    momenta = ak.zip({"px": particles.px, "py": particles.py, "pz": particles.pz, "E": particles.energy})
    return jets(momenta[visible], ak.local_index(particles.pdg, axis=1)[visible])
