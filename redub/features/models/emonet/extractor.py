"""Two features by EmoNet: an expression vector of the face in each frame, and its 68 landmarks.

The dubbing papers call the first one "VA feature": the 256 numbers before EmoNet's last layers.

Source: Toisoul et al. 2021 and the facts noted in :mod:`redub.features.models.emonet.network`.
Letters: V video frames, E width of the vector.
"""

from __future__ import annotations

from collections.abc import Container, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, ClassVar, Literal, NamedTuple

import numpy as np

from redub.core.errors import ConfigError
from redub.core.types import ByteArray, ClipMedia, FloatArray, SharedWork, Value
from redub.features.base import FeatureSchema, Media
from redub.features.face.landmarks import POINTS
from redub.features.face.rgb_crops import FaceCrops, cut_faces, frames_with_face
from redub.features.models.model_extractor import ModelExtractor, in_batches
from redub.features.models.shared_networks import shared
from redub.features.weights.checkpoint_parts import only_file, tensor_table
from redub.features.weights.folder import WeightFolder, load_strictly

if TYPE_CHECKING:
    from torch import Tensor

    from redub.features.models.emonet.network import EmoNet, Wiring

SIDE = 256  # pixels, of the face images

WIDTHS = range(4, 1025, 4)  # widths that layers may have: a block halves its width twice

LABELS = ("neutral", "happy", "sad", "surprise", "fear", "disgust", "anger", "contempt")
"""Classes of ``emonet_8.pth``; ``emonet_5.pth`` has five."""

AFFECT: tuple[str, ...] = ("valence", "arousal", *LABELS)
"""Columns that the output ``vector_affect`` has after those of ``vector``."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LandmarkConfig:
    """Settings of ``[features.landmarks]`` with the backend ``emonet``.

    Attributes:
        weights: entry of the weights ledger.
        margin: how much longer than the face box the square input of the network is, as a
            fraction; 0 to 2.
        pooling: see :class:`redub.features.models.emonet.network.Wiring`.
    """

    weights: str = "emonet"
    margin: float = 0.2
    pooling: Literal["max", "average"] = "max"

    def __post_init__(self) -> None:
        _check_margin("landmarks", self.margin)


@dataclass(frozen=True, slots=True, kw_only=True)
class EmoNetConfig:
    """Settings of ``[features.local_face]`` with the backend ``emonet``.

    Attributes:
        weights: entry of the weights ledger.
        margin: how much longer than the face box the square input of the network is, as a
            fraction; 0 to 2.
        output: ``vector``, or ``vector_affect``, which adds the columns of :data:`AFFECT`.
        width: width of the checkpoint's vectors; a checkpoint of another width is refused.
        pooling, tap, mask: see :class:`redub.features.models.emonet.network.Wiring`.
    """

    weights: str = "emonet"
    margin: float = 0.2
    output: Literal["vector", "vector_affect"] = "vector"
    width: int = 256
    pooling: Literal["max", "average"] = "max"
    tap: Literal["passed", "own"] = "passed"
    mask: Literal["hourglasses", "all"] = "hourglasses"

    def __post_init__(self) -> None:
        _check_margin("local_face", self.margin)
        if self.width not in WIDTHS:
            raise ConfigError(
                f"features.local_face.width is {self.width}; wanted a multiple of 4 up to 1024",
                code="E-CFG-VALUE",
            )


def _check_margin(feature: str, margin: float) -> None:
    if not 0.0 <= margin <= 2.0:
        raise ConfigError(
            f"features.{feature}.margin is {margin}; wanted 0 to 2", code="E-CFG-VALUE"
        )


class Readings(NamedTuple):
    """EmoNet's outputs for the face images of a clip."""

    vectors: FloatArray  # (V, E)
    affect: FloatArray  # (V, 2 + classes) valence, arousal, probabilities
    points: FloatArray  # (V, 68, 2) x and y as fractions of the image's side


class FacesOfClip(NamedTuple):
    """The face images of a clip, and the cache that shares EmoNet's outputs between features."""

    faces: FaceCrops
    shared: SharedWork


class EmoNetReader(ModelExtractor):
    """Base of both EmoNet features; the network runs once per clip.

    ``[compute] batch`` counts frames here, because the frames of one clip form the batch.
    """

    kind: ClassVar[str] = "emonet"
    version: ClassVar[int] = 1
    media: ClassVar[frozenset[Media]] = frozenset({"frames"})
    reads: ClassVar[tuple[str, ...]] = ("face_track",)
    batch: ClassVar[int] = 16
    one_by_one: ClassVar[bool] = True

    def wiring(self) -> Wiring:
        """Return the variant of the network that the config selects."""
        from redub.features.models.emonet.network import Wiring

        return Wiring(pooling=self.config.pooling)

    def load(self) -> Any:
        """Load the network; features of one process with equal settings share it."""
        wiring, device = self.wiring(), self.runtime.torch_device()
        return shared(
            "emonet",
            self.weights,
            lambda: load_network(self.weights, wiring, device),
            wiring,
            device,
        )

    def prepare(self, media: ClipMedia) -> FacesOfClip:
        """Cut the face images of all frames.

        Raises:
            FeatureAbsent: E-FEAT-NOFACE, the clip has no frames.
        """
        frames, track = frames_with_face(media)
        faces = media.once(cut_faces, frames, track, SIDE, self.config.margin)
        return FacesOfClip(faces, media.shared)

    def readings(self, given: FacesOfClip) -> Readings:
        """Run the network on a clip, or return the cached outputs."""
        arguments = (self.network, given.faces.crops, self.runtime.batch or self.batch)
        return given.shared.get(read_faces, arguments, {})

    def describe(self) -> dict[str, str]:
        """Add the emotion classes and the wiring to the description."""
        network = self.network
        classes = network.emo_fc_2[-1].out_features - 2
        labels = ", ".join(LABELS) if classes == len(LABELS) else f"{classes} of another list"
        wiring = ", ".join(f"{key} {value}" for key, value in network.wiring._asdict().items())
        return {**super().describe(), "classes": str(labels), "wiring": wiring}


