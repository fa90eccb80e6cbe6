"""The command groups of the command line."""

from __future__ import annotations

import typer

app = typer.Typer(
    name="redub",
    help="Folders of footage in, trained movie dubbers and dubbed clips out.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


index_app = typer.Typer(no_args_is_help=True, help="The emotion index over the reference footage.")


bad_app = typer.Typer(no_args_is_help=True, help="Clips that were set aside, and why.")


cache_app = typer.Typer(no_args_is_help=True, help="What is stored, why, and whether it is whole.")


runs_app = typer.Typer(no_args_is_help=True, help="Training runs.")


weights_app = typer.Typer(
    no_args_is_help=True, help="Outside weights and tables, pinned in models.lock."
)


captions_app = typer.Typer(no_args_is_help=True, help="Captions that were written elsewhere.")


reactions_app = typer.Typer(no_args_is_help=True, help="Reactions that were written elsewhere.")


corpus_app = typer.Typer(no_args_is_help=True, help="Published corpora as footage folders.")


vocoder_app = typer.Typer(no_args_is_help=True, help="Vocoders: what makes mels audible.")

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
