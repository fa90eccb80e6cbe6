"""The command line: words typed → one pipeline function → one summary → an exit code.

Nothing heavy is imported here at the top, so that `redub --help` answers at once. A RedubError
becomes one line on stderr and its exit code in one place, :func:`main`.
"""

from __future__ import annotations

import contextlib
import dataclasses
import json
import logging
import math
import os
import shlex
import signal
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, NoReturn

import typer

from redub.core import stopping
from redub.core.errors import AnotherFailed, RedubError, UsageError
from redub.core.stopping import Stopped

if TYPE_CHECKING:  # `redub --help` loads nothing that it does not show
    from redub.index.notes import Notes

PEER_LEFT = ("Connection closed by peer", "Connection reset by peer", "Connection refused")
OK, ERROR, USAGE, QUARANTINED, REFUSED = 0, 1, 2, 3, 8  # 128 + the signal's number when stopped
PROGRESS_EVERY_S = 10.0

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
app.add_typer(index_app, name="index")
app.add_typer(bad_app, name="bad")
app.add_typer(cache_app, name="cache")
app.add_typer(runs_app, name="runs")
app.add_typer(weights_app, name="weights")
app.add_typer(captions_app, name="captions")
app.add_typer(reactions_app, name="reactions")
app.add_typer(corpus_app, name="corpus")
app.add_typer(vocoder_app, name="vocoder")
ProjectDir = Annotated[
    Path, typer.Option("-C", "--project", help="the project folder (found upwards from here)")
]
Json = Annotated[bool, typer.Option("--json", help="one JSON document on stdout")]
Workers = Annotated[int, typer.Option("-j", "--workers", help="worker processes")]
SchedulerName = Annotated[
    str, typer.Option("--scheduler", help="sync | processes | tcp://host:port")
]
DryRun = Annotated[
    bool, typer.Option("-n", "--dry-run", help="say what would be done, write nothing")
]
ProfileName = Annotated[
    str | None, typer.Option("--profile", help="builtin | paper; overrides [features] profile")
]
HERE = Path()
More = Annotated[
    list[str] | None,
    typer.Option("--more", help="more of an emotion, as anger or anger:0.4 (repeatable)"),
]
Less = Annotated[list[str] | None, typer.Option("--less", help="less of an emotion (repeatable)")]
Like = Annotated[list[str] | None, typer.Option("--like", help="like this library clip")]
Unlike = Annotated[list[str] | None, typer.Option("--not", help="never this library clip")]
Films = Annotated[list[str] | None, typer.Option("--film", help="only from this film")]


# -- how things are said


def say(text: str = "") -> None:
    """One line for people, on stderr: stdout belongs to --json."""
    print(printable(text), file=sys.stderr)


def printable(text: str) -> str:
    """Show control and bidirectional characters of names instead of obeying them."""
    hidden = {*range(0x202A, 0x202F), *range(0x2066, 0x206A), 0x200B, 0x200E, 0x200F, 0xFEFF}
    return "".join(
        f"\\u{ord(c):04x}"
        if (ord(c) < 32 and c != "\n") or ord(c) == 127 or ord(c) in hidden
        else c
        for c in text
    )


def put(value: Any, *, schema: str) -> None:
    """The machine's answer: one JSON document with its schema's name."""
    print(json.dumps({"schema": f"redub.{schema}/1", **_plain(value)}, sort_keys=True))


def _plain(value: Any) -> Any:
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return {f.name: _plain(getattr(value, f.name)) for f in dataclasses.fields(value)}
    if isinstance(value, dict):
        return {str(k): _plain(v) for k, v in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(v) for v in value]
    if isinstance(value, Path):
        return str(value)
    if isinstance(value, float) and not math.isfinite(value):
        return None  # JSON has no word for it
    return value


def table(columns: list[str], rows: list[list[Any]]) -> None:
    """Aligned columns on stderr; numbers to the right."""
    cells = [[printable(str(cell)).replace("\n", " ") for cell in row] for row in rows]
    widths = [max(len(c), *(len(r[i]) for r in cells), 0) for i, c in enumerate(columns)]
    right = [all(_is_number(r[i]) for r in cells) and bool(cells) for i in range(len(columns))]

    def line(row: list[str]) -> str:
        padded = [
            c.rjust(w) if r else c.ljust(w) for c, w, r in zip(row, widths, right, strict=True)
        ]
        return "  ".join(padded).rstrip()

    print(line(columns), file=sys.stderr)
    for row in cells:
        print(line(row), file=sys.stderr)


def _is_number(cell: str) -> bool:
    return cell in ("", "–") or cell.replace(".", "", 1).replace("-", "", 1).isdigit()


@dataclasses.dataclass(slots=True)
class Invocation:
    """What was typed before the command: ``-C`` folders, and seconds between progress lines."""

    folder: Path = HERE
    started_in: str = ""
    progress_every_s: float = PROGRESS_EVERY_S


INVOCATION = Invocation()


def command(*words: str | Path, project: Path = HERE) -> str:
    """A complete command to type: quoted, with the project folder where one was named."""
    folder = INVOCATION.folder / project
    place = () if folder == HERE else ("-C", folder)
    return shlex.join(map(str, ("redub", *words, *place)))


def as_typed(*left_out: str) -> str:
    """This very command line without some of its options.

    Args:
        left_out: long options with a value, as ``--resume``; ending in ``=``: without one.
    """
    words, kept = iter(sys.argv[1:]), []
    for word in words:
        if f"{word}=" in left_out or (word.partition("=")[0] in left_out and "=" in word):
            continue
        if word in left_out:
            next(words, None)
            continue
        kept.append(word)
    return shlex.join([*_program(), *kept])


def _program() -> list[str]:
    """``redub``, or how torchrun starts it where it did (``--devices`` starts torchrun itself)."""
    count = os.environ.get("LOCAL_WORLD_SIZE", "1")
    by_hand = not any(word.partition("=")[0] == "--devices" for word in sys.argv)
    if os.environ.get("WORLD_SIZE", "1") == "1" or not by_hand:
        return ["redub"]
    return ["torchrun", "--nproc-per-node", count, "-m", "redub.cli"]


@contextlib.contextmanager
def progress_bar(label: str, unit: str = "clips") -> Iterator[Callable[..., None]]:
    """How far a command is: a bar on a terminal, else a plain line now and then on stderr."""
    counted = Counted(label, unit)
    shown = _bar if sys.stderr.isatty() else _plain_lines
    try:
        with shown(counted) as update:
            yield update
    except Stopped as stopped:
        if counted.total:
            stopped.done = f"{counted.done} of {counted.total} {unit}"
        raise


