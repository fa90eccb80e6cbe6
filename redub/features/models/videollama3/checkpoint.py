"""Read and check the configuration files of a VideoLLaMA 3 folder, without loading a network.

Source: the ``video_llama_3`` classes of transformers and the folders made for them (such as
lkhl/VideoLLaMA3-2B-Image-HF). The folders of the original publisher need custom code and are
refused.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from redub.features.models.videollama2.checkpoint import LANGUAGE_FIELDS
from redub.features.weights.folder import WeightFolder

MODEL_TYPE = "video_llama_3"
VISION_FIELDS = (
    "hidden_size", "intermediate_size", "num_hidden_layers", "num_attention_heads", "num_channels",
    "patch_size", "hidden_act", "layer_norm_eps", "attention_dropout", "rope_theta",
    "rope_parameters",
)  # fmt: skip
PREPROCESSOR = "video_preprocessor_config.json"
USUAL: dict[str, int | bool | list[float]] = {
    "min_pixels": 128 * 28 * 28, "max_pixels": 768 * 28 * 28, "patch_size": 14, "merge_size": 2,
    "temporal_patch_size": 1, "image_mean": [0.5] * 3, "image_std": [0.5] * 3,
    "use_token_compression": True,
}  # fmt: skip
"""Default values of the library for fields that the preprocessor file does not have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class VideoLlama3Plan:
    """Sizes of the network and of its input.

    Attributes:
        patch: side of a patch in pixels.
        merge: a token is a square of ``merge`` x ``merge`` patches.
        least_pixels: least pixels of one frame.
        most_pixels: most pixels of all frames of a clip together.
        mean, spread: mean and standard deviation of red, green, blue in [0, 1].
        thins: whether tokens that repeat the previous frame are dropped.
    """

    network: Mapping[str, Any]
    video_token: int
    patch: int
    merge: int
    least_pixels: int
    most_pixels: int
    mean: tuple[float, ...]
    spread: tuple[float, ...]
    thins: bool

    def image_size(self, height: int, width: int, images: int) -> tuple[int, int]:
        """Return the nearest height and width in whole tokens within the limits.

        Args:
            images: number of frames of the clip.
        """
        unit, most = self.patch * self.merge, self.most_pixels // images
        high, wide = (round(side / unit) * unit for side in (height, width))
        if high * wide > most:
            shrink = math.sqrt(height * width / most)
            high, wide = (
                max(unit, math.floor(side / shrink / unit) * unit) for side in (height, width)
            )
        elif high * wide < self.least_pixels:
            grow = math.sqrt(self.least_pixels / (height * width))
            high, wide = (math.ceil(side * grow / unit) * unit for side in (height, width))
        return high, wide


def read_plan(weights: WeightFolder) -> VideoLlama3Plan:
    """Read ``config.json``, and the video preprocessor's file if it is listed.

    Raises:
        ModelRefusedError: E-MODEL-CODE, the layout of the original publisher, which needs code;
            E-MODEL-KIND, another model; E-MODEL-FILE, a value is missing or invalid.
    """
    config = weights.json("config.json")
    text, vision = config.get("text_config"), config.get("vision_config")
    if config.get("model_type") != MODEL_TYPE or not isinstance(text, Mapping):
        raise weights.refused(
            f"model_type is {config.get('model_type')!r}, wanted '{MODEL_TYPE}' in the layout of "
            "transformers",
            code="E-MODEL-KIND",
        )
    if text.get("model_type") != "qwen2" or not isinstance(vision, Mapping):
        raise weights.refused(
            f"its language model is {text.get('model_type')!r}, wanted 'qwen2'", code="E-MODEL-KIND"
        )
    given = weights.json(PREPROCESSOR) if weights.has(PREPROCESSOR) else {}
    size = given.get("size")
    size = size if isinstance(size, Mapping) else {}
    limits = {
        "min_pixels": given.get("min_pixels") or size.get("shortest_edge"),
        "max_pixels": given.get("max_pixels") or size.get("longest_edge"),
    }
    values = {**USUAL, **given, **{key: value for key, value in limits.items() if value}}
    for key, usual in USUAL.items():
        if type(values[key]) is not type(usual):
            raise weights.refused(
                f"'{key}' of {PREPROCESSOR} is {values[key]!r}; wanted something like {usual!r}",
                code="E-MODEL-FILE",
            )
    if values["temporal_patch_size"] != 1:
        raise weights.refused(
            f"temporal_patch_size is {values['temporal_patch_size']}, wanted 1", code="E-MODEL-KIND"
        )
    token = config.get("video_token_id")
    if not isinstance(token, int):
        raise weights.refused(f"video_token_id is {token!r}, wanted a number", code="E-MODEL-FILE")
    network = {
        "text_config": {k: text[k] for k in ("model_type", *LANGUAGE_FIELDS) if k in text},
        "vision_config": {k: vision[k] for k in VISION_FIELDS if k in vision},
    }
    for key in ("image_token_id", "video_token_id", "tie_word_embeddings"):
        if key in config:
            network[key] = config[key]
    return VideoLlama3Plan(
        network=network,
        video_token=token,
        patch=values["patch_size"],
        merge=values["merge_size"],
        least_pixels=values["min_pixels"],
        most_pixels=values["max_pixels"],
        mean=tuple(values["image_mean"]),
        spread=tuple(values["image_std"]),
        thins=values["use_token_compression"],
    )
