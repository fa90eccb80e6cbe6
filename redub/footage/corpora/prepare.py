"""Turn a published corpus into a footage folder: links or copies, subtitles, tables, a report.

The result is an ordinary footage folder, so redub reads all footage in the same way. Each utterance
becomes one media file with one subtitle cue over its whole length. The folder also has the tables
of :mod:`redub.footage.tables`. ``corpus.csv`` lists every file of the corpus and its use.
"""

from __future__ import annotations

import csv
import errno
import math
import os
import shutil
from collections import Counter
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

from redub.core.durable import new_folder
from redub.core.errors import ClipError, ConfigError, StorageError
from redub.footage.child import DecoderChild
from redub.footage.corpora.lists import SplitLists, read_lists
from redub.footage.corpora.plan import (
    CorpusLine,
    CorpusPlan,
    CorpusTree,
    list_corpus,
    one_line,
    scenes_of,
)
from redub.footage.corpora.registry import reader_of
from redub.footage.faults import shown
from redub.footage.subtitles import read_subtitles

REPORT = "corpus.csv"
Placing = Literal["auto", "hardlink", "copy"]
Progress = Callable[[int, int], None]
"""Called with (number of utterances done, number of all utterances)."""


@dataclass(frozen=True, slots=True)
class CorpusSummary:
    """Counts of a prepared corpus; every file counts in one of ``lines``, ``facts``, ``skipped``.

    Attributes:
        lines: utterances, that is, placed media files (``hardlinked`` + ``copied``).
        without_words: utterances without text, so without a subtitle file.
        triples: utterances with an adjacent utterance before and after.
        facts: files that were read for facts.
        skipped: reason → number of files.
        unlisted: utterances in no split list; 0 if no list was given.
        missing: names in a split list that the corpus does not have.
        report: file name of the report in the folder.
    """

    layout: str
    folder: str
    lines: int
    hardlinked: int
    copied: int
    without_words: int
    triples: int
    facts: int
    speakers: int
    emotions: Mapping[str, int]
    splits: Mapping[str, int]
    skipped: Mapping[str, int]
    unlisted: int
    missing: Sequence[str] = ()
    notes: Sequence[str] = ()
    report: str = REPORT


@dataclass(slots=True)
class _Work:
    """The folder that is being written, and the files placed so far."""

    folder: Path
    placing: Placing
    lines: list[CorpusLine] = field(default_factory=list)
    placed: dict[str, str] = field(default_factory=dict)  # file → target
    hardlinked: int = 0
    without_words: int = 0


def prepare_corpus(
    layout: str,
    source: Path,
    target: Path,
    *,
    lists: Mapping[str, Path] | None = None,
    placing: Placing = "auto",
    rights: str = "",
    progress: Progress = lambda done, total: None,
) -> CorpusSummary:
    """Make a footage folder from a corpus.

    The folder appears only when it is complete. A run that is killed leaves a folder ``.tmp-NAME``
    in the parent folder; the next run removes it.

    Args:
        layout: a name in :data:`redub.footage.corpora.registry.LAYOUTS`.
        source: the folder of the corpus.
        target: the folder to make; it may exist, but must be empty.
        lists: split → split list. With lists, utterances in no list get the split ``none``;
            without lists all utterances are for training.
        placing: ``hardlink`` (takes no space; a change of one file changes both), ``copy``, or
            ``auto`` (a hard link, or a copy if the disk does not support hard links).
        rights: value for ``cast.csv`` if the corpus states no rights.

    Raises:
        ConfigError: an unknown layout, a wrong list, a target in use, or no usable utterance.
        StorageError: the disk is full, or no hard link can be made.
    """
    reader = reader_of(layout)
    if placing not in ("auto", "hardlink", "copy"):
        raise ConfigError(
            f"placing is '{placing}'; legal: auto, hardlink, copy", code="E-CFG-VALUE"
        )
    _check_target(source, target)
    known = read_lists(lists or {})
    tree = list_corpus(source, known)
    plan = reader(tree)
    _account(tree, plan, lists or {})
    if not plan.lines:
        raise ConfigError(
            f"no line of the layout '{layout}' below {source}{_reasons(plan.skipped)}",
            code="E-CFG-CORPUS",
        )
    try:
        with new_folder(target.resolve()) as folder:
            work = _placed(source, folder, plan, placing, progress)
            splits = _splits(work.lines, known) if lists else {}
            _write_tables(work, plan.rights or rights, splits)
            _write_report(work, plan)
    except OSError as error:  # one that durable.py has no sentence for
        raise StorageError(f"the folder {target} cannot be made: {error}") from error
    return _summary(layout, target, work, plan, known, splits)


