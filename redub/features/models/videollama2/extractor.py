"""Captions of scene and face by VideoLLaMA 2.

Source: VideoLLaMA 2 (arXiv:2406.07476) and the frame sampling of its public README: the clip is
divided into N equal intervals, and the middle frame of each is used. The checkpoint sets N.
Letters: N chosen frames, S side of the square input of the vision tower.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from redub.core.types import ByteArray, ClipMedia
from redub.features.models.video_caption import (
    FACE_PROMPT,
    MOST_TOKENS,
    SCENE_PROMPT,
    Precision,
    VideoCaptioner,
    check_caption_config,
)
from redub.features.models.videollama2.checkpoint import VideoLlama2Plan, read_plan
from redub.features.picture.caption_frames import (
    clip_frames,
    face_crops,
    square_images,
    uniform_frames,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoLlama2SceneConfig:
    """Settings of ``[features.scene_caption]`` with the backend ``videollama2``.

    Attributes:
        weights: entry of the weights ledger.
        dtype: type of the computation.
        prompt: the instruction.
        max_new_tokens: longest caption, 1 to 2048.
        aspect: how a frame becomes square. ``crop`` is the processing of the public README: CLIP
            towers get the square middle, SigLIP towers get the whole frame squashed. ``pad`` adds
            bars, as in the training.
    """

    weights: str = "videollama2"
    dtype: Precision = "bfloat16"
    prompt: str = SCENE_PROMPT
    max_new_tokens: int = MOST_TOKENS
    aspect: Literal["crop", "pad"] = "crop"

    def __post_init__(self) -> None:
        check_caption_config(self)


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoLlama2FaceConfig:
    """Settings of ``[features.face_caption]`` with the backend ``videollama2``.

    Attributes:
        margin: added on every side of the face, as a fraction of the side of its box; 0 to 2.
    """

    weights: str = "videollama2"
    dtype: Precision = "bfloat16"
    prompt: str = FACE_PROMPT
    max_new_tokens: int = MOST_TOKENS
    margin: float = 0.25

    def __post_init__(self) -> None:
        check_caption_config(self)


class VideoLlama2Captioner(VideoCaptioner):
    """Base of both VideoLLaMA 2 features."""

    kind: ClassVar[str] = "videollama2"

    def read_plan(self) -> VideoLlama2Plan:
        """Read the plan; see :func:`redub.features.models.videollama2.checkpoint.read_plan`."""
        return read_plan(self.weights)

    def build(self, plan: VideoLlama2Plan, device: Any) -> Any:
        """Load the network; see :meth:`VideoCaptioner.build`."""
        from redub.features.models.videollama2.network import load_videollama2

        return load_videollama2(self.weights, plan, dtype=self.config.dtype, device=device)

    def describe(self) -> dict[str, str]:
        """Add the input size and the language model to the description."""
        plan = self.plan
        return {
            **super().describe(),
            "looks at": f"{plan.frames} frames of {plan.side} × {plan.side} through {plan.tower}",
            "writes with": f"{plan.language}, up to {self.config.max_new_tokens} tokens",
        }


class VideoLlama2SceneCaption(VideoLlama2Captioner):
    """Compute a text about the scene from whole frames."""

    Config: ClassVar[type] = VideoLlama2SceneConfig

    def prepare(self, media: ClipMedia) -> ByteArray:
        """Choose and resize the frames, (N, S, S, 3) uint8 RGB.

        Raises:
            FeatureAbsent: E-FEAT-NOFRAMES.
        """
        frames, plan = clip_frames(media), self.plan
        return square_images(
            (frames[k] for k in uniform_frames(len(frames), plan.frames)),
            plan.side,
            aspect="pad" if self.config.aspect == "pad" else plan.aspect,
            bars=plan.bars,
        )


class VideoLlama2FaceCaption(VideoLlama2Captioner):
    """Compute a text about the expression from squares around the face."""

    reads: ClassVar[tuple[str, ...]] = ("face_track",)
    Config: ClassVar[type] = VideoLlama2FaceConfig

    def prepare(self, media: ClipMedia) -> ByteArray:
        """Cut and resize the face squares, (N, S, S, 3) uint8 RGB.

        Raises:
            FeatureAbsent: E-FEAT-NOFRAMES, E-FEAT-NOFACE.
        """
        plan = self.plan
        squares, _ = face_crops(media, plan.frames, margin=self.config.margin)
        return square_images(squares, plan.side, aspect="squash", bars=plan.bars)
