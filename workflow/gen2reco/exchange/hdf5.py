"""HDF5 files from anywhere: only plain numbers of this very file are read, bounded in size."""

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from numpy.typing import NDArray

from gen2reco.errors import InputError, first_line
from gen2reco.files import regular_file

if TYPE_CHECKING:
    import h5py

MAX_BYTES = 4 << 30
"""Largest dataset, as it lies in memory."""
NUMBERS = "fiu"
"""Kinds of dtype that are plain numbers."""


@contextmanager
def opened(path: Path | str) -> "Iterator[h5py.File]":
    """An HDF5 file for reading. Raises InputError for what is none, and for what h5py stumbles over inside."""
    import h5py

    path = regular_file(path)
    try:
        with h5py.File(path, "r") as file:
            yield file
    except InputError:
        raise
    except (OSError, RuntimeError, KeyError, ValueError, TypeError, MemoryError, UnicodeError) as error:
        raise InputError(f"{path}: no readable HDF5 file: {first_line(error)[:200]}") from None


def dataset(file: "h5py.File", name: str, lists: bool = False) -> "h5py.Dataset":
    """A dataset of numbers, or of lists of them, that lies in the file itself. Raises InputError for a missing one, a
    link out of the file, and one that other files or code would fill."""
    import h5py

    where = f"{file.filename}: `{name}`"
    link = file.get(name, getlink=True)
    if link is None:
        raise InputError(f"{where} is missing; the file holds {', '.join(sorted(file)[:10]) or 'nothing'}")
    if not isinstance(link, h5py.HardLink):
        raise InputError(f"{where} is a link to elsewhere, which is not followed; copy the data into the file")
    found = file[name]
    if not isinstance(found, h5py.Dataset):
        raise InputError(f"{where} is a group, expected a dataset")
    if found.external or found.is_virtual:
        raise InputError(f"{where} lies in other files, which are not read; copy the data into the file")
    if not (_lists(found) if lists else found.dtype.kind in NUMBERS):
        expected = "lists of numbers" if lists else "plain numbers"
        raise InputError(f"{where} is of type {found.dtype}, expected {expected}")
    if not lists and found.size * found.dtype.itemsize > MAX_BYTES:
        raise InputError(f"{where} has shape {found.shape}, more than {MAX_BYTES >> 30} GiB; split the file")
    return found


def _lists(found: "h5py.Dataset") -> bool:
    import h5py

    inner = h5py.check_vlen_dtype(found.dtype)
    return isinstance(inner, np.dtype) and inner.kind in NUMBERS


def numbers(file: "h5py.File", name: str, shape: tuple[int | None, ...]) -> NDArray[np.float64]:
    """All of a dataset, of this shape (None: any length), finite. Raises InputError."""
    found = dataset(file, name)
    if len(found.shape) != len(shape) or any(e is not None and e != n for e, n in zip(shape, found.shape)):
        expected = ", ".join("any" if n is None else str(n) for n in shape)
        raise InputError(f"{file.filename}: `{name}` has shape {found.shape}, expected ({expected})")
    return finite(np.asarray(found[()], np.float64), f"{file.filename}: `{name}`")


def integers(file: "h5py.File", name: str, shape: tuple[int | None, ...]) -> NDArray[np.int64]:
    """All of a dataset of whole numbers, however they are kept. Raises InputError for others."""
    values = numbers(file, name, shape)
    wrong = (values != np.rint(values)) | (np.abs(values) >= 2**31)
    _refuse(wrong, values, f"{file.filename}: `{name}`", "whole numbers of 32 bits")
    return values.astype(np.int64)


def finite(values: NDArray, where: str) -> NDArray:
    """The values. Raises InputError for NaN or infinity among them."""
    _refuse(~np.isfinite(values), values, where, "finite numbers")
    return values


def _refuse(wrong: NDArray[np.bool_], values: NDArray, where: str, expected: str) -> None:
    if wrong.any():
        at = np.argwhere(wrong)[0]
        raise InputError(f"{where}[{', '.join(map(str, at))}] is {values[tuple(at)]:.12g}, expected {expected}")
