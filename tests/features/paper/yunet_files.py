"""A network with YuNet's inputs and outputs whose answers are known: white squares are faces.

OpenCV's own ``FaceDetectorYN`` runs it, so what is tested behind it is the real thing.
"""

from __future__ import annotations

import math
import warnings
from pathlib import Path

import pytest
import torch
from torch import nn

STRIDES = (8, 16, 32)
NAMES = [f"{part}_{stride}" for part in ("cls", "obj", "bbox", "kps") for stride in STRIDES]
WIDTH, HEIGHT = 0.75, 0.5  # logarithms of a box's sides, in cells


class WhiteSquares(nn.Module):
    """The public file's outputs: per cell class, objectness (1), box (4), five points (10).

    The class of a cell of 32 x 32 pixels is its mean brightness; of smaller cells 0.
    """

    def forward(self, picture):
        found = []
        for part in ("cls", "obj", "bbox", "kps"):
            for stride in STRIDES:
                grey = picture.mean(1, keepdim=True) / 255
                level = nn.functional.avg_pool2d(grey, stride, stride).flatten(2).transpose(1, 2)
                ones = level * 0 + 1  # (1, cells, 1); a constant would not follow the input's size
                middle = ones / 2
                found.append(
                    {
                        "cls": level if stride == 32 else level * 0,
                        "obj": ones,
                        "bbox": torch.cat([middle, middle, WIDTH * ones, HEIGHT * ones], 2),
                        "kps": torch.cat([middle] * 10, 2),
                    }[part]
                )
        return tuple(found)


class Grey(nn.Module):
    """An ONNX network that is no face detector."""

    def forward(self, picture):
        return picture.mean(1)


def make_yunet(folder: Path, *, name: str = "face_detection_yunet_2023mar.onnx") -> Path:
    """Write the file; a found box is 32·e^0.75 wide and 32·e^0.5 high about its white cell."""
    _export(WhiteSquares(), folder / name, NAMES)
    return folder


def make_other_network(folder: Path) -> Path:
    _export(Grey(), folder / "model.onnx", ["grey"])
    return folder


def box_of(column: int, row: int) -> tuple[float, float, float, float]:
    """Where the box of a white cell is: x, y, w, h in pixels."""
    width, height = 32 * math.exp(WIDTH), 32 * math.exp(HEIGHT)
    return (32 * column + 16 - width / 2, 32 * row + 16 - height / 2, width, height)


def _export(network: nn.Module, path: Path, names: list[str]) -> None:
    from torch.onnx._internal.torchscript_exporter import onnx_proto_utils

    path.parent.mkdir(parents=True, exist_ok=True)
    with pytest.MonkeyPatch.context() as patch, warnings.catch_warnings():
        warnings.simplefilter("ignore")
        # The exporter wants the onnx package only to look for script functions; here are none.
        patch.setattr(onnx_proto_utils, "_add_onnxscript_fn", lambda proto, functions: proto)
        torch.onnx.export(
            network.eval(),
            torch.zeros(1, 3, 64, 64),
            str(path),
            input_names=["input"],
            output_names=names,
            dynamo=False,
            opset_version=11,
        )
