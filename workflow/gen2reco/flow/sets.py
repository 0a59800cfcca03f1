"""Sets of items in groups, packed without padding: the condition of a set network."""

from dataclasses import dataclass, replace
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from gen2reco.events.lists import members


@dataclass(frozen=True)
class Sets:
    """A batch of sets. Items lie one after the other, ordered by set, then group; a group may be empty.

    kinds: (n_items,) int64, what each item is.
    counts: (n_sets, n_groups) int64, items in each group.
    context: (n_sets, n_groups, n_context) float32, what is known of each group and its set.
    """

    kinds: Tensor
    counts: Tensor
    context: Tensor

    @property
    def n_sets(self) -> int:
        """Number of sets in the batch."""
        return self.counts.shape[0]

    @cached_property
    def group_sizes(self) -> Tensor:
        """Items per group of the whole batch: (n_sets * n_groups,)."""
        return self.counts.reshape(-1)

    @cached_property
    def group(self) -> Tensor:
        """The group that each item belongs to, numbered over the whole batch: (n_items,)."""
        return torch.repeat_interleave(self.group_sizes)

    @cached_property
    def owner(self) -> Tensor:
        """The set that each item belongs to: (n_items,)."""
        return self.group // self.counts.shape[1]

    def spread(self, values: Tensor) -> Tensor:
        """A value of each set, (n_sets, ...), given to its items: (n_items, ...)."""
        return values[self.owner]

    def to(self, device: torch.device | str) -> "Sets":
        """The same sets on another device."""
        return replace(
            self, kinds=self.kinds.to(device), counts=self.counts.to(device), context=self.context.to(device)
        )


def group_sums(values: Tensor, sets: Sets) -> Tensor:
    """Sum of the items' values in each group: (n_items, d) to (n_sets * n_groups, d)."""
    total = values.new_zeros((len(sets.group_sizes), values.shape[1]))
    return total.index_add(0, sets.group, values)


@dataclass(frozen=True)
class SetData:
    """Sets kept in memory for training.

    x: (n_items, dim) float32 coordinates. kinds: (n_items,). counts: (n_sets, n_groups).
    context: (n_sets, n_groups, n_context) float32.
    """

    x: np.ndarray
    kinds: np.ndarray
    counts: np.ndarray
    context: np.ndarray

    def __len__(self) -> int:
        return len(self.counts)

    @cached_property
    def first(self) -> np.ndarray:
        """Index of the first item of each set, and the number of items: (n_sets + 1,)."""
        return np.concatenate([[0], np.cumsum(self.counts.sum(1))])

    def take(self, chosen: np.ndarray) -> "SetData":
        """The chosen sets, some of them perhaps several times."""
        at = self.items(chosen)
        return SetData(self.x[at], self.kinds[at], self.counts[chosen], self.context[chosen])

    def items(self, chosen: np.ndarray) -> np.ndarray:
        """Indices of the items of the chosen sets, in their order."""
        return members(self.first, chosen)[0]

    def batch(self, chosen: np.ndarray, device: torch.device | str = "cpu") -> tuple[Tensor, Sets]:
        """Coordinates and condition of the chosen sets."""
        at = self.items(chosen)
        sets = Sets(
            torch.from_numpy(self.kinds[at].astype(np.int64)),
            torch.from_numpy(self.counts[chosen].astype(np.int64)),
            torch.from_numpy(self.context[chosen]),
        )
        return torch.from_numpy(self.x[at]).to(device), sets.to(device)
