"""One live view of a campaign: progress of every step, time left, and the end of the log of what failed."""

import os
import time
from typing import TYPE_CHECKING

from gen2reco.batch.lost_jobs import Attempt, failed_attempts
from gen2reco.batch.status import driver_line, notices, unfinished, whether
from gen2reco.batch.steps import RUNNING, STALE, Step, all_steps, complete
from gen2reco.campaign.exclusive import last_holder
from gen2reco.campaign.made import FAILED, Made
from gen2reco.campaign.plan import Plan, read_plan
from gen2reco.paths import LOCK_NAME

if TYPE_CHECKING:
    from rich.console import Console, Group

EVERY_SECONDS = 2.0
MOST_TAILS = 3


def watch(plan: Plan) -> bool:
    """Show a campaign until it is complete; returns whether it is. On a terminal the view is live, and ends with
    Ctrl-C as well; elsewhere a view is printed where something has changed, until the driver is gone."""
    from rich.console import Console
    from rich.live import Live

    console = Console(width=None if Console().is_terminal else 130)
    if not console.is_terminal:
        return _print_changes(plan, console)
    with Live(console=console, auto_refresh=False) as live:
        while True:
            began = time.monotonic()
            steps, view = look(plan)
            live.update(view, refresh=True)
            if complete(steps):
                return True
            time.sleep(max(EVERY_SECONDS, 5 * (time.monotonic() - began)))
            plan = read_plan(plan.folder / LOCK_NAME)


def _print_changes(plan: Plan, console: "Console") -> bool:
    before: list[tuple] = []
    while True:
        steps, view = look(plan)
        now = [(step.what, step.name, step.finished, step.states[FAILED]) for step in steps]
        if now != before:
            console.print(view)
        if complete(steps) or not last_holder(plan.folder)[1]:
            return complete(steps)
        before = now
        time.sleep(EVERY_SECONDS)
        plan = read_plan(plan.folder / LOCK_NAME)


def look(plan: Plan) -> tuple[list[Step], "Group"]:
    """The steps of a campaign as they are now, and the view of them."""
    from rich.console import Group
    from rich.progress_bar import ProgressBar
    from rich.table import Table
    from rich.text import Text

    made = Made(plan)
    steps = all_steps(plan, made)
    table = Table("sample", "step", "", title=f"{plan.lock['name']}, revision {plan.lock['revision']}")
    for column in ("done", "at work", "failed", "stale", "left"):
        table.add_column(column, justify="right")
    for step in steps:
        bar = ProgressBar(total=max(step.total, 1), completed=step.finished if step.total else 1, width=20)
        counts = [str(step.states[state] or "") for state in (RUNNING, FAILED, STALE)]
        table.add_row(
            step.what,
            step.name,
            bar,
            f"{step.finished}/{step.total}",
            *counts,
            "" if step.complete else _duration(step.seconds),
        )
    lines = [*notices(plan, made), *_end(plan, steps)]
    tails = [line for attempt in _failed(plan, steps) for line in _tail(attempt)]
    return steps, Group(table, *(Text(line) for line in (*lines, *tails)))


def _end(plan: Plan, steps: list[Step]) -> list[str]:
    """When a campaign will be complete, by the rates of its finished jobs, else by those known here."""
    if complete(steps):
        return whether(plan, steps)
    left = [step for step in steps if not step.complete]
    untimed = ", ".join(f"{step.what} {step.name}" for step in left if step.seconds is None)
    at_once = sum(step.states[RUNNING] for step in steps) or os.cpu_count() or 1
    seconds = sum(step.seconds for step in left if step.seconds is not None) / at_once
    text = f"time left: {_duration(seconds) or 'unknown'} with {at_once} jobs at once"
    return [*whether(plan, steps)[:1], text + (f", without {untimed}" if untimed else ""), driver_line(plan)]


def _failed(plan: Plan, steps: list[Step]) -> list[Attempt]:
    return failed_attempts(plan, unfinished(steps))[:MOST_TAILS]


def _tail(attempt: Attempt) -> list[str]:
    return [f"failed: {attempt}; the end of {attempt.log}:", *(f"    {line[:200]}" for line in attempt.tail())]


def _duration(seconds: float | None) -> str:
    if seconds is None:
        return "?"
    minutes = round(seconds / 60)
    hours = f"{minutes // 60}:{minutes % 60:02d} h"
    return hours if minutes >= 60 else f"{minutes} min" if minutes else f"{seconds:.0f} s" if seconds else ""
