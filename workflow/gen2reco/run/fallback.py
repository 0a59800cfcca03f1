"""What a learned backend leaves to another one: counted by reason, said in one line, refused where it is all of a run.

Reasons are facts of the sidecar, `fallback_reasons`: {reason: {"count": events or particles, "energy": GeV}}.
"""

from collections.abc import Iterable, Mapping

import numpy as np

from gen2reco.errors import InputError

Reasons = dict[str, dict[str, float]]
CHANCE = 3
"""Fewer than this may all be outside a model's range by chance."""


def by_reason(reasons: Iterable[str], energy: np.ndarray | None = None) -> Reasons:
    """Count what falls back, with its energy (n,) GeV where there is one."""
    names, which = np.unique(np.array(list(reasons), str), return_inverse=True)
    counts = [{"count": int(n)} for n in np.bincount(which, minlength=len(names))]
    if energy is not None:
        counts = [c | {"energy": float(e)} for c, e in zip(counts, np.bincount(which, energy, len(names)))]
    return dict(zip(names.tolist(), counts))


def number(reasons: Reasons) -> int:
    """How many events or particles fell back."""
    return sum(int(one["count"]) for one in reasons.values())


def energy(reasons: Reasons) -> float:
    """Their energy, GeV."""
    return sum(one.get("energy", 0.0) for one in reasons.values())


def sentence(reasons: Reasons) -> str:
    """Reasons in words, the most frequent first, with their numbers where there are several."""
    if len(reasons) == 1:
        return next(iter(reasons))
    order = sorted(reasons.items(), key=lambda item: (-item[1]["count"], item[0]))
    return ", ".join(f"{reason} ({int(one['count'])})" for reason, one in order)


def refuse_all(who: str, of: str, every: int, reasons: Reasons, remedy: str) -> None:
    """Raises InputError where all of more than a few fell back."""
    if CHANCE <= every == number(reasons):
        raise InputError(f"{who}: the model knows none of {every} {of}, because of {sentence(reasons)}; {remedy}")


def reasons_of(facts: Mapping) -> Reasons:
    """The reasons in the facts of a chunk, a shard or a sidecar."""
    return facts.get("fallback_reasons", {})