@dataclasses.dataclass(slots=True)
class Counted:
    """How far some work is, and how fast since its first report."""

    label: str
    unit: str
    done: int = 0
    total: int = 0
    note: str = ""
    before: int = -1  # done by an earlier run: it took no time of ours
    began_s: float = 0.0

    def take(self, done: int, total: int, note: str) -> None:
        if self.before < 0:
            self.before, self.began_s = done, time.monotonic()
        self.done, self.total, self.note = done, total, note

    @property
    def rate(self) -> float:
        return (self.done - self.before) / max(time.monotonic() - self.began_s, 1e-9)

    def line(self) -> str:
        """``extract: 12 of 168 clips, 2.4 clips/s, 65 s left``."""
        said = [f"{self.label}: {self.done} of {self.total} {self.unit}"]
        if self.done > self.before:
            said.append(f"{self.rate:.1f} {self.unit}/s")
            if self.done < self.total:
                said.append(f"{math.ceil((self.total - self.done) / self.rate)} s left")
        return ", ".join([*said, self.note] if self.note else said)


@contextlib.contextmanager
def _plain_lines(counted: Counted) -> Iterator[Callable[..., None]]:
    """The first report, then one every so many seconds, and the last; nothing of no work."""
    said_s, last = -math.inf, (-1, -1)

    def show() -> None:
        nonlocal said_s, last
        if counted.total and last != (counted.done, counted.total):
            said_s, last = time.monotonic(), (counted.done, counted.total)
            say(counted.line())

    def update(done: int, total: int, note: str = "") -> None:
        counted.take(done, total, note)
        if time.monotonic() - said_s >= INVOCATION.progress_every_s:
            show()

    yield update
    show()


