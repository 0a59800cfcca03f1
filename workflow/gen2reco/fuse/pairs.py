"""Training pairs: the particles of chain events at the front face, with the objects that the chain made of them."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import awkward as ak
import numpy as np
from numpy.typing import NDArray

from gen2reco.calibrate import candidates as cand
from gen2reco.calibrate.targets import make_targets
from gen2reco.config.detector import Detector
from gen2reco.detector.propagate import propagate
from gen2reco.errors import InputError
from gen2reco.events import records
from gen2reco.events.lists import event_of, flat_index
from gen2reco.events.schemas import IDENTITIES
from gen2reco.fuse.fused_config import FeatureConfig
from gen2reco.fuse.inputs import Entering, Features, entering, features_of, place_of
from gen2reco.fuse.object_numbers import N_CODES, Items, configurations, numbers_of
from gen2reco.run.runner import provenance


@dataclass(frozen=True)
class Pairs:
    """Particles and objects of many events. configurations: the codes of each particle's objects; taken: (n,) place
    among its neighbours of the one whose object took a particle without its own, -1 for none; energy: (n_items,) GeV
    of each object; reference: (n,) whether Geant4 made the showers; event: (n,) numbers them over all files;
    source: (n,) the file of each."""

    entering: Entering
    features: Features
    items: Items
    energy: NDArray[np.float64]
    configurations: list[tuple[int, ...]]
    taken: NDArray[np.int64]
    reference: NDArray[np.bool_]
    event: NDArray[np.int64]
    source: NDArray[np.int64]


def load_pairs(paths: list[Path], detector: Detector) -> tuple[Pairs, str]:
    """The pairs of objects files and the clusters files that they were made of (in the folder `cluster` next to
    `calibrate`), and the digest of their calibration. Raises InputError where they are not of one calibration `dnn`."""
    parts: list[Pairs] = []
    calibrations: dict[tuple[str | None, str | None], Path] = {}
    for path in paths:
        story = provenance(path)
        made = story.get("calibrate", {})
        calibrations.setdefault((made.get("backend"), made.get("model")), path)
        clusters = path.parent.parent / "cluster" / path.name
        parts.append(read_pairs(clusters, path, detector, story.get("simulate", {}).get("backend") == "geant4"))
    ((backend, digest), first), *more = calibrations.items()
    if backend != "dnn" or digest is None or more:
        other = more[0][1] if more else first
        raise InputError(f"{other}: expected objects of one calibration by `dnn`, that of {first}; calibrate it again")
    return joined(parts), digest


def read_pairs(clusters: Path, objects: Path, detector: Detector, by_reference: bool) -> Pairs:
    """The pairs of one shard. Raises InputError where the two files are not of the same events."""
    data, made = (records.awkward(records.read(path)) for path in (clusters, objects))
    found = cand.build(data, detector.front_face)
    if not (len(data) == len(made) and np.all(found.counts <= ak.to_numpy(ak.num(made.objects)))):
        raise InputError(f"{objects}: not made of {clusters} by the calibration `dnn`; calibrate it again")
    e = entering(propagate(data.particles, detector), data.tracks)
    owner, code, flat, of_object = _owners(data, made, found, e, detector.front_face)
    config = FeatureConfig.of(detector)
    features = features_of(e, config)
    taken = _taken(data, found, e, of_object, features.neighbours)
    taken[owner] = -1
    order, codes = configurations(owner, code, flat["energy"], len(e))
    owner, code = owner[order], code[order]
    first = np.diff(owner, prepend=-1) != 0
    kind = code + N_CODES * ~first
    flat = {name: values[order] for name, values in flat.items()}
    numbers, energy = numbers_of(e, owner, kind, flat, config), flat["energy"]
    order = np.lexsort((numbers[:, 0], kind, owner))
    items, energy = Items(owner[order], kind[order], numbers[order]), energy[order]
    return Pairs(
        e, features, items, energy, codes, taken, np.full(len(e), by_reference), e.event, np.zeros_like(e.event)
    )


def _owners(
    data: ak.Array, made: ak.Array, found: cand.Candidates, e: Entering, face: float
) -> tuple[NDArray, NDArray, dict[str, NDArray], NDArray]:
    """The particle (index in `e`) and the code of each object whose endcap any particle reaches, and its columns; and
    the particle of every candidate, -1 for none."""
    flat = {name: ak.to_numpy(ak.flatten(made.objects[name])).astype(np.float64) for name in made.objects.fields}
    at = flat_index(found.track.astype(np.int64), data.tracks, found.event)
    track = np.append(ak.to_numpy(ak.flatten(data.tracks.particle)).astype(np.int64), -1)[at]
    event, particle, tracked = event_of(made.objects), np.full(len(flat["eta"]), -1), np.zeros(len(flat["eta"]), bool)
    own = ak.to_numpy(ak.flatten(ak.local_index(made.objects.eta))) < found.counts[event]  # what tracks left follows
    particle[own] = np.where(found.track >= 0, track, make_targets(data, found).particle)
    tracked[own] = found.track >= 0
    place = place_of(e.event, e.particle, event, particle)
    owner = np.where(place >= 0, place, _nearest(event, flat, e, face))
    identity = np.stack([flat[f"p_{name}"] for name in IDENTITIES], 1).argmax(1)
    has_track = tracked & (e.momentum[owner] > 0)
    keep = owner >= 0
    code = identity + len(IDENTITIES) * has_track
    return owner[keep], code[keep], {k: v[keep] for k, v in flat.items()}, owner[own]


def _taken(
    data: ak.Array, found: cand.Candidates, e: Entering, of_object: NDArray, neighbours: NDArray
) -> NDArray[np.int64]:
    """Place among its neighbours of the particle whose object holds most of each particle, -1 for none: (n,)."""
    a, event = ak.flatten(data.associations), event_of(data.associations)
    trackster = flat_index(ak.to_numpy(a.trackster).astype(np.int64), data.tracksters, event)
    shared = ak.to_numpy(a.shared_energy)
    particle = place_of(e.event, e.particle, event, ak.to_numpy(a.particle).astype(np.int64))
    order = np.lexsort((shared, particle))
    order = order[particle[order] >= 0]
    taker = np.full(len(e), -1)
    taker[particle[order]] = of_object[found.of_trackster[trackster[order]]]  # the last, of most energy, stays
    hit = (neighbours == taker[:, None]) & (taker >= 0)[:, None]
    return np.where(hit.any(1), hit.argmax(1), -1)


def _nearest(event: NDArray, flat: dict[str, NDArray], e: Entering, face: float) -> NDArray[np.int64]:
    """The particle nearest to each object on the face of its endcap, -1 where no particle enters it."""
    from scipy.spatial import cKDTree

    apart = 1e6
    r = face / np.sinh(np.abs(flat["eta"]))
    sets = 2 * event + (flat["eta"] > 0)
    points = np.stack([r * np.cos(flat["phi"]), r * np.sin(flat["phi"]), apart * sets], 1)
    tree = cKDTree(np.column_stack([e.position, apart * (2 * e.event + (e.side > 0))]))
    distance, index = tree.query(points)
    return np.where(distance < apart / 2, index, -1)


def joined(parts: list[Pairs]) -> Pairs:
    """Pairs of several files as one."""
    sizes = [len(part.entering) for part in parts]
    starts = np.cumsum([0, *sizes[:-1]])
    events = np.cumsum([0, *(int(part.event.max(initial=-1)) + 1 for part in parts[:-1])])

    def all_of(get: Callable[..., NDArray]) -> NDArray:
        return np.concatenate([get(part) for part in parts])

    flat = {k: all_of(lambda p, k=k: getattr(p.entering, k)) for k in list(Entering.__annotations__)[:-1]}
    e = Entering(
        **flat,
        first=np.concatenate([*(p.entering.first[:-1] + s for p, s in zip(parts, starts)), [sum(sizes)]]),
    )
    shifted = [np.where(p.features.neighbours >= 0, p.features.neighbours + s, -1) for p, s in zip(parts, starts)]
    neighbours = np.concatenate(shifted).astype(np.int32)
    own, pair, around = (all_of(lambda p, k=k: getattr(p.features, k)) for k in ("own", "pair", "around"))
    inputs = Features(own, pair, neighbours, around)
    items = Items(
        np.concatenate([p.items.owner + s for p, s in zip(parts, starts)]),
        all_of(lambda p: p.items.kind),
        all_of(lambda p: p.items.numbers),
    )
    codes = [code for part in parts for code in part.configurations]
    number = np.concatenate([p.event + s for p, s in zip(parts, events)])
    energy, taken, reference = (all_of(lambda p, k=k: getattr(p, k)) for k in ("energy", "taken", "reference"))
    source = np.repeat(np.arange(len(parts)), sizes)
    return Pairs(e, inputs, items, energy, codes, taken, reference, number, source)
