"""What a model's card says of its quality: nothing until it is judged, then what was measured."""

import re
from collections.abc import Iterable
from pathlib import Path

from gen2reco.files import read_text, write_text
from gen2reco.run.model_folder import CARD, EVALUATION

_OPEN = re.compile(r"\*\*Not validated\*\*: .*?numbers here\.", re.S)
_HEADING = "## On held-out events"
_SECTION = re.compile(rf"{_HEADING}\n.*?(?=\n## |\nDigest: |\Z)", re.S)
_LEFT_OUT = "separation_"
"""Metrics that say what the distances beside them say."""


def not_validated(how: str) -> str:
    """What the card of a model says that nobody has judged. how: the command that compares it."""
    return f"**Not validated**: compare it with its reference by `{how}` before use, and write the numbers here."


def write_judgement(folder: Path, sample: str, metrics: Iterable[dict]) -> None:
    """Put the table of a model's metrics on held-out events, as in its evaluation, into its card."""
    card = read_text(folder / CARD)
    judged = _OPEN.sub(f"Judged on held-out events (`{sample}`): below.", card)
    table = "\n".join(
        [_HEADING, "", f"Sample `{sample}`; separation powers stand in `{EVALUATION}`.", "", *_rows(metrics)]
    )
    if _SECTION.search(judged):
        judged = _SECTION.sub(lambda _: f"{table}\n", judged)
    else:
        before, digest, after = judged.rpartition("\nDigest: ")
        judged = f"{before}\n{table}\n{digest}{after}" if digest else f"{judged.rstrip()}\n\n{table}\n"
    write_text(folder / CARD, judged)


def _rows(metrics: Iterable[dict]) -> list[str]:
    rows = ["| metric | value | uncertainty | floor | units |", "|---|---|---|---|---|"]
    for metric in metrics:
        if _LEFT_OUT not in metric["name"] and metric.get("value") is not None:
            numbers = [_number(metric.get(key)) for key in ("value", "uncertainty", "floor", "n")]
            rows.append(f"| {' | '.join([metric['name'], *numbers])} |")
    return rows


def _number(value: float | None) -> str:
    return "–" if value is None else f"{value:,}" if isinstance(value, int) else f"{value:.4g}"