def _placed(
    source: Path, folder: Path, plan: CorpusPlan, placing: Placing, progress: Progress
) -> _Work:
    """Place all files of a plan in an empty folder.

    Raises:
        ConfigError: E-CFG-CORPUS, no utterance can be used.
    """
    work = _Work(folder, placing)
    _place_all(source, plan, work, progress)
    if not work.lines:
        raise ConfigError(
            f"no line of {source} can be used{_reasons(plan.skipped)}", code="E-CFG-CORPUS"
        )
    return work


def _check_target(source: Path, target: Path) -> None:
    """Raise ConfigError if the target is in use, or is in the corpus."""
    home, wanted = source.resolve(), target.resolve()
    if wanted == home or home in wanted.parents or wanted in home.parents:
        raise ConfigError(
            f"the footage folder {target} and the corpus {source} contain one another; wanted two "
            "separate folders",
            code="E-CFG-EXISTS",
        )
    if target.is_symlink() or (target.exists() and not target.is_dir()):
        raise ConfigError(f"{target} exists and is not a folder", code="E-CFG-EXISTS")
    if target.is_dir() and any(target.iterdir()):
        raise ConfigError(f"{target} is not empty; name a new folder", code="E-CFG-EXISTS")


def _account(tree: CorpusTree, plan: CorpusPlan, lists: Mapping[str, Path]) -> None:
    """Put every file that is in no group yet into ``facts`` or ``skipped``."""
    given = {path.resolve() for path in lists.values()}
    used = {line.source for line in plan.lines}
    for file in tree.files:
        if file in used or file in plan.facts or file in plan.skipped:
            continue
        if (tree.root / file).resolve() in given:
            plan.facts[file] = "a split list"
        else:
            plan.skipped[file] = "no file of this layout"
    plan.skipped = {**tree.skipped, **plan.skipped}


def _reasons(skipped: Mapping[str, str]) -> str:
    counts = Counter(skipped.values()).most_common(3)
    return ": " + "; ".join(f"{count} × {why}" for why, count in counts) if counts else ""


def _place_all(root: Path, plan: CorpusPlan, work: _Work, progress: Progress) -> None:
    spelling: dict[str, str] = {}  # names in cast.csv may not differ only in upper and lower case
    targets: dict[str, str] = {}
    progress(0, len(plan.lines))
    with DecoderChild() as decoder:
        for done, line in enumerate(plan.lines, start=1):
            first = targets.setdefault(line.target.casefold(), line.source)
            try:
                if first != line.source:
                    raise ClipError(f"the same line as {first}")
                _place(root, line, work, decoder)
                speaker = spelling.setdefault(line.speaker.casefold(), line.speaker)
                work.lines.append(replace(line, speaker=speaker))
                work.placed[line.source] = line.target
            except ClipError as fault:
                plan.skipped[line.source] = fault.message
            progress(done, len(plan.lines))


def _place(root: Path, line: CorpusLine, work: _Work, decoder: DecoderChild) -> None:
    """Put one media file and its subtitle file into the folder.

    Raises:
        ClipError: the file cannot be decoded, or its text is not valid as a subtitle; the subtitle
            file is removed again.
    """
    media = (root / line.source).resolve()
    info = decoder.probe(media)
    place = work.folder / line.target
    place.parent.mkdir(parents=True, exist_ok=True)
    if line.text:
        beside = place.with_suffix(".srt")
        beside.write_text(subtitle(line.text, info.duration_s), encoding="utf-8")
        read = read_subtitles(beside, source=line.target, end_s=info.duration_s)
        if read.faults:
            beside.unlink()
            raise ClipError(read.faults[0].message)
        if not read.cues:
            beside.unlink()
            raise ClipError(f"its text '{line.text}' has no dialogue ({read.others[-1].kind})")
    else:
        work.without_words += 1
    if work.placing != "copy" and _hard_link(media, place, must=work.placing == "hardlink"):
        work.hardlinked += 1
    else:
        shutil.copyfile(media, place)


