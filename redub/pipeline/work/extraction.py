"""What a worker computes features with: the project's extractors and its decoder child.

Reads weights and footage. Writes nothing.
"""

from __future__ import annotations

import contextlib
import dataclasses
from functools import cached_property, lru_cache
from pathlib import Path

from redub.core.durable import file_digest
from redub.core.errors import ClipError
from redub.core.threads import torch_threads
from redub.core.types import Clip
from redub.features.base import Extractor
from redub.features.models.deepfilternet.separation import speech_of_clip
from redub.features.runtime import Runtime
from redub.features.weights.folder import WeightFolder
from redub.footage.decode import DecodedClip
from redub.pipeline.store.keys import FeatureKeys
from redub.pipeline.store.project import Project
from redub.pipeline.work.decoders import shared_decoder

_EXTRACTORS: dict[tuple[str, Runtime], Extractor] = {}
"""Extractors of this process by key and runtime settings (no key contains these), so that models
are loaded once per worker, not once per task."""


class Toolbox:
    """A worker's access to a project's extractors and to its decoder child.

    Args:
        root: folder of the media; the project's footage folder by default.
    """

    def __init__(self, project: Project, *, root: Path | None = None) -> None:
        self.project = project
        self.root = (root or project.footage_root).resolve()
        self.keys = FeatureKeys(project)

    def extractor(self, name: str) -> Extractor:
        """The extractor of a feature, built once per process.

        Raises:
            ModelRefusedError: its weights are not recorded, gone or changed.
        """
        made = (self.keys.by_name[name].key, self.project.config.compute)
        if made not in _EXTRACTORS:
            _EXTRACTORS[made] = self.keys.make(name)
        return _EXTRACTORS[made]

    def threads(self) -> contextlib.AbstractContextManager[None]:
        """A context in which torch uses the project's number of CPU threads."""
        if self.keys.has_networks:
            return torch_threads(self.project.config.compute.threads)
        return contextlib.nullcontext()

    def decode(self, clip: Clip, *, frames: bool, sound: bool) -> DecodedClip:
        """Decode a clip after :func:`check_source`; with ``[audio] separate``, keep its speech.

        Raises:
            ClipError: the source is gone or changed, cannot be decoded, or its speech cannot be
                separated.
            ModelRefusedError: the weights of the separation are not recorded, gone or changed.
        """
        path = self.root / clip.source
        check_source(path, self.root, clip.source_digest)
        config = self.project.config
        decoded = shared_decoder(self.project).decode(
            path,
            start_frame=clip.start_frame,
            end_frame=clip.end_frame,
            video=config.video,
            audio=config.audio,
            decoder=clip.decoder.partition(" ")[0],
            channel=clip.channel,
            frames=frames and clip.has_video,
            waveform=sound and clip.has_audio,
        )
        if decoded.waveform is None or self._separation is None:
            return decoded
        speech, note = speech_of_clip(decoded.waveform, self._separation)
        notes = (*decoded.notes, note) if note else decoded.notes
        return dataclasses.replace(decoded, waveform=speech, notes=notes)

    @cached_property
    def _separation(self) -> WeightFolder | None:
        return self.keys.separation(checked=True)


def check_source(path: Path, root: Path, digest: str) -> None:
    """Refuse a source that is outside of the footage folder, gone, or changed since ingest.

    Raises:
        ClipError: E-SEC-ESCAPE, E-IN-MISSING, E-IN-PERM or E-IN-CHANGED.
    """
    try:
        if not path.resolve().is_relative_to(root):
            raise ClipError(f"{path.name} leads out of the footage folder", code="E-SEC-ESCAPE")
        state = path.stat()
        found = _cached_digest(str(path), state.st_size, state.st_mtime_ns, state.st_ino)
    except FileNotFoundError:
        raise ClipError(f"{path.name} is gone; bring it back", code="E-IN-MISSING") from None
    except PermissionError:
        raise ClipError(f"{path.name} cannot be read: no permission", code="E-IN-PERM") from None
    if found != digest:
        raise ClipError(
            f"{path.name} changed since it was ingested; run `redub ingest` again",
            code="E-IN-CHANGED",
        )


@lru_cache(maxsize=4096)
def _cached_digest(path: str, size: int, mtime_ns: int, inode: int) -> str:
    return file_digest(Path(path))
