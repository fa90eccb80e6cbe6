"""The report of the last evaluation: one self-contained page.

Reads the evaluation, the runs' samples and metrics, cached features, the neighbours, the
quarantine, and the video frames of the shown utterances (decoded in the decoder child). Writes one
HTML file.
"""

from __future__ import annotations

import platform
import time
from collections import Counter
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np

from redub import __version__
from redub.core.durable import commit_bytes
from redub.core.metric import Absent
from redub.pages.contents import (
    Chart,
    Confusion,
    Curve,
    EmotionRow,
    EmotionTable,
    Measure,
    QuarantineRow,
    ReportData,
    StageTiming,
    Table,
)
from redub.pages.report import render_report
from redub.pipeline.reports.evaluation_cards import cards_of, results_of, role_of
from redub.pipeline.reports.evaluation_lines import shown_lines
from redub.pipeline.reports.training_strip import training_strip
from redub.pipeline.store.index.builds import open_index
from redub.pipeline.store.project import Project
from redub.pipeline.store.runs.evaluations import Evaluation, last_evaluation
from redub.pipeline.store.runs.folders import read_metrics, run_folder
from redub.pipeline.store.tables import Store
from redub.pipeline.store.timings import read_timings
from redub.pipeline.store.writing import writing


def write_report(project: Project, output: Path) -> Path:
    """Render the page of the last evaluation.

    Raises:
        ConfigError: nothing was evaluated yet.
    """
    page = render_report(report_data(project, last_evaluation(project)))
    commit_bytes(output, page.encode("utf-8"))
    return output


def report_data(project: Project, evaluation: Evaluation) -> ReportData:
    """Collect everything that the page shows from the store."""
    store = Store(project)
    runs, recogniser = evaluation.runs, evaluation.recogniser
    return ReportData(
        title=f"{project.config.name}: dubbed lines",
        project=project.config.name,
        created=time.strftime("%Y-%m-%d %H:%M"),
        summary=(
            f"{len(evaluation.line_ids)} held-out lines of split "
            f"'{evaluation.split}', spoken from words, video and retrieved footage."
        ),
        cards=cards_of(evaluation),
        results=results_of(evaluation),
        comparisons=tuple(evaluation.comparisons),
        emotion=_emotion(evaluation),
        charts=_charts(project, runs),
        strips=tuple(strip for run in runs if (strip := training_strip(project, store, run))),
        lines=shown_lines(project, store, evaluation),
        footage=_footage(store),
        timings=tuple(
            StageTiming(stage=name, seconds=seconds)
            for name, seconds in read_timings(project)["stages"].items()
        ),
        quarantine=tuple(
            QuarantineRow(
                clip_id=row["clip_id"],
                stage=row["stage"],
                code=row["code"],
                message=row["message"],
                command=row["command"],
            )
            for row in store.quarantined().to_dicts()
        ),
        environment=(
            ("redub", __version__),
            ("python", platform.python_version()),
            (
                "emotion recogniser",
                recogniser.message if isinstance(recogniser, Absent) else recogniser,
            ),
            ("index build", open_index(project).build),
        ),
        commands=(
            "redub status",
            "redub index query CLIP",
            "redub dub VIDEO --script FILE.srt -o OUT.mp4",
        ),
        hop_s=project.config.audio.hop_samples / project.config.audio.sample_rate_hz,
    )


def _emotion(evaluation: Evaluation) -> EmotionTable | None:
    rows, confusions = [], []
    for scores in evaluation.systems:
        emotion = scores.emotion
        if emotion is None:
            continue
        accuracy = Measure(emotion.accuracy, emotion.accuracy_low, emotion.accuracy_high)
        rows.append(
            EmotionRow(
                system=scores.system,
                role=role_of(scores.system),
                accuracy=accuracy,
                macro_f1=Measure(emotion.macro_f1),
                count=emotion.count,
            )
        )
        confusions.append(
            Confusion(system=scores.system, classes=emotion.classes, counts=emotion.confusion)
        )
    majority = evaluation.baselines["emo_acc"]
    if not rows or isinstance(majority, Absent):
        return None
    return EmotionTable(
        rows=tuple(rows),
        majority=majority,
        confusions=tuple(confusions),
        note="The recogniser was trained on recorded lines of the training split only.",
    )


def _charts(project: Project, runs: Sequence[str]) -> tuple[Chart, ...]:
    losses, validation = [], []
    for run in runs:
        rows = read_metrics(run_folder(project, run))
        steps = [row for row in rows if "loss" in row]
        losses.append(_curve(run, steps, "loss"))
        validation.append(
            _curve(run, [r for r in rows if "validation_loss" in r], "validation_loss")
        )
    return (
        Chart(title="training loss", y_label="loss", curves=tuple(losses)),
        Chart(title="validation loss", y_label="loss", curves=tuple(validation)),
    )


def _curve(name: str, rows: Sequence[Mapping[str, float]], key: str) -> Curve:
    every = max(1, len(rows) // 200)
    kept = [rows[i : i + every] for i in range(0, len(rows), every)]
    return Curve(
        name=name,
        steps=tuple(float(group[-1]["step"]) for group in kept),
        values=tuple(float(np.mean([row[key] for row in group])) for group in kept),
    )


def _footage(store: Store) -> tuple[Table, ...]:
    clips = store.clips()
    fps = store.project.config.video.fps
    splits = sorted({clip.split for clip in clips})
    by_split = tuple(
        (
            split,
            sum(c.split == split for c in clips),
            round(sum(c.video_frames for c in clips if c.split == split) / fps / 60, 2),
            len({c.scene for c in clips if c.split == split}),
        )
        for split in splits
    )
    tables = [Table(title="splits", columns=("split", "lines", "minutes", "scenes"), rows=by_split)]
    for title, name in (("speakers", "speaker"), ("emotions", "emotion")):
        counted = Counter(getattr(clip, name) or "not named" for clip in clips)
        rows = tuple((word, count) for word, count in sorted(counted.items()))
        tables.append(Table(title=title, columns=(name, "lines"), rows=rows))
    return tuple(tables)


def run_report(project: Project, output: Path | None) -> Path:
    """Write the page of the last evaluation under the project lock.

    Args:
        output: None for ``report.html`` in the project folder.
    """
    with writing(project, "report"):
        return write_report(project, output or project.root / "report.html")
