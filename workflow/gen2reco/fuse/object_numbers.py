"""Objects as the fused model draws them: which ones a particle has, and the numbers of each of them.

An object belongs to a particle: that of its track, or that of most energy in it. First a particle is
assigned its objects (a configuration: their codes), then the numbers of all of them are drawn together.
"""

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from gen2reco.calibrate.objects import Summary
from gen2reco.config.detector import Detector
from gen2reco.events.schemas import IDENTITIES
from gen2reco.fuse.fused_config import N_CODES, FeatureConfig
from gen2reco.fuse.inputs import Entering, in_frame

N_KINDS = 2 * N_CODES
"""Kinds of items: the code of the particle's first object, or that of another one."""
NUMBERS = ("log_energy", "log_raw", "log_sigma", "outward", "across", *(f"odds_{i}" for i in range(4)))
"""Logarithms of energy over that of the particles in it, raw energy over energy, uncertainty over energy; offset from
the particle (arcsinh of them over `object_offset`, not of tracked ones); logarithms of the other identities'
probabilities over the first's."""
LEAST = 0.02
"""GeV; less raw energy is none."""


@dataclass(frozen=True)
class Items:
    """Objects one after the other, those of a particle together, sorted by kind. owner: (n,) index of the particle;
    kind: (n,); numbers: (n, len(NUMBERS)) float32."""

    owner: NDArray[np.int64]
    kind: NDArray[np.int64]
    numbers: NDArray[np.float32]

    def __len__(self) -> int:
        return len(self.owner)


def defined(kind: NDArray) -> NDArray[np.bool_]:
    """Mask of the numbers of objects of these kinds that mean anything: (n, len(NUMBERS))."""
    mask = np.ones((len(kind), len(NUMBERS)), bool)
    mask[:, 3:5] = ~tracked(kind)[:, None]
    return mask


def tracked(kind: NDArray) -> NDArray[np.bool_]:
    """Whether objects of these kinds have their particle's track."""
    return kind % N_CODES >= len(IDENTITIES)


def configurations(owner: NDArray, code: NDArray, energy: NDArray, n: int) -> tuple[NDArray, list[tuple[int, ...]]]:
    """Order of the objects by particle, tracked ones first, then by energy; and the codes of each of n particles, the
    first object's before the others in rising order."""
    order = np.lexsort((-energy, code < len(IDENTITIES), owner))
    counts = np.bincount(owner, minlength=n)
    ends = np.cumsum(counts)
    codes = code[order].tolist()
    made = []
    for count, end in zip(counts.tolist(), ends.tolist()):
        own = codes[end - count : end]
        made.append((own[0], *sorted(own[1:])) if own else ())
    return order, made


def kinds_of(configuration: tuple[int, ...]) -> list[int]:
    """Kinds of the items of a configuration, in rising order."""
    return [code + N_CODES * (place > 0) for place, code in enumerate(configuration)]


def numbers_of(
    e: Entering, owner: NDArray, kind: NDArray, flat: dict[str, NDArray], features: FeatureConfig
) -> NDArray[np.float32]:
    """NUMBERS (n, len(NUMBERS)) of objects from their columns in the objects record."""
    energy = np.maximum(flat["energy"], 1e-3)
    odds = np.log(np.clip(np.stack([flat[f"p_{name}"] for name in IDENTITIES], 1), 1e-12, 1.0))
    rows, identity = np.arange(len(owner)), kind % len(IDENTITIES)
    others = np.argsort(np.arange(len(IDENTITIES)) == identity[:, None], axis=1, kind="stable")[:, :-1]
    r = features.front_face / np.sinh(np.abs(flat["eta"]))
    apart = np.stack([r * np.cos(flat["phi"]), r * np.sin(flat["phi"])], 1) - e.position[owner]
    columns = [
        np.log(energy),
        np.log(np.maximum(flat["energy_raw"], LEAST / 2) / energy),
        np.log(np.maximum(flat["energy_sigma"], 1e-4) / energy),
        *np.arcsinh(np.stack(in_frame(e.outward[owner], apart)) / features.object_offset),
        *(odds[rows[:, None], others] - odds[rows, identity][:, None]).T,
    ]
    numbers = np.stack(columns, 1)
    numbers[:, 1:] = np.clip(numbers[:, 1:], -28.0, 6.0)
    return numbers.astype(np.float32)


def object_columns(items: Items, e: Entering, detector: Detector, offset: float) -> tuple[dict[str, NDArray], Summary]:
    """The inverse of `numbers_of`: columns (n,) of the objects record, and a summary with what their tracks measure.
    offset: the features' `object_offset`, mm."""
    numbers, has_track = items.numbers.astype(np.float64), tracked(items.kind)
    energy = np.exp(numbers[:, 0])
    raw = energy * np.exp(numbers[:, 1])
    raw = np.where(raw > LEAST, raw, 0.0)
    eta, phi = _directions(items, e, detector, offset)
    columns = {
        **_probabilities(items),
        "energy_raw": raw,
        "energy": energy,
        "energy_sigma": energy * np.exp(numbers[:, 2]),
        "eta": eta,
        "phi": phi,
        "trackster": np.full(len(items), -1, np.int32),
    }
    none = np.zeros(len(items))
    momentum = np.where(has_track, e.momentum[items.owner], 0.0)
    charge = np.where(has_track, e.charge[items.owner], 0)
    return columns, Summary(raw, none, none.astype(np.int64), eta, phi, momentum, charge)


def _directions(items: Items, e: Entering, detector: Detector, scale: float) -> tuple[NDArray, NDArray]:
    """Eta and phi of the track, or, from the origin, of the place on the face at the drawn offset from the particle."""
    at, outward, owner = e.position[items.owner], e.outward[items.owner], items.owner
    offset = scale * np.sinh(items.numbers[:, 3:5].astype(np.float64))
    x = at[:, 0] + offset[:, 0] * outward[:, 0] - offset[:, 1] * outward[:, 1]
    y = at[:, 1] + offset[:, 0] * outward[:, 1] + offset[:, 1] * outward[:, 0]
    eta = np.arcsinh(detector.front_face / np.maximum(np.hypot(x, y), 1.0))
    eta = e.side[owner] * np.clip(eta, detector.eta_min, detector.eta_max)
    has_track = tracked(items.kind)
    track_eta = e.track_eta[owner]
    return np.where(has_track, track_eta, eta), np.where(has_track, e.track_phi[owner], np.arctan2(y, x))


def _probabilities(items: Items) -> dict[str, NDArray]:
    """Of each identity, from the logarithms of the others' odds."""
    n, k = len(items), len(IDENTITIES)
    identity = items.kind % k
    odds = np.zeros((n, k))
    odds[np.arange(k) != identity[:, None]] = items.numbers[:, 5:].ravel()
    p = np.exp(odds)
    p /= p.sum(1, keepdims=True)
    return {f"p_{name}": p[:, i] for i, name in enumerate(IDENTITIES)}
