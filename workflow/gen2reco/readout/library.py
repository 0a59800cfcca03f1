"""A library of pile-up: the deposits of finished shards, checked, and laid flat in files mapped into memory."""

import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import IO, Any

import numpy as np
import pyarrow as pa
from numpy.typing import NDArray

from gen2reco.config.detector import Detector
from gen2reco.detector.digitise import Deposits, deposits_of
from gen2reco.detector.geometry import Geometry, decode
from gen2reco.detector.made_with import check_geometry
from gen2reco.errors import InputError
from gen2reco.events import records
from gen2reco.events.arrow import numbers
from gen2reco.events.checks import check_values
from gen2reco.readout.crossing import turned
from gen2reco.readout.simulated import simulated

NO_DEPOSITS = "a library without deposits; simulate it with `keep_deposits: true`"
FILTERED = "a library of filtered events, which no crossing is made of; generate it without `filter`"
OVERSAMPLED = "an oversampled sample, which holds the same particles again and again, is no library"
ROWS = 100
"""Events of a library that are read at once."""
COLUMNS = ["event", "weight", "deposits"]
Crossing = tuple[NDArray[np.uint64], NDArray[np.float64], NDArray[np.float64]]
"""Cell, energy (GeV) and time (ns) of deposits."""


class Library:
    """Minimum-bias events of record files; the signal's provenance is `story`.

    Raises InputError for a file without deposits, of another geometry, of filtered or weighted events, of the signal
    itself, or of an oversampled sample.
    """

    def __init__(self, files: Sequence[Path], detector: Detector, story: Mapping[str, Any]):
        self.files, self.geometry = files, Geometry(detector)
        self._events = 0
        for file in files:
            self._events += _check_file(Path(file), detector, story)

    def __len__(self) -> int:
        return self._events

    def check_holds(self, largest: int) -> None:
        """Raises InputError for fewer events than the largest crossing."""
        if len(self) < largest:
            raise InputError(f"{self.files[0]}: {too_small(len(self), largest)}")

    def lay_flat(self, scale: float = 1.0) -> None:
        """Copy the deposits, merged per event and cell and times `scale`, to unnamed files that are mapped into
        memory. Raises InputError for weights that differ, and for cells that the detector does not have."""
        starts, weights = [0], []
        stores = [tempfile.TemporaryFile() for _ in range(3)]  # noqa: SIM115 - live as long as their mappings
        for file in self.files:
            for events in records.Source(file, "hits", COLUMNS).tables(ROWS):
                merged = _merged(events, self.geometry, str(file))
                starts += (starts[-1] + np.searchsorted(merged.event, np.arange(1, len(events) + 1))).tolist()
                weights.append(numbers(events["weight"]))
                columns = merged.cell, (merged.energy * scale).astype(np.float32), merged.time.astype(np.float32)
                for store, values in zip(stores, columns):
                    store.write(np.ascontiguousarray(values).data)
        self._check_weights(np.concatenate([np.zeros(0), *weights]))
        self._starts = np.array(starts)
        kinds = (np.uint64, np.float32, np.float32)
        self._columns = [_mapped(store, kind, starts[-1]) for store, kind in zip(stores, kinds)]

    def crossing(self, number: int, rng: np.random.Generator, part: int = 0, parts: int = 1) -> tuple[int, Crossing]:
        """The deposits of so many events of a part, none of them twice, each turned by quarter turns: how many events,
        and (n_deposits,) cells, energies, times. Raises InputError for more than there are.

        Every `parts`-th event from number `part` on is in the part.
        """
        held = len(range(part, len(self), parts))
        if number > held:
            raise InputError(f"a crossing of {number} interactions, but there are {held} events of the library for it")
        chosen = part + parts * rng.choice(held, number, replace=False)
        quarters = rng.integers(0, 4, number)
        spans = [slice(self._starts[i], self._starts[i + 1]) for i in chosen]
        cell, energy, time = (
            np.concatenate([values[:0], *(values[span] for span in spans)]) for values in self._columns
        )
        turns = np.repeat(quarters, [span.stop - span.start for span in spans])
        return number, (turned(cell, turns), energy.astype(np.float64), time.astype(np.float64))

    def _check_weights(self, weights: NDArray) -> None:
        if len(weights) and (weights != weights[0]).any():
            raise InputError(
                f"{self.files[0]}: library events of different weights ({weights.min():g} to {weights.max():g}), which "
                "a crossing cannot have; generate the library without weights"
            )


