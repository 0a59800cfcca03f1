"""List columns of a record laid flat, with the row of each entry."""

from dataclasses import dataclass

import awkward as ak
import numpy as np
from numpy.typing import NDArray


@dataclass(frozen=True)
class FlatList:
    """A list column laid flat: the fields (n,), the row of each entry (n,), and entries per row (rows,)."""

    fields: dict[str, NDArray]
    row: NDArray
    counts: NDArray

    def __getitem__(self, name: str) -> NDArray:
        return self.fields[name]

    @property
    def starts(self) -> NDArray:
        """Index of the first entry of each row."""
        return np.cumsum(self.counts) - self.counts

    def vectors(self, *names: str) -> NDArray[np.float64]:
        """Fields side by side, (n, k) float64: momenta, vertices."""
        return np.stack([self.fields[name].astype(np.float64) for name in names], axis=1)


def flatten(column: ak.Array) -> FlatList:
    """Lay a column (events, var) of structs flat."""
    counts = ak.to_numpy(ak.num(column)).astype(np.int64)
    entries = ak.flatten(column)
    fields = {name: ak.to_numpy(entries[name]) for name in entries.fields}
    return FlatList(fields, np.repeat(np.arange(len(counts)), counts), counts)
