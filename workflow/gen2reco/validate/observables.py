"""What is measured of each record: quantities, profiles, rates, responses and classifiers, by kind of unit."""

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gen2reco.config.detector import Detector
from gen2reco.config.validation import Validation
from gen2reco.events.truth import Properties
from gen2reco.statistics.profiles import content_and_number
from gen2reco.validate.observable_tables import ObservableTable

if TYPE_CHECKING:
    import pyarrow as pa


@dataclass(frozen=True)
class Quantity:
    """One observable. `log` bins and measures its logarithm; `moments` judges mean and width; not all are `drawn`.

    `optional`: measured where all samples have it.
    """

    name: str
    label: str
    unit: str = ""
    log: bool = False
    moments: bool = False
    drawn: bool = True
    optional: bool = False

    @property
    def axis(self) -> str:
        """Axis label with unit."""
        return f"{self.label} [{self.unit}]" if self.unit else self.label


@dataclass(frozen=True)
class Profile:
    """A block of values per unit: amounts per bin (energy per layer, counts) over bins with the given edges.

    Without edges, bins are the whole numbers from 1, such as layers. `judged`: the mean content of the bins that hold
    95 % of it is compared, not the shape alone.
    """

    name: str
    label: str
    axis: str
    edges: NDArray | None = None
    log: bool = False
    judged: bool = True

    def edges_of(self, block: NDArray) -> NDArray:
        """Edges (bins + 1,) of the bins of a block (n, bins)."""
        return np.arange(block.shape[1] + 1) + 0.5 if self.edges is None else self.edges


@dataclass(frozen=True)
class Trend:
    """The mean of one observable in bins of another, `over`, with the given edges."""

    name: str
    over: str
    label: str
    axis: str
    edges: NDArray
    log: bool = False

    def block(self, table: ObservableTable) -> NDArray:
        """What each unit adds to the bins, then how often it is in them: (n, 2 bins)."""
        return content_and_number(table.values[self.name], table.values[self.over], self.edges)


@dataclass(frozen=True)
class Rate:
    """A yes-or-no value of units whose share is shown against the variables in `over`."""

    name: str
    label: str
    over: tuple[str, ...]


@dataclass(frozen=True)
class Response:
    """A ratio reconstructed / true of units, shown as response and resolution against `over`, with that of `raw`.

    `corrected`: the same after a further correction, measured too where all samples have it.

    `energy` is the column of the true energy. The resolution in its bins is fitted with the three terms of a
    calorimeter if it has `terms`.
    """

    name: str
    label: str
    over: tuple[str, ...]
    energy: str = "energy"
    raw: str | None = None
    corrected: str | None = None
    terms: bool = True


@dataclass(frozen=True)
class Classifier:
    """A set of features of a two-sample test: values, and blocks bin by bin."""

    name: str
    title: str
    values: tuple[str, ...]
    blocks: tuple[str, ...] = ()
    headline: bool = True


@dataclass(frozen=True)
class PartObservables:
    """All that is measured of one kind of unit: showers of photons, jets, whole events.

    FPD and KPD are of the first classifier's features. `pull`: the units have a pull, of which the width is measured;
    `identities`: they have probabilities of the kinds of particle; `energy_axis`: the figures' axis (`curves.AXES`) of
    the column `energy`.
    """

    name: str
    title: str
    quantities: tuple[Quantity, ...] = ()
    profiles: tuple[Profile, ...] = ()
    responses: tuple[Response, ...] = ()
    rates: tuple[Rate, ...] = ()
    classifiers: tuple[Classifier, ...] = ()
    pull: bool = False
    identities: bool = False
    energy_axis: str = "energy"
    trends: tuple[Trend, ...] = ()

    def quantities_of(self, tables: Iterable[ObservableTable]) -> list[Quantity]:
        """The quantities that are measured of some samples."""
        tables = list(tables)
        return [q for q in self.quantities if not q.optional or all(q.name in table.values for table in tables)]


Observe = Callable[["pa.Table", Detector | None, Validation, Properties], dict[str, ObservableTable]]
"""From events of a record to a table for each part."""


@dataclass(frozen=True)
class RecordObservables:
    """What is measured of a record: the columns that `observe` reads, `optional` ones where they are, and the parts.

    `observe` is given a detector, or None where `needs_detector` is false and the files name none.
    """

    record: str
    title: str
    columns: tuple[str, ...]
    parts: tuple[PartObservables, ...]
    observe: Observe
    optional: tuple[str, ...] = ()
    needs_detector: bool = False
