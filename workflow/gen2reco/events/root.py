"""Calibrated objects as a ROOT ntuple: a TTree `Events` with NanoAOD's branches, and a TTree `Runs` to normalise by."""

from collections.abc import Iterable
from dataclasses import astuple, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import awkward as ak
import numpy as np
import pyarrow as pa

from gen2reco.events import records
from gen2reco.events.ntuple import branches
from gen2reco.events.ntuple_branches import RUNS, titles, types
from gen2reco.events.truth import STANDARD, Properties
from gen2reco.files import whole

if TYPE_CHECKING:
    from uproot.writing.writable import WritableFile, WritableTree


@dataclass(frozen=True)
class Generated:
    """What the events of a file were taken from: the entry of the tree `Runs`, in the order of its branches."""

    events: int
    sum_of_weights: float
    sum_of_squares: float
    """NaN where it is not known."""
    cross_section_pb: float = 0.0
    """After the generator's filter; 0: not known."""
    cross_section_error_pb: float = 0.0
    filter_efficiency: float = 1.0
    sqrt_s: float = 0.0
    """GeV; 0: not known."""


def write_root(
    events: pa.Table | Iterable[pa.Table],
    path: Path | str,
    shard: int = 0,
    generated: Generated | None = None,
    properties: Properties = STANDARD,
) -> None:
    """Write an objects table, or several, as TTrees (no RNTuple), atomically; `luminosityBlock` is shard + 1.

    A column `partons`, as in the particles record, adds the hard process to GenPart. generated: the events before any
    was lost; left out: those that are written. Raises InfrastructureError when the folder or disk refuses.
    """
    import uproot

    tables = iter([events] if isinstance(events, pa.Table) else events)
    first = next(tables, records.empty("objects"))
    columns = first.schema.names
    weights = [np.empty(0)]
    with whole(Path(path)) as temporary, uproot.recreate(temporary, compression=uproot.ZSTD(3)) as file:
        tree = make_tree(file, "Events", _parsed(types(columns)), titles(columns), "gen2reco objects")
        for table in (first, *tables):
            weights.append(table["weight"].to_numpy())
            if table.num_rows:
                tree.extend(branches(records.awkward(table), shard, columns, properties))
        runs = make_tree(file, "Runs", {name: how[0] for name, how in RUNS.items()},
                         {name: how[1] for name, how in RUNS.items()}, "what the events were taken from")  # fmt: skip
        entry = (1, *astuple(generated or _written(np.concatenate(weights))))
        runs.extend({name: np.array([value], RUNS[name][0]) for name, value in zip(RUNS, entry)})


def _written(weights: np.ndarray) -> Generated:
    return Generated(len(weights), float(weights.sum()), float((weights**2).sum()))


def _parsed(kinds: dict[str, str]) -> dict[str, Any]:
    return {name: ak.types.from_datashape(kind, highlevel=False) for name, kind in kinds.items()}


def make_tree(
    file: "WritableFile", name: str, kinds: dict[str, Any], meanings: dict[str, str], title: str
) -> "WritableTree":
    """An empty tree whose branches have their meanings as titles. kinds: branch or collection → type, as uproot takes
    them.

    uproot offers no titles of branches: they are set in what it holds of the tree, which is then written anew.
    """
    tree = file.mktree(name, kinds, title=title)
    for branch in tree._cascading._branch_data:
        if meaning := meanings.get(branch.get("fName")):
            branch["fTitle"] = meaning
    tree._cascading._relocate(tree._file, tree._file.sink)
    return tree


__all__ = ["Generated", "branches", "make_tree", "write_root"]
