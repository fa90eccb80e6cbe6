"""Commands of the emotion index: ``redub index ...``."""

from __future__ import annotations

import math
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from redub.commands.apps import index_app
from redub.commands.console import OK, QUARANTINED, finish, put, say, say_all, table
from redub.commands.invocation import HERE, command
from redub.commands.options import (
    ClipId,
    Films,
    Json,
    Less,
    Like,
    More,
    Neighbours,
    ProjectDir,
    Unlike,
    notes_of,
    project_of,
)
from redub.core.errors import UsageError

if TYPE_CHECKING:
    from redub.pipeline.reports.index.precision import PrecisionReport
    from redub.pipeline.reports.index.precision_table import PrecisionTable
    from redub.pipeline.work.query import QueryAnswer


@index_app.command("build")
def index_build(
    compact: Annotated[
        bool,
        typer.Option("--compact", help="index all clips again, in as few segments as possible"),
    ] = False,
    project: ProjectDir = HERE,
    as_json: Json = False,
) -> None:
    """Stage 3: index the clips of the training split; only new clips are added."""
    from redub.pipeline.reports.lines import said_uses
    from redub.pipeline.stages.index import run_index

    opened = project_of(project)
    summary = run_index(opened, compact=compact)
    if as_json:
        put(summary, schema="index.build")
    for line in summary.lines():
        say(line)
    say_all(said_uses(opened))
    finish(0, command("retrieve", project=project))


@index_app.command("query")
def index_query(
    clip: ClipId,
    modality: Annotated[str, typer.Option(help="scene | face | text | audio | all")] = "all",
    k: Neighbours = None,
    more: More = None,
    less: Less = None,
    like: Like = None,
    unlike: Unlike = None,
    film: Films = None,
    project: ProjectDir = HERE,
    as_json: Json = False,
) -> None:
    """Show the neighbours of one clip with their scores, with a director's notes if given."""
    from redub.pipeline.work.query import query_answer

    notes = notes_of(more, less, like, unlike, film)
    answer = query_answer(project_of(project), clip, modality=modality, k=k, notes=notes)
    if as_json:
        put(answer, schema="index.query")
        return
    _say_neighbours(answer)


def _say_neighbours(answer: QueryAnswer) -> None:
    for name, hits in answer.neighbours.items():
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
    say_all(answer.remarks)


def _margin(margin: float) -> str:
    return "" if math.isnan(margin) else f"{margin:+.4f}"


@index_app.command("excluded")
def index_excluded(
    clip: ClipId,
    unlike: Unlike = None,
    film: Films = None,
    project: ProjectDir = HERE,
    as_json: Json = False,
) -> None:
    """List the library clips that may not be retrieved for a clip, and why."""
    from redub.pipeline.work.query import ExcludedClips, excluded_clips

    notes = notes_of(None, None, None, unlike, film)
    found = excluded_clips(project_of(project), clip, notes=notes)
    if as_json:
        put(ExcludedClips(clip, found), schema="index.excluded")
        return
    table(["clip", "why"], [[name, ", ".join(why)] for name, why in found.items()])


@index_app.command("explain")
def index_explain(
    clip: ClipId,
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="the page (default: CLIP.casting.html)")
    ] = None,
    k: Neighbours = None,
    more: More = None,
    less: Less = None,
    like: Like = None,
    unlike: Unlike = None,
    film: Films = None,
    project: ProjectDir = HERE,
    as_json: Json = False,
) -> None:
    """Write the casting sheet of a clip: which clips were retrieved, which were not, and why."""
    from redub.pipeline.reports.index.casting_sheet import write_casting_sheet
    from redub.pipeline.reports.page import WrittenPage

    notes = notes_of(more, less, like, unlike, film)
    opened = project_of(project)
    page = output or opened.root / f"{clip}.casting.html"
    written = WrittenPage(write_casting_sheet(opened, clip, page, k=k, notes=notes))
    if as_json:
        put(written, schema="page")
    say(f"wrote {written.page}")


@index_app.command("map")
def index_map(
    output: Annotated[
        Path | None, typer.Option("-o", "--output", help="the page (default: map.html)")
    ] = None,
    modality: Annotated[str, typer.Option(help="audio | scene | face | text")] = "audio",
    media: Annotated[
        str, typer.Option(help="embedded sound and frames: auto | all | none")
    ] = "auto",
    count: Annotated[
        int, typer.Option(help="with --media auto: number of clips with sound and frames")
    ] = 400,
    project: ProjectDir = HERE,
    as_json: Json = False,
) -> None:
    """Write the emotion map: the library in two dimensions, playable, with the missing emotions."""
    from redub.pipeline.reports.index.emotion_map import write_map
    from redub.pipeline.reports.page import WrittenPage

    opened = project_of(project)
    page = output or opened.root / "map.html"
    written = WrittenPage(write_map(opened, page, modality=modality, media=media, count=count))
    if as_json:
        put(written, schema="page")
    say(f"wrote {written.page}")


