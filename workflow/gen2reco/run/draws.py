"""Several draws of the same events by a stage that draws at random, and the columns that link events to their origin.

Draw d of k of event e has the number e * k + d and the weight w / k; column `source` keeps e. Every later stage carries
that column on, so that statistics can resample sources, not draws.
"""

import numpy as np
import pyarrow as pa

from gen2reco.errors import InputError
from gen2reco.events import records
from gen2reco.events.arrow import numbers
from gen2reco.events.schemas import LINKS, OPTIONAL


def draw(source: records.Source, start: int, stop: int, times: int) -> pa.Table:
    """Rows [start, stop) of the draws of all events of a file, the draws of an event next to each other.

    With `times` = 1 they are the events as they are. Raises InputError for event numbers whose draws do not fit int64.
    """
    if times == 1:
        return source.slice(start, stop)
    first = start // times
    events = source.slice(first, -(-stop // times))
    row = np.arange(start, stop)
    events = events.take(pa.array(row // times - first))
    number = numbers(events["event"])
    if len(number) and int(np.abs(number).max()) > (2**63 - 1) // times - 1:
        raise InputError(
            f"{source.path}: event number {number[np.abs(number).argmax()]} is too large for {times} draws an event; "
            "number the events anew"
        )
    made = {"event": number * times + row % times, "weight": numbers(events["weight"]) / times}
    if "source" not in events.schema.names:
        made["source"] = number
    for name, values in made.items():
        column = pa.array(values)
        at = events.schema.get_field_index(name)
        field = pa.field(name, column.type, nullable=False)
        events = events.append_column(field, column) if at < 0 else events.set_column(at, field, column)
    return events


def linked(made: pa.Table, events: pa.Table | None, record: str) -> pa.Table:
    """The rows that a stage made of events, with the links of these events that the record may hold."""
    names = [] if events is None else [name for name in links(events, record) if name not in made.schema.names]
    if not names or events is None or "event" not in made.schema.names:
        return made
    kept = np.isin(numbers(events["event"]), numbers(made["event"]))
    for name in names:
        column = events[name].filter(pa.array(kept))
        if len(column) == made.num_rows:  # else the numbers are wrong, which the check of the result tells
            made = made.append_column(pa.field(name, column.type, nullable=False), column)
    return made


def links(events: pa.Table, record: str) -> list[str]:
    """The links of events that a record may hold."""
    return [name for name in LINKS if name in events.schema.names and name in OPTIONAL[record]]


def origins(events: pa.Table) -> np.ndarray:
    """The original event of each row, (n,) int64: `source` of an oversampled sample, else `event`."""
    return numbers(events["source" if "source" in events.schema.names else "event"])


def library_parts(events: pa.Table) -> np.ndarray | None:
    """The part of the library that the pile-up of each row comes from, (n,); None where there is no pile-up, or the
    library was too small to be split."""
    return numbers(events["library_part"]) if "library_part" in events.schema.names else None
