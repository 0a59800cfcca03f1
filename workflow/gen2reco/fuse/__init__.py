"""Simulation and reconstruction in a single step: backends that go from particles straight to objects."""

BACKENDS: dict[str, str] = {}
