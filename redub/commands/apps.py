"""The typer application and its command groups; each file of commands adds its own commands."""

from __future__ import annotations

import typer

app = typer.Typer(
    name="redub",
    help="Make trained movie dubbers and dubbed clips from folders of footage.",
    no_args_is_help=True,
    add_completion=True,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)


def _group(title: str) -> typer.Typer:
    return typer.Typer(no_args_is_help=True, help=title)


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
