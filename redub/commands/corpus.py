"""Commands that import captions, reactions and corpora."""

from __future__ import annotations

import shlex
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from redub.commands.apps import captions_app, corpus_app, reactions_app
from redub.commands.console import finish, progress_bar, put, say
from redub.commands.invocation import HERE, command
from redub.commands.options import Json, ProjectDir, project_of
from redub.core.errors import UsageError


@captions_app.command("import")
def captions_import(
    file: Annotated[Path, typer.Argument(help='JSON lines: {"clip_id", "scene", "face"}')],
    project: ProjectDir = HERE,
    as_json: Json = False,
) -> None:
    """Import captions; [features.scene_caption] backend = "import" then uses them."""
    from redub.pipeline.imports.captions import import_captions
    from redub.pipeline.store.lock import project_lock

    root = project_of(project).root
    with project_lock(root):
        done = import_captions(root, file)
    if as_json:
        put(done, schema="captions.import")
    say(f"{done.rows} rows: {done.texts['scene']} scene and {done.texts['face']} face captions")
    say(f"{done.without} of {done.clips} clips have no caption")
    say(f"{len(done.strange)} ids are not known")
    following = command("extract", project=project)
    say('set backend = "import" under [features.scene_caption] in redub.toml')
    finish(0, following)


@reactions_app.command("import")
def reactions_import(
    file: Annotated[Path, typer.Argument(help='JSON lines: {"clip_id", "reaction"}')],
    project: ProjectDir = HERE,
    as_json: Json = False,
) -> None:
    """Import reaction texts; [features.reaction] backend = "import" then uses them."""
    from redub.pipeline.imports.reactions import import_reactions
    from redub.pipeline.store.lock import project_lock

    root = project_of(project).root
    with project_lock(root):
        done = import_reactions(root, file)
    if as_json:
        put(done, schema="reactions.import")
    say(f"{done.rows} reactions; {len(done.strange)} ids are not known")
    say(f"{done.without} of {done.clips} clips with words have no reaction")
    following = command("extract", project=project)
    say('set backend = "import" under [features.reaction] in redub.toml')
    finish(0, following)


@corpus_app.command("prepare")
def corpus_prepare(
    layout: Annotated[str, typer.Argument(help="v2c | chem | grid | ravdess")],
    source: Annotated[Path, typer.Argument(help="folder of the unpacked corpus")],
    target: Annotated[Path, typer.Argument(help="the new footage folder")],
    lists: Annotated[
        list[str] | None,
        typer.Option("--list", help="SPLIT=FILE, a published split list (repeatable)"),
    ] = None,
    placing: Annotated[str, typer.Option("--place", help="auto | hardlink | copy")] = "auto",
    rights: Annotated[
        str, typer.Option(help="terms of use, for the column `rights` of cast.csv")
    ] = "",
    as_json: Json = False,
) -> None:
    """Make a footage folder (media, subtitles, tables) from a published corpus."""
    from redub.footage.corpora.prepare import prepare_corpus

    with progress_bar("prepare", "lines") as bar:
        done = prepare_corpus(
            layout,
            source,
            target,
            lists=_split_lists(lists or ()),
            placing=placing,  # type: ignore[arg-type]  # prepare_corpus checks the value
            rights=rights,
            progress=bar,
        )
    if as_json:
        put(done, schema="corpus.prepare")
    say(f"{done.lines} lines of {done.speakers} speakers")
    say(f"{done.triples} lines have an adjacent line before and after")
    say(f"{done.without_words} without words; {done.facts} files of facts read")
    for why, number in done.skipped.items():
        say(f"skipped: {number} × {why}")
    for note in done.notes:
        say(f"note: {note}")
    say(f"{done.folder}/{done.report} says what became of every file")
    folder = Path(done.folder).resolve()  # `redub init` takes no -C
    finish(0, shlex.join(["redub", "init", f"{folder}.redub", "--footage", str(folder)]))


def _split_lists(items: Sequence[str]) -> dict[str, Path]:
    """Split name to the file of its list, from ``SPLIT=FILE``."""
    lists: dict[str, Path] = {}
    for item in items:
        split, sign, path = item.partition("=")
        if not sign or not split or not path:
            raise UsageError(f"--list is '{item}'; wanted SPLIT=FILE, like train=train.txt")
        lists[split] = Path(path)
    return lists
