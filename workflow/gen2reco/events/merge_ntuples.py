"""Merge the ntuples of a sample's shards into one ROOT file: every tree, entry after entry, shard after shard."""

from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import awkward as ak
import numpy as np

from gen2reco.errors import InputError
from gen2reco.events.root import make_tree
from gen2reco.files import whole

if TYPE_CHECKING:
    import uproot

STEP = "50 MB"


def merge(files: list[Path], output: Path) -> dict[str, int]:
    """Merge the ntuples of a sample's shards; returns the entries of each tree.

    `luminosityBlock` stays the shard + 1, a tree with an entry per shard has them all. Raises InputError where files
    differ in their branches, and where an event stands twice.
    """
    import uproot

    entries: dict[str, int] = {}
    types: dict[str, dict] = {}
    seen: list[np.ndarray] = []
    with whole(output) as temporary, uproot.recreate(temporary, compression=uproot.ZSTD(3)) as out:
        for number, path in enumerate(files):
            with _opened(path) as file:
                trees = file.keys(cycle=False, filter_classname="TTree")
                if number and sorted(trees) != sorted(entries):
                    raise InputError(f"{path}: has trees {', '.join(trees)}, {files[0]} has {', '.join(entries)}")
                for name in trees:
                    entries[name] = entries.get(name, 0) + _append(out, file[name], types, path)
                seen.append(_numbers(file))
        numbers = np.concatenate(seen)
        if len(np.unique(numbers, axis=0)) != len(numbers):
            raise InputError(f"{files[0].parent}: an event stands in two of its ntuples; run the campaign again")
    return entries


def _opened(path: Path) -> "uproot.ReadOnlyDirectory":
    import uproot

    try:
        return uproot.open(path)
    except (OSError, ValueError, uproot.exceptions.KeyInFileError) as error:
        raise InputError(f"{path}: no ROOT file, run the campaign to make it again: {error}") from None


def _append(out: "uproot.WritableDirectory", tree: "uproot.TTree", types: dict[str, dict], path: Path) -> int:
    """Append the entries of a tree to that of the same name, which is made for the first file; returns their number.
    types: tree → branch or collection → its type."""
    name, groups = tree.name, _groups(tree.keys())
    found = {key: _type(tree, key, fields) for key, fields in groups.items()}
    if name not in types:
        types[name] = found
        make_tree(out, name, found, {branch.name: branch.title for branch in tree.branches}, tree.title)
    if odd := sorted(key for key in {*found, *types[name]} if str(found.get(key)) != str(types[name].get(key))):
        raise InputError(f"{path}: `{odd[0]}` of `{name}` is not as in the first ntuple; publish all by one release")
    for arrays in _steps(tree):
        out[name].extend({key: _zipped(arrays, key, fields) for key, fields in groups.items()})
    return tree.num_entries


def _steps(tree: "uproot.TTree") -> Iterator[ak.Array]:
    if tree.num_entries:
        yield from tree.iterate(step_size=STEP, library="ak")


def _groups(branches: list[str]) -> dict[str, list[str]]:
    """Branch → [] for a plain one, and collection → its fields for those that `n<collection>` counts."""
    counters = [name[1:] for name in branches if name.startswith("n")]
    counted = [name for name in counters if any(branch.startswith(f"{name}_") for branch in branches)]
    groups: dict[str, list[str]] = {}
    for name in branches:
        collection = next((c for c in counted if name.startswith(f"{c}_")), None)
        if collection:
            groups.setdefault(collection, []).append(name.removeprefix(f"{collection}_"))
        elif name[1:] not in counted:
            groups[name] = []
    return groups


def _type(tree: "uproot.TTree", key: str, fields: list[str]) -> Any:
    """The type of a branch, or of the structs of a collection."""
    if not fields:
        return _number_type(tree[key])
    inner = ", ".join(f"{field}: {_number_type(tree[f'{key}_{field}'])}" for field in fields)
    return ak.types.from_datashape(f"var * {{{inner}}}", highlevel=False)


def _number_type(branch: "uproot.TBranch") -> str:
    kind = branch.interpretation
    kind = getattr(kind, "content", kind)
    return np.dtype(kind.to_dtype).newbyteorder("=").name


def _zipped(arrays: ak.Array, key: str, fields: list[str]) -> ak.Array:
    return ak.zip({field: arrays[f"{key}_{field}"] for field in fields}) if fields else arrays[key]


def _numbers(file: "uproot.ReadOnlyDirectory") -> np.ndarray:
    """(events, 3): run, luminosityBlock and event of each event."""
    if "Events" not in file:
        return np.empty((0, 3), np.uint64)
    arrays = file["Events"].arrays(["run", "luminosityBlock", "event"], library="np")
    return np.stack([arrays[name].astype(np.uint64) for name in ("run", "luminosityBlock", "event")], axis=1)
