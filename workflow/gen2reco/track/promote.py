"""Shall the candidate become the champion? Judged on the same held-out events by criteria that a campaign states.

Where the registry has no champion, or one that ships, the shipped model of the candidate's kind is the champion.
"""

import math
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from gen2reco.config.block import Block, load_yaml, parse_block
from gen2reco.config.promotion import Criterion
from gen2reco.errors import InputError
from gen2reco.run.evaluations import evaluation
from gen2reco.run.model_folder import EVALUATION, model_digest
from gen2reco.statistics.measured import pull
from gen2reco.track.address import tracking_address
from gen2reco.track.registry import CANDIDATE, CHAMPION, Resolved, resolve
from gen2reco.track.releases import kinds_of, shipped_models
from gen2reco.track.server import connect, explained


class Criteria(Block):
    """The criteria of a campaign: all must hold, and the candidate must be better than the champion in one of them."""

    promotion: list[Criterion] = Field(min_length=1)
    """One entry a metric."""


@dataclass(frozen=True)
class Verdict:
    """One criterion applied."""

    metric: str
    champion: str
    candidate: str
    change: str
    holds: bool
    better: bool


def read_criteria(path: Path | str) -> list[Criterion]:
    """The `promotion` list of a campaign or criteria file. Raises InputError if there is none."""
    found = load_yaml(path)
    if "promotion" not in found:
        raise InputError(
            f"{path}: `promotion` is missing; list the metrics a new model must hold: metric, better, sigmas"
        )
    return parse_block({"promotion": found["promotion"]}, Criteria, str(path)).promotion


@dataclass(frozen=True)
class Decision:
    """The criteria applied, whether the candidate is the champion now, and a line on what it was compared with."""

    verdicts: list[Verdict]
    promoted: bool
    note: str


def compare(candidate: dict, champion: dict | None, criteria: list[Criterion]) -> list[Verdict]:
    """Apply the criteria to two evaluations, or only their limits to one. Raises InputError if two are not of the same
    held-out events, or a metric has no error."""
    if champion is not None:
        for criterion in criteria:
            _check_comparable(candidate, champion, criterion.metric)
    return [_judge(criterion, candidate, champion) for criterion in criteria]


def promote(name: str, criteria: list[Criterion], uri: str | None, results: Path, first: bool = False) -> Decision:
    """Compare the candidate of `name` with its champion; move the alias if all criteria hold and one is a gain.

    Without a champion in the registry it is compared with the shipped model of its kind. Where that cannot be, the
    criteria's limits decide. Raises InputError if there are none and not `first`, and if `first` but there is a
    champion.
    """
    address = tracking_address(results, uri)
    client = connect(address)
    new = resolve(f"models:/{name}@{CANDIDATE}", uri, results)
    with explained(address):
        aliases = client.get_registered_model(name).aliases
    if aliases.get(CHAMPION) == aliases[CANDIDATE]:
        raise InputError(f"model {name}: version {aliases[CANDIDATE]} is candidate and champion already")
    champion = resolve(f"models:/{name}@{CHAMPION}", uri, results) if CHAMPION in aliases else None
    if champion and not _ships(champion):
        old = evaluation(champion.path)
        decision = _against(new, old, criteria, f"the champion, version {aliases[CHAMPION]}", first)
    else:
        decision = first_champion(new, criteria, first)
    if decision.promoted:
        with explained(address):
            client.set_registered_model_alias(name, CHAMPION, aliases[CANDIDATE])
    return decision


def first_champion(new: Resolved, criteria: list[Criterion], first: bool = False) -> Decision:
    """Decide on a candidate where the registry has no champion. Raises InputError where nothing can be judged."""
    verdicts, reasons = compare(evaluation(new.path), None, criteria), []
    for name, folder in shipped_models().items():
        if kinds_of(folder) == kinds_of(new.path):
            if not (reason := _not_comparable(new, folder, criteria)):
                return _against(new, evaluation(folder), criteria, f"the shipped `{name}`", first)
            reasons.append(f"the shipped `{name}` {reason}")
    alone = f"no champion to compare with ({'; '.join(reasons) or 'no model of its kind ships'})"
    limits = [criterion.metric for criterion in criteria if criterion.limit is not None]
    if not limits and not first:
        raise InputError(f"{alone}, and `promotion` states no `limit`; state one, or promote the model with --first")
    by = f"judged by the limits of {', '.join(limits)}" if limits else "not judged"
    return Decision(verdicts, all(v.holds for v in verdicts), f"{alone}; {by}{', by --first' if first else ''}")


