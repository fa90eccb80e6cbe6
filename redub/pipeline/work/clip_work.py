"""Compute all pending features of some clips, each clip from one decode of its media.

Reads the footage and the values of features that other features need. Writes nothing: the caller
commits the rows and the quarantine rows.
"""

from __future__ import annotations

import contextlib
import logging
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future
from typing import Any

import numpy as np

from redub.core.errors import ClipError, FeatureAbsent, RedubError
from redub.core.types import Clip, ClipMedia, SharedWork, Value
from redub.features.base import FeatureSchema
from redub.features.models.model_extractor import ModelExtractor
from redub.footage.decode import DecodedClip
from redub.pipeline.store.ledger import WHOLE_CLIP
from redub.pipeline.store.quarantine import QuarantineRow
from redub.pipeline.store.schemas import FeatureRow
from redub.pipeline.work.decoders import decoder_thread
from redub.pipeline.work.extraction import Toolbox

_log = logging.getLogger(__name__)

NOTHING = DecodedClip(None, None, (), "", 0)


def run_works(
    works: Iterable[ClipWork], tools: Toolbox, seconds: dict[str, float]
) -> list[ClipWork]:
    """Compute the pending features of some clips: each clip is decoded once, networks see batches.

    Args:
        seconds: compute seconds by feature, and of ``decode``; increased in place.

    Returns:
        The works with their rows and quarantine rows, in order.
    """
    done = []
    with tools.threads():
        for work in _decoding_ahead(works, tools):
            work.run(tools, seconds)
            done.append(work)
        for name in tools.keys.by_name:
            waiting = [work for work in done if name in work.late]
            if waiting:
                start = time.perf_counter()
                _run_late(name, waiting, tools)
                seconds[name] += time.perf_counter() - start
    return done


def late_features(tools: Toolbox, pending: Sequence[str]) -> set[str]:
    """The features of a clip that are computed after all clips of the shard were decoded.

    A network waits in order to see many clips at once. It can wait only if no feature that reads
    its output needs frames or sound, which are released by then. A feature that reads a waiting
    feature waits too.
    """
    keys = tools.keys.by_name

    def readers_can_wait(name: str) -> bool:
        """Whether all features that read ``name``, directly or not, need no frames or sound."""
        readers = [other for other in pending if name in keys[other].reads]
        return all(
            not tools.extractor(reader).media & {"frames", "waveform"} and readers_can_wait(reader)
            for reader in readers
        )

    late: set[str] = set()
    for name in pending:
        extractor = tools.extractor(name)
        batched = isinstance(extractor, ModelExtractor) and not extractor.one_by_one
        if set(keys[name].reads) & late or (batched and readers_can_wait(name)):
            late.add(name)
    return late


def _run_late(name: str, works: Sequence[ClipWork], tools: Toolbox) -> None:
    extractor = tools.extractor(name)
    if not isinstance(extractor, ModelExtractor):
        for work in works:
            work.extract_now(tools, name, NOTHING)
        return
    ready = [work for work in works if work.prepare(tools, name, NOTHING)]
    inputs = [work.inputs.pop(name) for work in ready]
    try:
        values: list[Any] = extractor.compute_all(inputs)
    except (ClipError, ArithmeticError, ValueError, RuntimeError, IndexError):
        # One bad input fails the whole batch; run one by one, only the faulty clip fails.
        for work, prepared in zip(ready, inputs, strict=True):
            with work.settled(tools, name):
                work.take(tools, name, extractor.compute([prepared])[0])
        return
    for work, value in zip(ready, values, strict=True):
        with work.settled(tools, name):
            work.take(tools, name, value)


def _decoding_ahead(works: Iterable[ClipWork], tools: Toolbox) -> Iterator[ClipWork]:
    """The same works in order; each is yielded after the decode of the next one has started."""
    last: ClipWork | None = None
    for work in works:
        work.begin(tools)
        if last is not None:
            yield last
        last = work
    if last is not None:
        yield last