@contextlib.contextmanager
def _bar(counted: Counted) -> Iterator[Callable[..., None]]:
    from rich.console import Console
    from rich.progress import (
        BarColumn,
        MofNCompleteColumn,
        Progress,
        TextColumn,
        TimeRemainingColumn,
    )

    columns = (
        TextColumn("{task.description}"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("{task.fields[rate]}"),
        TimeRemainingColumn(),
    )
    console = Console(stderr=True, no_color="NO_COLOR" in os.environ)
    with Progress(*columns, console=console, transient=True) as bars:
        task = bars.add_task(counted.label, total=None, rate="")

        def update(done: int, total: int, note: str = "") -> None:
            counted.take(done, total, note)
            words = f"{counted.rate:.1f} {counted.unit}/s" + (f", {note}" if note else "")
            bars.update(task, completed=done, total=total, rate=words)

        yield update


def finish(quarantined: int, next_command: str, project: Path = HERE) -> NoReturn:
    """End a command: the next one to type (see :func:`command`), and exit 0 or 3."""
    if quarantined:
        say(f"{quarantined} set aside; see them with: {command('bad', 'list', project=project)}")
    say(f"next: {next_command}")
    raise typer.Exit(QUARANTINED if quarantined else OK)


def scheduler_of(name: str, workers: int) -> Any:
    from redub.pipeline.executor import Scheduler

    return Scheduler(name, workers)


def project_of(folder: Path, profile: str | None = None) -> Any:
    from redub.pipeline.project import open_project, with_profile

    project = open_project(folder)
    return project if profile is None else with_profile(project, profile)


# -- the project


@app.command()
def init(
    folder: Annotated[Path, typer.Argument(help="where the project shall live")] = HERE,
) -> None:
    """Start a project: a commented redub.toml and a footage folder."""
    from redub.pipeline.project import init_project

    path = init_project(folder)
    say(f"wrote {path}")
    say("put media (and NAME.srt beside NAME.mp4) into its footage folder")
    finish(0, command("ingest", project=folder))


@app.command()
def config(project: ProjectDir = HERE, as_json: Json = False) -> None:
    """Print every setting with the value in force."""
    settings = project_of(project).config
    if as_json:
        put(settings, schema="config")
        return
    for section, value in _plain(settings).items():
        if isinstance(value, dict):
            for key, item in value.items():
                print(f"{section}.{key} = {json.dumps(item)}")
        else:
            print(f"{section} = {json.dumps(value)}")


@app.command()
def doctor(
    weights: Annotated[
        bool, typer.Option("--weights", help="load the project's recorded weights and run each")
    ] = False,
    project: ProjectDir = HERE,
    as_json: Json = False,
) -> None:
    """Versions, compilers, decoders, GPU, and every registry by name, each really imported."""
    from redub.pipeline.doctor import examine

    if weights:
        _doctor_weights(project, as_json)
    report = examine()
    if as_json:
        put(report, schema="doctor")
    else:
        for section, lines in report.sections.items():
            say(section)
            for name, value in lines.items():
                say(f"  {name:28} {value}")
        for problem in report.problems:
            say(f"problem: {problem}")
    raise typer.Exit(ERROR if report.problems else OK)


def _doctor_weights(project: Path, as_json: bool) -> NoReturn:
    from redub.pipeline.weights_doctor import examine_weights

    lines = examine_weights(project_of(project))
    if as_json:
        put({"weights": lines}, schema="doctor.weights")
    for line in lines:
        say(f"{line.entry} → {line.feature} ({line.maker})")
        for key, value in line.says.items():
            say(f"  {key:12} {value}")
        say(f"  {'problem' if line.problem else 'one clip':12} {line.problem or line.value}")
    if not lines:
        say("models.lock names no weights; record some with `redub weights add KIND PATH`")
    raise typer.Exit(REFUSED if any(line.problem for line in lines) else OK)


@app.command()
def status(project: ProjectDir = HERE, profile: ProfileName = None, as_json: Json = False) -> None:
    """What is committed, set aside and missing, from the logs alone."""
    from redub.pipeline.status import project_status

    opened = project_of(project, profile)
    report = project_status(opened)
    following = _of_profile(report.next_words, project, opened.config.profile, profile)
    if as_json:
        plain = _plain(report)
        del plain["next_words"]
        put({**plain, "next_command": following}, schema="status")
        return
    say(f"{report.clips} clips from {report.sources} sources; {report.quarantined} rows set aside")
    table(
        ["feature", "listed", "committed", "null", "quarantined", "pending"],
        [
            [x.feature, x.listed, x.committed, x.nulls, x.quarantined, x.pending]
            for x in report.ledger
        ],
    )
    _say_lacking(report.lacking)
    say(f"index: {report.index or 'none'}; neighbours: {report.neighbours} rows")
    say(f"runs: {', '.join(report.runs) or 'none'}")
    if report.busy is None:
        say(f"next: {following}")
        return
    say(report.busy.sentence())
    say(f"next: wait for it, or look: {following}")


def _of_profile(
    words: Sequence[str], project: Path, of_this_command: str, profile: str | None
) -> str:
    """A command that goes on under ``--profile``, where that is not the project file's.

    Of the stages only `extract` and `run` take a profile; the others are walked by `run`.
    """
    if profile is None or words[0] in ("ingest", "weights", "runs", "report", "bad"):
        return command(*words, project=project)
    if words[0] in ("extract", "run", "status", "plan"):
        return command(*words, "--profile", profile, project=project)
    if project_of(project).config.profile == of_this_command:
        return command(*words, project=project)
    return command("run", "--from", words[0], "--profile", profile, project=project)


def _say_lacking(lacking: dict[str, str]) -> None:
    for name, why in lacking.items():
        say(f"{name} cannot be made: {why}")


@app.command()
def plan(project: ProjectDir = HERE, profile: ProfileName = None, as_json: Json = False) -> None:
    """What `redub run` would compute, why, and how long it may take; writes nothing."""
    from redub.pipeline.plan import plan as make_plan
    from redub.pipeline.plan import plan_footage
    from redub.pipeline.store import Store

    store = Store(project_of(project, profile))
    footage = plan_footage(store)
    lines = make_plan(store)
    lacking = {name: error.message for name, error in store.keys.lacking.items()}
    if as_json:
        put({"features": lines, "lacking": lacking, "footage": footage}, schema="plan")
        return
    say(f"footage: {len(footage.to_read)} sources to read, {len(footage.gone)} gone")
    for source in footage.to_read[:5]:
        say(f"  new or changed: {source}")
    say(f"index: {footage.index}")
    table(
        ["feature", "up-to-date", "new", "changed", "held", "est. s", "why"],
        [
            [
                x.feature,
                x.up_to_date,
                x.new,
                x.changed,
                x.quarantined,
                "–" if x.estimate_s is None else f"{x.estimate_s:.1f}",
                x.why,
            ]
            for x in lines
        ],
    )
    _say_lacking(lacking)
    say(f"next: {_of_profile(['run'], project, '', profile)}")


# -- stages


@app.command()
def ingest(
    project: ProjectDir = HERE, workers: Workers = 2, scheduler: SchedulerName = "processes"
) -> None:
    """Stage 1: read new and changed footage into the clip table."""
    from redub.pipeline.stages import run_ingest

    with progress_bar("ingest", "files") as bar:
        summary = run_ingest(project_of(project), scheduler_of(scheduler, workers), bar)
    say(
        f"{summary.sources} sources read, {summary.unchanged} unchanged, {summary.gone} gone; "
        f"{summary.clips} clips"
    )
    if summary.first_reason:
        say(f"first fault: {summary.first_reason}")
    finish(summary.quarantined, command("extract", project=project), project)


@app.command()
def extract(
    feature: Annotated[
        list[str] | None, typer.Option("-f", "--feature", help="only these (and what they read)")
    ] = None,
    project: ProjectDir = HERE,
    profile: ProfileName = None,
    workers: Workers = 2,
    scheduler: SchedulerName = "processes",
    dry_run: DryRun = False,
) -> None:
    """Stage 2: compute every missing feature of every clip."""
    from redub.pipeline.stages import check_features, run_extract

    names = check_features(feature)
    if dry_run:
        plan(project, profile)
        return
    opened = project_of(project, profile)
    with progress_bar("extract") as bar:
        summary = run_extract(opened, scheduler_of(scheduler, workers), names, bar)
    say(f"{summary.clips} clips, {summary.rows} rows written")
    if opened.config.profile != project_of(project).config.profile:
        say(f'for the later stages, set profile = "{profile}" under [features] in redub.toml')
    words = ("index", "build")
    following = _of_profile(words, project, opened.config.profile, profile)
    finish(summary.quarantined, following, project)


# -- weights


@weights_app.command("add")
def weights_add(
    kind: Annotated[str, typer.Argument(help="a kind of `redub weights kinds`")],
    path: Annotated[Path, typer.Argument(help="the local folder or file")],
    name: Annotated[str, typer.Option(help="the entry's name, by default the kind")] = "",
    licence: Annotated[str, typer.Option(help="if other than the publisher's")] = "",
    terms: Annotated[str, typer.Option(help="if other than the publisher's")] = "",
    replace: Annotated[bool, typer.Option(help="change an entry that has other files")] = False,
    project: ProjectDir = HERE,
) -> None:
    """Record the SHA-256 of every file of some weights, their licence and terms."""
    from redub.pipeline.lock import project_lock
    from redub.pipeline.weights import add_weights

    root = project_of(project).root
    with project_lock(root), progress_bar("hash", "bytes") as bar:
        entry = add_weights(
            root,
            kind,
            path,
            name=name,
            licence=licence,
            terms=terms,
            replace=replace,
            progress=bar,
        )
    say(f"{entry.name}: {len(entry.files)} files of {entry.path}")
    say(f"licence: {entry.licence}{'; ' + entry.terms if entry.terms else ''}")
    finish(0, command("doctor", "--weights", project=project))


@weights_app.command("list")
def weights_list(project: ProjectDir = HERE, as_json: Json = False) -> None:
    """The entries of models.lock."""
    from redub.pipeline.weights import read_ledger

    entries = list(read_ledger(project_of(project).root).entries.values())
    if as_json:
        put({"weights": entries}, schema="weights.list")
        return
    table(
        ["name", "kind", "files", "licence", "path"],
        [[e.name, e.kind, len(e.files), e.licence, e.path] for e in entries],
    )


@weights_app.command("kinds")
def weights_kinds(as_json: Json = False) -> None:
    """What can be recorded: kinds, the files each needs, publisher and licence."""
    from redub.features.weight_kinds import KINDS

    if as_json:
        put({"kinds": KINDS}, schema="weights.kinds")
        return
    table(
        ["kind", "what", "needs", "licence"],
        [
            [name, kind.title, " + ".join("|".join(group) for group in kind.wanted), kind.licence]
            for name, kind in KINDS.items()
        ],
    )


@weights_app.command("verify")
def weights_verify(
    names: Annotated[list[str] | None, typer.Argument(help="entries; all if left out")] = None,
    project: ProjectDir = HERE,
    as_json: Json = False,
) -> None:
    """Hash every recorded file again; exit 8 if one is gone or changed."""
    from redub.core.config import nearest
    from redub.pipeline.weights import read_ledger, verify_weights

    ledger = read_ledger(project_of(project).root)
    for name in names or ():
        if name not in ledger.entries:
            raise UsageError(f"no weights '{name}'; {nearest(name, ledger.entries)}")
    with progress_bar("verify", "entries") as bar:
        found = list(verify_weights(ledger, names or list(ledger.entries), bar))
    if as_json:
        put({"weights": {e.name: wrong for e, wrong in found}}, schema="weights.verify")
    for entry, wrong in found:
        say(f"{entry.name}: {'whole' if not wrong else ''}{'; '.join(wrong)}")
    raise typer.Exit(REFUSED if any(wrong for _, wrong in found) else OK)


@weights_app.command("remove")
def weights_remove(
    name: Annotated[str, typer.Argument(help="an entry of models.lock")],
    project: ProjectDir = HERE,
) -> None:
    """Take an entry out of models.lock; files and computed features stay."""
    from redub.pipeline.lock import project_lock
    from redub.pipeline.weights import remove_weights

    root = project_of(project).root
    with project_lock(root):
        entry = remove_weights(root, name)
    say(f"{entry.name} taken out; its files in {entry.path} were not touched")


# -- what was made elsewhere


@captions_app.command("import")
def captions_import(
    file: Annotated[Path, typer.Argument(help='JSON lines: {"clip_id", "scene", "face"}')],
    project: ProjectDir = HERE,
    as_json: Json = False,
) -> None:
    """Take captions into the project; [features.scene_caption] by = "import" then uses them."""
    from redub.pipeline.captions import import_captions
    from redub.pipeline.lock import project_lock

    root = project_of(project).root
    with project_lock(root):
        done = import_captions(root, file)
    if as_json:
        put(done, schema="captions.import")
    say(f"{done.rows} rows: {done.texts['scene']} scene and {done.texts['face']} face captions")
    say(f"{done.without} of {done.clips} clips have none; {len(done.strange)} ids are not known")
    following = command("extract", project=project)
    finish(0, f'{following}, after by = "import" under [features.scene_caption]')


@reactions_app.command("import")
def reactions_import(
    file: Annotated[Path, typer.Argument(help='JSON lines: {"clip_id", "reaction"}')],
    project: ProjectDir = HERE,
    as_json: Json = False,
) -> None:
    """Take reaction texts into the project; [features.reaction] by = "import" then uses them."""
    from redub.pipeline.lock import project_lock
    from redub.pipeline.reactions import import_reactions

    root = project_of(project).root
    with project_lock(root):
        done = import_reactions(root, file)
    if as_json:
        put(done, schema="reactions.import")
    say(f"{done.rows} reactions; {len(done.strange)} of clips that are not known")
    say(f"{done.without} of {done.clips} clips with words have none")
    following = command("extract", project=project)
    finish(0, f'{following}, after by = "import" under [features.reaction]')


@corpus_app.command("prepare")
def corpus_prepare(
    layout: Annotated[str, typer.Argument(help="v2c | chem | grid | ravdess")],
    source: Annotated[Path, typer.Argument(help="the corpus as it was unpacked")],
    target: Annotated[Path, typer.Argument(help="the footage folder to make")],
    lists: Annotated[
        list[str] | None, typer.Option("--list", help="SPLIT=FILE, a published split list")
    ] = None,
    placing: Annotated[str, typer.Option("--place", help="auto | hardlink | copy")] = "auto",
    rights: Annotated[str, typer.Option(help="the terms, for the column of cast.csv")] = "",
    as_json: Json = False,
) -> None:
    """Make a footage folder (media, subtitles, tables) of a published corpus; see docs/corpora."""
    from redub.footage.corpora.prepare import prepare_corpus

    given: dict[str, Path] = {}
    for item in lists or ():
        split, sign, path = item.partition("=")
        if not sign or not split or not path:
            raise UsageError(f"--list is '{item}'; wanted SPLIT=FILE, like train=train.txt")
        given[split] = Path(path)
    with progress_bar("prepare", "lines") as bar:
        done = prepare_corpus(
            layout,
            source,
            target,
            lists=given,
            placing=placing,  # type: ignore[arg-type]  # checked there, with the legal values
            rights=rights,
            progress=bar,
        )
    if as_json:
        put(done, schema="corpus.prepare")
    say(f"{done.lines} lines of {done.speakers} speakers, {done.triples} with both neighbours")
    say(f"{done.without_words} without words; {done.facts} files of facts read")
    for why, number in done.skipped.items():
        say(f"skipped: {number} × {why}")
    for note in done.notes:
        say(f"note: {note}")
    say(f"every file is accounted for in {done.folder}/{done.report}")
    finish(0, f'redub init, then root = "{done.folder}" under [footage]')


@index_app.command("build")
def index_build(
    compact: Annotated[
        bool, typer.Option("--compact", help="index all clips anew, in as few pieces as possible")
    ] = False,
    project: ProjectDir = HERE,
) -> None:
    """Stage 3: build the library and its index from the training split; only what is new."""
    from redub.pipeline.stages import run_index

    summary = run_index(project_of(project), compact=compact)
    for line in summary.lines():
        say(line)
    finish(0, command("retrieve", project=project))


@app.command()
def retrieve(project: ProjectDir = HERE) -> None:
    """Stage 4: find the K neighbours of every clip, per modality."""
    from redub.pipeline.stages import run_retrieve

    summary = run_retrieve(project_of(project))
    say(f"{summary.queries} clips queried, {summary.rows} neighbour rows")
    finish(0, command("train", project=project))


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
    from redub.pipeline.retrieve import query_clip

    notes = _notes(more, less, like, unlike, film)
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


def _notes(
    more: list[str] | None,
    less: list[str] | None,
    like: list[str] | None,
    unlike: list[str] | None,
    films: list[str] | None,
) -> Notes:
    from redub.index.notes import Notes

    return Notes.parse(
        more=more or (), less=less or (), like=like or (), unlike=unlike or (), films=films or ()
    )


@index_app.command("excluded")
def index_excluded(
    clip: Annotated[str, typer.Argument(help="a clip id")],
    unlike: Unlike = None,
    film: Films = None,
    project: ProjectDir = HERE,
    as_json: Json = False,
) -> None:
    """Every library clip that may not be retrieved for a clip, and why."""
    from redub.pipeline.retrieve import excluded_clips

    notes = _notes(None, None, None, unlike, film)
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
    from redub.pipeline.explain import write_casting_sheet

    notes = _notes(more, less, like, unlike, film)
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
    from redub.pipeline.emotion_map import write_map

    opened = project_of(project)
    page = output or opened.root / "map.html"
    say(f"wrote {write_map(opened, page, modality=modality, media=media, count=count)}")


@index_app.command("audit")
def index_audit(project: ProjectDir = HERE, as_json: Json = False) -> None:
    """Leaks: hits on oneself, held-out clips, the same sound or words across splits."""
    from redub.pipeline.audit import audit_index

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
    from redub.pipeline.index_stats import verify_index

    report = verify_index(project_of(project), queries=queries)
    if as_json:
        put(report, schema="index.verify")
    for line in report.lines():
        say(line)
    raise typer.Exit(report.exit_code)


@index_app.command("stats")
def index_stats(project: ProjectDir = HERE, as_json: Json = False) -> None:
    """What the index holds, how it is built, and how evenly it answers."""
    from redub.pipeline.index_stats import index_stats as measured

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
        from redub.pipeline.precision_table import precision_table

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
    from redub.pipeline.precision import emotion_precision

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


@app.command()
def pack(project: ProjectDir = HERE, as_json: Json = False) -> None:
    """Join clips, features and neighbours into the files a training run reads (`train` does it)."""
    from redub.pipeline.stages import run_pack

    summary, training = run_pack(project_of(project))
    if as_json:
        put({**_plain(summary), "training": training}, schema="pack")
        return
    for line in (*summary.lines(), *training.said()):
        say(line)
    finish(0, command("train", project=project))


@app.command()
def train(
    model: Annotated[str | None, typer.Argument(help="a model of `redub doctor`")] = None,
    run: Annotated[str, typer.Option(help="name of the run")] = "authentic",
    preset: Annotated[str | None, typer.Option(help="tiny | paper")] = None,
    config: Annotated[
        Path | None, typer.Option("--config", help="a TOML file with keys of [train]")
    ] = None,
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="KEY=VALUE of [train], as training.seed=3")
    ] = None,
    resume: Annotated[
        str, typer.Option(help="auto (the newest checkpoint) | none | a checkpoint's folder")
    ] = "auto",
    start_from: Annotated[
        Path | None, typer.Option("--from", help="weights of `redub runs export`, for a new run")
    ] = None,
    max_steps: Annotated[int | None, typer.Option(help="stop after this many steps")] = None,
    overfit: Annotated[
        int | None, typer.Option(help="learn the first so many lines by heart: a test")
    ] = None,
    devices: Annotated[int, typer.Option(help="processes that train together, a GPU each")] = 1,
    estimate: Annotated[
        bool, typer.Option("--estimate", help="print size, memory and time; train nothing")
    ] = False,
    baseline: Annotated[
        bool, typer.Option(help="the same model without retrieval and graphs")
    ] = False,
    project: ProjectDir = HERE,
) -> None:
    """Stage 5: train a dubber from cached features; no media is opened."""
    from redub.pipeline.project import with_training

    chosen = with_training(project_of(project), preset=preset, file=config, settings=settings or ())
    if estimate:
        from redub.pipeline.stages import run_estimate

        found = run_estimate(
            chosen, model=model, max_steps=max_steps, baseline=baseline, overfit=overfit
        )
        for line in found.text():
            say(line)
        finish(0, as_typed("--estimate="))
    if devices < 1:
        raise UsageError(f"--devices is {devices}; wanted at least 1")
    if devices > 1 and int(os.environ.get("WORLD_SIZE", "1")) == 1:
        from redub.pipeline.replicate import replicate
        from redub.pipeline.train import training_settings
        from redub.training.trainer import check_replicas

        check_replicas(training_settings(chosen, model=model, baseline=baseline)[2], devices)
        os.chdir(INVOCATION.started_in)  # they read -C again
        raise typer.Exit(replicate(sys.argv[1:], devices))
    from redub.pipeline.stages import run_train

    is_first = _is_first_process()
    with progress_bar("train", "steps") if is_first else _no_bar() as bar:
        summary = run_train(
            chosen,
            run=run,
            model=model,
            max_steps=max_steps,
            baseline=baseline,
            resume=_resumed(resume),
            overfit=overfit,
            start_from=start_from,
            progress=bar,
            say=say,
        )
    if not is_first:
        raise typer.Exit(OK)
    for line in summary.lines():
        say(line)
    finish(0, command("synthesize", run, project=project))


