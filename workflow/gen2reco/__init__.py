"""gen2reco: from hard partons to calibrated, validated collider events, each step reference or learned.

Every stage is a function here, on awkward arrays and without files: `gen2reco.generate(process, events=10)`, and
`gen2reco.simulate(particles, backend="geant4")` and so on, as docs/python.ipynb shows.
"""

import sys
from importlib import import_module
from types import ModuleType
from typing import Any

__version__ = "0.1.0"


class _Room(ModuleType):
    """The room of a stage, which is the stage's function too; `gen2reco.door` says how it is called."""

    @property
    def __doc__(self) -> str:  # type: ignore[override]
        """What the stage does, from the table of stages."""
        return import_module("gen2reco.door").describe(self.__name__.rpartition(".")[2])

    @property
    def __signature__(self) -> Any:
        """The parameters, for `inspect.signature`."""
        return import_module("gen2reco.door").signature(self.__name__.rpartition(".")[2])

    def __call__(self, *given: Any, **options: Any) -> Any:
        """Do the stage."""
        return import_module("gen2reco.door").call(self.__name__.rpartition(".")[2], *given, **options)


class _Package(ModuleType):
    """The package, whose rooms of stages are functions, and are imported when they are first used."""

    def __setattr__(self, name: str, value: object) -> None:
        """Set by the import of a submodule, too."""
        if isinstance(value, ModuleType) and hasattr(value, "BACKENDS"):
            value.__class__ = _Room
        super().__setattr__(name, value)

    def __getattr__(self, name: str) -> Any:
        """A stage that was not used yet."""
        table = None if name.startswith("_") else import_module("gen2reco.run.stage_table")
        if table is None or name not in table.STAGES:
            raise AttributeError(f"gen2reco has no `{name}`")
        if table.is_built_in(name):
            import_module(f"gen2reco.{name}")
        else:
            setattr(self, name, _Room(f"gen2reco.{name}"))
        return self.__dict__[name]

    def __dir__(self) -> list[str]:
        """With the stages."""
        return sorted({*super().__dir__(), *import_module("gen2reco.run.stage_table").STAGES})


sys.modules[__name__].__class__ = _Package
