"""Draw the report of the last evaluation: one self-contained page.

Reads the evaluation, the runs' samples and metrics, cached features, the neighbours, the
quarantine, and the test lines' pictures (cut out of the footage through the decoder child).
Writes one HTML file.
"""

from __future__ import annotations

import math
import platform
import tempfile
import time
from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from redub import __version__
from redub.core.errors import ClipError, IntegrityError
from redub.core.phonemes import symbol_of
from redub.core.types import MODALITIES, Clip, Value, Waveform
from redub.features.emotion_lexicon import weights_of, words_of
from redub.footage.encode import write_clip
from redub.pages.contents import (
    Card,
    Casting,
    Chart,
    Confusion,
    Curve,
    EmotionRow,
    EmotionTable,
    Line,
    Measure,
    Metric,
    MetricTable,
    Neighbour,
    Picture,
    QuarantineRow,
    ReportData,
    Role,
    Sound,
    StageTiming,
    Standing,
    SystemRow,
    Table,
    Take,
    TrainingSample,
    TrainingStrip,
)
from redub.pages.report import render_report
from redub.pipeline.decoders import close_decoders
from redub.pipeline.evaluate import (
    GROUND_TRUTH,
    MEAN_MEL,
    METRIC_TITLES,
    RESYNTHESIS,
    SHARES,
    last_evaluation,
)
from redub.pipeline.extract import Toolbox
from redub.pipeline.files import commit_bytes
from redub.pipeline.index import features_of, open_index
from redub.pipeline.progress import Distances, read_sample
from redub.pipeline.project import MODALITY_FEATURES, Project
from redub.pipeline.retrieve import neighbours_of
from redub.pipeline.runs import read_metrics
from redub.pipeline.store import Store
from redub.pipeline.synthesize import Sample, make_vocoder, read_samples
from redub.pipeline.timings import read_timings
from redub.pipeline.train import run_folder, sampled_steps