@vocoder_app.command("train")
def vocoder_train(
    run: Annotated[str, typer.Option(help="name of the vocoder run")] = "hifi_gan",
    preset: Annotated[str, typer.Option(help="tiny | paper")] = "tiny",
    settings: Annotated[
        list[str] | None, typer.Option("--set", help="KEY=VALUE, as training.batch=4")
    ] = None,
    resume: Annotated[
        str, typer.Option(help="auto (the newest checkpoint) | none (start over)")
    ] = "auto",
    max_steps: Annotated[int | None, typer.Option(help="stop after this many steps")] = None,
    project: ProjectDir = HERE,
) -> None:
    """Train a HiFi-GAN on the training split's cached mels and sound; no media is opened."""
    from redub.pipeline.stages import run_vocoder_train

    if resume not in ("auto", "none"):
        raise UsageError(f"--resume {resume}: wanted auto or none")
    with progress_bar("vocoder", "steps") as bar:
        summary = run_vocoder_train(
            project_of(project),
            run=run,
            preset=preset,
            settings=settings or (),
            max_steps=max_steps,
            resume=resume == "auto",
            progress=bar,
        )
    for line in summary.lines():
        say(line)
    following = command("synthesize", project=project)
    finish(0, f'{following}, after name = "hifi_gan" and run = "{run}" under [vocoder]')


