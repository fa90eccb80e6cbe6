"""The Python API: open a project, read its clips and features, search its index, dub a clip.

These functions only read the project; the command line fills it (``ingest``, ``extract``,
``train``, …). The names are public as ``redub.open_project``, ``redub.dub``, ``redub.Project`` and
``redub.Index``. In the examples, ``folder`` is a project that ``redub demo --quick`` made.

Errors are those of the command line: ``redub.RedubError`` and its subclasses, each with a message
and a stable ``code``.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import polars as pl

from redub.core.config import nearest
from redub.core.errors import ConfigError, UsageError
from redub.core.types import MODALITIES, FloatArray, Value
from redub.features.registry import EXTRACTORS
from redub.index.library import ModalityIndex, retrieve
from redub.index.policy import ClipFacts
from redub.pipeline.dubbing.direction import Direction, EmotionTarget, LineDirection, parse_control
from redub.pipeline.dubbing.original_sound import BackgroundChoice, check_background
from redub.pipeline.dubbing.session import dub as dub_video
from redub.pipeline.dubbing.take import DubSummary
from redub.pipeline.store.index.builds import (
    OpenIndex,
    audio_search,
    open_index,
    policy_of,
    selection_of,
)
from redub.pipeline.store.project import Project as ProjectFolder
from redub.pipeline.store.project import open_project as find_project
from redub.pipeline.store.tables import Store
from redub.pipeline.work.query import AUDIO, check_k, query_clip

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

    Only rows that were computed under the project's present settings are read.

    Attributes:
        root: the folder with ``redub.toml``.
        config: the present settings, as nested frozen dataclasses.
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
        """One feature of all clips for which it was extracted.

        Args:
            name: a feature, for example ``face_emotion`` or ``mel``; the reference lists all.

        Returns:
            ``clip_id, value, valid, why_not`` in the order of ``clips``. ``value`` is an
            ``Array(Float32, width)`` for one vector per clip, a list of them for one vector per
            frame, a string for a caption. Where ``valid`` is false, ``value`` is null and
            ``why_not`` is the reason. No rows if the feature was not extracted yet.

        Raises:
            ConfigError: no such feature, with the nearest one.

        Examples:
            >>> import redub
            >>> project = redub.open_project(folder)
            >>> faces = project.features("face_emotion")
            >>> faces.columns
            ['clip_id', 'value', 'valid', 'why_not']
            >>> faces["value"].dtype.shape == (project.index("face").width,)
            True
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
        """One feature as NumPy arrays by clip id, without clips that have no value.

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
        """Open the newest index build for one modality: ``scene``, ``face``, ``text`` or ``audio``.

        Raises:
            UsageError: no such modality.
            ConfigError: no build, or one that is out of date; the message names the stage to run.
            IntegrityError: a file of the build is damaged.
        """
        if modality not in (*MODALITIES, AUDIO):
            hint = nearest(modality, [*MODALITIES, AUDIO])
            raise UsageError(f"unknown modality '{modality}'; {hint}")
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
        is_audio = modality == AUDIO
        self._own: ModalityIndex = (
            audio_search(folder, self._index) if is_audio else self._index.modalities[modality]
        )

    def __len__(self) -> int:
        return len(self._own.rows)

    def __repr__(self) -> str:
        return f"<redub.Index of {len(self)} clips by {self.modality}>"

    @property
    def width(self) -> int:
        """The width of a query vector."""
        stored = self._index.audio if self.modality == AUDIO else self._index.vectors[self.modality]
        return int(stored.shape[1])

    def query(
        self, clip_or_vector: str | ArrayLike, *, k: int | None = None, speaker: str = ""
    ) -> pl.DataFrame:
        """Search the most similar clips of the library, under the project's retrieval policy.

        Args:
            clip_or_vector: a clip id, or a vector (width,) as extracted. For a clip, neither
                itself nor the clips that the policy excludes for it are returned. A vector belongs
                to no clip, so only the rules of the policy for all queries apply.
            k: neighbours, 1 to 100; the project's ``index.k`` by default.
            speaker: speaker of a vector, for a policy or a transform that depends on it.

        Returns:
            ``rank, clip_id, score, margin, speaker, emotion, text``, best first. A higher score is
            more similar. ``margin``: the score minus the score of the best eligible clip that was
            not chosen, NaN if all were chosen.

        Raises:
            UsageError: an unknown clip, a vector of another width or with NaN, a ``k`` out of
                range, a ``speaker`` together with a clip id.

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
        own, settings = self._own, self._folder.config.index
        query = own.transformed(vector[None], [speaker])
        if not own.can_query(query)[0]:
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
    background: BackgroundChoice = "none",
) -> DubSummary:
    """Dub a video by a script: the video stream is copied, every utterance fills its slot.

    Args:
        project: an opened project, or its folder, with the voices and the trained run.
        video: the clip to dub, with or without sound.
        script: subtitles with the lines to speak.
        output: the mp4 file to write; ``<output>.take.json`` in the same folder documents each
            utterance.
        voice: a speaker or a clip id of the library; by default, the speaker that the script names.
        run: the trained run.
        pitch: semitones, ``"+2st"``.
        pitch_range: a factor, ``"1.3"``.
        energy: decibels, ``"+3dB"``.
        rate: a factor, ``"0.9"``.
        emotion: an emotion and its strength, ``"sad:0.7"``. The controls apply to all utterances;
            the command ``redub dub --direct`` changes single ones.
        background: ``"none"``, or ``"separate"``: the original sound without its speech.

    Returns:
        A summary: ``output, voice, dubbed, faults, slots, loudness_lufs, notes, take``.

    Raises:
        UsageError: a control that is not a number, or that the run does not support.
        ConfigError: no run, no index, or a script without any usable line.
        ClipError: the video cannot be read.
        ModelRefusedError: ``"separate"``, and DeepFilterNet's weights are not recorded.
    """
    check_background(background)
    opened = project if isinstance(project, Project) else open_project(project)
    wanted = LineDirection(
        control=parse_control(pitch=pitch, pitch_range=pitch_range, energy=energy, rate=rate),
        emotion_target=None if emotion is None else EmotionTarget.parse(emotion),
    )
    return dub_video(
        opened.folder,
        video=Path(video),
        script=Path(script),
        output=Path(output),
        voice=voice,
        run=run,
        direction=Direction(everywhere=wanted),
        background=background,
    )


def _frame(table: Any) -> pl.DataFrame:
    frame = pl.from_arrow(table)
    assert isinstance(frame, pl.DataFrame)
    return frame
