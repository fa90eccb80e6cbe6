"""Evaluation records: the metrics of runs.

Reads and writes ``evaluations/<number>.json``, one record per evaluation.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from redub.core.config import digest_of
from redub.core.durable import commit_json, file_digest, read_json
from redub.core.errors import ConfigError, IntegrityError
from redub.evaluation.emotion_recogniser import EmotionReport
from redub.pipeline.store.project import Project
from redub.pipeline.store.runs.folders import run_folder
from redub.pipeline.store.runs.vocoders import vocoder_key
from redub.pipeline.store.tables import Store, commonest

GROUND_TRUTH, RESYNTHESIS, MEAN_MEL = "ground truth", "vocoder resynthesis", "training-mean mel"


@dataclass(slots=True)
class LineFigures:
    """Measurements of one utterance by one system; NaN where a metric is not defined.

    ``recognised_emotion`` is the emotion that the prosody recogniser finds in the take,
    ``recognised_by_all`` that of the recogniser which uses every dimension. ``emotion_vector`` is
    the audio emotion vector of the take, None without speech. ``mcd_dtw`` compares mels of the
    sound, ``mcd_dtw_mel`` the mel before the vocoder. ``pairs``: compared frames;
    ``voiced_in_both``, ``voicing_errors`` and ``gross_errors`` count among them.
    """

    clip_id: str
    system: str
    slot_error_ms: float
    mcd_dtw: float
    mcd_dtw_mel: float
    pairs: int
    voiced_in_both: int
    voicing_errors: int
    gross_errors: int
    f0_correlation: float
    phoneme_error_ms: float
    transcript: str
    emotion_vector: list[float] | None
    recognised_emotion: str = ""
    recognised_by_all: str = ""
    offset_frames: int | None = None


@dataclass(frozen=True, slots=True)
class SystemScores:
    """One row of the table; ``values``: metric to (value, low, high), a 95 % interval."""

    system: str
    lines: int
    values: dict[str, tuple[float, float, float]]
    emotion: EmotionReport | None


@dataclass(slots=True)
class Evaluation:
    """One evaluation: all numbers of a table and a report.

    ``majority``: accuracy of always answering the commonest emotion. ``comparisons``: name to
    (difference, low, high). ``made_from``: digest of :func:`inputs_of`. ``left_out``: clip id to
    the reason why an utterance of the split was not measured.
    """

    split: str
    runs: list[str]
    systems: list[SystemScores]
    lines: list[LineFigures]
    majority: float
    comparisons: dict[str, tuple[float, float, float]] = field(default_factory=dict)
    recogniser: str = ""
    unknown_words: list[str] = field(default_factory=list)
    made_from: str = ""
    left_out: dict[str, str] = field(default_factory=dict)

    def without(self) -> str:
        """A sentence about the utterances that were not measured; empty if there are none."""
        if not self.left_out:
            return ""
        reasons = commonest(self.left_out.values())
        return f"lines of split '{self.split}' not measured: {len(self.left_out)} ({reasons})"

    def columns(self) -> list[str]:
        """Column titles of the table."""
        return ["system", *METRIC_TITLES.values()]

    def text_rows(self) -> list[list[str]]:
        """Rows of the table as text, one per system."""
        return [
            [s.system, *(said(s.values.get(name), name) for name in METRIC_TITLES)]
            for s in self.systems
        ]

    def scores(self, system: str) -> SystemScores:
        """The row of a system, which must be in the evaluation."""
        return next(s for s in self.systems if s.system == system)

    def headlines(self) -> list[str]:
        """The main results as sentences: majority baseline, each system, each comparison."""
        lines = [f"EMO-ACC of always answering the commonest emotion: {self.majority:.1%}"]
        lines += [
            f"{s.system}: EMO-ACC {said(s.values.get('emo_acc'), 'emo_acc')}, "
            f"MCD-DTW (mel) {said(s.values.get('mcd_dtw_mel'), 'mcd_dtw_mel')}, "
            f"slot error {said(s.values.get('slot_error_ms'), 'slot_error_ms')}"
            for s in self.systems
        ]
        lines += [
            f"{name}: {value:+.3f} [{low:+.3f}, {high:+.3f}]"
            for name, (value, low, high) in self.comparisons.items()
        ]
        return [*lines, self.without()] if self.left_out else lines


METRIC_TITLES = {
    "emo_acc": "EMO-ACC %",
    "emo_acc_all": "EMO-ACC, all dims %",
    "macro_f1": "macro-F1 %",
    "mcd_dtw": "MCD-DTW dB",
    "mcd_dtw_mel": "MCD-DTW (mel) dB",
    "gpe": "GPE %",
    "ffe": "FFE %",
    "f0_correlation": "F0 r",
    "slot_error_ms": "slot ms",
    "phoneme_error_ms": "phoneme ms",
    "wer": "WER %",
    "lip_offset": "|lip offset| frames",
}
"""Metric to its column title, in the order of the table."""

SHARES = ("emo_acc", "emo_acc_all", "macro_f1", "gpe", "ffe", "wer")
"""Metrics that are fractions, shown in percent."""


def said(value: tuple[float, float, float] | None, metric: str) -> str:
    """Format a value with its interval; a dash if there is no finite value."""
    if value is None or not math.isfinite(value[0]):
        return "–"
    scale, digits = (100.0, 1) if metric in SHARES else (1.0, 2)
    text = f"{value[0] * scale:.{digits}f}"
    if math.isfinite(value[1]) and math.isfinite(value[2]):
        text += f" [{value[1] * scale:.{digits}f}, {value[2] * scale:.{digits}f}]"
    return text


# -- on disk


def inputs_of(project: Project, runs: Sequence[str], split: str) -> str:
    """Digest of everything that an evaluation depends on: takes, features, clips, settings."""
    takes = [
        file_digest(run_folder(project, run) / "samples" / split / "index.json") for run in runs
    ]
    store = Store(project)
    keys = {name: store.keys.by_name[name].key for name in store.keys.usable}
    clips = [asdict(clip) for clip in store.clips()]
    settings = [asdict(project.config.evaluate), list(runs)]
    if (
        project.config.vocoder.name != "griffin_lim"
    ):  # the first vocoder; leaving it out keeps old digests valid
        settings.append(vocoder_key(project))
    return digest_of([takes, keys, clips, *settings])


def is_evaluated(project: Project, runs: Sequence[str]) -> bool:
    """Whether the last evaluation was made from the present takes, features and settings."""
    split = project.config.evaluate.split
    paths = _records(project)
    if not paths:
        return False
    made_from = read_json(paths[-1]).get("made_from")
    return bool(made_from == inputs_of(project, runs, split))


def _records(project: Project) -> list[Path]:
    folder = project.root / "evaluations"
    return sorted(folder.glob("[0-9]*.json")) if folder.is_dir() else []


def commit_evaluation(project: Project, evaluation: Evaluation) -> None:
    """Write an evaluation as the newest record; NaN becomes null."""
    paths = _records(project)
    number = int(paths[-1].stem) + 1 if paths else 1
    path = project.root / "evaluations" / f"{number:08d}.json"
    commit_json(path, _finite(asdict(evaluation)))


def _finite(value: Any) -> Any:
    """Replace NaN and infinities by None, because JSON has neither."""
    if isinstance(value, float):
        return value if math.isfinite(value) else None
    if isinstance(value, dict):
        return {key: _finite(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_finite(item) for item in value]
    return value


def last_evaluation(project: Project) -> dict[str, Any]:
    """The newest evaluation as JSON values.

    Raises:
        ConfigError: no evaluation yet (names the stage to run).
        IntegrityError: the record is damaged.
    """
    paths = _records(project)
    if not paths:
        raise ConfigError(
            "nothing was evaluated yet; run `redub evaluate`", code="E-STAGE-EVALUATE"
        )
    found: Any = read_json(paths[-1])
    wanted = {"runs", "lines", "systems", "comparisons", "majority", "split"}
    if not isinstance(found, dict) or wanted - set(found):
        raise IntegrityError(
            f"{paths[-1]} is damaged; run `redub evaluate` again", code="E-INT-JSON"
        )
    return found
