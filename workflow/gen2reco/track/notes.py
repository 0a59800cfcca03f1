"""What MLflow's page of a campaign says in sentences and tables."""

import re
from pathlib import Path

from gen2reco.track.reports import REPORT, Told

HERE = "run:"
"""Begins a link of a note to a file among the run's artifacts."""


def campaign_note(lock: dict, runs: list[tuple[str, ...]], reports: list[Told], results: Path) -> str:
    """What the campaign made and found, in sentences and tables of markdown; links to files of the run begin with
    HERE. `runs`: name, state, events and core hours of each."""
    samples = lock["samples"]
    events = sum(entry["events"] for entry in samples.values())
    rows = [f"The campaign `{lock['name']}`: {len(samples)} samples, {events:,} events; plan "]
    rows[0] += f"`{lock.get('digest', '-')[:12]}`, seed {lock.get('seed', '-')}."
    groups = sorted(path.parent.relative_to(results).as_posix() for path in (results / REPORT).rglob("report.html"))
    links = [f"[{group.partition('/')[2] or group}]({HERE}{group}/report.html)" for group in groups]
    rows[0] += f" Its reports: {', '.join(links)}." if links else ""
    if any(t.answers.uses for t in reports):
        rows += ["", "| may it stand in for | candidate | for | answer | because of |", "|---|---|---|---|---|"]
        for t in reports:
            for a in t.answers.uses:
                texts = (t.answers.reference, a.candidate, a.use.replace("_", " "), a.text, a.why)
                rows.append(f"| {' | '.join(map(_cell, texts))} |")
    rows += ["", "| run | state | events | core hours |", "|---|---|---|---|"]
    rows += [f"| {' | '.join(run)} |" for run in runs]
    return "\n".join(rows)


def _cell(text: str) -> str:
    """Text in a table of markdown, without anything that would end its cell or be more than text."""
    return re.sub(r"[|\n<>\[\]`]", " ", text)[:300]
