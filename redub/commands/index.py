"""Commands of the emotion index: ``redub index ...``."""

from __future__ import annotations

import math
from pathlib import Path
from typing import Annotated

import typer

from redub.commands.apps import index_app
from redub.commands.console import OK, QUARANTINED, finish, put, say, table
from redub.commands.invocation import HERE, command
from redub.commands.options import (
    Films,
    Json,
    Less,
    Like,
    More,
    ProjectDir,
    Unlike,
    notes_of,
    project_of,
)
from redub.core.errors import UsageError


@index_app.command("build")
def index_build(
    compact: Annotated[
        bool, typer.Option("--compact", help="index all clips anew, in as few pieces as possible")
    ] = False,
    project: ProjectDir = HERE,
) -> None:
    """Stage 3: build the library and its index from the training split; only what is new."""
    from redub.pipeline.stages.index import run_index

    summary = run_index(project_of(project), compact=compact)
    for line in summary.lines():
        say(line)
    finish(0, command("retrieve", project=project))


@index_app.command("query")
def index_query(
    clip: Annotated[str, typer.Argument(help="a clip id")],
    modality: Annotated[str, typer.Option(help="scene | face | text | all")] = "all",
    k: Annotated[int | None, typer.Option("-k", "--k", help="how many neighbours")] = None,
    more: More = None,
    less: Less = None,
    like: Like = None,
    unlike: Unlike = None,
    film: Films = None,
    project: ProjectDir = HERE,
    as_json: Json = False,
) -> None:
    """The neighbours of one clip, with scores, and with a director's notes, if any."""
    from redub.pipeline.work.query import query_clip

    notes = notes_of(more, less, like, unlike, film)
    answer = query_clip(project_of(project), clip, modality=modality, k=k, notes=notes)
    if as_json:
        put({"clip": clip, "neighbours": answer}, schema="index.query")
        return
    for name, hits in answer.items():
        say(f"{name}:")
        table(
            ["rank", "score", "margin", "clip", "speaker", "emotion", "text"],
            [
                [
                    h.rank,
                    f"{h.score:.4f}",
                    _margin(h.margin),
                    h.clip_id,
                    h.speaker,
                    h.emotion,
                    h.text,
                ]
                for h in hits
            ],
        )


def _margin(margin: float) -> str:
    return "" if math.isnan(margin) else f"{margin:+.4f}"


@index_app.command("excluded")
def index_excluded(
    clip: Annotated[str, typer.Argument(help="a clip id")],
    unlike: Unlike = None,
    film: Films = None,
    project: ProjectDir = HERE,
    as_json: Json = False,
) -> None:
    """Every library clip that may not be retrieved for a clip, and why."""
    from redub.pipeline.work.query import excluded_clips

    notes = notes_of(None, None, None, unlike, film)
    found = excluded_clips(project_of(project), clip, notes=notes)
    if as_json:
        put({"clip": clip, "excluded": found}, schema="index.excluded")
        return
    table(["clip", "why"], [[name, ", ".join(why)] for name, why in found.items()])


@index_app.command("explain")
def index_explain(
    clip: Annotated[str, typer.Argument(help="a clip id")],
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="the page (default: CLIP.casting.html)")
    ] = None,
    k: Annotated[int | None, typer.Option("-k", "--k", help="how many neighbours")] = None,
    more: More = None,
    less: Less = None,
    like: Like = None,
    unlike: Unlike = None,
    film: Films = None,
    project: ProjectDir = HERE,
) -> None:
    """Write the casting sheet of a clip: who was retrieved for it, who was not, and why."""
    from redub.pipeline.reports.index.casting_sheet import write_casting_sheet

    notes = notes_of(more, less, like, unlike, film)
    opened = project_of(project)
    page = output or opened.root / f"{clip}.casting.html"
    say(f"wrote {write_casting_sheet(opened, clip, page, k=k, notes=notes)}")


