"""Shall the candidate become the champion? Judged on the same held-out events by criteria that a campaign states."""

import math
from dataclasses import dataclass
from pathlib import Path

from pydantic import Field

from gen2reco.config.block import Block, load_yaml, parse_block
from gen2reco.config.promotion import Criterion
from gen2reco.errors import InputError
from gen2reco.statistics.measured import pull
from gen2reco.track.address import tracking_address
from gen2reco.track.registry import CANDIDATE, CHAMPION, evaluation, resolve
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


def compare(candidate: dict, champion: dict | None, criteria: list[Criterion]) -> list[Verdict]:
    """Apply the criteria to two evaluations. Raises InputError if they are not of the same held-out events."""
    for criterion in criteria:
        events = [_sample(found, criterion.metric) for found in (candidate, champion) if found is not None]
        if events[0] != events[-1]:
            raise InputError(
                f"promotion: `{criterion.metric}` of candidate and champion was measured on different events "
                f"({events[0]} and {events[-1]}); evaluate both on one held-out sample"
            )
    return [_judge(criterion, candidate, champion) for criterion in criteria]


def promote(name: str, criteria: list[Criterion], uri: str | None, results: Path) -> tuple[list[Verdict], bool]:
    """Compare the candidate of `name` with its champion; move the alias if all criteria hold and one is a gain.

    Without a champion the criteria's limits alone decide. Returns the verdicts and whether the alias moved.
    """
    address = tracking_address(results, uri)
    client = connect(address)
    new = resolve(f"models:/{name}@{CANDIDATE}", uri, results)
    with explained(address):
        aliases = client.get_registered_model(name).aliases
    if aliases.get(CHAMPION) == aliases[CANDIDATE]:
        raise InputError(f"model {name}: version {aliases[CANDIDATE]} is candidate and champion already")
    old = evaluation(resolve(f"models:/{name}@{CHAMPION}", uri, results).path) if CHAMPION in aliases else None
    verdicts = compare(evaluation(new.path), old, criteria)
    moved = all(v.holds for v in verdicts) and (old is None or any(v.better for v in verdicts))
    if moved:
        with explained(address):
            client.set_registered_model_alias(name, CHAMPION, aliases[CANDIDATE])
    return verdicts, moved


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


def _sample(found: dict, metric: str) -> str:
    """The digest of the events on which a metric was measured."""
    return str(found["metrics"].get(metric, {}).get("sample") or found["sample"].get("digest"))


def _metric(found: dict, name: str, whose: str) -> tuple[float, float]:
    row = found["metrics"].get(name)
    if row is None:
        known = ", ".join(sorted(found["metrics"]))
        raise InputError(f"promotion: the {whose}'s evaluation has no metric `{name}`; known: {known}")
    return float(row["value"]), float(row.get("uncertainty") or 0.0)


def _figure(value: tuple[float, float]) -> str:
    return f"{value[0]:.4g} ± {value[1]:.2g}"
