"""Captions of scene and face by VideoLLaMA 3.

Source: VideoLLaMA 3 (arXiv:2501.13106) and the ``video_llama_3`` classes of transformers. Frames
keep their aspect ratio, and the prompt contains the time of each frame.
Letters: N chosen frames, H and W their height and width.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from redub.core.errors import ConfigError
from redub.core.types import ByteArray, ClipMedia, VideoSpec
from redub.features.models.video_caption import (
    FACE_PROMPT,
    MOST_TOKENS,
    SCENE_PROMPT,
    Precision,
    VideoCaptioner,
    check_caption_config,
)
from redub.features.models.videollama3.checkpoint import VideoLlama3Plan, read_plan
from redub.features.models.videollama3.frames import TimedImages
from redub.features.picture.caption_frames import (
    clip_frames,
    face_crops,
    pillow_image,
    resized,
    square_images,
    uniform_frames,
)

FACE_SIDE = 336  # 12 x 12 tokens; all faces of a clip must have one size


MOST_FRAMES = 180  # limit of the library


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoLlama3SceneConfig:
    """Settings of ``[features.scene_caption]`` with the backend ``videollama3``.

    Attributes:
        video: gives the frame rate for the times of the frames.
        weights: entry of the weights ledger.
        dtype: type of the computation.
        prompt: the instruction.
        max_new_tokens: longest caption, 1 to 2048.
        frames: number of uniformly chosen frames, 1 to 180.
    """

    video: VideoSpec
    weights: str = "videollama3"
    dtype: Precision = "bfloat16"
    prompt: str = SCENE_PROMPT
    max_new_tokens: int = MOST_TOKENS
    frames: int = 16

    def __post_init__(self) -> None:
        check_caption_config(self)
        _check_frames(self.frames)


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoLlama3FaceConfig:
    """Settings of ``[features.face_caption]`` with the backend ``videollama3``.

    Attributes:
        margin: added on every side of the face, as a fraction of the side of its box; 0 to 2.
    """

    video: VideoSpec
    weights: str = "videollama3"
    dtype: Precision = "bfloat16"
    prompt: str = FACE_PROMPT
    max_new_tokens: int = MOST_TOKENS
    frames: int = 16
    margin: float = 0.25

    def __post_init__(self) -> None:
        check_caption_config(self)
        _check_frames(self.frames)


def _check_frames(frames: int) -> None:
    if not 1 <= frames <= MOST_FRAMES:
        raise ConfigError(
            f"videollama3: frames is {frames}; legal: 1 to {MOST_FRAMES}", code="E-CFG-VALUE"
        )


class VideoLlama3Captioner(VideoCaptioner):
    """Base of both VideoLLaMA 3 features."""

    kind: ClassVar[str] = "videollama3"

    def read_plan(self) -> VideoLlama3Plan:
        """Read the plan; see :func:`redub.features.models.videollama3.checkpoint.read_plan`."""
        return read_plan(self.weights)

    def build(self, plan: VideoLlama3Plan, device: Any) -> Any:
        """Load the network; see :meth:`VideoCaptioner.build`."""
        from redub.features.models.videollama3.network import load_videollama3

        return load_videollama3(self.weights, plan, dtype=self.config.dtype, device=device)

    def timed(self, images: Sequence[ByteArray], chosen: Sequence[int]) -> TimedImages:
        """Scale frames of one size to whole tokens, and add their times.

        Args:
            chosen: indices of the frames in the clip.
        """
        height, width = images[0].shape[:2]
        height, width = self.plan.image_size(height, width, len(images))
        scaled = np.stack([resized(pillow_image().fromarray(p), width, height) for p in images])
        return TimedImages(scaled, tuple(k / self.config.video.fps for k in chosen))

    def size(self, prepared: TimedImages) -> float:
        """Number of colour values, for sorting into batches."""
        return float(prepared.images.size)


class VideoLlama3SceneCaption(VideoLlama3Captioner):
    """Compute a text about the scene from whole frames."""

    Config: ClassVar[type] = VideoLlama3SceneConfig

    def prepare(self, media: ClipMedia) -> TimedImages:
        """Choose and scale the frames.

        Raises:
            FeatureAbsent: E-FEAT-NOFRAMES.
        """
        frames = clip_frames(media)
        chosen = uniform_frames(len(frames), self.config.frames)
        return self.timed([frames[k] for k in chosen], chosen)


class VideoLlama3FaceCaption(VideoLlama3Captioner):
    """Compute a text about the expression from squares around the face."""

    reads: ClassVar[tuple[str, ...]] = ("face_track",)
    Config: ClassVar[type] = VideoLlama3FaceConfig

    def prepare(self, media: ClipMedia) -> TimedImages:
        """Cut and scale the face squares.

        Raises:
            FeatureAbsent: E-FEAT-NOFRAMES, E-FEAT-NOFACE.
        """
        squares, chosen = face_crops(media, self.config.frames, margin=self.config.margin)
        images = square_images(squares, FACE_SIDE, aspect="squash", bars=(0, 0, 0))
        return self.timed(list(images), chosen)