def _resumed(resume: str) -> bool | Path:
    """What `--resume` says."""
    if resume in ("auto", "none"):
        return resume == "auto"
    if not Path(resume).is_dir():
        raise UsageError(f"--resume {resume}: wanted auto, none or a checkpoint's folder")
    return Path(resume)


@contextlib.contextmanager
def _no_bar() -> Iterator[Callable[..., None]]:
    yield lambda done, total, note="": None


@app.command()
def synthesize(
    run: Annotated[str, typer.Argument(help="name of the run")] = "authentic",
    split: Annotated[str, typer.Option(help="train | validation | test")] = "test",
    project: ProjectDir = HERE,
) -> None:
    """Stage 6: speak every line of a split; WAV files below the run."""
    from redub.pipeline.stages import run_synthesize

    opened = project_of(project)
    with progress_bar("synthesize", "lines") as bar:
        summary = run_synthesize(opened, run=run, split=split, progress=bar)
    say(f"{summary.lines} lines, {summary.speech_s:.1f} s of speech, RTF {summary.rtf:.3f}")
    if summary.without:
        say(summary.without)
    judged = opened.config.evaluate.split
    if split != judged:  # `evaluate` measures that one
        finish(0, command("synthesize", run, "--split", judged, project=project))
    finish(0, command("evaluate", run, project=project))


