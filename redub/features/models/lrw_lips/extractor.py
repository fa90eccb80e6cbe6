"""Lip features by a word-level lip reader: the front end of a network trained on LRW.

These are the lip features of the dubbing papers: 512 numbers per frame, from grey mouth crops.

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
    """Settings of ``[features.lips]`` with the backend ``lrw``.

    Attributes:
        weights: entry of the weights ledger.
        activation: activation between the layers. ``auto`` uses PReLU if the checkpoint has its
            slopes, else the ``relu_type`` in the model's JSON file, which must be recorded with the
            weights: ReLU and Swish have no weights that distinguish them.
    """

    weights: str = "lrw_lips"
    activation: Literal["auto", "prelu", "relu", "swish"] = "auto"


class LrwLipExtractor(ModelExtractor):
    """Compute (V, 512) float32 from mouth crops.

    ``[compute] batch`` counts frames here, because the frames of one clip form the batch.
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
        """One row of 512 numbers per frame."""
        return FeatureSchema(kind="frames", width=VECTOR)

    def load(self) -> Any:
        """Load the front end onto the device.

        Raises:
            ModelRefusedError: the file is not such a network, is not trusted, or its activation is
                unknown.
        """
        from redub.features.models.lrw_lips.network import BACK_END, COUNTERS, LipResNet

        name = only_file(self.weights, *SUFFIXES)
        values = self.weights.tensors(name)
        state = tensor_table(values.get("model_state_dict", values), self.weights, name)
        network = LipResNet(self._activation("frontend3D.2.weight" in state))
        load_strictly(network, state, self.weights, extra=BACK_END, lacking=COUNTERS)
        return network.eval().to(self.runtime.torch_device())

    def _activation(self, has_slopes: bool) -> Activation:
        """The activation; raises ModelRefusedError (E-MODEL-FILE) if it cannot be determined."""
        if self.config.activation != "auto":
            return self.config.activation  # type: ignore[no-any-return]
        if has_slopes:
            return "prelu"
        found = sorted(name for name in self.weights.files if name.endswith(".json"))
        types = [self.weights.json(name).get("relu_type") for name in found]
        if len(types) == 1 and types[0] in ACTIVATIONS:
            return types[0]  # type: ignore[no-any-return]
        raise self.weights.refused(
            "its tensors fit both ReLU and Swish; put the repository's model file "
            "(configs/*.json, with relu_type) into the folder of the weights and record both, or "
            "set features.lips.activation",
            code="E-MODEL-FILE",
        )

    def prepare(self, media: ClipMedia) -> ByteArray:
        """Return the mouth crops, (V, 96, 96) uint8.

        Raises:
            FeatureAbsent: E-FEAT-NOFACE, there are no crops.
        """
        mouths: ByteArray = frames_of(media.features, "mouth_crop")
        if len(mouths) == 0:
            raise FeatureAbsent("the clip has no mouth crop", code="E-FEAT-NOFACE")
        return mouths.reshape(-1, SIDE, SIDE)

    def compute(self, inputs: Sequence[ByteArray]) -> list[Value]:
        """Compute the rows of each clip."""
        return [
            read_lips(self.network, mouths, self.runtime.batch or self.batch) for mouths in inputs
        ]

    def describe(self) -> dict[str, str]:
        """Add the activation to the description."""
        activation = type(self.network.frontend3D[2]).__name__
        return {**super().describe(), "activation": {"SiLU": "Swish"}.get(activation, activation)}


def read_lips(network: LipResNet, mouths: ByteArray, batch: int) -> FloatArray:
    """Compute (V, 512) vectors of (V, 96, 96) mouth crops, ``batch`` frames at a time.

    Each batch also contains the frames in the receptive field of its first and last frame, so the
    result does not depend on the batch size.
    """
    import torch

    from redub.features.models.face_input import on_device
    from redub.features.models.lrw_lips.network import REACH, normalised

    device = next(network.parameters()).device

    def read(part: Sequence[int]) -> list[FloatArray]:
        """Return the vector of each frame of one batch."""
        first = max(0, part[0] - REACH)
        seen = mouths[first : part[-1] + 1 + REACH]
        with torch.inference_mode():
            rows = network(normalised(on_device(seen, device))[None])[0]
        start = part[0] - first
        return list(rows[start : start + len(part)].cpu().numpy())

    return np.stack(in_batches(range(len(mouths)), read, batch))