@index_app.command("audit")
def index_audit(project: ProjectDir = HERE, as_json: Json = False) -> None:
    """Find leaks: self-hits, held-out clips, and equal sound or words across splits."""
    from redub.pipeline.reports.index.audit import audit_index

    report = audit_index(project_of(project))
    if as_json:
        put(report, schema="index.audit")
    for line in report.lines():
        say(line)
    raise typer.Exit(QUARANTINED if report.leaks else OK)


@index_app.command("verify")
def index_verify(
    queries: Annotated[int, typer.Option(help="number of stored queries to search again")] = 200,
    project: ProjectDir = HERE,
    as_json: Json = False,
) -> None:
    """Compare every build with its commit, and stored neighbours with exact search."""
    from redub.pipeline.reports.index.verify import verify_index

    report = verify_index(project_of(project), queries=queries)
    if as_json:
        put(report, schema="index.verify")
    for line in report.lines():
        say(line)
    raise typer.Exit(report.exit_code)


@index_app.command("stats")
def index_stats(project: ProjectDir = HERE, as_json: Json = False) -> None:
    """Show what the index holds, how it is built, and how its hits are spread over the library."""
    from redub.pipeline.reports.index.stats import index_stats as measured

    stats = measured(project_of(project))
    if as_json:
        put(stats, schema="index.stats")
        return
    for line in stats.lines():
        say(line)


Modality = Annotated[
    str | None,
    typer.Option(help="scene | face | text | audio (default: audio; with --table all)"),
]
Scope = Annotated[
    str | None, typer.Option(help="any | same | other speakers (default: other; table: all)")
]
OneK = Annotated[
    int | None, typer.Option("-k", help="one K (default: index.k; with --table 1 to 10)")
]
Fitted = Annotated[
    bool, typer.Option(help="use a transform fitted with labels on the other speakers only")
]
AsTable = Annotated[
    bool,
    typer.Option("--table", help="query the library with held-out lines, for all combinations"),
]
Similarity = Annotated[
    str | None,
    typer.Option(help="table: cosine | dot | negative_euclidean | halves (default: all)"),
]
Transform = Annotated[
    str,
    typer.Option(help="table: settings | identity | speaker_zscore | whiten | lda | all"),
]


@index_app.command("precision")
def index_precision(
    modality: Modality = None,
    scope: Scope = None,
    k: OneK = None,
    fitted: Fitted = False,
    as_table: AsTable = False,
    similarity: Similarity = None,
    transform: Transform = "settings",
    project: ProjectDir = HERE,
    as_json: Json = False,
) -> None:
    """Measure how often a neighbour has the emotion label of its query (precision@K)."""
    if as_table:
        from redub.pipeline.reports.index.precision_table import precision_table

        if fitted:
            raise UsageError("--fitted cannot be combined with --table; name a --transform")
        rows = precision_table(
            project_of(project),
            modality=modality,
            similarity=similarity,
            scope=scope,
            transform=transform,
            k=k,
        )
        _show_precision_table(rows, as_json)
        return
    if similarity is not None or transform != "settings":
        raise UsageError("--similarity and --transform need --table")
    from redub.pipeline.reports.index.precision import emotion_precision

    report = emotion_precision(
        project_of(project),
        modality=modality or "audio",
        scope=scope or "other",
        fitted=fitted,
        k=k,
    )
    _show_precision(report, as_json)


def _show_precision_table(found: PrecisionTable, as_json: bool) -> None:
    if as_json:
        put(found, schema="index.precision_table")
        return
    for line in found.lines():
        say(line)
    table(found.columns(), found.cells())


def _show_precision(report: PrecisionReport, as_json: bool) -> None:
    if as_json:
        put(report, schema="index.precision")
        return
    say(
        f"{report.modality}, {report.scope} speakers, {report.transform}: "
        f"precision@{report.k} {report.precision:.3f} "
        f"[{report.low:.3f}, {report.high:.3f}], chance {report.chance:.3f}, "
        f"{report.queries} queries"
    )
