"""Print what a record file holds, for people."""

import json
from pathlib import Path

import numpy as np

from gen2reco.events import records


def show_file(path: Path, events: int = 2) -> None:
    """Print schema, provenance, column sizes and ranges, and the first events. Raises InputError."""
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if Console().is_terminal else 120)
    record = records.record_of(path)
    table = records.read(path, record)
    with records.open_file(path) as file:
        story = json.loads(records.metadata(file).get("gen2reco.provenance", "{}"))
    size = f"{table.num_rows} events, {path.stat().st_size:,} bytes"
    console.print(f"[bold]{path}[/]: {record}, {size}")
    for stage, facts in story.items():
        info = ", ".join(f"{key} {_brief(value)}" for key, value in facts.get("info", {}).items())
        console.print(f"  {stage}: {facts['backend']} version {facts['version']}, seed {facts['seed']}; {info}")
    columns = Table("column", "type")
    for name in ("entries", "per event", "min", "mean", "max"):
        columns.add_column(name, justify="right")
    for name in table.schema.names:
        for label, values, _ in records.leaves(name, table[name].combine_chunks()):
            columns.add_row(label, str(values.dtype), *_range(values, table.num_rows))
    console.print(columns)
    for event in table.slice(0, events).to_pylist():
        console.print({key: value[:3] if isinstance(value, list) else value for key, value in event.items()})


def _range(values: np.ndarray, events: int) -> tuple[str, ...]:
    if not len(values):
        return "0", "0", "", "", ""
    numbers = values.astype(np.float64)
    spread = (f"{x:.4g}" for x in (numbers.min(), numbers.mean(), numbers.max()))
    return f"{len(values):,}", f"{len(values) / max(events, 1):.4g}", *spread


def _brief(value: object) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    return text if len(text) <= 60 else text[:57] + "..."
