"""Sentence-level face context of MAE-DFER: how an expression moves, as one vector per clip.

M2CI-Dubber's global video feature: MAE-DFER fine-tuned on DFEW, seven emotions, 512-d.

Source: MAE-DFER (arXiv:2307.02227); sampling and file layout as in github.com/sunlicai/MAE-DFER.
Letters: V video frames, W windows of 16 pictures, D width.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from redub.core.errors import ConfigError
from redub.core.types import ByteArray, ClipMedia, Value
from redub.features.base import FeatureSchema, Media
from redub.features.face.rgb_crops import cut_faces, frames_with_face
from redub.features.models.model_extractor import ModelExtractor
from redub.features.weights.checkpoint_parts import only_file, tensor_table
from redub.features.weights.folder import load_strictly

STRIDE = 4  # frames from one picture of a window to the next
WINDOW = 16  # pictures
SIDE = 160  # of the pictures
MEAN, SPREAD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet, of RGB from 0 to 1

LABELS = ("happy", "sad", "neutral", "angry", "surprise", "disgust", "fear")
"""Classes of the head: DFEW's labels 1 to 7."""

SETTINGS: dict[str, Any] = {
    "attn_type": "local_global",
    "lg_region_size": [2, 5, 10],
    "lg_classify_token_type": "region",
}
"""What the checkpoint's ``args`` must say, if it says it: other settings have the same tensors."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MaeDferConfig:
    """Settings of ``[features.global_face]`` when made by ``mae_dfer``.

    margin: how much longer than the face box the square given to the network is, as a share.
    width: what the checkpoint's tokens are wide; another one is refused when it is loaded.
    """

    weights: str = "mae_dfer"
    margin: float = 0.2
    width: int = 512

    def __post_init__(self) -> None:
        if not 0.0 <= self.margin <= 2.0:
            raise ConfigError(
                f"features.global_face.margin is {self.margin}; wanted 0 to 2", code="E-CFG-VALUE"
            )
        if self.width < 64 or self.width % 64:
            raise ConfigError(
                f"features.global_face.width is {self.width}; wanted a multiple of 64",
                code="E-CFG-VALUE",
            )


class MaeDferExtractor(ModelExtractor):
    """Frames and face boxes in, one (D,) float32 vector out."""

    kind: ClassVar[str] = "mae_dfer"
    version: ClassVar[int] = 1
    media: ClassVar[frozenset[Media]] = frozenset({"frames"})
    reads: ClassVar[tuple[str, ...]] = ("face_track",)
    Config: ClassVar[type] = MaeDferConfig
    batch: ClassVar[int] = 8

    @property
    def schema(self) -> FeatureSchema:
        return FeatureSchema(kind="vector", width=self.config.width)

    def load(self) -> Any:
        from redub.features.models.mae_dfer.network import LgiFormer

        name = only_file(self.weights, ".pth", ".pt", ".safetensors")
        values = self.weights.tensors(name, allowed=known_classes())
        self._check_settings(getattr(values.get("args"), "__dict__", {}))
        state = tensor_table(values.get("model", values), self.weights, name)
        depth = len({found[1] for key in state if (found := re.match(r"blocks\.(\d+)\.", key))})
        classes = state["head.bias"].numel() if "head.bias" in state else len(LABELS)
        classes = classes if classes < 100 else len(LABELS)
        network = LgiFormer(width=self.config.width, depth=depth, classes=classes)
        load_strictly(network, state, self.weights)
        return network.eval().to(self.runtime.torch_device())

    def _check_settings(self, said: Mapping[str, Any]) -> None:
        for key, wanted in SETTINGS.items():
            found = said.get(key, wanted)
            if (list(found) if isinstance(found, tuple) else found) != wanted:
                raise self.weights.refused(
                    f"was trained with {key} {found!r}, wanted {wanted!r}: the same tensors would "
                    "mean something else",
                    code="E-MODEL-KEYS",
                )

    def prepare(self, media: ClipMedia) -> ByteArray:
        """(W, 16, 160, 160, 3) uint8; one window where the second would be the same.

        Raises:
            FeatureAbsent: E-FEAT-NOFACE, the clip has no picture.
        """
        frames, track = frames_with_face(media)
        windows = window_frames(len(frames))
        chosen = sorted({k for window in windows for k in window})
        faces = cut_faces(frames, track, SIDE, self.config.margin, chosen, average=False)
        places = np.searchsorted(chosen, windows)
        return faces.pictures[places]

    def compute(self, inputs: Sequence[ByteArray]) -> list[Value]:
        """Vectors (D,) float32: the mean over a clip's windows."""
        import torch

        from redub.features.models.face_input import on_device

        network, device = self.network, self.runtime.torch_device()
        pictures = on_device(np.concatenate(inputs), device)  # (windows, 16, 160, 160, 3)
        mean, spread = (torch.tensor(values, device=device) for values in (MEAN, SPREAD))
        with torch.inference_mode():
            seen = ((pictures - mean) / spread).permute(0, 4, 1, 2, 3)
            vectors = network(seen).vector.cpu().numpy()
        ends = np.cumsum([len(windows) for windows in inputs])[:-1]
        return [part.mean(axis=0, dtype=np.float32) for part in np.split(vectors, ends)]

    def size(self, prepared: ByteArray) -> float:
        return len(prepared)

    def describe(self) -> dict[str, str]:
        classes = self.network.head.out_features
        labels = ", ".join(LABELS) if classes == len(LABELS) else f"{classes} unknown ones"
        return {
            **super().describe(),
            "classes": labels,
            "blocks": str(len(self.network.blocks)),
        }


def window_frames(count: int) -> list[list[int]]:
    """Which frames of a clip the windows show: the first and the last 16 of every fourth frame.

    A clip of up to 64 frames has one window, whose last picture is repeated.
    """
    sampled = list(range(0, count, STRIDE))
    if len(sampled) <= WINDOW:
        return [sampled + sampled[-1:] * (WINDOW - len(sampled))]
    return [sampled[:WINDOW], sampled[-WINDOW:]]


def known_classes() -> list[Any]:
    """What a published file holds beside tensors: its command line, numpy scalars of its optimizer.

    Old pickles name numpy's inner modules as they were called then.
    """
    import argparse
    import codecs
    import importlib

    scalar = importlib.import_module("numpy._core.multiarray").scalar
    return [
        argparse.Namespace,
        np.dtype,
        np.dtypes.Float64DType,
        np.dtypes.Float32DType,
        np.dtypes.Int64DType,
        (scalar, "numpy.core.multiarray.scalar"),
        (scalar, "numpy._core.multiarray.scalar"),
        (codecs.encode, "_codecs.encode"),
    ]
