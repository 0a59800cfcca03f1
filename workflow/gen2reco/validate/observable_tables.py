"""Tables of observables: n units of one kind with the event, the weight and the values of each."""

from collections.abc import Iterable
from dataclasses import dataclass, field, replace
from typing import Self

import numpy as np
from numpy.typing import NDArray

from gen2reco.statistics.bootstrap import Units


@dataclass(frozen=True)
class ObservableTable:
    """n units of one kind: the event and weight of each (n,), values (n,) and blocks (n, bins) by name.

    `event` is the original one where the events of a sample were drawn several times, `draws` each on average;
    `library` the part of the library that its pile-up comes from (n,), None where there is no pile-up.
    """

    event: NDArray
    weight: NDArray
    values: dict[str, NDArray] = field(default_factory=dict)
    blocks: dict[str, NDArray] = field(default_factory=dict)
    draws: float = 1.0
    library: NDArray | None = None

    def __len__(self) -> int:
        return len(self.event)

    @property
    def group(self) -> NDArray:
        """What is resampled together: (n,) the event of each unit, or with pile-up its part of the library."""
        return self.event if self.library is None else self.library

    @classmethod
    def empty(cls, others: Iterable[Self] = ()) -> Self:
        """A table of no units, with the observables of the first of some others."""
        for other in others:
            return other.select(np.zeros(len(other), bool))
        return cls(np.zeros(0, np.int64), np.zeros(0))

    def units(self, name: str) -> Units:
        """One observable with weights; units where it is not finite, or of no weight, are left out."""
        if name not in self.values:
            raise KeyError(f"a Quantity `{name}` is listed, but `observe` makes no array of that name")
        values = self.values[name].astype(np.float64)
        good = np.isfinite(values) & (self.weight != 0)
        library = None if self.library is None else self.library[good]
        return Units(values[good], self.weight[good], self.event[good], library, self.draws)

    @property
    def weighted_events(self) -> Units:
        """Weights and events of the units, without values."""
        return Units(np.zeros(len(self)), self.weight, self.event, self.library, self.draws)

    def of_sources(self, number: NDArray, source: NDArray, library: NDArray | None = None) -> Self:
        """The same units by original event: the numbers of all events (events,), the source of each, and the part of
        the library that its pile-up comes from."""
        order = np.argsort(number)
        row = order[np.searchsorted(number, self.event, sorter=order)]
        draws = len(number) / max(len(np.unique(source)), 1)
        return replace(self, event=source[row], draws=draws, library=None if library is None else library[row])

    def grouped_as(self, other: Self) -> Self:
        """The same units, resampled with those of a sample of the same events behind pile-up; else unchanged."""
        if self.library is not None or other.library is None:
            return self
        events, first = np.unique(other.event, return_index=True)
        if not np.isin(self.event, events).all():
            return self
        return replace(self, library=other.library[first][np.searchsorted(events, self.event)])

    def features(self, names: Iterable[str], blocks: Iterable[str] = ()) -> NDArray[np.float32]:
        """Values and blocks side by side, (n, k), what is not finite set to -1."""
        columns = [self.values[name][:, None] for name in names] + [self.blocks[name] for name in blocks]
        stacked = np.concatenate(columns, axis=1) if columns else np.zeros((len(self), 0))
        return np.where(np.isfinite(stacked), stacked, -1.0).astype(np.float32)

    def select(self, mask: NDArray) -> Self:
        """The units where `mask` is true."""
        return type(self)(
            self.event[mask],
            self.weight[mask],
            {name: value[mask] for name, value in self.values.items()},
            {name: block[mask] for name, block in self.blocks.items()},
            self.draws,
            None if self.library is None else self.library[mask],
        )


def concatenate(tables: list[ObservableTable]) -> ObservableTable:
    """One table of all units; the tables, one at least, have the same observables."""
    first = tables[0]
    return ObservableTable(
        np.concatenate([table.event for table in tables]),
        np.concatenate([table.weight for table in tables]),
        {name: np.concatenate([table.values[name] for table in tables]) for name in first.values},
        {name: np.concatenate([table.blocks[name] for table in tables]) for name in first.blocks},
        first.draws,
        None if first.library is None else np.concatenate([t.library for t in tables if t.library is not None]),
    )


def row_histograms(
    row: NDArray, values: NDArray, edges: NDArray, rows: int, weights: NDArray | None = None
) -> NDArray[np.float64]:
    """Histogram of the values (n,) of each row: (rows, bins); values outside the edges are left out."""
    bins = np.searchsorted(edges, values, side="right") - 1
    inside = (bins >= 0) & (bins < len(edges) - 1)
    index = row[inside] * (len(edges) - 1) + bins[inside]
    shape = (rows, len(edges) - 1)
    filled = np.bincount(index, None if weights is None else weights[inside], rows * shape[1])
    return filled.reshape(shape).astype(np.float64)
