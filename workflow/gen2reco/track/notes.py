"""What MLflow's page of a campaign says in sentences and tables."""

import re
from pathlib import Path
from typing import TYPE_CHECKING

from gen2reco.track.reports import REPORT, Told

if TYPE_CHECKING:
    from gen2reco.track.runs import Run

HERE = "run:"
"""Begins a link of a note to a file among the run's artifacts."""


def campaign_note(lock: dict, runs: "list[Run]", reports: list[Told], results: Path) -> str:
    """What the campaign made and found, in sentences and tables of markdown; links to files of the run begin with
    HERE."""
    samples = lock["samples"]
    events = sum(entry["events"] for entry in samples.values())
    rows = [f"The campaign `{lock['name']}`: {len(samples)} samples, {events:,} events; plan "]
    rows[0] += f"`{lock.get('digest', '-')[:12]}`, seed {lock.get('seed', '-')}."
    groups = sorted(path.parent.relative_to(results).as_posix() for path in (results / REPORT).rglob("report.html"))
    links = [f"[{group.partition('/')[2] or group}]({HERE}{group}/report.html)" for group in groups]
    rows[0] += f" Its reports: {', '.join(links)}." if links else ""
    if any(t.answers.uses for t in reports):
        rows += ["", "| may it stand in for | candidate | for | answer | because of |", "|---|---|---|---|---|"]
        rows += [
            "| " + " | ".join(_cell(text) for text in (t.answers.reference, a.candidate, a.use, a.text, a.why)) + " |"
            for t in reports
            for a in t.answers.uses
        ]
    rows += ["", "| run | state | events | core hours |", "|---|---|---|---|"]
    for run in runs:
        latest = {point.key: point.value for point in run.points}
        events_made, hours = (latest.get(key) for key in ("events", "core_hours"))
        progress = run.tags.get("gen2reco.progress", run.status.lower())
        numbers = [f"{events_made:.0f}" if events_made is not None else "", f"{hours:.3g}" if hours is not None else ""]
        rows.append(f"| {run.name} | {progress} | {numbers[0]} | {numbers[1]} |")
    return "\n".join(rows)


def _cell(text: str) -> str:
    """Text in a table of markdown, without anything that would end its cell or be more than text."""
    return re.sub(r"[|\n<>\[\]`]", " ", text.replace("_", " "))[:300]
