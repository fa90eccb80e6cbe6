"""Sentence-level face context by MAE-DFER: one vector per clip for the course of the expression.

This is M2CI-Dubber's global video feature: MAE-DFER fine-tuned on DFEW, seven emotions, 512-d.

Source: MAE-DFER (arXiv:2307.02227); sampling and file layout as in github.com/sunlicai/MAE-DFER.
Letters: V video frames, W windows of 16 face images, D width.
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

STRIDE = 4  # frames between two images of a window
WINDOW = 16  # images
SIDE = 160  # pixels, of the images
MEAN, SPREAD = (0.485, 0.456, 0.406), (0.229, 0.224, 0.225)  # ImageNet, of RGB from 0 to 1

LABELS = ("happy", "sad", "neutral", "angry", "surprise", "disgust", "fear")
"""Classes of the head: DFEW's labels 1 to 7."""

SETTINGS: dict[str, str | list[int]] = {
    "attn_type": "local_global",
    "lg_region_size": [2, 5, 10],
    "lg_classify_token_type": "region",
}
"""Required values in the checkpoint's ``args``, if present: other values have equal tensors."""


@dataclass(frozen=True, slots=True, kw_only=True)
class MaeDferConfig:
    """Settings of ``[features.global_face]`` with the backend ``mae_dfer``.

    Attributes:
        weights: entry of the weights ledger.
        margin: how much longer than the face box the square input of the network is, as a
            fraction; 0 to 2.
        width: width of the checkpoint's tokens, a multiple of 64; a checkpoint of another width is
            refused.
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
    """Compute one (D,) float32 vector from frames and face boxes."""

    kind: ClassVar[str] = "mae_dfer"
    version: ClassVar[int] = 1
    media: ClassVar[frozenset[Media]] = frozenset({"frames"})
    reads: ClassVar[tuple[str, ...]] = ("face_track",)
    Config: ClassVar[type] = MaeDferConfig
    batch: ClassVar[int] = 8

    @property
    def schema(self) -> FeatureSchema:
        """One vector of the network's width."""
        return FeatureSchema(kind="vector", width=self.config.width)

    def load(self) -> Any:
        """Load the network onto the device.

        Raises:
            ModelRefusedError: the file is not such a network, is not trusted, or was trained with
                other settings.
        """
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

    def _check_settings(self, args: Mapping[str, Any]) -> None:
        """Refuse a checkpoint with other training settings than :data:`SETTINGS`."""
        for key, wanted in SETTINGS.items():
            found = args.get(key, wanted)
            if (list(found) if isinstance(found, tuple) else found) != wanted:
                raise self.weights.refused(
                    f"was trained with {key} {found!r}, wanted {wanted!r}: its tensors have "
                    "another meaning",
                    code="E-MODEL-KEYS",
                )

    def prepare(self, media: ClipMedia) -> ByteArray:
        """Cut the face images, (W, 16, 160, 160, 3) uint8; W is 1 up to 64 frames, else 2.

        Raises:
            FeatureAbsent: E-FEAT-NOFACE, the clip has no frames.
        """
        frames, track = frames_with_face(media)
        windows = window_frames(len(frames))
        chosen = sorted({k for window in windows for k in window})
        faces = cut_faces(frames, track, SIDE, self.config.margin, chosen, average=False)
        places = np.searchsorted(chosen, windows)
        return faces.crops[places]

    def compute(self, inputs: Sequence[ByteArray]) -> list[Value]:
        """Compute (D,) float32 per clip: the mean over its windows."""
        import torch

        from redub.features.models.face_input import on_device

        network, device = self.network, self.runtime.torch_device()
        images = on_device(np.concatenate(inputs), device)  # (windows, 16, 160, 160, 3)
        mean, spread = (torch.tensor(values, device=device) for values in (MEAN, SPREAD))
        with torch.inference_mode():
            seen = ((images - mean) / spread).permute(0, 4, 1, 2, 3)
            vectors = network(seen).vector.cpu().numpy()
        ends = np.cumsum([len(windows) for windows in inputs])[:-1]
        return [part.mean(axis=0, dtype=np.float32) for part in np.split(vectors, ends)]

    def size(self, prepared: ByteArray) -> float:
        """Number of windows, for sorting into batches."""
        return len(prepared)

    def describe(self) -> dict[str, str]:
        """Add the emotion classes and the number of blocks to the description."""
        classes = self.network.head.out_features
        labels = ", ".join(LABELS) if classes == len(LABELS) else f"{classes} unknown ones"
        return {
            **super().describe(),
            "classes": labels,
            "blocks": str(len(self.network.blocks)),
        }


def window_frames(count: int) -> list[list[int]]:
    """Return the frame indices of the windows: the first and the last 16 of every fourth frame.

    A clip of up to 64 frames has one window; its last frame is repeated if needed.
    """
    sampled = list(range(0, count, STRIDE))
    if len(sampled) <= WINDOW:
        return [sampled + sampled[-1:] * (WINDOW - len(sampled))]
    return [sampled[:WINDOW], sampled[-WINDOW:]]


def known_classes() -> list[Any]:
    """Return the classes in a published file besides tensors: command line, numpy scalars.

    Old pickles use old names of numpy's internal modules.
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
