"""Detect faces in one frame with YuNet, a small network; the user provides its file.

Source: Wu, Peng & Yu, "YuNet: a tiny millisecond-level face detector" (Machine Intelligence
Research, 2023); the file is ``face_detection_yunet_2023mar.onnx`` of the OpenCV Zoo. OpenCV runs
the network and decodes the boxes (``cv2.FaceDetectorYN``); an ONNX file contains no code.
Letters: H and W frame height and width.
"""

from __future__ import annotations

import cv2
import numpy as np

from redub.core.types import ByteArray
from redub.features.face.detector import Box
from redub.features.weights.folder import WeightFolder

KIND = "yunet"
SIDE = 320  # longer side of the copy; the network detects faces of about 10 to 300 pixels
SAME_BOX = 0.3  # two hits with more overlap are one face; OpenCV's default
MOST_HITS = 5000  # most hits before overlapping hits are merged; OpenCV's default


class YuNetDetector:
    """YuNet for whole frames; the constructor loads the network."""

    def __init__(self, weights: WeightFolder, *, min_face: float, threshold: float) -> None:
        """Load the network.

        Args:
            min_face: smallest face, as a fraction of the shorter side of the frame.
            threshold: least score of a face, 0–1.

        Raises:
            ModelRefusedError: E-MODEL-FILE, OpenCV cannot read the file, or it is not YuNet.
        """
        cv2.setNumThreads(1)  # workers are processes; threads inside them only slow them down
        self.weights = weights
        self.name = next((n for n in sorted(weights.files) if n.endswith(".onnx")), "*.onnx")
        self.min_face = min_face
        path = str(weights.file(self.name))
        try:
            self.network = cv2.FaceDetectorYN.create(
                path, "", (SIDE, SIDE), threshold, SAME_BOX, MOST_HITS
            )
        except cv2.error as error:
            raise self._refused(error) from error
        self.faces(np.zeros((SIDE, SIDE, 3), dtype=np.uint8))  # another network fails here

    def faces(self, frame: ByteArray) -> list[Box]:
        """Find all faces in an (H, W, 3) RGB frame, best first.

        Raises:
            ModelRefusedError: E-MODEL-FILE, the file is another network.
        """
        height, width = frame.shape[:2]
        scale = min(1.0, SIDE / max(height, width))
        size = (max(1, round(width * scale)), max(1, round(height * scale)))
        copy = cv2.cvtColor(frame, cv2.COLOR_RGB2BGR)
        if scale < 1.0:
            copy = cv2.resize(copy, size, interpolation=cv2.INTER_AREA)
        try:
            self.network.setInputSize(size)
            _, rows = self.network.detect(copy)
        except cv2.error as error:
            raise self._refused(error) from error
        least = self.min_face * min(size)
        found = []
        for row in [] if rows is None else rows:
            if np.isfinite(row).all() and min(row[2], row[3]) >= least:
                x, y, w, h = (float(value) / scale for value in row[:4])
                found.append(Box(x, y, w, h, min(float(row[14]), 1.0), "yunet"))
        return sorted(found, key=lambda box: (-box.area * box.score, box.x, box.y))

    def _refused(self, error: cv2.error) -> Exception:
        reason = str(error).strip().splitlines()[0]
        return self.weights.refused(
            f"{self.name} is not YuNet, or damaged ({reason[-160:]}); wanted "
            "face_detection_yunet_2023mar.onnx of the OpenCV Zoo",
            code="E-MODEL-FILE",
        )
