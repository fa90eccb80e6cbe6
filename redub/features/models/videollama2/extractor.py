"""Captions by VideoLLaMA 2, for the scene and for the face.

Source: VideoLLaMA 2 (arXiv:2406.07476) and the public README's way to show it a video: N pictures,
each the middle of one of N equal stretches of the clip, N as the checkpoint says.
Letters: N pictures shown, S side of the square that the vision tower looks at.
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
    clip_pictures,
    face_pictures,
    square_pictures,
    uniform_frames,
)


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoLlama2SceneConfig:
    """``weights``: entry of the ledger. ``dtype``: what the network computes in.

    ``aspect``: ``crop`` does what the public README's code does to oblong pictures (CLIP towers see
    the square middle, SigLIP towers see everything squeezed); ``pad`` adds bars, as in training.
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
    """As for the scene; ``margin`` is added around the face, as a share of the box's side."""

    weights: str = "videollama2"
    dtype: Precision = "bfloat16"
    prompt: str = FACE_PROMPT
    max_new_tokens: int = MOST_TOKENS
    margin: float = 0.25

    def __post_init__(self) -> None:
        check_caption_config(self)


class VideoLlama2Captioner(VideoCaptioner):
    """The network behind both features."""

    kind: ClassVar[str] = "videollama2"

    def read_plan(self) -> VideoLlama2Plan:
        return read_plan(self.weights)

    def build(self, plan: VideoLlama2Plan, device: Any) -> Any:
        from redub.features.models.videollama2.network import load_videollama2

        return load_videollama2(self.weights, plan, dtype=self.config.dtype, device=device)

    def describe(self) -> dict[str, str]:
        plan = self.plan
        return {
            **super().describe(),
            "looks at": f"{plan.frames} pictures of {plan.side} × {plan.side} through {plan.tower}",
            "writes with": f"{plan.language}, up to {self.config.max_new_tokens} tokens",
        }


class VideoLlama2SceneCaption(VideoLlama2Captioner):
    """Whole pictures in, a text about the scene out."""

    Config: ClassVar[type] = VideoLlama2SceneConfig

    def prepare(self, media: ClipMedia) -> ByteArray:
        """(N, S, S, 3) uint8 RGB.

        Raises:
            FeatureAbsent: E-FEAT-NOPICTURE.
        """
        frames, plan = clip_pictures(media), self.plan
        return square_pictures(
            (frames[k] for k in uniform_frames(len(frames), plan.frames)),
            plan.side,
            aspect="pad" if self.config.aspect == "pad" else plan.aspect,
            bars=plan.bars,
        )


class VideoLlama2FaceCaption(VideoLlama2Captioner):
    """Squares around the face in, a text about the expression out."""

    reads: ClassVar[tuple[str, ...]] = ("face_track",)
    Config: ClassVar[type] = VideoLlama2FaceConfig

    def prepare(self, media: ClipMedia) -> ByteArray:
        """(N, S, S, 3) uint8 RGB.

        Raises:
            FeatureAbsent: E-FEAT-NOPICTURE, E-FEAT-NOFACE.
        """
        plan = self.plan
        squares, _ = face_pictures(media, plan.frames, margin=self.config.margin)
        return square_pictures(squares, plan.side, aspect="squash", bars=plan.bars)
