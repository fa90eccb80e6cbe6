"""Evaluation records: the metrics of runs.

Reads and writes ``evaluations/<number>.json``, one record per evaluation.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from redub.core.config import digest_of
from redub.core.durable import commit_json, file_digest, read_json
from redub.core.errors import ConfigError, IntegrityError
from redub.core.metric import Absent, Comparison, Interval, Metric
from redub.core.records import JsonRecord
from redub.evaluation.emotion_recogniser import EmotionReport
from redub.evaluation.registry import METRIC_WEIGHTS
from redub.evaluation.summary import measured_metrics
from redub.evaluation.takes import GROUND_TRUTH, WITHOUT_WEIGHTS, LineFigures
from redub.pipeline.store.project import Project
from redub.pipeline.store.runs.folders import run_folder
from redub.pipeline.store.runs.takes import INDEX
from redub.pipeline.store.runs.vocoders import vocoder_key
from redub.pipeline.store.tables import Store, commonest

EVALUATED_FEATURES = (
    "waveform",
    "mel",
    "f0",
    "durations",
    "phonemes",
    "audio_emotion",
    "mouth_crop",
)
"""Features that an evaluation reads: those of the recordings and those of the takes."""
FORMAT = 2  # 1: redub 0.1, with other names of figures


@dataclass(frozen=True, slots=True, kw_only=True)
class SystemScores:
    """One row of the table.

    values: by metric, with the 95 % interval or the reason why there is no value. lines: number of
    utterances. emotion: what the emotion recogniser found; None where ``emo_acc`` has no value.
    """

    system: str
    lines: int
    values: dict[str, Interval | Absent]
    emotion: EmotionReport | None


@dataclass(slots=True, kw_only=True)
class Evaluation(JsonRecord):
    """One evaluation: all numbers of a table and a report.

    metrics: the rows of the table of metrics that were measured, in the order of the columns.
    baselines: metric to the value of its trivial answer. recogniser: the emotion recogniser, or why
    there is none. made_from: digest of :func:`inputs_of`. left_out: clip id to the reason why an
    utterance of the split was not measured. format: of the record on disk.
    """

    ADVICE: ClassVar[str] = "run `redub evaluate` again"
    NEEDS_ALL: ClassVar[bool] = True

    split: str
    runs: list[str]
    metrics: list[Metric]
    systems: list[SystemScores]
    lines: list[LineFigures]
    baselines: dict[str, float | Absent]
    comparisons: list[Comparison]
    recogniser: str | Absent
    unknown_words: list[str] = field(default_factory=list)
    made_from: str = ""
    left_out: dict[str, Absent] = field(default_factory=dict)
    format: int = FORMAT

    @classmethod
    def read(cls, path: Path) -> Evaluation:
        """Read a record.

        Raises:
            ConfigError: E-STAGE-EVALUATE, another version of redub wrote it.
            IntegrityError: E-INT-JSON, it is damaged.
        """
        found = read_json(path)
        _check_format(found, path)
        evaluation = cls.from_json(found, path)
        evaluation._check_metrics(path)
        return evaluation

    def _check_metrics(self, path: Path) -> None:
        """Check that every metric has a value of every system and its baseline, and no other."""
        names = {metric.name for metric in self.metrics}
        trivial = {metric.name for metric in self.metrics if metric.baseline is not None}
        wrong = [row.system for row in self.systems if row.values.keys() != names]
        if self.baselines.keys() != trivial:
            wrong.append("baselines")
        if wrong:
            raise IntegrityError(
                f"{path} is damaged: the metrics of {', '.join(wrong)} are not those of the "
                f"record; {self.ADVICE}",
                code="E-INT-JSON",
            )

    def metric(self, name: str) -> Metric:
        """A metric of the evaluation, which must be in it."""
        return next(metric for metric in self.metrics if metric.name == name)

    def scores(self, system: str) -> SystemScores:
        """The row of a system, which must be in the evaluation."""
        return next(row for row in self.systems if row.system == system)

    @property
    def line_ids(self) -> list[str]:
        """Clip ids of the measured utterances, in order."""
        return [line.clip_id for line in self.lines if line.system == GROUND_TRUTH]

    @property
    def shown(self) -> list[Metric]:
        """The metrics of the tables: those that a missing network kept from all values are not."""
        return [
            metric
            for metric in self.metrics
            if any(not _lacks_weights(row.values[metric.name]) for row in self.systems)
        ]

    # -- as text

    def without(self) -> str:
        """A sentence about the utterances that were not measured; empty if there are none."""
        if not self.left_out:
            return ""
        reasons = commonest(absent.message for absent in self.left_out.values())
        return f"lines of split '{self.split}' not measured: {len(self.left_out)} ({reasons})"

    def columns(self) -> list[str]:
        """Column titles of the table."""
        return ["system", *(metric.column for metric in self.shown)]

    def text_rows(self) -> list[list[str]]:
        """Rows of the table as text, one per system."""
        return [
            [row.system, *(metric.text(row.values[metric.name]) for metric in self.shown)]
            for row in self.systems
        ]

    def headlines(self) -> list[str]:
        """What the table does not hold: comparisons, baselines, and why values are missing."""
        lines = []
        for metric in self.metrics:
            value = self.baselines.get(metric.name)
            if metric.baseline and "baseline" in metric.compared and isinstance(value, float):
                lines.append(f"{metric.title} of {metric.baseline.name}: {metric.figure(value)}")
        for found in self.comparisons:
            metric = self.metric(found.metric)
            lines.append(
                f"{metric.title} of '{found.run}' compared with {found.against.kind} "
                f"'{found.against.name}': {metric.difference_text(found.interval)}"
            )
        if self.comparisons:
            lines.append("(Differences are positive where the first system is better.)")
        return [*lines, *self._missing(), *filter(None, [self.without()])]

    def _missing(self) -> list[str]:
        """A sentence for every reason why values are missing from the table."""
        places: dict[Absent, dict[str, list[str]]] = defaultdict(lambda: defaultdict(list))
        for row in self.systems:
            for metric in self.metrics:
                value = row.values[metric.name]
                if isinstance(value, Absent):
                    places[value][metric.column].append(row.system)
        return [
            f"no '{column}' of {', '.join(systems)}: {absent.message} ({absent.code})"
            for absent, columns in places.items()
            for column, systems in columns.items()
        ]


def _lacks_weights(value: Interval | Absent) -> bool:
    return isinstance(value, Absent) and value.code == WITHOUT_WEIGHTS


# -- on disk


def inputs_of(project: Project, runs: Sequence[str], split: str) -> str:
    """Digest of everything that an evaluation depends on: takes, features, clips, settings.

    Of the features only those that an evaluation reads count, with the features that they read. Of
    the metrics all columns count, because the record holds them.
    """
    takes = [file_digest(run_folder(project, run) / "samples" / split / INDEX) for run in runs]
    store = Store(project)
    usable = set(store.keys.usable)
    keys = {name: store.keys.by_name[name].key for name in EVALUATED_FEATURES if name in usable}
    clips = [asdict(clip) for clip in store.clips()]
    metrics = [asdict(metric) for metric in measured_metrics()]
    entries = store.keys.ledger.entries
    weights = {name: asdict(entries[name]) for name in METRIC_WEIGHTS if name in entries}
    settings = [asdict(project.config.evaluate), list(runs), metrics]
    return digest_of([takes, keys, clips, *settings, vocoder_key(project), weights])


def is_evaluated(project: Project, runs: Sequence[str]) -> bool:
    """Whether the last evaluation was made from the present takes, features and settings.

    An evaluation that another version of redub wrote is made again.
    """
    paths = _records(project)
    if not paths:
        return False
    found: Any = read_json(paths[-1])
    if not isinstance(found, dict) or found.get("format") != FORMAT:
        return False
    return bool(found.get("made_from") == inputs_of(project, runs, project.config.evaluate.split))


def evaluated_runs(project: Project) -> list[str]:
    """The runs of the last evaluation; empty if there is none, or if it is out of date."""
    paths = _records(project)
    found: Any = read_json(paths[-1]) if paths else {}
    runs = found.get("runs") if isinstance(found, dict) else None
    if not isinstance(runs, list) or not all(isinstance(run, str) for run in runs):
        return []
    spoken = (run_folder(project, run) / "samples" / project.config.evaluate.split for run in runs)
    if not all((folder / INDEX).is_file() for folder in spoken):
        return []
    return runs if is_evaluated(project, runs) else []


def _records(project: Project) -> list[Path]:
    folder = project.root / "evaluations"
    return sorted(folder.glob("[0-9]*.json")) if folder.is_dir() else []


def commit_evaluation(project: Project, evaluation: Evaluation) -> None:
    """Write an evaluation as the newest record."""
    paths = _records(project)
    number = int(paths[-1].stem) + 1 if paths else 1
    commit_json(project.root / "evaluations" / f"{number:08d}.json", evaluation.to_json())


def last_evaluation(project: Project) -> Evaluation:
    """The newest evaluation; see :meth:`Evaluation.read`.

    Raises:
        ConfigError: E-STAGE-EVALUATE, no evaluation yet, or another version of redub wrote it.
        IntegrityError: the record is damaged.
    """
    paths = _records(project)
    if not paths:
        raise ConfigError(
            "nothing was evaluated yet; run `redub evaluate`", code="E-STAGE-EVALUATE"
        )
    return Evaluation.read(paths[-1])


def _check_format(found: Any, path: Path) -> None:
    """Refuse a record of another format.

    Raises:
        ConfigError: E-STAGE-EVALUATE, with the version and the command to type.
        IntegrityError: E-INT-JSON, it is no record of an evaluation.
    """
    number = None
    if isinstance(found, dict):
        number = found.get("format", 1 if "systems" in found else None)
    if type(number) is not int:
        raise IntegrityError(f"{path} is damaged; run `redub evaluate` again", code="E-INT-JSON")
    if number == FORMAT:
        return
    writer = "a newer redub" if number > FORMAT else "redub 0.1"
    raise ConfigError(
        f"{path} was written by {writer} (format {number}; this one reads {FORMAT}), which named "
        "figures differently; run `redub evaluate`",
        code="E-STAGE-EVALUATE",
    )
