"""Events or particles that a learned backend leaves to a fallback: counted by reason, reported in one line, refused
where all of a run fall back.

Reasons are facts of the sidecar, `fallback_reasons`: {reason: {"count": events or particles, "energy": GeV}}.
"""

from collections.abc import Iterable, Mapping

import numpy as np

from gen2reco.errors import InputError

Reasons = dict[str, dict[str, float]]
CHANCE = 3
"""Fewer events or particles than this may all be outside a model's range by chance."""


def by_reason(reasons: Iterable[str], energy: np.ndarray | None = None) -> Reasons:
    """Count events or particles by the reason of their fallback, with the sum of their `energy`, (n,) float, GeV."""
    names, which = np.unique(np.array(list(reasons), str), return_inverse=True)
    counts: list[dict[str, float]] = [{"count": int(n)} for n in np.bincount(which, minlength=len(names))]
    if energy is not None:
        counts = [c | {"energy": float(e)} for c, e in zip(counts, np.bincount(which, energy, len(names)))]
    return dict(zip(names.tolist(), counts))


def number(reasons: Reasons) -> int:
    """The number of events or particles that fell back."""
    return sum(int(one["count"]) for one in reasons.values())


def energy(reasons: Reasons) -> float:
    """Energy of the particles that fell back, GeV."""
    return sum(one.get("energy", 0.0) for one in reasons.values())


def sentence(reasons: Reasons) -> str:
    """The reasons as text, the most frequent first, with their counts where there are several."""
    if len(reasons) == 1:
        return next(iter(reasons))
    order = sorted(reasons.items(), key=lambda item: (-item[1]["count"], item[0]))
    return ", ".join(f"{reason} ({int(one['count'])})" for reason, one in order)


def refuse_all(who: str, of: str, every: int, reasons: Reasons, remedy: str) -> None:
    """Raises InputError where all of at least CHANCE events or particles fell back."""
    if CHANCE <= every == number(reasons):
        raise InputError(f"{who}: the model knows none of {every} {of}, because of {sentence(reasons)}; {remedy}")


def reasons_of(facts: Mapping) -> Reasons:
    """The fallback reasons among the facts of a chunk, a shard or a sidecar."""
    return facts.get("fallback_reasons", {})
