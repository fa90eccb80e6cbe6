"""The report of the last evaluation: one self-contained page.

Reads the evaluation, the runs' samples and metrics, cached features, the neighbours, the
quarantine, and the video frames of the shown utterances (decoded in the decoder child). Writes one
HTML file.
"""

from __future__ import annotations

import math
import platform
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from redub import __version__
from redub.core.durable import commit_bytes
from redub.pages.contents import (
    Card,
    Chart,
    Confusion,
    Curve,
    EmotionRow,
    EmotionTable,
    Measure,
    Metric,
    MetricTable,
    QuarantineRow,
    ReportData,
    Role,
    StageTiming,
    Standing,
    SystemRow,
    Table,
)
from redub.pages.report import render_report
from redub.pipeline.reports.evaluation_lines import shown_lines
from redub.pipeline.reports.training_strip import training_strip
from redub.pipeline.store.index.builds import open_index
from redub.pipeline.store.project import Project
from redub.pipeline.store.runs.evaluations import (
    GROUND_TRUTH,
    MEAN_MEL,
    METRIC_TITLES,
    RESYNTHESIS,
    SHARES,
    last_evaluation,
)
from redub.pipeline.store.runs.folders import read_metrics, run_folder
from redub.pipeline.store.tables import Store
from redub.pipeline.store.timings import read_timings
from redub.pipeline.store.writing import writing

HIGHER = ("emo_acc", "emo_acc_all", "macro_f1", "f0_correlation")


EXPLAINED = {
    "emo_acc": "share of lines whose labelled emotion is recognised, by a recogniser of prosody "
    "that was trained on the recorded training lines; Wilson interval",
    "emo_acc_all": "the same with a recogniser that also reads spectral statistics, which separate "
    "a smooth mel from a recording more than they separate emotions (docs/decisions/0005)",
    "macro_f1": "mean F1 over the emotions, so that rare emotions count as much as common ones",
    "mcd_dtw": "mel-cepstral distortion along the best alignment, of the sound",
    "mcd_dtw_mel": "the same, of the mel before the vocoder",
    "gpe": "share of frames with a pitch error above 20 %, of the frames voiced in both",
    "ffe": "share of frames with a wrong voicing decision or a gross pitch error",
    "f0_correlation": "Pearson r of F0 over frames voiced in both",
    "slot_error_ms": "difference between the line's length and its slot; 0 by construction, since "
    "the length comes from the video: read the phoneme column for timing",
    "phoneme_error_ms": "mean duration error per phoneme against the alignment of the recording",
    "wer": "word error rate of a small offline recogniser with this corpus's vocabulary; use it "
    "only to compare systems",
    "lip_offset": "distance of the best lip-audio offset from zero, in video frames (not LSE)",
}


def write_report(project: Project, output: Path) -> Path:
    """Render the page of the last evaluation.

    Raises:
        ConfigError: nothing was evaluated yet.
    """
    page = render_report(report_data(project, last_evaluation(project)))
    commit_bytes(output, page.encode("utf-8"))
    return output


def report_data(project: Project, evaluation: dict[str, Any]) -> ReportData:
    """Collect everything that the page shows from the store."""
    store = Store(project)
    runs: list[str] = evaluation["runs"]
    return ReportData(
        title=f"{project.config.name}: dubbed lines",
        project=project.config.name,
        created=time.strftime("%Y-%m-%d %H:%M"),
        summary=(
            f"{len({x['clip_id'] for x in evaluation['lines']})} held-out lines of split "
            f"'{evaluation['split']}', spoken from words, video and retrieved footage."
        ),
        cards=_cards(evaluation),
        results=_results(evaluation),
        differences=_differences(evaluation),
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
            ("emotion recogniser", evaluation["recogniser"]),
            ("index build", open_index(project).build),
        ),
        commands=(
            "redub status",
            "redub index query CLIP",
            "redub dub VIDEO --script FILE.srt -o OUT.mp4",
        ),
        hop_s=project.config.audio.hop_samples / project.config.audio.sample_rate_hz,
    )


def _role(system: str) -> Role:
    if system in (GROUND_TRUTH, RESYNTHESIS):
        return "reference"
    return "baseline" if system == MEAN_MEL else "system"


def _measure(value: Sequence[float | None] | None) -> Measure:
    return Measure(None) if value is None else Measure(*value)


CARDS = (
    ("wer", "Words not understood (WER)", ("no word understood", 1.0)),
    ("emo_acc", "Emotion recognised (EMO-ACC)", ("always the commonest emotion", None)),
    ("mcd_dtw_mel", "Distance of the mel (MCD-DTW)", None),
    ("gpe", "Pitch off by over 20 % (GPE)", None),
    ("phoneme_error_ms", "Phonemes too long or too short", None),
)
"""Metric, title, and the trivial answer: its name and figure (None: that of the majority class).
Metrics without a trivial answer are compared with the training-mean mel."""


