"""Vectors of small whole numbers, one categorical after the other (NADE, arXiv:1605.02226).

Each number is drawn given all before it: their embeddings add up to a running state, which a small network reads.
"""

from collections.abc import Callable

import torch
from torch import Tensor, nn

ROWS = 512
"""Vectors drawn at a time when few are left."""
TRIES = 20_000
"""Draws of one vector after which its constraints count as impossible."""


class Counts(nn.Module):
    """Models counts (n, n_places) with values below `n_values[place]`, given a condition (n, n_context).

    It starts from a closed form (`fit_start`): a mean linear in the counts before and in the condition; about it a
    Conway-Maxwell-Poisson distribution of fixed dispersion for common places, odds of one (and more) for rare ones.
    The network learns what is missing.
    """

    def __init__(self, n_values: list[int], n_context: int, width: int = 96):
        super().__init__()
        self.n_values = n_values
        places, most = len(n_values), max(n_values)
        self.context = nn.Linear(n_context, width)
        self.seen = nn.Parameter(torch.randn(places, most, width) * 0.02)  # the name of the weight in released models
        self.place = nn.Parameter(torch.randn(places, width) * 0.1)
        self.hidden = nn.Linear(width, width)
        self.logit = nn.Parameter(torch.zeros(places, width, most))
        self.bias = nn.Parameter(torch.zeros(places, most))
        self.register_buffer("linear", torch.zeros(places, places + n_context + 1))
        self.register_buffer("dispersion", torch.ones(places))
        self.register_buffer("more", torch.zeros(places))
        self.register_buffer("rare", torch.zeros(places))
        values = torch.arange(most).float()
        self.register_buffer("values", values, persistent=False)
        self.register_buffer("log_factorial", torch.lgamma(values + 1), persistent=False)
        self._is_rare: list[bool] = []  # as plain numbers, for sampling place by place
        self.register_buffer("closed", values[None] >= torch.tensor(n_values)[:, None], persistent=False)

    @property
    def embedding(self) -> Tensor:
        """Embedding of each value at each place: (n_places, n_values, width)."""
        return self.seen

    @torch.no_grad()
    def fit_start(self, counts: Tensor, condition: Tensor, ridge: float = 10.0, rare: float = 0.35) -> None:
        """Least squares, place by place, on counts (n, n_places) and conditions (n, n_context)."""
        places = counts.shape[1]
        x = torch.cat([counts.double(), condition.double(), torch.ones(len(counts), 1, dtype=torch.float64)], 1)
        gram = x.T @ x
        for place in range(places):
            used = torch.cat([torch.arange(place), torch.arange(places, x.shape[1])])
            normal = gram[used][:, used] + ridge * torch.eye(len(used), dtype=torch.float64)
            weights = torch.linalg.solve(normal, gram[used, place])
            self.linear[place, used] = weights.float()
            left = (counts[:, place] - x[:, used] @ weights).square().mean()
            self.dispersion[place] = (counts[:, place].double().mean() / left.clamp(min=1e-3)).clamp(0.3, 5)
            none, one, two = (((counts[:, place] == n).sum() + 0.5).log() for n in range(3))
            self.more[place] = none + two - 2 * one
            self.rare[place] = float(counts[:, place].double().mean() < rare)

    def _start(self, mean: Tensor, places: slice) -> Tensor:
        """Logits of the closed form: mean (n, k) at k places to (n, k, n_values)."""
        if places.stop is not None and places.stop - places.start == 1:
            chosen = self._odds if self._is_rare[places.start] else self._bell
            return chosen(mean, places).masked_fill(self.closed[places], -1e9)
        logits = torch.where(self.rare[places, None] > 0, self._odds(mean, places), self._bell(mean, places))
        return logits.masked_fill(self.closed[places], -1e9)

    def _bell(self, mean: Tensor, places: slice) -> Tensor:
        nu = self.dispersion[places]  # mean = rate - (nu - 1) / (2 nu), about
        rate = (mean + (nu - 1) / (2 * nu)).clamp(min=0.05)[..., None]
        return nu[:, None] * (self.values * rate.log() - self.log_factorial)

    def _odds(self, mean: Tensor, places: slice) -> Tensor:
        v = self.values
        return torch.logit(mean.clamp(1e-5, 0.97))[..., None] * v + self.more[places, None] * v * (v - 1) / 2

    def loss(self, counts: Tensor, condition: Tensor) -> Tensor:
        """Mean negative log-likelihood of a vector: counts (n, n_places) int64, condition (n, n_context)."""
        entry = counts + self.embedding.shape[1] * torch.arange(counts.shape[1], device=counts.device)
        embedded = nn.functional.embedding(entry, self.embedding.flatten(0, 1))  # (n, places, width)
        before = embedded.cumsum(1) - embedded
        state = before + self.context(condition)[:, None] + self.place
        x = torch.cat([counts.float(), condition, condition.new_ones(len(condition), 1)], 1)
        start = self._start(x @ self.linear.T, slice(None))
        logits = torch.einsum("npw,pwv->npv", self._read(state), self.logit) + self.bias + start
        return nn.functional.cross_entropy(logits.flatten(0, 1), counts.flatten(), reduction="sum") / len(counts)

    def draw(
        self,
        condition: Tensor,
        noise: torch.Generator,
        accept: Callable[[Tensor], Tensor],
        closing: dict[int, Tensor],
        totals: dict[int, int] | None = None,
    ) -> tuple[Tensor, int]:
        """Counts (n, n_places) that `accept` (n, n_places) -> (n,) bool, and how many draws it took beyond one a
        vector. Vectors that are not accepted are drawn again, many at a time, and the first good one is kept. Raises
        ArithmeticError where none is in TRIES draws."""
        n = len(condition)
        counts = torch.zeros(n, len(self.n_values), dtype=torch.long, device=condition.device)
        todo, drawn, again = torch.arange(n, device=condition.device), 0, 0
        while len(todo):
            if drawn > TRIES:
                raise ArithmeticError(f"no counts in {drawn} draws fulfil what they must conserve")
            many = min(max(ROWS // len(todo), 1), 64)
            tried = self.sample(condition[todo].repeat_interleave(many, 0), noise, closing, totals)
            good = accept(tried).view(-1, many)
            first, found = good.int().argmax(1), good.any(1)
            counts[todo] = tried.view(len(todo), many, -1)[torch.arange(len(todo), device=todo.device), first]
            again += int(torch.where(found, first, many).sum())
            todo, drawn = todo[~found], drawn + many
        return counts, again

    @torch.no_grad()
    def sample(
        self,
        condition: Tensor,
        noise: torch.Generator,
        closing: dict[int, Tensor] | None = None,
        totals: dict[int, int] | None = None,
    ) -> Tensor:
        """Draw counts (n, n_places) given the condition (n, n_context).

        `closing`: at these places the count is not drawn but makes the sum of counts times these weights (n_places,)
        over the places so far the one in `totals`, else zero. A vector is kept with the probability that the model
        gives this count, over that of the likeliest count; others, and those with an impossible count, get a negative
        one there: the caller draws them again, and what is kept is distributed as the model under the constraint.
        """
        self._is_rare = (self.rare > 0).tolist()
        state = self.context(condition)
        counts = torch.zeros(len(condition), len(self.n_values), dtype=torch.long, device=condition.device)
        draws = torch.rand(counts.shape, generator=noise).to(condition.device)
        x = torch.cat([counts.float(), condition, condition.new_ones(len(condition), 1)], 1)
        for place, n in enumerate(self.n_values):
            start = self._start((x @ self.linear[place])[:, None], slice(place, place + 1))[:, 0, :n]
            logits = self._read(state + self.place[place]) @ self.logit[place, :, :n] + self.bias[place, :n] + start
            chance = logits.softmax(1)
            if closing and place in closing:
                total = (totals or {}).get(place, 0)
                weights = closing[place].double()  # GPUs have no matrix products of whole numbers
                due = ((total - counts[:, :place].double() @ weights[:place]) * weights[place]).long()
                given = chance.gather(1, due.clamp(0, n - 1)[:, None])[:, 0] / chance.max(1).values
                kept = (due >= 0) & (due < n) & (draws[:, place] < given)
                counts[:, place] = torch.where(kept, due, -1)
            else:
                counts[:, place] = (draws[:, place : place + 1] > chance.cumsum(1)[:, :-1]).sum(1)
            x[:, place] = counts[:, place].float()
            state = state + self.embedding[place, counts[:, place].clamp(0, n - 1)]
        return counts

    def _read(self, state: Tensor) -> Tensor:
        h = nn.functional.silu(state)
        return h + nn.functional.silu(self.hidden(h))
