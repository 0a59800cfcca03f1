"""Print what a record file holds, for people."""

from pathlib import Path

import numpy as np

from gen2reco.events import records

PAGE = records.ROWS
"""Events that sizes and ranges are of: the file is not read to its end."""


def show_file(path: Path, events: int = 2) -> None:
    """Print schema, provenance, column sizes and ranges of the first page, and the first events. Raises InputError."""
    from rich.console import Console
    from rich.table import Table

    console = Console(width=None if Console().is_terminal else 120, markup=False)
    source = records.Source(path)
    page = source.slice(0, max(PAGE, events))
    size = f"{source.num_rows} events, {path.stat().st_size:,} bytes"
    version = source.metadata.get(records.SCHEMA_KEY, f"{source.record}, no version declared")
    console.print(f"{path}: {version}, {size}", style="bold")
    for stage, facts in source.story.items():
        info = ", ".join(f"{_brief(key)} {_brief(value)}" for key, value in facts["info"].items())
        made = f"{facts['backend']} version {facts['version']}, seed {facts.get('seed')}"
        console.print(f"  {_brief(stage)}: {_brief(made)}; {info}")
    title = f"the first {page.num_rows} events" if page.num_rows < source.num_rows else None
    columns = Table("column", "type", title=title)
    for name in ("entries", "per event", "min", "mean", "max"):
        columns.add_column(name, justify="right")
    for name in page.schema.names:
        for label, values, _ in records.leaves(name, page[name].combine_chunks()):
            columns.add_row(label, str(values.dtype), *_range(values, page.num_rows))
    console.print(columns)
    for event in page.slice(0, events).to_pylist():
        console.print({key: value[:3] if isinstance(value, list) else value for key, value in event.items()})


def _range(values: np.ndarray, events: int) -> tuple[str, ...]:
    if not len(values):
        return "0", "0", "", "", ""
    numbers = values.astype(np.float64)
    spread = (f"{x:.4g}" for x in (numbers.min(), numbers.mean(), numbers.max()))
    return f"{len(values):,}", f"{len(values) / max(events, 1):.4g}", *spread


def _brief(value: object) -> str:
    text = f"{value:.6g}" if isinstance(value, float) else str(value)
    text = "".join(sign if sign.isprintable() else "?" for sign in text[:61])
    return text if len(text) <= 60 else text[:57] + "..."