def _merged(events: pa.Table, geometry: Geometry, source: str) -> Deposits:
    """The deposits of some events, one for each cell. Raises InputError for bad values."""
    check_values(events, "hits", source)
    found = deposits_of(records.awkward(events.select(["deposits"])).deposits)
    at = decode(found.cell)
    if not geometry.exists(at.layer, at.ix, at.iy).all():
        raise InputError(
            f"{source}: holds cells that detector `{geometry.detector.name}` does not have: a library of another "
            "geometry; simulate it in this detector"
        )
    return Deposits(found.event, found.cell, np.full(len(found), -1), found.energy, found.time).merged()


def _mapped(store: IO[bytes], kind: type, length: int) -> NDArray:
    store.flush()
    return np.asarray(np.memmap(store, kind, "r", shape=(length,))) if length else np.zeros(0, kind)


def _check_file(file: Path, detector: Detector, story: Mapping[str, Any]) -> int:
    """The events of a library file. Raises InputError where it is none."""
    with records.open_file(file, "hits") as opened:
        names, rows = opened.schema_arrow.names, opened.metadata.num_rows
    if "source" in names:
        raise InputError(f"{file}: {OVERSAMPLED}")
    if "deposits" not in names:
        raise InputError(f"{file}: {NO_DEPOSITS}")
    own = records.Source(file, "hits", COLUMNS).story
    made = simulated(own, f"metadata of {file}")
    check_geometry(made.detector if made else None, detector, str(file))
    generated = own.get("generate") or {}
    if _filtered(generated.get("options", {})) or generated.get("info", {}).get("filter_efficiency", 1.0) != 1.0:
        raise InputError(f"{file}: {FILTERED}")
    if generated and _origin(generated) == _origin(story.get("generate") or {}):
        raise InputError(f"{file}: the library is the signal sample itself; give one of its own seed or name")
    return rows


def _filtered(options: Mapping[str, Any]) -> bool:
    process = options.get("process")
    return isinstance(process, Mapping) and process.get("filter") is not None


def _origin(generated: Mapping[str, Any]) -> list:
    return [generated.get(key) for key in ("backend", "options", "seed", "sample")]


def too_small(events: int, largest: int) -> str:
    """What to say of a library that is too small."""
    return (
        f"a library of {events} events is too small: the largest crossing holds {largest} interactions, none of them "
        "twice; make at least so many events, better twenty times the mean"
    )


def check_chain_of_library(name: str, library: dict, stages: dict[str, dict], largest: int) -> None:
    """The same as far as the plan knows it: `library` is the sample's entry, `stages` are those of the signal. Raises
    InputError."""
    made = library["stages"]
    what = f"`library: {name}`"
    if "simulate" not in made:
        raise InputError(f"{what}: the sample has no `simulate` stage; give it one that keeps deposits")
    simulate = made["simulate"]["options"]
    if any(entry.get("oversample", 1) > 1 for entry in made.values()):
        raise InputError(f"{what}: {OVERSAMPLED}")
    if simulate.get("keep_deposits") is False:
        raise InputError(f"{what}: {NO_DEPOSITS}")
    if _filtered(made["generate"]["options"]):
        raise InputError(f"{what}: {FILTERED}")
    if made["generate"]["owner"] == stages["generate"]["owner"]:
        raise InputError(f"{what}: the library is the signal sample itself, or is like it; name another sample")
    if library["events"] < largest:
        raise InputError(f"{what}: {too_small(library['events'], largest)}")
