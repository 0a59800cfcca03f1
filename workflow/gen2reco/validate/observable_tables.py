"""Sheets: the observables of many like units (events, showers, jets), the common currency of comparison."""

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import Self

import numpy as np
from numpy.typing import NDArray

from gen2reco.statistics.bootstrap import Units


@dataclass(frozen=True)
class Quantity:
    """One observable. `log` bins and measures its logarithm; `moments` judges mean and width; not all are `drawn`."""

    name: str
    label: str
    unit: str = ""
    log: bool = False
    moments: bool = False
    drawn: bool = True

    @property
    def axis(self) -> str:
        """Axis label with unit."""
        return f"{self.label} [{self.unit}]" if self.unit else self.label


@dataclass(frozen=True)
class Profile:
    """A block of values per unit: amounts per bin (energy per layer, counts) over bins with the given edges.

    `judged`: the mean content of the bins that hold 95 % of it is compared, not the shape alone.
    """

    name: str
    label: str
    axis: str
    edges: NDArray
    log: bool = False
    judged: bool = True


@dataclass(frozen=True)
class Sheet:
    """n units of one kind: the event and weight of each (n,), values (n,), blocks (n, bins)."""

    event: NDArray
    weight: NDArray
    values: dict[str, NDArray] = field(default_factory=dict)
    blocks: dict[str, NDArray] = field(default_factory=dict)

    def __len__(self) -> int:
        return len(self.event)

    @classmethod
    def like(cls, others: list[dict[str, "Sheet"]], name: str) -> Self:
        """A sheet of no units with the observables that another sample has under this name."""
        for sheets in others:
            if name in sheets:
                return sheets[name].select(np.zeros(len(sheets[name]), bool))
        return cls(np.zeros(0, np.int64), np.zeros(0))

    @property
    def events(self) -> int:
        """Number of different events."""
        return len(np.unique(self.event))

    def units(self, name: str) -> Units:
        """One observable with weights, units where it is not finite or weighs nothing left out."""
        values = self.values[name].astype(np.float64)
        good = np.isfinite(values) & (self.weight != 0)
        return Units(values[good], self.weight[good], self.event[good])

    def features(self, names: Iterable[str], blocks: Iterable[str] = ()) -> NDArray[np.float32]:
        """Values and blocks side by side, (n, k), what is not finite set to -1."""
        columns = [self.values[name][:, None] for name in names] + [self.blocks[name] for name in blocks]
        stacked = np.concatenate(columns, axis=1) if columns else np.zeros((len(self), 0))
        return np.where(np.isfinite(stacked), stacked, -1.0).astype(np.float32)

    def select(self, mask: NDArray) -> Self:
        """The units where `mask` is true."""
        return Sheet(
            self.event[mask],
            self.weight[mask],
            {name: value[mask] for name, value in self.values.items()},
            {name: block[mask] for name, block in self.blocks.items()},
        )


def concatenate(sheets: list[Sheet]) -> Sheet:
    """One sheet of the same observables after the other."""
    if not sheets:
        return Sheet(np.zeros(0, np.int64), np.zeros(0))
    return Sheet(
        np.concatenate([sheet.event for sheet in sheets]),
        np.concatenate([sheet.weight for sheet in sheets]),
        {name: np.concatenate([sheet.values[name] for sheet in sheets]) for name in sheets[0].values},
        {name: np.concatenate([sheet.blocks[name] for sheet in sheets]) for name in sheets[0].blocks},
    )


@dataclass(frozen=True)
class Rate:
    """A yes-or-no value of units whose share is shown against the variables in `over`."""

    name: str
    label: str
    over: tuple[str, ...]


@dataclass(frozen=True)
class Response:
    """A ratio reconstructed / true of units, shown as response and resolution against `over`; `raw` beside it."""

    name: str
    label: str
    over: tuple[str, ...]
    energy: str = "energy"
    raw: str | None = None


@dataclass(frozen=True)
class Classifier:
    """A set of features that a two-sample test sees."""

    name: str
    title: str
    values: tuple[str, ...]
    blocks: tuple[str, ...] = ()
    headline: bool = True
