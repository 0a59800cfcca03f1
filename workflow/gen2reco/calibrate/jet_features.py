"""What the jet calibration sees of a jet: its constituents as a set, and a few named numbers."""

from dataclasses import dataclass

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from gen2reco.events.schemas import IDENTITIES
from gen2reco.units import wrapped

VERSION = "jet-features/1"
MAX_CONSTITUENTS = 48
"""Constituents of a jet that are inputs of the network: those of most transverse momentum."""
CONSTITUENT_NAMES = (
    "log_share",  # ln(pT / pT of the jet)
    "log_energy",
    "delta_eta",  # from the axis of the jet, times the sign of its eta
    "delta_phi",
    "delta_r",
    *(f"p_{name}" for name in IDENTITIES),
    "sigma",  # relative uncertainty of the energy
    "log_raw",  # ln(calibrated / raw energy), within -3 ... 3
    "has_track",
    "log_track",  # ln(track momentum / energy), within -3 ... 3
)
JET_NAMES = (
    "log_pt",
    "abs_eta",
    "log_constituents",
    "mass_over_pt",
    *(f"share_{name}" for name in IDENTITIES),
    "width",  # pT-weighted delta_r
    "tracked_share",  # of pT, in constituents with a track
    "track_pt_share",  # pT of all tracks in the cone over pT of the jet, below 3
    "sigma",  # of the summed energy, relative
)
CONE = 0.4


@dataclass(frozen=True)
class JetInputs:
    """Network inputs of n jets, those of an event together."""

    jet: NDArray[np.float32]
    """(n, len(JET_NAMES))"""
    constituents: NDArray[np.float32]
    """(n, MAX_CONSTITUENTS, len(CONSTITUENT_NAMES)), zeros beyond."""
    mask: NDArray[np.float32]
    """(n, MAX_CONSTITUENTS)"""

    def __len__(self) -> int:
        return len(self.jet)


def jet_inputs(jets: ak.Array, objects: ak.Array, track_momentum: ak.Array, tracks: ak.Array) -> JetInputs:
    """Inputs of (events, var) jets of (events, var) objects.

    track_momentum: (events, var) momentum of each object's track at the origin, 0 for none. tracks: (events, var)
    records pt, eta, phi at the origin.
    """
    n = int(ak.sum(ak.num(jets)))
    if not n:
        empty = np.zeros((0, MAX_CONSTITUENTS, len(CONSTITUENT_NAMES)), np.float32)
        return JetInputs(np.zeros((0, len(JET_NAMES)), np.float32), empty, empty[..., 0])
    members = _members(jets, objects, track_momentum)
    columns = [ak.to_numpy(ak.fill_none(ak.pad_none(members[c], MAX_CONSTITUENTS, clip=True), 0.0)) for c in _COLUMNS]
    values = dict(zip(_COLUMNS, columns))
    mask = (values["pt"] > 0).astype(np.float32)
    flat = ak.flatten(jets)
    pt, eta, phi, mass = (ak.to_numpy(flat[name]).astype(np.float64)[:, None] for name in ("pt", "eta", "phi", "mass"))
    deta, dphi = (values["eta"] - eta) * np.sign(eta), wrapped(values["phi"] - phi)
    share, dr = values["pt"] / pt, np.hypot(deta, dphi)
    energy, sigma = np.where(mask > 0, values["energy"], 1.0), values["energy_sigma"]
    raw = np.maximum(np.where(mask > 0, values["energy_raw"], 1.0), 1e-3)
    tracked = values["momentum"] > 0
    probabilities = [values[f"p_{name}"] for name in IDENTITIES]
    constituents = np.stack(
        [
            np.log(np.maximum(share, 1e-5)),
            np.log(np.maximum(energy, 1e-3)),
            deta,
            dphi,
            dr,
            *probabilities,
            np.minimum(sigma / energy, 3.0),
            np.clip(np.log(np.maximum(energy, 1e-3) / raw), -3, 3),
            tracked,
            np.where(tracked, np.clip(np.log(np.maximum(values["momentum"], 1e-3) / energy), -3, 3), 0.0),
        ],
        axis=-1,
    )
    total = (values["energy"]).sum(1)
    jet = np.column_stack(
        [
            np.log(pt),
            np.abs(eta),
            np.log(mask.sum(1)),
            mass / pt,
            *((share * p).sum(1) for p in probabilities),
            (share * dr * mask).sum(1),
            (share * tracked).sum(1),
            np.minimum(_track_pt(jets, tracks) / pt[:, 0], 3.0),
            np.sqrt((sigma**2 * mask).sum(1)) / np.maximum(total, 1e-3),
        ]
    )
    return JetInputs(jet.astype(np.float32), (constituents * mask[..., None]).astype(np.float32), mask)


_COLUMNS = ("pt", "eta", "phi", "energy", "energy_sigma", "energy_raw", "momentum", *(f"p_{i}" for i in IDENTITIES))


def _members(jets: ak.Array, objects: ak.Array, track_momentum: ak.Array) -> ak.Array:
    """The objects in each jet, hardest first: (n_jets, var) records."""
    columns = {name: objects[name] for name in _COLUMNS if name not in ("pt", "momentum")}
    own = ak.zip({**columns, "pt": objects.energy / np.cosh(objects.eta), "momentum": track_momentum})
    counts = ak.to_numpy(ak.num(objects))
    start = np.repeat(np.cumsum(counts) - counts, ak.to_numpy(ak.num(jets)))
    places = ak.flatten(jets.constituents) + start
    members = ak.unflatten(ak.flatten(own)[ak.flatten(places)], ak.num(places))
    return members[ak.argsort(members.pt, ascending=False)]


def _track_pt(jets: ak.Array, tracks: ak.Array) -> NDArray[np.float64]:
    """Summed pT of the tracks in the cone of each jet: (n,)."""
    pairs = ak.cartesian({"jet": jets[["eta", "phi"]], "track": tracks}, nested=True)
    near = (pairs.jet.eta - pairs.track.eta) ** 2 + wrapped(pairs.jet.phi - pairs.track.phi) ** 2 < CONE**2
    return ak.to_numpy(ak.flatten(ak.sum(ak.where(near, pairs.track.pt, 0.0), axis=2))).astype(np.float64)
