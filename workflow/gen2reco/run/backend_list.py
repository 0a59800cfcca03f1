"""The backends of stages with their options in words, for the help of the command line."""

from dataclasses import dataclass
from importlib.metadata import entry_points

from gen2reco.config.field_words import default_of, first_paragraph, kind_of, meaning_of
from gen2reco.errors import first_line
from gen2reco.run.stage import backend_class, backend_names
from gen2reco.run.stage_table import STAGES


@dataclass(frozen=True)
class Listed:
    """A backend of a stage. `text`: what it does, or why it cannot be used; `options`: name, type and default, and
    meaning of each."""

    name: str
    text: str
    options: tuple[tuple[str, str, str], ...] = ()


def names_of(stage: str) -> list[str]:
    """Names of all backends of a stage, the default first; none is imported."""
    announced = [entry.name for entry in entry_points(group=f"gen2reco.{stage}")]
    names = list(dict.fromkeys([*backend_names(stage), *sorted(announced)]))
    return sorted(names, key=lambda name: name != STAGES[stage].backend)


def listed(stage: str) -> list[Listed]:
    """All backends of a stage, the default first."""
    return [_listed(stage, name) for name in names_of(stage)]


def _listed(stage: str, name: str) -> Listed:
    try:
        cls = backend_class(stage, name)
    except Exception as error:  # of another package
        return Listed(name, f"cannot be loaded: {first_line(error)}")
    default = "default; " if name == STAGES[stage].backend else ""
    fields = cls.Options.model_fields.items()
    options = [(key, _type(kind_of(field.annotation), default_of(field)), meaning_of(field)) for key, field in fields]
    gpu = " Computes on a GPU where a campaign says `device: cuda`." if "cuda" in cls.devices else ""
    return Listed(name, f"({default}version {cls.version}) {first_paragraph(cls)}{gpu}", tuple(options))


def _type(kind: str, default: str | None) -> str:
    return f"{kind}, {'required' if default is None else f'default {default}'}".replace("`", "")
