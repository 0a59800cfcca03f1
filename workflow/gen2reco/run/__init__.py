"""Run one stage: backends, chunks, seeds, sidecars, model folders."""