@app.command()
def evaluate(
    run: Annotated[list[str] | None, typer.Argument(help="runs to compare")] = None,
    project: ProjectDir = HERE,
    workers: Workers = 2,
    scheduler: SchedulerName = "processes",
    as_json: Json = False,
) -> None:
    """Stage 7: measure runs on a split; ground truth and resynthesis are always rows."""
    from redub.pipeline.stages import run_evaluate

    with progress_bar("evaluate", "lines") as bar:
        result = run_evaluate(
            project_of(project), scheduler_of(scheduler, workers), runs=run, progress=bar
        )
    if as_json:
        put(result, schema="evaluate")
        return
    table(result.columns(), result.text_rows())
    for line in result.headlines():
        say(line)
    finish(0, command("report", project=project))


@app.command()
def report(
    output: Annotated[
        Path | None, typer.Option("-o", help="the page (default: report.html)")
    ] = None,
    faces: Annotated[
        bool, typer.Option("--faces", help="a contact sheet of what the face networks are fed")
    ] = False,
    clip: Annotated[
        list[str] | None, typer.Option("--clip", help="with --faces: only these clips")
    ] = None,
    count: Annotated[int, typer.Option(help="with --faces: so many clips, evenly spread")] = 24,
    project: ProjectDir = HERE,
) -> None:
    """Write the self-contained HTML report of the last evaluation, or the sheet of faces."""
    if faces:
        from redub.pipeline.faces import write_face_sheet

        opened = project_of(project)
        page = output or opened.root / "faces.html"
        say(f"wrote {write_face_sheet(opened, page, clip, count)}")
        return
    if clip:
        raise UsageError("--clip goes with --faces")
    from redub.pipeline.stages import run_report

    say(f"wrote {run_report(project_of(project), output)}")


@app.command()
def run(
    project: ProjectDir = HERE,
    profile: ProfileName = None,
    workers: Workers = 2,
    scheduler: SchedulerName = "processes",
    start: Annotated[str, typer.Option("--from", help="first stage")] = "ingest",
    stop: Annotated[str, typer.Option("--to", help="last stage")] = "evaluate",
    name: Annotated[
        str, typer.Option("--run", help="the run; NAME-2, … after a change of footage or settings")
    ] = "authentic",
    dry_run: DryRun = False,
) -> None:
    """Walk the stages: ingest, extract, index, retrieve, train, synthesize, evaluate."""
    from redub.pipeline.stages import run_all

    if dry_run:
        plan(project, profile)
        return
    held = run_all(
        project_of(project, profile),
        scheduler_of(scheduler, workers),
        start=start,
        stop=stop,
        say=say,
        bar=progress_bar,
        base=name,
    )
    finish(held, _of_profile(["status"], project, "", profile), project)


@app.command()
def dub(
    video: Annotated[Path, typer.Argument(help="the clip to dub, with any sound or none")],
    script: Annotated[Path, typer.Option("--script", help="subtitles with the lines to speak")],
    output: Annotated[Path, typer.Option("-o", "--output", help="the dubbed mp4")],
    voice: Annotated[
        str | None, typer.Option(help="a clip id or a speaker of the project's library")
    ] = None,
    run_name: Annotated[
        str, typer.Option("--run", help="the trained run to speak with")
    ] = "authentic",
    more: More = None,
    less: Less = None,
    like: Like = None,
    unlike: Unlike = None,
    film: Films = None,
    pitch: Annotated[
        str | None, typer.Option(help="higher or lower by so many semitones: +2st")
    ] = None,
    pitch_range: Annotated[
        str | None, typer.Option("--range", help="livelier or flatter: 1.3, or 70%")
    ] = None,
    energy: Annotated[str | None, typer.Option(help="louder or softer: +3dB")] = None,
    rate: Annotated[
        str | None, typer.Option(help="faster or slower within the line's slot: 0.9, or 110%")
    ] = None,
    emotion: Annotated[
        str | None, typer.Option(help="an emotion and how much of it: sad:0.7")
    ] = None,
    line: Annotated[
        list[int] | None,
        typer.Option("--line", help="what is asked is asked of this line (default: all)"),
    ] = None,
    direct: Annotated[
        Path | None,
        typer.Option(help="a TOML file that asks something of each line: [all], [line.3]"),
    ] = None,
    context: Annotated[
        str,
        typer.Option(
            help="whose sound a system with context hears around a line: original, or dubbed (the "
            "new sound of the line before)"
        ),
    ] = "original",
    project: ProjectDir = HERE,
    as_json: Json = False,
) -> None:
    """Speak a script onto a silent clip: the picture is untouched, every line fits its slot."""
    from dataclasses import replace

    from redub.pipeline.direction import (
        Direction,
        Feeling,
        LineDirection,
        parse_control,
        read_direction,
    )
    from redub.pipeline.stages import run_dub

    asked = LineDirection(
        notes=_notes(more, less, like, unlike, film),
        control=parse_control(pitch=pitch, pitch_range=pitch_range, energy=energy, rate=rate),
        feeling=None if emotion is None else Feeling.parse(emotion),
    )
    if context not in ("original", "dubbed"):
        raise UsageError(f"--context is {context!r}; wanted original or dubbed")
    if line and voice is not None:  # the voice of these lines, not of all
        asked, voice = replace(asked, voice=voice), None
    if line and not asked:
        raise UsageError(
            "--line goes with what is asked of it, as --pitch +2st or --more sad (0st, 0dB and a "
            "factor of 1 ask nothing)"
        )
    if direct is not None and asked:
        raise UsageError("--direct says what is asked of each line; give either it or the options")
    direction = Direction.of_lines(asked, line or ())
    if direct is not None:
        direction = read_direction(direct)
    with progress_bar("dub", "lines") as bar:
        summary = run_dub(
            project_of(project),
            video=video,
            script=script,
            output=output,
            voice=voice,
            run=run_name,
            direction=direction,
            context="dubbed" if context == "dubbed" else "original",
            progress=bar,
        )
    if as_json:
        put(summary, schema="dub")
    for fault in summary.faults:
        say(f"line {fault.line} was not dubbed: {fault.code}: {fault.message}")
    for note in summary.notes:
        say(f"note: {note}")
    say(f"{summary.dubbed} lines dubbed with {summary.voice} into {output}")
    say(f"how: {summary.take}")
    raise typer.Exit(QUARANTINED if summary.faults else OK)


