"""Lip features of a word-level lip reader: the front end of a network trained on LRW.

What the dubbing papers call lip features: 512 numbers per frame, from grey pictures of the mouth.

Source: Martinez et al. 2020 (arXiv:2001.08702) and the repository of
:mod:`redub.features.models.lrw_lips.network`. Letters: V video frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal

import numpy as np

from redub.core.errors import FeatureAbsent
from redub.core.types import ByteArray, ClipMedia, FloatArray, Value
from redub.features.base import FeatureSchema, Media, frames_of
from redub.features.models.model_extractor import ModelExtractor, in_batches
from redub.features.weights.checkpoint_parts import only_file, tensor_table
from redub.features.weights.folder import load_strictly

if TYPE_CHECKING:
    from redub.features.models.lrw_lips.network import Activation, LipResNet

VECTOR = 512
SIDE = 96  # of the rows of ``mouth_crop``
SUFFIXES = (".pth", ".pth.tar", ".pt", ".safetensors")
ACTIVATIONS = ("prelu", "relu", "swish")


@dataclass(frozen=True, slots=True, kw_only=True)
class LrwLipConfig:
    """Settings of ``[features.lips]`` when made by ``lrw``.

    activation: between the layers. ``auto`` takes PReLU where the checkpoint holds its slopes, else
        the ``relu_type`` of the model's JSON file recorded beside it: the other two have no weights
        that would tell them apart.
    """

    weights: str = "lrw_lips"
    activation: Literal["auto", "prelu", "relu", "swish"] = "auto"


class LrwLipExtractor(ModelExtractor):
    """Mouth crops in, (V, 512) float32 out.

    ``[compute] batch`` counts frames here: the frames of one clip are the batch.
    """

    kind: ClassVar[str] = "lrw_lips"
    version: ClassVar[int] = 1
    media: ClassVar[frozenset[Media]] = frozenset()
    reads: ClassVar[tuple[str, ...]] = ("mouth_crop",)
    Config: ClassVar[type] = LrwLipConfig
    batch: ClassVar[int] = 64
    one_by_one: ClassVar[bool] = True

    @property
    def schema(self) -> FeatureSchema:
        return FeatureSchema(kind="frames", width=VECTOR)

    def load(self) -> Any:
        from redub.features.models.lrw_lips.network import BACK_END, COUNTERS, LipResNet

        name = only_file(self.weights, *SUFFIXES)
        values = self.weights.tensors(name)
        state = tensor_table(values.get("model_state_dict", values), self.weights, name)
        network = LipResNet(self._activation("frontend3D.2.weight" in state))
        load_strictly(network, state, self.weights, extra=BACK_END, lacking=COUNTERS)
        return network.eval().to(self.runtime.torch_device())

    def _activation(self, has_slopes: bool) -> Activation:
        """Raises ModelRefusedError E-MODEL-FILE where nothing tells it."""
        if self.config.activation != "auto":
            return self.config.activation  # type: ignore[no-any-return]
        if has_slopes:
            return "prelu"
        found = sorted(name for name in self.weights.files if name.endswith(".json"))
        said = [self.weights.json(name).get("relu_type") for name in found]
        if len(said) == 1 and said[0] in ACTIVATIONS:
            return said[0]  # type: ignore[no-any-return]
        raise self.weights.refused(
            "its tensors fit ReLU and Swish alike; put the repository's model file "
            "(configs/*.json, with relu_type) beside the weights and record both, or set "
            "features.lips.activation",
            code="E-MODEL-FILE",
        )

    def prepare(self, media: ClipMedia) -> ByteArray:
        """(V, 96, 96) uint8.

        Raises:
            FeatureAbsent: E-FEAT-NOFACE, there is no frame.
        """
        mouths: ByteArray = frames_of(media.features, "mouth_crop")
        if len(mouths) == 0:
            raise FeatureAbsent("the clip has no mouth picture", code="E-FEAT-NOFACE")
        return mouths.reshape(-1, SIDE, SIDE)

    def compute(self, inputs: Sequence[ByteArray]) -> list[Value]:
        return [
            read_lips(self.network, mouths, self.runtime.batch or self.batch) for mouths in inputs
        ]

    def describe(self) -> dict[str, str]:
        activation = type(self.network.frontend3D[2]).__name__
        return {**super().describe(), "activation": {"SiLU": "Swish"}.get(activation, activation)}


def read_lips(network: LipResNet, mouths: ByteArray, batch: int) -> FloatArray:
    """Vectors (V, 512) of mouth pictures (V, 96, 96), ``batch`` frames at a time.

    Each part takes the neighbours along that its first and last frame look at, so that the cuts
    between parts do not show.
    """
    import torch

    from redub.features.models.face_input import on_device
    from redub.features.models.lrw_lips.network import REACH, normalised

    device = next(network.parameters()).device

    def read(part: Sequence[int]) -> list[FloatArray]:
        first = max(0, part[0] - REACH)
        seen = mouths[first : part[-1] + 1 + REACH]
        with torch.inference_mode():
            rows = network(normalised(on_device(seen, device))[None])[0]
        start = part[0] - first
        return list(rows[start : start + len(part)].cpu().numpy())

    return np.stack(in_batches(range(len(mouths)), read, batch))
