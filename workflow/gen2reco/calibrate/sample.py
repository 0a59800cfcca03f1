"""Training and test samples: candidates of `clusters` files with their inputs and truth, split by event."""

import inspect
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TypeVar

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gen2reco.calibrate import candidates as cand
from gen2reco.calibrate.features import Inputs, make_inputs
from gen2reco.calibrate.objects import Summary, summarise
from gen2reco.calibrate.targets import Targets, make_targets
from gen2reco.detector.geometry import Geometry
from gen2reco.events import records
from gen2reco.run.draws import origins

T = TypeVar("T")
PARTS = {"train": range(0, 14), "tune": range(14, 17), "test": range(17, 20)}
"""Events go to a part by their number modulo 20, draws of one by that of the original event."""


@dataclass(frozen=True)
class Sample:
    """Candidates of several files, flat; `source` and `event` number the files and the events in them.

    `origin`: the original event of each, of which `event` may be one draw of several.
    """

    inputs: Inputs
    plain: Summary
    targets: Targets
    source: NDArray[np.int64]
    event: NDArray[np.int64]
    trackster: NDArray[np.int64]
    """Leading trackster in the event, -1 for a track alone."""
    origin: NDArray[np.int64]

    def __len__(self) -> int:
        return len(self.source)

    def part(self, name: str) -> NDArray[np.bool_]:
        """Mask of the candidates in the events of a part; all draws of an event are in one."""
        return np.isin(self.origin % 20, list(PARTS[name]))


def read_sample(paths: Iterable[Path | str], geometry: Geometry, batch: int = 500) -> Sample:
    """Candidates of `clusters` files. Raises InputError for a file that is none."""
    pieces, source, event, trackster, origin = [], [], [], [], []
    for number, path in enumerate(paths):
        table = records.read(path, "clusters")
        for start in range(0, table.num_rows, batch):
            part = table.slice(start, batch)
            made, candidates = prepare(part, geometry)
            pieces.append(made)
            source.append(np.full(len(candidates), number))
            event.append(part["event"].to_numpy()[candidates.event])
            trackster.append(candidates.trackster)
            origin.append(origins(part)[candidates.event])
    inputs, plain, targets = zip(*pieces)
    return Sample(
        _join_inputs(inputs),
        _join(Summary, plain),
        _join(Targets, targets),
        np.concatenate(source),
        np.concatenate(event),
        np.concatenate(trackster),
        np.concatenate(origin),
    )


def prepare(part: pa.Table, geometry: Geometry) -> tuple[tuple[Inputs, Summary, Targets], cand.Candidates]:
    """Inputs, plain sums and truth of the candidates of a run of events."""
    data = records.awkward(part)
    candidates = cand.build(data, geometry.detector.front_face)
    plain = summarise(data, candidates, geometry)
    inputs = make_inputs(data, candidates, plain, geometry)
    return (inputs, plain, make_targets(data, candidates)), candidates


def _join(cls: type[T], parts: Iterable[T]) -> T:
    parts = list(parts)
    names = inspect.get_annotations(cls)
    return cls(**{name: np.concatenate([getattr(part, name) for part in parts]) for name in names})


def _join_inputs(parts: Iterable[Inputs]) -> Inputs:
    parts = list(parts)
    counts = np.concatenate([np.diff(part.offsets) for part in parts])
    columns = {
        name: np.concatenate([getattr(part, name) for part in parts])
        for name in ("calorimeter", "track", "points", "place", "centre")
    }
    return Inputs(**columns, offsets=np.concatenate([[0], np.cumsum(counts)]))