class ClipWork:
    """The pending features of one clip: decode once, run the extractors, keep rows and faults.

    Args:
        known: values of features that are committed already.
        nulls: committed features without a value, with the reason.
    """

    def __init__(
        self,
        clip: Clip,
        pending: Sequence[str],
        known: Mapping[str, Value],
        nulls: Mapping[str, str],
    ) -> None:
        self.clip = clip
        self.pending = list(pending)
        self.values: dict[str, Value] = dict(known)
        self.nulls: dict[str, str] = dict(nulls)
        self.rows: dict[str, FeatureRow] = {}
        self.quarantine: list[QuarantineRow] = []
        self.shared = SharedWork()
        self.late: set[str] = set()  # features that wait for the other clips of the shard
        self.inputs: dict[str, Any] = {}  # prepared inputs of networks, by feature
        self.decoding: Future[DecodedClip] | None = None

    def begin(self, tools: Toolbox) -> None:
        """Settle features that need no decoding; start the decode of the media for the others."""
        self.pending = [name for name in self.pending if self._possible(tools, name)]
        self.late = late_features(tools, self.pending)
        media = {m for name in self.pending for m in tools.extractor(name).media}
        if media & {"frames", "waveform"}:
            self.decoding = decoder_thread().submit(
                tools.decode, self.clip, frames="frames" in media, sound="waveform" in media
            )

    def run(self, tools: Toolbox, seconds: dict[str, float]) -> None:
        """Compute all features that do not wait for other clips.

        Args:
            seconds: by feature, increased in place; ``decode`` is the time spent waiting for media.
        """
        decoded = NOTHING
        if self.decoding is not None:
            start = time.perf_counter()
            try:
                decoded = self.decoding.result()
                for note in decoded.notes:
                    _log.warning("%s: %s", self.clip.clip_id, note)
            except ClipError as error:
                self._hold(WHOLE_CLIP, error)
                by_name = tools.keys.by_name
                self.pending = [name for name in self.pending if not by_name[name].uses_media]
                self.late &= set(self.pending)
            seconds["decode"] += time.perf_counter() - start
            self.decoding = None  # releases the frames before the shard ends
        for name in self.pending:
            start = time.perf_counter()
            if name not in self.late:
                self.extract_now(tools, name, decoded)
            elif not set(tools.keys.by_name[name].reads) & self.late:
                self.prepare(tools, name, decoded)
            seconds[name] += time.perf_counter() - start
        self.shared = SharedWork()  # releases crops and spectra before the shard ends

    def _possible(self, tools: Toolbox, name: str) -> bool:
        """Whether the clip has the media of a feature; if not, add a null with the reason."""
        media = tools.extractor(name).media
        if "frames" in media and not self.clip.has_video:
            self._null(tools, name, "E-IN-NOVIDEO: the source has no video")
        elif "waveform" in media and not self.clip.has_audio:
            self._null(tools, name, "E-IN-NOAUDIO: the source has no sound")
        elif "text" in media and not self.clip.text:
            self._null(tools, name, "E-TEXT-NONE: the clip has no text")
        else:
            return True
        return False

    def extract_now(self, tools: Toolbox, name: str, decoded: DecodedClip) -> None:
        """Compute one feature of this clip alone."""
        if self._has_reads(tools, name):
            with self.settled(tools, name):
                media = self._media(tools, name, decoded)
                self.take(tools, name, tools.extractor(name).extract(media))

    def prepare(self, tools: Toolbox, name: str, decoded: DecodedClip) -> bool:
        """Prepare the input of a network; False if the feature is null or quarantined instead."""
        if name in self.inputs:
            return True
        if name in self.rows or any(row.feature == name for row in self.quarantine):
            return False
        extractor = tools.extractor(name)
        if self._has_reads(tools, name) and isinstance(extractor, ModelExtractor):
            media = self._media(tools, name, decoded)
            with self.settled(tools, name):
                self.inputs[name] = extractor.prepare(media)
        return name in self.inputs

    def take(self, tools: Toolbox, name: str, value: Value) -> None:
        """Check the value of an extractor and add its row.

        Raises:
            ClipError: E-FEAT-SHAPE or E-FEAT-NONFINITE.
        """
        self.values[name] = checked_value(value, tools.keys.by_name[name].schema)
        self._row(tools, name, value, "")

    @contextlib.contextmanager
    def settled(self, tools: Toolbox, name: str) -> Iterator[None]:
        """Turn an extractor's exception into a null with a reason or a quarantine row."""
        try:
            yield
        except FeatureAbsent as error:
            self._null(tools, name, str(error))
        except ClipError as error:
            self._hold(name, error, tools)
        except RedubError:
            raise  # a fault of the model, the project or the machine, not of this clip
        except Exception as error:  # only here: a bug in an extractor costs one row, with its name
            kind = f"{type(error).__name__}: {error}"
            failed = ClipError(f"the extractor failed: {kind}", code="E-FEAT-ERROR")
            self._hold(name, failed, tools)

    def _has_reads(self, tools: Toolbox, name: str) -> bool:
        """Whether all input features have values; if not, add a null or a quarantine row."""
        key = tools.keys.by_name[name]
        for read in key.reads:
            if read in self.values or read in key.optional:
                continue
            if read in self.nulls:
                self._null(tools, name, f"{read}: {self.nulls[read]}")
            else:
                self._hold(
                    name,
                    ClipError(f"it reads {read}, which failed", code="E-FEAT-UPSTREAM"),
                    tools,
                )
            return False
        return True

    def _media(self, tools: Toolbox, name: str, decoded: DecodedClip) -> ClipMedia:
        key = tools.keys.by_name[name]
        reads = {read: self.values[read] for read in key.reads if read in self.values}
        return ClipMedia(
            clip=self.clip,
            frames=decoded.frames,
            waveform=decoded.waveform,
            features=reads,
            shared=self.shared,
        )

    def _null(self, tools: Toolbox, name: str, why: str) -> None:
        self.nulls[name] = why
        self._row(tools, name, None, why)

    def _row(self, tools: Toolbox, name: str, value: Value | None, why: str) -> None:
        clip, key = self.clip, tools.keys.by_name[name]
        length_s = clip.video_frames / tools.keys.config.video.fps
        self.rows[name] = FeatureRow(clip.clip_id, key.input_digest(clip), value, why, length_s)

    def _hold(self, feature: str, error: ClipError, tools: Toolbox | None = None) -> None:
        key = "" if tools is None else tools.keys.by_name[feature].key
        self.quarantine.append(QuarantineRow.of_clip(self.clip, feature, error, key=key))


def checked_value(value: Value, schema: FeatureSchema) -> Value:
    """Refuse a value with a wrong shape, a wrong dtype, NaN or infinity.

    Raises:
        ClipError: with code E-FEAT-SHAPE or E-FEAT-NONFINITE.
    """
    if schema.kind == "text":
        if not isinstance(value, str):
            raise ClipError(f"wanted text, got {type(value).__name__}", code="E-FEAT-SHAPE")
        return value
    rank = 1 if schema.kind == "vector" else 2
    wanted = f"{schema.kind} of width {schema.width}, {schema.dtype}"
    if not isinstance(value, np.ndarray) or value.ndim != rank or value.shape[-1] != schema.width:
        raise ClipError(
            f"wanted {wanted}, got {getattr(value, 'shape', value)}", code="E-FEAT-SHAPE"
        )
    if value.dtype != np.dtype(schema.dtype):
        raise ClipError(f"wanted {wanted}, got {value.dtype}", code="E-FEAT-SHAPE")
    if value.dtype.kind == "f" and not np.isfinite(value).all():
        raise ClipError("the value is not finite everywhere", code="E-FEAT-NONFINITE")
    return value