def subtitle(text: str, duration_s: float) -> str:
    """Write one SRT cue over a whole file; its end is rounded up to a millisecond."""
    ms = math.ceil(duration_s * 1000)
    end = f"{ms // 3_600_000:02d}:{ms // 60_000 % 60:02d}:{ms // 1000 % 60:02d},{ms % 1000:03d}"
    return f"1\n00:00:00,000 --> {end}\n{one_line(text)}\n"


def _hard_link(media: Path, place: Path, *, must: bool) -> bool:
    try:
        os.link(media, place)
    except OSError as error:
        if must or error.errno not in (errno.EXDEV, errno.EPERM, errno.EMLINK, errno.ENOTSUP):
            raise
        return False
    return True


def _splits(lines: Sequence[CorpusLine], lists: SplitLists) -> dict[str, str]:
    return {line.target: lists.splits.get(line.key, "none") for line in lines}


def _write_tables(work: _Work, rights: str, splits: Mapping[str, str]) -> None:
    lines = work.lines
    speakers = dict.fromkeys(line.speaker for line in lines)
    tables: dict[str, list[tuple[str, ...]]] = {
        "cast.csv": [("name", "rights"), *((name, rights) for name in speakers)],
        "speakers.csv": _rows("speaker", {x.target: x.speaker for x in lines}),
        "emotions.csv": _rows("emotion", {x.target: x.emotion for x in lines}),
        "scenes.csv": _rows("scene", scenes_of(lines)),
        "splits.csv": [("source", "split"), *splits.items()],
    }
    for name, rows in tables.items():
        if len(rows) > 1:
            _write_csv(work.folder / name, rows)


def _rows(column: str, values: Mapping[str, str]) -> list[tuple[str, ...]]:
    return [("source", "line", column), *((t, "", value) for t, value in values.items() if value)]


def _write_report(work: _Work, plan: CorpusPlan) -> None:
    rows = [(file, "placed", target) for file, target in work.placed.items()]
    rows += [(file, "read", what) for file, what in plan.facts.items()]
    rows += [(file, "skipped", why) for file, why in plan.skipped.items()]
    named = [tuple(map(shown, row)) for row in sorted(rows)]
    _write_csv(work.folder / REPORT, [("file", "became", "what"), *named])


def _write_csv(path: Path, rows: Sequence[Sequence[str]]) -> None:
    with path.open("w", encoding="utf-8", newline="") as file:
        csv.writer(file, lineterminator="\n").writerows(rows)


def _summary(
    layout: str,
    target: Path,
    work: _Work,
    plan: CorpusPlan,
    lists: SplitLists,
    splits: Mapping[str, str],
) -> CorpusSummary:
    lines = work.lines
    keys = {line.key for line in lines}
    return CorpusSummary(
        layout=layout,
        folder=str(target),
        lines=len(lines),
        hardlinked=work.hardlinked,
        copied=len(lines) - work.hardlinked,
        without_words=work.without_words,
        triples=_triples(lines),
        facts=len(plan.facts),
        speakers=len({line.speaker for line in lines}),
        emotions=_counts(line.emotion for line in lines if line.emotion),
        splits=_counts(splits.get(line.target, "train") for line in lines),
        skipped=_counts(plan.skipped.values()),
        unlisted=sum(line.key not in lists.splits for line in lines) if lists.splits else 0,
        missing=tuple(sorted(lists.splits.keys() - keys)),
        notes=tuple(plan.notes),
    )


def _counts(values: Iterable[str]) -> dict[str, int]:
    return dict(Counter(values).most_common())


def _triples(lines: Sequence[CorpusLine]) -> int:
    """Count the utterances with one utterance before and one after in their scene."""
    scenes = scenes_of(lines)
    sizes = Counter((line.film, scenes[line.target]) for line in lines if line.target in scenes)
    return sum(max(size - 2, 0) for size in sizes.values())
