"""Vectors of small whole numbers, one categorical after the other (NADE, arXiv:1605.02226).

Each number is drawn given all before it: their embeddings add up to a running state, which a small network reads.
"""

import torch
from torch import Tensor, nn


class Counts(nn.Module):
    """Models counts (n, n_places) with values below `n_values[place]`, given a condition (n, n_context)."""

    def __init__(self, n_values: list[int], n_context: int, width: int = 96):
        super().__init__()
        self.n_values = n_values
        places, most = len(n_values), max(n_values)
        self.context = nn.Linear(n_context, width)
        self.seen = nn.Parameter(torch.randn(places, most, width) * 0.02)
        self.place = nn.Parameter(torch.randn(places, width) * 0.1)
        self.hidden = nn.Linear(width, width)
        self.logit = nn.Parameter(torch.randn(places, width, most) * width**-0.5)
        self.bias = nn.Parameter(torch.zeros(places, most))
        closed = torch.arange(most)[None] >= torch.tensor(n_values)[:, None]
        self.register_buffer("closed", closed, persistent=False)

    def loss(self, counts: Tensor, condition: Tensor) -> Tensor:
        """Mean negative log-likelihood of a vector: counts (n, n_places) int64, condition (n, n_context)."""
        entry = counts + self.seen.shape[1] * torch.arange(counts.shape[1], device=counts.device)
        embedded = nn.functional.embedding(entry, self.seen.flatten(0, 1))  # (n, places, width)
        before = embedded.cumsum(1) - embedded
        state = before + self.context(condition)[:, None] + self.place
        logits = torch.einsum("npw,pwv->npv", self._read(state), self.logit) + self.bias
        logits = logits.masked_fill(self.closed, -1e9)
        return nn.functional.cross_entropy(logits.flatten(0, 1), counts.flatten(), reduction="sum") / len(counts)

    @torch.no_grad()
    def sample(self, condition: Tensor, noise: torch.Generator, closing: dict[int, Tensor] | None = None) -> Tensor:
        """Draw counts (n, n_places) given the condition (n, n_context).

        `closing`: at these places the count is not drawn but makes the sum of counts times these weights (n_places,)
        vanish over the places so far; the caller drops vectors where it comes out negative or too large.
        """
        state = self.context(condition)
        counts = torch.zeros(len(condition), len(self.n_values), dtype=torch.long, device=condition.device)
        draws = torch.rand(counts.shape, generator=noise).to(condition.device)
        for place, n in enumerate(self.n_values):
            logits = self._read(state + self.place[place]) @ self.logit[place, :, :n] + self.bias[place, :n]
            below = logits.softmax(1).cumsum(1)[:, :-1]
            counts[:, place] = (draws[:, place : place + 1] > below).sum(1)
            if closing and place in closing:
                weights = closing[place][: place + 1]
                counts[:, place] -= (counts[:, : place + 1] @ weights) * weights[place]
            state = state + self.seen[place, counts[:, place].clamp(0, n - 1)]
        return counts

    def _read(self, state: Tensor) -> Tensor:
        h = nn.functional.silu(state)
        return h + nn.functional.silu(self.hidden(h))