LINES_SHOWN, STEPS_SHOWN = 24, 4
HIGHER = ("emo_acc", "emo_acc_all", "macro_f1", "f0_correlation")
EXPLAINED = {
    "emo_acc": "share of lines in which a recogniser trained on the recorded training lines hears "
    "the line's emotion; Wilson interval",
    "emo_acc_all": "the same by a judge that hears spectral statistics too, which tell a smooth "
    "mel from a recording before they tell an emotion (docs/decisions/0005)",
    "macro_f1": "mean F1 over the emotions, so that rare ones count as much as common ones",
    "mcd_dtw": "mel-cepstral distortion along the best alignment, of the sound",
    "mcd_dtw_mel": "the same, of the mel before the vocoder",
    "gpe": "pitch off by more than 20 %, of the frames voiced in both",
    "ffe": "frames with a wrong voicing decision or a gross pitch error",
    "f0_correlation": "Pearson r of F0 over frames voiced in both",
    "slot_error_ms": "how far the line's length is from its slot; 0 by construction, since the "
    "length comes from the picture: read the phoneme column for timing",
    "phoneme_error_ms": "mean duration error per phoneme against the alignment of the recording",
    "wer": "small offline recogniser with this corpus's vocabulary: compare systems, nothing else",
    "lip_offset": "distance of the best lip-audio offset from zero, in pictures (never LSE)",
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
    """Everything the page shows, gathered from the store."""
    store = Store(project)
    runs: list[str] = evaluation["runs"]
    return ReportData(
        title=f"{project.config.name}: dubbed lines",
        project=project.config.name,
        created=time.strftime("%Y-%m-%d %H:%M"),
        summary=(
            f"{len({x['clip_id'] for x in evaluation['lines']})} held-out lines of split "
            f"'{evaluation['split']}', spoken from words, picture and retrieved footage."
        ),
        cards=_cards(evaluation),
        results=_results(evaluation),
        differences=_differences(evaluation),
        emotion=_emotion(evaluation),
        charts=_charts(project, runs),
        strips=tuple(strip for run in runs if (strip := training_strip(project, store, run))),
        lines=_lines(project, store, evaluation),
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
    ("emo_acc", "Emotion heard as meant (EMO-ACC)", ("always the commonest emotion", None)),
    ("mcd_dtw_mel", "Distance of the mel (MCD-DTW)", None),
    ("gpe", "Pitch off by over 20 % (GPE)", None),
    ("phoneme_error_ms", "Phonemes too long or too short", None),
)
"""Metric, title, and the answer that needs no system: its name and figure (None: the majority's).
Where there is none, the training-mean mel stands for it."""


def _cards(evaluation: dict[str, Any]) -> tuple[Card, ...]:
    """What the first run reached, beside the recording, the other runs and a trivial answer."""
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
    """Better than all rivals, worse than one, or not told apart, by the run's own interval."""
    sign = 1.0 if higher else -1.0
    assert own.value is not None
    ends = [own.value if end is None else end for end in (own.low, own.high)]
    least, most = sorted(sign * end for end in ends)
    worse = [name for name, value in rivals.items() if sign * value > most]
    open_ = [name for name, value in rivals.items() if least <= sign * value <= most]
    if worse:
        return "worse", f"worse than {' and '.join(worse)}"
    if open_:
        return "open", f"not told apart from {' and '.join(open_)}"
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
    """The paired comparisons, each on the same lines."""
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
        note="An interval on one side of 0 tells the two apart on these lines.",
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
    return MetricTable(metrics=metrics, rows=rows, note="95 % intervals in brackets")


def _emotion(evaluation: dict[str, Any]) -> EmotionTable | None:
    rows, confusions = [], []
    for system in evaluation["systems"]:
        heard = system["emotion"]
        if heard is None:
            continue
        accuracy = Measure(heard["accuracy"], heard["accuracy_low"], heard["accuracy_high"])
        rows.append(
            EmotionRow(
                system=system["system"],
                role=_role(system["system"]),
                accuracy=accuracy,
                macro_f1=Measure(heard["macro_f1"]),
                count=heard["count"],
            )
        )
        counts = tuple(tuple(row) for row in heard["confusion"])
        confusions.append(
            Confusion(system=system["system"], classes=tuple(heard["classes"]), counts=counts)
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


def training_strip(project: Project, store: Store, run: str) -> TrainingStrip | None:
    """The first fixed line at up to STEPS_SHOWN steps; None for a run that left no samples."""
    folder = run_folder(project, run)
    steps = sampled_steps(folder)
    if not steps:
        return None
    last, places = len(steps) - 1, min(STEPS_SHOWN, len(steps))
    shown = sorted({steps[round(place * last / max(places - 1, 1))] for place in range(places)})
    samples, line = [], None
    for step in shown:
        try:
            line = read_sample(folder, step)
        except IntegrityError as error:
            samples.append(TrainingSample(step=step, problem=f"Not shown: {error.message}."))
        else:
            sound = Sound(waveform=line.waveform)
            figures = _distance_texts(line.distances)
            samples.append(
                TrainingSample(step=step, picture=line.picture, sound=sound, figures=figures)
            )
    if line is None:
        return TrainingStrip(run=run, samples=tuple(samples))
    texts = {clip.clip_id: clip.text for clip in store.clips()}
    recorded = store.read("waveform", {line.clip_id} & texts.keys()).get(line.clip_id)
    return TrainingStrip(
        run=run,
        samples=tuple(samples),
        clip_id=line.clip_id,
        text=texts.get(line.clip_id, ""),
        split=line.split,
        recorded=None if recorded is None else _stored_sound(project, recorded),
    )


def _distance_texts(distances: Distances) -> tuple[tuple[str, str], ...]:
    texts = (
        ("mel L1", distances.mel_l1, "{:.2f}"),
        ("F0", distances.f0_rmse_cents, "{:.0f} cents"),
        ("durations", distances.duration_error_ms, "{:.1f} ms"),
    )
    return tuple((name, form.format(value)) for name, value, form in texts if value is not None)


def _stored_sound(project: Project, stored: Value) -> Sound:
    samples = np.asarray(stored)[:, 0].astype(np.float32) / 32768.0
    return Sound(waveform=Waveform(samples, project.config.audio.sample_rate_hz))


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


# -- lines


def _lines(project: Project, store: Store, evaluation: dict[str, Any]) -> tuple[Line, ...]:
    """The first lines of every scene, in turn, up to LINES_SHOWN."""
    measured = {(x["clip_id"], x["system"]): x for x in evaluation["lines"]}
    ids = list(dict.fromkeys(x["clip_id"] for x in evaluation["lines"]))
    clips = {clip.clip_id: clip for clip in store.clips()}
    chosen = _spread([clips[i] for i in ids])
    samples = {run: read_samples(project, run, evaluation["split"]) for run in evaluation["runs"]}
    gather = _Gatherer(project, store, chosen, clips)
    lines = []
    try:
        for clip in chosen:
            takes = gather.takes(clip, measured, samples)
            first = samples[evaluation["runs"][0]][clip.clip_id].waveform
            lines.append(gather.line(clip, takes, first))
    finally:
        close_decoders()
    return tuple(lines)


def _spread(clips: Sequence[Clip]) -> list[Clip]:
    scenes: dict[tuple[str, str], list[Clip]] = {}
    for clip in clips:
        scenes.setdefault((clip.film, clip.scene), []).append(clip)
    share = max(1, LINES_SHOWN // max(1, len(scenes)))
    return [clip for lines in scenes.values() for clip in lines[:share]][:LINES_SHOWN]


class _Gatherer:
    """Collects what the shown lines need, each feature read once."""

    def __init__(
        self, project: Project, store: Store, chosen: Sequence[Clip], clips: dict[str, Clip]
    ) -> None:
        self.project, self.store, self.clips = project, store, clips
        self.tools = Toolbox(project)
        self.vocoder = make_vocoder(project)
        self.neighbours = neighbours_of(store, open_index(project))
        ids = {clip.clip_id for clip in chosen}
        hits = {hit for i in ids for found in self.neighbours[i].values() for hit, _ in found}
        self.values: dict[str, dict[str, Value]] = {
            name: store.read(name, ids | hits)
            for name in ("waveform", "mel", "f0", "durations", "scene_caption", "face_caption")
        }
        self._sounds: dict[str, Sound] = {}

    def takes(
        self,
        clip: Clip,
        measured: dict[tuple[str, str], dict[str, Any]],
        samples: dict[str, dict[str, Sample]],
    ) -> tuple[Take, ...]:
        mel = np.asarray(self.values["mel"][clip.clip_id])
        durations = self.values["durations"].get(clip.clip_id)
        truth = Take(
            system=GROUND_TRUTH,
            sound=self.recorded(clip.clip_id),
            mel=mel,
            f0_hz=np.asarray(self.values["f0"][clip.clip_id])[:, 0],
            durations=_named(durations),
            **_heard(measured, clip, GROUND_TRUTH),
        )
        vocoded = Take(
            system=RESYNTHESIS,
            sound=Sound(waveform=self.vocoder.vocode(mel)),
            **_heard(measured, clip, RESYNTHESIS),
        )
        made = []
        for run, takes in samples.items():
            sample = takes[clip.clip_id]
            made.append(
                Take(
                    system=run,
                    sound=Sound(waveform=sample.waveform),
                    mel=sample.mel,
                    f0_hz=sample.arrays.get("f0_hz"),
                    **_heard(measured, clip, run),
                )
            )
        return (truth, vocoded, *made)

    def recorded(self, clip_id: str) -> Sound | None:
        if clip_id not in self._sounds:
            stored = self.values["waveform"].get(clip_id)
            if stored is None:
                return None
            self._sounds[clip_id] = _stored_sound(self.project, stored)
        return self._sounds[clip_id]

    def line(self, clip: Clip, takes: tuple[Take, ...], dubbed: Waveform) -> Line:
        fps = self.project.config.video.fps
        return Line(
            clip_id=clip.clip_id,
            text=clip.text,
            speaker=clip.speaker,
            emotion=clip.emotion,
            film=clip.film,
            scene=clip.scene,
            split=clip.split,
            picture=self._picture(clip, dubbed),
            takes=takes,
            casting=tuple(self._casting(clip, modality) for modality in MODALITIES),
            facts=(("slot", f"{clip.start_frame / fps:.2f} s to {clip.end_frame / fps:.2f} s"),),
        )

    def _picture(self, clip: Clip, sound: Waveform) -> Picture | None:
        """The line's own picture with a take's sound; None where it cannot be read."""
        if not clip.has_video:
            return None
        try:
            frames = self.tools.decode(clip, frames=True, sound=False).frames
        except ClipError:
            return None
        if frames is None:
            return None
        with tempfile.TemporaryDirectory(prefix="redub-page-") as folder:
            path = Path(folder) / "line.mp4"
            write_clip(path, frames, self.project.config.video.fps, sound, crf=30)
            return Picture(mp4=path.read_bytes(), poster=frames[len(frames) // 2])

    def _casting(self, clip: Clip, modality: str) -> Casting:
        feature = features_of(self.store)[modality]
        is_worded = feature == MODALITY_FEATURES[modality][0]
        asked = clip.text
        if modality != "text":
            asked = str(self.values[f"{modality}_caption"].get(clip.clip_id, ""))
        own = set(_feeling_words(asked)) if is_worded else set()
        found = []
        for rank, (hit, score) in enumerate(self.neighbours[clip.clip_id][modality], start=1):
            other = self.clips[hit]
            said = other.text
            if modality != "text":
                said = str(self.values[f"{modality}_caption"].get(hit, ""))
            found.append(
                Neighbour(
                    rank=rank,
                    clip_id=hit,
                    score=score,
                    speaker=other.speaker,
                    emotion=other.emotion,
                    text=said,
                    film=other.film,
                    shared_words=tuple(sorted(own & set(_feeling_words(said)))),
                    sound=self.recorded(hit),
                )
            )
        return Casting(
            modality=modality,
            neighbours=tuple(found),
            query=asked,
            similarity=f"{self.project.config.index.metric} of {feature}",
        )


def _feeling_words(text: str) -> list[str]:
    """The words of a text that the emotion lexicon knows."""
    return [word for word in words_of(text) if weights_of(word) is not None]


def _named(durations: Value | None) -> tuple[tuple[str, int], ...]:
    if durations is None:
        return ()
    return tuple((symbol_of(int(row[0])), int(row[1])) for row in np.asarray(durations))


def _heard(
    measured: dict[tuple[str, str], dict[str, Any]], clip: Clip, system: str
) -> dict[str, Any]:
    row = measured[clip.clip_id, system]
    figures = [
        (title, f"{row[name]:.2f}")
        for name, title in (("mcd_dtw", "MCD-DTW"), ("f0_correlation", "F0 r"))
        if row[name] is not None and math.isfinite(row[name])
    ]
    if row["heard_emotion"]:
        figures.append(("heard", row["heard_emotion"]))
    return {"transcript": row["transcript"], "figures": tuple(figures)}