class EmoNetExtractor(EmoNetReader):
    """Compute (V, E) float32 from frames and face boxes, or (V, E + 10) with affect."""

    Config: ClassVar[type] = EmoNetConfig

    @property
    def schema(self) -> FeatureSchema:
        """One row per frame: the vector, and the affect values if selected."""
        more = len(AFFECT) if self.config.output == "vector_affect" else 0
        return FeatureSchema(kind="frames", width=self.config.width + more)

    def wiring(self) -> Wiring:
        """Return the variant of the network that the config selects."""
        return super().wiring()._replace(tap=self.config.tap, mask=self.config.mask)

    def load(self) -> Any:
        """Load the network.

        Raises:
            ModelRefusedError: E-MODEL-SHAPE, another width or number of classes than the settings.
        """
        network = super().load()
        width = network.emo_fc_2[0].in_features
        if width != self.config.width:
            raise self.weights.refused(
                f"gives vectors of {width}; features.local_face.width is {self.config.width}",
                code="E-MODEL-SHAPE",
            )
        if self.config.output == "vector_affect":
            classes = network.emo_fc_2[-1].out_features - 2
            if classes != len(LABELS):
                raise self.weights.refused(
                    f"has {classes} classes; features.local_face.output = 'vector_affect' wants "
                    f"{len(LABELS)} (emonet_8.pth)",
                    code="E-MODEL-SHAPE",
                )
        return network

    def compute(self, inputs: Sequence[FacesOfClip]) -> list[Value]:
        """Return the vectors of each clip, with affect if selected."""
        every = [self.readings(given) for given in inputs]
        if self.config.output == "vector":
            return [readings.vectors for readings in every]
        return [np.concatenate([r.vectors, r.affect], axis=1) for r in every]


class EmoNetLandmarkExtractor(EmoNetReader):
    """Compute (V, 136) float32 from frames and face boxes: x and y of each landmark in turn.

    Units are pixels of the decoded frame; pixel k reaches from k to k + 1 as in ``face_track``. A
    heat map has 64 steps along the square around the face, so a point is exact to 1/128 of the
    square's side. Points lie outside the frame if the face does.
    """

    Config: ClassVar[type] = LandmarkConfig

    @property
    def schema(self) -> FeatureSchema:
        """One row of 136 numbers per frame."""
        return FeatureSchema(kind="frames", width=2 * POINTS)

    def compute(self, inputs: Sequence[FacesOfClip]) -> list[Value]:
        """Return the landmarks of each clip."""
        return [
            on_frame(self.readings(given).points, given.faces.squares).reshape(-1, 2 * POINTS)
            for given in inputs
        ]


def on_frame(points: FloatArray, squares: FloatArray) -> FloatArray:
    """Convert points in face images to points in the frames.

    Args:
        points: (V, 68, 2) as fractions of the image's side.
        squares: (V, 3) left, top and side of each face image in its frame, in pixels.

    Returns:
        (V, 68, 2) float32 in pixels of the frame.
    """
    corners, sides = squares[:, None, :2], squares[:, None, 2:]
    return (corners + points * sides).astype(np.float32)


def read_faces(network: EmoNet, images: ByteArray, batch: int) -> Readings:
    """Run the network on (V, 256, 256, 3) uint8 face images, ``batch`` images at a time."""
    import torch

    from redub.features.models.emonet.network import peaks
    from redub.features.models.face_input import on_device

    device = next(network.parameters()).device

    def read(part: Sequence[ByteArray]) -> list[tuple[FloatArray, ...]]:
        """Return (vector, affect, points) of each image of one batch."""
        with torch.inference_mode():
            seen = network(on_device(np.stack(part), device).permute(0, 3, 1, 2))
            affect = torch.cat([seen.affect, seen.logits.softmax(dim=1)], dim=1)
            found = (seen.vector, affect, peaks(seen.heat))
            return list(zip(*(values.cpu().numpy() for values in found), strict=True))

    rows = in_batches(list(images), read, batch)
    return Readings(*(np.stack(column) for column in zip(*rows, strict=True)))


def load_network(weights: WeightFolder, wiring: Wiring, device: Any) -> EmoNet:
    """Build the network with the sizes of a checkpoint and load the checkpoint strictly.

    Raises:
        ModelRefusedError: the file is not EmoNet, or is not trusted.
    """
    from redub.features.models.emonet.network import COUNTERS, EmoNet

    name = only_file(weights, ".pth", ".pt", ".safetensors")
    state = tensor_table(weights.tensors(name), weights, name)
    network = EmoNet(
        width=_size(state, "al0.bias", among=WIDTHS, otherwise=256),
        vector=_size(state, "conv1x1_input_emo_2.bias", among=WIDTHS, otherwise=256),
        classes=_size(state, "emo_fc_2.3.bias", among=(7, 10), otherwise=10) - 2,
        wiring=wiring,
    )
    load_strictly(network, state, weights, lacking=COUNTERS)
    return network.eval().requires_grad_(False).to(device)


def _size(state: Mapping[str, Tensor], name: str, *, among: Container[int], otherwise: int) -> int:
    """The size of a tensor; an unexpected size gives ``otherwise``, then strict loading fails."""
    size = state[name].numel() if name in state else otherwise
    return size if size in among else otherwise