def _cards(evaluation: dict[str, Any]) -> tuple[Card, ...]:
    """The main figures of the first run, with those of the recording, other runs and baselines."""
    runs: list[str] = evaluation["runs"]
    values = {system["system"]: system["values"] for system in evaluation["systems"]}
    cards = []
    for metric, title, trivial in CARDS:
        own = _measure(values[runs[0]].get(metric))
        if own.value is None or not math.isfinite(own.value):
            continue
        known = {
            name: float(values[name][metric][0])
            for name in (GROUND_TRUTH, RESYNTHESIS, *runs[1:], MEAN_MEL)
            if values.get(name, {}).get(metric) and math.isfinite(values[name][metric][0])
        }
        if trivial is not None:
            known.pop(MEAN_MEL, None)
            known[trivial[0]] = evaluation["majority"] if trivial[1] is None else trivial[1]
        rivals = {n: v for n, v in known.items() if n not in (GROUND_TRUTH, RESYNTHESIS)}
        standing, verdict = _standing(own, rivals, higher=metric in HIGHER)
        if GROUND_TRUTH in known:
            best = {GROUND_TRUTH: known[GROUND_TRUTH]}
            against, _ = _standing(own, best, higher=metric in HIGHER)
            if against == "worse":
                verdict = "; ".join(filter(None, (verdict, "worse than the recording")))
        cards.append(
            Card(
                title=title,
                value=_figure(own.value, metric),
                beside=tuple((name, _figure(value, metric)) for name, value in known.items()),
                standing=standing,
                verdict=verdict,
                detail=_interval(own, metric),
            )
        )
    return tuple(cards)


def _standing(own: Measure, rivals: dict[str, float], *, higher: bool) -> tuple[Standing, str]:
    """Better than all rivals, worse than some, or no clear difference, by the run's interval.

    A rival is clearly better or worse where its figure lies outside the run's 95 % interval.
    """
    sign = 1.0 if higher else -1.0
    assert own.value is not None
    ends = [own.value if end is None else end for end in (own.low, own.high)]
    least, most = sorted(sign * end for end in ends)
    worse = [name for name, value in rivals.items() if sign * value > most]
    open_ = [name for name, value in rivals.items() if least <= sign * value <= most]
    if worse:
        return "worse", f"worse than {' and '.join(worse)}"
    if open_:
        return "open", f"no clear difference from {' and '.join(open_)}"
    return ("better", f"better than {' and '.join(rivals)}") if rivals else ("open", "")


def _figure(value: float, metric: str) -> str:
    if metric in SHARES:
        return f"{100 * value:.1f} %"
    unit = next((u for u in ("dB", "ms") if METRIC_TITLES[metric].endswith(u)), "")
    return f"{value:.1f} {unit}".strip()


def _interval(own: Measure, metric: str) -> str:
    if own.low is None or own.high is None or not math.isfinite(own.low + own.high):
        return ""
    low, high = (_figure(end, metric) for end in (own.low, own.high))
    return f"95 % interval {low} to {high}"


def _differences(evaluation: dict[str, Any]) -> Table | None:
    """The paired comparisons, each over the same utterances."""
    rows = []
    for name, (value, low, high) in evaluation["comparisons"].items():
        is_share = name.startswith(("EMO-ACC", "GPE", "FFE"))
        scale, unit = (100, "points") if is_share else (1, "dB")
        figures = (f"{scale * v:+.1f}".replace("-", "−") for v in (value, low, high))
        said, least, most = figures
        rows.append((name, f"{said} {unit}", f"{least} to {most}"))
    if not rows:
        return None
    return Table(
        title="Differences, line by line",
        columns=("what", "difference", "95 % interval"),
        rows=tuple(rows),
        note="The difference is clear on these lines where its interval does not contain 0.",
    )


def _results(evaluation: dict[str, Any]) -> MetricTable:
    metrics = tuple(
        Metric(
            key=name,
            title=title.removesuffix(" %").removesuffix(" dB").removesuffix(" ms"),
            unit="dB" if title.endswith("dB") else "ms" if title.endswith("ms") else "",
            direction="higher" if name in HIGHER else "lower",
            digits=1 if name in SHARES else 2,
            percent=name in SHARES,
            explanation=EXPLAINED[name],
        )
        for name, title in METRIC_TITLES.items()
    )
    rows = tuple(
        SystemRow(
            system=system["system"],
            role=_role(system["system"]),
            values={name: _measure(value) for name, value in system["values"].items()},
        )
        for system in evaluation["systems"]
    )
    return MetricTable(metrics=metrics, rows=rows)


def _emotion(evaluation: dict[str, Any]) -> EmotionTable | None:
    rows, confusions = [], []
    for system in evaluation["systems"]:
        emotion = system["emotion"]
        if emotion is None:
            continue
        accuracy = Measure(emotion["accuracy"], emotion["accuracy_low"], emotion["accuracy_high"])
        rows.append(
            EmotionRow(
                system=system["system"],
                role=_role(system["system"]),
                accuracy=accuracy,
                macro_f1=Measure(emotion["macro_f1"]),
                count=emotion["count"],
            )
        )
        counts = tuple(tuple(row) for row in emotion["confusion"])
        confusions.append(
            Confusion(system=system["system"], classes=tuple(emotion["classes"]), counts=counts)
        )
    if not rows:
        return None
    return EmotionTable(
        rows=tuple(rows),
        majority=evaluation["majority"],
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


def _curve(name: str, rows: list[dict[str, Any]], key: str) -> Curve:
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