@app.command()
def demo(
    folder: Annotated[Path, typer.Argument(help="where the demo project shall live")],
    workers: Workers = 2,
    seed: Annotated[int, typer.Option(help="of the film and the training")] = 7,
    quick: Annotated[
        bool, typer.Option("--quick", help="a few scenes and steps, to see the way only")
    ] = False,
    full: Annotated[
        bool, typer.Option("--full", help="twice the film, two systems, 600 steps")
    ] = False,
) -> None:
    """The whole way on a film drawn and spoken by redub itself; nothing is downloaded.

    A second call goes on where the first one stopped.
    """
    from redub.pipeline.demo import run_demo

    held = run_demo(
        folder, workers=workers, seed=seed, quick=quick, full=full, say=say, bar=progress_bar
    )
    raise typer.Exit(QUARANTINED if held else OK)


# -- looking after things


@bad_app.command("list")
def bad_list(project: ProjectDir = HERE, as_json: Json = False) -> None:
    """Every clip and file that is set aside, with its code and reason."""
    from redub.pipeline.bad import held_rows

    rows = held_rows(project_of(project))
    if as_json:
        put({"rows": rows}, schema="bad")
        return
    table(
        ["clip", "stage", "feature", "code", "message"],
        [[r["clip_id"], r["stage"], r["feature"], r["code"], r["message"]] for r in rows],
    )
    say(f"{len(rows)} rows")
    if rows:
        clip = str(rows[0]["clip_id"])
        say(
            f"next: {command('bad', 'show', clip, project=project)}, "
            f"then {command('bad', 'retry', project=project)}"
        )


@bad_app.command("show")
def bad_show(clip: str, project: ProjectDir = HERE, as_json: Json = False) -> None:
    """Everything known about one clip that was set aside."""
    from redub.pipeline.bad import held_rows

    rows = [r for r in held_rows(project_of(project)) if r["clip_id"] == clip]
    if not rows:
        raise UsageError(f"'{clip}' is not set aside; `redub bad list` names what is")
    if as_json:
        put({"rows": rows}, schema="bad")
        return
    for row in rows:
        for key, value in row.items():
            say(f"{key:16} {value if value is not None else '–'}")
        say()


@bad_app.command("retry")
def bad_retry(
    clip: Annotated[list[str] | None, typer.Argument(help="clip ids; none means all")] = None,
    project: ProjectDir = HERE,
) -> None:
    """Release clips, so that the next run tries them again."""
    from redub.pipeline.stages import run_release

    count = run_release(project_of(project), clip or [])
    say(f"{count} rows released")
    finish(0, command("run", project=project))


@cache_app.command("verify")
def cache_verify(project: ProjectDir = HERE) -> None:
    """Read every committed byte again and compare it with its commit."""
    from redub.pipeline.stages import run_verify

    files, wrong = run_verify(project_of(project))
    for line in wrong:
        say(line)
    say(f"{files} files read, {len(wrong)} damaged")
    raise typer.Exit(6 if wrong else OK)


@cache_app.command("repair")
def cache_repair(project: ProjectDir = HERE) -> None:
    """Take damaged tables out of the way, so that the next run makes them again."""
    from redub.pipeline.stages import run_repair

    taken = run_repair(project_of(project))
    for name in taken:
        say(f"taken out: {name}")
    say(f"{len(taken)} tables taken out into .redub/damaged")
    finish(0, command("run", project=project))


@cache_app.command("why")
def cache_why(
    clip: str,
    feature: Annotated[str | None, typer.Option("-f", "--feature", help="only this one")] = None,
    project: ProjectDir = HERE,
    as_json: Json = False,
) -> None:
    """What a clip's rows depend on: source bytes, span, decoder, settings, versions."""
    from redub.pipeline.why import FACTS, explain_rows

    rows = explain_rows(project_of(project), clip, feature)
    if as_json:
        put({"clip": clip, "rows": rows}, schema="cache.why")
        return
    for row in rows:
        say(f"{row['feature']}: {row['state']}")
        for key in FACTS if row["key"] else ():
            say(f"  {key:14} {row[key]}")


@runs_app.command("ls")
def runs_ls(project: ProjectDir = HERE, as_json: Json = False) -> None:
    """Training runs with their last step and losses."""
    from redub.pipeline.runs import list_runs

    rows = list_runs(project_of(project))
    if as_json:
        put({"runs": rows}, schema="runs")
        return
    table(["run", "model", "step", "validation"], [[r.name, r.model, r.step, r.loss] for r in rows])


@runs_app.command("show")
def runs_show(
    run: Annotated[str, typer.Argument(help="name of the run")],
    project: ProjectDir = HERE,
    as_json: Json = False,
) -> None:
    """Everything known about one run: losses, checkpoints, what it was trained on."""
    from redub.pipeline.runs import show_run

    facts = show_run(project_of(project), run)
    if as_json:
        put(facts, schema="runs.show")
        return
    for line in facts.lines():
        say(line)
    say()
    table(["", "first", "best", "last"], facts.loss_rows())
    say()
    table(["checkpoint", "MiB", "validation", "", "bytes"], facts.checkpoint_rows())
    for fault in facts.faults:
        say(f"note: {fault}")
    finish(0, command("evaluate" if facts.spoken else "synthesize", run, project=project))


@runs_app.command("compare")
def runs_compare(
    run: Annotated[list[str], typer.Argument(help="names of two runs or more")],
    project: ProjectDir = HERE,
    as_json: Json = False,
) -> None:
    """The settings that differ between runs, and their losses at equal steps."""
    from redub.pipeline.runs import compare_runs

    found = compare_runs(project_of(project), run)
    if as_json:
        put(found, schema="runs.compare")
        return
    if found.settings:
        table(["setting", *found.runs], found.setting_rows())
    else:
        say("no setting that can be read differs")
    say()
    table(["loss", *found.runs], found.loss_rows())
    if found.step is None:
        say("no step was measured in all of them, so nothing is compared at equal steps")
    for fault in found.faults:
        say(f"note: {fault}")
    finish(0, command("runs", "show", found.runs[0], project=project))


@runs_app.command("export")
def runs_export(
    run: Annotated[str, typer.Argument(help="name of the run")],
    target: Annotated[Path, typer.Argument(help="the file: NAME.safetensors")],
    project: ProjectDir = HERE,
) -> None:
    """Write a run's weights as one file, for `redub train --from`; its card goes with them."""
    from redub.pipeline.runs import free_name, model_of
    from redub.pipeline.synthesize import export_run

    opened = project_of(project)
    say(f"{target}: {export_run(opened, run, target)}")
    words = ("train", model_of(opened, run), "--run", free_name(opened, run))
    finish(OK, command(*words, "--from", INVOCATION.folder / target, project=project))


