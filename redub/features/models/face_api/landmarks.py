"""The feature ``landmarks`` by face-api's network of 68 points. Letters: V video frames."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, ClassVar

import numpy as np

from redub.core.types import ByteArray, ClipMedia, FloatArray, Value
from redub.features.base import FeatureSchema, Media
from redub.features.face.landmarks import POINTS
from redub.features.face.rgb_crops import FaceCrops, cut_faces, frames_with_face
from redub.features.models.face_api.extractor import KIND, SIDE, check_margin, load_network
from redub.features.models.model_extractor import ModelExtractor, in_batches
from redub.features.models.shared_networks import shared

MODEL = "face_landmark_68_model"


@dataclass(frozen=True, slots=True, kw_only=True)
class FaceApiLandmarkConfig:
    """Settings of ``[features.landmarks]`` with the backend ``face_api``.

    Attributes:
        weights: entry of the weights ledger.
        margin: how much longer than the face box the square input of the network is, as a
            fraction; 0 to 2.
    """

    weights: str = KIND
    margin: float = 0.3

    def __post_init__(self) -> None:
        check_margin("landmarks", self.margin)


class FaceApiLandmarks(ModelExtractor):
    """Compute (V, 136) float32, x and y of each point in turn.

    Units are pixels of the decoded frame; pixel k reaches from k to k + 1 as in ``face_track``.
    Every frame is measured on its own, and the network has no output that says "no face".
    """

    kind: ClassVar[str] = KIND
    version: ClassVar[int] = 1
    media: ClassVar[frozenset[Media]] = frozenset({"frames"})
    reads: ClassVar[tuple[str, ...]] = ("face_track",)
    batch: ClassVar[int] = 16
    one_by_one: ClassVar[bool] = True
    Config: ClassVar[type] = FaceApiLandmarkConfig

    @property
    def schema(self) -> FeatureSchema:
        """One row of 136 numbers per frame."""
        return FeatureSchema(kind="frames", width=2 * POINTS)

    def load(self) -> Any:
        """Load the network."""
        device = self.runtime.torch_device()
        return shared(
            MODEL, self.weights, lambda: load_network(self.weights, device, MODEL), device
        )

    def prepare(self, media: ClipMedia) -> FaceCrops:
        """Cut the face images of all frames.

        Raises:
            FeatureAbsent: E-FEAT-NOFACE, the clip has no frames.
        """
        frames, track = frames_with_face(media)
        faces: FaceCrops = media.once(cut_faces, frames, track, SIDE, self.config.margin)
        return faces

    def compute(self, inputs: Sequence[FaceCrops]) -> list[Value]:
        """Return the points of each clip."""
        return [self._points(faces) for faces in inputs]

    def _points(self, faces: FaceCrops) -> FloatArray:
        import torch

        from redub.features.models.face_input import on_device

        device = next(self.network.parameters()).device

        def read(part: Sequence[ByteArray]) -> list[FloatArray]:
            """Return the fractions (136,) of each image of one batch."""
            with torch.inference_mode():
                seen = self.network(on_device(np.stack(part), device))
                return list(seen.last.cpu().numpy())

        batch = self.runtime.batch or self.batch
        fractions = np.stack(in_batches(list(faces.crops), read, batch))  # (V, 136)
        corners = np.tile(faces.squares[:, :2], POINTS)
        points: FloatArray = corners + fractions * faces.squares[:, 2:]
        return points.astype(np.float32)
