"""What the values of a record must be: finite, energies and momenta that fit, indices and lengths in range."""

import numpy as np
import pyarrow as pa

from gen2reco.errors import InputError
from gen2reco.events.arrow import leaves
from gen2reco.events.schemas import INDICES, LENGTHS, NOT_NEGATIVE

RELATIVE, ABSOLUTE = 1e-4, 1e-3
"""By how much |p| may exceed E: a share of E and GeV. Event files often hold six digits, and version 1 of `particles`
seven; both stay below a tenth of this, and what it lets pass changes no flight or shower."""

Leaf = tuple[np.ndarray, np.ndarray]
"""Flat values and their places by row."""


def check_values(events: pa.Table, record: str, source: str) -> None:
    """Check the values of a table that has the record's types. Raises InputError naming the first bad event."""
    found: dict[str, Leaf] = {}
    for name in events.schema.names:
        column = events[name].combine_chunks()
        found |= {label: (values, places) for label, values, places in leaves(name, column)}
    checker = _Checker(found, source)
    checker.numbers()
    if checker.event is not None:
        distinct(checker.event, source)
    checker.momenta()
    for label, target, least in INDICES[record]:
        checker.indices(label, target, least)
    for label, target in LENGTHS[record]:
        checker.lengths(label, target)
    checker.weights()


def distinct(numbers: np.ndarray, source: str) -> None:
    """Raises InputError for an event number that is there twice."""
    found, count = np.unique(numbers, return_counts=True)
    if len(found) < len(numbers):
        at = int(np.argmax(count > 1))
        raise InputError(
            f"{source}: event number {found[at]} is there {count[at]} times, expected once; number the events anew"
        )


class _Checker:
    """The leaves of a table by label, and the file they are of."""

    def __init__(self, found: dict[str, Leaf], source: str):
        self.found, self.source = found, source
        self.event = found["event"][0] if "event" in found else None

    def numbers(self) -> None:
        """Finite, and not negative where the name says so."""
        for label, (values, _) in self.found.items():
            if values.dtype.kind != "f":
                continue
            self._refuse(label, ~np.isfinite(values), "a finite number")
            if label in NOT_NEGATIVE:
                self._refuse(label, values < 0, "an energy >= 0")

    def momenta(self) -> None:
        """|p| not above E."""
        names = [f"particles.{name}" for name in ("px", "py", "pz", "energy")]
        if not {*names} <= {*self.found}:
            return
        x, y, z, energy = (self.found[name][0] for name in names)
        most = energy * (1 + RELATIVE) + ABSOLUTE
        bad = x * x + y * y + z * z > most * most
        if bad.any():
            at = int(np.argmax(bad))
            momentum = float(np.sqrt(x[at] ** 2 + y[at] ** 2 + z[at] ** 2))
            self._say(names[3], at, f"momentum {momentum:.7g} GeV, energy {energy[at]:.7g} GeV", "|p| <= E")

    def indices(self, label: str, target: str, least: int) -> None:
        """Each in [least, length of the target's list)."""
        if label not in self.found or (size := self._sizes(target)) is None:
            return
        values, places = self.found[label]
        limit = np.repeat(size, np.diff(places))
        bad = (values < least) | (values >= limit)
        if bad.any():
            at = int(np.argmax(bad))
            raise InputError(
                f"{self._where(label, at)} points outside `{target}`: {values[at]}, of {limit[at]}; "
                "the file is inconsistent"
            )

    def lengths(self, label: str, target: str) -> None:
        """One value for each entry of the target."""
        own, size = self._sizes(label), self._sizes(target)
        if own is None or size is None or (own == size).all():
            return
        at = int(np.argmax(own != size))
        raise InputError(
            f"{self.source}: event {self._number(at)}: `{label}` holds {own[at]} values, expected one for each of the "
            f"{size[at]} of `{target}`; the file is inconsistent"
        )

    def weights(self) -> None:
        """As many in each event."""
        own = self._sizes("weights")
        if own is not None and len(own) and (own != own[0]).any():
            at = int(np.argmax(own != own[0]))
            raise InputError(
                f"{self.source}: event {self._number(at)}: `weights` holds {own[at]} values, expected {own[0]} as in "
                "the first event; remake the file"
            )

    def _sizes(self, column: str) -> np.ndarray | None:
        """The number of entries of a list column by row; None if it is not here."""
        leaf = next((leaf for label, leaf in self.found.items() if label.partition(".")[0] == column), None)
        return None if leaf is None else np.diff(leaf[1])

    def _refuse(self, label: str, bad: np.ndarray, expected: str) -> None:
        if bad.any():
            at = int(np.argmax(bad))
            self._say(label, at, str(self.found[label][0][at]), expected)

    def _say(self, label: str, at: int, value: str, expected: str) -> None:
        raise InputError(f"{self._where(label, at)} = {value}, expected {expected}; remake or drop the event")

    def _where(self, label: str, at: int) -> str:
        """File, event and field of a flat value."""
        row = int(np.searchsorted(self.found[label][1], at, side="right")) - 1
        return f"{self.source}: event {self._number(row)}: `{label}`"

    def _number(self, row: int) -> int:
        return row if self.event is None else int(self.event[row])