@runs_app.command("import")
def runs_import(
    entry: Annotated[str, typer.Argument(help="entry of models.lock, of kind hpm_dubbing")],
    run: Annotated[str, typer.Option(help="name of the run to make")],
    own_mel: Annotated[
        bool, typer.Option("--own-mel", help="it was trained on this project's mel")
    ] = False,
    project: ProjectDir = HERE,
) -> None:
    """Make a run of a released HPMDubbing that `redub weights add` recorded."""
    from redub.pipeline.run_import import import_run

    say(import_run(project_of(project), entry, run, own_mel=own_mel))
    finish(OK, command("synthesize", run, project=project))


@runs_app.command("rm")
def runs_rm(
    run: Annotated[str, typer.Argument(help="name of the run")],
    yes: Annotated[bool, typer.Option("-y", "--yes", help="do not ask")] = False,
    project: ProjectDir = HERE,
) -> None:
    """Remove a run with its checkpoints and samples; evaluations that name it stay."""
    from redub.pipeline.runs import removal_of, remove_run

    opened = project_of(project)
    removal = removal_of(opened, run)
    if not yes:
        if not sys.stdin.isatty():
            raise UsageError(f"{removal} was not removed: nobody to ask; say --yes to remove it")
        if not typer.confirm(printable(f"remove {removal}?"), err=True):
            say("nothing was removed")
            raise typer.Exit(ERROR)
    remove_run(opened, removal)
    say(f"removed {removal}")
    finish(0, command("runs", "ls", project=project))


def version_callback(value: bool) -> None:
    if value:
        from redub import __version__

        print(__version__)
        raise typer.Exit


@app.callback()
def root(
    version: Annotated[
        bool, typer.Option("--version", callback=version_callback, is_eager=True)
    ] = False,
    verbose: Annotated[bool, typer.Option("-v", "--verbose", help="log more, on stderr")] = False,
    folders: Annotated[
        list[Path] | None,
        typer.Option(
            "-C",
            "--project",
            help="go to this folder first, as git and make do; every path starts there",
        ),
    ] = None,
    progress_every: Annotated[
        float,
        typer.Option(
            "--progress-every",
            help="seconds between progress lines where stderr is no terminal",
            min=0,
        ),
    ] = PROGRESS_EVERY_S,
) -> None:
    INVOCATION.started_in, INVOCATION.folder = str(Path.cwd()), HERE
    INVOCATION.progress_every_s = progress_every
    for folder in folders or ():
        _enter(folder)
    logging.basicConfig(
        level=logging.INFO if verbose else logging.WARNING,
        format="%(levelname)s %(name)s: %(message)s",
        stream=sys.stderr,
    )


def _enter(folder: Path) -> None:
    try:
        os.chdir(folder)
    except OSError as error:
        raise UsageError(f"-C {folder}: {error.strerror}; name a folder that is there") from None
    INVOCATION.folder /= folder


SAFE = {
    "ingest": "the sources read so far are in the store",
    "extract": "the clips done so far are in the store",
    "index": "the index is as it was before",
    "retrieve": "the neighbours are as they were before",
    "train": "every checkpoint is whole, and training goes on from the newest",
    "vocoder train": "every checkpoint is whole, and training goes on from the newest",
    "synthesize": "takes of an unfinished split are never read; it is spoken again",
    "evaluate": "no figure was kept; the last evaluation is as it was, and this one starts again",
    "dub": "the output is written last, so it is whole or as it was before",
}


def say_stopped(stopped: Stopped) -> None:
    """What ended, what is safe, and the command that goes on."""
    how = "terminated" if stopped.signum == signal.SIGTERM else "interrupted"
    at_work = f" in {stopped.stage}" if stopped.stage else ""
    if stopped.step is None:
        done = f" at {stopped.done}" if stopped.done else ""
        safe = SAFE.get(stopped.stage, "what was committed is safe")
        say(f"{how}{at_work}{done}: {safe}")
        say(f"go on with: {as_typed()}")
        return
    complete = ", the last one," if stopped.is_complete else ""
    say(f"{how}{at_work}: step {stopped.step}{complete} is saved in {stopped.checkpoint}")
    # A run that has a checkpoint goes on from it; it is neither started over nor from others.
    is_walk = _typed_command() in ("run", "demo")
    say(f"go on with: {as_typed() if is_walk else as_typed('--resume', '--from')}")


def _typed_command() -> str:
    """The first word of the command line that is no option of the program itself."""
    words = iter(sys.argv[1:])
    for word in words:
        if word in ("-C", "--project", "--progress-every"):
            next(words, None)
        elif not word.startswith("-"):
            return word
    return ""


def _is_first_process() -> bool:
    return os.environ.get("RANK", "0") == "0"


def _notice(text: str) -> None:
    """One sentence while anything may be printing: past Python's own buffers."""
    if _is_first_process():
        os.write(2, f"{os.linesep if sys.stderr.isatty() else ''}{text}\n".encode())


def main() -> None:
    """Run the command line; every way out has its exit code."""
    stopping.listen(_notice)
    sys.stdout = _Stdout(sys.stdout)  # type: ignore[assignment]
    try:
        _run_app()
    except Stopped as stopped:
        if _is_first_process():  # of several processes one speaks
            say_stopped(stopped)
        sys.exit(stopped.exit_code)
    except RedubError as error:
        if not isinstance(error, AnotherFailed):  # of several processes one speaks
            say(str(error))
        sys.exit(error.exit_code)
    except RuntimeError as error:
        if "WORLD_SIZE" in os.environ and any(words in str(error) for words in PEER_LEFT):
            sys.exit(ERROR)  # the process that left has said why
        raise
    except ReaderLeft:
        sys.exit(OK)
    except OSError as error:
        say(f"E-STORE: {error.strerror or error}: {error.filename or 'no file named'}")
        sys.exit(5)
    finally:
        stopping.leave()


def _run_app() -> None:
    """The command; what else goes wrong while it is being stopped is a part of that."""
    try:
        app(standalone_mode=True)
    except RedubError:
        raise
    except Exception:
        if signum := stopping.asked():
            raise Stopped(signum) from None
        raise


class ReaderLeft(BaseException):
    """Whoever read our output left (``redub … | head``): end quietly."""


class _Stdout:
    """Standard output whose closed pipe ends the program quietly, before anyone reports it."""

    def __init__(self, stream: Any) -> None:
        self._stream = stream

    def __getattr__(self, name: str) -> Any:
        return getattr(self._stream, name)

    def write(self, text: str) -> int:
        return int(self._safely(lambda: self._stream.write(text)))

    def flush(self) -> None:
        self._safely(self._stream.flush)

    def _safely(self, act: Callable[[], Any]) -> Any:
        try:
            return act()
        except BrokenPipeError:
            os.dup2(os.open(os.devnull, os.O_WRONLY), self._stream.fileno())
            raise ReaderLeft from None


if __name__ == "__main__":
    main()
