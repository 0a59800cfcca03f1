"""`gen2reco backends`, the help of stages on their backends, and what a shell completes."""

from collections.abc import Callable
from pathlib import Path

import click
from click.shell_completion import CompletionItem

from gen2reco.errors import InputError
from gen2reco.run.backend_list import listed, names_of
from gen2reco.run.stage_table import STAGES


class StageCommand(click.Command):
    """The command of a stage, whose help lists the backends and their options; they are imported for it alone."""

    def format_epilog(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        """Write the backends below the options of the command."""
        write_backends(formatter, str(self.name))


def write_backends(formatter: click.HelpFormatter, stage: str) -> None:
    """Write a section for each backend of a stage: what it does, and its options with types and defaults."""
    for backend in listed(stage):
        with formatter.section(f"Backend {backend.name}"):
            formatter.write_text(backend.text)
            if rows := [(f"--option {key}=", f"{kind}. {meaning}") for key, kind, meaning in backend.options]:
                formatter.write_dl(rows)


@click.command()
@click.argument("stage", required=False, shell_complete=lambda ctx, param, begin: _items(STAGES, begin))
def backends(stage: str | None) -> None:
    """List the backends of STAGE, or of all stages, with their options, types and defaults."""
    if stage is not None and stage not in STAGES:
        raise InputError(f"there is no stage `{stage}`; known: {', '.join(STAGES)}")
    formatter = click.HelpFormatter(width=110)
    for name in [stage] if stage else STAGES:
        with formatter.section(f"{name}: {STAGES[name].step}"):
            write_backends(formatter, name)
    click.echo(formatter.getvalue().rstrip())


def _items(names: "list[str] | dict", begin: str) -> list[CompletionItem]:
    return [CompletionItem(name) for name in names if name.startswith(begin)]


Completer = Callable[[click.Context, click.Parameter, str], list[CompletionItem]]


def backend_names_of(stage: str) -> Completer:
    """Completes the backends of a stage."""
    return lambda ctx, param, begin: _items(names_of(stage), begin)


def option_keys_of(stage: str) -> Completer:
    """Completes `KEY=` of the options of the backend that the line names, or of the stage's own."""

    def complete(ctx: click.Context, param: click.Parameter, begin: str) -> list[CompletionItem]:
        wanted = ctx.params.get("backend") or STAGES[stage].backend
        keys = [f"{key}=" for one in listed(stage) if one.name == wanted for key, _, _ in one.options]
        return _items(keys, begin)

    return complete


def sample_names(ctx: click.Context, param: click.Parameter, begin: str) -> list[CompletionItem]:
    """Completes the samples of the plan or campaign that the line names."""
    from gen2reco.config.block import load_json, load_yaml
    from gen2reco.files import MAX_TEXT

    for key in ("plan", "lock", "campaign"):
        if path := ctx.params.get(key):
            try:
                held = load_json(path, MAX_TEXT) if Path(path).suffix == ".json" else load_yaml(path)
            except InputError:
                return []
            return _items(list(held.get("samples") or {}), begin)
    return []


def profile_names(ctx: click.Context, param: click.Parameter, begin: str) -> list[CompletionItem]:
    """Completes the profiles of this folder and of the checkout."""
    folders = [Path("profiles"), Path(__file__).parents[3] / "profiles"]
    return _items(sorted({path.name for folder in folders if folder.is_dir() for path in folder.iterdir()}), begin)
