"""The typer application and its command groups; each file of commands adds its own commands."""

from __future__ import annotations

import shlex
from typing import Any

import typer
from typer.core import TyperGroup

from redub.core.errors import UsageError

app = typer.Typer(
    name="redub",
    help="Make trained movie dubbers and dubbed clips from folders of footage.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


class CommandGroup(TyperGroup):
    """A group of commands; ``-C`` before the command's name is answered with what to type."""

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Refuse ``-C`` and ``--project`` here: every command has them, and its group has not.

        Raises:
            UsageError: with the complete command.
        """
        if args and args[0].partition("=")[0] in ("-C", "--project"):
            place, rest = (args[:1], args[1:]) if "=" in args[0] else (args[:2], args[2:])
            words = (
                rest if rest and rest[0] in self.commands else [next(iter(self.commands)), *rest]
            )
            complete = shlex.join(["redub", str(ctx.info_name), *words, *place])
            raise UsageError(f"{args[0]} comes after the command's name: {complete}")
        return super().parse_args(ctx, args)


def _group(title: str) -> typer.Typer:
    return typer.Typer(no_args_is_help=True, help=title, cls=CommandGroup)


index_app = _group("Build, query and check the emotion index of the reference footage.")
bad_app = _group("List quarantined clips, and release them.")
cache_app = _group("Check and repair the store, and explain its rows.")
runs_app = _group("List, compare, export, import and remove training runs.")
weights_app = _group("Record pretrained weights and tables in models.lock.")
captions_app = _group("Import captions from a file.")
reactions_app = _group("Import reaction texts from a file.")
corpus_app = _group("Turn published corpora into footage folders.")
vocoder_app = _group("Train vocoders, which turn mels into sound.")

GROUPS = {
    "index": index_app,
    "bad": bad_app,
    "cache": cache_app,
    "runs": runs_app,
    "weights": weights_app,
    "captions": captions_app,
    "reactions": reactions_app,
    "corpus": corpus_app,
    "vocoder": vocoder_app,
}
for name, group in GROUPS.items():
    app.add_typer(group, name=name)
