"""redub from Python: open a project, read its clips and features, search its index, dub a clip.

Everything here reads the project; what makes it (``ingest``, ``extract``, ``train``, …) is the
command line's. The names are public as ``redub.open_project``, ``redub.dub``, ``redub.Project``
and ``redub.Index``. In the examples, ``folder`` is a project that ``redub demo --quick`` made.

Errors are those of the command line, ``redub.RedubError`` and its kinds, each with a message
and a stable ``code``.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

# All that this module needs of the rooms below.
from redub.core.config import nearest
from redub.core.errors import ConfigError, UsageError
from redub.core.types import MODALITIES, FloatArray, Value
from redub.features.registry import EXTRACTORS
from redub.index.library import retrieve
from redub.index.policy import ClipFacts
from redub.pipeline.dubbing.direction import Direction, Feeling, LineDirection, parse_control
from redub.pipeline.dubbing.session import dub as dub_video
from redub.pipeline.dubbing.take import DubSummary
from redub.pipeline.store.index.builds import OpenIndex, open_index, policy_of, selection_of
from redub.pipeline.store.project import Project as ProjectFolder
from redub.pipeline.store.project import open_project as find_project
from redub.pipeline.store.tables import Store
from redub.pipeline.work.query import check_k, query_clip

if TYPE_CHECKING:
    from numpy.typing import ArrayLike

AnyPath = str | os.PathLike[str]

HIT_SCHEMA = {
    "rank": pl.Int64,
    "clip_id": pl.String,
    "score": pl.Float64,
    "margin": pl.Float64,
    "speaker": pl.String,
    "emotion": pl.String,
    "text": pl.String,
}
"""Columns of ``Index.query``."""

NO_CLIP = "\0"  # a film and scene that no clip has


def open_project(path: AnyPath = ".") -> Project:
    """Open the project at or above a folder, as the commands do.

    Args:
        path: the folder that holds ``redub.toml``, or one inside it.

    Raises:
        ConfigError: no ``redub.toml`` there, or a wrong one.

    Examples:
        >>> import redub
        >>> project = redub.open_project(folder)
        >>> project.config.index.k
        3
    """
    return Project(find_project(Path(path)))


class Project:
    """An opened project: its settings, clips, features and index. Made by ``open_project``.

    What is read is what the project holds now: rows made under other settings are not shown.

    Attributes:
        root: the folder with ``redub.toml``.
        config: the settings in force, as nested frozen dataclasses.
    """

    def __init__(self, folder: ProjectFolder) -> None:
        self.folder = folder
        self.root = folder.root
        self.config = folder.config
        self._store = Store(folder)

    def __repr__(self) -> str:
        return f"<redub.Project '{self.config.name}' in {self.root}>"

    def clips(self) -> pl.DataFrame:
        """One row per clip: ``clip_id, source, speaker, text, split, emotion, start_s, end_s, …``.

        Examples:
            >>> import redub
            >>> clips = redub.open_project(folder).clips()
            >>> clips["clip_id"].is_unique().all()
            True
            >>> sorted(clips["split"].unique())
            ['test', 'train', 'validation']
        """
        hidden = ("media_digest", "text_digest", "fingerprint")
        return self._store.clip_frame().drop(hidden)

    def features(self, name: str) -> pl.DataFrame:
        """One feature of every clip that it was extracted for.

        Args:
            name: a feature, as ``face_emotion`` or ``mel``; the reference lists all.

        Returns:
            ``clip_id, value, valid, why_not`` in the order of ``clips``. ``value`` is an
            ``Array(Float32, width)`` for one vector per clip, a list of them for one vector per
            frame, a string for a caption; null where ``valid`` is false, and then ``why_not`` says
            why. No rows where the feature was not extracted yet.

        Raises:
            ConfigError: no such feature, with the nearest one.

        Examples:
            >>> import redub
            >>> faces = redub.open_project(folder).features("face_emotion")
            >>> faces.columns
            ['clip_id', 'value', 'valid', 'why_not']
            >>> faces.filter("valid")["value"].dtype.shape
            (512,)
        """
        self._check_feature(name)
        live = self._store.live_features(name)
        table = self._store.feature_parts(name)
        read = [
            _frame(table.read_one(part, ["clip_id", "value"]))
            .unique(subset="clip_id", keep="last")
            .join(live.filter(pl.col("part") == part.name), on="clip_id")
            for part in table.parts()
            if part.name in live["part"]
        ]
        order = self._store.clip_frame().select("clip_id")
        if not read:
            return order.clear().with_columns(
                value=pl.lit(None), valid=pl.lit(None, pl.Boolean), why_not=pl.lit(None, pl.String)
            )
        rows = order.join(pl.concat(read), on="clip_id", maintain_order="left")
        return rows.select("clip_id", "value", "valid", "why_not")

    def arrays(self, name: str) -> dict[str, Value]:
        """The same as NumPy arrays by clip id, without the clips that have no value.

        Returns:
            (W,) per clip, (T, W) for a feature of frames, or a string.

        Raises:
            ConfigError: no such feature, with the nearest one.

        Examples:
            >>> import redub
            >>> mels = redub.open_project(folder).arrays("mel")
            >>> {mel.shape[1] for mel in mels.values()}
            {80}
        """
        self._check_feature(name)
        return self._store.read(name)

    def index(self, modality: str) -> Index:
        """The newest index build, verified, for one modality: ``scene``, ``face`` or ``text``.

        Raises:
            UsageError: no such modality.
            ConfigError: no build yet; the message names the stage to run.
        """
        if modality not in MODALITIES:
            raise UsageError(f"unknown modality '{modality}'; {nearest(modality, MODALITIES)}")
        return Index(self.folder, modality)

    def _check_feature(self, name: str) -> None:
        if name not in EXTRACTORS:
            raise ConfigError(
                f"unknown feature '{name}'; {nearest(name, EXTRACTORS)}", code="E-CFG-NAME"
            )


class Index:
    """The emotion index of one modality. Made by ``Project.index``."""

    def __init__(self, folder: ProjectFolder, modality: str) -> None:
        self.modality = modality
        self._folder = folder
        self._index: OpenIndex = open_index(folder)

    def __len__(self) -> int:
        return len(self._index.modalities[self.modality].rows)

    def __repr__(self) -> str:
        return f"<redub.Index of {len(self)} clips by {self.modality}>"

    @property
    def width(self) -> int:
        """Numbers in a query vector."""
        return int(self._index.vectors[self.modality].shape[1])

    def query(
        self, clip_or_vector: str | ArrayLike, *, k: int | None = None, speaker: str = ""
    ) -> pl.DataFrame:
        """The most alike clips of the library, best first, under the project's retrieval policy.

        Args:
            clip_or_vector: a clip id, or a vector (width,) as the feature's extractor gives it.
                A clip never finds itself, nor what the policy excludes for it. A vector belongs to
                no clip, so only the rules that hold for every query apply.
            k: neighbours, 1 to 100; the project's ``index.k`` without it.
            speaker: of the vector, for a policy or a transform that knows speakers.

        Returns:
            ``rank, clip_id, score, margin, speaker, emotion, text``; higher scores are more alike,
            and ``margin`` is the distance to the best clip that was passed over (NaN where none
            was).

        Raises:
            UsageError: an unknown clip, a vector of another width or with NaN, a ``k`` out of
                range, a ``speaker`` beside a clip id.

        Examples:
            >>> import redub
            >>> project = redub.open_project(folder)
            >>> clip = project.clips()["clip_id"][0]
            >>> hits = project.index("face").query(clip, k=3)
            >>> clip in hits["clip_id"], hits["score"].is_sorted(descending=True)
            (False, True)
            >>> vector = project.arrays("face_emotion")[hits["clip_id"][0]]
            >>> project.index("face").query(vector, k=1)["clip_id"][0] == hits["clip_id"][0]
            True
        """
        check_k(k)
        if isinstance(clip_or_vector, str):
            if speaker:
                raise UsageError("speaker= belongs to a vector; a clip has its own")
            answer = query_clip(self._folder, clip_or_vector, modality=self.modality, k=k)
            rows: list[tuple[Any, ...]] = [
                (hit.rank, hit.clip_id, hit.score, hit.margin, hit.speaker, hit.emotion, hit.text)
                for hit in answer[self.modality]
            ]
            return pl.DataFrame(rows, schema=HIT_SCHEMA, orient="row")
        return self._query_vector(self._checked(clip_or_vector), k, speaker)

    def _checked(self, values: ArrayLike) -> FloatArray:
        vector = np.asarray(values, dtype=np.float32)
        if vector.shape != (self.width,):
            raise UsageError(f"a query vector of shape {vector.shape}; wanted ({self.width},)")
        if not np.isfinite(vector).all():
            raise UsageError("a query vector with NaN or infinite values")
        return vector

    def _query_vector(self, vector: FloatArray, k: int | None, speaker: str) -> pl.DataFrame:
        own, settings = self._index.modalities[self.modality], self._folder.config.index
        query = own.transformed(vector[None], [speaker])
        if not own.can_ask(query)[0]:
            raise UsageError("a query vector without a direction: all zeros once transformed")
        facts = ClipFacts(
            clip_id=NO_CLIP, film=NO_CLIP, scene=NO_CLIP, position=0, speaker=speaker,
            source_digest="", start_frame=0, end_frame=0,
        )  # fmt: skip
        table, choice = self._index.table, selection_of(settings, k)
        found = retrieve(own, table, policy_of(settings), query, [facts], choice)
        rows = []
        for rank, (row, score, margin) in enumerate(zip(*(part[0] for part in found), strict=True)):
            if row >= 0:
                clip = self._index.clips[row]
                hit = (clip.clip_id, float(score), float(margin), clip.speaker, clip.emotion)
                rows.append((rank + 1, *hit, clip.text))
        return pl.DataFrame(rows, schema=HIT_SCHEMA, orient="row")


def dub(
    project: Project | AnyPath,
    *,
    video: AnyPath,
    script: AnyPath,
    output: AnyPath,
    voice: str | None = None,
    run: str = "authentic",
    pitch: str | None = None,
    pitch_range: str | None = None,
    energy: str | None = None,
    rate: str | None = None,
    emotion: str | None = None,
) -> DubSummary:
    """Speak a script onto a video: the picture is copied, every line fills its slot.

    Args:
        project: an opened project, or its folder; it has the voices and the trained run.
        video: the clip to dub, with any sound or none.
        script: subtitles with the lines to speak.
        output: the mp4 to write; ``<output>.take.json`` beside it says how each line was made.
        voice: a speaker or a clip id of the library; without it, the speaker that the script names.
        run: the trained run to speak with.
        pitch: semitones, ``"+2st"``. pitch_range: a factor, ``"1.3"``. energy: ``"+3dB"``.
        rate: a factor, ``"0.9"``. emotion: ``"sad:0.7"``. All lines are changed alike; the command
            ``redub dub --direct`` changes single lines.

    Returns:
        What was spoken: ``output, voice, dubbed, faults, slots, loudness_lufs, notes, take``.

    Raises:
        UsageError: a control that is no number, or that the run cannot follow.
        ConfigError: no run, no index, or a script without one usable line.
        ClipError: the video cannot be read.
    """
    opened = project if isinstance(project, Project) else open_project(project)
    asked = LineDirection(
        control=parse_control(pitch=pitch, pitch_range=pitch_range, energy=energy, rate=rate),
        feeling=None if emotion is None else Feeling.parse(emotion),
    )
    return dub_video(
        opened.folder,
        video=Path(video),
        script=Path(script),
        output=Path(output),
        voice=voice,
        run=run,
        direction=Direction(everywhere=asked),
    )


def _frame(table: Any) -> pl.DataFrame:
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    return frame
