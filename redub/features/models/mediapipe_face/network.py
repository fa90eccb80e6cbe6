"""Run MediaPipe's TFLite networks with OpenCV; the files hold no code.

Letters: S side of the input.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

import cv2
import numpy as np

from redub.core.types import ByteArray, FloatArray
from redub.features.weights.folder import WeightFolder

KIND = "mediapipe_face"

Run = Callable[[ByteArray], tuple[FloatArray, ...]]
"""(S, S, 3) uint8 RGB → the outputs, in the order of the names that were given."""


def open_network(
    weights: WeightFolder,
    file: str,
    side: int,
    outputs: Mapping[str, tuple[int, ...]],
    *,
    signed: bool = True,
) -> Run:
    """Load a network and return a function that runs it.

    Args:
        side: of the square input, pixels.
        outputs: name → shape of each wanted output.
        signed: whether the network expects pixels from -1 to 1; else from 0 to 1.

    Raises:
        ModelRefusedError: E-MODEL-FILE, OpenCV cannot read the file, or it is another network.
    """
    cv2.setNumThreads(1)  # workers are processes; threads inside them only slow them down
    path = str(weights.file(file))
    scale, zero = (2.0 / 255.0, 127.5) if signed else (1.0 / 255.0, 0.0)

    def refused(reason: str) -> Exception:
        return weights.refused(
            f"{file} is another network, or damaged ({reason[-160:]}); type "
            f"`redub weights get {KIND}`",
            code="E-MODEL-FILE",
        )

    try:
        network = cv2.dnn.readNetFromTFLite(path)
    except cv2.error as error:
        raise refused(str(error).strip().splitlines()[0]) from error
    names = list(outputs)

    def run(picture: ByteArray) -> tuple[FloatArray, ...]:
        network.setInput(cv2.dnn.blobFromImage(picture, scale, mean=(zero, zero, zero)))
        found = network.forward(names)
        return tuple(np.array(values, dtype=np.float32) for values in found)  # own memory

    try:
        values = run(np.zeros((side, side, 3), dtype=np.uint8))
    except cv2.error as error:
        raise refused(str(error).strip().splitlines()[0]) from error
    shapes = [value.shape for value in values]
    if shapes != list(outputs.values()):
        raise refused(f"its outputs are {shapes}")
    return run
