"""Two features by face-api's expression network: of every frame, and of the clip.

The network sees the face box of every frame. Letters: V video frames.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

import numpy as np

from redub.core.errors import ConfigError
from redub.core.types import ByteArray, ClipMedia, FloatArray, SharedWork, Value
from redub.features.base import FeatureSchema, Media
from redub.features.face.rgb_crops import cut_faces, frames_with_face
from redub.features.models.face_api.manifest import read_tensors
from redub.features.models.model_extractor import ModelExtractor, in_batches
from redub.features.models.shared_networks import shared
from redub.features.weights.folder import WeightFolder, load_strictly

if TYPE_CHECKING:
    from redub.features.models.face_api.network import DenseFaceNet

KIND = "face_api"
MODEL = "face_expression_model"
SIDE, WIDTH = 112, 256  # pixels of the input; numbers before the last layer

LABELS = ("neutral", "happy", "sad", "angry", "fearful", "disgusted", "surprised")
"""The classes, in the order of the network."""

DIMENSIONS: tuple[str, ...] = (
    *(f"mean_{label}" for label in LABELS),
    *(f"spread_{label}" for label in LABELS),
)
"""Names of the dimensions of ``face_emotion``."""


def check_margin(feature: str, margin: float) -> None:
    """Refuse a margin around the face box outside 0 to 2; raises ConfigError."""
    if not 0.0 <= margin <= 2.0:
        raise ConfigError(
            f"features.{feature}.margin is {margin}; wanted 0 to 2", code="E-CFG-VALUE"
        )


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpressionConfig:
    """Settings of ``[features.face_emotion]`` with the backend ``face_api``.

    Attributes:
        weights: entry of the weights ledger.
        margin: how much longer than the face box the square input of the network is, as a
            fraction; 0 to 2.
    """

    weights: str = KIND
    margin: float = 0.0

    def __post_init__(self) -> None:
        check_margin("face_emotion", self.margin)


@dataclass(frozen=True, slots=True, kw_only=True)
class ExpressionFramesConfig:
    """Settings of ``[features.local_face]`` with the backend ``face_api``.

    Attributes:
        weights, margin: as in :class:`ExpressionConfig`.
        output: ``vector``, the 256 numbers before the last layer; or ``vector_expressions``, which
            adds the probabilities of :data:`LABELS`.
    """

    weights: str = KIND
    margin: float = 0.0
    output: Literal["vector", "vector_expressions"] = "vector"

    def __post_init__(self) -> None:
        check_margin("local_face", self.margin)


class Expressions(NamedTuple):
    """The network's outputs for the frames of a clip."""

    vectors: FloatArray  # (V, 256)
    probabilities: FloatArray  # (V, 7)


class FacesOfClip(NamedTuple):
    """The face images of a clip, and the cache that shares the outputs between features."""

    crops: ByteArray  # (V, 112, 112, 3)
    shared: SharedWork


class ExpressionReader(ModelExtractor):
    """Base of both features; the network runs once per clip.

    ``[compute] batch`` counts frames here, because the frames of one clip form the batch.
    """

    kind: ClassVar[str] = KIND
    version: ClassVar[int] = 1
    media: ClassVar[frozenset[Media]] = frozenset({"frames"})
    reads: ClassVar[tuple[str, ...]] = ("face_track",)
    batch: ClassVar[int] = 16
    one_by_one: ClassVar[bool] = True

    def load(self) -> Any:
        """Load the network; features of one process share it."""
        device = self.runtime.torch_device()
        return shared(KIND, self.weights, lambda: load_network(self.weights, device), device)

    def prepare(self, media: ClipMedia) -> FacesOfClip:
        """Cut the face images of all frames.

        Raises:
            FeatureAbsent: E-FEAT-NOFACE, the clip has no frames.
        """
        frames, track = frames_with_face(media)
        faces = media.once(cut_faces, frames, track, SIDE, self.config.margin)
        return FacesOfClip(faces.crops, media.shared)

    def expressions(self, given: FacesOfClip) -> Expressions:
        """Run the network on a clip, or return the cached outputs."""
        arguments = (self.network, given.crops, self.runtime.batch or self.batch)
        return given.shared.get(read_expressions, arguments, {})

    def describe(self) -> dict[str, str]:
        """Add the classes to the description."""
        return {**super().describe(), "classes": ", ".join(LABELS)}


class ExpressionFrames(ExpressionReader):
    """Compute (V, 256) float32 from frames and face boxes, or (V, 263) with probabilities."""

    Config: ClassVar[type] = ExpressionFramesConfig

    @property
    def schema(self) -> FeatureSchema:
        """One row per frame."""
        more = len(LABELS) if self.config.output == "vector_expressions" else 0
        return FeatureSchema(kind="frames", width=WIDTH + more)

    def compute(self, inputs: Sequence[FacesOfClip]) -> list[Value]:
        """Return the rows of each clip."""
        every = [self.expressions(given) for given in inputs]
        if self.config.output == "vector":
            return [found.vectors for found in every]
        return [np.concatenate(found, axis=1) for found in every]


class ExpressionOfClip(ExpressionReader):
    """Compute one vector (14,) from frames and face boxes."""

    Config: ClassVar[type] = ExpressionConfig

    @property
    def schema(self) -> FeatureSchema:
        """One vector of ``len(DIMENSIONS)`` numbers."""
        return FeatureSchema(kind="vector", width=len(DIMENSIONS))

    def compute(self, inputs: Sequence[FacesOfClip]) -> list[Value]:
        """Summarise the probabilities of each clip; see :func:`summary`."""
        return [summary(self.expressions(given).probabilities) for given in inputs]


def summary(probabilities: FloatArray) -> FloatArray:
    """Summarise (V, 7) probabilities in the order of :data:`DIMENSIONS`.

    Returns:
        (14,) float32: means over the frames less 1/7, because retrieval compares by cosine and 0
        must be the value that says nothing; then standard deviations, 0 in a still face.
    """
    mean = probabilities.mean(axis=0, dtype=np.float64) - 1 / len(LABELS)
    spread = probabilities.std(axis=0, dtype=np.float64)
    return np.concatenate([mean, spread]).astype(np.float32)


def read_expressions(network: DenseFaceNet, images: ByteArray, batch: int) -> Expressions:
    """Run the network on (V, 112, 112, 3) uint8 face images, ``batch`` images at a time."""
    import torch

    from redub.features.models.face_input import on_device

    device = next(network.parameters()).device

    def read(part: Sequence[ByteArray]) -> list[tuple[FloatArray, ...]]:
        """Return (vector, probabilities) of each image of one batch."""
        with torch.inference_mode():
            seen = network(on_device(np.stack(part), device))
            found = (seen.vector, seen.last.softmax(dim=1))
            return list(zip(*(values.cpu().numpy() for values in found), strict=True))

    rows = in_batches(list(images), read, batch)
    return Expressions(*(np.stack(column) for column in zip(*rows, strict=True)))


def load_network(weights: WeightFolder, device: Any, model: str = MODEL) -> DenseFaceNet:
    """Build one of the two networks and load its file strictly.

    Args:
        model: :data:`MODEL`, or the landmark network.

    Raises:
        ModelRefusedError: the files are damaged, or another network.
    """
    from redub.features.models.face_api.network import CLASSES, LANDMARKS, DenseFaceNet, state_of

    network = DenseFaceNet(CLASSES if model == MODEL else 2 * LANDMARKS)
    load_strictly(network, state_of(read_tensors(weights, model)), weights)
    return network.eval().requires_grad_(False).to(device)