def _ships(champion: Resolved) -> bool:
    """Whether a champion is a model that ships, which may not have been judged on anybody's events."""
    return any(model_digest(folder) == champion.digest for folder in shipped_models().values())


def _not_comparable(new: Resolved, shipped: Path, criteria: list[Criterion]) -> str:
    """Why a candidate cannot be compared with a shipped model; empty if it can."""
    if model_digest(shipped) == new.digest:
        return "is this model itself"
    if not (shipped / EVALUATION).is_file():
        return f"has no {EVALUATION}"
    try:
        compare(evaluation(new.path), evaluation(shipped), criteria)
    except InputError as error:
        return f"cannot serve: {error}"
    return ""


def _against(new: Resolved, old: dict, criteria: list[Criterion], whom: str, first: bool) -> Decision:
    """Decide on a candidate by a champion's evaluation. Raises InputError if the two cannot be compared, or `first`."""
    if first:
        raise InputError(f"promotion: --first, but there is {whom}; leave --first out to compare with it")
    verdicts = compare(evaluation(new.path), old, criteria)
    better = all(v.holds for v in verdicts) and any(v.better for v in verdicts)
    return Decision(verdicts, better, f"compared with {whom}")


def _judge(criterion: Criterion, candidate: dict, champion: dict | None) -> Verdict:
    name = criterion.metric
    new = _metric(candidate, name, "candidate")
    sign = 1.0 if criterion.better == "lower" else -1.0
    within = math.isfinite(new[0]) and (criterion.limit is None or sign * (new[0] - criterion.limit) <= 0)
    if champion is None:
        return Verdict(name, "-", _figure(new), "-", within, False)
    old = _metric(champion, name, "champion")
    loss, sigmas = sign * (new[0] - old[0]), sign * pull(old, new)
    change = f"{-sigmas:+.1f} sigma" if math.isfinite(sigmas) else f"{-loss:+.4g}"
    return Verdict(name, _figure(old), _figure(new), change, within and sigmas <= criterion.sigmas, sigmas < -1)


def _check_comparable(candidate: dict, champion: dict, metric: str) -> None:
    """Raises InputError unless a metric of both was measured on the same known events, with an error."""
    events = {}
    for whose, found in (("candidate", candidate), ("champion", champion)):
        error = _metric(found, metric, whose)[1]
        if not (math.isfinite(error) and error >= 0):
            raise InputError(f"promotion: `{metric}` of the {whose} has no uncertainty; judge that model again")
        events[whose] = found["metrics"][metric].get("sample") or found["sample"].get("digest")
        if not events[whose]:
            raise InputError(
                f"promotion: the {whose}'s evaluation does not say on which events `{metric}` was measured (no digest "
                "of the sample); judge that model again"
            )
    if events["candidate"] != events["champion"]:
        raise InputError(
            f"promotion: `{metric}` of candidate and champion was measured on different events "
            f"({events['candidate']} and {events['champion']}); evaluate both on one held-out sample"
        )


def _metric(found: dict, name: str, whose: str) -> tuple[float, float]:
    row = found["metrics"].get(name)
    if row is None:
        known = ", ".join(sorted(found["metrics"]))
        raise InputError(f"promotion: the {whose}'s evaluation has no metric `{name}`; known: {known}")
    error = row.get("uncertainty")
    return float(row["value"]), math.nan if error is None else float(error)


def _figure(value: tuple[float, float]) -> str:
    return f"{value[0]:.4g} ± {value[1]:.2g}"
