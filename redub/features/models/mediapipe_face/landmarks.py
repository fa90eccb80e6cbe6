"""The feature ``landmarks`` by MediaPipe's face mesh. Letters: V video frames."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar

from redub.core.errors import ConfigError, FeatureAbsent
from redub.core.types import ByteArray, ClipMedia, FloatArray
from redub.features.base import FeatureSchema, Media, WeightUser
from redub.features.face.landmarks import MESH_POINTS, POINTS, as_68
from redub.features.face.rgb_crops import frames_with_face
from redub.features.models.mediapipe_face.mesh import MediaPipeMesh, Mesh
from redub.features.models.mediapipe_face.network import KIND
from redub.features.picture.shots import shot_starts
from redub.features.picture.small_frames import small_frames
from redub.features.runtime import Runtime
from redub.features.weights.folder import WeightFolder


@dataclass(frozen=True, slots=True, kw_only=True)
class MediaPipeLandmarkConfig:
    """Settings of ``[features.landmarks]`` with the backend ``mediapipe``.

    Attributes:
        weights: entry of the weights ledger.
        points: 468, the whole mesh, or 68, the scheme of the other backends.
        min_share: fraction of the frames in which the network must find a face.
    """

    weights: str = KIND
    points: int = MESH_POINTS
    min_share: float = 0.5

    def __post_init__(self) -> None:
        if self.points not in (POINTS, MESH_POINTS):
            raise ConfigError(
                f"features.landmarks.points is {self.points}; wanted {POINTS} or {MESH_POINTS}",
                code="E-CFG-VALUE",
            )
        if not 0.0 < self.min_share <= 1.0:
            raise ConfigError(
                f"features.landmarks.min_share is {self.min_share}; wanted more than 0, at most 1",
                code="E-CFG-VALUE",
            )


class MediaPipeLandmarks(WeightUser):
    """Compute (V, 936) float32, x and y of each point in turn, or (V, 136).

    Units are pixels of the decoded frame; pixel k reaches from k to k + 1 as in ``face_track``.
    """

    version: ClassVar[int] = 1
    media: ClassVar[frozenset[Media]] = frozenset({"frames"})
    reads: ClassVar[tuple[str, ...]] = ("face_track",)
    Config: ClassVar[type] = MediaPipeLandmarkConfig

    def __init__(
        self,
        config: MediaPipeLandmarkConfig,
        folders: Mapping[str, WeightFolder],
        runtime: Runtime,
    ) -> None:
        super().__init__(config, folders, runtime)
        self._mesh: MediaPipeMesh | None = None

    @classmethod
    def weights_wanted(cls, config: MediaPipeLandmarkConfig) -> dict[str, tuple[str, str]]:
        """Return one role, ``model``."""
        return {"model": (config.weights, KIND)}

    @property
    def schema(self) -> FeatureSchema:
        """One row of 936 or 136 numbers per frame."""
        return FeatureSchema(kind="frames", width=2 * self.config.points)

    @property
    def mesh(self) -> MediaPipeMesh:
        """The network; loaded once per process, at the first clip."""
        if self._mesh is None:
            self._mesh = MediaPipeMesh(self.folders["model"])
        return self._mesh

    def extract(self, media: ClipMedia) -> FloatArray:
        """Find the points in every frame of one clip.

        Returns:
            One row per frame. Where the network finds no face, the points are interpolated in the
            shot; a shot without any gets the points of the nearest frame that has some.

        Raises:
            FeatureAbsent: E-FEAT-NOFACE, the clip has no frames; E-FEAT-NOLANDMARKS, fewer than
                ``min_share`` of the frames show a face to the network.
        """
        frames, track = frames_with_face(media)
        shots = media.once(shot_starts, media.once(small_frames, frames))
        mesh = media.once(mesh_of, self.mesh, frames, track, tuple(map(int, shots)))
        if mesh.found.mean() < self.config.min_share:
            raise FeatureAbsent(
                f"the landmark network finds a face in {int(mesh.found.sum())} of {len(frames)} "
                f"frames; wanted at least {self.config.min_share:.0%}",
                code="E-FEAT-NOLANDMARKS",
            )
        rows = mesh.points.reshape(len(frames), -1)
        return rows if self.config.points == MESH_POINTS else as_68(rows)


def mesh_of(
    network: MediaPipeMesh, frames: ByteArray, track: FloatArray, shots: tuple[int, ...]
) -> Mesh:
    """Find the mesh of a clip; a function, so that features of one clip share the result."""
    return network.follow(frames, track, shots)
