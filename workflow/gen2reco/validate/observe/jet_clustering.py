"""Jets of generated particles by fastjet, whole shards at once."""

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from gen2reco import stdout


def durham(momenta: ak.Array) -> tuple[NDArray, NDArray]:
    """Durham y23 and y34 of each event (Catani et al., Phys. Lett. B269 (1991) 432): where it turns from 3 jets to 2.

    momenta: (events, var) records px, py, pz, E. NaN of events with fewer than four particles.
    """
    out = np.full((2, len(momenta)), np.nan)
    enough = ak.to_numpy(ak.num(momenta) >= 4)
    if enough.any():
        fastjet = stdout.fastjet()
        sequence = fastjet.ClusterSequence(momenta[enough], fastjet.JetDefinition0Param(fastjet.ee_kt_algorithm))
        for i, jets in enumerate((2, 3)):
            out[i, enough] = ak.to_numpy(sequence.exclusive_ymerge(jets))
    return out[0], out[1]


def anti_kt(momenta: ak.Array, radius: float, min_pt: float) -> tuple[ak.Array, ak.Array]:
    """Anti-kt jets (arXiv:0802.1189) above min_pt, hardest first: records px, py, pz, E, and the places of each one's
    constituents among the momenta of its event."""
    fastjet = stdout.fastjet()
    sequence = fastjet.ClusterSequence(momenta, fastjet.JetDefinition(fastjet.antikt_algorithm, radius))
    jets, members = sequence.inclusive_jets(min_pt=min_pt), sequence.constituent_index(min_pt=min_pt)
    order = ak.argsort(np.hypot(jets.px, jets.py), axis=1, ascending=False)
    return jets[order], members[order]


def substructure(momenta: ak.Array, jets: ak.Array, members: ak.Array) -> tuple[ak.Array, ak.Array]:
    """Girth Σ pT ΔR / Σ pT (arXiv:1106.3076) and dispersion √(Σ pT²) / Σ pT (CMS JME-13-002) of each jet."""
    sizes = ak.num(members, axis=2)
    own = ak.flatten(momenta[ak.flatten(members, axis=2)])
    jet = np.repeat(np.arange(ak.sum(ak.num(jets))), ak.to_numpy(ak.flatten(sizes)))
    pt, eta, phi = (ak.to_numpy(value) for value in _pt_eta_phi(own))
    _, eta_jet, phi_jet = (ak.to_numpy(value)[jet] for value in _pt_eta_phi(ak.flatten(jets)))
    distance = np.hypot(eta - eta_jet, np.angle(np.exp(1j * (phi - phi_jet))))
    n = int(jet.max()) + 1 if len(jet) else 0
    total = np.bincount(jet, pt, n)
    girth, dispersion = np.bincount(jet, pt * distance, n) / total, np.sqrt(np.bincount(jet, pt**2, n)) / total
    counts = ak.num(jets)
    return ak.unflatten(girth, counts), ak.unflatten(dispersion, counts)


def _pt_eta_phi(p: ak.Array) -> tuple[ak.Array, ak.Array, ak.Array]:
    pt = np.hypot(p.px, p.py)
    return pt, np.arcsinh(p.pz / pt), np.arctan2(p.py, p.px)
