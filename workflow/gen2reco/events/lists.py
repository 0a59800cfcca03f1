"""Lists of a record, one an event, as flat arrays and back: where each list starts, whose entry is whose.

`lists` are awkward arrays of (events, var) values or records; a place counts within an event's list, an index over the
flattened lists of all events.
"""

from collections.abc import Iterable

import awkward as ak
import numpy as np
from numpy.typing import NDArray


def columns(lists: ak.Array, names: Iterable[str]) -> dict[str, NDArray]:
    """Fields of (events, var) records, flat; the buffers themselves where they are in one piece."""
    return {name: flat(lists[name]) for name in names}


def flat(lists: ak.Array) -> NDArray:
    """The values of all lists, one after the other."""
    return np.ascontiguousarray(ak.to_numpy(ak.flatten(lists)))


def sizes(lists: ak.Array) -> NDArray[np.int64]:
    """Entries of each event's list: (n_events,)."""
    return ak.to_numpy(ak.num(lists)).astype(np.int64)


def offsets(lists: ak.Array) -> NDArray[np.int64]:
    """Where the list of each event starts in the flattened lists, and the end: (n_events + 1,)."""
    return starts(sizes(lists))


def starts(counts: NDArray) -> NDArray[np.int64]:
    """Where each group of `counts` (n,) entries starts, and the end: (n + 1,)."""
    return np.concatenate([[0], np.cumsum(counts)]).astype(np.int64)


def members(first: NDArray, chosen: NDArray) -> tuple[NDArray[np.int64], NDArray[np.int64]]:
    """Indices of the items of chosen groups, one group after the other, and the number of items of each: group g holds
    items first[g] to first[g + 1]."""
    sizes = first[chosen + 1] - first[chosen]
    begins = np.repeat(first[chosen] - np.concatenate([[0], np.cumsum(sizes)[:-1]]), sizes)
    return begins + np.arange(sizes.sum()), sizes


def event_of(lists: ak.Array) -> NDArray[np.int64]:
    """Event, from 0, of each entry of the flattened lists."""
    return np.repeat(np.arange(len(lists)), sizes(lists))


def flat_index(place: NDArray, lists: ak.Array, event: NDArray) -> NDArray[np.int64]:
    """Places in their events' lists as indices of the flattened lists; negative ones become -1."""
    return np.where(place >= 0, place + offsets(lists)[event], -1)


def place_in_event(index: NDArray, lists: ak.Array, event: NDArray) -> NDArray[np.int64]:
    """The inverse of `flat_index`."""
    return np.where(index >= 0, index - offsets(lists)[event], -1)


def per_event(event: NDArray, n_events: int, values: NDArray | dict[str, NDArray]) -> ak.Array:
    """Flat values, or the fields of flat records, sorted by event, as one list an event."""
    if isinstance(values, dict):
        content = ak.zip({name: np.ascontiguousarray(column) for name, column in values.items()})
    else:
        content = ak.Array(values)
    return ak.unflatten(content, np.bincount(event, minlength=n_events))