@index_app.command("map")
def index_map(
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="the page (default: map.html)")
    ] = None,
    modality: Annotated[str, typer.Option(help="audio | scene | face | text")] = "audio",
    media: Annotated[str, typer.Option(help="auto | all | none: what is embedded")] = "auto",
    count: Annotated[int, typer.Option(help="with auto: clips with sound and picture")] = 400,
    project: ProjectDir = HERE,
) -> None:
    """Write the emotion map: the library drawn flat, playable, with what it lacks named."""
    from redub.pipeline.reports.index.emotion_map import write_map

    opened = project_of(project)
    page = output or opened.root / "map.html"
    say(f"wrote {write_map(opened, page, modality=modality, media=media, count=count)}")


@index_app.command("audit")
def index_audit(project: ProjectDir = HERE, as_json: Json = False) -> None:
    """Leaks: hits on oneself, held-out clips, the same sound or words across splits."""
    from redub.pipeline.reports.index.audit import audit_index

    report = audit_index(project_of(project))
    if as_json:
        put(report, schema="index.audit")
    for line in report.lines():
        say(line)
    raise typer.Exit(QUARANTINED if report.leaks else OK)


@index_app.command("verify")
def index_verify(
    queries: Annotated[int, typer.Option(help="so many stored answers are asked again")] = 200,
    project: ProjectDir = HERE,
    as_json: Json = False,
) -> None:
    """Every byte of every build against its commit, and stored neighbours against exact search."""
    from redub.pipeline.reports.index.verify import verify_index

    report = verify_index(project_of(project), queries=queries)
    if as_json:
        put(report, schema="index.verify")
    for line in report.lines():
        say(line)
    raise typer.Exit(report.exit_code)


@index_app.command("stats")
def index_stats(project: ProjectDir = HERE, as_json: Json = False) -> None:
    """What the index holds, how it is built, and how evenly it answers."""
    from redub.pipeline.reports.index.stats import index_stats as measured

    stats = measured(project_of(project))
    if as_json:
        put(stats, schema="index.stats")
        return
    for line in stats.lines():
        say(line)


@index_app.command("precision")
def index_precision(
    modality: Annotated[
        str | None,
        typer.Option(help="scene | face | text | audio (default: audio; with --table all)"),
    ] = None,
    scope: Annotated[
        str | None, typer.Option(help="any | same | other speakers (default: other; table: all)")
    ] = None,
    k: Annotated[
        int | None, typer.Option("-k", help="one K (default: index.k; with --table 1 to 10)")
    ] = None,
    fitted: Annotated[
        bool, typer.Option(help="use a transform fitted with labels on the other speakers only")
    ] = False,
    as_table: Annotated[
        bool, typer.Option("--table", help="held-out lines ask the library, in every way")
    ] = False,
    similarity: Annotated[
        str | None,
        typer.Option(help="table: cosine | dot | negative_euclidean | halves (default: all)"),
    ] = None,
    transform: Annotated[
        str,
        typer.Option(help="table: settings | identity | speaker_zscore | whiten | lda | all"),
    ] = "settings",
    project: ProjectDir = HERE,
    as_json: Json = False,
) -> None:
    """How often a neighbour shares the query's emotion label (precision@K, with an interval)."""
    if as_table:
        from redub.pipeline.reports.index.precision_table import precision_table

        if fitted:
            raise UsageError("--fitted is not for --table; name a --transform")
        found = precision_table(
            project_of(project),
            modality=modality,
            similarity=similarity,
            scope=scope,
            transform=transform,
            k=k,
        )
        if as_json:
            put(found, schema="index.precision_table")
            return
        for line in found.lines():
            say(line)
        table(found.columns(), found.cells())
        return
    if similarity is not None or transform != "settings":
        raise UsageError("--similarity and --transform are for --table")
    from redub.pipeline.reports.index.precision import emotion_precision

    report = emotion_precision(
        project_of(project),
        modality=modality or "audio",
        scope=scope or "other",
        fitted=fitted,
        k=k,
    )
    if as_json:
        put(report, schema="index.precision")
        return
    say(
        f"{report.modality}, {report.scope} speakers, {report.transform}: "
        f"precision@{report.k} {report.precision:.3f} "
        f"[{report.low:.3f}, {report.high:.3f}], chance {report.chance:.3f}, "
        f"{report.queries} queries"
    )
